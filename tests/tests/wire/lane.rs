//! Two gateways of one configuration, one of which serves plain requests on its lane and one of which never
//! does: whatever is sent, their backends get the same and their clients get the same.

mod compared;
mod roads;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tests::fixture::Fixture;
use tests::gateway::{Gateway, Setup};
use tests::mcp::{call, initialize, open_session};
use tests::recorder::{Answer, Recorded, Recorder, Step};
use tests::scripted_mcp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::recorded::copy;

/// How long cases are generated for, and how many at most.
const WHILE: Duration = Duration::from_secs(40);
const MOST: usize = 6000;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The first of these are the scripted server's own answers.
const SCRIPTED: usize = 3;

const SCRIPTS: &[&str] = &[
    "",
    "",
    "",
    "list",
    "list",
    "list-chunked",
    "list-event",
    "list-event-split",
    "event-unended",
    "headers",
    "page",
    "gzip",
    "latin",
    "no-type",
    "accepted",
    "nothing",
    "large",
    "401",
    "403",
    "403-challenge",
    "404",
    "500",
    "302",
    "307-outside",
    "307",
    "307-twice",
    "early",
    "old",
    "old-chunks",
    "two-chunked",
    "chunks-and-length",
    "identity",
    "spaced",
    "folded",
    "bare-lines",
    "informed",
    "no-http",
    "reset",
    "slow-event",
];

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap_or_default()
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.roll(many) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &'a [&'a T]) -> &'a T {
        from[self.roll(from.len())]
    }
}

/// One generated request, but for its Host.
#[derive(Clone, Debug)]
struct Case {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Where it is cut in two on the wire.
    cut: Option<usize>,
}

fn body(dice: &mut Dice) -> Vec<u8> {
    let id = dice.roll(1000) as u64;
    let message: Value = match dice.roll(18) {
        0 => initialize(),
        1..=4 => json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"}),
        5 => json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        6 => json!({"jsonrpc": "2.0", "id": id, "result": {}}),
        7 => json!({"jsonrpc": "2.0", "id": id, "method": "resources/list"}),
        8 => json!({"jsonrpc": "2.0", "id": "a", "method": "ping"}),
        9 => json!([
            call(id, "echo", &json!({})),
            call(id + 1, "erase", &json!({}))
        ]),
        10 => json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": 1}}),
        11 => {
            json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "echo", "task": {}}})
        }
        12 => call(id, "erase", &json!({})),
        13 => call(id, "echo", &json!({"long": "y".repeat(20_000)})),
        14 => call(id, "echo", &json!({"long": "y".repeat(70_000)})),
        _ => call(id, "look", &json!({"é": "\u{2028}", "n": 1e300})),
    };
    let text = message.to_string();
    match dice.roll(20) {
        0 => b"{".to_vec(),
        1 => Vec::new(),
        2 => [text.as_bytes(), b"\xff"].concat(),
        3 => text.replacen('{', "{\"id\":5,", 1).into_bytes(),
        _ => text.into_bytes(),
    }
}

/// A request with what goes wrong on the wire, of which both roads must make the same.
fn framed(dice: &mut Dice, case: &Case, host: &str) -> Vec<u8> {
    let mut head = format!("{}Host: {host}\r\n", case.line);
    for (name, value) in &case.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if dice.one_in(12) {
        head += dice.pick(&[
            "Content-Length: 1\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Host: other\r\n",
            "X: a\n",
            "X : a\r\n",
            " folded\r\n",
            "X: a\0\r\n",
            "X: a\rb\r\n",
            "\u{e9}: a\r\n",
            "Content-Length: +1\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Authorization: Bearer x\r\n",
            "no colon\r\n",
            ": no name\r\n",
        ]);
    }
    head += "\r\n";
    [head.as_bytes(), &case.body].concat()
}

/// What a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// Status, headers that count in order of name, content, and whether the connection is kept.
    Whole(u16, Vec<(String, String)>, String, bool),
    /// No whole answer.
    Broken,
}

/// A client's connection; opened anew once it is closed.
struct Client {
    address: std::net::SocketAddr,
    socket: Option<TcpStream>,
}

