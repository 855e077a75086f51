//! What the load generator puts on a connection and takes from it: HTTP/1.1 by hand,
//! because on a small machine a general client costs more than the proxies it measures.

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;

/// The first id of a message; all have ten digits, so that every request is equally long.
pub(crate) const FIRST_ID: u64 = 1_000_000_000;
const ID_DIGITS: usize = 10;
/// A larger answer is not one of ours.
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;

/// A POST of one JSON-RPC request whose id can be changed in place.
#[derive(Clone)]
pub(crate) struct Call {
    bytes: Vec<u8>,
    id_at: usize,
}

impl Call {
    /// `tools/call` of `search`, with these headers besides the ones every client sends.
    pub(crate) fn search(path: &str, host: &str, headers: &[(&str, &str)]) -> Self {
        let asked = r#""method":"tools/call","params":{"name":"search","arguments":{"query":"access token"}}"#;
        Self::new(path, host, headers, asked)
    }

    /// A call of `search` whose answer has so many bytes, as JSON or as events.
    pub(crate) fn large(host: &str, headers: &[(&str, &str)], bytes: usize, events: bool) -> Self {
        let arguments = format!(r#"{{"query":"access token","bytes":{bytes},"events":{events}}}"#);
        let asked = format!(
            r#""method":"tools/call","params":{{"name":"search","arguments":{arguments}}}"#
        );
        Self::new("/mcp", host, headers, &asked)
    }

    /// `tools/list`.
    pub(crate) fn list(host: &str, headers: &[(&str, &str)]) -> Self {
        Self::new(
            "/mcp",
            host,
            headers,
            r#""method":"tools/list","params":{}"#,
        )
    }

    /// `asked`: method and params, as JSON members.
    fn new(path: &str, host: &str, headers: &[(&str, &str)], asked: &str) -> Self {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{FIRST_ID},{asked}}}"#);
        let mut head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: benchmark/1\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nMCP-Protocol-Version: 2025-11-25\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let id_in_body = body
            .find(&FIRST_ID.to_string())
            .expect("it was just written there");
        Call {
            id_at: head.len() + id_in_body,
            bytes: (head + &body).into_bytes(),
        }
    }

    /// The bytes to send for this id.
    pub(crate) fn with_id(&mut self, id: u64) -> &[u8] {
        let digits = id.to_string();
        assert_eq!(digits.len(), ID_DIGITS, "ids have ten digits");
        self.bytes[self.id_at..self.id_at + ID_DIGITS].copy_from_slice(digits.as_bytes());
        &self.bytes
    }
}

/// A complete answer at the front of what was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The content, without any chunking.
    pub(crate) body: Vec<u8>,
    /// Whether the server will close the connection.
    pub(crate) closes: bool,
}

impl Answer {
    /// An error unless this is the successful result of the call with this id.
    pub(crate) fn expect_result(&self, id: u64) -> Result<()> {
        let text = || String::from_utf8_lossy(&self.body).into_owned();
        ensure!(
            self.status == 200,
            "answered with status {}: {}",
            self.status,
            text()
        );
        let echoed = memmem::find(&self.body, format!("\"id\":{id}").as_bytes()).is_some();
        ensure!(echoed, "no answer to id {id}: {}", text());
        let failed = memmem::find(&self.body, br#""isError":true"#).is_some()
            || memmem::find(&self.body, br#""error":"#).is_some();
        ensure!(!failed, "the call failed: {}", text());
        Ok(())
    }
}

/// The head of an answer: its length, status, and how the body is delimited.
#[derive(Debug)]
pub(crate) struct Head {
    /// In bytes, with the empty line.
    pub(crate) length: usize,
    /// The status code.
    pub(crate) status: u16,
    /// The `Content-Type`.
    pub(crate) content_type: String,
    body: BodyLength,
    closes: bool,
}

#[derive(Debug)]
enum BodyLength {
    Exact(usize),
    Chunked,
}

/// The head at the front of `held`, once it is complete.
pub(crate) fn head(held: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(held)? else {
        ensure!(held.len() < LARGEST_ANSWER, "a head without end");
        return Ok(None);
    };
    let value = |name: &str| {
        response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let chunked = value("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
    let body = match value("content-length") {
        _ if chunked => BodyLength::Chunked,
        Some(length) => BodyLength::Exact(length.trim().parse()?),
        None => BodyLength::Exact(0),
    };
    Ok(Some(Head {
        length,
        status: response.code.context("no status")?,
        content_type: value("content-type").unwrap_or_default().to_owned(),
        body,
        closes: value("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")),
    }))
}

/// The answer that `held` is, once it is complete. Nothing may follow it: we ask one at a time.
pub(crate) fn answer(held: &[u8]) -> Result<Option<Answer>> {
    let Some(head) = head(held)? else {
        return Ok(None);
    };
    let rest = &held[head.length..];
    let body = match head.body {
        BodyLength::Exact(length) => {
            ensure!(rest.len() <= length, "bytes after the answer");
            (rest.len() == length).then(|| rest.to_vec())
        }
        BodyLength::Chunked => unchunk(rest)?,
    };
    Ok(body.map(|body| Answer {
        status: head.status,
        body,
        closes: head.closes,
    }))
}

/// The content of a chunked body, once its last chunk is there.
fn unchunk(mut rest: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let httparse::Status::Complete((start, size)) =
            httparse::parse_chunk_size(rest).map_err(|_| anyhow::anyhow!("not a chunk size"))?
        else {
            return Ok(None);
        };
        let size = usize::try_from(size)?;
        ensure!(size <= LARGEST_ANSWER, "a chunk of {size} bytes");
        let end = start + size;
        if rest.len() < end + 2 {
            return Ok(None);
        }
        ensure!(&rest[end..end + 2] == b"\r\n", "no line end after a chunk");
        body.extend_from_slice(&rest[start..end]);
        rest = &rest[end + 2..];
        if size == 0 {
            if !rest.is_empty() {
                bail!("bytes after the last chunk, or a trailer");
            }
            return Ok(Some(body));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n";

    #[test]
    fn an_answer_is_complete_only_with_its_last_byte() {
        for length in 0..CHUNKED.len() {
            assert_eq!(answer(&CHUNKED[..length]).unwrap(), None, "{length} bytes");
        }
        assert_eq!(answer(CHUNKED).unwrap().unwrap().body, b"abcdef");
    }

    #[test]
    fn an_answer_to_another_id_is_no_result() {
        let body = br#"{"jsonrpc":"2.0","id":1000000007,"result":{}}"#.to_vec();
        let answer = Answer {
            status: 200,
            body,
            closes: false,
        };
        assert!(answer.expect_result(1_000_000_007).is_ok());
        assert!(answer.expect_result(1_000_000_008).is_err());
    }

    #[test]
    fn a_new_id_keeps_the_length_of_a_call() {
        let mut call = Call::search("/mcp", "example.com", &[]);
        let first = call.with_id(FIRST_ID).to_vec();
        let second = call.with_id(FIRST_ID + 12345).to_vec();
        assert_eq!(first.len(), second.len());
        assert!(second.ends_with(br#""arguments":{"query":"access token"}}}"#));
        assert!(memmem::find(&second, br#""id":1000012345,"#).is_some());
    }
}
