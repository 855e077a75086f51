//! The head of a backend's answer, and what it says of where its body ends (RFC 9112 §6.3). What two
//! readers could read differently is no answer.
//!
//! Servers are as they are: what the other road takes is taken here, too (lines that end with LF alone
//! or are folded, spaces before a colon, one length told twice, a length beside chunks, chunks told
//! twice or by HTTP/1.0, `identity`), since the client's head is spelled anew. Not so what frames a body
//! in words that the next reader may take otherwise: other codings, which the other road would take off
//! with their chunks and never undo, and a folded line.

use std::mem::MaybeUninit;

use http::{HeaderMap, StatusCode};
use memchr::{memchr, memchr_iter};

use super::chunked::Chunked;
use super::lines::{Lines, Span, length};
use super::plain::is_one_of;

/// More header lines than this are no answer, as on the other road.
const MOST_LINES: usize = 256;

/// The head of a backend's answer.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    raw: &'a [u8],
    index: &'a ResponseIndex,
}

/// What was found in the head of an answer.
#[derive(Debug, Default)]
pub(crate) struct ResponseIndex {
    pub(crate) status: StatusCode,
    lines: Lines,
    /// How many bytes the head has.
    pub(crate) end: usize,
    pub(crate) framing: Framing,
    /// Whether the connection may carry another request afterwards.
    pub(crate) is_kept: bool,
}

/// Where the body of an answer ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    #[default]
    Empty,
    /// After so many more bytes.
    Length(u64),
    /// Where its chunks end.
    Chunked(Chunked),
    /// Where the connection ends.
    Close,
}

impl<'a> ResponseHead<'a> {
    pub(crate) const fn new(raw: &'a [u8], index: &'a ResponseIndex) -> Self {
        Self { raw, index }
    }

    /// The status; never an informational one.
    pub const fn status(&self) -> StatusCode {
        self.index.status
    }

    /// All header lines in order, as they were sent. A value may hold bytes beyond ASCII.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.index.lines.iter(self.raw)
    }

    /// The value of the first line of this name, in whatever letters.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.index.lines.get(self.raw, name)
    }

    /// The header lines as a map, for what wants one: each value keeps a copy of the whole head.
    pub fn to_header_map(self) -> HeaderMap {
        let head = self.raw.get(..self.index.end).unwrap_or_default();
        self.index.lines.to_header_map(head)
    }

    /// The length of the body, where the head tells it.
    pub const fn body_length(&self) -> Option<u64> {
        match self.index.framing {
            Framing::Empty => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked(_) | Framing::Close => None,
        }
    }
}

/// Whether an answer of this status never has a body (RFC 9110 §6.4.1).
pub const fn is_bodiless(status: StatusCode) -> bool {
    matches!(status.as_u16(), 100..=199 | 204 | 304)
}

/// Looks for the head of an answer at the front of `raw`: whether it is there whole. Folded lines of
/// it are joined where they stand.
pub(crate) fn parse(
    raw: &mut [u8],
    most: usize,
    index: &mut ResponseIndex,
) -> Result<bool, &'static str> {
    let mut headers = [const { MaybeUninit::uninit() }; MOST_LINES];
    let mut response = httparse::Response::new(&mut []);
    let mut parser = httparse::ParserConfig::default();
    // As on the other road.
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let parsed = parser.parse_response_with_uninit_headers(&mut response, raw, &mut headers);
    let parsed = parsed.map_err(|_| "its head is not HTTP/1.1")?;
    let httparse::Status::Complete(end) = parsed else {
        if raw.len() > most {
            return Err("its head is too large");
        }
        return Ok(false);
    };
    if end > most {
        return Err("its head is too large");
    }
    let head = &raw[..end];
    let folds = check_lines(head, response.headers)?;
    let code = response.code.unwrap_or_default();
    index.status = StatusCode::from_u16(code).map_err(|_| "its status is none")?;
    index.end = end;
    let is_1_1 = response.version == Some(1);
    let (framing, closes) = framing(response.headers)?;
    let is_bodiless = is_bodiless(index.status);
    // What says that it has no body and has one all the same has it read as the next answer.
    let is_odd = is_bodiless && !matches!(framing, Framing::Close | Framing::Length(0));
    index.is_kept = is_1_1 && !closes && !is_odd && (is_bodiless || framing != Framing::Close);
    index.framing = match (is_bodiless, framing) {
        (true, _) | (_, Framing::Length(0)) => Framing::Empty,
        (false, framing) => framing,
    };
    let filled = index.lines.fill(head, response.headers);
    filled.ok_or("its head is too large")?;
    if folds > 0 {
        index.lines.unfold(raw);
    }
    Ok(true)
}

