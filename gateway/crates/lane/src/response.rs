//! The head of a backend's answer, and what it says of where its body ends (RFC 9112 §6.3). What two
//! readers could read differently is no answer.
//!
//! Servers are as they are: what the other road takes is taken here, too (lines that end with LF alone,
//! one length told twice, a length beside chunks), since the client's head is spelled anew.

use std::mem::MaybeUninit;

use http::StatusCode;
use memchr::memchr_iter;

use super::chunked::Chunked;
use super::lines::{Lines, length};

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

    /// The length of the body, where the head tells it.
    pub const fn body_length(&self) -> Option<u64> {
        match self.index.framing {
            Framing::Empty => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked(_) | Framing::Close => None,
        }
    }
}

/// Looks for the head of an answer at the front of `raw`: whether it is there whole.
pub(crate) fn parse(
    raw: &[u8],
    most: usize,
    index: &mut ResponseIndex,
) -> Result<bool, &'static str> {
    let mut headers = [const { MaybeUninit::uninit() }; MOST_LINES];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        raw,
        &mut headers,
    );
    let parsed = parsed.map_err(|_| "its head is not HTTP/1.1")?;
    let httparse::Status::Complete(end) = parsed else {
        return match raw.len() > most {
            true => Err("its head is too large"),
            false => Ok(false),
        };
    };
    if end > most {
        return Err("its head is too large");
    }
    let head = &raw[..end];
    let lines = response.headers.len() + 2;
    let ends_line = |at: usize| head.get(at + 1) == Some(&b'\n');
    if memchr_iter(b'\n', head).count() != lines || !memchr_iter(b'\r', head).all(ends_line) {
        return Err("a line of its head is not what it seems");
    }
    let code = response.code.unwrap_or_default();
    index.status = StatusCode::from_u16(code).map_err(|_| "its status is none")?;
    index.end = end;
    let is_1_1 = response.version == Some(1);
    let (framing, closes) = framing(response.headers, is_1_1)?;
    let is_bodiless = index.status.is_informational()
        || matches!(
            index.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    // What says that it has no body and has one all the same has it read as the next answer.
    let is_odd = is_bodiless && !matches!(framing, Framing::Close | Framing::Length(0));
    index.is_kept = is_1_1 && !closes && !is_odd && (is_bodiless || framing != Framing::Close);
    index.framing = match (is_bodiless, framing) {
        (true, _) | (_, Framing::Length(0)) => Framing::Empty,
        (false, framing) => framing,
    };
    let filled = index.lines.fill(head, response.headers);
    filled.map(|()| true).ok_or("its head is too large")
}

/// Where the body ends, and whether the connection ends with it. What is told twice must be the same;
/// chunks are right where a length is told, too, but the connection is then used no more.
fn framing(
    headers: &[httparse::Header<'_>],
    is_1_1: bool,
) -> Result<(Framing, bool), &'static str> {
    let (mut declared, mut is_chunked, mut closes) = (None, false, false);
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            for told in header.value.split(|byte| *byte == b',') {
                let told = length(told.trim_ascii()).ok_or("its length is no plain number")?;
                if declared.replace(told).is_some_and(|before| before != told) {
                    return Err("it has two lengths");
                }
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if is_chunked || !is_1_1 || !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err("its transfer coding is not chunked alone");
            }
            is_chunked = true;
        } else if header.name.eq_ignore_ascii_case("connection") {
            let mut options = header.value.split(|byte| *byte == b',');
            closes |= options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
        }
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
        match parse(raw.as_bytes(), 1024, &mut index) {
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
            parse(head.as_bytes(), 16 * 1024, &mut index)
        };
        assert_eq!(parse(head(MOST_LINES)), Ok(true));
        assert!(parse(head(MOST_LINES + 1)).is_err());
    }

    #[test]
    fn answers_that_are_read_in_several_ways_are_none() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6",
            "HTTP/1.1 200 OK\r\nContent-Length: 5,",
            "HTTP/1.1 200 OK\r\nContent-Length: +5",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
            "HTTP/1.1 200 OK\r\nX : y",
            "HTTP/1.1 200 OK\r\nX: y\r\n folded",
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
