//! What the judge of messages lets through and what it refuses.

use super::*;
use crate::message::Kind;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn one(text: &str) -> Result<Message, Refused> {
    judge(&bytes(text), false).map(|body| match body {
        Body::One(message) => message,
        Body::Batch(_) => panic!("no batch was allowed"),
    })
}

fn request(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#)
}

fn refused(text: &str) {
    assert!(one(text).is_err(), "accepted: {text}");
    assert!(judge(&bytes(text), true).is_err(), "accepted: {text}");
}

#[test]
fn the_shapes_of_json_rpc_are_told_apart() {
    for (text, kind, id) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            Kind::Request,
            Some(Id::Number(1)),
        ),
        (
            r#" {"jsonrpc": "2.0", "id": "a", "method": "ping", "params": {}} "#,
            Kind::Request,
            Some(Id::Text("a".into())),
        ),
        (
            r#"{"jsonrpc":"2.0","id":-3,"method":"ping","params":null}"#,
            Kind::Request,
            Some(Id::Number(-3)),
        ),
        (
            r#"{"jsonrpc":"2.0","id":18446744073709551615,"method":"ping"}"#,
            Kind::Request,
            Some(Id::Large(u64::MAX)),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            Kind::Notification,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            Kind::Response,
            Some(Id::Number(1)),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}"#,
            Kind::Response,
            Some(Id::Number(1)),
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"x"}}"#,
            Kind::Response,
            None,
        ),
        (
            r#"{"error":{"code":-1,"message":"x"},"jsonrpc":"2.0"}"#,
            Kind::Response,
            None,
        ),
    ] {
        let message = one(text).unwrap();
        assert_eq!((message.kind(), message.id()), (kind, id), "{text}");
    }
}

