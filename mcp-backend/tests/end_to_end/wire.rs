//! HTTP/1.1 by hand: what is sent is exactly what the test says, and streams are read as they come.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::Value;

use crate::backend::PATIENCE;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// An answer whose body is still coming.
pub(crate) struct Streaming {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    body: BufReader<TcpStream>,
    left_of_chunk: usize,
}

/// One event of an event stream.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
}

/// Sends a request and reads the whole answer.
pub(crate) fn exchange(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut streaming = open(address, method, target, headers, body);
    let body = streaming.rest();
    Answer {
        status: streaming.status,
        headers: streaming.headers,
        body,
    }
}

pub(crate) fn get(address: SocketAddr, target: &str) -> Answer {
    exchange(address, "GET", target, &[], "")
}

/// Sends a request and reads the head of the answer. `Host` is ours unless the test gives one.
pub(crate) fn open(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Streaming {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a connection");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a time limit");
    let mut request = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        request.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut sending = stream.try_clone().expect("a second handle");
    sending.write_all(request.as_bytes()).expect("a sent head");
    // A server that refuses early may close while we still send.
    let _ = sending.write_all(body.as_bytes());
    Streaming::read_head(BufReader::new(stream))
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

impl Streaming {
    fn read_head(mut body: BufReader<TcpStream>) -> Self {
        let status_line = line(&mut body);
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_default();
        let mut headers = Vec::new();
        loop {
            let line = line(&mut body);
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Self {
            status,
            headers,
            body,
            left_of_chunk: 0,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The next event; `None` when the stream has ended in the proper way.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let mut event = Event::default();
        let mut started = false;
        let start = Instant::now();
        loop {
            // Comments keep a stream alive, but are not what a test waits for.
            assert!(start.elapsed() < PATIENCE, "an event in time");
            let line = self.body_line()?;
            if line.is_empty() && started {
                return Some(event);
            }
            match line.split_once(':') {
                Some(("event", name)) => event.name = name.trim_start().to_owned(),
                Some(("data", data)) => event.data.push_str(data.trim_start()),
                _ => continue,
            }
            started = true;
        }
    }

    /// The next event that carries JSON.
    pub(crate) fn message(&mut self) -> Value {
        loop {
            let event = self.event().expect("a message before the stream ends");
            if !event.data.is_empty() {
                return serde_json::from_str(&event.data).expect("JSON");
            }
        }
    }

    /// Everything until the end.
    pub(crate) fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Some(length) = self.header("content-length") {
            bytes.resize(length.parse().expect("a length"), 0);
            self.body.read_exact(&mut bytes).expect("the whole body");
        } else if self.header("transfer-encoding") == Some("chunked") {
            while let Some(byte) = self.body_byte() {
                bytes.push(byte);
            }
        }
        String::from_utf8(bytes).expect("UTF-8")
    }

    fn body_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            match self.body_byte()? {
                b'\n' => return Some(String::from_utf8(line).expect("UTF-8")),
                byte => line.push(byte),
            }
        }
    }

    /// The next byte of a chunked body; `None` after the last chunk. A body that is cut short fails
    /// the test.
    fn body_byte(&mut self) -> Option<u8> {
        if self.left_of_chunk == 0 {
            let size = line(&mut self.body);
            self.left_of_chunk =
                usize::from_str_radix(size.trim(), 16).expect("the size of a chunk");
            if self.left_of_chunk == 0 {
                return None;
            }
        }
        let mut byte = [0];
        self.body
            .read_exact(&mut byte)
            .expect("a byte of the chunk");
        self.left_of_chunk -= 1;
        if self.left_of_chunk == 0 {
            assert_eq!(line(&mut self.body), "", "a chunk ends with a line end");
        }
        Some(byte[0])
    }
}

fn line(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line in time");
    line.trim_end_matches(['\r', '\n']).to_owned()
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}
