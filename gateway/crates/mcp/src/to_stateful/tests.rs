use super::*;

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"ExampleClient","version":"1.0.0"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}"#;

fn message(text: &str) -> Message {
    Message::parse(text).unwrap()
}

fn call(more: &str) -> Message {
    message(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"get_weather","arguments":{{"n":1.50}},{META}{more}}}}}}}"#
    ))
}

fn caller() -> Caller {
    Caller::from_message(&call("")).unwrap()
}

fn server() -> ServerInfo {
    let initialized = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"tasks":{}},"serverInfo":{"name":"ExampleServer","version":"1.0.0"},"instructions":"Ask."}"#;
    ServerInfo::from_initialized(&Object::parse(initialized).unwrap()).unwrap()
}

/// The request of the page Discovery becomes the handshake, its answer that page's response.
#[test]
fn discovery_is_a_handshake() {
    let discover = message(&format!(
        r#"{{"jsonrpc":"2.0","id":"discover-1","method":"server/discover","params":{{{META}}}}}}}"#
    ));
    let caller = Caller::from_message(&discover).unwrap();
    assert_eq!(
        initialize(&caller, &Id::number(7), "2025-11-25").to_string(),
        r#"{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"ExampleClient","version":"1.0.0"}}}"#
    );
    assert_eq!(
        initialized().to_string(),
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#
    );
    assert_eq!(
        server().discovered().to_string(),
        r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true}},"instructions":"Ask.","resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"ExampleServer","version":"1.0.0"}}}"#
    );
}

