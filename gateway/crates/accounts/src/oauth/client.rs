//! Who the gateway is at a backend's authorization server: the client of the configuration, its own
//! metadata document, or what it registered itself as.

use std::time::Duration;

use http::StatusCode;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::accounts::{AccountBackend, Accounts};
use crate::contents::{open, seal};
use crate::oauth::bounds;
use crate::oauth::failure::{Failure, code};
use crate::oauth::server::{Server, endpoint_url};
use gateway_core::account::seal::Bound;
use gateway_core::account::settings::OAuthAccount;
use gateway_core::client::secret_basic::SecretMethods;
use gateway_core::clock::Timestamp;
use gateway_core::reason::Reason;
use gateway_fetch::Body;

/// A registration that ends sooner than this is not begun with.
const LEAST: Duration = Duration::from_secs(3600);

/// How long a registration is used for further people. Accounts keep theirs; but a server that has forgotten
/// it says so to the browser alone, which then does not come back.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Who the gateway is.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
    pub(crate) method: Method,
    /// Whether it registered itself, and may do so again.
    #[serde(default)]
    pub(crate) is_registered: bool,
}

/// How it shows that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    /// By its id alone.
    None,
    /// `client_secret_basic`
    Basic,
    /// `client_secret_post`
    Post,
}

/// A client's registration, as the server answers it (RFC 7591 §3.2.1).
#[derive(Deserialize)]
struct Registration {
    client_id: Option<String>,
    client_secret: Option<String>,
    client_secret_expires_at: Option<u64>,
    token_endpoint_auth_method: Option<String>,
    error: Option<String>,
}

impl Accounts {
    /// What the gateway says of itself as a client (OAuth Client ID Metadata Document).
    pub fn client_document(&self, title: &str, backend: &str) -> Value {
        let mut document = self.description(title, backend, Method::None);
        document["client_id"] = json!(self.document(backend));
        document
    }

    /// Where the browser comes back to from the server of this backend, and of no other.
    pub(crate) fn callback(&self, backend: &str) -> String {
        self.issuer.join(&format!("/connect/{backend}/callback"))
    }

    /// Where the gateway describes itself for it. A document for all backends would let the answers of one
    /// server go where those of another are expected.
    fn document(&self, backend: &str) -> String {
        self.issuer.join(&format!("/connect/{backend}/client.json"))
    }

    fn description(&self, title: &str, backend: &str, method: Method) -> Value {
        let method = match method {
            Method::None => "none",
            Method::Basic => "client_secret_basic",
            Method::Post => "client_secret_post",
        };
        json!({
            "client_name": title,
            "client_uri": self.issuer.as_str(),
            "redirect_uris": [self.callback(backend)],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": method,
        })
    }

    /// Who the gateway is at this server.
    pub(crate) async fn client(
        &self,
        of: &AccountBackend,
        settings: &OAuthAccount,
        server: &Server,
    ) -> Result<Client, Failure> {
        if let Some(id) = &settings.client_id {
            let secret = settings.client_secret.as_ref();
            let secret = secret.map(|secret| secret.reveal().to_owned());
            return Ok(Client {
                method: method(server, id, secret.as_deref()),
                id: id.clone(),
                secret,
                is_registered: false,
            });
        }
        // Nobody fetches a document from elsewhere than https.
        if server.takes_documents && self.issuer.is_https() {
            return Ok(Client {
                id: self.document(of.name()),
                secret: None,
                method: Method::None,
                is_registered: false,
            });
        }
        let Some(endpoint) = &server.registration_endpoint else {
            return Err(Failure::unusable(format!(
                "{} registers no clients by itself\nregister one there with the redirect URI {}, and say \
                 backend.account.client_id",
                server.name(),
                self.callback(of.name())
            )));
        };
        let kept = self
            .records
            .account_client(of.name(), server.name(), self.now());
        let bound = registration_bound(of, server);
        let kept = kept
            .await?
            .and_then(|sealed| open(&sealed, &self.keys, bound));
        match kept {
            Some(client) => Ok(client),
            None => self.register(of, server, endpoint).await,
        }
    }

