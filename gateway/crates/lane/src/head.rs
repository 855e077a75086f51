//! The head of a request, under a grammar that is narrower than HTTP's: whatever two readers could
//! read differently, and whatever needs more than a length to find the end of its body, is not plain
//! and goes the other road.
//!
//! Owns: what a plain head is. Not: whether somebody wants it ([`Service::begin`](crate::Service)).

use http::{HeaderMap, Method};
use memchr::{memchr, memchr_iter};

use super::lines::{Lines, Span, length};
use super::plain::{PLAIN_NAME, PLAIN_PATH, is_graphic, is_one_of};

/// More header lines than this are not plain.
const MOST_LINES: usize = 64;

/// Headers that say something about framing, or about this hop alone (RFC 9110 §7.6.1), and those that
/// ask for another conversation than one answer to one request.
const NEVER: &[&str] = &[
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that stand once, beside all of MCP's.
const SINGLE: &[&str] = &[
    "accept",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "origin",
];

/// The head of one request.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    raw: &'a str,
    index: &'a Index,
}

/// What was found in a head, by where it stands.
#[derive(Debug)]
pub(crate) struct Index {
    method: Method,
    target: Span,
    lines: Lines,
    /// How many bytes the head has.
    pub(crate) end: usize,
    /// How many bytes the body has.
    pub(crate) length: usize,
    /// Whether the client wants its connection closed after the answer.
    pub(crate) closes: bool,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            method: Method::GET,
            target: Span::default(),
            lines: Lines::default(),
            end: 0,
            length: 0,
            closes: false,
        }
    }
}

impl<'a> Head<'a> {
    /// `raw`: the bytes that `index` describes, which are ASCII.
    pub(crate) fn new(raw: &'a [u8], index: &'a Index) -> Self {
        let raw = std::str::from_utf8(raw).unwrap_or_default();
        Self { raw, index }
    }

    /// POST, GET or DELETE.
    pub const fn method(&self) -> &'a Method {
        &self.index.method
    }

    /// The target in origin-form (RFC 9112 §3.2.1): printable ASCII, without a fragment; its path has
    /// no percent-encoding, no empty segment but a last one, and no dot segment.
    pub fn target(&self) -> &'a str {
        self.index.target.of_text(self.raw)
    }

    /// All header lines in order: name as it was sent, value of printable ASCII.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.index.lines.texts(self.raw)
    }

    /// The value of the first line of this name, in whatever letters.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.index.lines.get(self.raw.as_bytes(), name)
    }

    /// The length of the body, in bytes.
    pub const fn body_length(&self) -> usize {
        self.index.length
    }

    /// The header lines as a map, for what wants one: each value keeps a copy of the whole head.
    pub fn to_header_map(self) -> HeaderMap {
        self.index.lines.to_header_map(self.raw.as_bytes())
    }
}

/// How far a head has been looked at while it comes in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    looked_at: usize,
    lines: usize,
}

/// What stands at the front of what a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The beginning of what may become a head.
    Incomplete,
    /// A head, which the index describes.
    Complete,
    /// Nothing that is plain, for this reason.
    NotPlain(&'static str),
}

impl Scan {
    /// Looks at `raw`, which is what was looked at before and more. Each byte is looked at once until
    /// the head is complete, however slowly it comes.
    pub(crate) fn look(&mut self, raw: &[u8], most: usize, index: &mut Index) -> Parsed {
        if let Err(what) = check_start(raw) {
            return Parsed::NotPlain(what);
        }
        for at in memchr_iter(b'\n', &raw[self.looked_at..]) {
            let at = self.looked_at + at;
            if at == 0 || raw[at - 1] != b'\r' {
                return Parsed::NotPlain("a line does not end with CRLF");
            }
            self.lines += 1;
            if raw[..at].ends_with(b"\r\n\r") {
                if at >= most {
                    return Parsed::NotPlain("the head is large");
                }
                let lines = self.lines;
                return match read(&raw[..=at], lines, index) {
                    Ok(()) => Parsed::Complete,
                    Err(what) => Parsed::NotPlain(what),
                };
            }
        }
        self.looked_at = raw.len();
        if raw.len() > most {
            Parsed::NotPlain("the head is large")
        } else {
            Parsed::Incomplete
        }
    }
}

