//! Registration, and its end.

use http::Method;
use serde_json::{Value, json};
use url::Url;

use super::examination::{Client, Examination};
use crate::callback::{self, Callback};
use crate::checks::authorization;
use crate::checks::discovery::Endpoints;
use crate::http_client::Ask;
use crate::options::Login;

/// The name of the test client, the same at every run.
const CLIENT_NAME: &str = "Gateway doctor";

impl Examination<'_> {
    pub(super) async fn register(&mut self, endpoints: &Endpoints) -> Option<Client> {
        let url = endpoints.registration.as_ref()?;
        let callback = match self.options.login {
            Login::Operator { .. } => Callback::listen().await.ok(),
            _ => None,
        };
        let redirect_uri = callback.as_ref().map_or_else(
            || callback::redirect_uri(callback::PORT),
            Callback::redirect_uri,
        );
        let metadata = metadata(&redirect_uri, endpoints.refresh);
        let exchange = self.http.send(Ask::json(url, &metadata)).await;
        let found = authorization::registration(&exchange, redirect_uri.as_str());
        self.found(found);
        let body = exchange.json()?;
        let id = body["client_id"].as_str()?.to_owned();
        let dangerous =
            json!({"client_name": CLIENT_NAME, "redirect_uris": ["javascript:alert(1)"]});
        let refused = self.http.send(Ask::json(url, &dangerous)).await;
        self.found(authorization::registration_errors(&refused));
        Some(Client {
            id,
            redirect_uri,
            callback,
            registration: body,
        })
    }

    /// Removes the registration where the server offers that (RFC 7592), or says that it stays.
    pub(super) async fn deregister(&mut self, client: &Client) {
        let member = |name: &str| client.registration[name].as_str();
        let url = member("registration_client_uri").and_then(|url| Url::parse(url).ok());
        if let (Some(url), Some(token)) = (url, member("registration_access_token"))
            && url.origin() == self.target.mcp.origin()
        {
            let delete = Ask::new(Method::DELETE, &url).bearer(token);
            let gone = self.http.send(delete).await;
            if gone.outcome.is_ok_and(|answer| answer.status.is_success()) {
                return;
            }
        }
        self.notes.push(format!(
            "The client {CLIENT_NAME:?} stays registered: the server offers no way to remove it. \
             The next run uses the same one."
        ));
    }
}

/// Client metadata as command-line clients send it.
fn metadata(redirect_uri: &Url, refresh: bool) -> Value {
    let grant_types: &[&str] = if refresh {
        &["authorization_code", "refresh_token"]
    } else {
        &["authorization_code"]
    };
    json!({
        "client_name": CLIENT_NAME,
        "redirect_uris": [redirect_uri.as_str()],
        "grant_types": grant_types,
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    })
}
