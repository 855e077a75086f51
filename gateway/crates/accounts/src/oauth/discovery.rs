//! Finding a backend's authorization server by asking the backend, as an MCP client does (MCP, authorization;
//! RFC 9728).

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, StatusCode};
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;
use url::Url;

use crate::accounts::{AccountBackend, Accounts};
use crate::oauth::bounds;
use crate::oauth::failure::Failure;
use crate::oauth::server::{OFFLINE, Server};
use gateway_core::account::settings::OAuthAccount;
use gateway_core::protocol::challenge;
use gateway_core::reason::Reason;
use gateway_fetch::{FetchError, Unusable};
use gateway_upstream::{Backend, Pooling, Request};

/// How long the backend may take with one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest document of a backend that is read, in bytes.
const LARGEST: usize = 64 * 1024;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) server: Server,
    /// What names the backend there, where it is named.
    pub(crate) resource: Option<String>,
    /// The scopes to ask for.
    pub(crate) scopes: Vec<String>,
}

impl Found {
    /// The parameters that say what is asked for: these scopes, of this resource, and what the operator adds.
    pub(crate) fn wanted<'a>(
        &'a self,
        scope: &'a str,
        settings: &'a OAuthAccount,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let scope = (!scope.is_empty()).then_some(("scope", scope));
        let resource = self.resource.as_deref();
        let resource = resource.map(|resource| ("resource", resource));
        let extra = settings.extra.iter();
        let extra = extra.map(|(name, value)| (name.as_str(), value.as_str()));
        scope.into_iter().chain(resource).chain(extra)
    }
}

/// What a resource says of itself (RFC 9728 §2), as far as it is used.
#[derive(Deserialize)]
struct ResourceDocument {
    resource: Option<String>,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

/// Why a document is no use.
fn failure(url: &Url, unusable: Unusable<String>) -> Failure {
    match unusable {
        Unusable::Fetch(error) => match Failure::of_fetch(url, &error) {
            Failure::Because(Reason::AccountRefused | Reason::AccountAnswerInvalid, detail) => {
                Failure::unusable(detail)
            }
            failure => failure,
        },
        Unusable::Document(what) => Failure::unusable(format!("{url}: {what}")),
    }
}

impl Accounts {
    /// The authorization server of a backend, and what is asked for there: what the operator says, and for
    /// the rest what the backend and the server say themselves.
    pub(crate) async fn discover(
        &self,
        of: &AccountBackend,
        settings: &OAuthAccount,
    ) -> Result<Found, Failure> {
        let (backend, is_told) = (&of.backend, is_told(settings));
        let challenged = self.challenge(backend).await;
        let (challenged, asked) = match challenged {
            Ok(headers) => (headers, Ok(())),
            Err(failure) => (HeaderMap::new(), Err(failure)),
        };
        let parameters = challenge::bearer(&challenged).unwrap_or_default();
        let parameter = |name| challenge::parameter(parameters, name);
        let said = self.resource_document(of, parameter("resource_metadata"));
        let said = match said.await {
            Ok(said) => Some(said),
            // What the operator said is enough.
            Err(_) if is_told => None,
            Err(failure) => {
                asked?;
                return Err(failure);
            }
        };
        let own = format!("{}{}", backend.origin(), backend.mcp_path);
        let resource = said.as_ref().and_then(|said| said.resource.clone());
        let resource = resource.map(|resource| bounds::text("resource", resource, bounds::NAME));
        let resource = resource.transpose();
        let resource = resource.map_err(|what| Failure::unusable(format!("{own}: {what}")))?;
        if let Some(resource) = &resource
            && !is_told
            && !is_of(resource, backend)
        {
            // Else one server could have people give it their accounts at another.
            return Err(Failure::unusable(format!(
                "the backend at {own} describes itself as {resource}\nwhere both are the same, say \
                 backend.account.issuer"
            )));
        }
        let server = self.server(of, settings, said.as_ref()).await?;
        let scopes =
            match &settings.scopes {
                Some(written) => written.clone(),
                None => scopes(parameter("scope").as_deref(), said.as_ref(), &server).map_err(
                    |what| Failure::unusable(format!("{own}: {what}\nsay backend.account.scopes")),
                )?,
            };
        Ok(Found {
            server,
            resource: settings.resource.then(|| resource.unwrap_or(own)),
            scopes,
        })
    }

