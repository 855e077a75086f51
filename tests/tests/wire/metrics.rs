//! What the operator sees: after what is known to have happened the numbers are exactly these, on both
//! roads; nobody outside can make a label; and Prometheus itself reads them.

mod prometheus;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Setup;
use tests::http::{client, get};
use tests::mcp::{call, initialize, message, post, send};
use tests::metrics::Scrape;
use tests::sse::EventStream;

/// A gateway of which all requests go this road.
async fn on_road(lane: &str) -> Result<Fixture> {
    let environment = vec![("GATEWAY_LANE".into(), lane.into())];
    Fixture::with(StoreKind::Embedded, |setup| Setup {
        environment,
        ..setup
    })
    .await
}

fn token_of(answer: &Value, name: &str) -> Result<String> {
    let token = answer[name].as_str().map(str::to_owned);
    token.with_context(|| format!("no {name} in {answer}"))
}

/// What must be there, each as a name, labels, and a number.
type Expected<'a> = &'a [(&'a str, &'a [(&'a str, &'a str)], f64)];

fn holds(scrape: &Scrape, expected: Expected<'_>) -> Vec<String> {
    let wrong = expected.iter().filter_map(|(name, labels, value)| {
        let found = scrape.sum(name, labels);
        (found != *value).then(|| format!("{name} {labels:?}: {found} and not {value}"))
    });
    wrong.collect()
}

async fn must_hold(fixture: &Fixture, expected: Expected<'_>) -> Result<Scrape> {
    let scrape = Scrape::until(&fixture.gateway, |scrape| {
        holds(scrape, expected).is_empty()
    });
    match scrape.await {
        Ok(scrape) => Ok(scrape),
        Err(error) => {
            let scrape = Scrape::take(&fixture.gateway).await?;
            Err(error.context(holds(&scrape, expected).join("\n")))
        }
    }
}

async fn calls_are_counted(lane: &str) -> Result<()> {
    let fixture = on_road(lane).await?;
    let (_, token) = fixture.signed_in().await?;
    let mcp = fixture.url("/mcp");
    for body in [
        initialize(),
        message(2, "tools/list", &json!({})),
        call(3, "echo", &json!({"a": 1})),
        call(4, "echo", &json!({"a": 2})),
        call(5, "nowhere", &json!({})),
        message(6, "made/up", &json!({})),
    ] {
        assert_eq!(send(&mcp, &token, &body).await?.status, 200, "{body}");
    }
    let strangers = client().post(&mcp).json(&initialize());
    for _ in 0..2 {
        let request = strangers.try_clone().context("it has a body")?;
        assert_eq!(tests::http::send(request).await?.status, 401);
    }
    assert_eq!(send(&mcp, "nonsense", &initialize()).await?.status, 401);
    assert_eq!(get(&fixture.url("/no/such/place")).await?.status, 404);
    let scrape = must_hold(
        &fixture,
        &[
            (
                "gateway_requests_total",
                &[
                    ("endpoint", "mcp"),
                    ("backend", "main"),
                    ("outcome", "allowed"),
                ],
                6.0,
            ),
            (
                "gateway_requests_total",
                &[
                    ("endpoint", "mcp"),
                    ("outcome", "refused"),
                    ("reason", "token_missing"),
                ],
                2.0,
            ),
            (
                "gateway_requests_total",
                &[("endpoint", "mcp"), ("outcome", "refused")],
                3.0,
            ),
            (
                "gateway_requests_total",
                &[("endpoint", "none"), ("reason", "not_found")],
                1.0,
            ),
            ("gateway_requests_total", &[("outcome", "failed")], 0.0),
            (
                "gateway_rpc_messages_total",
                &[("method", "tools/call"), ("outcome", "allowed")],
                3.0,
            ),
            (
                "gateway_rpc_messages_total",
                &[("method", "tools/list"), ("outcome", "allowed")],
                1.0,
            ),
            (
                "gateway_rpc_messages_total",
                &[("method", "other"), ("outcome", "allowed")],
                1.0,
            ),
            (
                "gateway_tool_calls_total",
                &[("tool", "echo"), ("outcome", "allowed")],
                2.0,
            ),
            (
                "gateway_tool_calls_total",
                &[("tool", "other"), ("outcome", "allowed")],
                1.0,
            ),
            (
                "gateway_exchanges_total",
                &[("backend", "main"), ("outcome", "done")],
                6.0,
            ),
            ("gateway_exchanges_total", &[], 6.0),
            ("gateway_exchanges_in_flight", &[], 0.0),
            (
                "gateway_admission_duration_seconds_count",
                &[("backend", "main")],
                6.0,
            ),
            (
                "gateway_backend_duration_seconds_count",
                &[("backend", "main"), ("method", "tools/call")],
                3.0,
            ),
            ("gateway_backend_duration_seconds_count", &[], 6.0),
            (
                "gateway_cache_lookups_total",
                &[("cache", "access_token")],
                7.0,
            ),
            ("gateway_backend_up", &[("backend", "main")], 1.0),
            ("gateway_backend_tools", &[("backend", "main")], 3.0),
            (
                "gateway_lane_requests_total",
                &[],
                if lane == "on" { 9.0 } else { 0.0 },
            ),
        ],
    )
    .await?;
    for name in [
        "gateway_request_body_bytes_total",
        "gateway_response_body_bytes_total",
    ] {
        assert!(
            scrape.sum(name, &[("backend", "main")]) > 300.0,
            "{}",
            scrape.counts()
        );
    }
    // The same bodies on either road.
    println!(
        "{lane}: {} bytes of answers",
        scrape.sum("gateway_response_body_bytes_total", &[])
    );
    Ok(())
}

