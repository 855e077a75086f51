//! The head of a request as a whole: one framing, no header twice that may stand once, bounded
//! size. What Pingora accepts and others read differently is refused here (RFC 9112 §6.3).

use http::header::{AUTHORIZATION, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Version};
use pingora::protocols::http::ServerSession;

/// Bounds on a head, all lines together.
const MOST_LINES: usize = 100;
const MOST_BYTES: usize = 32 * 1024;

/// Headers that may stand once.
const SINGLE: &[&str] = &[
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "origin",
    "transfer-encoding",
];

/// Checks the head of the request that `session` has read. Says what is wrong.
pub(super) fn check(session: &ServerSession) -> Result<(), &'static str> {
    let head = session.req_header();
    check_headers(&head.headers, head.raw_path().len())?;
    if let Some(h1) = session.as_http1() {
        let raw = h1.get_headers_raw_bytes();
        check_lines(&raw)?;
        check_target(&raw, head.raw_path())?;
    }
    let has_host = head.headers.contains_key(HOST) || head.uri.authority().is_some();
    if head.version >= Version::HTTP_11 && !has_host {
        return Err("the Host header is missing");
    }
    Ok(())
}

pub(super) fn check_headers(headers: &HeaderMap, target: usize) -> Result<(), &'static str> {
    // A token that is too long is refused as a token.
    let bytes: usize = headers
        .iter()
        .filter(|(name, _)| **name != AUTHORIZATION)
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if headers.len() > MOST_LINES || bytes + target > MOST_BYTES {
        return Err("the headers are too large");
    }
    // Most heads have every name once.
    let stands_twice = headers.len() > headers.keys_len()
        && SINGLE
            .iter()
            .any(|name| headers.get_all(*name).iter().nth(1).is_some());
    if stands_twice {
        return Err("a header that may stand once stands twice");
    }
    let coding = headers.get(TRANSFER_ENCODING).map(|value| value.as_bytes());
    if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"chunked")) {
        return Err("the only transfer coding is chunked");
    }
    let expect = headers.get(EXPECT).map(|value| value.as_bytes());
    if expect.is_some_and(|expect| !expect.eq_ignore_ascii_case(b"100-continue")) {
        return Err("the only expectation is 100-continue");
    }
    Ok(())
}

/// Looks at the head as it came in: Pingora drops a Content-Length that stands beside a
/// Transfer-Encoding, and takes a bare LF for a line end.
fn check_lines(raw: &[u8]) -> Result<(), &'static str> {
    let (mut has_length, mut has_coding) = (false, false);
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Err("a header line does not end with CRLF");
        };
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        has_length |= name.eq_ignore_ascii_case(b"content-length");
        has_coding |= name.eq_ignore_ascii_case(b"transfer-encoding");
    }
    if has_length && has_coding {
        return Err("Content-Length and Transfer-Encoding exclude each other");
    }
    Ok(())
}

/// The target as it came in is the one that is looked at: parsing drops a fragment. Of the absolute
/// form (RFC 9112 §3.2.2) it leaves path and query.
fn check_target(raw: &[u8], target: &[u8]) -> Result<(), &'static str> {
    let sent = sent_target(raw).unwrap_or_default();
    let is_same = sent == target
        || after_authority(sent)
            .is_some_and(|rest| rest == target || rest.is_empty() && target == b"/");
    if is_same && !sent.is_empty() {
        Ok(())
    } else {
        Err("the target is not what it seems")
    }
}

fn sent_target(raw: &[u8]) -> Option<&[u8]> {
    raw.split(|byte| *byte == b' ').nth(1)
}

/// What follows `scheme://authority` in an absolute form.
fn after_authority(sent: &[u8]) -> Option<&[u8]> {
    let start = sent.windows(3).position(|three| three == b"://")? + 3;
    let rest = &sent[start..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    Some(&rest[end.unwrap_or(rest.len())..])
}

/// The request target as the client sent it, in whichever form.
pub(super) fn target(session: &ServerSession) -> Vec<u8> {
    let raw = session.as_http1().map(|h1| h1.get_headers_raw_bytes());
    let sent = raw.as_deref().and_then(sent_target).map(<[u8]>::to_vec);
    sent.unwrap_or_else(|| session.req_header().raw_path().to_vec())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        headers
    }

    #[test]
    fn a_header_that_may_stand_once_stands_once() {
        for name in [
            "authorization",
            "content-type",
            "content-length",
            "origin",
            "mcp-session-id",
            "mcp-name",
        ] {
            assert!(check_headers(&headers(&[(name, "a")]), 1).is_ok() || name == "expect");
            assert!(
                check_headers(&headers(&[(name, "a"), (name, "a")]), 1).is_err(),
                "{name}"
            );
        }
        assert!(
            check_headers(
                &headers(&[
                    ("accept", "a"),
                    ("accept", "b"),
                    ("cookie", "a"),
                    ("cookie", "b")
                ]),
                1
            )
            .is_ok()
        );
    }

    #[test]
    fn a_head_is_bounded() {
        let many: Vec<(&str, &str)> = vec![("x-a", "b"); MOST_LINES + 1];
        assert!(check_headers(&headers(&many), 1).is_err());
        assert!(check_headers(&headers(&many[1..]), 1).is_ok());
        let long = "a".repeat(MOST_BYTES);
        assert!(check_headers(&headers(&[("x-a", &long)]), 1).is_err());
        assert!(check_headers(&headers(&[]), MOST_BYTES + 1).is_err());
    }

    #[test]
    fn the_target_is_read_as_it_was_sent() {
        assert!(check_target(b"GET /a?b HTTP/1.1\r\n", b"/a?b").is_ok());
        assert!(check_target(b"GET /a#b HTTP/1.1\r\n", b"/a").is_err());
        assert!(check_target(b"GET", b"").is_err());
        assert!(check_target(b"GET http://h:1/a?b HTTP/1.1\r\n", b"/a?b").is_ok());
        assert!(check_target(b"GET http://h HTTP/1.1\r\n", b"/").is_ok());
        assert!(check_target(b"GET http://h/a#b HTTP/1.1\r\n", b"/a").is_err());
        assert!(check_target(b"GET http://h/x/a HTTP/1.1\r\n", b"/a").is_err());
    }

    #[test]
    fn there_is_one_framing() {
        assert!(check_headers(&headers(&[("transfer-encoding", "gzip, chunked")]), 1).is_err());
        assert!(check_headers(&headers(&[("transfer-encoding", "Chunked")]), 1).is_ok());
        assert!(check_headers(&headers(&[("expect", "else")]), 1).is_err());
        for raw in [
            &b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nCONTENT-LENGTH:1\r\n\r\n",
            b"GET / HTTP/1.1\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        ] {
            assert!(check_lines(raw).is_err(), "{}", raw.escape_ascii());
        }
        assert!(
            check_lines(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nX: content-length\r\n\r\n")
                .is_ok()
        );
    }
}