    /// Registers with the server (RFC 7591), and keeps what came of it for all replicas.
    async fn register(
        &self,
        of: &AccountBackend,
        server: &Server,
        endpoint: &str,
    ) -> Result<Client, Failure> {
        let url = endpoint_url(endpoint)?;
        let wanted = match (server.takes("none"), server.takes("client_secret_basic")) {
            (Some(true) | None, _) => Method::None,
            (Some(false), Some(true)) => Method::Basic,
            (Some(false), _) => Method::Post,
        };
        let body = self.description(&self.title, of.name(), wanted).to_string();
        let answered = of.fetch.ask(&url, None, Some(Body::Json(&body))).await;
        let answered = answered.map_err(|error| Failure::of_fetch(&url, &error))?;
        let registration: Registration = serde_json::from_slice(&answered.body)
            .map_err(|_| Failure::invalid_answer(&url, "its answer is no registration"))?;
        let is_done = matches!(answered.status, StatusCode::OK | StatusCode::CREATED);
        let Some(id) = registration.client_id.filter(|_| is_done) else {
            let said = code(registration.error.as_deref());
            let detail = format!("{url} registers this gateway not and said: {said}");
            return Err(Failure::because(Reason::AccountRefused, detail));
        };
        let short = |what: &str, text: String| {
            bounds::text(what, text, bounds::NAME)
                .map_err(|what| Failure::invalid_answer(&url, &what))
        };
        let id = short("client_id", id)?;
        let secret = registration
            .client_secret
            .filter(|secret| !secret.is_empty())
            .map(|secret| short("client_secret", secret))
            .transpose()?;
        let client = Client {
            method: match (registration.token_endpoint_auth_method.as_deref(), &secret) {
                (_, None) | (Some("none"), _) => Method::None,
                (Some("client_secret_basic"), _) => Method::Basic,
                (Some("client_secret_post"), _) => Method::Post,
                (_, Some(secret)) => method(server, &id, Some(secret)),
            },
            id,
            secret,
            is_registered: true,
        };
        let ends = registration.client_secret_expires_at.filter(|at| *at != 0);
        let ends = ends.map(Timestamp::from_secs);
        if ends.is_none_or(|ends| ends.since(self.now()) > LEAST) {
            let until = self.now() + KEPT;
            let until = ends.map_or(until, |ends| until.min(ends - LEAST));
            let bound = registration_bound(of, server);
            let sealed = seal(&client, &self.keys, bound, &mut OsRng);
            self.records
                .put_account_client(of.name(), server.name(), &sealed, Some(until))
                .await?;
        }
        log::info!(
            event = "account_client_registered", backend = of.name(), server = server.name();
            "the gateway registered itself with a backend's authorization server"
        );
        Ok(client)
    }

    /// The server does not know the gateway any more: it registers anew with the next one who connects.
    pub(crate) async fn forget_client(
        &self,
        of: &AccountBackend,
        server: &Server,
        client: &Client,
    ) -> Result<(), Failure> {
        if client.is_registered {
            let (backend, name) = (of.name(), server.name());
            self.records.remove_account_client(backend, name).await?;
        }
        Ok(())
    }
}

/// How a client shows who it is, where the server leaves a choice.
fn method(server: &Server, id: &str, secret: Option<&str>) -> Method {
    let Some(secret) = secret else {
        return Method::None;
    };
    if SecretMethods::listed(server.methods.as_deref()).uses_basic(id, secret) {
        Method::Basic
    } else {
        Method::Post
    }
}

/// A registration is nobody's: it is bound to the backend and the server.
fn registration_bound<'a>(of: &'a AccountBackend, server: &'a Server) -> Bound<'a> {
    Bound {
        user: "",
        backend: of.name(),
        origin: server.name(),
    }
}
