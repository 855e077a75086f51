//! The configuration: resolved, typed, all problems reported at once.
//!
//! A table is a file: a row for each key (`settings`), and what its keys mean together. [`schema`] is the
//! list of the tables, [`layers`] has what file, environment and flags say, `reader` notes what is
//! wrong. Other crates declare the settings that they need; `app` and `server` fill those in.

mod accounts;
mod aggregate;
mod audit;
mod backends;
mod clients;
mod general;
mod id_jag;
pub mod layers;
mod limit;
mod limits;
mod logins;
mod owner;
mod policy;
mod printed;
mod reader;
pub mod schema;
mod scopes;
mod sections;
mod services;
mod settings;
mod stdio;
mod store;
mod tls;
mod tokens;
mod traces;
mod units;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway_core::access_token::Approver;
use gateway_core::client::service::ServiceClient;
use gateway_core::client::{Client, ClientId};
use gateway_core::grants::refresh_token::Lifetimes;
use gateway_core::limits::Limit;
use gateway_core::policy::ScopeTable;
use gateway_core::policy::rules::Rules;
use gateway_core::protocol::resource::Issuer;
use gateway_core::protocol::web_origin::AllowedOrigins;
use gateway_oauth::provider::Provider;
use gateway_store::StoreUrl;
use gateway_store::journal;
use gateway_upstream::IdentityHeaders;

pub use self::backends::ConfiguredBackend;
pub use self::clients::Clients;
pub use self::general::General;
pub use self::limits::Limits;
pub use self::owner::Owner;
pub use self::printed::printed;
pub use self::sections::{Discovery, Log, LogFormat, Timeouts};
pub use self::tls::{CertificateSource, TlsSettings};
pub use self::values::read_text;

use self::accounts::AccountKeys;
use self::audit::AuditKeys;
use self::backends::BackendKeys;
use self::clients::ClientKeys;
use self::id_jag::IdJagKeys;
use self::layers::{Layers, Problem};
use self::limit::LimitKeys;
use self::logins::LoginKeys;
use self::owner::OwnerKeys;
use self::policy::{ApproverKeys, GroupKeys, NetworkKeys, PolicyKeys};
use self::reader::Reader;
use self::schema::Schema;
use self::scopes::ScopeKeys;
use self::sections::Identity;
use self::services::ServiceKeys;
use self::store::{StoreKeys, state_folder};
use self::tls::TlsKeys;
use self::tokens::TokenKeys;
use self::traces::TraceKeys;

/// Every key, table by table, in the order of the documentation.
pub static SCHEMA: Schema = Schema(&[
    General::KEYS,
    TlsKeys::KEYS,
    Log::KEYS,
    StoreKeys::KEYS,
    TokenKeys::KEYS,
    OwnerKeys::KEYS,
    LoginKeys::KEYS,
    IdJagKeys::KEYS,
    Clients::KEYS,
    AuditKeys::KEYS,
    TraceKeys::KEYS,
    Identity::KEYS,
    Limits::KEYS,
    Timeouts::KEYS,
    Discovery::KEYS,
    ScopeKeys::KEYS,
    ApproverKeys::KEYS,
    PolicyKeys::KEYS,
    GroupKeys::KEYS,
    NetworkKeys::KEYS,
    LimitKeys::KEYS,
    BackendKeys::KEYS,
    AccountKeys::KEYS,
    ClientKeys::KEYS,
    ServiceKeys::KEYS,
]);

/// Everything that the operator decided. What a table's own keys say is in the struct of the table;
/// what takes more than one key to know stands beside it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The keys outside of any table.
    pub general: General,
    /// `[log]`
    pub log: Log,
    /// `[clients]`
    pub registration: Clients,
    /// `[limits]`
    pub limits: Limits,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `[discovery]`
    pub discovery: Discovery,
    /// `[identity]`
    pub identity: IdentityHeaders,
    /// `[tls]`, where https is served here.
    pub tls: Option<TlsSettings>,
    /// `public_url`, or what follows from `listen`.
    pub issuer: Issuer,
    /// `threads`, or one for each core.
    pub threads: usize,
    /// `keys_dir`, or what follows from the store.
    pub keys_dir: PathBuf,
    /// `allowed_origins`
    pub allowed_origins: AllowedOrigins,
    /// The folder of what belongs to a running gateway.
    pub state: PathBuf,
    /// `[store]`: the URL with the password.
    pub store: StoreUrl,
    /// `tokens.access_ttl`, or what follows from `tokens.refresh`.
    pub access_ttl: Duration,
    /// The lifetimes of refresh tokens, where `tokens.refresh` is on.
    pub refresh: Option<Lifetimes>,
    /// How long personal tokens may last, where `tokens.personal` is on.
    pub personal: Option<Duration>,
    /// `[owner]`
    pub owner: Option<Owner>,
    /// `[[login]]`
    pub providers: Vec<Provider>,
    /// `[audit]`; `None` switches it off.
    pub audit: Option<journal::Settings>,
    /// `[traces]`; `None`: nothing is traced.
    pub traces: Option<gateway_traces::Settings>,
    /// `[[client]]`
    pub clients: Vec<Client>,
    /// What clients get for themselves, in the name of a `[[service]]`.
    pub services: BTreeMap<ClientId, ServiceClient>,
    /// The name of every `[[service]]`, also of those that no client acts as.
    pub service_names: BTreeSet<String>,
    /// `[scope.NAME]`
    pub scopes: ScopeTable,
    /// `approvers`
    pub approvers: Vec<Approver>,
    /// `[policy]`, on the ground of `[[group]]` and `[[network]]`.
    pub policy: Option<Arc<Rules>>,
    /// `[[limit]]`
    pub call_limits: Vec<Limit>,
    /// `[[backend]]`
    pub backends: Vec<ConfiguredBackend>,
}

