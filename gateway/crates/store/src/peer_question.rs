//! A question of one replica to all others, as an entry of the list of revocations, and who is told of it.
//! How it is asked and answered is `peers`.

use std::collections::HashMap;

use crate::revocation::Revocation;
use gateway_core::clock::Timestamp;

/// What a question begins with in the list of revocations. Grants begin with `g_`, and an earlier version takes
/// it for the grant of this name, which nobody has.
const PREFIX: &str = "ask:";

/// How many questions may wait for who answers them.
pub(crate) const WAITING: usize = 64;

/// A question to all other replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerQuestion {
    /// Its name, which nobody can guess and no other has.
    pub nonce: String,
    /// What is asked.
    pub text: String,
}

impl PeerQuestion {
    /// How it stands in the list.
    pub(crate) fn entry(&self) -> String {
        format!("{PREFIX}{}:{}", self.nonce, self.text)
    }

    pub(crate) fn parse(entry: &str) -> Option<Self> {
        let (nonce, text) = entry.strip_prefix(PREFIX)?.split_once(':')?;
        Some(Self {
            nonce: nonce.to_owned(),
            text: text.to_owned(),
        })
    }
}

/// What was asked, each question until it may be forgotten.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// By its entry.
    known: HashMap<String, Timestamp>,
    /// Those that nobody was told of yet.
    unheard: Vec<PeerQuestion>,
}

impl Asked {
    /// Whether an entry of the list is a question. One that is `current` and new is to be told.
    pub(crate) fn hear(&mut self, entry: &Revocation, current: bool) -> bool {
        let Some(question) = PeerQuestion::parse(&entry.id) else {
            return false;
        };
        let known = self.known.insert(entry.id.clone(), entry.expires);
        if known.is_none() && current {
            self.unheard.push(question);
        }
        true
    }

    pub(crate) fn take_unheard(&mut self) -> Vec<PeerQuestion> {
        std::mem::take(&mut self.unheard)
    }

    pub(crate) fn forget_expired(&mut self, now: Timestamp) {
        self.known.retain(|_, until| now < *until);
    }
}