    /// The server: by its endpoints, where the operator gives both, else by its metadata document.
    async fn server(
        &self,
        of: &AccountBackend,
        settings: &OAuthAccount,
        said: Option<&ResourceDocument>,
    ) -> Result<Server, Failure> {
        if let Some(written) = written(settings) {
            return Ok(written);
        }
        let named = said.and_then(|said| said.authorization_servers.first());
        let issuer = settings.issuer.as_ref().or(named).ok_or_else(|| {
            Failure::unusable(
                "the backend names no authorization server\nsay backend.account.issuer, or its endpoints",
            )
        })?;
        let found = self.described(of, issuer).await?;
        let written = settings.revocation_endpoint.as_ref().map(Url::to_string);
        Ok(Server {
            revocation_endpoint: written.or(found.revocation_endpoint),
            ..found
        })
    }

    /// The server that an issuer's metadata document describes.
    async fn described(&self, of: &AccountBackend, issuer: &str) -> Result<Server, Failure> {
        let judge = |document: &[u8]| Server::parse(document, issuer);
        let mut first = None;
        for url in Server::documents(issuer) {
            match of.fetch.get(&url, self.now(), judge).await {
                Ok(server) => return Ok(server),
                Err(error) => {
                    let failure = failure(&url, error);
                    // Who is away is asked nothing else.
                    if failure.is_absence() {
                        return Err(failure);
                    }
                    first.get_or_insert(failure);
                }
            }
        }
        let none = || Failure::unusable(format!("{issuer} is no issuer"));
        Err(first.unwrap_or_else(none))
    }

    /// What the backend says of itself as a resource.
    async fn resource_document(
        &self,
        of: &AccountBackend,
        named: Option<String>,
    ) -> Result<ResourceDocument, Failure> {
        const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
        let backend = &of.backend;
        let origin = backend.origin();
        let at = [
            named,
            Some(format!("{origin}{WELL_KNOWN}{}", backend.mcp_path)),
            Some(format!("{origin}{WELL_KNOWN}")),
        ];
        let mut first = None;
        for text in at.into_iter().flatten() {
            let Ok(url) = Url::parse(&text) else { continue };
            let read = if url.origin().ascii_serialization() == origin {
                let read = self.of_backend(backend, &url).await;
                read.map_err(Unusable::Fetch)
            } else {
                let judge = |document: &[u8]| Ok(document.to_vec());
                of.fetch.get(&url, self.now(), judge).await
            };
            let parsed = read.and_then(|body| {
                serde_json::from_slice(&body)
                    .map_err(|_| Unusable::Document("describes no resource".to_owned()))
            });
            match parsed {
                Ok(document) => return Ok(document),
                Err(error) => drop(first.get_or_insert(failure(&url, error))),
            }
        }
        let none = || Failure::unusable("the backend does not say that it takes OAuth");
        Err(first.unwrap_or_else(none))
    }

