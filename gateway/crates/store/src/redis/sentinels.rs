//! Redis Sentinel: which server is the master. Owns: asking the sentinels, and what their answers come to.
//! Not: connections to the master (`connection`).
//!
//! The library's own client of sentinels is not used: it lists all masters where one is asked for, takes the
//! first answer, which can be that of a sentinel that was cut off from the others, and does not tell a wrong
//! name from a wrong password.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, RedisError};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::failure::{Found, SentinelFault, SentinelRefusal};
use super::reach::{Reach, connected};
use super::refusals::is_about_password;
use super::slots::host_and_port;
use crate::url::SentinelsUrl;

/// How long one sentinel may take, with a new connection if need be.
const PATIENCE: Duration = Duration::from_millis(300);

/// The sentinels of one master.
pub(super) struct Sentinels {
    name: String,
    all: Vec<Arc<Sentinel>>,
}

struct Sentinel {
    at: String,
    client: Client,
    wire: Mutex<Option<MultiplexedConnection>>,
}

/// What one of them answered.
enum Voice {
    Master((String, u16)),
    UnknownName,
    Refused(String, RedisError),
}

impl Sentinels {
    pub(super) fn new(named: &SentinelsUrl, reach: &Reach) -> redis::RedisResult<Self> {
        let reach = reach.with(&named.settings);
        let mut all = Vec::with_capacity(named.addresses.len());
        for address in &named.addresses {
            all.push(Arc::new(Sentinel {
                at: host_and_port(address),
                client: reach.client(address.clone())?,
                wire: Mutex::new(None),
            }));
        }
        Ok(Self {
            name: named.name.clone(),
            all,
        })
    }

    /// Asks all of them at once, and waits until most agree or all have answered.
    pub(super) async fn find(&self) -> Result<Found, SentinelFault> {
        let mut asking = JoinSet::new();
        for sentinel in &self.all {
            let (sentinel, name) = (Arc::clone(sentinel), self.name.clone());
            asking.spawn(async move { sentinel.ask(&name).await });
        }
        let mut voices = Vec::with_capacity(self.all.len());
        while let Some(Ok(voice)) = asking.join_next().await {
            voices.push(voice);
            if let Some(found) = self.most(&voices).filter(Found::is_sure) {
                return Ok(found);
            }
        }
        self.most(&voices).ok_or_else(|| self.fault(&voices))
    }

    /// What most of those say that name a master.
    fn most(&self, voices: &[Voice]) -> Option<Found> {
        let mut named: HashMap<&(String, u16), usize> = HashMap::new();
        for voice in voices {
            if let Voice::Master(address) = voice {
                *named.entry(address).or_default() += 1;
            }
        }
        let (address, voices) = named.into_iter().max_by_key(|(_, voices)| *voices)?;
        Some(Found {
            address: address.clone(),
            voices,
            of: self.all.len(),
        })
    }

    /// Why none names a master: what most of them say, else what an operator has to change before what may
    /// pass.
    fn fault(&self, voices: &[Voice]) -> SentinelFault {
        let refusals = voices.iter().filter_map(|voice| match voice {
            Voice::Refused(at, error) => Some((at, error)),
            Voice::UnknownName | Voice::Master(_) => None,
        });
        let said = |is_meant: fn(&RedisError) -> bool| -> Vec<String> {
            let meant = refusals.clone().filter(|(_, error)| is_meant(error));
            meant.map(|(at, error)| format!("{at}: {error}")).collect()
        };
        let passwords = said(is_about_password);
        let strangers = said(knows_no_sentinels);
        let all = said(|_| true);
        let unknown = voices.iter().filter(|it| matches!(it, Voice::UnknownName));
        let first = |of: &[String]| of.first().cloned().unwrap_or_default();
        let name = self.name.clone();
        let faults = [
            (
                SentinelRefusal::Password(first(&passwords)),
                passwords.len(),
            ),
            (SentinelRefusal::UnknownName { name }, unknown.count()),
            (
                SentinelRefusal::NoSentinel(first(&strangers)),
                strangers.len(),
            ),
        ];
        let is_of_most = |voices: usize| voices * 2 > self.all.len();
        let of_most = faults.iter().find(|(_, voices)| is_of_most(*voices));
        let heard = of_most.or_else(|| faults.iter().find(|(_, voices)| *voices > 0));
        let (what, voices) = heard
            .cloned()
            .unwrap_or_else(|| (SentinelRefusal::Unreachable(all.join("; ")), all.len()));
        SentinelFault {
            what,
            is_of_most: is_of_most(voices),
        }
    }
}