#[tokio::test]
async fn calls_are_counted_on_the_lane() -> Result<()> {
    calls_are_counted("on").await
}

#[tokio::test]
async fn calls_are_counted_the_same_through_pingora() -> Result<()> {
    calls_are_counted("off").await
}

async fn streams_are_counted(lane: &str) -> Result<()> {
    let fixture = on_road(lane).await?;
    let client = fixture.client("A client with a stream").await?;
    let answer = client.connect(&fixture.owner).await?;
    let token = token_of(&answer, "access_token")?;
    let open = || {
        tests::http::client()
            .get(fixture.url("/mcp"))
            .bearer_auth(&token)
    };
    let stream = EventStream::open(open()).await?;
    let _other = EventStream::open(open()).await?;
    let opened: Expected<'_> = &[
        ("gateway_open_streams", &[("backend", "main")], 2.0),
        ("gateway_streams_opened_total", &[("backend", "main")], 2.0),
        ("gateway_streams_ended_total", &[], 0.0),
        ("gateway_exchanges_in_flight", &[("backend", "main")], 2.0),
        ("gateway_rpc_messages_total", &[], 0.0),
    ];
    must_hold(&fixture, opened).await?;
    drop(stream);
    let left: Expected<'_> = &[
        ("gateway_open_streams", &[("backend", "main")], 1.0),
        (
            "gateway_streams_ended_total",
            &[("cause", "client_gone")],
            1.0,
        ),
    ];
    must_hold(&fixture, left).await?;
    assert_eq!(client.revoke(&token).await?.status, 200);
    let ended: Expected<'_> = &[
        ("gateway_open_streams", &[("backend", "main")], 0.0),
        (
            "gateway_streams_ended_total",
            &[("cause", "grant_revoked")],
            1.0,
        ),
        ("gateway_streams_ended_total", &[], 2.0),
        (
            "gateway_exchanges_total",
            &[("outcome", "grant_revoked")],
            1.0,
        ),
        ("gateway_exchanges_in_flight", &[], 0.0),
        ("gateway_revocations_total", &[("outcome", "allowed")], 1.0),
        ("gateway_revocation_effect_seconds_count", &[], 1.0),
        (
            "gateway_store_operation_duration_seconds_count",
            &[("operation", "revoke")],
            1.0,
        ),
    ];
    must_hold(&fixture, ended).await?;
    assert_eq!(
        send(&fixture.url("/mcp"), &token, &initialize())
            .await?
            .status,
        401
    );
    let refused: Expected<'_> = &[(
        "gateway_requests_total",
        &[("endpoint", "mcp"), ("reason", "grant_revoked")],
        1.0,
    )];
    must_hold(&fixture, refused).await?;
    Ok(())
}

#[tokio::test]
async fn streams_are_counted_on_the_lane() -> Result<()> {
    streams_are_counted("on").await
}

#[tokio::test]
async fn streams_are_counted_the_same_through_pingora() -> Result<()> {
    streams_are_counted("off").await
}

