//! How hyper reads the same bytes.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What was read of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Method and target, or status.
    pub(super) start: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

/// Names in small letters and values, in an order that does not depend on who read them.
pub(super) fn sorted<'a>(
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Vec<(String, Vec<u8>)> {
    let mut sorted: Vec<_> = headers
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()))
        .collect();
    sorted.sort();
    sorted
}

fn of_map(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    sorted(
        headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes())),
    )
}

impl Read {
    /// The same with one space for each row of them: hyper puts several where a line is folded.
    pub(super) fn evenly_spaced(mut self) -> Self {
        for (_, value) in &mut self.headers {
            let words = value.split(|byte| matches!(byte, b' ' | b'\t'));
            let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
            *value = words.join(&b' ');
        }
        self
    }

    pub(super) fn has_coding(&self) -> bool {
        let mut names = self.headers.iter().map(|(name, _)| name);
        names.any(|name| name == "transfer-encoding")
    }
}

/// A stream that has all its bytes at once, once something was written if it is an answer.
struct Memory {
    bytes: Vec<u8>,
    at: usize,
    is_open: bool,
    waits: Option<Waker>,
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_open {
            self.waits = Some(context.waker().clone());
            return Poll::Pending;
        }
        let here = buffer.remaining().min(self.bytes.len() - self.at);
        buffer.put_slice(&self.bytes[self.at..self.at + here]);
        self.at += here;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_open = true;
        if let Some(waits) = self.waits.take() {
            waits.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn memory(bytes: &[u8], is_open: bool) -> TokioIo<Memory> {
    TokioIo::new(Memory {
        bytes: bytes.to_vec(),
        at: 0,
        is_open,
        waits: None,
    })
}

/// The first request as hyper's server reads it.
pub(super) async fn request(bytes: &[u8]) -> Option<Read> {
    let read = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&read);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let keep = Arc::clone(&keep);
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                keep.lock().unwrap().get_or_insert(Read {
                    start: format!("{} {}", head.method, head.uri),
                    headers: of_map(&head.headers),
                    body: body.to_bytes().to_vec(),
                });
            }
            let answer = Response::builder().header("connection", "close");
            Ok::<_, Infallible>(answer.body(Empty::<Bytes>::new()).unwrap())
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let _ = builder
        .half_close(true)
        .serve_connection(memory(bytes, true), service)
        .await;
    read.lock().unwrap().take()
}

/// The final answer as hyper's client reads it.
pub(super) async fn answer(bytes: &[u8]) -> Option<Read> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true);
    let opened = builder.handshake(memory(bytes, false)).await;
    let (mut sender, connection) = opened.ok()?;
    let request = Request::post("/")
        .header("host", "a")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let asking = async {
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?;
        Some(Read {
            start: head.status.as_u16().to_string(),
            headers: of_map(&head.headers),
            body: body.to_bytes().to_vec(),
        })
    };
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        biased;
        read = &mut asking => read,
        _ = connection => asking.await,
    }
}
