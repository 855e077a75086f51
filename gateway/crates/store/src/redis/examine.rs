//! What about a Redis server endangers what is promised over it, and what will never work with it.

use redis::{ErrorKind, RedisError};

use super::Redis;
use super::connection::{Failure, Request};
use crate::error::Corrupt;
use crate::store::Examined;
use gateway_core::open_files;

impl Redis {
    /// Looks at the server as it is set up. Nothing is said where it does not answer.
    pub(super) async fn examined(&self) -> Examined {
        let command = Request::Command(redis::cmd("INFO"));
        let info: Result<String, Failure> = self.connection.attempt(command).await;
        match info {
            Err(Failure::Refused(error)) => Examined {
                hopeless: hopeless(&error),
                unsafe_settings: Vec::new(),
            },
            Err(_) => Examined::default(),
            Ok(info) => Examined {
                hopeless: self.refuses_two_keys().await,
                unsafe_settings: unsafe_settings(&info, self.keeps_snapshots().await),
            },
        }
    }

    /// Not every server lets itself be asked.
    async fn keeps_snapshots(&self) -> Option<bool> {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg("save");
        let pair: Vec<String> = self
            .connection
            .attempt(Request::Command(command))
            .await
            .ok()?;
        Some(!pair.get(1)?.is_empty())
    }

    /// Two keys at a time, which a server of a cluster refuses, and one that does not let us read.
    async fn refuses_two_keys(&self) -> Option<String> {
        let mut command = redis::cmd("EXISTS");
        command
            .arg(self.name("birth"))
            .arg(self.name("revocations"));
        let answer = self
            .connection
            .attempt::<u64>(Request::Command(command))
            .await;
        match answer {
            Err(Failure::Refused(error)) => hopeless(&error),
            _ => None,
        }
    }
}

/// Whether what Redis holds is not what the gateway keeps there. The library's own sentence stays out:
/// it can repeat what was found.
pub(super) fn corrupt(error: &RedisError) -> Option<Corrupt> {
    // Before 7.0 the code of an error inside a script is found in its text only.
    let of_another_type = error.to_string().contains("WRONGTYPE");
    let fault = match error.kind() {
        _ if of_another_type => "the key holds a value of another type",
        ErrorKind::UnexpectedReturnType => "the answer is not of its form",
        _ => return None,
    };
    Some(Corrupt::Store(fault.to_owned()))
}

/// A refusal in words that say what to change, with Redis's own at the end.
pub(super) fn sentence(error: &RedisError) -> String {
    hopeless(error)
        .or_else(|| for_now(error))
        .or_else(|| no_files(&error.to_string()))
        .unwrap_or_else(|| format!("Redis: {error}"))
}

/// A lack of files, which is a fault of ours. The library gives the system's error in words only.
fn no_files(said: &str) -> Option<String> {
    let (_, code) = said.rsplit_once("(os error ")?;
    let code = code.split(')').next()?.parse().ok()?;
    let error = std::io::Error::from_raw_os_error(code);
    open_files::limit_met(&error)?;
    Some(format!(
        "Redis can't be reached: {}",
        open_files::named(&error)
    ))
}

/// What no waiting mends.
fn hopeless(error: &RedisError) -> Option<String> {
    let said = error.to_string();
    let sentence = match error.code().unwrap_or_default() {
        "NOAUTH" => {
            "Redis wants a password and was shown none: set store.password_file, or put it into store.url"
        }
        "WRONGPASS" => {
            "Redis does not take this user and password: check store.password_file, or those in store.url"
        }
        "NOPERM" => {
            "Redis does not let this user do what is needed: allow it all commands on the keys of the \
             prefix, and its channel (ACL SETUSER)"
        }
        "CROSSSLOT" | "MOVED" | "ASK" | "CLUSTERDOWN" => {
            "this is a Redis Cluster, over which the gateway can't keep its promises: name a server with \
             cluster mode off in store.url"
        }
        _ if error.kind() == ErrorKind::AuthenticationFailed || says_password(&said) => {
            "Redis does not take the password, or wants one: check store.password_file, or what stands in \
             store.url"
        }
        _ => return None,
    };
    Some(format!("{sentence} ({said})"))
}

fn says_password(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    [
        "noauth",
        "wrongpass",
        "invalid password",
        "without any password",
        "authentication failed",
    ]
    .iter()
    .any(|words| said.contains(words))
}

/// What may be over by itself, or is mended at the server.
fn for_now(error: &RedisError) -> Option<String> {
    let sentence = match error.code()? {
        "READONLY" => "this Redis is a replica and takes no writes: name the primary in store.url",
        "LOADING" => "Redis is still reading its data",
        "OOM" => "Redis is full: raise its maxmemory",
        "MISCONF" => "Redis can't write to its disk and refuses writes: look at its log",
        _ => return None,
    };
    Some(format!("{sentence} ({error})"))
}

fn unsafe_settings(info: &str, snapshots: Option<bool>) -> Vec<String> {
    let mut found = Vec::new();
    let limited = field(info, "maxmemory").is_some_and(|bytes| bytes != "0");
    let policy = field(info, "maxmemory_policy").unwrap_or("noeviction");
    if limited && policy != "noeviction" {
        found.push(format!(
            "Redis throws away what it holds when it is full (maxmemory-policy {policy}): people, grants \
             and revocations; with a revocation every token given until then is refused. Set \
             maxmemory-policy noeviction"
        ));
    }
    if field(info, "aof_enabled") == Some("0") {
        let sentence = match snapshots {
            Some(false) => {
                "Redis keeps nothing on disk: when it restarts, every login, grant and app is forgotten. \
                 Set appendonly yes"
            }
            _ => {
                "Redis keeps no append-only file: when it restarts, what was done since its last snapshot \
                 is undone, revocations too. Set appendonly yes"
            }
        };
        found.push(sentence.to_owned());
    }
    found
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_itself_is_judged() {
        let info = |policy: &str, maxmemory: &str, aof: &str| {
            format!(
                "# Memory\r\nmaxmemory:{maxmemory}\r\nmaxmemory_policy:{policy}\r\naof_enabled:{aof}\r\n"
            )
        };
        for (info, snapshots, found) in [
            (info("noeviction", "0", "1"), None, 0),
            (info("allkeys-lru", "0", "1"), None, 0),
            (info("noeviction", "1000000", "1"), None, 0),
            (info("allkeys-lru", "1000000", "1"), None, 1),
            (info("volatile-ttl", "1000000", "1"), None, 1),
            (info("noeviction", "0", "0"), Some(true), 1),
            (info("allkeys-random", "1000000", "0"), Some(false), 2),
            (String::new(), None, 0),
        ] {
            assert_eq!(unsafe_settings(&info, snapshots).len(), found, "{info}");
        }
    }
}
