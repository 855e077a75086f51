//! Which road a request goes, by the gateway's own count; and the switch that forces one.

use anyhow::{Context, Result, bail};
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Setup};
use tests::http;
use tests::mcp::{call, open_session};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Outcome, PATIENCE, read_answer};

/// The gateway with this word for the road, whatever the whole run has.
pub(super) fn forced(word: &str) -> Vec<(String, String)> {
    vec![("GATEWAY_LANE".into(), word.into())]
}

/// How many requests went the lane so far.
pub(super) async fn on_lane(gateway: &Gateway) -> Result<u64> {
    let metrics = http::get(&gateway.admin_url("/metrics")).await?.text;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("gateway_lane_requests_total "));
    Ok(line.context("the count is missing")?.trim().parse()?)
}

/// The status that a request gets on a connection of its own.
async fn status(gateway: &Gateway, request: &str) -> Result<u16> {
    let mut socket = TcpStream::connect(gateway.address()).await?;
    socket.write_all(request.as_bytes()).await?;
    let is_head = request.starts_with("HEAD");
    let reading = read_answer(&mut socket, is_head);
    let read = tokio::time::timeout(PATIENCE, reading).await;
    match read.context("no answer in time")? {
        Some(Outcome::Whole(status, ..)) => Ok(status),
        _ => bail!("no whole answer"),
    }
}

/// A request, the road that it goes and the status that it gets.
type Row = (&'static str, String, bool, u16);

/// What the rows of requests have in common.
struct Client {
    host: String,
    token: String,
    /// Its token names one tool.
    limited: String,
    session: String,
}

impl Client {
    async fn of(fixture: &Fixture) -> Result<Self> {
        let (client, token) = fixture.signed_in().await?;
        let limited = client
            .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["look"]))
            .await?;
        Ok(Self {
            host: format!("Host: 127.0.0.1:{}", fixture.gateway.port),
            session: open_session(&fixture.url("/mcp"), &token).await?,
            token,
            limited,
        })
    }

    fn who(&self) -> String {
        format!(
            "Authorization: Bearer {}\r\nMcp-Session-Id: {}",
            self.token, self.session
        )
    }

    fn bare(&self, line: &str) -> String {
        format!("{line} HTTP/1.1\r\n{}\r\n{}\r\n\r\n", self.host, self.who())
    }

    fn post(&self, who: &str, framing: &str, body: &str) -> String {
        let kind = "Content-Type: application/json\r\nAccept: application/json, text/event-stream";
        let host = &self.host;
        format!("POST /mcp HTTP/1.1\r\n{host}\r\n{who}\r\n{kind}\r\n{framing}\r\n\r\n{body}")
    }

    /// A body of a declared length, with more lines before it.
    fn says(&self, who: &str, more: &str, body: &str) -> String {
        let framing = format!("{more}Content-Length: {}", body.len());
        self.post(who, &framing, body)
    }

    /// A call whose body has so many bytes.
    fn of_size(&self, size: usize) -> String {
        let body = |more: usize| call(1, "echo", &json!({"long": "x".repeat(more)})).to_string();
        self.says(&self.who(), "", &body(size - body(0).len()))
    }

    /// A call.
    fn plain(&self) -> String {
        self.says(&self.who(), "", &call(1, "echo", &json!({})).to_string())
    }

    fn rows_of_the_lane(&self) -> Vec<Row> {
        let who = self.who();
        let limited = format!("Authorization: Bearer {}", self.limited);
        let body = call(1, "echo", &json!({})).to_string();
        let answered = json!({"jsonrpc": "2.0", "id": 1, "result": {}}).to_string();
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
        let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        [
            ("a call", self.plain(), 200),
            ("a call with its date", self.says(&who, date, &body), 200),
            ("no token", self.says("X-A: b", "", &body), 401),
            ("no JSON", self.says(&who, "", "{"), 400),
            ("a list that is cut", self.says(&limited, "", &list), 200),
            ("no chosen tool", self.says(&limited, "", &body), 200),
            (
                "an answer to no question",
                self.says(&limited, "", &answered),
                202,
            ),
            ("64 KiB", self.of_size(65_536), 200),
            ("an end", self.bare("DELETE /mcp"), 200),
        ]
        .map(|(what, request, status)| (what, request, true, status))
        .into()
    }

    fn rows_of_the_other_road(&self) -> Vec<Row> {
        let who = self.who();
        let (plain, body) = (self.plain(), call(1, "echo", &json!({})).to_string());
        let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let stateless =
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            }}})
            .to_string();
        let bearer = format!("Authorization: Bearer {}", self.token);
        let revision = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\n";
        let asks = "Origin: https://app.example\r\nAccess-Control-Request-Method: POST";
        let long = format!("X-A: {}\r\n", "b".repeat(17_000));
        let metadata = "GET /.well-known/oauth-authorization-server";
        [
            ("more than 64 KiB", self.of_size(65_537), 200),
            (
                "another revision family",
                self.says(&bearer, revision, &stateless),
                200,
            ),
            ("a large head", self.says(&who, &long, &body), 200),
            (
                "chunks",
                self.post(&who, "Transfer-Encoding: chunked", &chunked),
                200,
            ),
            ("HTTP/1.0", plain.replacen("HTTP/1.1", "HTTP/1.0", 1), 200),
            (
                "Expect",
                self.says(&who, "Expect: 100-continue\r\n", &body),
                200,
            ),
            ("an escape", self.bare("DELETE /%6dcp"), 400),
            ("HEAD", self.bare("HEAD /mcp"), 404),
            (
                "a preflight",
                self.bare("OPTIONS /mcp").replacen(&who, asks, 1),
                204,
            ),
            ("another method", self.bare("PUT /mcp"), 405),
            ("HTTP+SSE", self.bare("POST /messages?sessionId=a"), 404),
            ("metadata", self.bare(metadata), 200),
            ("a page", self.bare("GET /login"), 200),
        ]
        .map(|(what, request, status)| (what, request, false, status))
        .into()
    }
}

