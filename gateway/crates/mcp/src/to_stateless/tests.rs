use super::*;

fn message(text: &str) -> Message {
    Message::parse(text).unwrap()
}

/// The example of 2025-11-25, Lifecycle, Initialization.
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{"listChanged":true},"sampling":{},"elicitation":{"form":{},"url":{}},"tasks":{"requests":{}}},"clientInfo":{"name":"ExampleClient","title":"Example Client Display Name","version":"1.0.0","icons":[{"src":"https://example.com/icon.png"}]}}}"#;

fn hello() -> ClientInitialize {
    ClientInitialize::from_message(&message(INITIALIZE))
}

#[test]
fn a_handshake_is_a_discovery() {
    let discover = discover(&hello(), &Id::number(1));
    assert_eq!(discover.method(), "server/discover");
    assert_eq!(
        discover
            .meta()
            .object(meta::CLIENT_CAPABILITIES)
            .unwrap()
            .to_string(),
        r#"{"roots":{"listChanged":true},"sampling":{},"elicitation":{"form":{},"url":{}}}"#
    );
    // The response of the page Discovery.
    let discovered = Object::parse(
        r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"resources":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"ExampleServer","version":"1.0.0"}},"instructions":"This server provides weather and resource utilities.","ttlMs":3600000,"cacheScope":"public"}"#,
    )
    .unwrap();
    assert_eq!(
        initialized(&discovered, &hello()).to_string(),
        r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"resources":{}},"serverInfo":{"name":"ExampleServer","version":"1.0.0"},"instructions":"This server provides weather and resource utilities."}"#
    );
    let anonymous = initialized(&Object::new(), &hello());
    assert_eq!(
        anonymous.object("serverInfo").unwrap().to_string(),
        r#"{"name":"unknown","version":"0"}"#
    );
}

#[test]
fn the_revision_is_one_with_sessions() {
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-06-18", "2025-06-18"),
        ("2026-07-28", "2025-11-25"),
        ("1.0", "2025-11-25"),
    ] {
        assert_eq!(
            ClientInitialize::from_message(&message(&INITIALIZE.replace("2025-11-25", asked)))
                .revision,
            agreed
        );
    }
}

#[test]
fn a_session_remembers_what_was_said() {
    let written = hello().object();
    let read = ClientInitialize::read(&Object::parse(&written.to_string()).unwrap()).unwrap();
    assert_eq!(read.revision, "2025-11-25");
    assert_eq!(
        read.capabilities.to_string(),
        hello().capabilities.to_string()
    );
    assert_eq!(
        read.client_info.unwrap().get(),
        r#"{"name":"ExampleClient","title":"Example Client Display Name","version":"1.0.0"}"#
    );
}

