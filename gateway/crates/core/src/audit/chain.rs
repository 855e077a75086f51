//! The chain: each record becomes a line that holds the one before it.

use std::fmt;

use rand::RngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::checkpoint::CheckpointKey;
use super::record::Record;
use crate::clock::Timestamp;
use crate::secret;

/// The name of a chain: each log of each replica has its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(String);

impl ChainId {
    /// A name that a line bears.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SHA-256 of a line. In text: 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash(String);

impl Hash {
    /// Before the first line.
    pub(super) fn none() -> Self {
        Self("0".repeat(64))
    }

    pub(super) fn digest(bytes: &[u8]) -> Self {
        Self(format!("{:x}", Sha256::digest(bytes)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a chain stands: the number and hash of its last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The chain.
    pub chain: ChainId,
    /// The last line's number; lines are counted from 1, 0 is a chain without any.
    pub seq: u64,
    /// The last line's hash.
    pub hash: Hash,
}

/// A chain that lines are added to.
#[derive(Clone, Debug)]
pub struct Chain {
    head: Head,
}

/// The members of every line around those of its record.
#[derive(Serialize)]
struct Numbered<'a, T> {
    chain: &'a ChainId,
    seq: u64,
    time: String,
    #[serde(flatten)]
    what: &'a T,
    prev: &'a Hash,
}

#[derive(Serialize)]
struct Checkpoint {
    event: &'static str,
    public_key: String,
    signature: String,
}

impl Chain {
    /// A new chain.
    pub fn begin(random: &mut dyn RngCore) -> Self {
        Self::resume(Head {
            chain: ChainId(secret::identifier("a_", random)),
            seq: 0,
            hash: Hash::none(),
        })
    }

    /// A chain that goes on after its last line.
    pub const fn resume(head: Head) -> Self {
        Self { head }
    }

    /// Where it stands.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Adds a record; the line, with its line feed.
    pub fn add(&mut self, record: &Record, now: Timestamp) -> String {
        self.line(record, now)
    }

    /// Adds a signature over everything so far; the line, with its line feed.
    pub fn sign(&mut self, key: &CheckpointKey, now: Timestamp) -> String {
        let Head { chain, seq, hash } = &self.head;
        let checkpoint = Checkpoint {
            event: "checkpoint",
            public_key: key.public().to_string(),
            signature: key.sign(chain, seq + 1, hash),
        };
        self.line(&checkpoint, now)
    }

    fn line(&mut self, what: &impl Serialize, now: Timestamp) -> String {
        let numbered = Numbered {
            chain: &self.head.chain,
            seq: self.head.seq + 1,
            time: humantime::format_rfc3339_millis(now.to_system_time()).to_string(),
            what,
            prev: &self.head.hash,
        };
        let mut line =
            serde_json::to_string(&numbered).expect("records have text keys, so they serialise");
        // `hash` is the object's last member, over everything before it.
        line.pop();
        let hash = Hash::digest(line.as_bytes());
        line.push_str(&format!(",\"hash\":\"{hash}\"}}\n"));
        self.head.seq += 1;
        self.head.hash = hash;
        line
    }
}
