//! Apps that cannot be driven here, because they need an account or a window: ChatGPT,
//! claude.ai, VS Code, Cursor and Gemini CLI. Each file sends what one of them was seen
//! or is documented to send, in its order, and asserts what it needs of the answers.

mod chatgpt;
mod claude;
mod cursor;
mod gemini;
mod vscode;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::fixture::Fixture;
use tests::http::{self, Reply, ask, get};
use tests::mcp;
use tests::oauth::{Authorization, Callback, OAuthClient};
use tests::recorder::Answer;
use tests::scripted_mcp;

/// A client that is known by the address of its own description; nothing was registered.
fn by_document(fixture: &Fixture, id: &str, redirect_uri: &str) -> OAuthClient {
    OAuthClient {
        base: fixture.gateway.origin(),
        client_id: id.into(),
        redirect_uri: redirect_uri.into(),
        registration: Value::Null,
    }
}

/// Through login and consent to a token, with an authorization request as the app sends it and
/// `resource` at both endpoints.
async fn sign_in(
    fixture: &Fixture,
    client: &OAuthClient,
    request: &Authorization,
) -> Result<String> {
    let callback = client.allow(request, &fixture.owner).await?;
    redeem_as_sent(fixture, client, request, &callback).await
}

/// From the answer that a client is sent back with to its token.
async fn redeem_as_sent(
    fixture: &Fixture,
    client: &OAuthClient,
    request: &Authorization,
    callback: &Callback,
) -> Result<String> {
    assert_eq!(
        callback.parameter("iss"),
        Some(fixture.gateway.issuer()),
        "iss, byte for byte"
    );
    let sent = |name: &str| {
        let parameter = request.parameters.iter().find(|(key, _)| key == name);
        parameter.map(|(_, value)| value.clone())
    };
    assert_eq!(
        callback.parameter("state"),
        sent("state"),
        "state as sent, or none"
    );
    let mut fields = client.token_request(&callback.code(), &request.pkce.verifier);
    fields.extend(sent("resource").map(|resource| ("resource".into(), resource)));
    let reply = client.token(&fields).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.json()["token_type"], "Bearer");
    assert!(reply.json()["expires_in"].is_u64(), "{}", reply.text);
    let token = reply.json();
    Ok(token["access_token"].as_str().context("no token")?.into())
}

/// The metadata of a protected resource, at the address that a challenge names.
async fn challenged(fixture: &Fixture, method: &str, path: &str) -> Result<Value> {
    let reply = ask(method, &fixture.url(path), &[]).await?;
    assert_eq!(reply.status, 401, "{method} {path}");
    let challenge = reply.header("www-authenticate");
    let address = challenge
        .split_once("resource_metadata=\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(address, _)| address)
        .with_context(|| format!("no metadata in {challenge}"))?;
    assert!(
        challenge.contains("scope=\"mcp\""),
        "the default scope: {challenge}"
    );
    document(address).await
}

/// A JSON document, the same by HEAD and GET, without a redirect.
async fn document(url: &str) -> Result<Value> {
    let head = ask("HEAD", url, &[]).await?;
    let reply = get(url).await?;
    for (method, reply) in [("HEAD", &head), ("GET", &reply)] {
        assert_eq!(reply.status, 200, "{method} {url}: {}", reply.text);
        assert!(
            reply.header("content-type").starts_with("application/json"),
            "{method} {url}"
        );
    }
    assert_eq!(
        head.header("content-length"),
        reply.header("content-length"),
        "{url}"
    );
    Ok(reply.json())
}

/// The authorization server's metadata, as found from a resource's.
async fn server_metadata(fixture: &Fixture, resource: &Value) -> Result<Value> {
    let issuer = resource["authorization_servers"][0]
        .as_str()
        .context("no server")?;
    assert_eq!(issuer, fixture.gateway.issuer());
    let metadata = document(&format!("{issuer}/.well-known/oauth-authorization-server")).await?;
    assert_eq!(metadata["issuer"], issuer, "byte for byte");
    Ok(metadata)
}

/// Whether a list in a document has a word.
fn lists(document: &Value, member: &str, word: &str) -> bool {
    let words = document[member].as_array().into_iter().flatten();
    words.into_iter().any(|entry| entry == word)
}

/// A message of the stateless revision family, as its clients send it.
async fn modern(fixture: &Fixture, token: &str, method: &str) -> Result<Reply> {
    let body = mcp::stateless_message(1, method, &json!({}));
    http::send(mcp::post_stateless(&fixture.url("/mcp"), token, &body)).await
}

/// A backend of 2025 answers `server/discover` with this; the rest as scripted.
const TOO_OLD: &str = r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Missing session ID"}}"#;

fn without_discovery(fixture: &Fixture) {
    fixture.backend.play(|request| {
        if request.method == "POST" && request.json()["method"] == "server/discover" {
            let headers = vec![("Content-Type".into(), "application/json".into())];
            return Answer::Full(400, headers, TOO_OLD.into());
        }
        scripted_mcp::answer(request)
    });
}

/// What every app does with its token: a session, the tools, a call.
async fn uses_tools(url: &str, token: &str) -> Result<()> {
    let session = mcp::open_session(url, token).await?;
    for (method, params) in [
        ("tools/list", json!({})),
        (
            "tools/call",
            json!({"name": "look", "arguments": {"at": "this"}}),
        ),
    ] {
        let request = mcp::post(url, token, &mcp::message(2, method, &params));
        let reply = http::send(request.header("Mcp-Session-Id", &session)).await?;
        assert!(
            mcp::response(&reply)?["result"].is_object(),
            "{method}: {}",
            reply.text
        );
    }
    Ok(())
}
