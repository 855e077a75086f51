//! Policies that match names by a pattern, and resources that a subscription names: what a lenient
//! backend takes for a name is judged with it, and each resource for itself.

use anyhow::Result;
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::mcp::{self, call, message, response, send};
use tests::oauth::OAuthClient;
use tests::recorder::{Answer, Recorder};
use tests::scripted_mcp;
use tests::scripted_revisions;

async fn ruled(folder: &tempfile::TempDir, policy: &str) -> Result<(Fixture, String)> {
    let file = folder.path().join("policy.biscuit");
    std::fs::write(&file, policy)?;
    let more = format!("[policy]\nfile = \"{}\"\n", file.display());
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(&more)).await?;
    let (_, token) = fixture.signed_in().await?;
    Ok((fixture, token))
}

/// The names of tools that have reached the backend.
fn called(fixture: &Fixture) -> Vec<String> {
    let sent = fixture.backend.requests();
    let calls = sent.iter().map(|request| request.json());
    let calls = calls.filter(|message| message["method"] == "tools/call");
    calls
        .filter_map(|message| message["params"]["name"].as_str().map(str::to_owned))
        .collect()
}

/// What some backend takes for `name`, and is another text.
fn readings(name: &str) -> Vec<String> {
    let capital = name[..1].to_uppercase() + &name[1..];
    let wide: String = name
        .chars()
        .map(|c| char::from_u32(u32::from(c) - 0x21 + 0xff01).unwrap_or(c))
        .collect();
    let last = name.len() - 1;
    let mut readings = vec![name.to_owned(), name.to_uppercase(), capital, wide];
    for invisible in ["\u{200b}", "\u{ad}", "\u{2060}", "\u{fe0f}"] {
        readings.push(format!("{}{invisible}{}", &name[..1], &name[1..]));
        readings.push(format!("{}{invisible}{}", &name[..last], &name[last..]));
    }
    readings
}

#[tokio::test]
async fn a_pattern_over_a_name_denies_every_reading_of_it() -> Result<()> {
    let policy = r#"
deny if tool($t), $t.starts_with("delete_");
deny if tool($t), $t.ends_with("_admin");
deny if tool($t), $t.contains("secret");
deny if tool($t), $t.matches("^drop_.*$");
wiping($n) <- tool($n);
deny if wiping($t), $t.starts_with("wipe");
deny if tool($t), ["purge", "erase"].any($p -> $t.starts_with($p));
deny if prompt($p), $p.starts_with("internal_");
allow if true;
"#;
    let folder = tempfile::tempdir()?;
    let (fixture, token) = ruled(&folder, policy).await?;
    let url = fixture.url("/mcp");
    let mut tried = 0;
    for name in [
        "delete_all",
        "user_admin",
        "my_secret_key",
        "drop_table",
        "wipe_disk",
        "purge_all",
        "erase_all",
    ] {
        for reading in readings(name) {
            let reply = send(&url, &token, &call(1, &reading, &json!({}))).await?;
            let reason = reply.json()["result"]["_meta"]["reason"].clone();
            let is_refused = reason == "policy_denied" || reason == "policy_arguments_unclear";
            assert!(is_refused, "{reading:?}: {}", reply.text);
            tried += 1;
        }
    }
    for reading in readings("internal_x") {
        let get = message(1, "prompts/get", &json!({"name": reading}));
        let reply = send(&url, &token, &get).await?;
        assert_eq!(reply.json()["error"]["code"], -32601, "{}", reply.text);
    }
    assert_eq!(called(&fixture), [""; 0]);
    println!("{tried} readings of names that patterns deny: none ran");
    // What no reading of a pattern holds of is called by its very name, whatever its case.
    for name in [
        "getUser",
        "get_user",
        "Über-Liste",
        "名前",
        "LIST",
        "admin_user",
    ] {
        let reply = response(&send(&url, &token, &call(2, name, &json!({}))).await?)?;
        assert_eq!(reply["result"]["isError"], Value::Null, "{name}: {reply}");
    }
    assert_eq!(called(&fixture).len(), 6);
    Ok(())
}

