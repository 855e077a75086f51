//! What clients are told without an account.

use std::time::Duration;

use super::*;

fn call(method: &str, name: Option<&str>, id: i64) -> Call {
    Call {
        name: name.map(str::to_owned),
        id: Some(Id::Number(id)),
        ..Call::named(method)
    }
}

fn refusal(calls: &[Call]) -> AccountRefusal {
    AccountRefusal {
        why: Why::Account(AccountError::NotConnected),
        link: Some(Link {
            id: "el_1".to_owned(),
            url: "https://h/connect?link=x".to_owned(),
        }),
        asked: Asked {
            backend: "github".to_owned(),
            calls: calls.to_vec(),
            is_batch: false,
            is_stateless: false,
            opens_urls: false,
            revision: None,
            session: None,
            is_streamable: true,
            delivery: Delivery::Response,
        },
    }
}

fn able(refusal: AccountRefusal, is_stateless: bool) -> AccountRefusal {
    AccountRefusal {
        asked: Asked {
            opens_urls: true,
            is_stateless,
            ..refusal.asked
        },
        ..refusal
    }
}

const SENTENCE: &str = "Your account at github is not connected: open https://h/connect?link=x in a browser, connect it there, and try again.";

#[test]
fn a_client_that_opens_no_addresses_is_told_one_in_a_sentence() {
    let refusal = refusal(&[call("tools/call", Some("search"), 7)]);
    assert_eq!(refusal.status(), StatusCode::OK);
    assert_eq!(
        refusal.answer("r1").unwrap(),
        json!({"jsonrpc": "2.0", "id": 7, "result": {
            "content": [{"type": "text", "text": SENTENCE}],
            "isError": true,
            "_meta": {"reason": "account_not_connected", "request_id": "r1"},
        }})
    );
}

/// 2025-11-25, Elicitation, URL Elicitation Required Error.
#[test]
fn a_client_of_2025_that_opens_addresses_is_asked_to() {
    let refusal = able(refusal(&[call("tools/call", Some("search"), 7)]), false);
    let answer = refusal.answer("r1").unwrap();
    assert_eq!(
        answer["error"],
        json!({"code": -32042, "message": SENTENCE, "data": {"elicitations": [{
            "mode": "url",
            "url": "https://h/connect?link=x",
            "elicitationId": "el_1",
            "message": "Connect your account at github.",
        }]}})
    );
}

/// 2026-07-28, Multi Round-Trip Requests: where a method can't ask back it is an error.
#[test]
fn a_client_of_2026_that_opens_addresses_is_asked_to() {
    let refusal = able(refusal(&[call("tools/call", Some("search"), 7)]), true);
    let answer = refusal.answer("r1").unwrap();
    assert_eq!(
        answer["result"],
        json!({"resultType": "input_required", "inputRequests": {"gateway_connect_account": {
            "method": "elicitation/create",
            "params": {"mode": "url", "url": "https://h/connect?link=x", "message": "Connect your account at github."},
        }}})
    );
    let completion = able(self::refusal(&[call("completion/complete", None, 7)]), true);
    assert_eq!(completion.answer("r1").unwrap()["error"]["code"], -32600);
}

#[test]
fn a_client_begins_its_session_and_finds_the_way_to_connect() {
    let greeted = |method: &str| refusal(&[call(method, None, 1)]).answer("r1").unwrap();
    let hello = &greeted("initialize")["result"];
    assert_eq!(hello["protocolVersion"], "2025-11-25");
    assert_eq!(hello["instructions"], SENTENCE);
    let tools = &greeted("tools/list")["result"]["tools"];
    assert_eq!(tools[0]["name"], CONNECT_TOOL);
    assert_eq!(tools.as_array().unwrap().len(), 1);
    assert_eq!(greeted("prompts/list")["result"], json!({"prompts": []}));
    assert_eq!(greeted("ping")["result"], json!({}));
    let discovered = able(refusal(&[call("server/discover", None, 1)]), true);
    let discovered = discovered.answer("r1").unwrap();
    assert_eq!(
        discovered["result"]["supportedVersions"],
        json!(["2026-07-28"])
    );
    assert_eq!(discovered["result"]["resultType"], "complete");
}

#[test]
fn what_nobody_waits_for_is_taken_and_a_stream_is_refused() {
    let told = Call {
        id: None,
        ..Call::named("notifications/initialized")
    };
    assert_eq!(refusal(&[told]).status(), StatusCode::ACCEPTED);
    let stream = refusal(&[]);
    assert_eq!(stream.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(stream.answer("r1"), None);
}

#[test]
fn a_fault_is_waited_for_and_asks_nobody_to_connect() {
    let refusal = AccountRefusal {
        why: Why::Account(AccountError::Unavailable {
            reason: Reason::AccountUnavailable,
            retry_after: Duration::from_secs(5),
            detail: "x".to_owned(),
        }),
        link: None,
        ..able(refusal(&[call("tools/call", Some("search"), 7)]), false)
    };
    assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refusal.retry_after(), Some(5));
    assert!(!refusal.sentence().contains("http"));
}

#[test]
fn every_request_of_a_batch_is_answered() {
    let calls = [
        call("tools/list", None, 1),
        call("tools/call", Some("a"), 2),
    ];
    let batch = refusal(&calls);
    let batch = AccountRefusal {
        asked: Asked {
            is_batch: true,
            ..batch.asked
        },
        ..batch
    };
    let answer = batch.answer("r1").unwrap();
    assert_eq!(answer[0]["result"]["tools"][0]["name"], CONNECT_TOOL);
    assert_eq!(answer[1]["result"]["isError"], true);
}

/// The address is one person's alone: nothing that is printed has it.
#[test]
fn no_log_has_the_address() {
    let refusal = refusal(&[call("tools/call", Some("search"), 7)]);
    assert!(refusal.sentence().contains("link=x"));
    let rejection = crate::rejection::Rejection::Account(Box::new(refusal.clone()));
    let printed = format!("{refusal:?} {rejection} {rejection:?}");
    assert!(!printed.contains("link=x"), "{printed}");
}

#[test]
fn what_changes_is_promised_where_there_is_a_stream_to_tell_it_on() {
    let promised = |refusal: AccountRefusal, method: &str| {
        let asked = Asked {
            calls: vec![call(method, None, 1)],
            ..refusal.asked
        };
        let answer = AccountRefusal { asked, ..refusal }.answer("r1").unwrap();
        answer["result"]["capabilities"]["tools"]["listChanged"] == true
    };
    assert!(!promised(refusal(&[]), "initialize"));
    let begun = refusal(&[]);
    let asked = Asked {
        session: Some("s".to_owned()),
        ..begun.asked
    };
    assert!(promised(AccountRefusal { asked, ..begun }, "initialize"));
    assert!(promised(able(refusal(&[]), true), "server/discover"));
}

#[test]
fn once_it_is_connected_the_way_to_connect_says_so() {
    let refusal = AccountRefusal {
        why: Why::Connected,
        link: None,
        ..refusal(&[call("tools/call", Some(CONNECT_TOOL), 7)])
    };
    assert_eq!(refusal.status(), StatusCode::OK);
    let result = &refusal.answer("r1").unwrap()["result"];
    assert_eq!(result["isError"], false);
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("List the tools again"), "{text}");
}