    /// The head of the backend's answer to whoever shows no credential.
    async fn challenge(&self, backend: &Backend) -> Result<HeaderMap, Failure> {
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "cupcake-gateway", "version": env!("CARGO_PKG_VERSION")},
        }});
        let body = Bytes::from(hello.to_string());
        let asked = self.ask_backend(backend, Method::POST, &backend.mcp_path, Some(body));
        let (status, headers, _) = asked.await?;
        let is_challenge = status == StatusCode::UNAUTHORIZED;
        Ok(if is_challenge {
            headers
        } else {
            HeaderMap::new()
        })
    }

    async fn of_backend(&self, backend: &Backend, url: &Url) -> Result<Vec<u8>, FetchError> {
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let asked = self.ask_backend(backend, Method::GET, target, None).await;
        match asked {
            Ok((StatusCode::OK, _, body)) => Ok(body),
            Ok((status, ..)) => Err(FetchError::Status(status)),
            Err(_) => Err(FetchError::Connection),
        }
    }

    /// Asks the backend where it is, without any credential.
    async fn ask_backend(
        &self,
        backend: &Backend,
        method: Method,
        target: &str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>), Failure> {
        let away = |why: &dyn std::fmt::Display| {
            let detail = format!("the backend at {}: {why}", backend.origin());
            Failure::because(Reason::UpstreamUnreachable, detail)
        };
        let asking = async {
            let length = body.as_ref().map(Bytes::len);
            let request = Request {
                target,
                body,
                account: None,
                pooling: Pooling::Fresh,
                is_repeatable: true,
                follows_redirect: true,
                caller: None,
                deadline: None,
            };
            let head = |target: &str| head(backend, &method, target, length);
            let reached = self.connections.request(backend, request, head).await;
            let mut connection = reached.map_err(|error| away(&error))?.connection;
            let response = connection.read_head().await.map_err(|error| away(&error))?;
            let (status, headers) = (response.status, response.headers.clone());
            let mut read = Vec::new();
            if method == Method::GET {
                while let Some(chunk) =
                    connection.read_body().await.map_err(|error| away(&error))?
                {
                    read.extend_from_slice(&chunk);
                    if read.len() > LARGEST {
                        return Err(away(&"its answer is too large"));
                    }
                }
            }
            connection.abandon().await;
            Ok((status, headers, read))
        };
        timeout(PATIENCE, asking)
            .await
            .unwrap_or_else(|_| Err(away(&"it has not answered in time")))
    }
}

/// Whether a resource stands at this backend's own origin.
fn is_of(resource: &str, backend: &Backend) -> bool {
    let origin = |text: &str| Url::parse(text).map(|url| url.origin());
    match (origin(resource), origin(&backend.origin())) {
        (Ok(resource), Ok(backend)) => resource == backend,
        _ => false,
    }
}

/// The scopes to ask for: those of the challenge, else those that the backend knows; and what a refresh token
/// is given by.
fn scopes(
    challenged: Option<&str>,
    said: Option<&ResourceDocument>,
    server: &Server,
) -> Result<Vec<String>, String> {
    let mut scopes = match (challenged, said) {
        (Some(challenged), _) => bounds::scopes(challenged.split_ascii_whitespace())?,
        (None, Some(said)) => bounds::scopes(said.scopes_supported.iter().map(String::as_str))?,
        (None, None) => Vec::new(),
    };
    if server.knows_offline && !scopes.is_empty() && !scopes.iter().any(|scope| scope == OFFLINE) {
        scopes.push(OFFLINE.to_owned());
    }
    Ok(scopes)
}

/// `None` if a value of ours is no header value.
fn head(
    backend: &Backend,
    method: &Method,
    target: &str,
    length: Option<usize>,
) -> Option<RequestHeader> {
    let mut head = RequestHeader::build(method.clone(), target.as_bytes(), Some(6)).ok()?;
    head.insert_header(HOST, backend.host.as_str()).ok()?;
    // The operator's own headers, which may be what lets anybody through to the backend at all.
    for (name, value) in &backend.headers {
        head.insert_header(name.clone(), value.clone()).ok()?;
    }
    if let Some(length) = length {
        head.insert_header(CONTENT_TYPE, "application/json").ok()?;
        head.insert_header(CONTENT_LENGTH, length).ok()?;
    }
    let accept = "application/json, text/event-stream";
    head.insert_header(ACCEPT, accept).ok()?;
    Some(head)
}

/// Whether the operator says which server it is.
const fn is_told(settings: &OAuthAccount) -> bool {
    settings.issuer.is_some() || settings.token_endpoint.is_some()
}

/// The server whose endpoints the operator wrote: both, or the one that an exchange takes.
fn written(settings: &OAuthAccount) -> Option<Server> {
    let token_endpoint = settings.token_endpoint.as_ref()?;
    let authorization_endpoint = settings.authorization_endpoint.as_ref();
    Some(Server {
        issuer: settings.issuer.clone(),
        authorization_endpoint: authorization_endpoint.map(Url::to_string),
        token_endpoint: token_endpoint.to_string(),
        revocation_endpoint: settings.revocation_endpoint.as_ref().map(Url::to_string),
        registration_endpoint: None,
        names_itself: false,
        takes_documents: false,
        methods: None,
        knows_offline: false,
    })
}