/// Whether what came so far may be one of the three methods and the beginning of a path.
fn check_start(raw: &[u8]) -> Result<(), &'static str> {
    let starts = [&b"POST /"[..], b"GET /", b"DELETE /"];
    let may_be = |start: &[u8]| {
        let both = raw.len().min(start.len());
        raw[..both] == start[..both]
    };
    if starts.into_iter().any(may_be) {
        Ok(())
    } else {
        Err("the request is of another method or form")
    }
}

/// Reads a whole head of so many line ends.
fn read(raw: &[u8], lines: usize, index: &mut Index) -> Result<(), &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_LINES];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(raw) {
        Ok(httparse::Status::Complete(end)) if end == raw.len() => {}
        _ => return Err("the head is not HTTP/1.1"),
    }
    let (Some(method), Some(target), Some(1)) = (request.method, request.path, request.version)
    else {
        return Err("the version is not HTTP/1.1");
    };
    // Printable ASCII alone: httparse takes tabs, and bytes beyond ASCII.
    if !raw.is_ascii() || memchr(b'\t', raw).is_some() {
        return Err("a header is not plain");
    }
    // One line for each header, the request line and the empty one, and no CR but in their ends.
    if request.headers.len() + 2 != lines || memchr_iter(b'\r', raw).count() != lines {
        return Err("a line is not what it seems");
    }
    check_target(target)?;
    let framing = check_headers(request.headers)?;
    index.method = match method {
        "POST" => Method::POST,
        "GET" => Method::GET,
        "DELETE" => Method::DELETE,
        _ => return Err("the request is of another method or form"),
    };
    index.length = match (&index.method, framing.length) {
        (&Method::POST, Some(length)) => length,
        (&Method::GET | &Method::DELETE, None | Some(0)) => 0,
        _ => return Err("the body is of another form"),
    };
    index.closes = framing.closes;
    index.end = raw.len();
    index.target = Span::within(raw, target.as_bytes()).ok_or("the head is large")?;
    let filled = index.lines.fill(raw, request.headers);
    filled.ok_or("the head is large")
}

fn check_target(target: &str) -> Result<(), &'static str> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, query),
        None => (target, ""),
    };
    let is_plain =
        PLAIN_PATH.has_all(path.as_bytes()) && is_graphic(query.as_bytes()) && !query.contains('#');
    if !is_plain {
        return Err("the target is read in several ways");
    }
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if matches!(segment, "." | "..") || segment.is_empty() && !is_last {
            return Err("the target is read in several ways");
        }
    }
    Ok(())
}

/// What the headers say of where the request ends.
#[derive(Default)]
struct Framing {
    length: Option<usize>,
    closes: bool,
}

