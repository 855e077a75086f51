//! The chain: each record becomes a line that holds the one before it.

use std::fmt;

use rand::RngCore;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::checkpoint::CheckpointKey;
use super::encoded_record::EncodedRecord;
use crate::clock::Timestamp;
use crate::text_type::shown_as_text;
use crate::{hex, secret};

/// The name of a chain: each log of each replica has its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(String);

#[cfg(test)]
impl ChainId {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
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
        Self(hex::encode(Sha256::digest(bytes)))
    }
}

shown_as_text!(ChainId, Hash);

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

/// A moment as the lines of a log have it: RFC 3339 in UTC with milliseconds, which as a text sorts as time
/// does. One of another precision does not: `.` is before `Z`.
pub fn time_text(at: Timestamp) -> impl fmt::Display {
    humantime::format_rfc3339_millis(at.to_system_time())
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

    /// Adds a record to the chain, and its line to `lines`.
    pub fn add(&mut self, record: &EncodedRecord, now: Timestamp, lines: &mut Vec<u8>) {
        let start = lines.len();
        let Head { chain, seq, hash } = &self.head;
        let time = time_text(now);
        let seq = seq + 1;
        // A name of a chain is a text of ours, in plain letters, or was read from a line as one.
        let chain = serde_json::Value::from(chain.as_str());
        let front = format!(r#"{{"chain":{chain},"seq":{seq},"time":"{time}","#);
        lines.extend_from_slice(front.as_bytes());
        lines.extend_from_slice(record.members());
        lines.extend_from_slice(b",\"prev\":\"");
        lines.extend_from_slice(hash.as_str().as_bytes());
        lines.push(b'"');
        // `hash` is the object's last member, over everything before it.
        let hash = Hash::digest(&lines[start..]);
        lines.extend_from_slice(b",\"hash\":\"");
        lines.extend_from_slice(hash.as_str().as_bytes());
        lines.extend_from_slice(b"\"}\n");
        self.head.seq = seq;
        self.head.hash = hash;
    }

    /// Adds a signature over everything so far, and its line to `lines`.
    pub fn sign(&mut self, key: &CheckpointKey, now: Timestamp, lines: &mut Vec<u8>) {
        let Head { chain, seq, hash } = &self.head;
        let checkpoint = json!({
            "event": "checkpoint",
            "public_key": key.public().to_string(),
            "signature": key.sign(chain, seq + 1, hash),
        });
        self.add(&EncodedRecord::of(&checkpoint), now, lines);
    }
}
