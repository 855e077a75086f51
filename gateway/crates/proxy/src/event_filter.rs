//! Streams of events on their way to a token whose lists are judged. A plain event goes on as it is; one
//! that answers a call goes on before it is over, once it is large. Any other is held and judged whole.

use std::ops::Range;

use bytes::Bytes;

use super::in_flight::{Full, Hold};
use super::tool_list_filter::LARGEST_EVENT;
use mcp_protocol::event_scan::{End, EventScan};
use mcp_protocol::tool_list::Unreadable;

/// So much of an event is held before it goes on unfinished. What stands in the first bytes of a result
/// decides about all that a call may be answered with in a regular way; were it to come later still, the
/// stream would end there.
const EARLY: usize = 16 * 1024;

/// Judges events that are not plain.
pub(super) trait JudgeEvents {
    /// One event, as it may go on.
    fn judge_event(
        &self,
        event: Vec<u8>,
    ) -> impl Future<Output = Result<Vec<u8>, Unreadable>> + Send;

    /// Whether an event that is plain so far may go on before its end.
    fn may_pass_early(&self) -> bool;
}

/// Why an event is not judged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HoldError {
    Unreadable(Unreadable),
    Full(Full),
}

impl From<Unreadable> for HoldError {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

/// Follows a stream of events. What it holds of one that has not ended is on the account of whom it is
/// for.
pub(super) struct EventFilter {
    scan: EventScan,
    /// The beginning of an event.
    held: Vec<u8>,
    /// The beginning of a character.
    partial: Vec<u8>,
    /// Whether the beginning of the event went on.
    is_passing: bool,
    hold: Hold,
}

impl EventFilter {
    pub(super) fn new(hold: Hold) -> Self {
        Self {
            scan: EventScan::default(),
            held: Vec::new(),
            partial: Vec::new(),
            is_passing: false,
            hold,
        }
    }

    /// Takes the next bytes of the backend and gives those that go on.
    pub(super) async fn pass(
        &mut self,
        chunk: &Bytes,
        judge: impl JudgeEvents,
    ) -> Result<Bytes, HoldError> {
        let held = self.held.len() + self.partial.len() + chunk.len();
        self.hold.grow_beyond_free(held).map_err(HoldError::Full)?;
        let whole;
        let chunk = if self.partial.is_empty() {
            chunk
        } else {
            whole = Bytes::from([&std::mem::take(&mut self.partial), &chunk[..]].concat());
            &whole
        };
        let passed = self.pass_whole(chunk, &judge).await?;
        if self.held.is_empty() {
            self.hold.release();
        }
        Ok(passed)
    }

    /// The same of bytes that begin with a character.
    async fn pass_whole(
        &mut self,
        chunk: &Bytes,
        judge: &impl JudgeEvents,
    ) -> Result<Bytes, Unreadable> {
        let mut passed = Passed::new(chunk);
        // From `start` on, nothing of the event went on or is held.
        let (mut start, mut at) = (0, 0);
        loop {
            let scanned = self.scan.advance(&chunk[at..]);
            at += scanned.used;
            match scanned.end {
                End::Bytes => {
                    self.partial.extend_from_slice(&chunk[at..]);
                    if self.is_passing {
                        passed.push(start..at);
                    } else {
                        self.hold_beginning(&chunk[start..at], judge, &mut passed)?;
                    }
                    return Ok(passed.into_bytes());
                }
                End::Event(true) => {
                    passed.append(std::mem::take(&mut self.held));
                    passed.push(start..at);
                    (start, self.is_passing) = (at, false);
                }
                End::Event(false) if self.is_passing => return Err(Unreadable),
                End::Event(false) => {
                    self.held.extend_from_slice(&chunk[start..at]);
                    let event = std::mem::take(&mut self.held);
                    passed.append(judge.judge_event(event).await?);
                    start = at;
                }
                End::NotPlain if self.is_passing => return Err(Unreadable),
                End::NotPlain => {}
                End::LineBreak(c) => {
                    let escape = escape(c);
                    if self.is_passing {
                        passed.push(start..at);
                        passed.append(escape.into_bytes());
                    } else {
                        self.held.extend_from_slice(&chunk[start..at]);
                        self.held.extend_from_slice(escape.as_bytes());
                    }
                    at += c.len_utf8();
                    start = at;
                }
            }
        }
    }

    /// Holds the beginning of an event, unless it may go on.
    fn hold_beginning(
        &mut self,
        bytes: &[u8],
        judge: &impl JudgeEvents,
        passed: &mut Passed<'_>,
    ) -> Result<(), Unreadable> {
        if self.held.len() + bytes.len() > LARGEST_EVENT {
            return Err(Unreadable);
        }
        self.held.extend_from_slice(bytes);
        let is_large = self.held.len() >= EARLY;
        if is_large && self.scan.is_within_result() && judge.may_pass_early() {
            self.is_passing = true;
            passed.append(std::mem::take(&mut self.held));
        }
        Ok(())
    }

    /// What is left of a stream that ended within an event.
    pub(super) async fn rest(self, judge: impl JudgeEvents) -> Result<Bytes, Unreadable> {
        let rest = [self.held, self.partial].concat();
        if self.is_passing {
            // Half a character is nothing that could go on.
            return if rest.is_empty() {
                Ok(Bytes::new())
            } else {
                Err(Unreadable)
            };
        }
        judge.judge_event(rest).await.map(Bytes::from)
    }
}

/// What goes on of a chunk: without a copy, where that is one piece of it.
struct Passed<'c> {
    chunk: &'c Bytes,
    piece: Range<usize>,
    copied: Option<Vec<u8>>,
}

impl<'c> Passed<'c> {
    const fn new(chunk: &'c Bytes) -> Self {
        Self {
            chunk,
            piece: 0..0,
            copied: None,
        }
    }

    fn push(&mut self, piece: Range<usize>) {
        if piece.is_empty() {
            return;
        }
        match &mut self.copied {
            Some(copied) => copied.extend_from_slice(&self.chunk[piece]),
            None if self.piece.is_empty() => self.piece = piece,
            None if self.piece.end == piece.start => self.piece.end = piece.end,
            None => {
                let pieces = [&self.chunk[self.piece.clone()], &self.chunk[piece]];
                self.copied = Some(pieces.concat());
            }
        }
    }

    fn append(&mut self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.copied {
            Some(copied) => copied.extend_from_slice(&bytes),
            None if self.piece.is_empty() => self.copied = Some(bytes),
            None => {
                let before = &self.chunk[self.piece.clone()];
                self.copied = Some([before, &bytes].concat());
            }
        }
    }

    fn into_bytes(self) -> Bytes {
        match self.copied {
            Some(copied) => Bytes::from(copied),
            None => self.chunk.slice(self.piece),
        }
    }
}

/// A character as JSON escapes it within a text.
pub(super) fn escape(c: char) -> String {
    format!("\\u{:04x}", c as u32)
}

#[cfg(test)]
mod tests;
