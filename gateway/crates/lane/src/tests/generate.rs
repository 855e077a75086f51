//! Requests and answers that are mostly good, and odd in every way that framing attacks are.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

const METHODS: &[&str] = &[
    "POST", "POST", "POST", "POST", "GET", "DELETE", "PUT", "HEAD", "post", "POS",
];
const TARGETS: &[&str] = &[
    "/mcp",
    "/mcp",
    "/mcp",
    "/notes/mcp?a=b",
    "/mcp/",
    "/",
    "/mcp?x=%20",
    "/a//b",
    "/a/../b",
    "/%2e",
    "*",
    "http://gateway/mcp",
    "/mcp#x",
    "/m cp",
    "/m\u{e9}",
    "/mcp?a#b",
    "/mcp;x",
    "",
];
const VERSIONS: &[&str] = &[
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "HTTP/1.1 ",
    "HTTP/11",
];
const LINES: &[&str] = &[
    "Authorization: Bearer x.y-z",
    "authorization: Basic a",
    "Content-Type: application/json",
    "Accept: application/json, text/event-stream",
    "Mcp-Session-Id: 0123",
    "MCP-Protocol-Version: 2025-11-25",
    "mcp-name: a",
    "Mcp-Name: b",
    "Origin: http://a",
    "Cookie: a=b",
    "Cookie: c=d",
    "User-Agent: x (y; z)",
    "Connection: keep-alive",
    "X-Empty:",
    "X_Y: z",
    "x-a:b",
    "x-a:   padded   ",
];
const ODD_LINES: &[&str] = &[
    "Connection: close",
    "Connection: close, x-a",
    "Transfer-Encoding: chunked",
    "transfer-encoding: identity",
    "Transfer-Encoding: chunked, gzip",
    "Content-Length: 5",
    "Content-Length: 0",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "TE: trailers",
    "Trailer: x",
    "Host: b",
    " folded",
    "\tfolded",
    "Na me: x",
    "Name : x",
    ": x",
    "no colon",
    "X: a\tb",
    "X: a\0b",
    "X: a\rb",
    "X: \u{e9}",
    "X: a\u{7f}",
    "X\u{e9}: a",
    "x.y: z",
    "Content-Length : 3",
    "Keep-Alive: timeout=5",
];

/// The bytes of a request and of something behind it.
pub(super) fn request(random: &mut StdRng) -> Vec<u8> {
    let one = |random: &mut StdRng, of: &[&str]| (*of.choose(random).unwrap()).to_owned();
    let often_first = |random: &mut StdRng, of: &[&str]| {
        if random.gen_bool(0.8) {
            of[0].to_owned()
        } else {
            (*of.choose(random).unwrap()).to_owned()
        }
    };
    let method = often_first(random, METHODS);
    let body: String = (0..random.gen_range(0..40))
        .map(|_| random.gen_range(' '..='~'))
        .collect();
    let mut lines = vec!["Host: gateway".to_owned()];
    for _ in 0..random.gen_range(0..6) {
        lines.push(one(random, LINES));
    }
    if random.gen_bool(0.25) {
        lines.push(one(random, ODD_LINES));
    }
    let length = body.len();
    lines.push(match random.gen_range(0..30) {
        0 => format!("Content-Length: +{length}"),
        1 => format!("Content-Length: {length}, {length}"),
        2 => format!("Content-Length: 0{length}"),
        3 => format!("Content-Length: {}", length + 1),
        4 => format!("content-length:{length}"),
        5 => "X-No: length".to_owned(),
        _ => format!("Content-Length: {length}"),
    });
    if random.gen_bool(0.02) {
        lines.remove(0);
    }
    lines.shuffle(random);
    let mut text = format!(
        "{method} {} {}",
        often_first(random, TARGETS),
        often_first(random, VERSIONS)
    );
    for line in &lines {
        text += end(random);
        text += line;
    }
    text += end(random);
    text += end(random);
    text += &body;
    text += "POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    mutated(random, text.into_bytes(), length + 50)
}