#[tokio::test]
async fn each_request_goes_the_road_that_is_said() -> Result<()> {
    for word in ["on", "off", ""] {
        let fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
            environment: forced(word),
            ..setup
        })
        .await?;
        let client = Client::of(&fixture).await?;
        let mut wrong = Vec::new();
        let mut rows = client.rows_of_the_lane();
        rows.extend(client.rows_of_the_other_road());
        for (what, request, is_plain, expected) in rows {
            let before = on_lane(&fixture.gateway).await?;
            let status = status(&fixture.gateway, &request).await.context(what)?;
            let went = on_lane(&fixture.gateway).await? - before;
            let is_counted = u64::from(is_plain && word != "off");
            if (status, went) != (expected, is_counted) {
                wrong.push(format!("{what}: {status}, {went} on the lane"));
            }
        }
        assert!(wrong.is_empty(), "{word}: {wrong:#?}");
    }
    Ok(())
}

/// A stream of events is on the lane from its first byte.
#[tokio::test]
async fn a_stream_goes_the_lane() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
        environment: forced("on"),
        ..setup
    })
    .await?;
    let client = Client::of(&fixture).await?;
    let before = on_lane(&fixture.gateway).await?;
    let mut socket = TcpStream::connect(fixture.gateway.address()).await?;
    let request = client.bare("GET /mcp");
    socket.write_all(request.as_bytes()).await?;
    fixture.backend.await_streams(1, PATIENCE).await?;
    assert_eq!(on_lane(&fixture.gateway).await? - before, 1);
    Ok(())
}

#[tokio::test]
async fn another_word_for_the_road_is_refused_at_the_start() -> Result<()> {
    let setup = Setup {
        environment: forced("yes"),
        ..Setup::default()
    };
    let Err(error) = Gateway::start(setup.backend("http://127.0.0.1:9")).await else {
        bail!("it started");
    };
    let told = format!("{error:#}");
    assert!(told.contains("ended with 64"), "{told}");
    assert!(
        told.contains("GATEWAY_LANE is \"yes\": write off"),
        "{told}"
    );
    Ok(())
}
