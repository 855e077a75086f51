//! The edge over real sockets: a client that writes bytes, a backend that does as it is told and
//! records what arrived.

mod backends;
mod catalogue;
mod client;
mod framed;
mod lane_heads;
mod requests;
mod scripted;
mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use biscuit_auth::KeyPair;
use mcp_protocol::RevisionFamilies;
use pingora::server::configuration::ServerConf;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::sync::watch;

use self::client::{Reply, ask};
use self::scripted::{Act, Scripted};
use super::*;
use gateway_core::access_token::{Claims, Keys, KeysHandle, Tools, mint};
use gateway_core::client::ClientId;
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::grants::{GrantId, PinKey, UserId};
use gateway_core::protocol::redirect_uri::PrivateUseSchemes;
use gateway_core::protocol::resource::{Issuer, Mount, Resource};
use gateway_core::protocol::scope::Scope;
use gateway_core::protocol::web_origin::AllowedOrigins;
use gateway_core::secret::TagKey;
use gateway_fetch::{Documents, Fetcher, Limits};
use gateway_oauth::AuthorizationServer;
use gateway_oauth::identity::Passwords;
use gateway_store::{Memory, Records, Revocation, RevocationView, Store, StoreEpoch};
use gateway_upstream::{
    Address, Backend, Catalogue, Connections, IdentityHeaders, ProtocolSupport,
};

const ISSUER: &str = "https://mcp.example.com";
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const CALL: &str =
    r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"search","arguments":{}}}"#;
const PONG: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

/// A gateway in front of one backend at `/`, by its name at `/named`, by a unix socket at `/socket`,
/// and of one that does not listen at `/gone`.
struct Fixture {
    address: SocketAddr,
    backend: Scripted,
    edge: Proxy,
    keys: KeysHandle,
    store: Arc<dyn Store>,
    epoch: StoreEpoch,
    socket: PathBuf,
    /// Holds the port of the one that does not listen.
    _nobody: TcpSocket,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Fixture {
    async fn new(act: impl Fn(&scripted::RecordedRequest) -> Act + Send + Sync + 'static) -> Self {
        Self::with(act, |_| {}).await
    }

    async fn with(
        act: impl Fn(&scripted::RecordedRequest) -> Act + Send + Sync + 'static,
        adjust: impl FnOnce(&mut Settings),
    ) -> Self {
        let backend = Scripted::start(act).await;
        let by_name = Address::Tcp {
            host: "localhost".to_owned(),
            port: backend.address.port(),
            tls: false,
        };
        let socket = backend.socket();
        let by_socket = Address::Unix(socket.clone());
        let nobody = TcpSocket::new_v4().unwrap();
        nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let unused = nobody.local_addr().unwrap();
        let backends = vec![
            Arc::new(backend_at("notes", "", backend.address)),
            Arc::new(backend_at("gone", "/gone", unused)),
            Arc::new(Backend {
                address: by_name,
                token_header: Some(http::HeaderName::from_static("x-who-calls")),
                ..backend_at("named", "/named", backend.address)
            }),
            Arc::new(Backend {
                address: by_socket,
                ..backend_at("socket", "/socket", backend.address)
            }),
        ];
        let mut settings = Settings {
            issuer: Issuer::parse(ISSUER).unwrap(),
            allowed_origins: AllowedOrigins::parse(["https://inspector.example"]).unwrap(),
            trusted_proxies: Vec::new(),
            identity_headers: IdentityHeaders::default(),
            request_body: 64 * 1024,
            request_header: 32 * 1024,
            lane: std::env::var_os("GATEWAY_LANE").is_none_or(|value| value != "off"),
            in_flight: crate::InFlight {
                all: 1 << 27,
                per_address: 1 << 27,
                per_grant: 1 << 27,
            },
            connections: 1000,
            bound: crate::Bound::Setting,
            connections_per_address: 1000,
            streams_outlast_tokens: None,
            keep_alive: Duration::from_millis(150),
            h2c: false,
            stream_probe: None,
            timeouts: Timeouts {
                head: Duration::from_millis(600),
                body: Duration::from_millis(600),
                ..Timeouts::default()
            },
        };
        adjust(&mut settings);
        let keys = KeysHandle::new(Keys::new(BTreeMap::from([(1, KeyPair::new())])).unwrap());
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let revocations = RevocationView::follow(Arc::clone(&store), Clock, &Handle::current());
        while revocations.epoch().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let epoch = revocations.epoch().expect("it was waited for");
        let connections = Arc::new(Connections::default());
        let edge = Proxy::new(
            settings,
            Dependencies {
                journal: gateway_store::journal::Journal::off(),
                policy: Default::default(),
                server: Arc::new(authorization_server(&backends, &keys, &store)),
                keys: keys.clone(),
                revocations,
                tags: TagKey::new([3; 32]),
                clock: Clock,
                protocols: backends
                    .iter()
                    .map(|_| ProtocolSupport::new(RevisionFamilies::NONE, false))
                    .collect(),
                backends,
                connections,
                metrics: Default::default(),
                traces: Default::default(),
            },
        );
        let address = serve(&edge).await;
        Self {
            address,
            backend,
            edge,
            keys,
            store,
            epoch,
            socket,
            _nobody: nobody,
        }
    }

    fn claims(&self) -> Claims {
        let now = Timestamp::from_secs(Clock.now().secs());
        Claims {
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            groups: Vec::new(),
            client: ClientId::new("c_1"),
            grant: GrantId::new("g_1"),
            resource: Resource::from_token(format!("{ISSUER}/mcp")),
            scope: Scope::parse("mcp"),
            tools: Tools::All,
            issued: self.epoch.dates(now),
            expires: now + Duration::from_secs(3600),
        }
    }

    fn mint(&self, claims: &Claims) -> String {
        mint(claims, &self.keys.current()).unwrap().token
    }

    fn token(&self) -> String {
        self.mint(&self.claims())
    }

    async fn revoke(&self, grant: &str) {
        let revocation = Revocation {
            id: grant.to_owned(),
            expires: Clock.now() + Duration::from_secs(3600),
        };
        self.store.revoke(&revocation, Clock.now()).await.unwrap();
    }

    /// A request with a valid token; `lines` are further header lines.
    fn request(&self, method: &str, path: &str, lines: &str, body: &str) -> String {
        let token = self.token();
        message(
            method,
            path,
            &format!("Authorization: Bearer {token}\r\n{lines}"),
            body,
        )
    }

    async fn ask(&self, method: &str, path: &str, lines: &str, body: &str) -> Reply {
        ask(self.address, &self.request(method, path, lines, body)).await
    }

    /// A request as it is, without a token of ours.
    async fn raw(&self, request: &str) -> Reply {
        ask(self.address, request).await
    }
}

fn message(method: &str, path: &str, lines: &str, body: &str) -> String {
    let content = if body.is_empty() {
        String::new()
    } else {
        format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        )
    };
    format!("{method} {path} HTTP/1.1\r\nHost: mcp.example.com\r\n{lines}{content}\r\n{body}")
}

