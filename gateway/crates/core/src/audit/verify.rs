//! Reading a chain: line after line, the first one that is wrong is named.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::chain::{ChainId, Hash, Head};
use super::checkpoint::PublicKey;

/// What is before a line's hash, and the hash's length with what follows it.
const HASH: &str = ",\"hash\":\"";
const TAIL: usize = 64 + "\"}".len();

/// A line whose hash is that of its bytes. Whether it stands in its place is [`Verifier`]'s matter.
#[derive(Clone, Debug)]
pub struct Line {
    /// Where it stands.
    pub place: LinePosition,
    /// All members.
    pub members: Map<String, Value>,
}

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePosition {
    /// Its chain, number and hash.
    pub head: Head,
    /// The hash of the line before.
    pub prev: Hash,
}

/// Why a line is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no line of an audit log.
    #[error("is no record of an audit log")]
    Unreadable,
    /// Its bytes are not those that were hashed.
    #[error("was changed: its hash is not that of its text")]
    Changed,
    /// The line before is not the one that it was written after.
    #[error("does not follow line {found} before it: {}", gap(*.found, *.expected))]
    Misplaced {
        /// The number of the line before.
        found: u64,
        /// The number that this line follows.
        expected: u64,
    },
    /// The line before has the right number and another hash.
    #[error("does not follow the line before it: that one was exchanged")]
    Exchanged,
    /// Another chain begins, and not at its beginning.
    #[error("belongs to another chain, {0}")]
    OtherChain(ChainId),
    /// A checkpoint that the key did not sign.
    #[error("is a checkpoint that was not signed with the expected key")]
    Unsigned,
}

fn gap(found: u64, expected: u64) -> String {
    match expected.checked_sub(found) {
        Some(0) | None => "lines were added, repeated or moved".to_owned(),
        Some(1) => format!("line {} is missing", found + 1),
        Some(_) => format!("lines {} to {expected} are missing", found + 1),
    }
}

#[derive(Deserialize)]
struct Members {
    chain: ChainId,
    seq: u64,
    prev: Hash,
    hash: Hash,
}

impl Line {
    /// Reads a line without its line feed.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let cut = text.len().checked_sub(TAIL + HASH.len());
        let (body, _) = cut
            .and_then(|cut| text.split_at_checked(cut))
            .filter(|(_, end)| end.starts_with(HASH))
            .ok_or(Fault::Unreadable)?;
        // serde_json takes the last of two equal members: a line that has any is none of ours.
        let strict: Members = serde_json::from_str(text).map_err(|_| Fault::Unreadable)?;
        let members: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| Fault::Unreadable)?;
        if Hash::digest(body.as_bytes()) != strict.hash {
            return Err(Fault::Changed);
        }
        let head = Head {
            chain: strict.chain,
            seq: strict.seq,
            hash: strict.hash,
        };
        let prev = strict.prev;
        Ok(Self {
            place: LinePosition { head, prev },
            members,
        })
    }

    /// A member that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many lines.
    pub lines: u64,
    /// The number of the first line; above 1 where older files were removed.
    pub first: Option<u64>,
    /// The last line.
    pub head: Option<Head>,
    /// The number of the last line that is a signed checkpoint.
    pub signed: Option<u64>,
}

/// Reads chains one line after the other.
#[derive(Clone, Debug)]
pub struct Verifier {
    key: PublicKey,
    report: Report,
}

impl Verifier {
    /// Checkpoints must be signed with `key`.
    pub fn new(key: PublicKey) -> Self {
        Self {
            key,
            report: Report::default(),
        }
    }

    /// What was read so far.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Takes the next line, without its line feed.
    pub fn read(&mut self, text: &str) -> Result<Line, Fault> {
        let line = Line::parse(text)?;
        self.in_place(&line.place)?;
        if line.text("event") == Some("checkpoint") {
            self.signed(&line)?;
        }
        self.report.lines += 1;
        self.report.first.get_or_insert(line.place.head.seq);
        self.report.head = Some(line.place.head.clone());
        Ok(line)
    }

    fn in_place(&self, place: &LinePosition) -> Result<(), Fault> {
        let Some(last) = &self.report.head else {
            return Ok(());
        };
        let here = &place.head;
        if last.chain != here.chain {
            return Err(Fault::OtherChain(here.chain.clone()));
        }
        if here.seq != last.seq + 1 {
            return Err(Fault::Misplaced {
                found: last.seq,
                expected: here.seq.saturating_sub(1),
            });
        }
        if place.prev == last.hash {
            Ok(())
        } else {
            Err(Fault::Exchanged)
        }
    }