const STATUSES: &[&str] = &[
    "200 OK",
    "202 Accepted",
    "204 No Content",
    "304 Not Modified",
    "404 Not Found",
    "500 ",
    "500",
    "20 x",
    "abc",
];
const ANSWER_LINES: &[&str] = &[
    "Content-Type: application/json",
    "Date: x",
    "Server: \u{e9}",
    "X: a\tb",
    "Mcp-Session-Id: 1",
    "Connection: keep-alive",
    "Set-Cookie: a",
    "Set-Cookie: b",
];
const ODD_ANSWER_LINES: &[&str] = &[
    "Connection: close",
    "Content-Length: 3",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: identity",
    " folded",
    "X: a\r\n \tfolded\r\n twice",
    "X:\r\n folded",
    "X : y",
    "Content-Length\t: 3",
    "Content-Length:\r\n 3",
    "X: a\rb",
    "X: a\0b",
    "nothing",
    "Content-Length: x",
];

/// The bytes of an answer.
pub(super) fn answer(random: &mut StdRng) -> Vec<u8> {
    let body: String = (0..random.gen_range(0..60))
        .map(|_| random.gen_range(' '..='~'))
        .collect();
    let mut text = String::new();
    if random.gen_bool(0.1) {
        text += "HTTP/1.1 100 Continue\r\n\r\n";
    }
    let status = if random.gen_bool(0.7) {
        STATUSES[0]
    } else {
        STATUSES.choose(random).unwrap()
    };
    let version = if random.gen_bool(0.95) {
        "HTTP/1.1"
    } else {
        "HTTP/1.0"
    };
    text += &format!("{version} {status}");
    for _ in 0..random.gen_range(0..5) {
        text += end(random);
        text += ANSWER_LINES.choose(random).unwrap();
    }
    if random.gen_bool(0.15) {
        text += end(random);
        text += ODD_ANSWER_LINES.choose(random).unwrap();
    }
    let kind = random.gen_range(0..10);
    text += end(random);
    match kind {
        0..=4 => {
            text += &format!("Content-Length: {}", body.len());
            text += end(random);
            text += end(random);
            text += &body;
        }
        5..=8 => {
            text += "Transfer-Encoding: chunked";
            text += end(random);
            text += end(random);
            text += &chunks(random, &body);
        }
        _ => {
            text += "X-Close: yes\r\n\r\n";
            text += &body;
        }
    }
    let length = text.len();
    let spared = if random.gen_bool(0.5) { 0 } else { length / 2 };
    mutated(random, text.into_bytes(), spared)
}

fn chunks(random: &mut StdRng, body: &str) -> String {
    let mut text = String::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(random.gen_range(1..=rest.len()));
        let extension = if random.gen_bool(0.1) { ";a=b" } else { "" };
        text += &match random.gen_range(0..3) {
            0 => format!("{:x}{extension}\r\n{chunk}\r\n", chunk.len()),
            1 => format!("{:X}{extension}\r\n{chunk}\r\n", chunk.len()),
            _ => format!("0{:x}{extension}\r\n{chunk}\r\n", chunk.len()),
        };
        rest = after;
    }
    let trailer = if random.gen_bool(0.1) {
        "X-T: y\r\n"
    } else {
        ""
    };
    text + "0\r\n" + trailer + "\r\n"
}

fn end(random: &mut StdRng) -> &'static str {
    match random.gen_range(0..300) {
        0 => "\n",
        1 => "\r",
        2 => "\r\r\n",
        3 => "\r\n\r\n",
        _ => "\r\n",
    }
}

/// With one byte changed, put in or taken out now and then, but for the last `spared`.
fn mutated(random: &mut StdRng, mut bytes: Vec<u8>, spared: usize) -> Vec<u8> {
    let changed = bytes.len().saturating_sub(spared);
    if changed > 0 && random.gen_bool(0.2) {
        let at = random.gen_range(0..changed);
        let byte = *b" \t\r\n\0:;,0/aA\x7f\xff".choose(random).unwrap();
        match random.gen_range(0..3) {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}
