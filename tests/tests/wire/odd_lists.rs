//! Lists of tools as other servers write them: an odd part costs itself only, and a tool that can't
//! be offered is named, with member and reason, in the log, at start and on the consent page.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::mcp::{call, message, response, send};
use tests::recorder::{Answer, Recorded, Recorder};
use tests::scripted_mcp;

/// The scripted backend with this text as its list of tools.
fn listing(tools: String) -> impl Fn(&Recorded) -> Answer + Send + Sync + 'static {
    move |request| match request.json() {
        message if message["method"] == "tools/list" => Answer::Full(
            200,
            vec![("Content-Type".into(), "application/json".into())],
            format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"tools":{tools},"nextCursor":null}}}}"#,
                message["id"]
            )
            .into_bytes(),
        ),
        _ => scripted_mcp::answer(request),
    }
}

async fn fixture(tools: &str) -> Result<Fixture> {
    let backend = Recorder::start(listing(tools.to_owned())).await?;
    let url = backend.url();
    let mut fixture = Fixture::with(StoreKind::Embedded, |mut setup| {
        setup.backends.clear();
        setup.backend(&url)
    })
    .await?;
    fixture.backend = backend;
    Ok(fixture)
}

/// What the start printed, once it has said how the backend is with these words, which may stand in
/// several lines.
async fn started(fixture: &Fixture, words: &[&str]) -> Result<String> {
    for said in ["backend    main at "].iter().chain(words) {
        let line = fixture.gateway.prints(|line| line.contains(said));
        line.await.with_context(|| format!("at start: {said}"))?;
    }
    Ok(fixture.gateway.printed().join("\n"))
}

fn names(answer: &Value) -> Vec<&str> {
    let tools = answer["result"]["tools"].as_array();
    let tools = tools.into_iter().flatten();
    tools.filter_map(|tool| tool["name"].as_str()).collect()
}

fn schema(levels: usize) -> String {
    let (open, close) = (
        r#"{"type":"object","properties":{"a":"#.repeat(levels),
        "}}".repeat(levels),
    );
    format!("{open}{{}}{close}")
}

