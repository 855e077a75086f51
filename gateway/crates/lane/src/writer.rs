//! Spelling heads out. Framing is the lane's alone, and no value can end its line.

use std::fmt::Write as _;

use bytes::BytesMut;
use http::{Method, StatusCode};

use super::date;
use super::plain::{TOKEN, is_graphic, is_one_of, is_value};

/// Says where a message ends, or what is of this hop alone: only the lane writes them.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A head that is being spelled out.
#[derive(Debug)]
pub struct HeadWriter<'a> {
    out: &'a mut BytesMut,
    /// Whether the lane has said when the message was made, which nobody else may then. A request says
    /// it where its client did.
    is_dated: bool,
    is_spoiled: bool,
}

impl<'a> HeadWriter<'a> {
    pub(crate) fn request(out: &'a mut BytesMut, method: &Method, target: &str) -> Self {
        out.extend_from_slice(method.as_str().as_bytes());
        out.extend_from_slice(b" ");
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        Self {
            is_spoiled: !target.starts_with('/') || !is_graphic(target.as_bytes()),
            is_dated: false,
            out,
        }
    }

    pub(crate) fn response(
        out: &'a mut BytesMut,
        status: StatusCode,
        date: &[u8; date::LENGTH],
    ) -> Self {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.as_str().as_bytes());
        out.extend_from_slice(b" ");
        out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\r\ndate: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n");
        Self {
            out,
            is_dated: true,
            is_spoiled: false,
        }
    }

    /// Adds a line. A name that is none, a value that could end its line, and a name that says
    /// something about framing spoil the head: it is not sent, and the exchange fails.
    pub fn header(&mut self, name: &str, value: &[u8]) {
        let is_spelled = !name.is_empty()
            && TOKEN.has_all(name.as_bytes())
            && is_value(value)
            && !is_one_of(name, FRAMING)
            && !(self.is_dated && is_one_of(name, &["date"]));
        if is_spelled {
            self.line(name, value);
        } else {
            self.is_spoiled = true;
        }
    }

    fn line(&mut self, name: &str, value: &[u8]) {
        self.out.reserve(name.len() + value.len() + 4);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Leaves the head unfinished until the framing of its body is known. Whether it can be sent.
    pub(crate) const fn pause(self) -> bool {
        !self.is_spoiled
    }

    /// Goes on with a head that was left unfinished.
    pub(crate) const fn resume(out: &'a mut BytesMut) -> Self {
        Self {
            out,
            is_dated: true,
            is_spoiled: false,
        }
    }

    /// Ends the head of a message whose body has this framing. Whether it can be sent.
    pub(crate) fn end(self, body: BodyFraming, closes: bool) -> bool {
        match body {
            BodyFraming::None => {}
            BodyFraming::Length(length) => {
                // Writing to memory doesn't fail.
                let _ = write!(self.out, "content-length: {length}\r\n");
            }
            BodyFraming::Chunked => {
                self.out
                    .extend_from_slice(b"transfer-encoding: chunked\r\n");
            }
        }
        if closes {
            self.out.extend_from_slice(b"connection: close\r\n");
        }
        self.out.extend_from_slice(b"\r\n");
        !self.is_spoiled
    }
}

/// How the body of a message that the lane writes is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    /// There is none, and no word of it.
    None,
    Length(u64),
    Chunked,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, value: &[u8]) -> Option<String> {
        let mut out = BytesMut::new();
        let mut writer = HeadWriter::response(&mut out, StatusCode::OK, &[b'd'; date::LENGTH]);
        writer.header(name, value);
        writer
            .end(BodyFraming::Length(3), true)
            .then(|| String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn a_head_is_spelled_with_the_framing_of_the_lane() {
        let date = "d".repeat(date::LENGTH);
        let expected = format!(
            "HTTP/1.1 200 OK\r\ndate: {date}\r\nx-a: b\r\ncontent-length: 3\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(written("x-a", b"b"), Some(expected));
        let mut out = BytesMut::new();
        let writer = HeadWriter::request(&mut out, &Method::GET, "/a?b");
        assert!(writer.end(BodyFraming::None, false));
        assert_eq!(&out[..], b"GET /a?b HTTP/1.1\r\n\r\n");
        for target in ["/a b", "/a\r\nx: y", "a", "", "/\u{e9}"] {
            let writer = HeadWriter::request(&mut out, &Method::GET, target);
            assert!(!writer.end(BodyFraming::None, false), "{target:?}");
        }
    }

    #[test]
    fn a_request_may_say_when_it_was_made() {
        let mut out = BytesMut::new();
        let mut writer = HeadWriter::request(&mut out, &Method::GET, "/a");
        writer.header("Date", b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert!(writer.end(BodyFraming::None, false));
    }

    #[test]
    fn no_value_ends_its_line_and_nobody_else_frames() {
        assert!(written("x", b"a\tb \xff").is_some());
        for (name, value) in [
            ("x", &b"a\r\ny: b"[..]),
            ("x", b"a\n"),
            ("x", b"a\0"),
            ("x", b"\x7f"),
            ("x:y", b"a"),
            ("x y", b"a"),
            ("x\r\n", b"a"),
            ("", b"a"),
            ("Content-Length", b"1"),
            ("Transfer-Encoding", b"chunked"),
            ("connection", b"close"),
            ("Upgrade", b"h2c"),
            ("Date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
        ] {
            assert_eq!(written(name, value), None, "{name:?}");
        }
    }
}
