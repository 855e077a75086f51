//! Bodies that JSON allows and few write: they go on byte for byte where nobody decides by the odd
//! part, and where somebody does, the refusal says which character it is.

use anyhow::Result;
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::http::{self, Reply};
use tests::program::{binary, run};

async fn post(fixture: &Fixture, token: &str, body: &str) -> Result<Reply> {
    let request = http::client()
        .post(fixture.url("/mcp"))
        .bearer_auth(token)
        .header("Accept", "application/json, text/event-stream")
        .header("Content-Type", "application/json")
        .body(body.to_owned());
    http::send(request).await
}

fn call(arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"look","arguments":{arguments}}}}}"#
    )
}

fn reached(fixture: &Fixture, body: &str) -> bool {
    let requests = fixture.backend.requests();
    requests
        .iter()
        .any(|request| request.body == body.as_bytes())
}

/// Whether the backend answered. The scripted one does not understand all that reaches it.
fn passed(reply: &Reply) -> bool {
    matches!(reply.status, 200 | 202)
}

/// Odd, and read in one way by everybody who reads it at all, or decided by nobody.
const ODD: [&str; 12] = [
    r#"{"q":"\ud800"}"#,
    r#"{"q":"emoji cut in half \uD83D"}"#,
    r#"{"q":"\udc00\ud800 and \ud83d\ude00"}"#,
    r#"{"q":["a",{"b":"\udfff"}]}"#,
    r#"{"\ud800":1}"#,
    r#"{"q":1e400,"r":-1E999}"#,
    r#"{"q":123456789012345678901234567890123456789012345678901234567890}"#,
    r#"{"q":"\u0000"}"#,
    "{\"q\":\"\u{ffff}\u{fdd0}\u{10ffff}\"}",
    r#"{"q":0.1000000000000000055511151231257827021181583404541015625}"#,
    r#"{"q":null,"":{"":""}}"#,
    r#"{"Q":1,"q":2}"#,
];

#[tokio::test]
async fn odd_arguments_go_on_byte_for_byte_where_nobody_looks_at_them() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    for choice in ["all", "today"] {
        let token = client
            .sign_in_choosing(&fixture.owner, |form| form.choose("tools", choice))
            .await?;
        for arguments in ODD {
            let body = call(arguments);
            let reply = post(&fixture, &token, &body).await?;
            assert!(passed(&reply), "{choice} {arguments}: {}", reply.text);
            assert!(reached(&fixture, &body), "{choice} {arguments}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_client_may_answer_with_half_a_character() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let body = r#"{"jsonrpc":"2.0","id":"s1","result":{"content":{"type":"text","text":"\ud83d"},"x":1e400}}"#;
    let reply = post(&fixture, &token, body).await?;
    assert!(reply.status < 400, "{}", reply.text);
    assert!(reached(&fixture, body));
    Ok(())
}

#[tokio::test]
async fn what_is_decided_by_is_refused_and_the_character_is_named() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    for (body, said) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"loo\ud800k","arguments":{}}}"#,
            "character 4 of the text at /params/name is half of a surrogate pair",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///\udc00"}}"#,
            "character 9 of the text at /params/uri is half",
        ),
        (
            r#"{"jsonrpc":"2.0","id":"\ud800","method":"ping"}"#,
            "at /id is half",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping\ud800"}"#,
            "at /method is half",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","name\ud800":"erase"}}"#,
            "character 5 of the key /params/name\u{fffd} is half of a surrogate pair",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","x\ud800":1}"#,
            "character 2 of the key /x\u{fffd} is half",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":{},"\udc00":1}}"#,
            "character 1 of the key /params/\u{fffd} is half",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"a\ud800b":1}}}"#,
            "character 2 of the key /params/_meta/a\u{fffd}b is half",
        ),
        (
            r#"{"jsonrpc":"2.0","id":"s1","result":{"\ud800":1}}"#,
            "character 1 of the key /result/\u{fffd} is half",
        ),
        (
            "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
            "byte-order mark",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":1,"x":1}}"#,
            "a key stands twice in one object",
        ),
    ] {
        let reply = post(&fixture, &token, body).await?;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text);
        let answer = reply.json();
        assert_eq!(answer["reason"], "message_malformed", "{answer}");
        let told = answer["error_description"].as_str().unwrap_or_default();
        assert!(told.contains(said), "{body}: {told}");
        assert!(!reached(&fixture, body), "{body}");
    }
    let nested = call(&format!("{}{}", "[".repeat(70), "]".repeat(70)));
    let reply = post(&fixture, &token, &nested).await?;
    assert_eq!(reply.status, 400);
    assert!(
        reply.text.contains("nested deeper than 64"),
        "{}",
        reply.text
    );
    Ok(())
}

#[tokio::test]
async fn a_policy_that_looks_at_one_argument_refuses_the_half_there_and_nowhere_else() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("policy.biscuit");
    std::fs::write(
        &file,
        "deny if argument(\"path\", $path), $path.starts_with(\"/secret\");\nallow if true;\n",
    )?;
    let policy = format!("[policy]\nfile = \"{}\"\n", file.display());
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(&policy)).await?;
    let (_, token) = fixture.signed_in().await?;
    for (arguments, status) in [
        (r#"{"path":"/public","note":"\ud800"}"#, 200),
        (r#"{"path":"/public","note":{"a\ud800":1e400}}"#, 200),
        (r#"{"path":"/pub\ud800lic"}"#, 400),
        (r#"{"path":"/public","Path":["\udc00"]}"#, 400),
        (r#"{"path":{"a":"\udc00"}}"#, 400),
        (r#"{"pa\ud800th":"/secret"}"#, 400),
    ] {
        let body = call(arguments);
        let reply = post(&fixture, &token, &body).await?;
        assert_eq!(
            reply.status == 400,
            status == 400,
            "{arguments}: {}",
            reply.text
        );
        assert_eq!(reached(&fixture, &body), status == 200, "{arguments}");
        if status == 400 {
            let told = reply.json()["error_description"].to_string();
            assert!(told.contains("/params/arguments/"), "{told}");
            assert!(told.contains("half of a surrogate pair"), "{told}");
        }
    }
    let denied = post(
        &fixture,
        &token,
        &call(r#"{"path":"/secret/x","note":"\ud800"}"#),
    )
    .await?;
    assert_eq!(
        denied.json()["result"]["isError"],
        json!(true),
        "{}",
        denied.text
    );
    assert_ne!(denied.json()["result"]["_meta"]["reason"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn a_narrowed_token_refuses_the_half_in_what_it_asks_for_and_nowhere_else() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let words = ["token", "narrow", "--argument", "path=/public/"];
    let (code, narrowed, errors) = run(&binary("gateway"), &words, &token).await?;
    anyhow::ensure!(code == 0, "{errors}");
    for (arguments, status) in [
        (r#"{"path":"/public/a","note":"\ud800","n":1e400}"#, 200),
        (r#"{"path":"/public/\ud800"}"#, 400),
        (r#"{"path":"/public/a","p\ud800ath":"/x"}"#, 400),
    ] {
        let body = call(arguments);
        let reply = post(&fixture, narrowed.trim(), &body).await?;
        assert_eq!(
            reply.status == 400,
            status == 400,
            "{arguments}: {}",
            reply.text
        );
        assert_eq!(reached(&fixture, &body), status == 200, "{arguments}");
    }
    Ok(())
}
