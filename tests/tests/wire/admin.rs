//! The admin listener: health and metrics for the operator, nothing of it in public.

use anyhow::Result;
use tests::http::get;
use tests::program::{binary, run};
use tests::world::World;

#[tokio::test]
async fn health_and_metrics_are_on_the_admin_listener_only() -> Result<()> {
    let world = World::start().await?;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(
            get(&world.gateway.admin_url(path)).await?.status,
            200,
            "{path}"
        );
    }
    for path in [
        "/metrics",
        "/readyz",
        "/debug",
        "/admin",
        "/debug/pprof",
        "/status",
        "/.env",
        "/state",
        "/keys",
    ] {
        assert_eq!(get(&world.url(path)).await?.status, 404, "{path} is public");
    }
    let health = get(&world.url("/healthz")).await?;
    assert_eq!(health.status, 200);
    assert!(
        !health.text.contains(&world.owner.name) && !health.text.contains("version"),
        "{}",
        health.text
    );
    Ok(())
}

#[tokio::test]
async fn healthcheck_says_whether_it_runs() -> Result<()> {
    let mut world = World::start().await?;
    let config = world
        .gateway
        .folder()
        .join("gateway.toml")
        .display()
        .to_string();
    let arguments = ["healthcheck".to_owned(), "--config".to_owned(), config];
    let (code, _, errors) = run(&binary("gateway"), &arguments, "").await?;
    assert_eq!(code, 0, "{errors}");
    world.gateway.program().kill().await?;
    let (code, ..) = run(&binary("gateway"), &arguments, "").await?;
    assert_ne!(code, 0);
    Ok(())
}

#[tokio::test]
async fn metrics_name_no_person_no_client_and_no_token() -> Result<()> {
    let world = World::start().await?;
    let (client, token) = world.signed_in().await?;
    tests::mcp::send(&world.url("/mcp"), &token, &tests::mcp::initialize()).await?;
    let metrics = get(&world.gateway.admin_url("/metrics")).await?.text;
    for secret in [
        world.owner.name.as_str(),
        client.client_id.as_str(),
        token.as_str(),
    ] {
        assert!(!metrics.contains(secret), "{metrics}");
    }
    Ok(())
}
