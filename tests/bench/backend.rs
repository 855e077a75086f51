//! The backend that is measured behind every proxy: an MCP server that does next to
//! nothing, on one thread, so that it is not what the figures show. It answers a
//! `tools/call` with a small fixed result, and a GET with a stream that stays silent.
//! Not a sample of a server; the table has a row for `mcp-backend` as well.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Result;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What the tool says: about as much as one search result.
const RESULT: &str = "Access tokens live for 24 hours; the consent page lists what a client may do, and a revoked grant is refused at its next call.";

/// As many tools as a large server has.
pub(crate) const TOOLS: usize = 60;

/// The name of each of them; the first one is what is called.
pub(crate) fn tool_name(number: usize) -> String {
    match number {
        0 => "search".to_owned(),
        _ => format!("look_up_{number}"),
    }
}

/// Defined at the usual length.
fn tool(number: usize) -> Value {
    json!({
        "name": tool_name(number),
        "title": "Search",
        "description": "Answers the same, whatever is asked. Use it when a question is about tokens, sessions, or what an application may do on behalf of somebody; give a few words and no sentence, and ask again with other words where nothing is found.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What to look for, in a few words."},
                "limit": {"type": "integer", "minimum": 1, "maximum": 50, "description": "How many results at most."},
            },
        },
        "annotations": {"readOnlyHint": true},
    })
}

/// Of what large answers consist, shared by all of them.
static FILLER: [u8; 64 * 1024] = [b'a'; 64 * 1024];

/// Listen on a loopback port until the program is ended.
pub(crate) async fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(async move {
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(answer));
            // The other side closes when it likes; that is no error here.
            let _ = connection.await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let answer = match *request.method() {
        Method::GET => stream(),
        Method::POST => match read(request.into_body()).await {
            Some(message) => reply(&message),
            None => status(StatusCode::BAD_REQUEST),
        },
        _ => status(StatusCode::METHOD_NOT_ALLOWED),
    };
    Ok(answer)
}

async fn read(body: Incoming) -> Option<Value> {
    let bytes = http_body_util::BodyExt::collect(body)
        .await
        .ok()?
        .to_bytes();
    serde_json::from_slice(&bytes).ok()
}

fn reply(message: &Value) -> Response<Answer> {
    if message.get("id").is_none() {
        return status(StatusCode::ACCEPTED);
    }
    let large = &message["params"]["arguments"]["bytes"];
    if let Some(bytes) = large.as_u64() {
        let is_events = message["params"]["arguments"]["events"] == true;
        return large_result(&message["id"], bytes as usize, is_events);
    }
    let result = match message["method"].as_str().unwrap_or_default() {
        "tools/call" => json!({"content": [{"type": "text", "text": RESULT}], "isError": false}),
        "tools/list" => json!({"tools": (0..TOOLS).map(tool).collect::<Vec<_>>()}),
        "initialize" => json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "benchmark", "version": "1"},
        }),
        _ => json!({}),
    };
    let text = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
    let mut response = Response::new(Answer::Whole(Some(text.into())));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The result of a call that says how large it wants it: as JSON, or as the event of a stream.
fn large_result(id: &Value, bytes: usize, is_events: bool) -> Response<Answer> {
    let (before, after, kind) = if is_events {
        ("event: message\ndata: ", "\n\n", "text/event-stream")
    } else {
        ("", "", "application/json")
    };
    let front = format!(
        r#"{before}{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":""#
    );
    let whole = FILLER.len();
    let fillers = std::iter::repeat_n(whole, bytes / whole).chain([bytes % whole]);
    let end = format!(r#""}}]}}}}{after}"#);
    let pieces = std::iter::once(Bytes::from(front))
        .chain(fillers.map(|length| Bytes::from_static(&FILLER[..length])))
        .chain([Bytes::from(end)]);
    let pieces = pieces.filter(|piece| !piece.is_empty()).collect();
    let mut response = Response::new(if is_events {
        Answer::Events(pieces)
    } else {
        Answer::Pieces(pieces)
    });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// What MCP servers send with a stream, so that nginx does not hold it back.
fn stream() -> Response<Answer> {
    let mut response = Response::new(Answer::Stream {
        first: Some(Bytes::from_static(b": open\n\n")),
    });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert("cache-control", HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn status(code: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(None));
    *response.status_mut() = code;
    response
}

/// The body of an answer.
enum Answer {
    /// Known in full.
    Whole(Option<Bytes>),
    /// Known in full, in pieces.
    Pieces(VecDeque<Bytes>),
    /// The same without its length being told.
    Events(VecDeque<Bytes>),
    /// One comment, then silence until the other side goes away.
    Stream { first: Option<Bytes> },
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Answer::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Answer::Pieces(pieces) | Answer::Events(pieces) => {
                Poll::Ready(pieces.pop_front().map(|b| Ok(Frame::data(b))))
            }
            Answer::Stream { first } => match first.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                // hyper watches the connection itself and drops this body when it ends.
                None => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Answer::Whole(None))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Answer::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                hyper::body::SizeHint::with_exact(length as u64)
            }
            Answer::Pieces(pieces) => {
                let length = pieces.iter().map(Bytes::len).sum::<usize>();
                hyper::body::SizeHint::with_exact(length as u64)
            }
            Answer::Events(_) | Answer::Stream { .. } => hyper::body::SizeHint::default(),
        }
    }
}
