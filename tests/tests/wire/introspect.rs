//! `/introspect` (RFC 7662): backends with a credential learn of tokens for themselves alone.

use std::fmt::Write as _;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::oauth::OAuthClient;
use tests::recorder::Recorder;
use tests::scripted_mcp;

const SECRET: &str = "0f3b7b1c9d-a random secret:%+";

/// As `printf %s SECRET | sha256sum` prints it.
fn sha256sum(secret: &str) -> String {
    let mut printed = String::new();
    for byte in Sha256::digest(secret) {
        write!(printed, "{byte:02x}").expect("a String takes all");
    }
    printed + "  -\n"
}

/// `main` at `/` has no credential, `notes` and `files` have one each.
async fn gateway(backend: &Recorder) -> Result<Gateway> {
    let folder = tempfile::tempdir()?.keep();
    let file = folder.join("files.sha256");
    std::fs::write(&file, sha256sum(SECRET))?;
    let notes = sha256sum("the secret of notes");
    let more = format!(
        "[tokens]\nrefresh = true\n\
         [[backend]]\nname = \"notes\"\npath = \"/notes\"\nurl = \"{0}\"\nintrospection_secret_hash = \"{1}\"\n\
         [[backend]]\nname = \"my files\"\npath = \"/files\"\nurl = \"{0}\"\nintrospection_secret_hash_file = \"{2}\"\n",
        backend.url(),
        notes.trim_end().trim_end_matches(" -").trim_end(),
        file.display(),
    );
    let setup = Setup::default().backend(&backend.url()).more(&more);
    Gateway::start(setup).await
}

fn basic(name: &str, secret: &str) -> String {
    let encode =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!(
        "Basic {}",
        STANDARD.encode(format!("{}:{}", encode(name), encode(secret)))
    )
}

async fn ask(
    gateway: &Gateway,
    authorization: Option<&str>,
    fields: &[(&str, &str)],
) -> Result<Reply> {
    let mut request = http::client().post(gateway.url("/introspect")).form(fields);
    if let Some(line) = authorization {
        request = request.header("Authorization", line);
    }
    http::send(request).await
}

#[tokio::test]
async fn a_backend_learns_of_tokens_for_itself_alone_and_strangers_learn_nothing() -> Result<()> {
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let gateway = gateway(&backend).await?;
    let metadata = http::get(&gateway.url("/.well-known/oauth-authorization-server"))
        .await?
        .json();
    let expected = format!("{}/introspect", gateway.issuer());
    assert_eq!(metadata["introspection_endpoint"], expected);
    assert_eq!(
        metadata["introspection_endpoint_auth_methods_supported"],
        json!(["client_secret_basic"])
    );

    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    let request = client.authorization_for(&gateway.url("/files/mcp"));
    let answer = client.connect_by(&request, &Owner::alice()).await?;
    let token = answer["access_token"].as_str().expect("a token");
    let refresh = answer["refresh_token"].as_str().expect("a token");
    let files = basic("my files", SECRET);

    let reply = ask(&gateway, Some(&files), &[("token", token)]).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.header("cache-control").contains("no-store"));
    let said = reply.json();
    let (from, to) = (said["iat"].as_u64(), said["exp"].as_u64());
    // The store is young: `iat` is the moment of asking, which may be a second after the answer.
    let lasts = to.zip(from).map(|(to, from)| to - from);
    assert!(
        lasts.is_some_and(|lasts| (3598..=3600).contains(&lasts)),
        "{lasts:?}"
    );
    for (member, value) in [
        ("active", json!(true)),
        ("client_id", json!(client.client_id)),
        ("username", json!("alice")),
        ("scope", json!("mcp")),
        ("aud", json!(format!("{}/files/mcp", gateway.issuer()))),
        ("iss", json!(gateway.issuer())),
        ("token_type", json!("Bearer")),
    ] {
        assert_eq!(said[member], value, "{member}");
    }
    assert!(
        said["sub"]
            .as_str()
            .is_some_and(|sub| sub.starts_with("u_"))
    );

    let inactive = async |line: &str, token: &str, hint: &str| -> Result<()> {
        let fields = [("token", token), ("token_type_hint", hint)];
        let reply = ask(&gateway, Some(line), &fields).await?;
        assert_eq!(
            (reply.status, reply.text.as_str()),
            (200, r#"{"active":false}"#)
        );
        Ok(())
    };
    let notes = basic("notes", "the secret of notes");
    inactive(&notes, token, "access_token").await?;
    inactive(&files, refresh, "refresh_token").await?;
    inactive(&files, "garbage", "").await?;
    inactive(&files, &format!("{token}A"), "").await?;
    inactive(&files, &"x".repeat(12_000), "").await?;

    for line in [
        None,
        Some(format!("Bearer {token}")),
        Some(basic("my files", "guess")),
        Some(basic("my files", "")),
        Some(basic("notes", SECRET)),
        Some(basic("main", "")),
        Some(basic(&client.client_id, "")),
        Some("Basic %%%".to_owned()),
    ] {
        let reply = ask(&gateway, line.as_deref(), &[("token", token)]).await?;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (401, "invalid_client"),
            "{line:?}"
        );
        assert!(reply.header("www-authenticate").starts_with("Basic "));
        assert_eq!(reply.header("access-control-allow-origin"), "");
    }
    let reply = ask(&gateway, Some(&files), &[]).await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (400, "invalid_request")
    );
    let reply = ask(
        &gateway,
        Some(&files),
        &[("token", token), ("token", token)],
    )
    .await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (400, "invalid_request")
    );
    for method in ["GET", "PUT"] {
        let url = format!("{}?token={token}", gateway.url("/introspect"));
        let reply = http::ask(method, &url, &[("Authorization", &files)]).await?;
        assert_eq!(reply.status, 405);
    }

    assert_eq!(client.revoke(refresh).await?.status, 200);
    inactive(&files, token, "access_token").await?;
    gateway.logged("introspection_unauthenticated").await?;
    let log = gateway.log().join("\n");
    assert!(!log.contains(token) && !log.contains(SECRET));
    assert!(
        backend
            .requests()
            .iter()
            .all(|request| !format!("{request:?}").contains("introspect"))
    );
    Ok(())
}

#[tokio::test]
async fn without_a_credential_there_is_no_introspection() -> Result<()> {
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let gateway = Gateway::start(Setup::default().backend(&backend.url())).await?;
    let metadata = http::get(&gateway.url("/.well-known/oauth-authorization-server")).await?;
    assert!(!metadata.text.contains("introspect"), "{}", metadata.text);
    let reply = ask(&gateway, Some(&basic("main", "")), &[("token", "x")]).await?;
    assert_eq!(reply.status, 404, "{}", reply.text);
    assert!(reply.json()["error"].is_string());
    Ok(())
}

#[tokio::test]
async fn a_hash_that_is_none_ends_the_start_and_is_not_printed() -> Result<()> {
    let more = "[[backend]]\nname = \"b\"\npath = \"/b\"\nurl = \"http://127.0.0.1:1\"\nintrospection_secret_hash = \"hunter2\"\n";
    let setup = Setup::default().backend("http://127.0.0.1:1").more(more);
    let error = Gateway::start(setup).await.err().expect("no start");
    let text = format!("{error:#}");
    assert!(
        text.contains("introspection_secret_hash` is no SHA-256"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
    Ok(())
}
