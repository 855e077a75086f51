//! Clients of 2025-03-26 and before: they send no `resource`, no `scope`, no `state`, read no
//! metadata, and find the endpoints at the origin.

use anyhow::Result;
use serde_json::json;
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::mcp;
use tests::oauth::{OAuthClient, Pkce, REDIRECT_URI};
use tests::recorder::Recorder;
use tests::scripted_mcp;

const REFRESH: &str = "[tokens]\nrefresh = true\n";

#[tokio::test]
async fn a_client_that_knows_nothing_but_the_origin_gets_a_token_for_the_default_backend()
-> Result<()> {
    for more in ["", REFRESH] {
        let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(more)).await?;
        // No auth method, no grant types: as the Python SDK of then registers.
        let metadata = json!({"redirect_uris": [REDIRECT_URI]});
        let registered = http::post_json(&fixture.url("/register"), &metadata).await?;
        assert_eq!(registered.status, 201, "{}", registered.text);
        let registered = registered.json();
        assert_eq!(registered["token_endpoint_auth_method"], "none");
        let id = registered["client_id"].as_str().expect("an id");

        let pkce = Pkce::fresh();
        let mut url = url::Url::parse(&fixture.url("/authorize"))?;
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", id),
            ("redirect_uri", REDIRECT_URI),
            ("code_challenge", &pkce.challenge),
            ("code_challenge_method", "S256"),
        ]);
        let mut browser = Browser::default();
        let login = browser.visit(&url).await?;
        let consent = browser
            .log_in(&login, &fixture.owner.name, &fixture.owner.password)
            .await?;
        let back = browser
            .answer(&consent, "Allow")
            .await?
            .location()
            .expect("a redirect");
        let parameters: Vec<String> = back
            .query_pairs()
            .map(|(name, _)| name.into_owned())
            .collect();
        assert_eq!(parameters, ["code", "iss"], "no state was sent");
        let (_, code) = back.query_pairs().next().expect("a code");

        let fields = [
            ("grant_type", "authorization_code"),
            ("code", &*code),
            ("client_id", id),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", &pkce.verifier),
        ];
        let reply = http::post_form(&fixture.url("/token"), &fields).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let answer = reply.json();
        assert_eq!(answer["scope"], "mcp", "the default, echoed");
        assert_eq!(answer.get("refresh_token").is_some(), !more.is_empty());
        for path in ["/mcp", "/sse"] {
            let request = http::client().get(fixture.url(path));
            let token = answer["access_token"].as_str().expect("a token");
            let stream = tests::sse::EventStream::open(request.bearer_auth(token)).await;
            assert!(stream.is_ok(), "{path}: {:?}", stream.err());
        }
        // The refresh names neither resource nor scope.
        if let Some(token) = answer["refresh_token"].as_str() {
            let fields = [
                ("grant_type", "refresh_token"),
                ("refresh_token", token),
                ("client_id", id),
            ];
            let reply = http::post_form(&fixture.url("/token"), &fields).await?;
            assert_eq!(reply.status, 200, "{}", reply.text);
            let token = reply.json()["access_token"]
                .as_str()
                .expect("a token")
                .to_owned();
            let called = mcp::send(&fixture.url("/mcp"), &token, &mcp::initialize()).await?;
            assert_eq!(called.status, 200);
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_a_resource_the_token_is_for_the_default_backend_and_no_other() -> Result<()> {
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let setup = Setup::default()
        .mounted("notes", "/notes", &backend.url())
        .mounted("main", "/", &backend.url())
        .more(REFRESH);
    let gateway = Gateway::start(setup).await?;
    let client = OAuthClient::register(&gateway.origin(), "Legacy").await?;
    let request = client.authorization().without("resource");
    let first = client.connect_by(&request, &Owner::alice()).await?;
    let refreshed = client
        .refresh(first["refresh_token"].as_str().expect("a token"))
        .await?
        .json();
    for answer in [first, refreshed] {
        let token = answer["access_token"].as_str().expect("a token");
        for (path, status) in [("/mcp", 200), ("/notes/mcp", 401)] {
            let reply = mcp::send(&gateway.url(path), token, &mcp::initialize()).await?;
            assert_eq!(reply.status, status, "{path}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn scopes_that_are_not_served_are_dropped_and_the_granted_ones_echoed() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Legacy").await?;
    for scope in [
        "openid email profile",
        "mcp offline_access",
        "offline_access",
        "admin mcp:* read write",
        "",
        "   ",
    ] {
        let request = client.authorization().with("scope", scope);
        let answer = client.connect_by(&request, &fixture.owner).await?;
        assert_eq!(answer["scope"], "mcp", "{scope:?}");
        assert!(answer.get("refresh_token").is_none(), "refresh is off");
        let token = answer["access_token"].as_str().expect("a token");
        let called = mcp::send(&fixture.url("/mcp"), token, &mcp::initialize()).await?;
        assert_eq!(called.status, 200);
    }
    let metadata = http::get(&fixture.url("/.well-known/oauth-authorization-server"))
        .await?
        .json();
    assert_eq!(metadata["scopes_supported"], json!(["mcp"]));
    assert_eq!(
        metadata["grant_types_supported"],
        json!([
            "authorization_code",
            "urn:ietf:params:oauth:grant-type:device_code"
        ])
    );
    Ok(())
}
