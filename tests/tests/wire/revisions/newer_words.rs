//! What servers of 2026-07-28 may say and clients with sessions would refuse to read.

use super::*;

/// A session of 2025-11-25 in front of this cell.
async fn session(cell: &Cell) -> Result<String> {
    let hello = http::send(cell.post(&mcp::initialize())).await?;
    Ok(hello.header("mcp-session-id").to_owned())
}

#[tokio::test]
async fn an_address_that_a_session_client_is_asked_to_open_has_an_id() -> Result<()> {
    let cell = Cell::start("2026-07-28", |request| {
        let message = request.json();
        if message["params"]["name"] != "opens" || !message["params"]["inputResponses"].is_null() {
            return scripted_revisions::stateless(request);
        }
        let params = json!({"mode": "url", "url": "https://example.com/a", "message": "Open it."});
        let asked = json!({"a": {"method": "elicitation/create", "params": params}});
        let result = json!({"resultType": "input_required", "inputRequests": asked});
        Answer::json(
            200,
            &json!({"jsonrpc": "2.0", "id": message["id"], "result": result}),
        )
    })
    .await?;
    let session = session(&cell).await?;
    let call = cell
        .post(&mcp::call(1, "opens", &json!({})))
        .header("Mcp-Session-Id", &session);
    let mut stream = EventStream::open(call).await?;
    let (_, data) = stream.event(PATIENCE).await?;
    let question: Value = serde_json::from_str(&data)?;
    assert_eq!(question["params"]["mode"], "url", "{data}");
    let id = question["params"]["elicitationId"].as_str();
    assert!(id.is_some_and(|id| !id.is_empty()), "{data}");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}});
    assert_eq!(cell.send(&session, &answer).await?.status, 202);
    let (_, data) = stream.event(PATIENCE).await?;
    assert!(data.contains("inputResponses"), "{data}");
    Ok(())
}

#[tokio::test]
async fn a_tool_that_puts_out_a_list_costs_a_session_client_no_other_tool() -> Result<()> {
    let cell = Cell::start("2026-07-28", |request| {
        let message = request.json();
        let result = match message["method"].as_str() {
            Some("tools/list") => json!({"tools": [
                {"name": "lists", "inputSchema": {"type": "object"}, "outputSchema": {"type": "array"}},
                {"name": "other", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object"}},
            ], "resultType": "complete", "ttlMs": 1000, "cacheScope": "private"}),
            Some("tools/call") => {
                json!({"content": [], "structuredContent": ["a"], "resultType": "complete"})
            }
            _ => return scripted_revisions::stateless(request),
        };
        Answer::json(
            200,
            &json!({"jsonrpc": "2.0", "id": message["id"], "result": result}),
        )
    })
    .await?;
    let session = session(&cell).await?;
    let list = mcp::message(1, "tools/list", &json!({}));
    let listed = cell.send(&session, &list).await?.json();
    assert_eq!(
        listed["result"],
        json!({"tools": [
            {"name": "lists", "inputSchema": {"type": "object"}},
            {"name": "other", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object"}},
        ]})
    );
    let call = mcp::call(2, "lists", &json!({}));
    let called = cell.send(&session, &call).await?.json();
    assert_eq!(
        called["result"],
        json!({"content": [{"type": "text", "text": "[\"a\"]"}]})
    );
    Ok(())
}