/// Whether each line of `head` is a header's, or goes on with one: how many do.
fn check_lines(head: &[u8], headers: &[httparse::Header<'_>]) -> Result<usize, &'static str> {
    let (mut ends, mut folds) = (0, 0);
    for at in memchr_iter(b'\n', head) {
        if is_fold(head, at) {
            folds += 1;
        } else {
            ends += 1;
        }
    }
    let ends_line = |at: usize| head.get(at + 1) == Some(&b'\n');
    if ends != headers.len() + 2 || !memchr_iter(b'\r', head).all(ends_line) {
        return Err("a line of its head is not what it seems");
    }
    let frames = |header: &&httparse::Header<'_>| {
        let name = header.name;
        is_one_of(name, &["content-length", "transfer-encoding", "connection"])
    };
    let is_folded = |header: &httparse::Header<'_>| {
        let name = Span::within(head, header.name.as_bytes());
        let rest = name.map_or(head, |name| name.onwards(head));
        memchr(b'\n', rest).is_some_and(|at| is_fold(rest, at))
    };
    if folds > 0 && headers.iter().filter(frames).any(is_folded) {
        return Err("a line that says where it ends is folded");
    }
    Ok(folds)
}

/// Whether the line that ends `at` is continued by the next one (RFC 9112 §5.2).
fn is_fold(head: &[u8], at: usize) -> bool {
    matches!(head.get(at + 1), Some(b' ' | b'\t'))
}

