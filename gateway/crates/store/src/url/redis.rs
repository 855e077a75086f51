//! Where a Redis is: one server, a server that sentinels know, or a cluster. Owns: the URL of each, and how
//! it prints.

use std::fmt;
use std::path::PathBuf;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use url::Url;

use super::StoreUrlError;

/// A Redis, a database on it, and the prefix of our keys there.
#[derive(Clone)]
pub struct RedisUrl {
    pub(crate) servers: Servers,
    /// User, password and database.
    pub(crate) settings: RedisConnectionInfo,
    /// Whether all connections are TLS, those to sentinels too.
    pub(crate) tls: bool,
    /// Whom to trust instead of the system's certificate authorities (PEM).
    pub(crate) authority: Option<PathBuf>,
    pub(crate) prefix: String,
    /// How many replicas of Redis must have a write before it is acknowledged.
    pub(crate) wait: u32,
}

/// What is named.
#[derive(Clone)]
pub(crate) enum Servers {
    One(ConnectionAddr),
    Sentinels(SentinelsUrl),
    /// Some servers of a cluster.
    Cluster(Vec<(String, u16)>),
}

/// Who is asked for the master.
#[derive(Clone)]
pub(crate) struct SentinelsUrl {
    pub(crate) addresses: Vec<(String, u16)>,
    /// What they call the master.
    pub(crate) name: String,
    /// User and password of the sentinels themselves.
    pub(crate) settings: RedisConnectionInfo,
}

const DEFAULT_PREFIX: &str = "gateway";
const SENTINEL_PORT: u16 = 26379;
const PORT: u16 = 6379;
/// More replicas than a master has make every write fail.
const MOST_REPLICAS: u32 = 16;

/// Which form of URL it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Server,
    Socket,
    Sentinels,
    Cluster,
}

impl Form {
    /// What is failed over must not be acknowledged by one server alone.
    const fn default_wait(self) -> u32 {
        match self {
            Self::Server | Self::Socket => 0,
            Self::Sentinels | Self::Cluster => 1,
        }
    }

    const fn is_of_many(self) -> bool {
        matches!(self, Self::Sentinels | Self::Cluster)
    }

    const fn port(self) -> u16 {
        match self {
            Self::Sentinels => SENTINEL_PORT,
            Self::Server | Self::Socket | Self::Cluster => PORT,
        }
    }
}

/// The part of a URL behind `?`.
struct Parameters {
    prefix: String,
    authority: Option<PathBuf>,
    wait: u32,
    /// For the sentinels.
    sentinels: RedisConnectionInfo,
    /// Those that the library reads.
    kept: Vec<(String, String)>,
}

/// The form, and whether it is TLS.
pub(super) fn form(scheme: &str) -> Option<(Form, bool)> {
    match scheme {
        "redis" => Some((Form::Server, false)),
        "rediss" => Some((Form::Server, true)),
        "redis+unix" => Some((Form::Socket, false)),
        "redis+sentinel" => Some((Form::Sentinels, false)),
        "rediss+sentinel" => Some((Form::Sentinels, true)),
        "redis+cluster" => Some((Form::Cluster, false)),
        "rediss+cluster" => Some((Form::Cluster, true)),
        _ => None,
    }
}

pub(super) fn redis_url(text: &str, (form, tls): (Form, bool)) -> Result<RedisUrl, StoreUrlError> {
    let (text, others) = if form.is_of_many() {
        first_of_many(text)?
    } else {
        (text.to_owned(), Vec::new())
    };
    let mut url = Url::parse(&text).map_err(|error| StoreUrlError::Redis(error.to_string()))?;
    if url.fragment().is_some() {
        return Err(malformed("it has a fragment"));
    }
    let parameters = parameters(&url, form, tls)?;
    url.set_query(None);
    for (name, value) in &parameters.kept {
        url.query_pairs_mut().append_pair(name, value);
    }
    let name = match form {
        Form::Sentinels => take_name(&mut url)?,
        Form::Server | Form::Socket | Form::Cluster => String::new(),
    };
    if form.is_of_many() && url.port().is_none() {
        let _ = url.set_port(Some(form.port()));
    }
    let connection = connection(url)?;
    let servers = match form {
        Form::Server | Form::Socket => Servers::One(connection.addr().clone()),
        Form::Cluster if connection.redis_settings().db() != 0 => {
            return Err(malformed("a cluster has no databases"));
        }
        Form::Cluster => Servers::Cluster(addresses(&connection, &others, form.port())?),
        Form::Sentinels => Servers::Sentinels(SentinelsUrl {
            addresses: addresses(&connection, &others, form.port())?,
            name,
            settings: parameters.sentinels,
        }),
    };
    Ok(RedisUrl {
        servers,
        settings: connection.redis_settings().clone(),
        tls,
        authority: parameters.authority,
        prefix: parameters.prefix,
        wait: parameters.wait,
    })
}

fn malformed(reason: &str) -> StoreUrlError {
    StoreUrlError::Redis(reason.to_owned())
}

fn connection(url: Url) -> Result<ConnectionInfo, StoreUrlError> {
    url.into_connection_info()
        .map_err(|error| malformed(error.category()))
}

