//! A backend that answers each request with the same small result.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1000000000,"result":{"content":[{"type":"text","text":"The quick brown fox jumps over the lazy dog, and then it jumps once more over it."}],"isError":false}}"#;

/// The beginning of a stream that stays silent.
const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";

pub(crate) async fn answer(mut stream: TcpStream) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sun, 29 Nov 2026 06:00:00 GMT\r\nServer: spike\r\nMcp-Session-Id: 0123456789\r\nContent-Length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        match stream.read_buf(&mut buffer).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
        if buffer.starts_with(b"GET ") && whole(&buffer).is_some() {
            buffer.clear();
            if stream.write_all(STREAM.as_bytes()).await.is_err() {
                return;
            }
        }
        while let Some(length) = whole(&buffer) {
            buffer.drain(..length);
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn whole(buffer: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(buffer).ok()? else {
        return None;
    };
    let length = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.map_or(Some(0), |header| {
        std::str::from_utf8(header.value).ok()?.parse().ok()
    })?;
    (buffer.len() >= head + length).then_some(head + length)
}
