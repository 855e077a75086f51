//! What a request of HTTP/2 may say in its head, and how long its body is: whatever is refused over
//! HTTP/1.1 is refused here for the same reason, what passes reaches the backend as from there, and what
//! HTTP/2 forbids ends the request alone, or its connection, without reaching anybody.

mod as_http1;

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::frames::{self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, frame};
use tests::gateway::Setup;
use tests::mcp::{REVISION, call};
use tests::raw;
use tests::recorder::{Answer, Recorded, Step};
use tests::scripted_mcp;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(5);

/// Errors of HTTP/2 (RFC 9113 §7).
const CANCEL: u32 = 8;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What became of a request.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// It was answered with this status and body.
    Answered(u16, String),
    /// The request was ended by force, and nothing else.
    Reset,
    /// So was its connection.
    Closed,
}

impl Outcome {
    fn status(&self) -> u16 {
        match self {
            Self::Answered(status, _) => *status,
            _ => 0,
        }
    }

    /// The reason code of a refusal.
    fn reason(&self) -> String {
        match self {
            Self::Answered(_, body) => reason(body),
            other => format!("{other:?}"),
        }
    }
}

fn reason(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    body["reason"].as_str().unwrap_or_default().to_owned()
}

/// A connection of HTTP/2, frame by frame.
struct Connection {
    socket: TcpStream,
    next: u32,
}

impl Connection {
    async fn open(fixture: &Fixture) -> Result<Self> {
        let mut socket = TcpStream::connect(fixture.gateway.address()).await?;
        socket.set_nodelay(true)?;
        frames::begin(&mut socket).await?;
        Ok(Self { socket, next: 1 })
    }

    /// Sends a request whose body comes in these pieces; its stream.
    async fn begin(&mut self, fields: &Fields, body: &[&[u8]]) -> u32 {
        let stream = self.next;
        self.next += 2;
        let block = frames::head(fields);
        let is_bodiless = body.is_empty();
        let flags = END_HEADERS | if is_bodiless { END_STREAM } else { 0 };
        // A head that no frame holds goes on in others.
        let mut pieces = block.chunks(16 * 1024).peekable();
        let mut kind = HEADERS;
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_none() {
                flags
            } else {
                flags & !END_HEADERS
            };
            self.write(&frame(kind, end, stream, piece)).await;
            kind = frames::CONTINUATION;
        }
        for (at, piece) in body.iter().enumerate() {
            let flags = if at + 1 == body.len() { END_STREAM } else { 0 };
            self.write(&frame(DATA, flags, stream, piece)).await;
        }
        stream
    }

    /// The other side may have closed already: that shows where it is read.
    async fn write(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
    }

    /// What becomes of a stream.
    async fn outcome(&mut self, stream: u32) -> Result<Outcome> {
        let reading = async {
            let (mut status, mut body) = (0, Vec::new());
            loop {
                let Ok((kind, flags, at, payload)) = self.read().await else {
                    return Outcome::Closed;
                };
                match kind {
                    GOAWAY => return Outcome::Closed,
                    RST_STREAM if at == stream && status == 0 => return Outcome::Reset,
                    HEADERS if at == stream => status = frames::status(&payload).unwrap_or(0),
                    DATA if at == stream => body.extend(payload),
                    _ => continue,
                }
                if at == stream && flags & END_STREAM != 0 {
                    let body = String::from_utf8_lossy(&body).into_owned();
                    return Outcome::Answered(status, body);
                }
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, reading).await;
        outcome.context("neither an answer nor an end")
    }

    async fn read(&mut self) -> Result<(u8, u8, u32, Vec<u8>)> {
        frames::read_with_flags(&mut self.socket).await
    }

    /// What becomes of a request.
    async fn send(&mut self, fields: &Fields, body: &[&[u8]]) -> Result<Outcome> {
        let stream = self.begin(fields, body).await;
        self.outcome(stream).await
    }
}

/// A gateway that takes HTTP/2 without TLS, and a token.
struct World {
    fixture: Fixture,
    bearer: String,
    host: String,
}