#[test]
fn a_request_loses_its_envelope_and_nothing_else() {
    let sent = call(r#","progressToken":"abc123","traceparent":"00-0af7","com.example/x":1.0"#);
    assert_eq!(
        request(sent).unwrap().to_string(),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather","arguments":{"n":1.50},"_meta":{"progressToken":"abc123","traceparent":"00-0af7","com.example/x":1.0}}}"#
    );
    assert!(!request(call("")).unwrap().to_string().contains("_meta"));
    let token = Id::number(9);
    let renamed = with_progress_token(request(call(r#","progressToken":"a""#)).unwrap(), &token);
    assert_eq!(renamed.progress_token(), Some(token));
}

#[test]
fn methods_that_are_gone_are_not_found() {
    for method in GONE {
        let gone = message(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#
        ));
        assert_eq!(request(gone).unwrap_err().status(false), 404);
    }
    let unknown = message(r#"{"jsonrpc":"2.0","id":1,"method":"vendor/own","params":{"x":1}}"#);
    assert_eq!(
        request(unknown.clone()).unwrap().to_string(),
        unknown.to_string()
    );
}

#[test]
fn a_request_without_its_envelope_is_refused() {
    let bare = message(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    let refused = Caller::from_message(&bare).unwrap_err();
    assert_eq!(refused, Refused::Incomplete(meta::VERSION));
    assert_eq!(
        refused
            .response(bare.id().as_ref())
            .failure()
            .unwrap()
            .code(),
        -32602
    );
    let half = message(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
    );
    assert_eq!(
        Caller::from_message(&half).unwrap_err(),
        Refused::Incomplete(meta::CLIENT_CAPABILITIES)
    );
    // The example of Protocol Version Negotiation.
    let old = message(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"1900-01-01"}}}"#,
    );
    assert_eq!(
        Caller::from_message(&old)
            .unwrap_err()
            .response(old.id().as_ref())
            .to_string(),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2026-07-28"],"requested":"1900-01-01"}}}"#
    );
}

#[test]
fn a_result_says_its_type_its_age_and_its_server() {
    let answered = |method: &str, text: &str| {
        response(&Id::text("x"), method, &message(text), &server(), &caller()).to_string()
    };
    assert_eq!(
        answered(
            "tools/list",
            r#"{"jsonrpc":"2.0","id":9,"result":{"tools":[{"n":1.0}]}}"#
        ),
        r#"{"jsonrpc":"2.0","id":"x","result":{"tools":[{"n":1.0}],"resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"ExampleServer","version":"1.0.0"}}}}"#
    );
    let called = answered(
        "tools/call",
        r#"{"jsonrpc":"2.0","id":9,"result":{"content":[],"_meta":{"a":1}}}"#,
    );
    assert!(
        called.contains(r#""_meta":{"a":1,"io.modelcontextprotocol/serverInfo""#),
        "{called}"
    );
    assert!(!called.contains("ttlMs"), "{called}");
}

#[test]
fn errors_are_those_of_the_new_revision() {
    let answered = |error: &str, caller: &Caller| {
        let text = format!(r#"{{"jsonrpc":"2.0","id":9,"error":{error}}}"#);
        response(
            &Id::number(1),
            "tools/call",
            &message(&text),
            &server(),
            caller,
        )
    };
    let missing = answered(
        r#"{"code":-32002,"message":"Resource not found","data":{"uri":"a"}}"#,
        &caller(),
    );
    assert_eq!(
        missing.to_string(),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Resource not found","data":{"uri":"a"}}}"#
    );
    let open = r#"{"code":-32042,"message":"open","data":{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://a.example/x","message":"Log in"}]}}"#;
    let refused = answered(open, &caller()).failure().unwrap();
    assert_eq!((refused.code(), refused.status(false)), (-32021, 400));
    let mut able = caller();
    able.capabilities = Object::parse(r#"{"elicitation":{"url":{}}}"#).unwrap();
    assert_eq!(
        answered(open, &able).outcome().unwrap().to_string(),
        r#"{"resultType":"input_required","inputRequests":{"url-0":{"method":"elicitation/create","params":{"mode":"url","url":"https://a.example/x","message":"Log in"}}}}"#
    );
    let own = answered(r#"{"code":-1,"message":"own","data":[1]}"#, &caller());
    assert!(
        own.to_string()
            .contains(r#"{"code":-1,"message":"own","data":[1]}"#)
    );
}

#[test]
fn a_question_of_the_server_goes_through_the_client_and_back() {
    let asked = message(
        r#"{"jsonrpc":"2.0","id":5,"method":"elicitation/create","params":{"mode":"form","message":"Please provide your GitHub username","requestedSchema":{"type":"object"}}}"#,
    );
    let Passing::Asks(asked) = pass(asked, "tools/call", &caller()) else {
        panic!("the client can be asked");
    };
    let result = input_required(&asked, "state-1");
    assert_eq!(
        result.to_string(),
        r#"{"resultType":"input_required","inputRequests":{"question":{"method":"elicitation/create","params":{"mode":"form","message":"Please provide your GitHub username","requestedSchema":{"type":"object"}}}},"requestState":"state-1"}"#
    );
    let retry = message(
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a","inputResponses":{"question":{"action":"accept","content":{"name":"octocat"}}},"requestState":"state-1"}}"#,
    );
    assert_eq!(request_state(&retry).as_deref(), Some("state-1"));
    assert_eq!(
        answer(&retry, &asked).unwrap().to_string(),
        r#"{"jsonrpc":"2.0","id":5,"result":{"action":"accept","content":{"name":"octocat"}}}"#
    );
    let silent = message(
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"requestState":"state-1"}}"#,
    );
    assert!(answer(&silent, &asked).is_none());
}

#[test]
fn what_a_client_can_not_be_asked_is_answered_for_it() {
    let asks = |method: &str| {
        message(&format!(
            r#"{{"jsonrpc":"2.0","id":5,"method":"{method}"}}"#
        ))
    };
    let refused = |passing| match passing {
        Passing::Answered(answer) => answer,
        other => panic!("{other:?}"),
    };
    let pong = refused(pass(asks("ping"), "tools/list", &caller()));
    assert_eq!(pong.to_string(), r#"{"jsonrpc":"2.0","id":5,"result":{}}"#);
    for (asked, during) in [
        ("sampling/createMessage", "tools/call"),
        ("elicitation/create", "tools/list"),
        ("vendor/own", "tools/call"),
    ] {
        let answer = refused(pass(asks(asked), during, &caller()));
        assert_eq!(answer.failure().unwrap().code(), -32601);
    }
}

#[test]
fn log_messages_come_only_as_asked_for() {
    let log = |level: &str| {
        message(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":1}}}}"#
        ))
    };
    let goes_on =
        |message, caller: &Caller| matches!(pass(message, "tools/call", caller), Passing::On(_));
    assert!(!goes_on(log("emergency"), &caller()));
    let wanting =
        Caller::from_message(&call(r#","io.modelcontextprotocol/logLevel":"warning""#)).unwrap();
    assert!(goes_on(log("warning"), &wanting) && goes_on(log("error"), &wanting));
    assert!(!goes_on(log("info"), &wanting));
    assert!(goes_on(
        message(
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.5}}"#
        ),
        &caller()
    ));
    assert!(!goes_on(
        message(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#),
        &wanting
    ));
}

/// The messages of the page Subscriptions.
#[test]
fn a_subscription_is_granted_what_the_server_has() {
    let listen = message(
        r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["file:///project/config.json"]}}}"#,
    );
    let granted = Filter::from_message(&listen)
        .unwrap()
        .granted(&server().capabilities);
    let id = listen.id().unwrap();
    assert_eq!(
        acknowledged(&id, &granted).to_string(),
        r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1},"notifications":{"toolsListChanged":true,"resourceSubscriptions":["file:///project/config.json"]}}}"#
    );
    let updated = message(
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///project/config.json"}}"#,
    );
    assert!(granted.takes(&updated));
    assert_eq!(
        subscribed(updated, &id).to_string(),
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///project/config.json","_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#
    );
    let changed = message(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    assert!(granted.takes(&changed));
    assert!(subscribed(changed, &id).meta().has(meta::SUBSCRIPTION));
    for other in ["prompts/list_changed", "resources/list_changed", "progress"] {
        let other = message(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/{other}"}}"#
        ));
        assert!(!granted.takes(&other));
    }
    assert_eq!(
        ended(&id).to_string(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#
    );
}

/// The example of the page Cancellation.
#[test]
fn a_cancellation_names_the_request() {
    assert_eq!(
        cancelled(&Id::text("123"), "User requested cancellation").to_string(),
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"123","reason":"User requested cancellation"}}"#
    );
}

#[test]
fn a_refusal_of_no_request_is_a_forgotten_session_unless_it_is_about_the_message() {
    let is_about_session = |said: &str| {
        let said = Message::parse(said).ok();
        is_about_session(&Id::number(1), said.as_ref())
    };
    for lost in [
        "Bad Request: No valid session ID provided",
        "",
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: No valid session ID"}}"#,
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Server not initialized"}}"#,
        r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32001,"message":"no session"}}"#,
    ] {
        assert!(is_about_session(lost), "{lost}");
    }
    for answered in [
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#,
        r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32602,"message":"Validation error"}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request"}}"#,
    ] {
        assert!(!is_about_session(answered), "{answered}");
    }
}