#[tokio::test]
async fn logins_consents_tokens_and_what_is_refused_of_them_are_counted() -> Result<()> {
    let refreshing = |setup: Setup| setup.more("[tokens]\nrefresh = true\n");
    let fixture = Fixture::with(StoreKind::Embedded, refreshing).await?;
    let client = fixture.client("A test client").await?;
    let mut browser = Browser::default();
    let login = browser.visit(&client.authorization().url()).await?;
    browser
        .log_in(&login, &fixture.owner.name, "not the password")
        .await?;
    client
        .walk(
            &mut Browser::default(),
            &client.authorization(),
            &fixture.owner,
            "Deny",
        )
        .await?;
    let request = client.authorization();
    let code = client.allow(&request, &fixture.owner).await?.code();
    let redeemed = client.redeem(&code, &request.pkce.verifier).await?.json();
    let refresh = token_of(&redeemed, "refresh_token")?;
    assert_eq!(client.refresh(&refresh).await?.status, 200);
    assert_eq!(client.refresh("nonsense").await?.status, 400);
    assert_eq!(client.redeem("nonsense", "nonsense").await?.status, 400);
    let scrape = must_hold(
        &fixture,
        &[
            (
                "gateway_client_registrations_total",
                &[("outcome", "allowed")],
                1.0,
            ),
            ("gateway_logins_total", &[("outcome", "allowed")], 2.0),
            (
                "gateway_logins_total",
                &[("outcome", "refused"), ("reason", "login_failed")],
                1.0,
            ),
            ("gateway_consents_total", &[("outcome", "allowed")], 1.0),
            (
                "gateway_consents_total",
                &[("outcome", "refused"), ("reason", "user_denied")],
                1.0,
            ),
            (
                "gateway_tokens_issued_total",
                &[("grant_type", "authorization_code")],
                1.0,
            ),
            (
                "gateway_tokens_issued_total",
                &[("grant_type", "refresh_token")],
                1.0,
            ),
            ("gateway_tokens_issued_total", &[], 2.0),
            (
                "gateway_tokens_refused_total",
                &[("outcome", "refused"), ("reason", "code_unknown")],
                1.0,
            ),
            ("gateway_tokens_refused_total", &[], 2.0),
            (
                "gateway_requests_total",
                &[("endpoint", "token"), ("outcome", "allowed")],
                2.0,
            ),
            (
                "gateway_requests_total",
                &[("endpoint", "token"), ("outcome", "refused")],
                2.0,
            ),
            (
                "gateway_requests_total",
                &[("endpoint", "register"), ("outcome", "allowed")],
                1.0,
            ),
            ("gateway_store_errors_total", &[], 0.0),
            ("gateway_audit_records_lost_total", &[], 0.0),
            ("gateway_audit_failing", &[], 0.0),
        ],
    )
    .await?;
    assert!(
        scrape.sum("gateway_audit_records_total", &[("log", "access")]) >= 6.0,
        "{}",
        scrape.counts()
    );
    for name in [
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
        "process_threads",
    ] {
        assert!(scrape.sum(name, &[]) > 0.0, "{name}: {}", scrape.counts());
    }
    let started = scrape.sum("process_start_time_seconds", &[]);
    let now = tests::keys::now();
    assert!((now.as_secs_f64() - started).abs() < 600.0, "{started}");
    Ok(())
}

#[tokio::test]
async fn nobody_outside_makes_a_label() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (client, token) = fixture.signed_in().await?;
    let mcp = fixture.url("/mcp");
    let before = Scrape::take(&fixture.gateway).await?.samples.len();
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..300 {
        let name = format!("secret{number}");
        let bodies = [
            message(1, &format!("made/{name}"), &json!({})),
            call(2, &name, &json!({})),
            message(3, "prompts/get", &json!({"name": name})),
        ];
        for body in bodies {
            let request = post(&mcp, &token, &body);
            requests.spawn(tests::http::send(request));
        }
        for path in [
            format!("/{name}"),
            format!("/.well-known/{name}"),
            format!("/login/{name}"),
            format!("/assets/{name}"),
        ] {
            let url = fixture.url(&path);
            requests.spawn(async move { get(&url).await });
        }
        let request = tests::http::client().post(fixture.url("/token"));
        requests.spawn(tests::http::send(
            request.form(&[("grant_type", name.as_str()), ("client_id", &name)]),
        ));
        while requests.len() > 16 {
            let _ = requests.join_next().await;
        }
    }
    while requests.join_next().await.is_some() {}
    let scrape = Scrape::until(&fixture.gateway, |scrape| {
        scrape.sum("gateway_tool_calls_total", &[("tool", "other")]) == 300.0
    });
    let scrape = scrape.await?;
    let more = scrape.samples.len() - before;
    assert!(more < 150, "{more} more lines:\n{}", scrape.counts());
    for secret in ["secret", &token, &client.client_id, &fixture.owner.name] {
        assert!(!scrape.text.contains(secret), "{secret}: {}", scrape.text);
    }
    Ok(())
}