impl World {
    async fn start() -> Result<Self> {
        let fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
            top: "h2c = true\n".into(),
            ..setup
        })
        .await?;
        let (_, token) = fixture.signed_in().await?;
        Ok(Self {
            host: format!("127.0.0.1:{}", fixture.gateway.port),
            bearer: format!("Bearer {token}"),
            fixture,
        })
    }

    fn pseudo(&self) -> [(&str, &str); 4] {
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/mcp"),
            (":authority", &self.host),
        ]
    }

    fn plain(&self) -> [(&str, &str); 4] {
        [
            ("authorization", &self.bearer),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", REVISION),
        ]
    }

    /// The head of a call with these fields beside what every call has.
    fn head(&self, more: &[(&str, &str)]) -> Fields {
        fields(&[&self.pseudo()[..], &self.plain(), more].concat())
    }

    /// The same over HTTP/1.1: status, reason and what the backend got.
    async fn over_http_1(
        &self,
        more: &[(&str, &str)],
        marker: &str,
    ) -> Result<(u16, String, Vec<Recorded>)> {
        let headers = [&self.plain()[..], more].concat();
        let body = marked(marker);
        let bytes = raw::request("POST", "/mcp", &self.host, &headers, body.as_bytes());
        let answer = raw::exchange(self.fixture.gateway.address(), &bytes, PATIENCE).await?;
        let body = answer
            .text
            .split_once("\r\n\r\n")
            .map_or("", |(_, body)| body);
        Ok((
            answer.status(),
            reason(body),
            self.fixture.backend.marked(marker),
        ))
    }
}

fn fields(list: &[(&str, &str)]) -> Fields {
    let bytes = |text: &str| text.as_bytes().to_vec();
    list.iter()
        .map(|(name, value)| (bytes(name), bytes(value)))
        .collect()
}

/// A call that is found again at the backend.
fn marked(marker: &str) -> String {
    call(1, "echo", &json!({ "marker": marker })).to_string()
}

