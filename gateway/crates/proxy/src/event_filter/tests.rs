//! The filter beside the reference, which parses every event.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use super::*;
use crate::in_flight::Budget;
use crate::settings::InFlight;
use mcp_protocol::sse::{Event, Splitter, has_line_breaks};

/// What stands in place of an event in which something was judged.
const JUDGED: &[u8] = b"data: judged\n\n";

/// Parses an event and marks it, if anything in it is anybody's business.
struct Reference {
    early: bool,
}

impl Reference {
    fn judge(&self, event: Vec<u8>) -> Result<Vec<u8>, Unreadable> {
        let text = String::from_utf8(event).map_err(|_| Unreadable)?;
        let is_break = |c: char| has_line_breaks(c.encode_utf8(&mut [0; 4]));
        let escaped = text.chars().map(|c| {
            if is_break(c) {
                escape(c)
            } else {
                c.to_string()
            }
        });
        let event = if has_line_breaks(&text) {
            escaped.collect::<String>().into_bytes()
        } else {
            text.into_bytes()
        };
        let Some(parsed) = Event::parse(&event) else {
            return Ok(event);
        };
        // What is no JSON is nothing to anybody.
        let message = serde_json::from_str::<Value>(&parsed.data).unwrap_or_default();
        let of_result = ["tools", "capabilities", "task", "taskId"];
        let is_about = |message: &Value| {
            let result = &message["result"];
            let mut keys = of_result.iter();
            message.get("method").is_some()
                || keys.any(|key| result.get(key).is_some())
                || !result["_meta"]["io.modelcontextprotocol/related-task"].is_null()
        };
        let is_judged = match &message {
            Value::Array(messages) => messages.iter().any(is_about),
            message => is_about(message),
        };
        if is_judged {
            return Ok(JUDGED.to_vec());
        }
        Ok(event)
    }
}

impl JudgeEvents for &Reference {
    async fn judge_event(&self, event: Vec<u8>) -> Result<Vec<u8>, Unreadable> {
        self.judge(event)
    }

    fn may_pass_early(&self) -> bool {
        self.early
    }
}

fn filter() -> EventFilter {
    let most = InFlight {
        all: 1 << 30,
        per_address: 1 << 30,
        per_grant: 1 << 30,
    };
    EventFilter::new(Arc::new(Budget::new(most, 1 << 30, &[])).hold(None, "g"))
}

/// What comes out of a stream that comes in these chunks, up to an error.
async fn filtered(chunks: &[&[u8]], early: bool) -> (Vec<u8>, bool) {
    let (mut filter, reference) = (filter(), Reference { early });
    let mut out = Vec::new();
    for chunk in chunks {
        match filter
            .pass(&Bytes::copy_from_slice(chunk), &reference)
            .await
        {
            Ok(passed) => out.extend_from_slice(&passed),
            Err(_) => return (out, false),
        }
    }
    match filter.rest(&reference).await {
        Ok(rest) => out.extend_from_slice(&rest),
        Err(_) => return (out, false),
    }
    (out, true)
}

/// The same by the reference alone.
fn referred(stream: &[u8]) -> (Vec<u8>, bool) {
    let (mut splitter, mut out) = (Splitter::default(), Vec::new());
    let reference = Reference { early: false };
    let mut events = splitter.split(stream, LARGEST_EVENT).unwrap();
    events.push(splitter.rest());
    for event in events {
        match reference.judge(event) {
            Ok(event) => out.extend(event),
            Err(Unreadable) => return (out, false),
        }
    }
    (out, true)
}

fn pick<'a>(random: &mut StdRng, from: &[&'a str]) -> &'a str {
    from.choose(random).copied().unwrap_or_default()
}

/// A key, plain or in another spelling.
fn key(random: &mut StdRng, keys: &[&str]) -> String {
    let key = pick(random, keys);
    let spelled = key.chars().map(|c| {
        if random.gen_ratio(1, 40) {
            format!("\\u{:04x}", c as u32)
        } else {
            c.to_string()
        }
    });
    spelled.collect()
}

