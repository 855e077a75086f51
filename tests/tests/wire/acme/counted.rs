//! Orders count at their server: none is made too soon after one that failed, and none is lost that came.

use std::time::{Duration, Instant};

use anyhow::Result;
use tests::gateway::Gateway;
use tests::pebble::{Pebble, PortForward};
use tests::program::free_port;
use tests::recorder::Recorder;
use tests::redis::Redis;
use tests::scripted_mcp;

use super::{ORDER, clock_ahead, hang_up, logged, ready, served, setup};

#[tokio::test]
async fn an_operators_word_is_followed_three_times_at_once_and_then_no_more() -> Result<()> {
    let (plain, forward) = (free_port(), PortForward::start().await?);
    let pebble = Pebble::start(forward.port, 0).await?;
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let gateway = Gateway::start(setup(&pebble, plain, &backend)).await?;
    logged(&gateway, "certificate_order_failed", ORDER).await?;
    for count in 2..=3 {
        hang_up(&gateway).await?;
        let deadline = Instant::now() + ORDER;
        while pebble.orders() < count {
            anyhow::ensure!(Instant::now() < deadline, "no order {count}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    // It waits for the third one to fail.
    hang_up(&gateway).await?;
    let line = logged(&gateway, "certificate_order_not_due", ORDER).await?;
    assert!(line.contains("\"until\":\"20"), "{line}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pebble.orders(), 3);
    Ok(())
}

#[tokio::test]
async fn a_failure_of_a_clock_that_was_ahead_delays_nothing_once_it_is_set_right() -> Result<()> {
    let (plain, forward) = (free_port(), PortForward::start().await?);
    let pebble = Pebble::start(forward.port, 0).await?;
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let mut ahead = setup(&pebble, plain, &backend);
    ahead.environment = clock_ahead(30);
    let mut gateway = Gateway::start(ahead).await?;
    logged(&gateway, "certificate_order_failed", ORDER).await?;
    forward.lead(Some(plain));
    gateway.setup().environment = Vec::new();
    gateway.restart().await?;
    served(&gateway, &pebble.root().await?, ORDER).await?;
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_came_is_kept_when_the_store_is_back_and_nothing_is_wrong_then()
-> Result<()> {
    let (mut redis, forward) = (Redis::start().await?, PortForward::start().await?);
    let pebble = Pebble::start(forward.port, 0).await?;
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let keys = tempfile::tempdir()?;
    let plain = free_port();
    forward.lead(Some(plain));
    let mut setup = setup(&pebble, plain, &backend);
    setup.store = Some(redis.url());
    setup.hasty = true;
    setup.environment = vec![(
        "GATEWAY__KEYS_DIR".into(),
        keys.path().display().to_string(),
    )];
    let gateway = Gateway::start(setup).await?;
    // The server asks so often at once, and the certificate takes longer than this.
    forward.await_passed(3).await?;
    redis.kill().await?;
    let line = logged(&gateway, "certificate_order_failed", ORDER).await?;
    assert!(line.contains("the store: "), "{line}");
    redis.restart().await?;
    served(&gateway, &pebble.root().await?, ORDER).await?;
    assert_eq!(pebble.orders(), 1);
    // A store that was away for a moment is no fault of the certificate for ever.
    redis.kill().await?;
    hang_up(&gateway).await?;
    standing(&gateway, "there is no newer one: the store: ").await?;
    redis.restart().await?;
    logged(&gateway, "certificate_recovered", ORDER).await?;
    let reply = ready(&gateway).await?;
    assert!(
        !reply.text.contains("there is no newer one"),
        "{}",
        reply.text
    );
    assert_eq!(pebble.orders(), 1);
    Ok(())
}

/// Waits until `/readyz` says this.
async fn standing(gateway: &Gateway, words: &str) -> Result<()> {
    let deadline = Instant::now() + ORDER;
    loop {
        let reply = ready(gateway).await?;
        if reply.text.contains(words) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "no {words}: {}", reply.text);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
