//! What messages may say, and what their headers must.

use super::*;
use crate::jsonrpc::{self, Body};

fn message(text: &str) -> Message {
    match jsonrpc::judge(&text.to_owned().into(), false).unwrap() {
        Body::One(message) => message,
        Body::Batch(_) => unreachable!("an object is no batch"),
    }
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sea é","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;

#[test]
fn versions_are_dates() {
    assert!(Version::parse(b"2025-11-25").unwrap() < Version::V2026_07_28);
    for text in [
        &b"2025-11-2"[..],
        b"DRAFT-2026",
        b"2025/11/25",
        b"",
        b"2025-11-25 ",
    ] {
        assert_eq!(Version::parse(text), None);
    }
}

#[test]
fn batches_are_of_the_first_streamable_revision_only() {
    assert!(takes_batches(None));
    assert!(takes_batches(Some(b"2025-03-26")));
    for version in [&b"2025-06-18"[..], b"2025-11-25", b"2026-07-28", b"draft"] {
        assert!(!takes_batches(Some(version)));
    }
}

#[test]
fn headers_of_2026_07_28_must_say_what_the_body_says() {
    let call = message(CALL);
    let good = MirrorHeaders {
        version: Some(b"2026-07-28"),
        method: Some(b"tools/call"),
        name: Some(b"=?base64?c2VhIMOp?="),
    };
    assert_eq!(good.check(&call), Ok(()));
    assert_eq!(
        good.check(&message(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)),
        Ok(())
    );
    let notification = message(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    let bare = MirrorHeaders {
        method: None,
        name: None,
        ..good
    };
    assert_eq!(bare.check(&notification), Ok(()));
    assert!(
        good.check(&notification).is_err(),
        "it names another method"
    );
    for bad in [
        MirrorHeaders {
            method: None,
            ..good
        },
        MirrorHeaders {
            method: Some(b"tools/list"),
            ..good
        },
        MirrorHeaders {
            method: Some(b"Tools/Call"),
            ..good
        },
        MirrorHeaders { name: None, ..good },
        MirrorHeaders {
            name: Some(b"other"),
            ..good
        },
        MirrorHeaders {
            name: Some(b"=?base64?!!?="),
            ..good
        },
        MirrorHeaders {
            version: Some(b"2026-10-01"),
            ..good
        },
        MirrorHeaders {
            name: Some("sea é".as_bytes()),
            ..good
        },
    ] {
        assert!(bad.check(&call).is_err(), "{bad:?}");
    }
}

#[test]
fn older_revisions_are_judged_by_the_body_alone() {
    let call = message(CALL);
    for version in [None, Some(&b"2025-11-25"[..]), Some(b"draft")] {
        let headers = MirrorHeaders {
            version,
            method: Some(b"tools/list"),
            name: None,
        };
        assert_eq!(headers.check(&call), Ok(()));
    }
}

#[test]
fn only_a_call_runs_a_tool_and_it_is_never_sent_twice() {
    let call = Call::from_message(&mut message(CALL));
    assert_eq!(call.tool(), Some("sea é"));
    assert!(!call.is_read_only());
    let list = Call::from_message(&mut message(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
    ));
    assert_eq!(list.tool(), None);
    assert!(list.is_read_only());
}

#[test]
fn a_call_names_its_tool() {
    let nameless = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#;
    assert!(check_shape(&message(nameless), false).is_err());
    assert_eq!(check_shape(&message(CALL), false), Ok(()));
}

#[test]
fn names_and_methods_are_plain() {
    let shape = |method: &str, params: serde_json::Value| {
        let text = serde_json::json!({
            "jsonrpc": "2.0", "id": 1, "method": method, "params": params,
        });
        check_shape(&message(&text.to_string()), false)
    };
    let none = || serde_json::json!({"name": "a", "uri": "a"});
    for method in [
        "tools/call",
        "logging/setLevel",
        "vendor/own",
        "tools/callx",
    ] {
        assert_eq!(shape(method, none()), Ok(()), "{method}");
    }
    for method in [
        "tools/call ",
        " tools/call",
        "tools/call\n",
        "Tools/Call",
        "tools/ca\u{200b}ll",
        "ｔools/call",
        "logging/setlevel\t",
        "LOGGING/SETLEVEL",
        "vendor/own\0",
    ] {
        assert!(shape(method, none()).is_err(), "{method:?}");
    }
    for name in ["deploy\n", " deploy", "deploy\u{feff}", "de\0ploy"] {
        for method in ["tools/call", "prompts/get"] {
            assert!(shape(method, serde_json::json!({"name": name})).is_err());
        }
        let read = shape("resources/read", serde_json::json!({"uri": name}));
        assert!(read.is_err(), "{name:?}");
    }
}

#[test]
fn only_a_notification_comes_without_an_id() {
    let without_id = |method: &str| {
        let text = serde_json::json!({
            "jsonrpc": "2.0", "method": method, "params": {"name": "a", "uri": "a"},
        });
        check_shape(&message(&text.to_string()), false)
    };
    for method in [
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/resources/updated",
        "notifications/somebody's/own",
        "ui/notifications/initialized",
        "$/cancelRequest",
    ] {
        assert_eq!(without_id(method), Ok(()), "{method}");
    }
    for method in [
        "tools/call",
        "tools/list",
        "prompts/get",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "completion/complete",
        "tasks/cancel",
        "logging/setLevel",
        "ping",
        "initialize",
        "notifications",
        "notifications/",
        "Notifications/initialized",
        "xnotifications/a",
        "tools/xnotifications/a",
        "anything",
    ] {
        assert!(without_id(method).is_err(), "{method}");
    }
}

#[test]
fn what_a_subscription_names_is_read_beside_whatever_nobody_reads() {
    let named = |notifications: &str, beside: &str| {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{"notifications":{notifications},{beside}}}}}"#
        );
        resources_of(&message(&text))
    };
    let both = r#"{"resourceSubscriptions":["a"],"ResourceSubscriptions":["b"],"x":1e999}"#;
    for beside in [r#""x":"\ud800""#, r#""x":1e999"#, r#""Notifications":null"#] {
        let found = named(both, beside).unwrap();
        assert_eq!(found, ["a", "b"], "{beside}");
    }
    assert_eq!(named("1", r#""x":1"#), Ok(Vec::new()));
    for (notifications, why) in [
        (
            r#"{"resourceSubscriptions":["a\ud800"]}"#,
            "half of a surrogate pair",
        ),
        (
            r#"{"resourceSubscriptions\ud800":["a"]}"#,
            "half of a surrogate pair",
        ),
        (r#"{"resourceSubscriptions":[1]}"#, "no list of URIs"),
        (r#"{"resourceSubscriptions":{}}"#, "no list of URIs"),
    ] {
        let refused = named(notifications, r#""x":1"#).unwrap_err();
        assert!(refused.contains(why), "{notifications}: {refused}");
    }
}
