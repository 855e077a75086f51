//! A reverse proxy in front of a healthy gateway that does one thing wrong at a time, as proxies,
//! firewalls and wrong configurations do. The gateway believes that the proxy's origin is its own.

mod pass_on;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use self::pass_on::pass_on;

const SERVER_METADATA: &str = "/.well-known/oauth-authorization-server";
const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource/mcp";
const BODY_LIMIT: usize = 8 * 1024 * 1024;

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $name:ident => $id:literal,)*) => {
        /// What the proxy does wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault { $($(#[doc = $doc])* $name,)* }

        impl Fault {
            /// Every fault.
            pub const ALL: &[Fault] = &[$(Fault::$name,)*];

            /// The id of the one check of `gateway doctor` that has to fail.
            pub fn check(self) -> &'static str {
                match self { $(Fault::$name => $id,)* }
            }
        }
    };
}

faults! {
    /// `issuer` ends in a slash.
    IssuerWithSlash => "issuer",
    /// `resource` is the origin instead of the MCP URL.
    ResourceMismatch => "resource",
    /// S256 is not listed.
    NoS256 => "pkce-s256",
    /// `none` is not listed.
    NoPublicClients => "public-clients",
    /// The `iss` flag is not set.
    NoIssFlag => "iss-flag",
    /// An HTML 404 where authorization server metadata belongs.
    ServerMetadataNotFound => "authorization-server-metadata",
    /// An HTML page with 200 where protected resource metadata belongs.
    ResourceMetadataPage => "protected-resource-metadata",
    /// An HTML page with 200 for a well-known path that does not exist.
    CatchAllPage => "unknown-well-known",
    /// Half an OpenID document.
    HalfOpenid => "openid-configuration",
    /// An HTML page where the manifest belongs.
    ManifestPage => "manifest",
    /// HEAD is not passed on.
    HeadRefused => "metadata-head",
    /// CORS headers are stripped.
    NoCors => "metadata-cors",
    /// X-Forwarded-Host changes the documents.
    ForwardedHostTrusted => "metadata-stable",
    /// A backend's address in `token_endpoint`.
    InternalTokenEndpoint => "private-host",
    /// An endpoint on another public origin.
    EndpointElsewhere => "endpoints-origin",
    /// The MCP URL redirects.
    McpRedirect => "no-redirect",
    /// A bot check in front of POSTs to the MCP URL.
    BotPage => "bot-page",
    /// A firewall in front of the page to log in.
    AuthorizeBlocked => "login-page",
    /// The clock is an hour ahead.
    ClockAhead => "clock",
    /// 401 loses its challenge.
    ChallengeStripped => "challenge",
    /// DELETE is refused before it is authenticated.
    DeleteRefused => "challenge",
    /// The older transport answers POST with 405 before it is authenticated.
    SsePostRefused => "challenge-sse",
    /// A challenge with another host in it.
    ChallengeElsewhere => "challenge-metadata",
    /// An invalid token gets the challenge for no token.
    InvalidTokenUnsaid => "challenge-invalid-token",
    /// Preflights are asked for a token.
    PreflightChallenged => "preflight",
    /// Registration is not passed on.
    RegistrationRefused => "registration",
    /// A registration's error is a page.
    RegistrationErrorPage => "registration-errors",
    /// An unregistered redirect URI is redirected to.
    OpenRedirect => "bad-redirect",
    /// The loopback port must be the registered one.
    LoopbackPortFixed => "loopback-port",
    /// The login page may be cached.
    LoginPageCached => "login-page-cache",
    /// The login page may be framed.
    LoginPageFramed => "login-page-framing",
    /// `state` is lost when the answer is Deny.
    DenyWithoutState => "deny",
    /// `state` comes back changed.
    StateMangled => "authorization-response",
    /// `iss` is lost.
    IssStripped => "iss",
    /// Errors of the token endpoint are replaced by a page.
    TokenErrorPage => "token-error",
    /// `expires_in` is lost.
    NoExpiresIn => "token-response",
    /// The token response may be stored.
    TokenStored => "token-no-store",
    /// A retry of a token request gets the first answer.
    TokenRepeated => "code-single-use",
    /// offline_access is not listed.
    NoOfflineAccess => "offline-access",
    /// The code gives no refresh token.
    RefreshTokenLost => "refresh-token",
    /// A refresh gets the error of a token that is gone.
    RefreshRefused => "refresh",
    /// A refresh gives the token that it was made with.
    RefreshNotRotated => "refresh-rotation",
    /// Of two refreshes with one token the second is refused.
    SecondRefreshRefused => "refresh-grace",
    /// `server/discover` gets an error page.
    DiscoverPage => "server-discover",
    /// The first handshake gets an error.
    InitializeFails => "initialize",
    /// `search` answers with two items.
    SearchTwoItems => "search",
    /// A 404 becomes a 500.
    SessionNotFoundHidden => "session-unknown",
    /// A token in the query is taken.
    QueryTokenTaken => "query-token",
    /// Origin is stripped.
    OriginStripped => "origin",
    /// Event streams are compressed.
    StreamCompressed => "stream-compression",
    /// The first event is held back.
    FirstEventHeldBack => "sse-first-event",
    /// The `endpoint` event names a backend.
    EndpointInternal => "sse-endpoint",
    /// Later events are held back.
    LaterEventsHeldBack => "sse-buffering",
    /// A quiet stream is cut.
    IdleStreamCut => "stream-idle",
    /// Revocation is swallowed.
    RevocationSwallowed => "revocation",
}

