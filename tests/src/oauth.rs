//! An OAuth 2.1 client, step by step: register (RFC 7591), authorize with PKCE
//! (RFC 7636) and a resource (RFC 8707), redeem the code, revoke (RFC 7009). Each
//! step takes its parameters in the open, so that a test can spoil any of them.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use crate::browser::{Browser, Form};
use crate::gateway::Owner;
use crate::http::{self, Reply};

/// Where the test clients are sent back to; nobody listens there.
pub const REDIRECT_URI: &str = "http://127.0.0.1:53680/callback";

/// A registered public client with one redirect URI, and where the gateway is.
#[derive(Clone, Debug)]
pub struct OAuthClient {
    /// The gateway's origin as the client reaches it.
    pub base: String,
    /// As issued.
    pub client_id: String,
    /// As registered.
    pub redirect_uri: String,
    /// What the registration answered.
    pub registration: Value,
}

/// A PKCE pair.
#[derive(Clone, Debug)]
pub struct Pkce {
    /// 43 characters.
    pub verifier: String,
    /// Its S256 challenge.
    pub challenge: String,
}

impl Pkce {
    /// A fresh pair.
    pub fn fresh() -> Self {
        let mut bytes = [0u8; 32];
        rand::thread_rng().fill_bytes(&mut bytes);
        let verifier = URL_SAFE_NO_PAD.encode(bytes);
        let challenge = challenge_of(&verifier);
        Pkce {
            verifier,
            challenge,
        }
    }
}

/// BASE64URL(SHA256(verifier)), RFC 7636 section 4.2.
pub fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// An authorization request that can still be changed.
#[derive(Clone, Debug)]
pub struct Authorization {
    /// The `authorization_endpoint`.
    pub endpoint: String,
    /// Its query, in order; a name may stand there twice.
    pub parameters: Vec<(String, String)>,
    /// The pair behind `code_challenge`.
    pub pkce: Pkce,
}

impl Authorization {
    /// The same request with one parameter set, added or replaced.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.retain(|(key, _)| key != name);
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// The same request without a parameter.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.parameters.retain(|(key, _)| key != name);
        self
    }

    /// As a browser opens it.
    pub fn url(&self) -> Url {
        let mut url = Url::parse(&self.endpoint).expect("built from a URL");
        url.query_pairs_mut().extend_pairs(&self.parameters);
        url
    }
}

/// What came back to the redirect URI.
#[derive(Clone, Debug)]
pub struct Callback {
    /// The whole URL.
    pub url: Url,
}

impl Callback {
    /// A parameter. Panics when it came twice.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let values: Vec<String> = self
            .url
            .query_pairs()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .collect();
        assert!(
            values.len() <= 1,
            "{name} came {} times in {}",
            values.len(),
            self.url
        );
        values.into_iter().next()
    }

    /// The `code`. Panics when there is none.
    pub fn code(&self) -> String {
        self.parameter("code")
            .unwrap_or_else(|| panic!("no code in {}", self.url))
    }
}

/// Register with this metadata and return the answer, whatever it is.
pub async fn register(base: &str, metadata: &Value) -> Result<Reply> {
    http::post_json(&format!("{base}/register"), metadata).await
}

impl OAuthClient {
    /// Register a public client.
    pub async fn register(base: &str, name: &str) -> Result<Self> {
        Self::register_with(base, &json!({"client_name": name, "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none"})).await
    }

    /// Register with metadata of the test's own; the first redirect URI is used.
    pub async fn register_with(base: &str, metadata: &Value) -> Result<Self> {
        let reply = register(base, metadata).await?;
        anyhow::ensure!(
            reply.status == 201,
            "registration answered {}: {}",
            reply.status,
            reply.text
        );
        let registration = reply.json();
        Ok(OAuthClient {
            base: base.into(),
            client_id: registration["client_id"]
                .as_str()
                .context("no client_id")?
                .into(),
            redirect_uri: registration["redirect_uris"][0]
                .as_str()
                .context("no redirect_uris")?
                .into(),
            registration,
        })
    }

    /// A client that needs no registration: known by a metadata document or the configuration.
    pub fn known(base: &str, client_id: &str, redirect_uri: &str) -> Self {
        OAuthClient {
            base: base.into(),
            client_id: client_id.into(),
            redirect_uri: redirect_uri.into(),
            registration: Value::Null,
        }
    }

    /// A complete authorization request for `{base}/mcp`.
    pub fn authorization(&self) -> Authorization {
        self.authorization_for(&format!("{}/mcp", self.base))
    }

    /// A complete authorization request for a resource.
    pub fn authorization_for(&self, resource: &str) -> Authorization {
        let pkce = Pkce::fresh();
        let parameters = [
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("code_challenge", &pkce.challenge),
            ("code_challenge_method", "S256"),
            ("scope", "mcp"),
            ("state", "as it was sent: /?&=+%"),
            ("resource", resource),
        ];
        Authorization {
            endpoint: format!("{}/authorize", self.base),
            parameters: parameters
                .map(|(name, value)| (name.into(), value.into()))
                .to_vec(),
            pkce,
        }
    }

    /// Walk a request through login and consent, answering `Allow`.
    pub async fn allow(&self, request: &Authorization, owner: &Owner) -> Result<Callback> {
        self.walk(&mut Browser::default(), request, owner, "Allow")
            .await
    }