/// Gives the layers their types. All problems at once.
pub fn resolve(layers: &Layers) -> Result<Config, Vec<Problem>> {
    if layers.is_unread {
        return Err(layers.problems.clone());
    }
    let mut reader = Reader::new(layers);
    match read(&mut reader) {
        Some(config) if reader.problems.is_empty() => Ok(config),
        _ => Err(reader.problems),
    }
}

/// Reads every table before it asks whether anything was wrong.
fn read(reader: &mut Reader<'_>) -> Option<Config> {
    let general = General::read(reader, "");
    general.check(reader);
    let issuer = general.issuer(reader);
    let allowed_origins = general.origins(reader);
    let tls = TlsKeys::read(reader, "tls").settings(&general, issuer.as_ref(), reader);
    let store = StoreKeys::read(reader, "store").url(reader);
    let tokens = TokenKeys::read(reader, "tokens");
    let access_ttl = tokens.access_ttl(reader);
    let refresh = tokens.lifetimes(access_ttl, reader);
    let personal = tokens.personal(reader);
    let audit = AuditKeys::read(reader, "audit").settings(store.as_ref(), reader);
    let traces = TraceKeys::read(reader, "traces").settings(reader);
    let state = state_folder(store.as_ref());
    let backends = backends::backends(reader, &state);
    let registration = Clients::read(reader, "clients");
    let registered = clients::clients(reader, &registration.redirect_schemes);
    let clients: Vec<Client> = registered.iter().map(|(_, _, it)| it.clone()).collect();
    let approvers = ApproverKeys::read(reader, "");
    let approvers = policy::approvers(reader, approvers);
    let (mut groups, sources) = policy::groups(reader);
    let named = services::services(reader, &mut groups);
    let providers = logins::providers(reader, &sources);
    general.check_logins(&providers, reader);
    let call_limits = limit::limits(reader, &backends, &groups);
    let policy = policy::policy(reader, &backends, &clients, &approvers, groups);
    let log = Log::read(reader, "log");
    let owner = OwnerKeys::read(reader, "owner").owner(reader);
    services::check_owner(reader, owner.as_ref());
    let identity = Identity::read(reader, "identity");
    let limits = Limits::read(reader, "limits");
    limits.check(reader);
    let timeouts = Timeouts::read(reader, "timeouts");
    let discovery = Discovery::read(reader, "discovery");
    let scopes = scopes::scopes(reader, &backends);
    let services = services::of_clients(reader, &registered, &named, &backends, &scopes);
    id_jag::check(reader, &scopes);
    Some(Config {
        tls,
        issuer: issuer?,
        threads: general.worker_threads(),
        keys_dir: general
            .keys_dir
            .clone()
            .unwrap_or_else(|| state.join("keys")),
        allowed_origins,
        state,
        general,
        log,
        registration,
        limits,
        timeouts,
        discovery,
        identity: IdentityHeaders {
            user: identity.user_header,
            client: identity.client_header,
            grant: identity.grant_header,
        },
        store: store?,
        access_ttl,
        refresh,
        personal,
        owner,
        providers,
        audit,
        traces,
        clients,
        services,
        service_names: named,
        scopes,
        approvers,
        policy,
        call_limits,
        backends,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(text: &str) -> Result<Config, Vec<Problem>> {
        let mut layers = Layers::new(&SCHEMA);
        layers.file(Path::new("gateway.toml"), text);
        resolve(&layers)
    }

    #[test]
    fn one_backend_is_all_that_must_be_said() {
        let config = read("[[backend]]\nurl = \"http://127.0.0.1:9000\"\n").unwrap();
        assert_eq!(config.issuer.as_str(), "http://localhost:8080");
        assert_eq!(config.access_ttl, Duration::from_secs(86_400));
        assert_eq!(config.limits.request_body, 4 * 1024 * 1024);
        assert_eq!(config.keys_dir, PathBuf::from("./state/keys"));
        let backend = &config.backends[0].backend;
        assert_eq!(backend.host, "127.0.0.1:9000");
        assert_eq!(backend.mount.mcp_path(), "/mcp");
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let problems = read(
            "public_url = \"http://mcp.example.com\"\nlisten = [\"nowhere\"]\n[tokens]\naccess_ttl = \"24\"\n\
             [[backend]]\nname = \"a\"\nurl = \"ftp://x\"\n[[backend]]\nname = \"b\"\nurl = \"http://x/mcp\"\npath = \"/token/x\"\n",
        )
        .unwrap_err();
        let text = problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n");
        for expected in [
            "gateway.toml:1: `public_url` must be https",
            "gateway.toml:2: `listen`",
            "gateway.toml:4: `tokens.access_ttl`",
            "gateway.toml:7: `backend.0.url` must be http",
            "gateway.toml:10: `backend.1.url` must be an origin",
            "gateway.toml:11: `backend.1.path` begins with a path of the gateway's own",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn with_refresh_tokens_access_tokens_live_an_hour_unless_it_is_said_otherwise() {
        let read = |tokens: &str| {
            let backend = "[[backend]]\nurl = \"http://127.0.0.1:9000\"\n";
            read(&format!("[tokens]\n{tokens}\n{backend}"))
        };
        let config = read("refresh = true").unwrap();
        assert_eq!(config.access_ttl, Duration::from_secs(3600));
        let refresh = config.refresh.unwrap();
        assert_eq!(refresh.idle, Duration::from_secs(30 * 86_400));
        assert_eq!(refresh.absolute, Duration::from_secs(180 * 86_400));
        assert_eq!(refresh.grace, Duration::from_secs(60));
        let config = read("refresh = true\naccess_ttl = \"5m\"").unwrap();
        assert_eq!(config.access_ttl, Duration::from_secs(300));
        assert!(read("refresh = false").unwrap().refresh.is_none());
        for wrong in [
            "refresh_grace = \"0s\"",
            "refresh_grace = \"6m\"",
            "refresh_idle = \"1h\"",
            "refresh_max = \"29d\"",
        ] {
            let problems = read(&format!("refresh = true\n{wrong}")).unwrap_err();
            assert_eq!(problems.len(), 1, "{wrong}: {problems:?}");
        }
    }

    #[test]
    fn two_backends_need_two_names_and_two_paths() {
        let problems = read(
            "[[backend]]\nname = \"a\"\nurl = \"http://x\"\n[[backend]]\nname = \"a\"\nurl = \"http://y\"\n",
        )
        .unwrap_err();
        assert_eq!(problems.len(), 2);
    }

    #[test]
    fn a_server_on_stdio_is_bridged_through_a_socket_beside_the_state() {
        let config = read(
            "[store]\nurl = \"file:s\"\n[[backend]]\nstdio = [\"npx\", \"-y\", \"a server\"]\n\
             environment = [\"TOKEN=hunter2\", \"LANG\"]\nprocess = \"shared\"\n",
        )
        .unwrap();
        let backend = &config.backends[0];
        assert_eq!(
            backend.backend.address,
            gateway_upstream::Address::Unix(PathBuf::from("s/backend.sock"))
        );
        let program = backend.program.as_ref().unwrap();
        let command = program.command.join(" ");
        assert!(command.starts_with("mcp-backend bridge --listen unix:s/backend.sock"));
        assert!(command.contains("--process shared --env TOKEN --env LANG"));
        assert!(command.ends_with("--until-stdin-closes -- npx -y a server"));
        // Arguments can be read by everybody on the machine.
        assert!(!command.contains("hunter2"));
        assert_eq!(
            program.environment,
            [("TOKEN".to_owned(), "hunter2".to_owned())]
        );
    }

    #[test]
    fn a_backend_is_a_url_or_a_server_on_stdio() {
        for (text, expected) in [
            (
                "url = \"http://x\"\nstdio = [\"a\"]\n",
                "`backend.0.stdio` stands beside a url",
            ),
            (
                "url = \"http://x\"\nenvironment = [\"A=b\"]\n",
                "`backend.0.environment` is for stdio",
            ),
            (
                "stdio = [\"a\"]\nprocess = \"each\"\n",
                "`backend.0.process` must be `session` or `shared`",
            ),
            (
                "stdio = [\"a\"]\nenvironment = [\"=b\"]\n",
                "`backend.0.environment` is written as NAME or NAME=VALUE",
            ),
        ] {
            let problems = read(&format!("[[backend]]\n{text}")).unwrap_err();
            assert!(
                problems[0].to_string().contains(expected),
                "{expected}: {problems:?}"
            );
        }
    }

    #[test]
    fn secrets_are_masked_when_printed() {
        let mut layers = Layers::new(&SCHEMA);
        layers.file(
            Path::new("gateway.toml"),
            "[store]\nurl = \"redis://u:hunter2@h/\"\n[owner]\npassword_hash = \"hunter2\"\n\
             [[backend]]\nurl = \"http://x\"\nheaders = { Authorization = \"Bearer hunter2\" }\nenvironment = [\"A=hunter2\"]\n",
        );
        let text = format!("{:?}", printed(&layers));
        assert!(!text.contains("hunter2"), "{text}");
    }
}