/// The proxy.
pub struct FaultProxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    upstream: Mutex<Option<String>>,
    fault: Mutex<Option<Fault>>,
    /// Token requests and what they got.
    tokens: Mutex<Vec<(Bytes, Bytes)>>,
    client: reqwest::Client,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FaultProxy {
    /// Listen, healthy for now, in front of nothing yet.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // A kept connection that the gateway is just closing would be a fault of our own.
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()?;
        let shared = Arc::new(Shared {
            upstream: Mutex::default(),
            fault: Mutex::default(),
            tokens: Mutex::default(),
            client,
        });
        let router = Router::new().fallback(relay).with_state(shared.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(FaultProxy {
            address,
            shared,
            task,
        })
    }

    /// The origin that clients know.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stand in front of this origin.
    pub fn front(&self, upstream: &str) {
        *self.shared.upstream.lock().expect("no panic under it") = Some(upstream.to_owned());
    }

    /// Do this wrong from now on.
    pub fn set(&self, fault: Option<Fault>) {
        *self.shared.fault.lock().expect("no panic under it") = fault;
    }
}

/// A request as it came.
struct RecordedRequest {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
}

impl RecordedRequest {
    fn is(&self, method: Method, path: &str) -> bool {
        self.method == method && self.path == path
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// The refresh token of a token request that has one.
    fn refreshes(&self) -> Option<String> {
        if !self.is(Method::POST, "/token") {
            return None;
        }
        let mut fields = url::form_urlencoded::parse(&self.body);
        let (_, token) = fields.find(|(name, _)| name == "refresh_token")?;
        Some(token.into_owned())
    }

    fn has_token(&self) -> bool {
        self.headers.contains_key(header::AUTHORIZATION)
    }

    fn has_good_token(&self) -> bool {
        self.has_token() && !self.header("authorization").ends_with("invalid")
    }

    fn rpc_method(&self) -> String {
        let message: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        message["method"].as_str().unwrap_or_default().to_owned()
    }
}

async fn relay(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let fault = *shared.fault.lock().expect("no panic under it");
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let asked = RecordedRequest {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    if let Some(response) = fault.and_then(|fault| instead(fault, &asked, &shared)) {
        return response;
    }
    match pass_on(&shared, fault, asked).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

fn in_json(status: u16, document: &Value) -> Response {
    let status = StatusCode::from_u16(status).expect("a constant status");
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, document.to_string()).into_response()
}

fn page(status: u16) -> Response {
    let status = StatusCode::from_u16(status).expect("a constant status");
    let html = "<!doctype html><title>Oops</title><p>Just a moment…";
    (status, [(header::CONTENT_TYPE, "text/html")], html).into_response()
}

/// What the proxy answers itself.
fn instead(fault: Fault, asked: &RecordedRequest, shared: &Shared) -> Option<Response> {
    let get_or_head = matches!(asked.method, Method::GET | Method::HEAD);
    let answered = match fault {
        Fault::ServerMetadataNotFound if asked.path == SERVER_METADATA && get_or_head => page(404),
        Fault::ResourceMetadataPage if asked.path == RESOURCE_METADATA && get_or_head => page(200),
        Fault::CatchAllPage if asked.path == format!("{SERVER_METADATA}/mcp") => page(200),
        Fault::ManifestPage if asked.path.ends_with("/manifest.json") => page(200),
        Fault::HeadRefused
            if asked.method == Method::HEAD && asked.path.starts_with("/.well-known/") =>
        {
            StatusCode::METHOD_NOT_ALLOWED.into_response()
        }
        Fault::HalfOpenid if asked.path == "/.well-known/openid-configuration" => {
            in_json(200, &json!({"issuer": "https://mcp.example.com"}))
        }
        Fault::McpRedirect if asked.path == "/mcp" => {
            (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, "/mcp/")]).into_response()
        }
        Fault::BotPage if asked.is(Method::POST, "/mcp") => page(403),
        Fault::AuthorizeBlocked if asked.is(Method::GET, "/authorize") => page(403),
        Fault::DeleteRefused if asked.is(Method::DELETE, "/mcp") && !asked.has_token() => {
            StatusCode::METHOD_NOT_ALLOWED.into_response()
        }
        Fault::SsePostRefused if asked.is(Method::POST, "/sse") => {
            StatusCode::METHOD_NOT_ALLOWED.into_response()
        }
        Fault::PreflightChallenged if asked.is(Method::OPTIONS, "/mcp") => {
            StatusCode::UNAUTHORIZED.into_response()
        }
        Fault::RegistrationRefused if asked.is(Method::POST, "/register") => {
            StatusCode::METHOD_NOT_ALLOWED.into_response()
        }
        Fault::OpenRedirect
            if asked.path == "/authorize" && asked.query.contains("gateway-doctor.invalid") =>
        {
            let location = "https://gateway-doctor.invalid/callback?error=invalid_request";
            (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
        }
        Fault::LoopbackPortFixed
            if asked.path == "/authorize" && asked.query.contains("%3A38474%2F") =>
        {
            page(400)
        }
        Fault::DiscoverPage if asked.has_token() && asked.rpc_method() == "server/discover" => {
            page(500)
        }
        Fault::InitializeFails
            if asked.has_good_token()
                && asked.path == "/mcp"
                && asked.rpc_method() == "initialize" =>
        {
            in_json(422, &json!({"detail": "no"}))
        }
        Fault::RevocationSwallowed if asked.is(Method::POST, "/revoke") => {
            StatusCode::OK.into_response()
        }
        Fault::RefreshRefused if asked.refreshes().is_some() => {
            in_json(400, &json!({"error": "invalid_grant"}))
        }
        Fault::SecondRefreshRefused if asked.refreshes().is_some() => {
            let mut tokens = shared.tokens.lock().expect("no panic under it");
            if tokens.iter().any(|(body, _)| *body == asked.body) {
                return Some(in_json(400, &json!({"error": "invalid_grant"})));
            }
            tokens.push((asked.body.clone(), Bytes::new()));
            return None;
        }
        Fault::TokenRepeated if asked.is(Method::POST, "/token") => {
            let tokens = shared.tokens.lock().expect("no panic under it");
            let (_, answer) = tokens.iter().find(|(body, _)| *body == asked.body)?;
            (
                [
                    (header::CONTENT_TYPE, "application/json"),
                    (header::CACHE_CONTROL, "no-store"),
                ],
                answer.clone(),
            )
                .into_response()
        }
        _ => return None,
    };
    Some(answered)
}
