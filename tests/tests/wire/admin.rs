//! The admin listener: health and metrics for the operator, nothing of it in public.

use anyhow::Result;
use tests::fixture::Fixture;
use tests::http::get;
use tests::program::{binary, run};

#[tokio::test]
async fn health_and_metrics_are_on_the_admin_listener_only() -> Result<()> {
    let fixture = Fixture::start().await?;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(
            get(&fixture.gateway.admin_url(path)).await?.status,
            200,
            "{path}"
        );
    }
    for path in [
        "/metrics",
        "/readyz",
        "/debug",
        "/debug/pprof",
        "/status",
        "/.env",
        "/state",
        "/keys",
    ] {
        assert_eq!(
            get(&fixture.url(path)).await?.status,
            404,
            "{path} is public"
        );
    }
    let health = get(&fixture.url("/healthz")).await?;
    assert_eq!(health.status, 200);
    assert!(
        !health.text.contains(&fixture.owner.name) && !health.text.contains("version"),
        "{}",
        health.text
    );
    Ok(())
}

#[tokio::test]
async fn healthcheck_says_whether_it_runs() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let config = fixture
        .gateway
        .folder()
        .join("gateway.toml")
        .display()
        .to_string();
    let arguments = ["healthcheck".to_owned(), "--config".to_owned(), config];
    let (code, _, errors) = run(&binary("gateway"), &arguments, "").await?;
    assert_eq!(code, 0, "{errors}");
    fixture.gateway.program().kill().await?;
    let (code, ..) = run(&binary("gateway"), &arguments, "").await?;
    assert_ne!(code, 0);
    Ok(())
}

#[tokio::test]
async fn metrics_name_no_person_no_client_and_no_token() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (client, token) = fixture.signed_in().await?;
    tests::mcp::send(&fixture.url("/mcp"), &token, &tests::mcp::initialize()).await?;
    let metrics = get(&fixture.gateway.admin_url("/metrics")).await?.text;
    for secret in [
        fixture.owner.name.as_str(),
        client.client_id.as_str(),
        token.as_str(),
    ] {
        assert!(!metrics.contains(secret), "{metrics}");
    }
    Ok(())
}