#[tokio::test]
async fn a_pattern_over_a_name_allows_what_every_reading_of_it_does() -> Result<()> {
    let policy = r#"
allow if harmless(true);
allow if tool($t), $t.starts_with("get_"), !$t.contains("secret");
allow if tool($t), $t.matches("^list[a-z_]*$");
"#;
    let folder = tempfile::tempdir()?;
    let (fixture, token) = ruled(&folder, policy).await?;
    let url = fixture.url("/mcp");
    for name in [
        "GET_user",
        "Get_user",
        "g\u{ad}et_user",
        "get_SECRET",
        "get_se\u{200b}cret",
        "get_secret",
        "ｇet_user",
        "LIST_all",
        "listAll",
        "other",
    ] {
        let reply = send(&url, &token, &call(1, name, &json!({}))).await?;
        let reason = reply.json()["result"]["_meta"]["reason"].clone();
        let is_refused = reason == "policy_denied" || reason == "policy_arguments_unclear";
        assert!(is_refused, "{name:?}: {}", reply.text);
    }
    assert_eq!(called(&fixture), [""; 0]);
    for name in ["get_user", "get_userName", "list_all"] {
        let reply = response(&send(&url, &token, &call(2, name, &json!({}))).await?)?;
        assert_eq!(reply["result"]["isError"], Value::Null, "{name}: {reply}");
    }
    Ok(())
}

#[tokio::test]
async fn a_list_hides_what_a_pattern_could_be_about() -> Result<()> {
    let policy = "deny if tool($t), $t.starts_with(\"delete_\");\nallow if true;\n";
    let folder = tempfile::tempdir()?;
    let (fixture, token) = ruled(&folder, policy).await?;
    fixture.backend.play(|request| {
        let message = request.json();
        if message["method"] != "tools/list" {
            return scripted_mcp::answer(request);
        }
        let names = ["delete_all", "Delete_all", "look"];
        let tools = names.map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
        let result = json!({"tools": tools});
        Answer::json(
            200,
            &json!({"jsonrpc": "2.0", "id": message["id"], "result": result}),
        )
    });
    let list = message(5, "tools/list", &json!({}));
    let reply = response(&send(&fixture.url("/mcp"), &token, &list).await?)?;
    let tools = reply["result"]["tools"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let names: Vec<&str> = tools
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    assert_eq!(names, ["look"]);
    Ok(())
}

#[tokio::test]
async fn a_subscription_is_judged_by_every_resource_that_it_names() -> Result<()> {
    for policy in [
        "deny if uri($u), $u.starts_with(\"file:///secret/\");\nallow if true;\n",
        "allow if harmless(true);\nallow if uri($u), $u.starts_with(\"file:///public/\");\n",
    ] {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("policy.biscuit");
        std::fs::write(&file, policy)?;
        let more = format!("[policy]\nfile = \"{}\"\n", file.display());
        let backend = Recorder::start(scripted_revisions::stateless).await?;
        let setup = Setup::default().backend(&backend.url()).more(&more);
        let gateway = Gateway::start(setup).await?;
        let client = OAuthClient::register(&gateway.origin(), "A test client").await?;
        let token = client.sign_in(&Owner::alice()).await?;
        let listen = |params: Value| {
            let body = mcp::stateless_message(6, "subscriptions/listen", &params);
            mcp::post_stateless(&gateway.url("/mcp"), &token, &body)
        };
        let of = |uris: Value| json!({"notifications": {"resourceSubscriptions": uris}});
        for (params, status) in [
            (of(json!(["file:///secret/a"])), 200),
            (of(json!(["file:///public/a", "file:///secret/a"])), 200),
            (of(json!(["file:///secret/a", "file:///public/a"])), 200),
            (of(json!(["file:///public/../secret/a"])), 200),
            (of(json!(["FILE:///Secret/a"])), 200),
            (
                json!({"notifications": {"resourceSubscriptions": ["file:///public/a"], "ResourceSubscriptions": ["file:///secret/a"]}}),
                200,
            ),
            (
                json!({"notifications": {"resourceSubscriptions": ["file:///public/a"]}, "Notifications": {"resourceSubscriptions": ["file:///secret/a"]}}),
                200,
            ),
            (of(json!("file:///secret/a")), 400),
            (of(json!([{"uri": "file:///secret/a"}])), 400),
            (of(json!(["file:///secret/a\n"])), 400),
            (of(json!(vec!["file:///public/a"; 513])), 400),
        ] {
            let reply = http::send(listen(params.clone())).await?;
            // Strict readers refuse a twin at once.
            let is_expected = reply.status == status || reply.status == 400;
            assert!(is_expected, "{params}: {} {}", reply.status, reply.text);
            if reply.status == 200 {
                assert_eq!(
                    reply.json()["error"]["code"],
                    -32601,
                    "{params}: {}",
                    reply.text
                );
            }
        }
        let reached = || {
            let sent = backend.requests();
            let listens = |message: Value| message["method"] == "subscriptions/listen";
            sent.iter().filter(|sent| listens(sent.json())).count()
        };
        assert_eq!(reached(), 0, "{policy}");
        let public = of(json!(["file:///public/a", "file:///public/b"]));
        let stream = tests::sse::EventStream::open(listen(public)).await?;
        assert_eq!(reached(), 1, "{policy}");
        drop(stream);
    }
    Ok(())
}