/// The call of Standard Request Headers, said by a client with sessions.
#[test]
fn a_request_says_all_there_is_to_know() {
    let call = message(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather","arguments":{"location":"Seattle, WA","n":1.0},"_meta":{"progressToken":3}}}"#,
    );
    let mut hello = hello();
    hello.capabilities = Object::new();
    hello.client_info = Some(
        RawValue::from_string(r#"{"name":"ExampleClient","version":"1.0.0"}"#.to_owned()).unwrap(),
    );
    assert_eq!(
        request(call, &hello, Some("info")).to_string(),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather","arguments":{"location":"Seattle, WA","n":1.0},"_meta":{"progressToken":3,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"ExampleClient","version":"1.0.0"},"io.modelcontextprotocol/logLevel":"info"}}}"#
    );
}

#[test]
fn what_a_stateless_server_does_not_know_is_answered_here() {
    let step = |text: &str| step(&message(text));
    assert!(matches!(step(INITIALIZE), Step::Initialize));
    assert!(matches!(
        step(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
        Step::Answered
    ));
    assert!(matches!(
        step(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
        Step::Ignored
    ));
    assert!(matches!(
        step(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#),
        Step::Call
    ));
    assert!(matches!(
        step(r#"{"jsonrpc":"2.0","id":1,"method":"vendor/own"}"#),
        Step::Call
    ));
    let level =
        step(r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}"#);
    assert!(matches!(level, Step::Level(level) if level == "info"));
    assert!(matches!(
        step(r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel"}"#),
        Step::Refused(_)
    ));
    let uri =
        step(r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a"}}"#);
    assert!(matches!(uri, Step::Subscribe(uri) if uri == "a"));
    let cancel =
        step(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"1"}}"#);
    assert!(matches!(cancel, Step::Cancel(id) if id == Id::text("1")));
    let answer = step(r#"{"jsonrpc":"2.0","id":"q","result":{}}"#);
    assert!(matches!(answer, Step::Answer(id) if id == Id::text("q")));
}

#[test]
fn a_result_loses_what_the_client_does_not_know() {
    let answered = message(
        r#"{"jsonrpc":"2.0","id":"7","result":{"tools":[{"n":2.0}],"resultType":"complete","ttlMs":1000,"cacheScope":"public"}}"#,
    );
    let Outcome::Done(done) = outcome(&Id::number(1), "tools/list", &answered) else {
        panic!("it is complete");
    };
    assert_eq!(
        done.to_string(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"n":2.0}]}}"#
    );
    let task = message(r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":"t"}}"#);
    assert!(
        matches!(outcome(&Id::number(1), "tools/call", &task), Outcome::Done(done) if done.is_error())
    );
    let failed = message(
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no","data":{"x":1.0}}}"#,
    );
    assert!(
        matches!(outcome(&Id::text("a"), "tools/call", &failed), Outcome::Done(done)
        if done.to_string() == r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32602,"message":"no","data":{"x":1.0}}}"#)
    );
}

/// What a client with sessions gets of this result.
fn older(method: &str, result: &str) -> String {
    let answered = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
    match outcome(&Id::number(1), method, &message(&answered)) {
        Outcome::Done(done) => done.outcome().unwrap().to_string(),
        Outcome::Asks(_) => panic!("it is complete"),
    }
}

#[test]
fn a_schema_of_no_object_is_left_out_of_a_list_and_all_tools_stay() {
    let list = |schema: &str| {
        let result = format!(
            r#"{{"tools":[{{"name":"a","outputSchema":{{"type":"object","x":1.0}}}},{{"name":"b"{schema}}}]}}"#
        );
        older("tools/list", &result)
    };
    let whole = list("");
    for foreign in [
        r#"{"type":"array","items":{}}"#,
        r#"{"anyOf":[{"type":"object"}]}"#,
        r#"{"type":["object","null"]}"#,
        "true",
        "null",
    ] {
        assert_eq!(list(&format!(r#","outputSchema":{foreign}"#)), whole);
    }
    assert_eq!(
        whole,
        r#"{"tools":[{"name":"a","outputSchema":{"type":"object","x":1.0}},{"name":"b"}]}"#
    );
    // No list of tools.
    let other = r#"{"tools":[{"name":"b","outputSchema":{"type":"array"}}]}"#;
    assert_eq!(older("vendor/own", other), other);
}

#[test]
fn structured_content_that_is_no_object_comes_as_a_text() {
    let call = |result: &str| older("tools/call", result);
    let object = r#"{"content":[],"structuredContent":{"n":1.0}}"#;
    assert_eq!(call(object), object);
    assert_eq!(
        call(r#"{"content":[{"type":"text","text":"one"}],"structuredContent":[1.0]}"#),
        r#"{"content":[{"type":"text","text":"one"}]}"#
    );
    assert_eq!(
        call(r#"{"content":[{"type":"image"}],"structuredContent":["é",1.0]}"#),
        r#"{"content":[{"type":"image"},{"type":"text","text":"[\"é\",1.0]"}]}"#
    );
    for absent in [
        r#"{"structuredContent":null}"#,
        r#"{"content":[],"structuredContent":null}"#,
    ] {
        assert_eq!(
            call(absent),
            r#"{"content":[{"type":"text","text":"null"}]}"#
        );
    }
}

/// The exchange of the page Multi Round-Trip Requests.
#[test]
fn input_that_is_required_is_asked_for_and_sent_along() {
    let asked = message(
        r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{"github_login":{"method":"elicitation/create","params":{"mode":"form","message":"Please provide your GitHub username"}},"roots":{"method":"roots/list"}},"requestState":"AEAD-protected blob"}}"#,
    );
    let Outcome::Asks(questions) = outcome(&Id::number(1), "tools/call", &asked) else {
        panic!("it asks");
    };
    assert_eq!(questions.requests.len(), 2);
    assert_eq!(questions.requests[0].0, "github_login");
    assert_eq!(questions.requests[0].1, "elicitation/create");
    assert!(questions.requests[1].2.is_empty());
    let original =
        message(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#);
    let answers = [(
        "github_login".to_owned(),
        Object::parse(r#"{"action":"accept","content":{"name":"octocat"}}"#).unwrap(),
    )];
    assert_eq!(
        retry(original, &Id::number(2), &questions, &answers).to_string(),
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a","inputResponses":{"github_login":{"action":"accept","content":{"name":"octocat"}}},"requestState":"AEAD-protected blob"}}"#
    );
    let nothing = message(r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required"}}"#);
    assert!(
        matches!(outcome(&Id::number(1), "tools/call", &nothing), Outcome::Done(done) if done.is_error())
    );
}

#[test]
fn an_address_to_open_has_the_id_that_a_client_with_sessions_insists_on() {
    let ask = |params: &str| {
        let params = Object::parse(params).unwrap();
        question(&Id::text("q-1"), "elicitation/create", &params).to_string()
    };
    assert_eq!(
        ask(r#"{"mode":"url","url":"https://example.com/a","message":"Open."}"#),
        r#"{"jsonrpc":"2.0","id":"q-1","method":"elicitation/create","params":{"mode":"url","url":"https://example.com/a","message":"Open.","elicitationId":"q-1"}}"#
    );
    let named = ask(r#"{"mode":"url","elicitationId":"own"}"#);
    assert!(named.contains(r#""elicitationId":"own""#), "{named}");
    for form in [
        r#"{"mode":"form","message":"Who?"}"#,
        r#"{"message":"Who?"}"#,
    ] {
        assert!(!ask(form).contains("elicitationId"), "{form}");
    }
    let params = Object::parse(r#"{"mode":"url"}"#).unwrap();
    let other = question(&Id::text("q-1"), "sampling/createMessage", &params);
    assert!(!other.params().has("elicitationId"));
}

#[test]
fn a_stream_for_events_is_a_subscription() {
    let capabilities =
        Object::parse(r#"{"tools":{"listChanged":true},"resources":{"subscribe":true}}"#).unwrap();
    let filter = Filter::everything(&capabilities, vec!["file:///a".to_owned()]);
    let listen = listen(&hello(), &Id::number(1), &filter).unwrap();
    assert_eq!(
        listen.params().object("notifications").unwrap().to_string(),
        r#"{"toolsListChanged":true,"resourceSubscriptions":["file:///a"]}"#
    );
    let silent = Filter::everything(&Object::new(), vec!["file:///a".to_owned()]);
    assert!(super::listen(&hello(), &Id::number(1), &silent).is_none());
    let acknowledged = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1},"notifications":{}}}"#;
    assert!(notification(message(acknowledged)).is_none());
    let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1},"uri":"file:///a"}}"#;
    assert_eq!(
        notification(message(updated)).unwrap().to_string(),
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}"#
    );
}
