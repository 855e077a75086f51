//! The configuration: resolved, typed, all problems reported at once.
//!
//! [`schema`] names the keys, [`layers`] reads them from file, environment and flags, and this
//! module gives them types. Modules below declare the settings they need; `app` fills those in.

pub mod layers;
pub mod schema;
mod units;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use url::Url;

use crate::backend::{Address, Backend, IdentityHeaders};
use crate::protocol::resource::{Issuer, Mount};
use crate::store::StoreUrl;

use self::layers::{Layers, Origin, Problem, Raw};
use self::schema::Kind;

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
    pub allowed_origins: Vec<String>,
    /// `log.format`
    pub log_format: LogFormat,
    /// `log.level`
    pub log_level: log::LevelFilter,
    /// `store.url`, with the password of its own key
    pub store: StoreUrl,
    /// `tokens.access_ttl`
    pub access_ttl: Duration,
    /// `owner`
    pub owner: Option<Owner>,
    /// `clients.metadata_documents`
    pub metadata_documents: bool,
    /// `clients.metadata_hosts`
    pub metadata_hosts: Vec<String>,
    /// `clients.private_hosts`
    pub private_hosts: Vec<String>,
    /// `clients.redirect_schemes`
    pub redirect_schemes: Vec<String>,
    /// `identity`
    pub identity: IdentityHeaders,
    /// `limits.request_body`, in bytes
    pub request_body: usize,
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
    /// `backend`
    pub backends: Vec<ConfiguredBackend>,
}

