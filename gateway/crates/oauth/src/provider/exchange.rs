//! From a provider's code to its tokens (RFC 6749 §4.1.3).

use crate::provider::providers::Providers;
use crate::server::{AuthorizationServer, Settings};
use http::StatusCode;
use rand::rngs::OsRng;
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use super::failure::Failure;
use super::settings::{Authentication, Provider};
use gateway_core::client::assertion;
use gateway_core::client::own_key::OwnKey;
use gateway_core::client::secret_basic::{SecretMethods, basic};
use gateway_core::clock::Timestamp;
use gateway_core::reason::Reason;
use gateway_core::secret::{Secret, TagKey};
use gateway_fetch::Body;

/// This gateway as a client of identity providers: its addresses, what its own keys are derived from, and
/// its way to them.
#[derive(Clone, Copy)]
pub(super) struct ProviderClient<'a> {
    pub(super) settings: &'a Settings,
    pub(super) tags: &'a TagKey,
    pub(super) providers: &'a Providers,
}

impl AuthorizationServer {
    pub(super) const fn provider_client(&self) -> ProviderClient<'_> {
        ProviderClient {
            settings: &self.settings,
            tags: &self.tags,
            providers: &self.providers,
        }
    }
}

/// A code or a refresh token, and where it is exchanged.
pub(super) struct Exchange<'a> {
    pub(super) provider: &'a Provider,
    pub(super) endpoint: &'a Url,
    /// How a secret is taken there.
    pub(super) methods: SecretMethods,
    pub(super) grant: Grant<'a>,
}

/// What is exchanged.
pub(super) enum Grant<'a> {
    /// A code, with the verifier of its login.
    Code(&'a str, &'a Secret),
    /// A refresh token (RFC 6749 §6).
    Refresh(&'a Secret),
}

/// What the provider gives. Never logged.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    pub(super) access_token: Option<String>,
    pub(super) id_token: Option<String>,
    pub(super) refresh_token: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Where the provider sends the browser back to.
pub(super) fn callback_url(settings: &Settings, provider: &Provider) -> String {
    let path = format!("/login/{}/callback", provider.name);
    settings.issuer.join(&path)
}

/// Exchanges it.
pub(super) async fn exchange(
    client: ProviderClient<'_>,
    asked: &Exchange<'_>,
    now: Timestamp,
) -> Result<Tokens, Failure> {
    let (form, authorization) = request(client.settings, client.tags, asked, now);
    let (authorization, body) = (authorization.as_deref(), Some(Body::Form(&form)));
    let fetch = &client.providers.fetch;
    let answered = fetch.ask(asked.endpoint, authorization, body).await;
    let answered = answered.map_err(|error| Failure::of_fetch(asked.endpoint.as_str(), &error))?;
    let tokens: Tokens = serde_json::from_slice(&answered.body).map_err(|_| {
        let detail = format!("{}: its answer is no JSON object of tokens", asked.endpoint);
        Failure::because(Reason::ProviderAnswerInvalid, detail)
    })?;
    let (error, described) = (tokens.error.as_deref(), tokens.error_description.as_deref());
    if answered.status != StatusCode::OK || error.is_some() {
        return Err(Failure::of_token_endpoint(error, described));
    }
    Ok(tokens)
}

/// The form of the request, and its `Authorization` if it has one.
fn request(
    settings: &Settings,
    tags: &TagKey,
    asked: &Exchange<'_>,
    now: Timestamp,
) -> (String, Option<String>) {
    let provider = asked.provider;
    let mut form = Serializer::new(String::new());
    match &asked.grant {
        Grant::Code(code, verifier) => form
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &callback_url(settings, provider))
            .append_pair("code_verifier", verifier.reveal()),
        Grant::Refresh(token) => form
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", token.reveal()),
    };
    let mut authorization = None;
    match &provider.authentication {
        Authentication::Secret(secret) if asked.methods.uses_basic(&provider.client_id, secret) => {
            authorization = Some(basic(&provider.client_id, secret));
        }
        Authentication::Secret(secret) => {
            form.append_pair("client_id", &provider.client_id)
                .append_pair("client_secret", secret);
        }
        Authentication::PrivateKey => {
            let key = OwnKey::at_provider(tags, &provider.name);
            let audience = asked.endpoint.as_str();
            let assertion = key.assertion(&provider.client_id, audience, now, &mut OsRng);
            form.append_pair("client_id", &provider.client_id)
                .append_pair("client_assertion_type", assertion::TYPE)
                .append_pair("client_assertion", &assertion);
        }
    }
    (form.finish(), authorization)
}
