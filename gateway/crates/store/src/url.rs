//! Where the store is, as the operator writes it. Owns: the grammar of store URLs and how they
//! print without their password. Not: opening anything.

mod redis;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use self::redis::RedisUrl;
pub(crate) use self::redis::{SentinelsUrl, Servers};
use self::redis::{form, redis_url};

/// A parsed store URL. Prints with its password masked.
#[derive(Clone)]
pub enum StoreUrl {
    /// `memory:`: nothing outlives the process.
    Memory,
    /// `file:FOLDER`: the embedded store, for one gateway on one machine.
    Folder(PathBuf),
    /// `redis://`, `rediss://` or `redis+unix://`: shared by replicas. `redis+sentinel://HOST,HOST/NAME`
    /// and `rediss+sentinel://`: the same, where sentinels know the master. `redis+cluster://HOST,HOST` and
    /// `rediss+cluster://`: the same on many servers.
    ///
    /// `?prefix=NAME` starts its keys with another word than `gateway`; `?ca=FILE`, with TLS, trusts the
    /// certificate authorities of that PEM file instead of the system's; `?wait=N` acknowledges a write
    /// when N replicas of Redis have it; `?sentinel_user=` and `?sentinel_pass=` are for the sentinels
    /// themselves.
    Redis(Box<RedisUrl>),
}

/// Why a text is no store URL. Never contains the text itself: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// The scheme is not one of ours.
    #[error(
        "the store URL starts with none of file:, memory:, redis://, rediss://, redis+unix://, \
         redis+sentinel://, rediss+sentinel://, redis+cluster://, rediss+cluster://"
    )]
    Scheme,
    /// `file:` without a folder, or with a host.
    #[error("a file: store URL names a folder, such as file:./state or file:/var/lib/gateway")]
    Folder,
    /// `~`, which a shell would have filled in.
    #[error("a file: store URL can't begin with ~; write the whole path")]
    Home,
    /// Something after `memory:`.
    #[error("nothing follows memory:")]
    Memory,
    /// Not a URL, or one that the Redis client refuses.
    #[error("the Redis URL is malformed: {0}")]
    Redis(String),
    /// A parameter that is not known.
    #[error(
        "the Redis URL has an unknown parameter {0:?}; known are prefix and wait, for TLS ca, for \
         redis+unix db, user and pass, and for sentinels sentinel_user and sentinel_pass"
    )]
    Parameter(String),
    /// Not sentinels and the name of a master.
    #[error(
        "a redis+sentinel URL names the sentinels, and the master as they call it (letters, digits, '.', \
         '-', '_'), such as redis+sentinel://HOST,HOST,HOST/NAME"
    )]
    Sentinels,
    /// Not a number of replicas.
    #[error("wait in a Redis URL is how many replicas must have a write, 0 to 16")]
    Wait,
    /// The prefix could not be told from the rest of a key.
    #[error("the prefix of a Redis URL is 1 to 64 letters, digits, '-', '_', '.', '{{' or '}}'")]
    Prefix,
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once(':').ok_or(StoreUrlError::Scheme)?;
        match scheme {
            "memory" if rest.is_empty() => Ok(Self::Memory),
            "memory" => Err(StoreUrlError::Memory),
            "file" => folder(rest).map(Self::Folder),
            scheme => {
                let form = form(scheme).ok_or(StoreUrlError::Scheme)?;
                Ok(Self::Redis(Box::new(redis_url(text, form)?)))
            }
        }
    }
}

impl StoreUrl {
    /// The same store with a password that was kept out of the URL. Changes nothing where there is
    /// nobody to show a password to.
    pub fn with_password(self, password: &str) -> Self {
        match self {
            Self::Redis(mut url) => {
                url.settings = url.settings.set_password(password);
                Self::Redis(url)
            }
            other => other,
        }
    }

    /// The same with a password for the sentinels themselves. Changes nothing where there are none.
    pub fn with_sentinel_password(mut self, password: &str) -> Self {
        if let Self::Redis(url) = &mut self
            && let Servers::Sentinels(sentinels) = &mut url.servers
        {
            sentinels.settings = sentinels.settings.clone().set_password(password);
        }
        self
    }
}

