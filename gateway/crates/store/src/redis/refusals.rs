//! Refusals of Redis in words that say what to change, and which failures no waiting mends.

use redis::{ErrorKind, RedisError};

use super::failure::Failure;
use crate::error::{Corrupt, StoreError};
use gateway_core::open_files;

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        if let Failure::Refused(error) = &failure
            && let Some(corrupt) = corrupt(error)
        {
            return corrupt.into();
        }
        Self::Away(failure.to_string())
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
pub(super) fn refusal(error: &RedisError) -> String {
    hopeless_refusal(error)
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
pub(super) fn hopeless(failure: &Failure) -> Option<String> {
    match failure {
        Failure::Refused(error) => hopeless_refusal(error),
        Failure::Sentinels(fault) if fault.is_hopeless() => Some(fault.to_string()),
        Failure::Cluster(fault) if fault.is_hopeless() => Some(fault.to_string()),
        _ => None,
    }
}

/// Whether it is about who asks.
pub(super) fn is_about_password(error: &RedisError) -> bool {
    matches!(
        error.code().unwrap_or_default(),
        "NOAUTH" | "WRONGPASS" | "NOPERM"
    ) || error.kind() == ErrorKind::AuthenticationFailed
        || says_password(&error.to_string())
}

fn hopeless_refusal(error: &RedisError) -> Option<String> {
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
            "this is a Redis Cluster: write redis+cluster:// in place of redis:// in store.url"
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