#[test]
fn what_policy_needs_is_read_from_the_params() {
    let message = one(&request(
        r#"{"arguments":{"q":[1,2.5,"ä\u00e4",null,true,{"name":"no"}]},"name":"search","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","x":{}}}"#,
    ))
    .unwrap();
    assert_eq!(message.name(), Some("search"));
    assert_eq!(message.version(), Some("2026-07-28"));
    assert_eq!(
        one(&request(r#"{"n\u0061me":"search"}"#)).unwrap().name(),
        Some("search")
    );
    assert_eq!(
        one(&request(r#"{"name":["search"]}"#)).unwrap().name(),
        None
    );
}

#[test]
fn other_shapes_are_refused() {
    for text in [
        "",
        " ",
        "null",
        "1",
        "\"x\"",
        "{}",
        "[]",
        "[1]",
        "{",
        "true",
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":18446744073709551616,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":""}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":["tools/call"]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","error":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":[]}}"#,
    ] {
        refused(text);
    }
}

#[test]
fn a_key_that_stands_twice_is_refused_at_any_depth() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"a","method":"b"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","x":1,"x":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"a":{"b":1,"b":2}}}"#,
    ] {
        refused(text);
    }
    for params in [
        r#"{"name":"a","name":"b"}"#,
        r#"{"name":"a","n\u0061me":"b"}"#,
        r#"{"name":"a","arguments":{"x":1,"x":2}}"#,
        r#"{"name":"a","arguments":[[{"x":1,"\u0078":2}]]}"#,
        r#"{"name":"a","_meta":{"p":1,"p":2}}"#,
        r#"{"name":"a","arguments":{"":1,"":2}}"#,
    ] {
        refused(&request(params));
    }
    let mut many: Vec<String> = (0..40).map(|n| format!(r#""k{n}":{n}"#)).collect();
    assert!(
        one(&request(&format!(
            r#"{{"name":"a","arguments":{{{}}}}}"#,
            many.join(",")
        )))
        .is_ok()
    );
    for repeated in [0, 15, 16, 17, 39] {
        many.push(format!(r#""k{repeated}":0"#));
        refused(&request(&format!(
            r#"{{"name":"a","arguments":{{{}}}}}"#,
            many.join(",")
        )));
        many.pop();
    }
}

#[test]
fn a_key_that_some_parser_takes_for_a_known_one_is_refused() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","param\u017f":{}}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"paramſ\":{}}",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method\u0000":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method\u0000x":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","METHOD\u0000":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","ID":2}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","__proto__":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"re\u017fult":{}}"#,
    ] {
        refused(text);
    }
    for params in [
        r#"{"name":"a","Name":"b"}"#,
        r#"{"name":"a","name\u0000":"b"}"#,
        r#"{"name":"a","argument\u017f":{}}"#,
        r#"{"name":"a","ta\u017f\u212a":{}}"#,
        r#"{"name":"a","URI":"b"}"#,
        r#"{"name":"a","_META":{}}"#,
        r#"{"name":"a","__proto__":{"name":"b"}}"#,
        r#"{"name":"a","_meta":{"IO.modelcontextprotocol/protocolVersion":"x"}}"#,
    ] {
        refused(&request(params));
    }
    // Further in, keys are the tool's own: only two equal ones have two readings.
    assert!(
        one(&request(
            r#"{"name":"a","arguments":{"Name":1,"name":2,"naMe":3}}"#
        ))
        .is_ok()
    );
    assert!(one(r#"{"jsonrpc":"2.0","id":1,"method":"ping","extension":{}}"#).is_ok());
}

#[test]
fn bytes_that_are_not_plain_json_are_refused() {
    for text in [
        "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}{}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"} x",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\0",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,/**/\"method\":\"ping\"}",
        "{'jsonrpc':'2.0','id':1,'method':'ping'}",
        "{\"jsonrpc\":\"2.0\",\"id\":01,\"method\":\"ping\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":+1,\"method\":\"ping\"}",
        "\u{b}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
        "\u{a0}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
    ] {
        refused(text);
    }
    for params in [
        r#"{"name":"a\ud800"}"#,
        r#"{"name":"a","arguments":{"x":NaN}}"#,
        r#"{"name":"a","arguments":{"x":Infinity}}"#,
        r#"{"name":"a","arguments":{"x":.5}}"#,
        r#"{"name":"a","arguments":{"x":"\x41"}}"#,
        "{\"name\":\"a\nb\"}",
        "{\"name\":\"a\u{1}b\"}",
        r#"{"name":"a","arguments":{1:2}}"#,
    ] {
        refused(&request(params));
    }
    assert!(
        judge(
            &Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\xff\"}"),
            false
        )
        .is_err()
    );
    assert!(
        judge(
            &Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\xed\xa0\x80\"}"),
            false
        )
        .is_err()
    );
    let utf16: Vec<u8> = "{\"jsonrpc\":\"2.0\"}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert!(judge(&utf16.into(), false).is_err());
    assert!(
        one(&request(
            r#"{"name":"a","arguments":{"x":"\ud83d\ude00","y":123456789012345678901234567890}}"#
        ))
        .is_ok()
    );
}

#[test]
fn nesting_ends_at_64() {
    let nested = |levels: usize| {
        request(&format!(
            r#"{{"name":"a","arguments":{}{}}}"#,
            "[".repeat(levels),
            "]".repeat(levels)
        ))
    };
    // The message is the first level, params the second.
    assert!(one(&nested(62)).is_ok());
    refused(&nested(63));
    refused(&nested(100_000));
    let objects = |levels: usize| {
        request(&format!(
            r#"{{"arguments":{}1{}}}"#,
            r#"{"a":"#.repeat(levels),
            "}".repeat(levels)
        ))
    };
    assert!(one(&objects(62)).is_ok());
    refused(&objects(63));
    refused(&objects(100_000));
}

#[test]
fn every_message_of_a_batch_is_judged() {
    let ping = |id: usize| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    let batch = |count: usize| format!("[{}]", (0..count).map(ping).collect::<Vec<_>>().join(","));
    let judged = judge(&bytes(&batch(3)), true).unwrap();
    assert_eq!(judged.messages().len(), 3);
    assert!(judge(&bytes(&batch(100)), true).is_ok());
    assert!(judge(&bytes(&batch(101)), true).is_err());
    assert!(judge(&bytes(&batch(3)), false).is_err());
    for text in [
        "[]".to_owned(),
        format!("[[{}]]", ping(1)),
        format!("[{},1]", ping(1)),
        format!("[{},{}]", ping(1), ping(1)),
        format!("[{},{{}}]", ping(1)),
        format!(
            r#"[{},{{"jsonrpc":"2.0","id":2,"method":"a","method":"b"}}]"#,
            ping(1)
        ),
    ] {
        assert!(judge(&bytes(&text), true).is_err(), "{text}");
    }
}

#[test]
fn no_cut_of_a_message_is_a_message() {
    let text = request(r#"{"name":"search","arguments":{"q":"ä\ud83d\ude00","n":[1,2]}}"#);
    for end in 0..text.len() {
        assert!(
            judge(&Bytes::copy_from_slice(&text.as_bytes()[..end]), true).is_err(),
            "{end}"
        );
    }
}

#[test]
fn a_refusal_repeats_nothing_that_was_sent() {
    for text in [
        r#"{"jsonrpc":"2.0","id":"canary","canary":1,"canary":2}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":"canary"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":"canary"}}"#,
        r#"{"jsonrpc":"canary","id":1,"method":"ping"}"#,
    ] {
        let refused = one(text).unwrap_err();
        assert!(!refused.0.contains("canary"), "{refused}");
    }
}

#[test]
fn half_of_a_pair_and_numbers_beyond_floats_pass_where_nobody_decides_by_them() {
    let keep_path: Paths = ["path".to_owned()].into_iter().collect();
    let judged = |params: &str, keep| judge_and_keep(&bytes(&request(params)), false, keep);
    for arguments in [
        r#"{"x":"\ud800"}"#,
        r#"{"x":"a\udc00b","path":"/a"}"#,
        r#"{"x":["\ud800\u0041"],"path":1}"#,
        r#"{"x":1e999,"path":-1e999}"#,
        r#"{"\ud800":1,"x":{"\udbff":2}}"#,
    ] {
        let params = format!(r#"{{"name":"a","arguments":{arguments}}}"#);
        assert!(judged(&params, Keep::Nothing).is_ok(), "{arguments}");
        assert!(judged(&params, Keep::At(&keep_path)).is_ok(), "{arguments}");
    }
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{"content":{"text":"\ud83d"}}}"#;
    assert!(one(response).is_ok());
    // Some readers take every half for U+FFFD: two keys are one then.
    for twice in [
        r#"{"name":"a","arguments":{"\ud800":1,"\udc00":2}}"#,
        r#"{"name":"a","arguments":{"\ud800":1,"\ufffd":2}}"#,
        r#"{"name":"a","nam\ud800e":"b"}"#,
        r#"{"name":"a","name\ud800":"b"}"#,
    ] {
        refused(&request(twice));
    }
}

#[test]
fn half_of_a_pair_that_decides_is_named_by_pointer() {
    let keep_path: Paths = ["to".to_owned()].into_iter().collect();
    let refusal = |text: &str, keep| {
        let Refused(why) = judge_and_keep(&bytes(text), true, keep).unwrap_err();
        assert!(
            why.contains("half of a surrogate pair (RFC 8259 section 8.2)"),
            "{why}"
        );
        why
    };
    for (text, said) in [
        (request(r#"{"name":"ab\ud800"}"#), "character 3 of the text at /params/name "),
        (request(r#"{"uri":"\udc00"}"#), "character 1 of the text at /params/uri "),
        (
            request(r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2\ud800"}}"#),
            "at /params/_meta/io.modelcontextprotocol~1protocolVersion ",
        ),
        (r#"{"jsonrpc":"2.0","id":"\ud800","method":"ping"}"#.to_owned(), "at /id "),
        (r#"{"jsonrpc":"2.0","id":1,"method":"p\ud800"}"#.to_owned(), "character 2 of the text at /method "),
        (
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"\ud800"}]"#.to_owned(),
            "at /1/method ",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","a~/\ud800":1}"#.to_owned(),
            "character 4 of the key /a~0~1\u{fffd} ",
        ),
        (request(r#"{"name":"a","name\ud800":"b"}"#), "character 5 of the key /params/name\u{fffd} "),
        (request(r#"{"_meta":{"\udc00":1}}"#), "character 1 of the key /params/_meta/\u{fffd} "),
        (
            r#"[{"jsonrpc":"2.0","id":1,"result":{"x\ud800":{}}}]"#.to_owned(),
            "character 2 of the key /0/result/x\u{fffd} ",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"","\ud800":1}}"#.to_owned(),
            "character 1 of the key /error/\u{fffd} ",
        ),
    ] {
        let why = refusal(&text, Keep::Nothing);
        assert!(why.contains(said), "{why}");
    }
    let call = |arguments: &str| request(&format!(r#"{{"name":"a","arguments":{arguments}}}"#));
    for (arguments, said) in [
        (
            r#"{"to":"😀b\ud800"}"#,
            "character 3 of the text at /params/arguments/to ",
        ),
        (
            r#"{"x":"\ud800","To":[{"a.b/c":"\ud800"}]}"#,
            "at /params/arguments/To/0/a.b~1c ",
        ),
        (r#"{"t\ud800o":1}"#, "(it is a key of /params/arguments)"),
    ] {
        for keep in [Keep::Arguments, Keep::At(&keep_path)] {
            let why = refusal(&call(arguments), keep);
            assert!(why.contains(said) || keep == Keep::Arguments, "{why}");
        }
    }
    let mark = "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}";
    assert!(one(mark).unwrap_err().0.contains("byte-order mark"));
}
