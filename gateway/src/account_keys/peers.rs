//! The keys that other replicas seal accounts with, as far as they can be compared. Asked only where the keys
//! of this one are others than the store knows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::peer::Peer;
use gateway_core::account::seal::SealKeys;
use gateway_core::clock::Clock;
use gateway_store::{Records, StoreError};

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    /// What tells it from other questions.
    account_keys: bool,
}

/// What tells each key from others of its number.
type Fingerprints = BTreeMap<u32, String>;

/// The keys of this process, and the way to those of others.
#[derive(Debug)]
pub(super) struct PeerKeys {
    here: Fingerprints,
    peer: Peer,
}

impl PeerKeys {
    pub(super) fn new(keys: &SealKeys, records: &Records) -> Self {
        let here = keys.fingerprints();
        Self {
            here: here.map(|(id, text)| (id, text.to_owned())).collect(),
            peer: Peer::new(records.clone()),
        }
    }

    /// Answers what others ask, for as long as there is a view.
    pub(super) fn follow(&self, clock: Clock, runtime: &Handle) -> Option<JoinHandle<()>> {
        let here = self.here.clone();
        let answer = move |asked: Question| asked.account_keys.then(|| here.clone());
        self.peer.follow(clock, runtime, answer)
    }

    /// The number of a key with which another replica serves, and which is another one here, or is not here.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(super) async fn other(&self, clock: Clock) -> Result<Option<u32>, StoreError> {
        let question = Question { account_keys: true };
        let other = |answers: &[Fingerprints]| answers.iter().find_map(|it| self.differing(it));
        let differ = |answers: &[Fingerprints]| other(answers).is_some();
        Ok(other(&self.peer.ask(question, clock, differ).await?))
    }

    fn differing(&self, theirs: &Fingerprints) -> Option<u32> {
        let mut theirs = theirs.iter();
        let other = theirs.find(|(id, text)| self.here.get(id) != Some(text));
        other.map(|(id, _)| *id)
    }
}