/// Gives the layers their types. All problems at once.
pub fn resolve(layers: &Layers) -> Result<Config, Vec<Problem>> {
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

/// One line of `gateway check`: path, value with secrets masked, origin.
pub fn printed(layers: &Layers) -> Vec<(String, String, Origin)> {
    let mut lines = Vec::new();
    for key in schema::KEYS {
        let paths: Vec<String> = match key.path.strip_prefix("backend[].") {
            Some(rest) => (0..layers.backends())
                .map(|index| format!("backend.{index}.{rest}"))
                .collect(),
            None => vec![key.path.to_owned()],
        };
        for path in paths {
            let (value, origin) = match layers.value(&path) {
                Some((raw, origin)) => (masked(key.kind, raw), origin.clone()),
                None => (key.default.to_owned(), Origin::Default),
            };
            lines.push((path, value, origin));
        }
    }
    lines
}

fn masked(kind: Kind, raw: &Raw) -> String {
    match (kind, raw) {
        (Kind::Secret, _) => "********".to_owned(),
        (Kind::SecretMap, Raw::Map(pairs)) => pairs
            .iter()
            .map(|(name, _)| format!("{name}=********"))
            .collect::<Vec<_>>()
            .join(", "),
        (_, Raw::Map(pairs)) => pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(", "),
        (_, Raw::List(items)) => items.join(", "),
        (_, Raw::Scalar(text)) => match Url::parse(text) {
            // A password can hide in a URL.
            Ok(mut url) if url.password().is_some() => {
                let _ = url.set_password(Some("********"));
                url.to_string()
            }
            _ => text.clone(),
        },
    }
}

struct Reader<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn config(&mut self) -> Option<Config> {
        let listen = self.list("listen", |text| {
            text.parse::<SocketAddr>()
                .map_err(|_| "is no address with a port, such as 127.0.0.1:8080".to_owned())
        });
        if listen.is_empty() {
            self.wrong("listen", "names no address");
        }
        let admin_listen = self.parsed("admin_listen", |text| {
            text.parse::<SocketAddr>()
                .map_err(|_| "is no address with a port, such as 127.0.0.1:9090".to_owned())
        });
        let default_url = listen
            .first()
            .map(|address| format!("http://localhost:{}", address.port()));
        let public_url = self.text("public_url").or(default_url);
        let issuer = public_url.and_then(|text| match Issuer::parse(&text) {
            Ok(issuer) => Some(issuer),
            Err(error) => {
                self.wrong("public_url", &format!("{error}; it is `{text}`"));
                None
            }
        });
        let store = self.store();
        let keys_dir = self.text("keys_dir").map(PathBuf::from).or_else(|| {
            let state = match store.as_ref()? {
                StoreUrl::Folder(folder) => folder.clone(),
                _ => PathBuf::from("./state"),
            };
            Some(state.join("keys"))
        });
        let threads = match self.text("threads") {
            Some(_) => self.count("threads"),
            None => Some(std::thread::available_parallelism().map_or(2, usize::from)),
        };
        if self.flag("tokens.refresh") == Some(true) {
            self.wrong(
                "tokens.refresh",
                "isn't served by this version; set it to false",
            );
        }
        let access_ttl = self.duration("tokens.access_ttl");
        if access_ttl.is_some_and(|ttl| ttl < Duration::from_secs(60)) {
            self.wrong("tokens.access_ttl", "must be at least 60s");
        }
        let backends = self.backends();
        Some(Config {
            listen,
            admin_listen: admin_listen?,
            issuer: issuer?,
            title: self.text("title")?,
            threads: threads?.max(1),
            keys_dir: keys_dir?,
            trusted_proxies: self.list("trusted_proxies", |text| {
                text.parse::<IpNet>()
                    .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                    .map_err(|_| "is no address and no network, such as 10.0.0.0/8".to_owned())
            }),
            allowed_origins: self.list("allowed_origins", |text| {
                let url =
                    Url::parse(text).map_err(|_| "is no origin, such as https://example.com")?;
                Ok(url.origin().ascii_serialization())
            }),
            log_format: self.parsed("log.format", |text| match text {
                "json" => Ok(LogFormat::Json),
                "pretty" => Ok(LogFormat::Pretty),
                _ => Err("must be `json` or `pretty`".to_owned()),
            })?,
            log_level: self.parsed("log.level", |text| {
                text.parse()
                    .map_err(|_| "must be error, warn, info, debug or trace".to_owned())
            })?,
            store: store?,
            access_ttl: access_ttl?,
            owner: self.owner(),
            metadata_documents: self.flag("clients.metadata_documents")?,
            metadata_hosts: self.hosts("clients.metadata_hosts"),
            private_hosts: self.hosts("clients.private_hosts"),
            redirect_schemes: self.list("clients.redirect_schemes", |text| Ok(text.to_owned())),
            identity: IdentityHeaders {
                user: self.header("identity.user_header")?,
                client: self.header("identity.client_header")?,
                grant: self.header("identity.grant_header")?,
            },
            request_body: self.parsed("limits.request_body", units::size)?,
            connections: self.count("limits.connections")?,
            connections_per_address: self.count("limits.connections_per_address")?,
            registrations_per_hour: self.count("limits.registrations_per_hour")? as u64,
            header_timeout: self.duration("timeouts.header")?,
            body_timeout: self.duration("timeouts.body")?,
            keepalive: self.duration("timeouts.keepalive")?,
            shutdown: self.duration("timeouts.shutdown")?,
            apps_challenge: self.text("discovery.apps_challenge"),
            security_contact: self.text("discovery.security_contact"),
            backends,
        })
    }

    fn store(&mut self) -> Option<StoreUrl> {
        let text = self.text("store.url")?;
        let url = match text.parse::<StoreUrl>() {
            Ok(url) => url,
            Err(error) => {
                // The text may hold a password.
                self.wrong("store.url", &format!("can't be used: {error}"));
                return None;
            }
        };
        match self.secret("store.password", "store.password_file") {
            Some(password) => Some(url.with_password(&password)),
            None => Some(url),
        }
    }

    fn owner(&mut self) -> Option<Owner> {
        let name = self.text("owner.name");
        let hash = self.secret("owner.password_hash", "owner.password_hash_file");
        match (name, hash) {
            (Some(name), Some(password_hash)) => Some(Owner {
                name,
                password_hash,
            }),
            (None, None) => None,
            (Some(_), None) => {
                self.wrong(
                    "owner.password_hash_file",
                    "must be given with owner.name; `gateway users hash` makes the hash",
                );
                None
            }
            (None, Some(_)) => {
                self.wrong("owner.name", "must be given with the owner's password hash");
                None
            }
        }
    }

    fn backends(&mut self) -> Vec<ConfiguredBackend> {
        let count = self.layers.backends();
        if count == 0 {
            self.wrong("backend", "is missing: the gateway stands in front of at least one. Write a [[backend]] with a url, or give --backend URL");
        }
        let backends: Vec<_> = (0..count)
            .filter_map(|index| self.backend(index, count))
            .collect();
        let mut names = HashSet::new();
        let mut prefixes = HashSet::new();
        for configured in &backends {
            let mount = &configured.backend.mount;
            if !names.insert(mount.name.clone()) {
                self.wrong(
                    "backend",
                    &format!("`{}` is the name of two backends", mount.name),
                );
            }
            if !prefixes.insert(mount.prefix.clone()) {
                self.wrong(
                    "backend",
                    &format!("`{}/` is the path of two backends", mount.prefix),
                );
            }
        }
        backends
    }

    fn backend(&mut self, index: usize, count: usize) -> Option<ConfiguredBackend> {
        let at = |key: &str| format!("backend.{index}.{key}");
        let url = self.text(&at("url"));
        if url.is_none() {
            self.wrong(&at("url"), "is missing");
        }
        let reached = url.and_then(|text| {
            let reached = reached(&text);
            if let Err(sentence) = &reached {
                self.wrong(&at("url"), sentence);
            }
            reached.ok()
        });
        let path = self.text(&at("path"))?;
        let prefix = match mount_prefix(&path) {
            Ok(prefix) => Some(prefix),
            Err(sentence) => {
                self.wrong(&at("path"), sentence);
                None
            }
        };
        let name = match self.text(&at("name")) {
            Some(name) => name,
            None if count == 1 => "backend".to_owned(),
            None => {
                self.wrong(
                    &at("name"),
                    "is missing: with several backends each has a name",
                );
                return None;
            }
        };
        let headers = self.headers(&at("headers"));
        let (address, host) = reached?;
        Some(ConfiguredBackend {
            command: self.list(&at("command"), |text| Ok(text.to_owned())),
            backend: Backend {
                mount: Mount {
                    name,
                    prefix: prefix?,
                },
                address,
                host,
                mcp_path: self.path(&at("mcp_path"))?,
                sse_path: self.path(&at("sse_path"))?,
                headers,
                connect_timeout: self.duration(&at("connect_timeout"))?,
                response_timeout: self.duration(&at("response_timeout"))?,
            },
        })
    }

    fn headers(&mut self, path: &str) -> Vec<(HeaderName, HeaderValue)> {
        let Some((Raw::Map(pairs), _)) = self.layers.value(path) else {
            if self.layers.value(path).is_some() {
                self.wrong(path, "is a table of header names and values");
            }
            return Vec::new();
        };
        let mut headers = Vec::new();
        for (name, value) in pairs {
            match (
                HeaderName::try_from(name.as_str()),
                HeaderValue::try_from(value.as_str()),
            ) {
                (Ok(name), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.push((name, value));
                }
                _ => self.wrong(path, &format!("`{name}` is no header with a value")),
            }
        }
        headers
    }

    fn path(&mut self, key: &str) -> Option<String> {
        self.parsed(key, |text| {
            if text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic()) {
                Ok(text.to_owned())
            } else {
                Err("must be an absolute path".to_owned())
            }
        })
    }

    fn header(&mut self, key: &str) -> Option<HeaderName> {
        self.parsed(key, |text| {
            HeaderName::try_from(text).map_err(|_| "is no header name".to_owned())
        })
    }

    fn hosts(&mut self, key: &str) -> Vec<String> {
        self.list(key, |text| match url::Host::parse(text) {
            Ok(host) => Ok(host.to_string()),
            Err(_) => Err("is no host name".to_owned()),
        })
    }

    fn duration(&mut self, key: &str) -> Option<Duration> {
        self.parsed(key, units::duration)
    }

    fn count(&mut self, key: &str) -> Option<usize> {
        self.parsed(key, |text| {
            text.parse()
                .map_err(|_| "must be a whole number".to_owned())
        })
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        self.parsed(key, |text| {
            text.parse().map_err(|_| "must be true or false".to_owned())
        })
    }

    fn secret(&mut self, key: &str, file_key: &str) -> Option<String> {
        let inline = self.text(key);
        let Some(file) = self.text(file_key) else {
            return inline;
        };
        if inline.is_some() {
            self.wrong(
                file_key,
                &format!("stands beside `{key}`; give one of them"),
            );
            return None;
        }
        match std::fs::read_to_string(&file) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                self.wrong(file_key, &format!("can't be read: {error}"));
                None
            }
        }
    }

    /// The scalar at a path, or its default; `None` where there is neither.
    fn text(&mut self, path: &str) -> Option<String> {
        match self.layers.value(path) {
            Some((Raw::Scalar(text), _)) if !text.is_empty() => Some(text.clone()),
            Some((Raw::Scalar(_), _)) | None => schema::find(path)
                .map(|key| key.default)
                .filter(|default| !default.is_empty())
                .map(str::to_owned),
            Some(_) => {
                self.wrong(path, "takes one value");
                None
            }
        }
    }

    fn parsed<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(path)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(sentence) => {
                self.wrong(path, &format!("{sentence}; it is `{text}`"));
                None
            }
        }
    }

    fn list<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let items = match self.layers.value(path) {
            Some((Raw::List(items), _)) => items.clone(),
            Some((Raw::Scalar(text), _)) => vec![text.clone()],
            Some((Raw::Map(_), _)) => {
                self.wrong(path, "takes a list");
                Vec::new()
            }
            None => schema::find(path)
                .map(|key| key.default)
                .filter(|default| !default.is_empty())
                .map(str::to_owned)
                .into_iter()
                .collect(),
        };
        let mut values = Vec::new();
        for item in items {
            match parse(&item) {
                Ok(value) => values.push(value),
                Err(sentence) => self.wrong(path, &format!("{sentence}; it is `{item}`")),
            }
        }
        values
    }

    fn wrong(&mut self, path: &str, sentence: &str) {
        let origin = self
            .layers
            .value(path)
            .map_or(Origin::Default, |(_, origin)| origin.clone());
        self.problems.push(Problem {
            origin,
            sentence: format!("`{path}` {sentence}"),
        });
    }
}

