//! What strangers can make the gateway fetch, and what that costs.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::join_all;
use serde_json::json;
use tests::browser::Browser;
use tests::documents::{DocumentSite, document};
use tests::fixture::Fixture;
use tests::recorder::{Answer, Step};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{client, fixture, refused};

const CALLBACK: &str = "https://app.example.net/cb";

#[tokio::test]
async fn a_bad_document_is_refused_and_not_kept() -> Result<()> {
    let site = DocumentSite::start().await?;
    let fixture = fixture(&site, "").await?;
    let id = site.url("/client.json");
    let good = document(&id, &[CALLBACK]);
    let with = |name: &str, value: serde_json::Value| {
        let mut document = good.clone();
        document[name] = value;
        Answer::json(200, &document)
    };
    let typed = |kind: &str, body: &[u8]| {
        Answer::Full(
            200,
            vec![("Content-Type".into(), kind.into())],
            body.to_vec(),
        )
    };
    site.put("/moved.json", &good);
    let text = good.to_string();
    let huge = json!({ "pad": "x".repeat(70 * 1024) }).to_string();
    let endless: Vec<Step> = (0..80).map(|_| Step::Send("x".repeat(1024))).collect();
    let json_type = vec![("Content-Type".into(), "application/json".into())];
    for (what, answer) in [
        (
            "another's client_id",
            with("client_id", json!("https://app.example.net/c")),
        ),
        ("no client_id", with("client_id", json!(null))),
        ("no redirect", with("redirect_uris", json!([]))),
        (
            "a script",
            with("redirect_uris", json!(["javascript:alert(1)"])),
        ),
        (
            "a script elsewhere",
            with("tos_uri", json!("java\tscript:alert(1)")),
        ),
        (
            "a plain redirect",
            with("redirect_uris", json!(["http://app.example.net/cb"])),
        ),
        ("a secret", with("client_secret", json!("x"))),
        (
            "no served method",
            with("token_endpoint_auth_method", json!("client_secret_post")),
        ),
        (
            "a key without keys",
            with("token_endpoint_auth_method", json!("private_key_jwt")),
        ),
        ("no name", with("client_name", json!("\u{202e}"))),
        (
            "a redirect of the document",
            Answer::json(302, &good).with("Location", &site.url("/moved.json")),
        ),
        ("not found", Answer::json(404, &good)),
        ("an error", Answer::json(500, &good)),
        ("no content", Answer::json(206, &good)),
        ("HTML", typed("text/html", text.as_bytes())),
        ("no JSON", typed("application/json", b"<html>")),
        (
            "a list",
            typed("application/json", format!("[{text}]").as_bytes()),
        ),
        (
            "two documents",
            typed("application/json", format!("{text}{text}").as_bytes()),
        ),
        (
            "UTF-16",
            typed(
                "application/json",
                &text
                    .encode_utf16()
                    .flat_map(u16::to_le_bytes)
                    .collect::<Vec<_>>(),
            ),
        ),
        (
            "deep nesting",
            typed("application/json", "[".repeat(60_000).as_bytes()),
        ),
        ("too much", typed("application/json", huge.as_bytes())),
        (
            "too much, in pieces",
            Answer::Steps(200, json_type.clone(), endless),
        ),
        (
            "half an answer",
            Answer::Steps(
                200,
                json_type.clone(),
                vec![Step::Send("{".into()), Step::Cut],
            ),
        ),
        ("no HTTP", Answer::Bytes(b"SSH-2.0-x\r\n".to_vec())),
        ("nothing", Answer::Reset),
    ] {
        site.answer("/client.json", answer);
        let app = client(&fixture, &id, CALLBACK);
        let words = refused(&app.authorization())
            .await
            .map_err(|error| error.context(what))?;
        assert!(words.contains("metadata document"), "{what}: {words}");
    }
    assert_eq!(site.asked("/moved.json"), 0, "a redirect was followed");
    // Nothing of it was kept: the good document is taken at once.
    site.put("/client.json", &good);
    client(&fixture, &id, CALLBACK)
        .sign_in(&fixture.owner)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_slow_site_is_given_up_on_after_five_seconds_and_holds_up_nobody_else() -> Result<()> {
    let site = DocumentSite::start().await?;
    let fixture = fixture(&site, "").await?;
    let slow = site.url("/slow.json");
    site.put_slowly(
        "/slow.json",
        &document(&slow, &[CALLBACK]),
        Duration::from_secs(20),
    );
    // Headers at once, then byte after byte: the limit is on the whole.
    let drip: Vec<Step> = (0..40)
        .flat_map(|_| {
            [
                Step::Send(" ".into()),
                Step::Wait(Duration::from_millis(500)),
            ]
        })
        .collect();
    let json_type = vec![("Content-Type".into(), "application/json".into())];
    site.answer("/drip.json", Answer::Steps(200, json_type, drip));
    let good = site.put_client("/good.json", &[CALLBACK]);
    let started = Instant::now();
    let waits = ["/slow.json", "/drip.json"].map(|path| {
        let request = client(&fixture, &site.url(path), CALLBACK).authorization();
        async move {
            refused(&request).await?;
            anyhow::Ok(started.elapsed())
        }
    });
    let quick = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let at = Instant::now();
        let request = client(&fixture, &good, CALLBACK).authorization();
        let page = Browser::default().visit(&request.url()).await?;
        assert_eq!(page.reply.status, 200, "{}", page.words());
        anyhow::Ok(at.elapsed())
    };
    let (waits, quick) = tokio::join!(join_all(waits), quick);
    for waited in waits {
        let waited = waited?;
        assert!(waited > Duration::from_secs(4), "{waited:?}");
        assert!(waited < Duration::from_secs(9), "{waited:?}");
    }
    let quick = quick?;
    // It waited for none of them.
    assert!(quick < Duration::from_secs(4), "{quick:?}");
    Ok(())
}

