//! Where a Redis is: the URL of one, and how it prints.

use std::fmt;
use std::path::PathBuf;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use url::Url;

use super::StoreUrlError;

/// A Redis server, a database on it, and the prefix of our keys there.
#[derive(Clone)]
pub struct RedisUrl {
    pub(crate) connection: ConnectionInfo,
    /// Whom to trust instead of the system's certificate authorities (PEM).
    pub(crate) authority: Option<PathBuf>,
    pub(crate) prefix: String,
}

const DEFAULT_PREFIX: &str = "gateway";

pub(super) fn redis_url(text: &str) -> Result<RedisUrl, StoreUrlError> {
    let malformed = |reason: &str| StoreUrlError::Redis(reason.to_owned());
    let mut url = Url::parse(text).map_err(|error| malformed(&error.to_string()))?;
    if url.fragment().is_some() {
        return Err(malformed("it has a fragment"));
    }
    let unix = url.scheme() == "redis+unix";
    let tls = url.scheme() == "rediss";
    let mut authority = None;
    let mut prefix = DEFAULT_PREFIX.to_owned();
    let mut kept = Vec::new();
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "prefix" => prefix = value.into_owned(),
            "ca" if tls => authority = Some(PathBuf::from(value.into_owned())),
            "db" | "user" | "pass" if unix => kept.push((name.into_owned(), value.into_owned())),
            _ => return Err(StoreUrlError::Parameter(name.into_owned())),
        }
    }
    if !is_prefix(&prefix) {
        return Err(StoreUrlError::Prefix);
    }
    url.set_query(None);
    for (name, value) in kept {
        url.query_pairs_mut().append_pair(&name, &value);
    }
    let connection = url
        .into_connection_info()
        .map_err(|error| malformed(error.category()))?;
    Ok(RedisUrl {
        connection,
        authority,
        prefix,
    })
}

fn is_prefix(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.{}".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.connection.redis_settings();
        let credentials = match (settings.username(), settings.password()) {
            (None, None) => String::new(),
            (user, None) => format!("{}@", user.unwrap_or_default()),
            (user, Some(_)) => format!("{}:***@", user.unwrap_or_default()),
        };
        let database = settings.db();
        match self.connection.addr() {
            ConnectionAddr::Tcp(host, port) => {
                write!(
                    f,
                    "redis://{credentials}{}:{port}/{database}",
                    host_part(host)
                )?;
            }
            ConnectionAddr::TcpTls { host, port, .. } => {
                write!(
                    f,
                    "rediss://{credentials}{}:{port}/{database}",
                    host_part(host)
                )?;
            }
            other => write!(f, "redis+unix://{credentials}{other}?db={database}")?,
        }
        let mut separator = match self.connection.addr() {
            ConnectionAddr::Unix(_) => '&',
            _ => '?',
        };
        if let Some(authority) = &self.authority {
            write!(f, "{separator}ca={}", authority.display())?;
            separator = '&';
        }
        if self.prefix != DEFAULT_PREFIX {
            write!(f, "{separator}prefix={}", self.prefix)?;
        }
        Ok(())
    }
}

fn host_part(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}