    /// Walk a request through login (if asked) and consent with a given browser.
    pub async fn walk(
        &self,
        browser: &mut Browser,
        request: &Authorization,
        owner: &Owner,
        answer: &str,
    ) -> Result<Callback> {
        let mut page = browser.visit(&request.url()).await?;
        if page.password_form().is_ok() {
            page = browser.log_in(&page, &owner.name, &owner.password).await?;
        }
        let last = browser.answer(&page, answer).await?;
        let url = last.location().with_context(|| {
            format!(
                "no redirect to the client: {} {}",
                last.reply.status,
                last.words()
            )
        })?;
        anyhow::ensure!(
            url.as_str().starts_with(&self.redirect_uri),
            "sent to {url}"
        );
        Ok(Callback { url })
    }

    /// The fields of a complete token request.
    pub fn token_request(&self, code: &str, verifier: &str) -> Vec<(String, String)> {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("client_id", &self.client_id),
            ("code_verifier", verifier),
        ];
        fields
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec()
    }

    /// Redeem a code.
    pub async fn redeem(&self, code: &str, verifier: &str) -> Result<Reply> {
        self.token(&self.token_request(code, verifier)).await
    }

    /// POST these fields to `/token`.
    pub async fn token(&self, fields: &[(String, String)]) -> Result<Reply> {
        http::send(
            http::client()
                .post(format!("{}/token", self.base))
                .form(fields),
        )
        .await
    }

    /// Everything from the authorization request to the access token.
    pub async fn sign_in(&self, owner: &Owner) -> Result<String> {
        self.sign_in_for(owner, &format!("{}/mcp", self.base)).await
    }

    /// The same with the consent form filled in as the test wants it.
    pub async fn sign_in_choosing(
        &self,
        owner: &Owner,
        choose: impl FnOnce(&mut Form) -> Result<()>,
    ) -> Result<String> {
        let request = self.authorization();
        let reply = self
            .connect_choosing(&mut Browser::default(), &request, owner, choose)
            .await?;
        let token = reply.json()["access_token"].as_str().map(str::to_owned);
        token.with_context(|| reply.text.clone())
    }

    /// The answer of `/token` to this request, in this browser, with the consent form filled in as
    /// the test wants it.
    pub async fn connect_choosing(
        &self,
        browser: &mut Browser,
        request: &Authorization,
        owner: &Owner,
        choose: impl FnOnce(&mut Form) -> Result<()>,
    ) -> Result<Reply> {
        let callback = self.allow_choosing(browser, request, owner, choose).await?;
        self.redeem(&callback.code(), &request.pkce.verifier).await
    }

    /// Where the consent form leads that is filled in as the test wants it.
    pub async fn allow_choosing(
        &self,
        browser: &mut Browser,
        request: &Authorization,
        owner: &Owner,
        choose: impl FnOnce(&mut Form) -> Result<()>,
    ) -> Result<Callback> {
        let mut page = browser.visit(&request.url()).await?;
        if page.password_form().is_ok() {
            page = browser.log_in(&page, &owner.name, &owner.password).await?;
        }
        let mut form = page.form_with_button("Allow")?.press("Allow")?;
        choose(&mut form)?;
        let last = browser.submit(&form).await?;
        let last = browser.settle(last).await?;
        let url = last.location().with_context(|| last.words())?;
        Ok(Callback { url })
    }

    /// The same for another resource.
    pub async fn sign_in_for(&self, owner: &Owner, resource: &str) -> Result<String> {
        let request = self.authorization_for(resource);
        let callback = self.allow(&request, owner).await?;
        let reply = self
            .redeem(&callback.code(), &request.pkce.verifier)
            .await?;
        anyhow::ensure!(
            reply.status == 200,
            "/token answered {}: {}",
            reply.status,
            reply.text
        );
        Ok(reply.json()["access_token"]
            .as_str()
            .context("no access_token")?
            .into())
    }

    /// Everything from the authorization request to the whole answer of `/token`.
    pub async fn connect(&self, owner: &Owner) -> Result<Value> {
        self.connect_by(&self.authorization(), owner).await
    }

    /// The same with an authorization request of the test's own.
    pub async fn connect_by(&self, request: &Authorization, owner: &Owner) -> Result<Value> {
        let callback = self.allow(request, owner).await?;
        let reply = self
            .redeem(&callback.code(), &request.pkce.verifier)
            .await?;
        anyhow::ensure!(
            reply.status == 200,
            "/token answered {}: {}",
            reply.status,
            reply.text
        );
        Ok(reply.json())
    }

    /// The fields of a complete refresh request.
    pub fn refresh_request(&self, token: &str) -> Vec<(String, String)> {
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", &self.client_id),
        ];
        fields
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec()
    }

    /// Exchange a refresh token.
    pub async fn refresh(&self, token: &str) -> Result<Reply> {
        self.token(&self.refresh_request(token)).await
    }

    /// POST to `/revoke`.
    pub async fn revoke(&self, token: &str) -> Result<Reply> {
        http::post_form(
            &format!("{}/revoke", self.base),
            &[("token", token), ("client_id", &self.client_id)],
        )
        .await
    }
}