#[tokio::test]
async fn a_flood_for_one_document_is_one_fetch_whether_it_succeeds_or_not() -> Result<()> {
    let site = DocumentSite::start().await?;
    let fixture = fixture(&site, "").await?;
    let id = site.url("/client.json");
    let time = Duration::from_secs(2);
    site.put_slowly("/client.json", &document(&id, &[CALLBACK]), time);
    site.put_slowly("/bad.json", &json!({}), time);
    let ask = |path: &str| {
        let request = client(&fixture, &site.url(path), CALLBACK).authorization();
        async move { anyhow::Ok(Browser::default().visit(&request.url()).await?.reply.status) }
    };
    let (good, bad) = tokio::join!(
        join_all((0..40).map(|_| ask("/client.json"))),
        join_all((0..40).map(|_| ask("/bad.json"))),
    );
    for status in good {
        assert_eq!(status?, 200);
    }
    for status in bad {
        assert_eq!(status?, 400);
    }
    assert_eq!(site.asked("/client.json"), 1);
    // All forty came while the one fetch was under way, and nothing bad is kept for later ones.
    assert_eq!(site.asked("/bad.json"), 1);
    ask("/bad.json").await?;
    assert_eq!(site.asked("/bad.json"), 2);
    Ok(())
}

#[tokio::test]
async fn no_packet_goes_to_a_private_address() -> Result<()> {
    // Not one of the hosts that may be private: nothing is asked, on whatever port it listens. As
    // root the port that would be asked is watched as well.
    let mut listeners = vec![TcpListener::bind("127.0.0.1:0").await?];
    listeners.extend(TcpListener::bind("127.0.0.1:443").await);
    listeners.extend(TcpListener::bind("[::1]:443").await);
    let port = listeners[0].local_addr()?.port();
    let fixture = Fixture::start().await?;
    for id in [
        format!("https://127.0.0.1:{port}/client.json"),
        format!("https://localhost:{port}/client.json"),
        "https://127.0.0.1/client.json".to_owned(),
        "https://localhost/client.json".to_owned(),
        "https://[::1]/client.json".to_owned(),
        "https://[::ffff:7f00:1]/client.json".to_owned(),
        "https://[64:ff9b::7f00:1]/client.json".to_owned(),
        "https://0.0.0.0/client.json".to_owned(),
        // Other spellings of it, which are no addresses of documents at all.
        "https://2130706433/client.json".to_owned(),
        "https://0x7f.1/client.json".to_owned(),
        "https://0177.0.0.1/client.json".to_owned(),
        "https://127.1/client.json".to_owned(),
        "https://LOCALHOST/client.json".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://10.0.0.1/client.json".to_owned(),
        "https://[fd00::1]/client.json".to_owned(),
    ] {
        refused(&client(&fixture, &id, CALLBACK).authorization()).await?;
    }
    for listener in &listeners {
        let heard = timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(
            heard.is_err(),
            "somebody came to {:?}",
            listener.local_addr()
        );
    }
    Ok(())
}
