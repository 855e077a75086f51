//! Backends that are silent, or break off.

use super::*;

/// What a session client's calls take in all, right after the start.
async fn early_calls(
    script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
) -> Result<Duration> {
    let mut fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
        hasty: true,
        ..setup
    })
    .await?;
    let (_, token) = fixture.signed_in().await?;
    fixture.backend.play(script);
    fixture.gateway.restart().await?;
    let begun = Instant::now();
    for id in 0..10 {
        let reply = mcp::send(
            &fixture.url("/mcp"),
            &token,
            &call(id, "look", &Value::Object(serde_json::Map::new())),
        )
        .await?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.text);
    }
    Ok(begun.elapsed())
}

/// Ten times a second, when each call waited for what never came.
#[tokio::test]
async fn a_backend_that_is_silent_on_a_stream_costs_no_call_anything() -> Result<()> {
    let took = early_calls(|request| match request.method.as_str() {
        "GET" => Answer::Silence,
        _ => scripted_mcp::answer(request),
    })
    .await?;
    ensure!(took < Duration::from_secs(3), "{took:?}");
    Ok(())
}

/// Its own stream may be silent for ever: that is no doubt about it, and nothing to look into again.
#[tokio::test]
async fn a_backend_with_a_silent_stream_of_its_own_has_it_opened_once() -> Result<()> {
    let mut fixture = Fixture::with(StoreKind::Embedded, |setup| setup).await?;
    fixture
        .backend
        .play(|request| match request.method.as_str() {
            "GET" => Answer::events(vec![
                Step::Send(": open\n\n".to_owned()),
                Step::Live("never".to_owned()),
            ]),
            _ => scripted_mcp::answer(request),
        });
    fixture.backend.take_requests();
    fixture.gateway.restart().await?;
    let opened = || {
        let requests = fixture.backend.requests();
        requests.iter().filter(|one| one.method == "GET").count()
    };
    fixture.backend.await_streams(1, PATIENCE).await?;
    fixture.backend.await_streams(0, PATIENCE).await?;
    // It was opened anew within this time, and again after each pause.
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(opened() == 1, "opened {} times", opened());
    Ok(())
}

#[tokio::test]
async fn a_backend_that_is_silent_about_all_but_calls_is_waited_for_once() -> Result<()> {
    let took = early_calls(|request| match request.json()["method"].as_str() {
        Some("tools/call") => scripted_mcp::answer(request),
        _ => Answer::Silence,
    })
    .await?;
    ensure!(took < Duration::from_secs(4), "{took:?}");
    Ok(())
}

/// Half a second for each call, for ever.
#[tokio::test]
async fn a_backend_whose_revisions_cannot_be_learned_is_asked_beside_the_calls() -> Result<()> {
    for fault in [500, 503, 404] {
        let took = early_calls(move |request| match request.json()["method"].as_str() {
            Some("tools/call") => scripted_mcp::answer(request),
            _ => Answer::json(fault, &json!({})),
        })
        .await?;
        ensure!(took < Duration::from_secs(3), "{fault}: {took:?}");
    }
    Ok(())
}

/// A backend that breaks off is no other case.
#[tokio::test]
async fn a_backend_that_breaks_off_every_question_costs_no_call_half_a_second() -> Result<()> {
    let took = early_calls(|request| match request.json()["method"].as_str() {
        Some("tools/call") => scripted_mcp::answer(request),
        _ if request.method == "GET" => Answer::events(vec![Step::Cut]),
        _ => Answer::Reset,
    })
    .await?;
    ensure!(took < Duration::from_secs(3), "{took:?}");
    Ok(())
}
