//! The configuration: resolved, typed, all problems reported at once.
//!
//! [`schema`] names the keys, [`layers`] reads them from file, environment and flags, and this
//! module gives them types. Modules below declare the settings they need; `app` fills those in.

mod audit;
mod backends;
mod clients;
pub mod layers;
mod policy;
mod printed;
mod reader;
pub mod schema;
mod scopes;
mod stdio;
mod units;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use mcp_protocol::RevisionFamilies;

use gateway_core::access_token::Approver;
use gateway_core::client::Client;
use gateway_core::grants::refresh_token::Lifetimes;
use gateway_core::policy::ScopeTable;
use gateway_core::policy::rules::Rules;
use gateway_core::protocol::resource::Issuer;
use gateway_core::protocol::web_origin::AllowedOrigins;
use gateway_core::secret::SecretHash;
use gateway_proxy::InFlight;
use gateway_store::StoreUrl;
use gateway_store::journal;
use gateway_upstream::{Backend, IdentityHeaders};

pub use self::printed::printed;
pub use self::values::read_text;

use self::layers::{Layers, Problem};
use self::reader::Reader;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// The owner, for a set-up without a person.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The login name.
    pub name: String,
    /// Argon2id, in the PHC string format.
    pub password_hash: String,
}

/// A backend and the program to start for it, if the gateway is to start one.
#[derive(Clone, Debug)]
pub struct ConfiguredBackend {
    /// Where it is and how it is served.
    pub backend: Backend,
    /// Program and arguments. Empty: it runs by itself.
    pub command: Vec<String>,
    /// The revision families that it speaks; none: it is asked.
    pub families: RevisionFamilies,
    /// Whether `server/discover` is answered for it if it does not know that.
    pub answer_discover: bool,
    /// Of the secret with which it may introspect tokens, if it may.
    pub introspection: Option<SecretHash>,
    /// What is added to the program's environment.
    pub environment: Vec<(String, String)>,
}

/// Everything that the operator decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// `public_url`
    pub issuer: Issuer,
    /// `listen`
    pub listen: Vec<SocketAddr>,
    /// `admin_listen`
    pub admin_listen: SocketAddr,
    /// `title`
    pub title: String,
    /// `threads`
    pub threads: usize,
    /// `keys_dir`
    pub keys_dir: PathBuf,
    /// `trusted_proxies`
    pub trusted_proxies: Vec<IpNet>,
    /// `allowed_origins`
    pub allowed_origins: AllowedOrigins,
    /// `log.format`
    pub log_format: LogFormat,
    /// `log.level`
    pub log_level: log::LevelFilter,
    /// `store.url`, with the password of its own key
    pub store: StoreUrl,
    /// `tokens.access_ttl`
    pub access_ttl: Duration,
    /// `tokens.refresh_idle`, `refresh_max` and `refresh_grace`, where `tokens.refresh` is on
    pub refresh: Option<Lifetimes>,
    /// `owner`
    pub owner: Option<Owner>,
    /// `clients.metadata_documents`
    pub metadata_documents: bool,
    /// `clients.metadata_hosts`
    pub metadata_hosts: Vec<String>,
    /// `clients.private_hosts`
    pub private_hosts: Vec<String>,
    /// `client`
    pub clients: Vec<Client>,
    /// `clients.redirect_schemes`
    pub redirect_schemes: Vec<String>,
    /// `audit`; `None` switches it off
    pub audit: Option<journal::Settings>,
    /// `identity`
    pub identity: IdentityHeaders,
    /// `limits.request_body`, in bytes
    pub request_body: usize,
    /// `limits.request_header`, in bytes
    pub request_header: usize,
    /// `limits.in_flight` and its shares, in bytes
    pub in_flight: InFlight,
    /// `limits.memory`, in bytes
    pub memory: usize,
    /// `limits.connections`
    pub connections: usize,
    /// `limits.connections_per_address`
    pub connections_per_address: usize,
    /// `limits.registrations_per_hour`
    pub registrations_per_hour: u64,
    /// `timeouts.header`
    pub header_timeout: Duration,
    /// `timeouts.body`
    pub body_timeout: Duration,
    /// `timeouts.keepalive`
    pub keepalive: Duration,
    /// `timeouts.shutdown`
    pub shutdown: Duration,
    /// `discovery.apps_challenge`
    pub apps_challenge: Option<String>,
    /// `discovery.security_contact`
    pub security_contact: Option<String>,
    /// `scope`
    pub scopes: ScopeTable,
    /// `approvers`
    pub approvers: Vec<Approver>,
    /// `policy`, on the ground of `group` and `network`
    pub policy: Option<Arc<Rules>>,
    /// `backend`
    pub backends: Vec<ConfiguredBackend>,
}

/// Gives the layers their types. All problems at once.
pub fn resolve(layers: &Layers) -> Result<Config, Vec<Problem>> {
    if layers.is_unread() {
        return Err(layers.problems.clone());
    }
    let mut reader = Reader {
        layers,
        problems: layers.problems.clone(),
    };
    let config = reader.config();
    match config {
        Some(config) if reader.problems.is_empty() => Ok(config),
        _ => Err(reader.problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(text: &str) -> Result<Config, Vec<Problem>> {
        let mut layers = Layers::default();
        layers.file(Path::new("gateway.toml"), text);
        resolve(&layers)
    }

    #[test]
    fn one_backend_is_all_that_must_be_said() {
        let config = read("[[backend]]\nurl = \"http://127.0.0.1:9000\"\n").unwrap();
        assert_eq!(config.issuer.as_str(), "http://localhost:8080");
        assert_eq!(config.access_ttl, Duration::from_secs(86_400));
        assert_eq!(config.request_body, 4 * 1024 * 1024);
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
        let command = backend.command.join(" ");
        assert!(command.starts_with("mcp-backend bridge --listen unix:s/backend.sock"));
        assert!(command.contains("--process shared --env TOKEN --env LANG"));
        assert!(command.ends_with("--until-stdin-closes -- npx -y a server"));
        // Arguments can be read by everybody on the machine.
        assert!(!command.contains("hunter2"));
        assert_eq!(
            backend.environment,
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
        let mut layers = Layers::default();
        layers.file(
            Path::new("gateway.toml"),
            "[store]\nurl = \"redis://u:hunter2@h/\"\n[owner]\npassword_hash = \"hunter2\"\n\
             [[backend]]\nurl = \"http://x\"\nheaders = { Authorization = \"Bearer hunter2\" }\nenvironment = [\"A=hunter2\"]\n",
        );
        let text = format!("{:?}", printed(&layers));
        assert!(!text.contains("hunter2"), "{text}");
    }
}