fn backend_at(name: &str, prefix: &str, address: SocketAddr) -> Backend {
    Backend {
        mount: Mount {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        },
        address: Address::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
            tls: false,
        },
        host: address.to_string(),
        mcp_path: "/mcp".to_owned(),
        sse_path: "/sse".to_owned(),
        headers: Vec::new(),
        approval_required: Default::default(),
        token_header: None,
        account: None,
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(2),
        start_timeout: Duration::from_secs(2),
        is_on_stdio: false,
        starts_with_us: false,
        pages: None,
        aggregate: None,
    }
}

fn authorization_server(
    backends: &[Arc<Backend>],
    keys: &KeysHandle,
    store: &Arc<dyn Store>,
) -> AuthorizationServer {
    AuthorizationServer {
        documents: None,
        key_sets: Documents::new(Fetcher::new(Limits::default(), [])),
        settings: gateway_oauth::Settings {
            issuer: Issuer::parse(ISSUER).unwrap(),
            mounts: backends
                .iter()
                .map(|backend| backend.mount.clone())
                .collect(),
            title: "Test".to_owned(),
            access_ttl: Duration::from_secs(3600),
            scopes: Default::default(),
            refresh: None,
            introspection: BTreeMap::new(),
            apps_challenge: None,
            security_contact: None,
            redirect_schemes: PrivateUseSchemes::default(),
            clients: Vec::new(),
            services: BTreeMap::new(),
            service_names: Default::default(),
            device_apps: gateway_oauth::device::DeviceApps::Verified,
            document_hosts: Vec::new(),
            registrations_per_hour: 100,
            unused_clients_for: Duration::from_secs(86_400),
            personal: Some(Duration::from_secs(90 * 86_400)),
            password_login: true,
            owner_name: None,
        },
        accounts: gateway_accounts::Accounts::none(
            Records::new(Arc::clone(store)),
            Issuer::parse(ISSUER).unwrap(),
        ),
        records: Records::new(Arc::clone(store)),
        last_use: Arc::default(),
        keys: keys.clone(),
        tags: TagKey::new([4; 32]),
        passwords: Passwords::default(),
        providers: gateway_oauth::provider::Providers::new(Vec::new()),
        passkeys: gateway_oauth::passkey::Passkeys::new(&Issuer::parse(ISSUER).unwrap(), "Test"),
        pages: gateway_upstream::PageReader::new(
            backends.to_vec(),
            Arc::default(),
            IdentityHeaders::default(),
        ),
        policy: Default::default(),
        limits: gateway_store::CallLimits::new(
            Vec::new(),
            gateway_store::Shares::new(Records::new(Arc::clone(store)), Clock),
        ),
        owner_pages: Default::default(),
        journal: gateway_store::journal::Journal::off(),
        catalogue: Arc::new(Catalogue::new(
            backends.to_vec(),
            Arc::default(),
            IdentityHeaders::default(),
            PinKey::new(&TagKey::new([4; 32])),
        )),
        clock: Clock,
        metrics: Default::default(),
    }
}

/// Takes connections as the service does.
async fn serve(edge: &Proxy) -> SocketAddr {
    let app = edge.listener(&Arc::new(ServerConf::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (_keep, shutdown) = watch::channel(false);
        while let Ok((tcp, peer)) = listener.accept().await {
            app.take(&Port::Http, tcp, peer, &shutdown);
        }
    });
    address
}

fn only(tools: &[&str]) -> Tools {
    Tools::Only(
        tools
            .iter()
            .map(|tool| (*tool).to_owned())
            .collect::<BTreeSet<_>>(),
    )
}
