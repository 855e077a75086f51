//! The cutter on real shapes, on hostile ones, and on random lists.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use super::*;

fn cut_to(text: &str, names: &[&str]) -> Result<Option<String>, Unreadable> {
    let listed = ToolLists::read(text)?;
    let keep = |at: usize| names.contains(&listed.definitions[at].name());
    let cut = listed.cut(text.as_bytes(), keep);
    Ok(cut.map(|cut| String::from_utf8(cut).unwrap()))
}

#[test]
fn what_is_kept_stays_byte_for_byte() {
    let text = r#"{ "jsonrpc":"2.0" , "id":1,"result":{"x":1.0 ,"tools" : [ {"name":"a","n":1.50} , {"name":"b"},{"name" : "c"}
 ],"nextCursor":"p\u0032"}}"#;
    for (names, expected) in [
        (
            &["a", "b", "c"][..],
            r#" [ {"name":"a","n":1.50} , {"name":"b"},{"name" : "c"}"#,
        ),
        (&["a", "c"], r#" [ {"name":"a","n":1.50},{"name" : "c"}"#),
        (&["b", "c"], r#" [ {"name":"b"},{"name" : "c"}"#),
        (&["c"], r#" [ {"name" : "c"}"#),
        (&["a"], r#" [ {"name":"a","n":1.50}"#),
        (&[], r#" [ "#),
    ] {
        let (head, rest) = text.split_once(" [ ").unwrap();
        let (_, tail) = rest.split_once("\"c\"}").unwrap();
        let expected = format!("{head}{expected}{tail}");
        let got = cut_to(text, names).unwrap();
        assert_eq!(got.as_deref().unwrap_or(text), expected, "{names:?}");
        assert_eq!(got.is_none(), names.len() == 3);
    }
}

#[test]
fn every_list_of_a_batch_is_cut_and_nothing_else() {
    let text = r#"[{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"},{"name":"b"}]}},{"jsonrpc":"2.0","id":"2","result":{"content":[{"tools":[{"name":"b"}]}]}},{"jsonrpc":"2.0","id":3,"error":{"code":1,"message":"tools"}},{"jsonrpc":"2.0","id":4,"result":{"tools":[{"name":"b"}]}}]"#;
    assert_eq!(
        cut_to(text, &["a"]).unwrap().unwrap(),
        text.replace(
            r#"[{"name":"a"},{"name":"b"}]}},{"jsonrpc":"2.0","id":"2""#,
            r#"[{"name":"a"}]}},{"jsonrpc":"2.0","id":"2""#
        )
        .replace(
            r#""id":4,"result":{"tools":[{"name":"b"}]"#,
            r#""id":4,"result":{"tools":[]"#
        )
    );
}

#[test]
fn a_list_is_known_by_its_shape_alone() {
    for untouched in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"capabilities":{"tools":{"listChanged":true}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{"name":"b"}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"structuredContent":{"tools":[{"name":"b"}]}}}"#,
        "no JSON at all",
        "",
    ] {
        assert_eq!(cut_to(untouched, &[]), Ok(None), "{untouched}");
    }
    let odd = r#"{"result":{"\u0074ools":[{"n\u0061me":"\u0062"}]},"id":null,"jsonrpc":"2.0"}"#;
    assert_eq!(
        cut_to(odd, &["a"]).unwrap().unwrap(),
        r#"{"result":{"\u0074ools":[]},"id":null,"jsonrpc":"2.0"}"#
    );
    assert_eq!(cut_to(odd, &["b"]), Ok(None));
}

#[test]
fn a_list_with_two_readings_is_not_passed_on() {
    for text in [
        r#"{"result":{"tools":[],"tools":[{"name":"b"}]}}"#,
        r#"{"result":{"tools":[]},"result":{"tools":[{"name":"b"}]}}"#,
        r#"{"result":{"Tools":[{"name":"b"}]}}"#,
        r#"{"result":{"TOOLS":[{"name":"b"}]}}"#,
        r#"{"result":{"tool\u017f":[{"name":"b"}]}}"#,
        r#"{"result":{"tools\u0000":[{"name":"b"}]}}"#,
        r#"{"Result":{"tools":[{"name":"b"}]}}"#,
        r#"{"result":{"tools":[{"name":"b"}]}"#,
        r#"{"result":{"tools":[{"name":"b"},]}}"#,
        r#"{"result":{"tools":[{"name":"b"}]}} x"#,
        r#"{"result":{"tools":[{"name":"b"}],"x":NaN}}"#,
        r#"{"result":{"tools":[{"name":"b"}]}}{"result":{"tools":[{"name":"b"}]}}"#,
        r#"[[{"result":{"tools":[{"name":"b"}]}}]]"#,
        "\u{feff}{\"result\":{\"tools\":[{\"name\":\"b\"}]}}",
        "{\"result\":{\"tools\":[{\"name\":\"b\u{1}\"}]}}",
    ] {
        assert_eq!(cut_to(text, &["a"]), Err(Unreadable), "{text}");
    }
}

#[test]
fn a_tool_with_two_readings_is_cut_alone() {
    let text = r#"{"result":{"tools":[{"name":"a","name":"b"},{"name":"a"},{"name":1},null,{"name":"a","NAME":"b"}]}}"#;
    assert_eq!(
        cut_to(text, &["a", "b"]).unwrap().unwrap(),
        r#"{"result":{"tools":[{"name":"a"}]}}"#
    );
}

#[test]
fn an_odd_part_costs_itself_only() {
    let deep = format!("{}1{}", "[".repeat(80), "]".repeat(80));
    let list = format!(
        r#"{{"result":{{"tools":[7,{{"name":"x","a":{{"b":1,"b":1}}}},{{"name":"a","annotations":null,"inputSchema":{{"maximum":1e400,"deep":{deep}}},"description":"\ud800"}}],"x":[1e999,"\udc00"],"nextCursor":null}}}}"#
    );
    let cut = cut_to(&list, &["a", "x"]).unwrap().unwrap();
    assert!(
        cut.contains(r#""tools":[{"name":"a","annotations":null"#),
        "{cut}"
    );
    assert!(cut.ends_with(r#"}],"x":[1e999,"\udc00"],"nextCursor":null}}"#));
    let said: Vec<String> = ToolLists::read(&list)
        .unwrap()
        .unfit
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        said,
        [
            "a tool without a name: it is not an object",
            "x: /a/b: a key stands twice in one object"
        ]
    );
}

#[test]
fn a_page_is_read_tool_by_tool() {
    let page_of = |result: &str| page(result).map(|page| (page.tools.len(), page.next_cursor));
    for (result, expected) in [
        ("{}", Ok((0, None))),
        (r#"{"tools":null,"nextCursor":null}"#, Ok((0, None))),
        (
            r#" {"tools" : [ 1, {"a":1e400} ,"\ud800"],"nextCursor":"2"}"#,
            Ok((3, Some("2".to_owned()))),
        ),
        (r#"{"tools":[],"nextCursor":7}"#, Ok((0, None))),
        (
            r#"{"tools":{}}"#,
            Err("the member tools of the result of tools/list is not an array"),
        ),
        ("[]", Err("the result of tools/list is not an object")),
        ("{", Err("the result of tools/list is not JSON")),
    ] {
        assert_eq!(page_of(result), expected, "{result}");
    }
}

#[test]
fn names_that_only_look_alike_are_others() {
    for name in [
        "Search",
        "search ",
        "search\\u0000",
        "se\u{430}rch",
        "SEARCH",
        "\\u017fearch",
        "",
    ] {
        let text =
            format!(r#"{{"result":{{"tools":[{{"name":"{name}"}},{{"name":"\u0073earch"}}]}}}}"#);
        assert_eq!(
            cut_to(&text, &["search"]).unwrap().unwrap(),
            r#"{"result":{"tools":[{"name":"\u0073earch"}]}}"#
        );
    }
}

#[test]
fn what_is_left_is_private_to_its_reader() {
    for (from, to) in [
        (
            r#""tools":[],"ttlMs":5"#,
            Some(r#""cacheScope":"private","tools":[],"ttlMs":5"#),
        ),
        (
            r#""cacheScope":"public","tools":[]"#,
            Some(r#""cacheScope":"private","tools":[]"#),
        ),
        (
            r#""tools":[{"name":"b"}],"cacheScope" : "p\u0075blic""#,
            Some(r#""tools":[],"cacheScope" : "private""#),
        ),
        (
            r#""tools":[{"name":"a"}],"cacheScope":null"#,
            Some(r#""tools":[{"name":"a"}],"cacheScope":"private""#),
        ),
        (r#""tools":[],"cacheScope":"private","ttlMs":1"#, None),
        (r#""tools":[]"#, None),
    ] {
        let message = |result: &str| format!(r#"{{"result":{{{result}}},"id":1}}"#);
        assert_eq!(
            cut_to(&message(from), &["a"]).unwrap(),
            to.map(message),
            "{from}"
        );
    }
}

/// A random value that JSON can write.
fn value(random: &mut StdRng, depth: usize) -> Value {
    match random.gen_range(0..if depth == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => Value::Bool(random.gen_bool(0.5)),
        2 => Value::from(random.gen_range(-1_000_000..1_000_000)),
        // Quarters: what a float is written as must be read as the same float.
        3 => Value::from(f64::from(random.gen_range(-4000..4000)) / 4.0),
        4 => Value::from(word(random)),
        5 => (0..random.gen_range(0..4))
            .map(|_| value(random, depth - 1))
            .collect(),
        _ => (0..random.gen_range(0..4))
            .map(|n| (format!("{n}{}", word(random)), value(random, depth - 1)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

fn word(random: &mut StdRng) -> String {
    const CHARACTERS: &[char] = &[
        'a', 'b', '"', '\\', ',', ']', '}', '\n', 'é', '\u{2028}', '😀', ' ',
    ];
    (0..random.gen_range(0..8))
        .map(|_| *CHARACTERS.choose(random).unwrap())
        .collect()
}

/// Writes JSON with random white space and escapes, which `serde_json` never does.
fn written(random: &mut StdRng, value: &Value) -> String {
    let space = |random: &mut StdRng| {
        ["", "", "", " ", "\n", "\t "]
            .choose(random)
            .unwrap()
            .to_owned()
    };
    match value {
        Value::Array(elements) => {
            let parts: Vec<_> = elements
                .iter()
                .map(|element| {
                    format!(
                        "{}{}{}",
                        space(random),
                        written(random, element),
                        space(random)
                    )
                })
                .collect();
            format!("[{}]", parts.join(","))
        }
        Value::Object(members) => {
            let parts: Vec<_> = members
                .iter()
                .map(|(key, value)| {
                    let key = written(random, &Value::from(key.clone()));
                    format!(
                        "{}{key}{}:{}{}",
                        space(random),
                        space(random),
                        space(random),
                        written(random, value)
                    )
                })
                .collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::String(text) => {
            let escaped: String = text
                .chars()
                .map(|c| match c {
                    c if c.is_ascii_alphanumeric() && random.gen_bool(0.2) => {
                        format!("\\u{:04x}", c as u32)
                    }
                    c => {
                        let quoted = serde_json::to_string(&c.to_string()).unwrap();
                        quoted[1..quoted.len() - 1].to_owned()
                    }
                })
                .collect();
            format!("\"{escaped}\"")
        }
        other => other.to_string(),
    }
}

#[test]
fn of_random_lists_exactly_the_kept_tools_remain_and_all_else_is_as_it_was() {
    const NAMES: [&str; 5] = ["search", "fetch", "erase", "Search", "é"];
    for seed in 0..3000 {
        let mut random = StdRng::seed_from_u64(seed);
        let tools: Vec<Value> = (0..random.gen_range(0..7))
            .map(|_| {
                let mut tool = serde_json::Map::new();
                tool.insert("inputSchema".to_owned(), value(&mut random, 3));
                tool.insert(
                    "name".to_owned(),
                    Value::from(*NAMES.choose(&mut random).unwrap()),
                );
                Value::Object(tool)
            })
            .collect();
        let mut result = serde_json::Map::new();
        result.insert("a".to_owned(), value(&mut random, 3));
        result.insert("tools".to_owned(), Value::from(tools.clone()));
        result.insert("z".to_owned(), value(&mut random, 3));
        let message = serde_json::json!({"jsonrpc": "2.0", "id": seed, "result": result});
        let text = written(&mut random, &message);
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            message,
            "{text}"
        );

        let kept: Vec<&str> = NAMES.into_iter().filter(|_| random.gen_bool(0.5)).collect();
        let cut = cut_to(&text, &kept).unwrap();
        let out: Value = serde_json::from_str(cut.as_deref().unwrap_or(&text)).unwrap();
        let mut expected = message;
        expected["result"]["tools"] = tools
            .into_iter()
            .filter(|tool| kept.contains(&tool["name"].as_str().unwrap()))
            .collect();
        assert_eq!(out, expected, "seed {seed}: {text}");

        // Twice is once; and what is listed is what is there.
        let out = cut.unwrap_or(text);
        assert_eq!(cut_to(&out, &kept), Ok(None), "seed {seed}: {out}");
        let names: Vec<_> = ToolLists::read(&out)
            .unwrap()
            .definitions
            .iter()
            .map(|tool| tool.name().to_owned())
            .collect();
        let expected: Vec<_> = expected["result"]["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, expected);

        // A text that was cut short or garbled never shows a tool that is not kept.
        let at = random.gen_range(0..=out.len());
        if out.is_char_boundary(at)
            && let Ok(passed) = cut_to(&out[..at], &kept)
        {
            let passed = passed.unwrap_or_else(|| out[..at].to_owned());
            assert!(
                serde_json::from_str::<Value>(&passed).is_err()
                    || at == out.len()
                    || !passed.contains("name")
            );
        }
    }
}