fn text(random: &mut StdRng) -> String {
    const PARTS: &[&str] = &[
        "plain",
        "tools",
        "\\\"tools\\\":[",
        "\\\\",
        "\\n",
        "\\u0074ools",
        "é",
        "漢字",
        "\u{2028}",
        "\u{85}",
        "\u{2027}",
        "😀",
        "{",
        "}",
        "],",
        "data: x",
        "\\\"method\\\":",
        "\u{b}",
        " ",
        "\u{1d}",
        "\\/",
        "\t",
    ];
    let length = if random.gen_ratio(1, 100) {
        6000
    } else {
        random.gen_range(0..6)
    };
    (0..length).map(|_| pick(random, PARTS)).collect()
}

fn value(random: &mut StdRng, depth: usize) -> String {
    const KEYS: &[&str] = &[
        "a",
        "tools",
        "method",
        "taskId",
        "task",
        "capabilities",
        "_meta",
        "result",
    ];
    match random.gen_range(0..if depth == 0 { 4 } else { 6 }) {
        0 => pick(random, &["1", "-2.5e3", "true", "null", "0"]).to_owned(),
        1..4 => format!("\"{}\"", text(random)),
        4 => {
            let values: Vec<String> = (0..random.gen_range(0..4))
                .map(|_| value(random, depth - 1))
                .collect();
            format!("[{}]", values.join(pick(random, &[",", " , "])))
        }
        _ => object(random, KEYS, depth - 1),
    }
}

fn object(random: &mut StdRng, keys: &[&str], depth: usize) -> String {
    let members: Vec<String> = (0..random.gen_range(0..4))
        .map(|_| format!("\"{}\":{}", key(random, keys), value(random, depth)))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn result(random: &mut StdRng) -> String {
    const KEYS: &[&str] = &[
        "content",
        "content",
        "content",
        "structuredContent",
        "isError",
        "tools",
        "Tools",
        "toolsX",
        "task",
        "taskId",
        "capabilities",
        "nextCursor",
        "ta sk",
        "\\u0000tools",
    ];
    const META: &[&str] = &["io.modelcontextprotocol/related-task", "progressToken", "x"];
    let mut members: Vec<String> = (0..random.gen_range(0..4))
        .map(|_| format!("\"{}\":{}", key(random, KEYS), value(random, 3)))
        .collect();
    if random.gen_ratio(1, 3) {
        members.push(format!("\"_meta\":{}", object(random, META, 2)));
    }
    members.shuffle(random);
    format!("{{{}}}", members.join(","))
}

fn message(random: &mut StdRng) -> String {
    let mut members = vec!["\"jsonrpc\":\"2.0\"".to_owned()];
    for (name, odds) in [
        ("id", 1),
        ("result", 1),
        ("error", 20),
        ("method", 12),
        ("x", 20),
        ("Result", 30),
        (" id", 30),
    ] {
        if random.gen_ratio(1, odds) {
            let value = match name {
                "result" if random.gen_ratio(14, 15) => result(random),
                "id" => pick(random, &["1", "\"a\"", "null"]).to_owned(),
                _ => value(random, 2),
            };
            members.push(format!("\"{}\":{value}", key(random, &[name])));
        }
    }
    members.shuffle(random);
    let space = pick(random, &["", "", "", " ", "\t"]);
    let whole = format!(
        "{{{space}{}{space}}}",
        members.join(&format!("{space},{space}"))
    );
    if random.gen_ratio(1, 20) {
        format!("[{whole}]")
    } else {
        whole
    }
}

/// Events with every end of a line, some of them broken.
fn stream(random: &mut StdRng) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..random.gen_range(1..5) {
        let end = pick(random, &["\n", "\n", "\r\n", "\r"]);
        let mut data = message(random);
        if random.gen_ratio(1, 8) {
            // In several lines, which may fall into a text.
            let line = format!(",{end}data:");
            data = data.replacen(',', &line, 2);
        }
        for _ in 0..random.gen_range(0..3) {
            let line = pick(
                random,
                &[
                    "event: message",
                    ": tools",
                    "id: 7",
                    "id: \u{2028}",
                    "data",
                    "retry: 1",
                    "datax: {",
                ],
            );
            stream.extend_from_slice(format!("{line}{end}").as_bytes());
        }
        let field = pick(
            random,
            &["data: ", "data:", "data:  ", "data: ", "\u{feff}data: "],
        );
        stream.extend_from_slice(
            format!(
                "{field}{data}{end}{}{end}",
                pick(random, &["", "", "id: 3\n"])
            )
            .as_bytes(),
        );
    }
    if random.gen_ratio(1, 4) {
        let at = random.gen_range(0..stream.len());
        match random.gen_range(0..3) {
            0 => stream.truncate(at),
            1 => stream[at] = *b"\"\\{}[],:\n\r \xff\xe2".choose(random).unwrap_or(&b'x'),
            _ => drop(stream.remove(at)),
        }
    }
    stream
}