/// Where the body ends, and whether the connection ends with it. What is told twice must be the same;
/// chunks are right where they are told twice or with a length, too, but the connection is then used no
/// more.
fn framing(headers: &[httparse::Header<'_>]) -> Result<(Framing, bool), &'static str> {
    let (mut declared, mut is_chunked, mut is_identity) = (None, false, false);
    let mut closes = false;
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            for told in header.value.split(|byte| *byte == b',') {
                let told = length(told.trim_ascii()).ok_or("its length is no plain number")?;
                if declared.replace(told).is_some_and(|before| before != told) {
                    return Err("it has two lengths");
                }
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if header.value.eq_ignore_ascii_case(b"chunked") {
                closes |= is_chunked;
                is_chunked = true;
            } else if header.value.eq_ignore_ascii_case(b"identity") {
                is_identity = true;
            } else {
                return Err("its transfer coding is not chunked alone");
            }
        } else if header.name.eq_ignore_ascii_case("connection") {
            let mut options = header.value.split(|byte| *byte == b',');
            closes |= options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
        }
    }
    // Old servers say it of what ends with the connection. With more, readers differ.
    if is_identity && (is_chunked || declared.is_some()) {
        return Err("its transfer coding is read in several ways");
    }
    match (declared, is_chunked) {
        (Some(length), false) => Ok((Framing::Length(length), closes)),
        (declared, true) => {
            let closes = closes || declared.is_some();
            Ok((Framing::Chunked(Chunked::default()), closes))
        }
        (None, false) => Ok((Framing::Close, closes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str) -> Result<ResponseIndex, &'static str> {
        let mut index = ResponseIndex::default();
        match parse(&mut raw.as_bytes().to_vec(), 1024, &mut index) {
            Ok(true) => Ok(index),
            Ok(false) => Err("incomplete"),
            Err(what) => Err(what),
        }
    }

    #[test]
    fn the_end_of_a_body_is_told() {
        for (head, framing, is_kept) in [
            ("1.1 200 OK\r\nContent-Length: 5", Framing::Length(5), true),
            ("1.1 200 OK\r\nContent-Length: 0", Framing::Empty, true),
            (
                "1.1 200\r\nContent-Length: 5\r\nConnection: x, Close",
                Framing::Length(5),
                false,
            ),
            ("1.0 200 OK\r\nContent-Length: 5", Framing::Length(5), false),
            (
                "1.1 200 OK\r\nTransfer-Encoding: Chunked",
                Framing::Chunked(Chunked::default()),
                true,
            ),
            ("1.1 200 OK\r\nX: y", Framing::Close, false),
            ("1.1 204 No Content\r\nX: y", Framing::Empty, true),
            (
                "1.1 204 No Content\r\nContent-Length: 0",
                Framing::Empty,
                true,
            ),
            (
                "1.1 204 No Content\r\nContent-Length: 5",
                Framing::Empty,
                false,
            ),
            (
                "1.1 204 No Content\r\nTransfer-Encoding: chunked",
                Framing::Empty,
                false,
            ),
            (
                "1.1 304 Not Modified\r\nContent-Length: 5",
                Framing::Empty,
                false,
            ),
            (
                "1.1 202 Accepted\r\nContent-Length: 0",
                Framing::Empty,
                true,
            ),
            (
                "1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5",
                Framing::Length(5),
                true,
            ),
            (
                "1.1 200 OK\r\nContent-Length: 5, 5",
                Framing::Length(5),
                true,
            ),
            (
                "1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
                Framing::Chunked(Chunked::default()),
                false,
            ),
            (
                "1.1 200 OK\nX: y\nContent-Length: 5",
                Framing::Length(5),
                true,
            ),
            (
                "1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive",
                Framing::Chunked(Chunked::default()),
                false,
            ),
            (
                "1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                Framing::Chunked(Chunked::default()),
                false,
            ),
            (
                "1.1 200 OK\r\nTransfer-Encoding: identity",
                Framing::Close,
                false,
            ),
            (
                "1.1 200 OK\r\nContent-Length : 5\r\nX: y\r\n folded",
                Framing::Length(5),
                true,
            ),
        ] {
            let index = read(&format!("HTTP/{head}\r\n\r\n")).unwrap();
            assert_eq!((index.framing, index.is_kept), (framing, is_kept), "{head}");
        }
    }

    #[test]
    fn a_head_has_as_many_lines_as_on_the_other_road() {
        let head = |lines: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a:\r\n".repeat(lines));
        let parse = |head: String| {
            let mut index = ResponseIndex::default();
            parse(&mut head.into_bytes(), 16 * 1024, &mut index)
        };
        assert_eq!(parse(head(MOST_LINES)), Ok(true));
        assert!(parse(head(MOST_LINES + 1)).is_err());
    }

    #[test]
    fn folded_lines_are_joined_by_one_space() {
        let mut raw = b"HTTP/1.1 200 OK\r\nA: b \r\n \t c\r\n \r\n\td\r\nE \t:\r\n f\r\n g\nH: i\r\nJ:\r\n \r\n\r\nbody".to_vec();
        let mut index = ResponseIndex::default();
        assert_eq!(parse(&mut raw, 1024, &mut index), Ok(true));
        let head = ResponseHead::new(&raw, &index);
        let headers: Vec<_> = head.headers().collect();
        let expected: [(&str, &[u8]); 4] =
            [("A", b"b c d"), ("E", b"f g"), ("H", b"i"), ("J", b"")];
        assert_eq!(headers, expected);
        assert_eq!(&raw[index.end..], b"body");
    }

    #[test]
    fn answers_that_are_read_in_several_ways_are_none() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6",
            "HTTP/1.1 200 OK\r\nContent-Length: 5,",
            "HTTP/1.1 200 OK\r\nContent-Length: +5",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n ",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip,\r\n chunked",
            "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length:\r\n\t5",
            "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n 6",
            "HTTP/1.1 200 OK\r\nConnection: x,\n close\r\nX: y",
            "HTTP/1.1 200 OK\r\n folded\r\nX: y",
            "HTTP/1.1 200 OK\r\nX y: z",
            "HTTP/1.1 200 OK\r\n: y",
            "HTTP/1.1 200 OK\r\nX: a\0b",
            "HTTP/1.1 200 OK\r\nX: a\rb",
            "\r\nHTTP/1.1 200 OK\r\nX: y",
            "HTTP/2.0 200 OK\r\nX: y",
            "HTTP/1.1 20 OK\r\nX: y",
            "HTTP/1.1 2000 OK\r\nX: y",
            "ICY 200 OK\r\nX: y",
        ] {
            assert!(read(&format!("{head}\r\n\r\n")).is_err(), "{head}");
        }
        assert!(
            read(&format!(
                "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
                "y".repeat(1024)
            ))
            .is_err()
        );
        assert!(read(&format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(1024))).is_err());
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nX: y\r\n").unwrap_err(),
            "incomplete"
        );
    }
}