fn check_headers(headers: &[httparse::Header<'_>]) -> Result<Framing, &'static str> {
    let mut framing = Framing::default();
    let mut has_host = false;
    for (at, header) in headers.iter().enumerate() {
        if !PLAIN_NAME.has_all(header.name.as_bytes()) {
            return Err("a header is not plain");
        }
        let name = header.name;
        if is_one_of(name, NEVER) {
            return Err("a header asks for more than one plain answer");
        }
        if !is_one_of(name, SINGLE) && !is_of_mcp(name) {
            continue;
        }
        let is_same = |other: &httparse::Header<'_>| other.name.eq_ignore_ascii_case(name);
        if headers[..at].iter().any(is_same) {
            return Err("a header that may stand once stands twice");
        }
        if name.eq_ignore_ascii_case("host") {
            has_host = !header.value.is_empty();
        } else if name.eq_ignore_ascii_case("content-length") {
            let length = length(header.value).ok_or("the length is no plain number")?;
            framing.length = Some(usize::try_from(length).map_err(|_| "the body is large")?);
        } else if name.eq_ignore_ascii_case("connection") {
            framing.closes = header.value.eq_ignore_ascii_case(b"close");
            if !framing.closes && !header.value.eq_ignore_ascii_case(b"keep-alive") {
                return Err("the Connection header names more");
            }
        }
    }
    if has_host {
        Ok(framing)
    } else {
        Err("the Host header is missing")
    }
}

fn is_of_mcp(name: &str) -> bool {
    name.get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("mcp-"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn parse(raw: &[u8], index: &mut Index) -> Parsed {
        Scan::default().look(raw, 16 * 1024, index)
    }

    fn is_plain(raw: &str) -> bool {
        parse(raw.as_bytes(), &mut Index::default()) == Parsed::Complete
    }

    const PLAIN: &str = "POST /mcp?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";

    #[test]
    fn a_plain_head_is_read() {
        let mut index = Index::default();
        let raw = b"POST /notes/mcp?x=1 HTTP/1.1\r\nHost: a:1\r\nMCP-Session-Id: x y\r\nContent-Length: 12\r\nx-a: 1\r\nX-A: 2\r\n\r\nrest";
        assert_eq!(parse(raw, &mut index), Parsed::Complete);
        let head = Head::new(raw, &index);
        assert_eq!(head.method(), Method::POST);
        assert_eq!(head.target(), "/notes/mcp?x=1");
        assert_eq!(head.header("mcp-session-id"), Some(&b"x y"[..]));
        assert_eq!(head.header("x-b"), None);
        assert_eq!(head.headers().count(), 5);
        assert_eq!(head.body_length(), 12);
        assert_eq!(index.end, raw.len() - 4);
        assert!(!index.closes);
        assert_eq!(head.to_header_map().get_all("x-a").iter().count(), 2);
    }

    #[test]
    fn a_head_is_told_from_its_beginning_at_every_byte() {
        let mut scan = Scan::default();
        for end in 0..PLAIN.len() {
            let parsed = scan.look(&PLAIN.as_bytes()[..end], 1024, &mut Index::default());
            assert_eq!(parsed, Parsed::Incomplete, "{end}");
        }
        let parsed = scan.look(PLAIN.as_bytes(), 1024, &mut Index::default());
        assert_eq!(parsed, Parsed::Complete);
    }

    #[test]
    fn heads_that_are_read_in_several_ways_are_not_plain() {
        assert!(is_plain(PLAIN));
        for (plain, odd) in [
            ("POST /", "PUT /"),
            ("POST /", "post /"),
            ("POST /", "POST  /"),
            ("POST /", " POST /"),
            ("POST /", "\r\nPOST /"),
            ("POST /", "\nPOST /"),
            ("/mcp?a=b", "http://a/mcp"),
            ("/mcp?a=b", "*"),
            ("/mcp?a=b", "//mcp"),
            ("/mcp?a=b", "/./mcp"),
            ("/mcp?a=b", "/a/../mcp"),
            ("/mcp?a=b", "/mcp#x"),
            ("/mcp?a=b", "/mcp?a#x"),
            ("/mcp?a=b", "/%6dcp"),
            ("/mcp?a=b", "/mcp;x"),
            ("/mcp?a=b", "/m\\cp"),
            ("/mcp?a=b", "/m\u{e9}cp"),
            ("/mcp?a=b", "/mcp\0"),
            ("/mcp?a=b", "/mcp HTTP/1.1 "),
            ("/mcp?a=b HTTP", "/mcp?a=b\tHTTP"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("HTTP/1.1", "HTTP/2.0"),
            ("HTTP/1.1", "http/1.1"),
            ("HTTP/1.1", "HTTP/1.1 "),
            (" HTTP/1.1", ""),
            ("HTTP/1.1\r\n", "HTTP/1.1\n"),
            ("HTTP/1.1\r\n", "HTTP/1.1\r"),
            ("a\r\n", "a\n"),
            ("a\r\n", "a\r"),
            ("a\r\n", "a\r\n folded\r\n"),
            ("a\r\n", "a\r\n\tfolded\r\n"),
            ("a\r\n", "a\rb\r\n"),
            ("a\r\n", "a\0b\r\n"),
            ("a\r\n", "a\u{7f}\r\n"),
            ("a\r\n", "a\u{e9}\r\n"),
            ("a\r\n", "a\tb\r\n"),
            ("Host: a", "Host: "),
            ("Host: a", "X-Host: a"),
            ("Host: a", "Host : a"),
            ("Host: a", " Host: a"),
            ("Host: a", "Ho st: a"),
            ("Host: a", "Host: a\r\nHost: a"),
            ("Host: a", "Host: a\r\nhost: b"),
            ("Host: a", "Host: a\r\n: b"),
            ("Host: a", "Host: a\r\nb"),
            ("Host: a", "Host: a\r\nx(y): b"),
            ("Host: a", "Host: a\r\nContent-Length: 2"),
            ("Host: a", "Host: a\r\nContent-Length: 3"),
            ("Host: a", "Host: a\r\nTransfer-Encoding: chunked"),
            ("Host: a", "Host: a\r\nTransfer-Encoding: identity"),
            ("Host: a", "Host: a\r\nTransfer-Encoding:"),
            ("Host: a", "Host: a\r\nExpect: 100-continue"),
            ("Host: a", "Host: a\r\nUpgrade: h2c"),
            ("Host: a", "Host: a\r\nTrailer: x"),
            ("Host: a", "Host: a\r\nTE: trailers"),
            ("Host: a", "Host: a\r\nConnection: x-foo"),
            ("Host: a", "Host: a\r\nConnection: close, host"),
            (
                "Host: a",
                "Host: a\r\nConnection: close\r\nConnection: close",
            ),
            ("Host: a", "Host: a\r\nAuthorization: a\r\nauthorization: a"),
            ("Host: a", "Host: a\r\nMcp-Name: a\r\nmcp-name: a"),
            ("Host: a", "Host: a\r\nMcp-Param-x: a\r\nmcp-param-X: a"),
            ("Host: a", "Host: a\r\nOrigin: a\r\nOrigin: a"),
            ("Host: a", "Host: a\r\nContent-Type: a\r\nContent-Type: a"),
            ("Host: a", "Host: a\r\nAccept: a\r\nAccept: a"),
            ("Length: 2", "Length: +2"),
            ("Length: 2", "Length: 2,2"),
            ("Length: 2", "Length: 2 2"),
            ("Length: 2", "Length: 0x2"),
            ("Length: 2", "Length: -2"),
            ("Length: 2", "Length: 2.0"),
            ("Length: 2", "Length: "),
            ("Length: 2", "Length: 99999999999999999999"),
            ("Content-Length: 2\r\n", ""),
            ("POST", "GET"),
            ("POST", "DELETE"),
        ] {
            assert!(PLAIN.contains(plain), "{plain}");
            let raw = PLAIN.replacen(plain, odd, 1);
            let parsed = parse(raw.as_bytes(), &mut Index::default());
            assert!(matches!(parsed, Parsed::NotPlain(_)), "{raw:?}: {parsed:?}");
        }
    }

    #[test]
    fn what_is_common_stays_plain() {
        for (plain, other) in [
            ("Host: a", "Host: a\r\nConnection: keep-alive"),
            ("Host: a", "Host: a\r\nCookie: a\r\nCookie: b"),
            ("Host: a", "host:a"),
            ("Host: a", "Host: a\r\nx_y: "),
            ("Length: 2", "Length:  2 "),
            ("POST /mcp?a=b", "POST /mcp/"),
            ("POST /mcp?a=b", "POST /"),
        ] {
            assert!(is_plain(&PLAIN.replacen(plain, other, 1)), "{other}");
        }
        assert!(is_plain("GET /mcp HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(is_plain(
            "DELETE /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        ));
    }

    #[test]
    fn a_head_is_bounded() {
        let many = "x: y\r\n".repeat(MOST_LINES);
        assert!(!is_plain(&PLAIN.replacen(
            "Host: a\r\n",
            &format!("Host: a\r\n{many}"),
            1
        )));
        let long = "y".repeat(16 * 1024);
        assert!(!is_plain(&PLAIN.replacen(
            "Host: a",
            &format!("Host: a\r\nx: {long}"),
            1
        )));
        let endless = format!("POST /mcp HTTP/1.1\r\nx: {long}");
        let parsed = parse(endless.as_bytes(), &mut Index::default());
        assert_eq!(parsed, Parsed::NotPlain("the head is large"));
    }
}