#[tokio::test]
async fn what_is_not_parsed_is_what_parsing_would_not_change() {
    let (mut plain, mut early_ends) = (0, 0);
    for seed in 0..8_000 {
        let mut random = StdRng::seed_from_u64(seed);
        let stream = stream(&mut random);
        let expected = referred(&stream);
        let mut cuts: Vec<usize> = (0..random.gen_range(0..6))
            .map(|_| random.gen_range(0..=stream.len()))
            .collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
        let shown = || String::from_utf8_lossy(&stream).into_owned();
        let (out, is_whole) = filtered(&chunks, false).await;
        assert_eq!(is_whole, expected.1, "{seed}: {}", shown());
        // Where it ends, what came in the same chunk is lost.
        let (head, tail) = expected.0.split_at(out.len().min(expected.0.len()));
        assert_eq!(out, head, "{seed}: {}", shown());
        assert!(!is_whole || tail.is_empty(), "{seed}: {}", shown());
        plain += usize::from(expected.0 == stream);

        // What goes on early is the same, up to where it can't.
        let (out, is_whole) = filtered(&chunks, true).await;
        if is_whole {
            assert_eq!(out, expected.0, "{seed}: {}", shown())
        } else {
            early_ends += 1
        }
    }
    assert!(plain > 1_000, "{plain}");
    assert!(early_ends > 5, "{early_ends}");
}

fn answer(size: usize, behind: &str) -> Vec<u8> {
    let text = "tools \\\"tools\\\" 漢\u{2028}".repeat(size / 30);
    let result = format!(r#"{{"content":[{{"type":"text","text":"{text}"}}]{behind}}}"#);
    format!("event: message\ndata: {{\"result\":{result},\"jsonrpc\":\"2.0\",\"id\":1}}\n\n")
        .into_bytes()
}

#[tokio::test]
async fn a_large_answer_goes_on_before_its_end_and_little_of_it_is_held() {
    let (mut filter, reference) = (filter(), Reference { early: true });
    let event = answer(
        1 << 20,
        r#","_meta":{"a":{"tools":[]}},"structuredContent":{"tools":[1]}"#,
    );
    let mut out = Vec::new();
    for chunk in event.chunks(4093) {
        out.extend_from_slice(
            &filter
                .pass(&Bytes::copy_from_slice(chunk), &reference)
                .await
                .unwrap(),
        );
        assert!(filter.held.len() <= EARLY && filter.partial.len() < 4);
    }
    assert!(filter.rest(&reference).await.unwrap().is_empty());
    let expected = String::from_utf8(event)
        .unwrap()
        .replace('\u{2028}', "\\u2028");
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[tokio::test]
async fn what_comes_late_and_can_not_be_judged_any_more_ends_the_stream() {
    for (behind, is_held) in [
        (r#","tools":[]"#, true),
        (r#","t\u006fols":[]"#, true),
        (r#","taskId":"t""#, true),
        (
            r#","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}"#,
            true,
        ),
        (r#"},"method":"x","params":{"#, true),
        (r#"},"result":{"tools":[]"#, true),
        (r#"},"id":1,"x":{"#, true),
        (r#"}]}"#, true),
        ("\ndata: ,\"isError\":false", false),
        ("\nid: 9\ndata: ", false),
    ] {
        let event = answer(1 << 16, behind);
        let chunks: Vec<&[u8]> = event.chunks(5000).collect();
        let (out, is_whole) = filtered(&chunks, true).await;
        assert_eq!(is_whole, !is_held, "{behind}");
        assert!(
            !String::from_utf8_lossy(&out).contains("tools\":[]"),
            "{behind}"
        );
        // Held to its end, it is judged.
        assert!(filtered(&chunks, false).await.1, "{behind}");
    }
}
