//! What is held of answers is on the budget.

use serde_json::Value;

use super::*;

/// A budget that little fits in.
const SMALL: &str = "[limits]\nrequest_body = \"64KiB\"\nin_flight_per_grant = \"1MiB\"\n";

/// Calls get 4 MiB: as an event that comes in pieces, one that has to be judged or a plain one, or as a
/// body.
fn large(request: &Recorded) -> Answer {
    let message = request.json();
    if message["method"] != "tools/call" {
        return scripted_mcp::answer(request);
    }
    let text = "x".repeat(MIB as usize);
    let front = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[{{"type":"text","text":""#,
        message["id"]
    );
    let texts = std::iter::repeat_n(Step::Send(text.clone()), 4);
    let kind = message["params"]["arguments"]["as"].as_str();
    if let Some("event" | "plain event") = kind {
        let judged = r#""result":{"capabilities":{},"#;
        let front = match kind {
            Some("event") => front.replace(r#""result":{"#, judged),
            _ => front,
        };
        let steps = std::iter::once(Step::Send(format!("data: {front}")))
            .chain(texts)
            .chain([Step::Send("\"}]}}\n\n".into())]);
        return Answer::events(steps.collect());
    }
    let headers = vec![("Content-Type".into(), "application/json".into())];
    Answer::Full(
        200,
        headers,
        format!("{front}{}\"}}]}}}}", text.repeat(4)).into(),
    )
}

/// The lines of answers that were cut, once there are so many.
async fn cut(fixture: &Fixture, count: usize) -> Result<Vec<Value>> {
    fixture.gateway.events("answer_cut", count).await
}

#[tokio::test]
async fn an_event_that_is_held_to_be_judged_is_on_the_budget() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(SMALL)).await?;
    fixture.backend.play(large);
    let client = fixture.client("A limited client").await?;
    let limited = client
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["look"]))
        .await?;
    let request = call(7, "look", &json!({"as": "event"}));
    let reply = send(&fixture.url("/mcp"), &limited, &request).await?;
    assert_eq!(reply.status, 200);
    for said in [
        "\"id\":7",
        "-32603",
        "in_flight_full",
        "limits.in_flight_per_grant",
    ] {
        assert!(reply.text.contains(said), "{said}: {}", reply.text.len());
    }
    assert!(reply.text.len() < 4096, "{}", reply.text.len());
    let said = cut(&fixture, 1).await?;
    assert!(
        said.len() == 1 && said[0].to_string().contains("limits.in_flight_per_grant"),
        "{said:?}"
    );
    // What need not be judged need not be held.
    let (_, token) = fixture.signed_in().await?;
    let plain = call(7, "look", &json!({"as": "plain event"}));
    for (token, request) in [(&token, &request), (&limited, &plain)] {
        let reply = send(&fixture.url("/mcp"), token, request).await?;
        assert!(reply.text.len() > 4 * MIB as usize, "{}", reply.text.len());
    }
    // The budget was given back.
    slow_call(&fixture, &limited).await?;
    Ok(())
}

#[tokio::test]
async fn answers_that_are_not_read_are_on_the_budget() -> Result<()> {
    let mut fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(SMALL)).await?;
    fixture.backend.play(large);
    let (_, token) = fixture.signed_in().await?;
    let (_, other) = fixture.signed_in().await?;
    let before = calm(&mut fixture, &other).await?;
    let body = call(1, "look", &json!({})).to_string();
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    let bytes = raw::request(
        "POST",
        "/mcp",
        &fixture.gateway.address().to_string(),
        &headers,
        body.as_bytes(),
    );
    let mut open = Vec::new();
    for _ in 0..30 {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        let mut socket = socket.connect(fixture.gateway.address()).await?;
        socket.write_all(&bytes).await?;
        open.push(socket);
    }
    // At 128 KiB each, eight of them have room.
    let said = cut(&fixture, 15).await?;
    assert!(
        said.iter()
            .all(|line| line.to_string().contains("limits.in_flight_per_grant")),
        "{said:?}"
    );
    bearable(&mut fixture, &other, before, 40 * MIB).await?;
    let log = fixture.gateway.log();
    let said = log.iter().filter(|line| line.contains("answer_cut"));
    assert!(said.count() < 30, "none was left");
    drop(open);
    Ok(())
}
