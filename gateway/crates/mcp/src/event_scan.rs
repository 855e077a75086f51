//! What an event is, looked at byte by byte as it comes and without being parsed: most events answer
//! a call, and are as large as what a tool found. An event is *plain* if nothing in it can be a list of
//! tools, a request or notification, the name of a task or what a server can do, whoever reads it. A
//! plain event need not be held to its end either.
//!
//! Plain is a small language, and whatever is not surely in it is not plain:
//! - lines as in the standard, whose data is one JSON object;
//! - the members of this object are `jsonrpc`, `id`, `result` and `error`, in plain letters and each at
//!   most once; `result` is an object;
//! - no key of `result` has an escape, a character beyond ASCII, or resembles one of `JUDGED`; nor does
//!   one of its `_meta` name the task to which a message belongs;
//! - outside of texts stands nothing that JSON does not have there;
//! - no character that some take for the end of a line, but within a text, where it is told.
//!
//! This is enough: where the text is JSON, brackets outside of texts tell how deep a key stands, to every
//! reader; where it is none, a reader has nothing of it.

mod json;

use memchr::memchr2;

use self::json::Json;

/// Keys of a result for whose sake an event is judged, in small letters. The first also as the beginning
/// of another key.
const JUDGED: [&[u8]; 5] = [b"tool", b"capabilities", b"task", b"taskid", b"__proto__"];

/// The key of `_meta` that names the task to which a message belongs (2025-11-25, Tasks).
const RELATED_TASK: &[u8] = b"io.modelcontextprotocol/related-task";

/// Follows one event after the other.
#[derive(Clone, Debug, Default)]
pub struct EventScan {
    line: Line,
    json: Json,
    is_judged: bool,
}

/// Where in a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// Before the first of an event. An LF may still belong to the end of the last line.
    #[default]
    First,
    /// Before another one of the same event.
    Next,
    /// The same behind a CR: an LF belongs to it.
    NextAfterCr,
    /// So many bytes of `data` were there.
    Field(usize),
    /// Behind `data:`.
    Data,
    /// In a line of something else.
    Other,
}

/// How far a scan came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// So many bytes were looked at. The rest is the beginning of a character, to be looked at again with
    /// what follows, unless something else ended the scan.
    pub used: usize,
    /// What ended it.
    pub end: End,
}

/// What ends a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All was looked at.
    Bytes,
    /// An event is over, and whether it was plain.
    Event(bool),
    /// The event is not plain; it goes on with the next byte.
    NotPlain,
    /// Behind what was used stands a character that some take for the end of a line, within a text: an
    /// escape is to stand in its place, and the scan to go on behind it.
    LineBreak(char),
}

impl EventScan {
    /// Looks at the next bytes, up to the end of an event. Once an event is not plain, only its end is
    /// looked for.
    pub fn advance(&mut self, bytes: &[u8]) -> Scanned {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            if rest.is_empty() {
                let end = End::Bytes;
                return Scanned { used: at, end };
            }
            let (used, end) = match self.line {
                _ if self.is_judged => self.skip_line(rest),
                Line::Data => self.data(rest),
                Line::Other => self.other(rest),
                _ => self.line_start(rest[0]),
            };
            at += used;
            if let Some(end) = end {
                if end == End::NotPlain {
                    self.is_judged = true;
                }
                return Scanned { used: at, end };
            }
        }
    }

    /// Whether what was looked at is a part of an event that is plain up to the result of an answer: what
    /// may follow changes nothing before it.
    pub const fn is_within_result(&self) -> bool {
        !self.is_judged && self.json.is_within_result()
    }

    fn line_start(&mut self, byte: u8) -> (usize, Option<End>) {
        match (self.line, byte) {
            (Line::NextAfterCr, b'\n') => {
                self.line = Line::Next;
                (1, None)
            }
            // The line before was empty, or there was none.
            (Line::First | Line::Next | Line::NextAfterCr, b'\n' | b'\r') => {
                let is_plain = !self.is_judged && self.json.may_end();
                *self = Self::default();
                (1, Some(End::Event(is_plain)))
            }
            (Line::First | Line::Next | Line::NextAfterCr, _) => {
                self.line = Line::Field(0);
                (0, None)
            }
            (Line::Field(4), b':') => {
                self.line = Line::Data;
                (1, None)
            }
            (Line::Field(so_far), byte) if b"data".get(so_far) == Some(&byte) => {
                self.line = Line::Field(so_far + 1);
                (1, None)
            }
            _ => {
                self.line = Line::Other;
                (0, None)
            }
        }
    }

    fn end_line(&mut self, byte: u8) {
        self.line = match byte {
            b'\r' => Line::NextAfterCr,
            _ => Line::Next,
        };
    }

    fn data(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        let (used, end) = self.json.advance(bytes);
        match end {
            json::End::Bytes => (used, Some(End::Bytes)),
            json::End::Unclear => (used, Some(End::NotPlain)),
            json::End::LineBreak(c) => (used, Some(End::LineBreak(c))),
            json::End::Line => {
                self.end_line(bytes[used]);
                (used + 1, None)
            }
        }
    }

    /// A name, an id, a comment: short, and in ASCII.
    fn other(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) || *byte == b'\t';
        match bytes.iter().position(|byte| !is_plain(byte)) {
            None => (bytes.len(), None),
            Some(end) if matches!(bytes[end], b'\n' | b'\r') => {
                self.end_line(bytes[end]);
                (end + 1, None)
            }
            Some(odd) => (odd, Some(End::NotPlain)),
        }
    }

    fn skip_line(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        if !matches!(self.line, Line::Data | Line::Other | Line::Field(_)) {
            return self.line_start(bytes[0]);
        }
        match memchr2(b'\n', b'\r', bytes) {
            None => (bytes.len(), None),
            Some(end) => {
                self.end_line(bytes[end]);
                (end + 1, None)
            }
        }
    }
}