    fn signed(&mut self, line: &Line) -> Result<(), Fault> {
        let LinePosition { head, prev } = &line.place;
        let signature = line.text("signature").unwrap_or_default();
        if !self.key.verifies(&head.chain, head.seq, prev, signature) {
            return Err(Fault::Unsigned);
        }
        self.report.signed = Some(head.seq);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::super::{Chain, CheckpointKey, Event, Record};
    use super::*;
    use crate::clock::Timestamp;

    fn key() -> CheckpointKey {
        CheckpointKey::from_seed(&[1; 32])
    }

    /// The line of a record.
    fn added(chain: &mut Chain, record: &Record, at: u64) -> String {
        let mut line = Vec::new();
        chain.add(&record.encode(), Timestamp::from_secs(at), &mut line);
        String::from_utf8(line).unwrap()
    }

    fn signed(chain: &mut Chain, key: &CheckpointKey, at: u64) -> String {
        let mut line = Vec::new();
        chain.sign(key, Timestamp::from_secs(at), &mut line);
        String::from_utf8(line).unwrap()
    }

    /// Lines 1 to 12 with a checkpoint after every four, without line feeds.
    fn lines() -> Vec<String> {
        let mut chain = Chain::begin(&mut StdRng::seed_from_u64(1));
        let mut lines = Vec::new();
        for at in 1..=9 {
            let record = Record {
                name: Some(format!("tool \"{at}\",\"hash\":\"")),
                ..Record::new(Event::Call)
            };
            lines.push(added(&mut chain, &record, at));
            if at % 3 == 0 {
                lines.push(signed(&mut chain, &key(), at));
            }
        }
        for line in &mut lines {
            assert_eq!(line.pop(), Some('\n'));
        }
        lines
    }

    /// The number of the line (from 1) at which reading ends, and why.
    fn first_fault<T: AsRef<str>>(lines: &[T]) -> Option<(usize, Fault)> {
        let mut verifier = Verifier::new(key().public());
        lines.iter().enumerate().find_map(|(at, line)| {
            verifier
                .read(line.as_ref())
                .err()
                .map(|fault| (at + 1, fault))
        })
    }

    #[test]
    fn a_chain_as_it_was_written_is_good_and_its_last_signature_is_known() {
        let lines = lines();
        let mut verifier = Verifier::new(key().public());
        for line in &lines[..11] {
            verifier.read(line).unwrap();
        }
        let report = verifier.report();
        assert_eq!((report.lines, report.first), (11, Some(1)));
        assert_eq!(report.signed, Some(8));
        assert_eq!(report.head.as_ref().unwrap().seq, 11);
        // Files that were rotated away are no fault, and are told.
        assert_eq!(first_fault(&lines[5..]), None);
    }

    #[test]
    fn a_line_that_was_removed_repeated_moved_or_exchanged_is_found() {
        let good = lines();
        let mut removed = good.clone();
        removed.remove(4);
        assert_eq!(
            first_fault(&removed),
            Some((
                5,
                Fault::Misplaced {
                    found: 4,
                    expected: 5
                }
            ))
        );
        let mut repeated = good.clone();
        repeated.insert(5, good[4].clone());
        assert_eq!(first_fault(&repeated).unwrap().0, 6);
        let mut moved = good.clone();
        moved.swap(5, 6);
        assert_eq!(first_fault(&moved).unwrap().0, 6);
        // A line of another chain with right number and true hash.
        let mut other = Chain::begin(&mut StdRng::seed_from_u64(1));
        let mut exchanged = good.clone();
        let text = added(&mut other, &Record::new(Event::Login), 1);
        text.trim_end().clone_into(&mut exchanged[0]);
        assert_eq!(first_fault(&exchanged), Some((2, Fault::Exchanged)));
    }

    #[test]
    fn a_rewritten_chain_fails_at_the_next_signature() {
        let mut forged = Chain::begin(&mut StdRng::seed_from_u64(1));
        let mut lines: Vec<String> = (1..=3)
            .map(|at| added(&mut forged, &Record::new(Event::Logout), at))
            .collect();
        lines.push(signed(&mut forged, &CheckpointKey::from_seed(&[2; 32]), 4));
        let lines: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
        assert_eq!(first_fault(&lines), Some((4, Fault::Unsigned)));
    }

    #[test]
    fn any_single_edit_of_any_line_is_found() {
        let good = lines();
        let mut random = StdRng::seed_from_u64(2026);
        let mut tried = 0;
        for _ in 0..4_000 {
            let at = random.gen_range(0..good.len());
            let mut bytes = good[at].clone().into_bytes();
            let place = random.gen_range(0..bytes.len());
            match random.gen_range(0..3) {
                0 => bytes[place] = random.gen_range(0x20..0x7f),
                1 => bytes.insert(place, random.gen_range(0x20..0x7f)),
                _ => drop(bytes.remove(place)),
            }
            let Ok(text) = String::from_utf8(bytes) else {
                continue;
            };
            if text == good[at] {
                continue;
            }
            tried += 1;
            let mut edited = good.clone();
            edited[at].clone_from(&text);
            assert!(first_fault(&edited).is_some(), "line {at}: {text}");
        }
        assert!(tried > 3_000);
    }

    #[test]
    fn what_is_no_line_is_named_and_never_a_panic() {
        for text in [
            "",
            "{}",
            "ä",
            &"ä".repeat(80),
            &",\"hash\":\"".repeat(20),
            &format!("{{\"a\":1,\"hash\":\"{}\"}}", "0".repeat(64)),
        ] {
            assert!(Line::parse(text).is_err(), "{text}");
        }
    }
}