#[tokio::test]
async fn what_http_2_forbids_in_a_head_reaches_nobody() -> Result<()> {
    let world = World::start().await?;
    let (pseudo, plain) = (world.pseudo(), world.plain());
    let mixed = |list: &[&[(&str, &str)]]| fields(&list.concat());
    let mut cases = vec![
        ("connection", world.head(&[("connection", "close")])),
        ("keep-alive", world.head(&[("keep-alive", "timeout=5")])),
        (
            "proxy-connection",
            world.head(&[("proxy-connection", "close")]),
        ),
        ("upgrade", world.head(&[("upgrade", "websocket")])),
        (
            "transfer-encoding",
            world.head(&[("transfer-encoding", "chunked")]),
        ),
        ("te of another value", world.head(&[("te", "gzip")])),
        ("an upper case name", world.head(&[("X-Upper", "1")])),
        ("a name with a colon", world.head(&[("x:y", "1")])),
        ("a name with a blank", world.head(&[("x y", "1")])),
        ("an empty name", world.head(&[("", "1")])),
        (
            "CR and LF in a value",
            world.head(&[("x-a", "1\r\nx-b: 2")]),
        ),
        ("LF in a value", world.head(&[("x-a", "1\n2")])),
        ("CR in a value", world.head(&[("x-a", "1\r2")])),
        ("NUL in a value", world.head(&[("x-a", "1\0x")])),
        (
            "LF in the path",
            mixed(&[&[(":path", "/mcp\nx")], &pseudo[..2], &pseudo[3..], &plain]),
        ),
        (
            "an unknown pseudo header",
            mixed(&[&pseudo, &[(":other", "1")], &plain]),
        ),
        ("a status", mixed(&[&pseudo, &[(":status", "200")], &plain])),
        ("no method", mixed(&[&pseudo[1..], &plain])),
        ("no scheme", mixed(&[&pseudo[..1], &pseudo[2..], &plain])),
        (
            "an empty path",
            mixed(&[&[(":path", "")], &pseudo[..2], &pseudo[3..], &plain]),
        ),
        (
            "an authority of two",
            mixed(&[
                &pseudo[..3],
                &[(":authority", "127.0.0.1, evil.example")],
                &plain,
            ]),
        ),
        (
            "a pseudo header after others",
            mixed(&[&pseudo[..3], &plain, &pseudo[3..]]),
        ),
        (
            "a length that is none",
            world.head(&[("content-length", "five")]),
        ),
        ("a signed length", world.head(&[("content-length", "+5")])),
    ];
    for at in 0..pseudo.len() {
        let twice = mixed(&[&pseudo, &pseudo[at..=at], &plain]);
        cases.push(("a pseudo header twice", twice));
    }
    for (what, head) in cases {
        let mut connection = Connection::open(&world.fixture).await?;
        let body = marked("FORBIDDEN");
        let outcome = connection.send(&head, &[body.as_bytes()]).await?;
        let is_refused = match &outcome {
            Outcome::Reset | Outcome::Closed => true,
            Outcome::Answered(status, _) => (400..500).contains(status),
        };
        assert!(is_refused, "{what}: {outcome:?}");
        let seen = world.fixture.backend.marked("FORBIDDEN");
        assert!(seen.is_empty(), "{what}: {seen:?}");
        // Where the request alone was at fault, the connection goes on.
        if outcome != Outcome::Closed {
            let good = marked("GOOD");
            let next = connection
                .send(&world.head(&[]), &[good.as_bytes()])
                .await?;
            assert_eq!(next.status(), 200, "{what}: {next:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_body_is_as_long_as_its_length_says_or_reaches_nobody() -> Result<()> {
    let world = World::start().await?;
    let body = marked("LENGTH");
    let body = body.as_bytes();
    let (half, rest) = body.split_at(body.len() / 2);
    let exactly = body.len().to_string();
    let (less, more) = (half.len().to_string(), (body.len() + 5).to_string());
    let hidden: &[u8] = b"POST /mcp?SMUGGLED HTTP/1.1\r\nHost: x\r\n\r\n";
    let cases: [(&str, &str, Vec<&[u8]>); 6] = [
        ("longer than said", &less, vec![body]),
        ("longer than said, in pieces", &less, vec![half, rest]),
        ("shorter than said", &more, vec![body]),
        ("nothing where something is said", &exactly, vec![]),
        ("something where nothing is said", "0", vec![body]),
        ("a request behind the end", &exactly, vec![body, hidden]),
    ];
    for (what, length, pieces) in cases {
        let mut connection = Connection::open(&world.fixture).await?;
        let head = world.head(&[("content-length", length)]);
        let outcome = connection.send(&head, &pieces).await?;
        assert_ne!(outcome.status(), 200, "{what}: {outcome:?}");
        for marker in ["LENGTH", "SMUGGLED"] {
            let seen = world.fixture.backend.marked(marker);
            assert!(seen.is_empty(), "{what}: {seen:?}");
        }
    }
    // As long as it says, and without saying: the backend gets it whole, with its length.
    for length in [Some(exactly.as_str()), None] {
        let mut connection = Connection::open(&world.fixture).await?;
        let said: Vec<_> = length
            .map(|length| ("content-length", length))
            .into_iter()
            .collect();
        let outcome = connection.send(&world.head(&said), &[half, rest]).await?;
        assert_eq!(outcome.status(), 200, "{outcome:?}");
        let seen = world.fixture.backend.marked("LENGTH");
        let seen = seen.last().context("nothing came")?;
        assert_eq!(seen.body, body);
        assert_eq!(seen.header_values("content-length"), [exactly.as_str()]);
        assert!(seen.header("transfer-encoding").is_none(), "{seen:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_at_the_backend_and_nothing_beside_it_does() -> Result<()> {
    let world = World::start().await?;
    let backend = &world.fixture.backend;
    backend.play(|request| {
        let topic = request.json()["params"]["arguments"]["wait"].clone();
        match topic.as_str() {
            Some(topic) => {
                let begun = Step::Send(": begun\n\n".into());
                Answer::events(vec![begun, Step::Live(topic.to_owned())])
            }
            None => scripted_mcp::answer(request),
        }
    });
    let mut connection = Connection::open(&world.fixture).await?;
    let waiting = |id: u64, topic: &str| call(id, "echo", &json!({ "wait": topic })).to_string();
    let (first, second) = (waiting(1, "first"), waiting(2, "second"));
    let given_up = connection
        .begin(&world.head(&[]), &[first.as_bytes()])
        .await;
    let kept = connection
        .begin(&world.head(&[]), &[second.as_bytes()])
        .await;
    backend.await_streams(2, PATIENCE).await?;
    let reset = frame(RST_STREAM, 0, given_up, &CANCEL.to_be_bytes());
    connection.write(&reset).await;
    backend.await_streams(1, PATIENCE).await?;
    // The other call gets its answer, on the same connection.
    let result = json!({ "jsonrpc": "2.0", "id": 2, "result": { "content": [] } });
    backend.push("second", &format!("event: message\ndata: {result}\n\n"));
    let mut seen = String::new();
    while !seen.contains("\"result\"") {
        let frame = tokio::time::timeout(PATIENCE, connection.read()).await;
        let (kind, _, stream, payload) = frame.context("no answer to the other call")??;
        assert_ne!(kind, GOAWAY, "the connection was closed");
        // What the one that was given up had got before is there, too.
        if kind == DATA && stream == kept {
            seen += &String::from_utf8_lossy(&payload);
        }
    }
    // And a new one is served beside it.
    let body = marked("AFTER");
    let outcome = connection
        .send(&world.head(&[]), &[body.as_bytes()])
        .await?;
    assert_eq!(outcome.status(), 200, "{outcome:?}");
    assert_eq!(backend.marked("AFTER").len(), 1);
    backend.await_streams(1, PATIENCE).await
}