fn mount_prefix(path: &str) -> Result<String, &'static str> {
    let prefix = path.strip_suffix('/').unwrap_or(path);
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    match prefix.strip_prefix('/') {
        _ if prefix.is_empty() => Ok(String::new()),
        Some(rest) if rest.split('/').all(plain) => {
            let first = rest.split('/').next().unwrap_or_default();
            let ours = [
                "authorize",
                "login",
                "logout",
                "consent",
                "token",
                "register",
                "revoke",
                "setup",
                "account",
                "assets",
                ".well-known",
                "healthz",
                "mcp",
                "sse",
                "messages",
                "introspect",
            ];
            if ours.contains(&first) {
                Err("begins with a path of the gateway's own")
            } else {
                Ok(prefix.to_owned())
            }
        }
        _ => Err("must be `/` or an absolute path of letters, digits, `-`, `_` and `.`"),
    }
}

/// Address and `Host` of a backend's URL.
fn reached(text: &str) -> Result<(Address, String), String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok((Address::Unix(PathBuf::from(path)), "localhost".to_owned()));
    }
    let url = Url::parse(text).map_err(|_| format!("is no URL; it is `{text}`"))?;
    let tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err("must be http://, https:// or unix:/path".to_owned()),
    };
    let host = url.host_str().ok_or("names no host")?;
    if url.path() != "/"
        || url.query().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(
            "must be an origin; a path goes to mcp_path and sse_path, a credential to headers"
                .to_owned(),
        );
    }
    let port = url.port_or_known_default().ok_or("names no port")?;
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    Ok((Address::Tcp { host, port, tls }, authority))
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
    fn two_backends_need_two_names_and_two_paths() {
        let problems = read(
            "[[backend]]\nname = \"a\"\nurl = \"http://x\"\n[[backend]]\nname = \"a\"\nurl = \"http://y\"\n",
        )
        .unwrap_err();
        assert_eq!(problems.len(), 2);
    }

    #[test]
    fn secrets_are_masked_when_printed() {
        let mut layers = Layers::default();
        layers.file(
            Path::new("gateway.toml"),
            "[store]\nurl = \"redis://u:hunter2@h/\"\n[owner]\npassword_hash = \"hunter2\"\n\
             [[backend]]\nurl = \"http://x\"\nheaders = { Authorization = \"Bearer hunter2\" }\n",
        );
        let text = format!("{:?}", printed(&layers));
        assert!(!text.contains("hunter2"), "{text}");
    }
}
