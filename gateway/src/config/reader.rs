//! Gives values their types, one key after the other, and notes every problem.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::layers::{Layers, Origin, Problem, Raw};
use crate::config::{Config, LogFormat, Owner, schema, units, values};
use gateway_core::access_token::{self, Approver};
use gateway_core::grants::refresh_token::Lifetimes;
use gateway_core::protocol::resource::Issuer;
use gateway_core::protocol::web_origin::AllowedOrigins;
use gateway_oauth::identity::PasswordPhc;
use gateway_proxy::{InFlight, memory};
use gateway_store::StoreUrl;
use gateway_upstream::IdentityHeaders;

/// Browsers and clients with a token and a few cookies fit in it.
const LEAST_HEADER: usize = 4 * 1024;

/// Whether one listener could get what is meant for the other: the system lets both listen.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (everywhere || one.ip() == other.ip())
}

/// Reads the layers.
pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
    pub(super) problems: Vec<Problem>,
}

impl Reader<'_> {
    pub(super) fn config(&mut self) -> Option<Config> {
        let problems = self.problems.len();
        let listen = self.list("listen", |text| {
            text.parse::<SocketAddr>()
                .map_err(|_| "is no address with a port, such as 127.0.0.1:8080".to_owned())
        });
        // An address that can't be read was named already.
        if listen.is_empty() && self.problems.len() == problems {
            self.wrong("listen", "names no address");
        }
        let admin_listen = self.parsed("admin_listen", |text| {
            text.parse::<SocketAddr>()
                .map_err(|_| "is no address with a port, such as 127.0.0.1:9090".to_owned())
        });
        if admin_listen.is_some_and(|admin| listen.iter().any(|address| overlap(*address, admin))) {
            self.wrong(
                "admin_listen",
                "is the address of `listen`, too: give it another port, and never make it public",
            );
        }
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
        let keys_dir = self.file("keys_dir").map(PathBuf::from).or_else(|| {
            store
                .as_ref()
                .map(|store| Self::state_folder(Some(store)).join("keys"))
        });
        let threads = match self.text("threads") {
            Some(_) => self.count("threads"),
            None => Some(std::thread::available_parallelism().map_or(2, usize::from)),
        };
        let refresh = self.flag("tokens.refresh").unwrap_or_default();
        let access_ttl = self.access_ttl(refresh);
        let lifetimes = self.refresh_lifetimes();
        if let (true, Some(lifetimes)) = (refresh, lifetimes) {
            self.check_lifetimes(lifetimes, access_ttl);
        }
        let audit = self.audit(store.as_ref());
        let backends = self.backends(&Self::state_folder(store.as_ref()));
        let redirect_schemes = self.list("clients.redirect_schemes", values::scheme);
        let clients = self.clients(&redirect_schemes);
        let approvers = self.approvers();
        let policy = self.policy(&backends, &clients, &approvers);
        Some(Config {
            listen,
            admin_listen: admin_listen?,
            issuer: issuer?,
            title: self.text("title")?,
            threads: threads?.max(1),
            keys_dir: keys_dir?,
            trusted_proxies: self.list("trusted_proxies", values::network),
            allowed_origins: self.allowed_origins(),
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
            refresh: lifetimes.filter(|_| refresh),
            owner: self.owner(),
            metadata_documents: self.flag("clients.metadata_documents")?,
            metadata_hosts: self.hosts("clients.metadata_hosts"),
            private_hosts: self.hosts("clients.private_hosts"),
            clients,
            redirect_schemes,
            audit,
            identity: IdentityHeaders {
                user: self.parsed("identity.user_header", values::free_header)?,
                client: self.parsed("identity.client_header", values::free_header)?,
                grant: self.parsed("identity.grant_header", values::free_header)?,
            },
            request_body: self.parsed("limits.request_body", units::size)?,
            request_header: self.parsed("limits.request_header", |text| {
                match units::size(text)? {
                    small if small < LEAST_HEADER => Err("must be at least 4KiB".to_owned()),
                    size => Ok(size),
                }
            })?,
            in_flight: InFlight {
                all: self.parsed("limits.in_flight", units::size)?,
                per_address: self.parsed("limits.in_flight_per_address", units::size)?,
                per_grant: self.parsed("limits.in_flight_per_grant", units::size)?,
            },
            memory: self.memory()?,
            connections: self.some("limits.connections")?,
            connections_per_address: self.some("limits.connections_per_address")?,
            registrations_per_hour: self.count("limits.registrations_per_hour")? as u64,
            header_timeout: self.duration("timeouts.header")?,
            body_timeout: self.duration("timeouts.body")?,
            keepalive: self.duration("timeouts.keepalive")?,
            shutdown: self.duration("timeouts.shutdown")?,
            apps_challenge: self.text("discovery.apps_challenge"),
            security_contact: self.parsed("discovery.security_contact", values::contact),
            scopes: self.scopes(&backends),
            approvers,
            policy,
            backends,
        })
    }

    fn approvers(&mut self) -> Vec<Approver> {
        let pairs = match self.layers.value("approvers") {
            Some((Raw::Map(pairs), _)) => pairs.clone(),
            Some(_) => {
                self.wrong("approvers", "is a table of names and public keys");
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut approvers: Vec<Approver> = Vec::new();
        for (name, text) in pairs {
            match access_token::approver_key(&text) {
                Some(key) if approvers.iter().any(|other| other.key == key) => {
                    self.wrong("approvers", &format!("`{name}` has the key of another one"));
                }
                Some(key) => approvers.push(Approver { name, key }),
                None => self.wrong(
                    "approvers",
                    &format!(
                        "`{name}` is no Ed25519 public key, which gateway token approver-key prints"
                    ),
                ),
            }
        }
        approvers
    }

    /// Whoever can refresh needs no token that lives long.
    fn access_ttl(&mut self, refresh: bool) -> Option<Duration> {
        const KEY: &str = "tokens.access_ttl";
        if self.text(KEY).is_none() {
            let hours = if refresh { 1 } else { 24 };
            return Some(Duration::from_secs(hours * 3600));
        }
        let ttl = self.duration(KEY)?;
        if ttl < Duration::from_secs(60) {
            self.wrong(KEY, "must be at least 60s");
        }
        Some(ttl)
    }

    fn refresh_lifetimes(&mut self) -> Option<Lifetimes> {
        Some(Lifetimes {
            idle: self.duration("tokens.refresh_idle")?,
            absolute: self.duration("tokens.refresh_max")?,
            grace: self.duration("tokens.refresh_grace")?,
        })
    }

    fn check_lifetimes(&mut self, lifetimes: Lifetimes, access_ttl: Option<Duration>) {
        if access_ttl.is_some_and(|ttl| lifetimes.idle <= ttl) {
            let sentence = "must be longer than access tokens live";
            self.wrong("tokens.refresh_idle", sentence);
        }
        if lifetimes.absolute < lifetimes.idle {
            let sentence = "must not be shorter than tokens.refresh_idle";
            self.wrong("tokens.refresh_max", sentence);
        }
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(300));
        if lifetimes.grace < least || lifetimes.grace > most {
            self.wrong("tokens.refresh_grace", "must be between 1s and 5m");
        }
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
        const NAME: &str = "owner.name";
        let (key, file_key) = ("owner.password_hash", "owner.password_hash_file");
        let name = self.text(NAME).map(|_| {
            self.parsed(NAME, |text| {
                values::person(text).map(|_| text.trim().to_owned())
            })
        });
        let before = self.problems.len();
        let hash = self.secret(key, file_key);
        let is_unreadable = self.problems.len() > before;
        match (name, hash) {
            (Some(name), Some(hash)) => match PasswordPhc::parse(&hash) {
                Ok(hash) => Some(Owner {
                    name: name?,
                    password_hash: hash.as_str().to_owned(),
                }),
                Err(error) => {
                    let at = if self.text(key).is_some() {
                        key
                    } else {
                        file_key
                    };
                    self.wrong(at, &error.to_string());
                    None
                }
            },
            (None, None) => None,
            // What is wrong has been said.
            (Some(_), None) if is_unreadable => None,
            (Some(_), None) => {
                self.wrong(
                    file_key,
                    "must be given with owner.name; `gateway users hash` makes the hash",
                );
                None
            }
            (None, Some(_)) => {
                self.wrong(NAME, "must be given with the owner's password hash");
                None
            }
        }
    }

    pub(super) fn path(&mut self, key: &str) -> Option<String> {
        self.parsed(key, |text| {
            match text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic()) {
                true if text.contains('#') => Err("has a fragment, which is never sent".to_owned()),
                true => Ok(text.to_owned()),
                false => Err("must be an absolute path".to_owned()),
            }
        })
    }

    fn allowed_origins(&mut self) -> AllowedOrigins {
        const KEY: &str = "allowed_origins";
        let texts = self.list(KEY, |text| Ok(text.to_owned()));
        let read = AllowedOrigins::parse(texts.iter().map(String::as_str));
        read.unwrap_or_else(|problems| {
            for (text, sentence) in problems {
                self.wrong(KEY, &format!("{sentence}; it is `{text}`"));
            }
            AllowedOrigins::default()
        })
    }

    fn hosts(&mut self, key: &str) -> Vec<String> {
        self.list(key, values::host)
    }

    pub(super) fn duration(&mut self, key: &str) -> Option<Duration> {
        self.parsed(key, units::duration)
    }

    pub(super) fn count(&mut self, key: &str) -> Option<usize> {
        self.parsed(key, |text| {
            text.parse()
                .map_err(|_| "must be a whole number".to_owned())
        })
    }

    /// A count of something that nothing goes without.
    fn some(&mut self, key: &str) -> Option<usize> {
        self.parsed(key, |text| match text.parse() {
            Ok(0) => Err("must be at least 1".to_owned()),
            Ok(number) => Ok(number),
            Err(_) => Err("must be a whole number".to_owned()),
        })
    }

    /// A path of this machine.
    pub(super) fn file(&mut self, key: &str) -> Option<String> {
        self.parsed(key, values::file)
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        self.parsed(key, |text| {
            text.parse().map_err(|_| "must be true or false".to_owned())
        })
    }

    pub(super) fn secret(&mut self, key: &str, file_key: &str) -> Option<String> {
        let inline = self.text(key);
        let Some(file) = self.file(file_key) else {
            return inline;
        };
        if inline.is_some() {
            self.wrong(
                file_key,
                &format!("stands beside `{key}`; give one of them"),
            );
            return None;
        }
        match values::read_text(Path::new(&file)) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(sentence) => {
                self.wrong(file_key, &format!("{sentence}; it is `{file}`"));
                None
            }
        }
    }

    /// The scalar at a path, or its default; `None` where there is neither.
    pub(super) fn text(&mut self, path: &str) -> Option<String> {
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

    fn memory(&mut self) -> Option<usize> {
        // Whatever is wrong with it is said elsewhere.
        let in_flight = self.text("limits.in_flight");
        let in_flight = in_flight.and_then(|text| units::size(&text).ok());
        self.parsed("limits.memory", |text| {
            let size = units::size(text)?;
            match memory::connections(size, in_flight.unwrap_or(0)) {
                0 => Err("must be more than 64MiB and limits.in_flight together".to_owned()),
                _ => Ok(size),
            }
        })
    }

    pub(super) fn parsed<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(path)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(sentence) => {
                self.wrong(path, &format!("{sentence}; it is `{text}`"));
                None
            }
        }
    }

    /// A program and its arguments, byte for byte.
    pub(super) fn words(&mut self, path: &str) -> Vec<String> {
        let words = match self.layers.value(path) {
            Some((Raw::List(items), _)) => items.clone(),
            _ => self.list(path, |text| Ok(text.to_owned())),
        };
        if let [only] = words.as_slice()
            && only.trim().contains(char::is_whitespace)
            && !Path::new(only).exists()
        {
            let parts: Vec<_> = only
                .split_whitespace()
                .map(|part| format!("\"{part}\""))
                .collect();
            let sentence = format!(
                "is one word with blanks, and no program of that name is there; write [{}]",
                parts.join(", ")
            );
            self.wrong(path, &sentence);
        }
        words
    }

    pub(super) fn list<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
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
                .into_iter()
                .flat_map(|default| default.split(','))
                .map(|item| item.trim().to_owned())
                .collect(),
        };
        let mut values = Vec::new();
        for item in items {
            match parse(item.trim()) {
                Ok(value) => values.push(value),
                Err(sentence) => self.wrong(path, &format!("{sentence}; it is `{item}`")),
            }
        }
        values
    }

    pub(super) fn wrong(&mut self, path: &str, sentence: &str) {
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
