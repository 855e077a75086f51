//! What about a Redis server endangers what is promised over it, and what will never work with it.

use std::sync::Arc;

use super::Redis;
use super::connection::SharedConnection;
use super::failure::Failure;
use super::refusals::hopeless;
use super::replicas::heard;
use crate::store::Examined;

impl Redis {
    /// Looks at each server as it is set up.
    pub(super) async fn examined(&self) -> Examined {
        let mut found = Examined::default();
        let servers = match self.line.servers().await {
            Ok(servers) => servers,
            Err(failure) => return without_an_answer(&failure),
        };
        for (name, line) in servers {
            let command = Arc::new(redis::cmd("INFO").into());
            let info: Result<String, Failure> = line.attempt(command).await;
            let info = match info {
                Ok(info) => info,
                Err(failure) => return without_an_answer(&failure),
            };
            let snapshots = keeps_snapshots(&line).await;
            let doubts = unsafe_settings(&info, snapshots);
            let doubts = doubts.into_iter().chain(too_few_replicas(&info, self.wait));
            let named = |doubt: String| match name.as_str() {
                "" => doubt,
                name => format!("{name}: {doubt}"),
            };
            found.unsafe_settings.extend(doubts.map(named));
        }
        found.hopeless = self.refuses_two_keys().await;
        found
    }

    /// Two keys at a time, which a server of a cluster refuses, and one that does not let us read.
    async fn refuses_two_keys(&self) -> Option<String> {
        let common = self.spaces.common();
        let mut command = redis::cmd("EXISTS");
        command
            .arg(common.name("birth"))
            .arg(common.name("revocations"));
        let answer = self.line.attempt::<u64>(common, command.into()).await;
        answer.err().as_ref().and_then(hopeless)
    }
}

fn without_an_answer(failure: &Failure) -> Examined {
    let hopeless = hopeless(failure);
    Examined {
        away: hopeless.is_none().then(|| failure.to_string()),
        hopeless,
        unsafe_settings: Vec::new(),
    }
}

/// Not every server lets itself be asked.
async fn keeps_snapshots(line: &SharedConnection) -> Option<bool> {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("save");
    let pair: Vec<String> = line.attempt(Arc::new(command.into())).await.ok()?;
    Some(!pair.get(1)?.is_empty())
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

/// Fewer than a write waits for.
fn too_few_replicas(info: &str, wait: u32) -> Option<String> {
    let there = heard(info);
    (there < usize::try_from(wait).unwrap_or(usize::MAX)).then(|| {
        format!(
            "{there} replicas follow the master of Redis, and store.url waits for {wait}: logins, tokens \
             and revocations answer 503 until there are as many (wait in store.url)"
        )
    })
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