impl Client {
    async fn send(&mut self, bytes: &[u8], cut: Option<usize>, is_head: bool) -> Result<Outcome> {
        // A kept connection may have been closed after the answer before; that is no answer to this.
        let was_kept = self.socket.is_some();
        let got = self.try_send(bytes, cut, is_head).await?;
        match got {
            None if was_kept => {
                self.socket = None;
                Ok(self
                    .try_send(bytes, cut, is_head)
                    .await?
                    .unwrap_or(Outcome::Broken))
            }
            got => Ok(got.unwrap_or(Outcome::Broken)),
        }
    }

    /// Nothing where the connection was closed before any byte of an answer.
    async fn try_send(
        &mut self,
        bytes: &[u8],
        cut: Option<usize>,
        is_head: bool,
    ) -> Result<Option<Outcome>> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => TcpStream::connect(self.address).await?,
        };
        let (first, rest) = bytes.split_at(cut.unwrap_or(bytes.len()).min(bytes.len()));
        let _ = socket.write_all(first).await;
        if !rest.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let _ = socket.write_all(rest).await;
        }
        let reading = read_answer(&mut socket, is_head);
        let read = tokio::time::timeout(PATIENCE, reading).await;
        let got = read.context("no answer in time")?;
        if let Some(Outcome::Whole(.., true)) = &got {
            self.socket = Some(socket);
        }
        Ok(got)
    }
}

/// Reads one answer. Nothing where none began.
async fn read_answer(socket: &mut TcpStream, is_head: bool) -> Option<Outcome> {
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if !more(socket, &mut held).await {
                return (!held.is_empty()).then_some(Outcome::Broken);
            }
        };
        let head = String::from_utf8_lossy(&held[..end]).into_owned();
        held.drain(..end);
        let mut lines = head.trim_end().split("\r\n");
        let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        if (100..200).contains(&status) {
            continue;
        }
        let mut headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        headers.sort();
        let value = |wanted: &str| {
            headers
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
        };
        let closes = value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let content = match (value("transfer-encoding"), value("content-length")) {
            _ if is_head || matches!(status, 204 | 304) => Some(Vec::new()),
            (Some(_), _) => chunks(socket, &mut held).await,
            (None, Some(length)) => {
                let length: usize = length.parse().ok()?;
                while held.len() < length && more(socket, &mut held).await {}
                (held.len() >= length).then(|| held.drain(..length).collect())
            }
            (None, None) => {
                while more(socket, &mut held).await {}
                Some(std::mem::take(&mut held))
            }
        };
        let Some(content) = content else {
            return Some(Outcome::Broken);
        };
        headers.retain(|(name, _)| !["date", "connection", "keep-alive"].contains(&name.as_str()));
        let content = without_request_id(&String::from_utf8_lossy(&content));
        let is_kept = !closes && held.is_empty();
        return Some(Outcome::Whole(status, headers, content, is_kept));
    }
}

async fn more(socket: &mut TcpStream, held: &mut Vec<u8>) -> bool {
    let mut piece = [0; 16 * 1024];
    match socket.read(&mut piece).await {
        Ok(read) if read > 0 => {
            held.extend_from_slice(&piece[..read]);
            true
        }
        _ => false,
    }
}

async fn chunks(socket: &mut TcpStream, held: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let line = loop {
            if let Some(end) = held.windows(2).position(|two| two == b"\r\n") {
                break end;
            }
            if !more(socket, held).await {
                return None;
            }
        };
        let size = usize::from_str_radix(std::str::from_utf8(&held[..line]).ok()?, 16).ok()?;
        while held.len() < line + 2 + size + 2 {
            if !more(socket, held).await {
                return None;
            }
        }
        content.extend_from_slice(&held[line + 2..line + 2 + size]);
        held.drain(..line + 2 + size + 2);
        if size == 0 {
            return Some(content);
        }
    }
}

/// Each request has a name of its own, in errors and on pages.
fn without_request_id(text: &str) -> String {
    let mut text = text.to_owned();
    for before in ["request_id\":\"", "Request <code>"] {
        let mut at = 0;
        while let Some(found) = text[at..].find(before) {
            at += found + before.len();
            let end = (at + 16).min(text.len());
            text.replace_range(at..end, "");
        }
    }
    text
}