/// Whether it is a Redis that watches over no other. Everything else that a sentinel refuses with passes:
/// it starts, has too many connections, or something stands in for it.
fn knows_no_sentinels(error: &RedisError) -> bool {
    let said = error.to_string().to_ascii_lowercase();
    said.contains("unknown command")
}

impl Sentinel {
    async fn ask(&self, name: &str) -> Voice {
        let asked = tokio::time::timeout(PATIENCE, self.master(name)).await;
        match asked {
            Ok(Ok(Some((host, port)))) => Voice::Master((host, port)),
            Ok(Ok(None)) => Voice::UnknownName,
            Ok(Err(error)) => Voice::Refused(self.at.clone(), error),
            Err(_) => {
                let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
                Voice::Refused(self.at.clone(), late.into())
            }
        }
    }

    /// Asks over the connection of last time, which may be gone: then over a new one.
    async fn master(&self, name: &str) -> redis::RedisResult<Option<(String, u16)>> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let mut wire = self.wire.lock().await;
        if let Some(mut known) = wire.take()
            && let Ok(answer) = command.query_async(&mut known).await
        {
            *wire = Some(known);
            return Ok(answer);
        }
        let mut new = connected(&self.client, PATIENCE).await?;
        let answer = command.query_async(&mut new).await?;
        *wire = Some(new);
        Ok(answer)
    }
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&str> = self.all.iter().map(|it| it.at.as_str()).collect();
        write!(f, "{} of {}", self.name, all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::{ConnectionAddr, ServerErrorKind};

    fn refused(kind: ServerErrorKind, detail: &str) -> Voice {
        let error = RedisError::from((redis::ErrorKind::Server(kind), "", detail.to_owned()));
        Voice::Refused("s".to_owned(), error)
    }

    #[test]
    fn what_one_of_three_sentinels_says_ends_nothing() {
        let client = Client::open(ConnectionAddr::Tcp("127.0.0.1".to_owned(), 1)).unwrap();
        let one = Arc::new(Sentinel {
            at: "s".to_owned(),
            client,
            wire: Mutex::new(None),
        });
        let sentinels = Sentinels {
            name: "main".to_owned(),
            all: vec![Arc::clone(&one), Arc::clone(&one), one],
        };
        let away = || {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Voice::Refused("s".to_owned(), late.into())
        };
        let other = || {
            refused(
                ServerErrorKind::ResponseError,
                "max number of clients reached",
            )
        };
        let unknown = || refused(ServerErrorKind::ResponseError, "unknown command 'SENTINEL'");
        let password = || {
            Voice::Refused(
                "s".to_owned(),
                (redis::ErrorKind::AuthenticationFailed, "no").into(),
            )
        };
        for (voices, hopeless, sentence) in [
            (
                [Voice::UnknownName, away(), away()],
                false,
                "know no master",
            ),
            (
                [Voice::UnknownName, Voice::UnknownName, away()],
                true,
                "know no master",
            ),
            ([password(), away(), away()], false, "password"),
            (
                [password(), Voice::UnknownName, Voice::UnknownName],
                true,
                "know no master",
            ),
            (
                [password(), password(), Voice::UnknownName],
                true,
                "password",
            ),
            ([unknown(), away(), away()], false, "is no sentinel"),
            ([unknown(), unknown(), unknown()], true, "is no sentinel"),
            ([other(), other(), other()], false, "max number of clients"),
            ([away(), away(), away()], false, "no sentinel answers"),
        ] {
            let fault = sentinels.fault(&voices);
            assert!(fault.to_string().contains(sentence), "{fault}");
            assert_eq!(fault.is_hopeless(), hopeless, "{fault}");
        }
    }
}
