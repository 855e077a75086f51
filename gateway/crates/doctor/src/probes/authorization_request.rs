//! An authorization request, and the token request that redeems its code.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::rngs::OsRng;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::examination::{Client, Examination, Grant};
use crate::checks::authorization::Landing;
use crate::checks::discovery::Endpoints;
use crate::checks::token;
use crate::http_client::Ask;
use gateway_core::secret::Secret;

/// An authorization request and what proves it.
#[derive(Clone)]
pub(super) struct Request {
    parameters: Vec<(&'static str, String)>,
    verifier: Secret,
    pub(super) state: String,
}

impl Examination<'_> {
    pub(super) fn request(&self, endpoints: &Endpoints, client: &Client) -> Request {
        let verifier = Secret::draw(&mut OsRng);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.reveal()));
        // Characters that a careless redirect loses.
        let state = format!("{} +/?&=%", Secret::draw(&mut OsRng).reveal());
        let mut parameters = vec![
            ("response_type", "code".to_owned()),
            ("client_id", client.id.clone()),
            ("redirect_uri", client.redirect_uri.to_string()),
            ("state", state.clone()),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256".to_owned()),
            ("resource", self.target.typed.clone()),
        ];
        parameters.extend(endpoints.scope.clone().map(|scope| ("scope", scope)));
        Request {
            parameters,
            verifier,
            state,
        }
    }

    pub(super) async fn redeem(
        &mut self,
        client: &Client,
        url: &Url,
        request: &Request,
        landing: &Landing,
    ) -> Option<Grant> {
        let code = landing.parameter("code")?;
        let redeemed = token_request(client, &code, request.verifier.reveal());
        let exchange = self.http.send(Ask::form(url, &redeemed)).await;
        self.findings.extend(token::token_response(&exchange));
        let body = exchange.json()?;
        Some(Grant {
            client_id: client.id.clone(),
            token: body["access_token"].as_str()?.to_owned(),
            refresh_token: body["refresh_token"].as_str().map(str::to_owned),
            redeemed,
        })
    }
}

impl Request {
    pub(super) fn url(&self, authorize: &Url) -> Url {
        let mut url = authorize.clone();
        url.query_pairs_mut().extend_pairs(&self.parameters);
        url
    }

    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mut request = self.clone();
        for (key, old) in &mut request.parameters {
            if *key == name {
                value.clone_into(old);
            }
        }
        request
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.parameters.retain(|(key, _)| *key != name);
        self
    }

    pub(super) fn landing(&self, url: Url, client: &Client) -> Landing {
        Landing {
            url,
            redirect_uri: client.redirect_uri.clone(),
            state: self.state.clone(),
        }
    }
}

pub(super) fn token_request(client: &Client, code: &str, verifier: &str) -> Vec<(String, String)> {
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", client.redirect_uri.as_str()),
        ("client_id", &client.id),
        ("code_verifier", verifier),
    ];
    fields
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}