/// A tool that is odd and says everything in one way, by name.
fn odd() -> Vec<(&'static str, String)> {
    let deep = schema(32);
    let deeper = schema(100);
    [
        ("null_annotations", r#""annotations":null"#.to_owned()),
        ("all_null", r#""title":null,"description":null,"outputSchema":null,"annotations":null,"icons":null,"_meta":null,"execution":null"#.to_owned()),
        ("null_hints", r#""annotations":{"title":null,"readOnlyHint":null,"destructiveHint":null}"#.to_owned()),
        ("text_hint", r#""annotations":{"readOnlyHint":"true"}"#.to_owned()),
        ("listed_annotations", r#""annotations":["readOnlyHint"]"#.to_owned()),
        ("number_description", r#""description":42,"title":["x"]"#.to_owned()),
        ("no_schema", r#""description":"x""#.to_owned()),
        ("null_schema", r#""inputSchema":null"#.to_owned()),
        ("infinite", r#""inputSchema":{"type":"object","properties":{"n":{"type":"number","maximum":1e400}}}"#.to_owned()),
        ("huge", r#""inputSchema":{"type":"object","minimum":-123456789012345678901234567890}"#.to_owned()),
        ("half_a_pair", r#""description":"broken \ud800 emoji""#.to_owned()),
        ("extra", r#""x-vendor":{"a":[[[]]]},"handler":null"#.to_owned()),
        ("deep", format!(r#""inputSchema":{deep}"#)),
        ("deeper", format!(r#""inputSchema":{deeper}"#)),
    ]
    .into_iter()
    .collect()
}

/// Elements of a list that nobody can be offered, with what is said of them.
const UNFIT: [(&str, &str); 7] = [
    ("7", "a tool without a name: it is not an object"),
    ("null", "a tool without a name: it is not an object"),
    (
        r#"{"title":"x"}"#,
        "a tool without a name: /name: it is missing",
    ),
    (
        r#"{"name":5}"#,
        "a tool without a name: /name: it is not a text",
    ),
    (
        r#"{"name":"a\ud800"}"#,
        "a tool without a name: /name: it holds half of a surrogate pair",
    ),
    (
        r#"{"name":"twice","inputSchema":{"properties":{"q":1,"q":2}}}"#,
        "twice: /inputSchema/properties/q: a key stands twice in one object",
    ),
    (
        r#"{"name":"cased","Description":"x","inputSchema":{}}"#,
        "cased: /Description: it stands twice, or resembles a member of a tool",
    ),
];

#[tokio::test]
async fn odd_members_cost_nothing_and_what_cannot_be_offered_is_named_everywhere() -> Result<()> {
    let odd = odd();
    let bottomless = format!(r#"{{"name":"bottomless","inputSchema":{}}}"#, schema(500));
    let mut elements: Vec<String> = UNFIT.iter().map(|(text, _)| (*text).to_owned()).collect();
    let tools = odd
        .iter()
        .map(|(name, rest)| format!(r#"{{"name":"{name}",{rest}}}"#));
    elements.extend(tools);
    elements.push(bottomless);
    elements.push(r#"{"name":"plain","annotations":{"readOnlyHint":true}}"#.to_owned());
    let fixture = fixture(&format!("[{}]", elements.join(","))).await?;

    let mut said: Vec<&str> = UNFIT.iter().map(|(_, said)| *said).collect();
    said.push("bottomless: /inputSchema/properties/a/");
    let printed = started(&fixture, &said).await?;
    for said in said {
        let logged = fixture.gateway.logged(said).await;
        logged.with_context(|| format!("in the log: {said}"))?;
    }
    let log = fixture.gateway.log().join("\n");
    let client = fixture.client("A choosing client").await?;
    let mut browser = Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    let page = browser
        .log_in(&page, &fixture.owner.name, &fixture.owner.password)
        .await?;
    let words = page.words();
    assert!(
        printed.contains(&format!("({} tools", odd.len() + 1)),
        "{printed}"
    );
    for (_, said) in UNFIT {
        assert!(words.contains(said), "on the page: {said}\n{words}");
    }
    for text in [&printed, &log, &words] {
        assert!(
            text.contains("bottomless: /inputSchema/properties/a/"),
            "{text}"
        );
        assert!(
            text.contains("it is nested deeper than 256 levels"),
            "{text}"
        );
    }
    for (name, _) in &odd {
        assert!(words.contains(name), "{name} is not on the page: {words}");
    }

    // What says that it reads only in another kind of value does not say it.
    let url = fixture.url("/mcp");
    let reading = client
        .sign_in_choosing(&fixture.owner, |form| form.choose("tools", "read"))
        .await?;
    let list = message(5, "tools/list", &json!({}));
    assert_eq!(
        names(&response(&send(&url, &reading, &list).await?)?),
        ["plain"]
    );

    // Chosen one by one, they pass in lists and can be called.
    let chosen: Vec<&str> = odd.iter().map(|(name, _)| *name).collect();
    let token = client
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&chosen))
        .await?;
    let reply = send(&url, &token, &list).await?;
    for (name, rest) in &odd {
        let whole = format!(r#"{{"name":"{name}",{rest}}}"#);
        assert!(reply.text.contains(&whole), "{name}: {}", reply.text);
        let answer = response(&send(&url, &token, &call(6, name, &json!({"q": 1}))).await?)?;
        assert_eq!(answer["result"]["isError"], Value::Null, "{name}: {answer}");
    }
    for (text, _) in UNFIT.iter().skip(2) {
        assert!(!reply.text.contains(text), "{text}: {}", reply.text);
    }
    assert!(!reply.text.contains("bottomless") && !reply.text.contains("plain"));
    Ok(())
}

#[tokio::test]
async fn a_list_of_another_kind_is_said_to_be_one() -> Result<()> {
    for (tools, said) in [
        ("null", "(0 tools"),
        (
            "{}",
            "the member tools of the result of tools/list is not an array",
        ),
        (
            r#""search""#,
            "the member tools of the result of tools/list is not an array",
        ),
        ("[]", "(0 tools"),
    ] {
        let fixture = fixture(tools).await?;
        started(&fixture, &[said])
            .await
            .with_context(|| tools.to_owned())?;
    }
    Ok(())
}

#[tokio::test]
async fn a_list_that_passes_by_names_what_it_hides_once() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("A choosing client").await?;
    let token = client
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["look"]))
        .await?;
    fixture.backend.play(listing(
        r#"[{"name":"look","description":"Read something","x":{"a":1,"a":1}},[],{"name":"look2"}]"#
            .to_owned(),
    ));
    let list = message(5, "tools/list", &json!({}));
    for _ in 0..3 {
        let reply = send(&fixture.url("/mcp"), &token, &list).await?;
        assert_eq!(names(&response(&reply)?), [""; 0]);
    }
    let said = "look: /x/a: a key stands twice in one object";
    fixture.gateway.logged(said).await?;
    let log = fixture.gateway.log();
    let lines: Vec<_> = log.iter().filter(|line| line.contains(said)).collect();
    assert_eq!(lines.len(), 1, "{log:#?}");
    assert!(lines[0].contains("tool_not_offered"), "{lines:?}");
    Ok(())
}

#[tokio::test]
async fn a_byte_order_mark_before_a_list_hides_nothing_and_stops_nobody() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("A choosing client").await?;
    let token = client
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["look"]))
        .await?;
    fixture
        .backend
        .play(|request| match scripted_mcp::answer(request) {
            Answer::Full(status, headers, body) if !body.is_empty() => {
                let body = [b"\xef\xbb\xbf", body.as_slice()].concat();
                Answer::Full(status, headers, body)
            }
            other => other,
        });
    let list = message(5, "tools/list", &json!({}));
    let reply = send(&fixture.url("/mcp"), &token, &list).await?;
    assert_eq!(names(&serde_json::from_str(&reply.text)?), ["look"]);
    Ok(())
}

#[tokio::test]
async fn two_tools_of_one_name_are_called_by_nobody_and_named_everywhere() -> Result<()> {
    let fixture = fixture(
        r#"[{"name":"look","description":"One"},{"name":"plain"},{"name":"look","description":"Another"},
            {"name":"odd"},{"name":"odd","x":{"a":1,"a":2}}]"#,
    )
    .await?;
    started(&fixture, &["two tools of one name"]).await?;
    let client = fixture.client("A choosing client").await?;
    let mut browser = Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    let page = browser
        .log_in(&page, &fixture.owner.name, &fixture.owner.password)
        .await?;
    let words = page.words();
    let everything = client.sign_in(&fixture.owner).await?;
    let narrowed = client
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["plain"]))
        .await?;
    let url = fixture.url("/mcp");
    let list = message(5, "tools/list", &json!({}));
    for name in ["look", "odd"] {
        let said = format!("{name}: two tools have this name");
        assert!(words.contains(&said), "{said}: {words}");
        let answer = response(&send(&url, &everything, &call(6, name, &json!({}))).await?)?;
        assert_eq!(answer["result"]["isError"], true, "{name}: {answer}");
        let reason = &answer["result"]["_meta"]["reason"];
        assert_eq!(reason, "tool_name_doubled", "{name}: {answer}");
        let answer = response(&send(&url, &narrowed, &call(6, name, &json!({}))).await?)?;
        assert_eq!(answer["result"]["isError"], true, "{name}: {answer}");
    }
    assert!(fixture.backend.marked("tools/call").is_empty());
    for token in [&everything, &narrowed] {
        assert_eq!(
            names(&response(&send(&url, token, &list).await?)?),
            ["plain"]
        );
        let answer = response(&send(&url, token, &call(7, "plain", &json!({}))).await?)?;
        assert_eq!(answer["result"]["isError"], Value::Null, "{answer}");
    }
    let doubled = fixture.gateway.events("tool_name_doubled", 1);
    doubled.await?;

    // Mended, and asked about again, it is a tool like others.
    fixture
        .backend
        .play(listing(r#"[{"name":"look"},{"name":"plain"}]"#.to_owned()));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let again = client.sign_in(&fixture.owner).await?;
    let answer = response(&send(&url, &again, &call(8, "look", &json!({}))).await?)?;
    assert_eq!(answer["result"]["isError"], Value::Null, "{answer}");
    let shown = response(&send(&url, &again, &list).await?)?;
    assert_eq!(names(&shown), ["look", "plain"]);
    Ok(())
}