/// Everything after `file:` is the path, except that `//` may introduce an empty host.
fn folder(rest: &str) -> Result<PathBuf, StoreUrlError> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Err(StoreUrlError::Folder),
        None => rest,
    };
    if path.is_empty() || path.contains('\0') {
        return Err(StoreUrlError::Folder);
    }
    if path == "~" || path.starts_with("~/") {
        return Err(StoreUrlError::Home);
    }
    Ok(PathBuf::from(path))
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Folder(path) => write!(f, "file:{}", path.display()),
            Self::Redis(url) => url.fmt(f),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        text.parse::<StoreUrl>().expect(text).to_string()
    }

    #[test]
    fn a_store_url_prints_as_it_was_understood() {
        assert_eq!(printed("memory:"), "memory:");
        assert_eq!(printed("file:./state"), "file:./state");
        assert_eq!(printed("file:///var/lib/gateway"), "file:/var/lib/gateway");
        assert_eq!(printed("redis://cache"), "redis://cache:6379/0");
        assert_eq!(printed("rediss://cache:7000/3"), "rediss://cache:7000/3");
        assert_eq!(printed("redis://[::1]:7000"), "redis://[::1]:7000/0");
        assert_eq!(
            printed("redis://cache/?prefix=blue"),
            "redis://cache:6379/0?prefix=blue"
        );
        assert_eq!(
            printed("rediss://cache?prefix=blue&ca=/etc/ca.pem"),
            "rediss://cache:6379/0?ca=/etc/ca.pem&prefix=blue"
        );
        assert_eq!(
            printed("redis+unix:///run/redis.sock?db=2&prefix=blue"),
            "redis+unix:///run/redis.sock?db=2&prefix=blue"
        );
        assert_eq!(
            printed("redis://cache?wait=0&prefix=gateway"),
            "redis://cache:6379/0"
        );
        assert_eq!(
            printed("redis://cache/?wait=2"),
            "redis://cache:6379/0?wait=2"
        );
        for (text, shown) in [
            (
                "redis+sentinel://a,b:7000,[::1]/main",
                "redis+sentinel://a:26379,b:7000,[::1]:26379/main/0",
            ),
            (
                "rediss+sentinel://alice@a/main.1/3?wait=1&ca=/etc/ca.pem",
                "rediss+sentinel://alice@a:26379/main.1/3?ca=/etc/ca.pem",
            ),
            (
                "redis+sentinel://a:1/m?wait=0&sentinel_user=watch",
                "redis+sentinel://a:1/m/0?sentinel_user=watch&wait=0",
            ),
            (
                "redis+cluster://a,b:7000/?prefix=blue",
                "redis+cluster://a:6379,b:7000?prefix=blue",
            ),
            (
                "rediss+cluster://alice@a/0?wait=2&ca=/etc/ca.pem",
                "rediss+cluster://alice@a:6379?ca=/etc/ca.pem&wait=2",
            ),
        ] {
            assert_eq!(printed(text), shown);
            assert_eq!(printed(shown), shown, "it is read again");
        }
    }

    #[test]
    fn a_password_is_understood_and_never_printed() {
        for text in [
            "redis://alice:s%40cret+x@cache",
            "rediss://:s%40cret+x@cache/1",
            "redis+unix:///run/redis.sock?user=alice&pass=s%40cret%2Bx",
            "redis+sentinel://alice:s%40cret+x@a,b/main?sentinel_pass=other-s%40cret",
        ] {
            let url: StoreUrl = text.parse().expect(text);
            let StoreUrl::Redis(redis) = &url else {
                panic!("{url} is no Redis URL")
            };
            assert_eq!(redis.settings.password(), Some("s@cret+x"));
            for shown in [url.to_string(), format!("{url:?}"), format!("{redis:?}")] {
                assert!(!shown.contains("cret"), "{shown}");
                assert!(shown.contains("***"), "{shown}");
            }
        }
        let url: StoreUrl = "redis+sentinel://a/m".parse().expect("a URL");
        let url = url
            .with_password("of the master")
            .with_sentinel_password("secret word");
        assert!(!url.to_string().contains("word"), "{url}");
        let StoreUrl::Redis(redis) = url else {
            panic!("no Redis URL")
        };
        let Servers::Sentinels(sentinels) = redis.servers else {
            panic!("no sentinels")
        };
        assert_eq!(redis.settings.password(), Some("of the master"));
        assert_eq!(sentinels.settings.password(), Some("secret word"));
        let url: StoreUrl = "redis://cache".parse().expect("a URL");
        let StoreUrl::Redis(redis) = url.with_password("from a file") else {
            panic!("no Redis URL")
        };
        assert_eq!(redis.settings.password(), Some("from a file"));
    }

    #[test]
    fn a_wrong_store_url_is_refused_without_showing_it() {
        for (text, error) in [
            ("", StoreUrlError::Scheme),
            ("state", StoreUrlError::Scheme),
            ("https://x", StoreUrlError::Scheme),
            ("file:", StoreUrlError::Folder),
            ("file://host/path", StoreUrlError::Folder),
            ("memory:x", StoreUrlError::Memory),
            ("redis://cache?prefix=", StoreUrlError::Prefix),
            ("redis://cache?prefix=a:b", StoreUrlError::Prefix),
            (
                "redis://cache?pass=x",
                StoreUrlError::Parameter("pass".into()),
            ),
            (
                "redis://cache?sentinel_pass=x",
                StoreUrlError::Parameter("sentinel_pass".into()),
            ),
            ("redis://cache?wait=17", StoreUrlError::Wait),
            ("redis://cache?wait=-1", StoreUrlError::Wait),
            ("redis+sentinel://a,b", StoreUrlError::Sentinels),
            ("redis+sentinel://a,b//1", StoreUrlError::Sentinels),
            ("redis+sentinel://a/m%20n", StoreUrlError::Sentinels),
            (
                "redis+sentinel:a/m",
                StoreUrlError::Redis("it names no host".into()),
            ),
            ("redis+cluster://a?prefix={b}", StoreUrlError::Prefix),
        ] {
            assert_eq!(text.parse::<StoreUrl>().expect_err(text), error);
        }
        for text in [
            "redis://:secret@cache/not-a-number",
            "redis://:secret@cache#insecure",
            "redis://:secret@0.0.0.0",
            "redis://:secret@cache:port",
            "redis+sentinel://:secret@a,b:port/m",
            "redis+sentinel://:secret@a,,b/m",
            "redis+sentinel://:secret@a,x/y/m",
            "redis+sentinel://:secret@a,b/m/not-a-number",
            "redis+sentinel://:secret@a,b/m#x",
            "redis+cluster://:secret@a/1",
            "redis+cluster:secret",
        ] {
            let error = text.parse::<StoreUrl>().expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