/// A URL of several hosts as one of the first, and the others.
fn first_of_many(text: &str) -> Result<(String, Vec<String>), StoreUrlError> {
    let (_, rest) = text
        .split_once("://")
        .ok_or_else(|| malformed("it names no host"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    let mut hosts = hosts.split(',').map(str::to_owned);
    let first = hosts.next().unwrap_or_default();
    Ok((format!("redis://{user}{first}{tail}"), hosts.collect()))
}

/// All of them, with their ports.
fn addresses(
    first: &ConnectionInfo,
    others: &[String],
    port: u16,
) -> Result<Vec<(String, u16)>, StoreUrlError> {
    let mut found = Vec::from_iter(host_and_port(first.addr()));
    for host in others {
        let url = Url::parse(&format!("redis://{host}"))
            .map_err(|error| StoreUrlError::Redis(error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() || !url.path().is_empty() {
            return Err(malformed(
                "what stands between commas is a host, or HOST:PORT",
            ));
        }
        let port = url.port().unwrap_or(port);
        let one = connection(url)?;
        found.extend(host_and_port(one.addr()).map(|(host, _)| (host, port)));
    }
    Ok(found)
}

fn host_and_port(address: &ConnectionAddr) -> Option<(String, u16)> {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some((host.clone(), *port))
        }
        _ => None,
    }
}

/// Takes the master's name out of the path, which leaves the database. Names are as Redis allows them.
fn take_name(url: &mut Url) -> Result<String, StoreUrlError> {
    let path = url.path().strip_prefix('/').unwrap_or_default().to_owned();
    let (name, database) = path.split_once('/').unwrap_or((&path, ""));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(StoreUrlError::Sentinels);
    }
    url.set_path(database);
    Ok(name.to_owned())
}

fn parameters(url: &Url, form: Form, tls: bool) -> Result<Parameters, StoreUrlError> {
    let mut read = Parameters {
        prefix: DEFAULT_PREFIX.to_owned(),
        authority: None,
        wait: form.default_wait(),
        sentinels: RedisConnectionInfo::default(),
        kept: Vec::new(),
    };
    let (unix, sentinels) = (form == Form::Socket, form == Form::Sentinels);
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "prefix" => read.prefix = value.into_owned(),
            "wait" => {
                let wait = value.parse().ok().filter(|wait| *wait <= MOST_REPLICAS);
                read.wait = wait.ok_or(StoreUrlError::Wait)?;
            }
            "ca" if tls => read.authority = Some(PathBuf::from(value.into_owned())),
            "db" | "user" | "pass" if unix => {
                read.kept.push((name.into_owned(), value.into_owned()));
            }
            "sentinel_user" if sentinels => read.sentinels = read.sentinels.set_username(value),
            "sentinel_pass" if sentinels => read.sentinels = read.sentinels.set_password(value),
            _ => return Err(StoreUrlError::Parameter(name.into_owned())),
        }
    }
    // In a cluster we make the braces.
    let has_braces = read.prefix.contains(['{', '}']);
    if !is_prefix(&read.prefix) || (form == Form::Cluster && has_braces) {
        return Err(StoreUrlError::Prefix);
    }
    Ok(read)
}

fn is_prefix(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.{}".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

impl RedisUrl {
    fn form(&self) -> Form {
        match &self.servers {
            Servers::One(ConnectionAddr::Unix(_)) => Form::Socket,
            Servers::One(_) => Form::Server,
            Servers::Sentinels(_) => Form::Sentinels,
            Servers::Cluster(_) => Form::Cluster,
        }
    }

    fn parameters(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.form() == Form::Socket {
            found.push(format!("db={}", self.settings.db()));
        }
        if let Servers::Sentinels(sentinels) = &self.servers {
            if let Some(user) = sentinels.settings.username() {
                found.push(format!("sentinel_user={user}"));
            }
            if sentinels.settings.password().is_some() {
                found.push("sentinel_pass=***".to_owned());
            }
        }
        if let Some(authority) = &self.authority {
            found.push(format!("ca={}", authority.display()));
        }
        if self.prefix != DEFAULT_PREFIX {
            found.push(format!("prefix={}", self.prefix));
        }
        if self.wait != self.form().default_wait() {
            found.push(format!("wait={}", self.wait));
        }
        found
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = match (self.settings.username(), self.settings.password()) {
            (None, None) => String::new(),
            (user, None) => format!("{}@", user.unwrap_or_default()),
            (user, Some(_)) => format!("{}:***@", user.unwrap_or_default()),
        };
        let database = self.settings.db();
        let scheme = if self.tls { "rediss" } else { "redis" };
        match &self.servers {
            Servers::One(ConnectionAddr::Unix(path)) => {
                write!(f, "redis+unix://{credentials}{}", path.display())?;
            }
            Servers::One(address) => {
                let at = host_and_port(address).map(host_part).unwrap_or_default();
                write!(f, "{scheme}://{credentials}{at}/{database}")?;
            }
            Servers::Sentinels(sentinels) => {
                let (hosts, name) = (hosts(&sentinels.addresses), &sentinels.name);
                write!(
                    f,
                    "{scheme}+sentinel://{credentials}{hosts}/{name}/{database}"
                )?;
            }
            Servers::Cluster(seeds) => {
                write!(f, "{scheme}+cluster://{credentials}{}", hosts(seeds))?;
            }
        }
        match self.parameters() {
            found if found.is_empty() => Ok(()),
            found => write!(f, "?{}", found.join("&")),
        }
    }
}

fn hosts(addresses: &[(String, u16)]) -> String {
    let hosts = addresses.iter().cloned().map(host_part);
    hosts.collect::<Vec<_>>().join(",")
}

fn host_part((host, port): (String, u16)) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}
