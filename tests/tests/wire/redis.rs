//! The store goes away and comes back; replicas share it.

mod clustered;
mod cut_off;
mod failover;

use std::time::{Duration, Instant};

use anyhow::Result;
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Setup};
use tests::http::{self, get};
use tests::mcp::{initialize, send};
use tests::oauth::{OAuthClient, REDIRECT_URI, register};
use tests::sse::EventStream;

#[tokio::test]
async fn without_its_store_login_and_token_answer_503_and_calls_go_on() -> Result<()> {
    let mut fixture = Fixture::on(StoreKind::Redis).await?;
    let (client, token) = fixture.signed_in().await?;
    let request = client.authorization();
    let code = client.allow(&request, &fixture.owner).await?.code();
    let mut browser = Browser::default();
    let login = browser.visit(&client.authorization().url()).await?;
    let mut stream =
        EventStream::open(http::client().get(fixture.url("/mcp")).bearer_auth(&token)).await?;
    fixture
        .backend
        .await_streams(1, Duration::from_secs(5))
        .await?;
    let redis = fixture.redis.as_mut().expect("this world has one");
    redis.kill().await?;

    assert_eq!(
        send(&fixture.gateway.url("/mcp"), &token, &initialize())
            .await?
            .status,
        200,
        "a call with a valid token"
    );
    fixture
        .backend
        .push(tests::scripted_mcp::MCP_STREAM, "data: still here\n\n");
    assert_eq!(stream.event(Duration::from_secs(5)).await?.1, "still here");
    let fields = client.token_request(&code, &request.pkce.verifier);
    let asked = [
        ("/token", client.token(&fields).await?),
        (
            "/register",
            register(
                &client.base,
                &serde_json::json!({"client_name": "x", "redirect_uris": [REDIRECT_URI]}),
            )
            .await?,
        ),
        ("/revoke", client.revoke(&token).await?),
        (
            "/authorize",
            Browser::default()
                .visit(&client.authorization().url())
                .await?
                .reply,
        ),
        (
            "login",
            browser
                .log_in(&login, &fixture.owner.name, &fixture.owner.password)
                .await?
                .reply,
        ),
    ];
    for (what, reply) in asked {
        assert_eq!(reply.status, 503, "{what}: {}", reply.text);
        assert!(!reply.header("retry-after").is_empty(), "{what}");
        assert!(
            reply.took < Duration::from_secs(4),
            "{what} took {:?}",
            reply.took
        );
    }
    assert_eq!(
        get(&fixture
            .gateway
            .url("/.well-known/oauth-authorization-server"))
        .await?
        .status,
        200
    );

    let redis = fixture.redis.as_mut().expect("this world has one");
    redis.restart().await?;
    let back = Instant::now();
    loop {
        let reply = client.token(&fields).await?;
        match reply.status {
            200 => break,
            503 => assert!(
                back.elapsed() < Duration::from_secs(5),
                "still 503 {:?} after the store came back",
                back.elapsed()
            ),
            other => panic!("{other}: {}", reply.text),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test]
async fn replicas_share_everything_and_a_revocation_reaches_all_within_5_seconds() -> Result<()> {
    let fixture = Fixture::on(StoreKind::Redis).await?;
    let issuer = fixture.gateway.issuer();
    let host = issuer.trim_start_matches("http://").to_owned();
    // The second replica: same store, same keys, same public URL, another port.
    let keys = fixture.gateway.folder().join("keys");
    let folder = tempfile::tempdir()?;
    copy_folder(&keys, &folder.path().join("keys"))?;
    let setup = Setup {
        store: fixture.redis.as_ref().map(tests::redis::Redis::url),
        public_url: Some(issuer.clone()),
        environment: vec![(
            "GATEWAY__KEYS_DIR".into(),
            folder.path().join("keys").display().to_string(),
        )],
        ..Setup::default()
    };
    let second = Gateway::start(setup.backend(&fixture.backend.url())).await?;
    let host = ("Host", host.as_str());

    let client = fixture.client("Client").await?;
    let request = client.authorization();
    let code = client.allow(&request, &fixture.owner).await?.code();
    let fields = client.token_request(&code, &request.pkce.verifier);
    let elsewhere = http::send(
        http::client()
            .post(second.url("/token"))
            .header(host.0, host.1)
            .form(&fields),
    )
    .await?;
    assert_eq!(
        elsewhere.status, 200,
        "a code of the first replica at the second: {}",
        elsewhere.text
    );
    let token = elsewhere.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    assert_eq!(
        send(&fixture.url("/mcp"), &token, &initialize())
            .await?
            .status,
        200,
        "at the first"
    );
    let call = || {
        http::send(
            tests::mcp::post(&second.url("/mcp"), &token, &initialize()).header(host.0, host.1),
        )
    };
    assert_eq!(call().await?.status, 200, "at the second");
    let mut stream = EventStream::open(
        http::client()
            .get(second.url("/mcp"))
            .header(host.0, host.1)
            .bearer_auth(&token),
    )
    .await?;

    let start = Instant::now();
    assert_eq!(client.revoke(&token).await?.status, 200);
    assert!(
        stream.end(Duration::from_secs(5)).await?,
        "the stream at the second replica was cut"
    );
    while call().await?.status != 401 {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "the second replica still lets it in"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        // `copy` keeps the mode, which the gateway insists on.
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())?;
    Ok(())
}

#[tokio::test]
async fn a_client_registered_before_the_store_died_works_after_it() -> Result<()> {
    let mut fixture = Fixture::on(StoreKind::Redis).await?;
    let client: OAuthClient = fixture.client("Client").await?;
    let redis = fixture.redis.as_mut().expect("this world has one");
    redis.kill().await?;
    redis.restart().await?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while client.sign_in(&fixture.owner).await.is_err() {
        assert!(
            Instant::now() < deadline,
            "no sign-in five seconds after the store came back"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// What only lists need is away, as the records of others are in a cluster whose other master is.
#[tokio::test]
async fn while_a_part_of_the_store_is_away_no_login_tells_which_names_exist() -> Result<()> {
    let fixture = Fixture::on(StoreKind::Redis).await?;
    let client = fixture.client("Client").await?;
    let names = [fixture.owner.name.as_str(), "nobody"];
    let mut pages = Vec::new();
    for _ in names {
        let mut browser = Browser::default();
        let page = browser.visit(&client.authorization().url()).await?;
        pages.push((browser, page));
    }
    let redis = fixture.redis.as_ref().expect("this world has one");
    let all_but_the_names = ["~gateway:[^k]*", "~gateway:k[^e]*", "~gateway:keys:[^u]*"];
    let words = ["ACL", "SETUSER", "default", "resetkeys"];
    let said = redis
        .say(&[&words[..], &all_but_the_names].concat())
        .await?;
    assert_eq!(said, "+OK");
    let mut told = Vec::new();
    for ((browser, page), name) in pages.iter_mut().zip(names) {
        let page = browser.log_in(page, name, "not the password").await?;
        let words = page.words();
        // The footer names the request.
        let words = words.split(" Request ").next().unwrap_or_default();
        told.push((page.reply.status, words.replace(name, "NAME")));
    }
    assert_eq!(told[0].0, 403, "{told:?}");
    assert_eq!(told[0], told[1]);
    // Somebody is there, as was seen a moment ago.
    let page = Browser::default()
        .visit(&client.authorization().url())
        .await?;
    assert!(page.password_form().is_ok(), "{}", page.words());
    Ok(())
}
