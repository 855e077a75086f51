//! The audit log's words and its chain: what is written about a decision, how each line holds the
//! one before it, and how a reader finds that a line was changed, removed, added or moved. Pure.
//!
//! A line is one JSON object. Its last member, `hash`, is the SHA-256 of all bytes of the line
//! before that member; `prev` is the hash of the line before, so every line stands for all lines
//! before it. Now and then a line is a checkpoint: an Ed25519 signature over the chain's name, the
//! line's number and `prev`. Whoever rewrites lines can compute hashes, but not signatures.
//!
//! What a chain can't show by itself is that its end was cut off, checkpoint and all. The gateway's
//! own log names number and hash of each checkpoint; `gateway audit verify --expect` compares.
//!
//! There are two logs, each with a chain of its own: what gives or takes access
//! ([`Event::is_about_access`]), and everything else, which is calls for the most part. Whatever
//! apps call pushes nothing out of the first.
//!
//! Owns: records, their bounds, chain, checkpoints, verification. Not: files and threads (`journal`).

mod bounded;
mod chain;
mod checkpoint;
mod encoded_record;
mod flood;
mod record;
mod verify;

pub use self::bounded::{FIELD, bounded, is_cut};
pub use self::chain::{Chain, ChainId, Head, time_text};
pub use self::checkpoint::{CheckpointKey, PublicKey};
pub use self::encoded_record::EncodedRecord;
pub use self::flood::Flood;
pub use self::record::{Arguments, Event, Facts, Labelled, Outcome, Record, Sent};
pub use self::verify::{Fault, Line, LinePosition, Report, Verifier};
