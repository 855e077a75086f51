//! What the server pushes: revocations as they are appended. For one waiter.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use crate::revocation::{Appended, Hint, Revocation};
use gateway_core::clock::Timestamp;

/// More than this in one breath is read from the list.
const MOST: usize = 4096;

/// What came and was not taken yet.
#[derive(Debug, Default)]
pub(super) struct Hints {
    waiting: Mutex<Hint>,
    arrived: Notify,
}

impl Hints {
    /// Takes in what a server pushed.
    pub(super) fn take_in(&self, push: &PushInfo) {
        match push.kind {
            PushKind::Message => self.message(push.data.get(1)),
            // The waiter's next question finds a new connection, which hears hints again.
            PushKind::Disconnection => self.waiting.lock().look = true,
            _ => return,
        }
        self.arrived.notify_one();
    }

    fn message(&self, payload: Option<&Value>) {
        let mut waiting = self.waiting.lock();
        let appended = match payload {
            Some(Value::BulkString(payload)) => read(payload),
            _ => None,
        };
        match appended {
            Some(appended) if waiting.appended.len() < MOST => waiting.appended.push(appended),
            // Of a version that tells no more than that there is something, or too many.
            _ => waiting.look = true,
        }
    }

    /// Waits until something came.
    pub(super) async fn wait(&self, limit: Duration) -> Hint {
        let deadline = Instant::now() + limit;
        loop {
            {
                let mut waiting = self.waiting.lock();
                if waiting.look || !waiting.appended.is_empty() {
                    return std::mem::take(&mut *waiting);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, self.arrived.notified())
                .await
                .is_err()
            {
                return Hint::default();
            }
        }
    }
}

/// `NUMBER END:ID`, as `revoke.lua` tells it.
fn read(payload: &[u8]) -> Option<Appended> {
    let (number, entry) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
    Some(Appended {
        number: number.parse().ok()?,
        entry: entry.to_owned(),
        revocation: read_entry(entry)?,
    })
}

/// An entry of the list: `END:ID`.
pub(super) fn read_entry(entry: &str) -> Option<Revocation> {
    let (end, id) = entry.split_once(':')?;
    Some(Revocation {
        id: id.to_owned(),
        expires: Timestamp::from_millis(end.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> PushInfo {
        let data = ["channel", text].map(|text| Value::BulkString(text.as_bytes().to_vec()));
        PushInfo {
            kind: PushKind::Message,
            data: data.to_vec(),
        }
    }

    #[tokio::test]
    async fn a_hint_carries_the_entry_and_what_cannot_be_read_says_look() {
        let hints = Hints::default();
        assert_eq!(hints.wait(Duration::ZERO).await, Hint::default());
        hints.take_in(&message("7 1000:client:5:c 1"));
        hints.take_in(&message("8 2000:g_1"));
        let hint = hints.wait(Duration::from_secs(1)).await;
        let ids: Vec<_> = hint
            .appended
            .iter()
            .map(|it| it.revocation.id.as_str())
            .collect();
        assert_eq!((ids, hint.look), (vec!["client:5:c 1", "g_1"], false));
        assert_eq!(hint.appended[1].number, 8);
        for odd in ["9", "x 1:g", "9 g_1", ""] {
            hints.take_in(&message(odd));
            let hint = hints.wait(Duration::from_secs(1)).await;
            assert!(hint.look && hint.appended.is_empty(), "{odd}");
        }
        for number in 0..2 * MOST {
            hints.take_in(&message(&format!("{number} 1:g")));
        }
        let hint = hints.wait(Duration::ZERO).await;
        assert_eq!((hint.appended.len(), hint.look), (MOST, true));
    }
}
