//! What holds for every request to a backend, whichever part of the gateway sends it.

use anyhow::Result;
use serde_json::json;
use tests::fixture::Fixture;
use tests::http;
use tests::mcp::{self, call};

// --- what is never said -------------------------------------------------------------------------

/// One family stood in the list twice; that of Remote-Groups and Remote-Email did not.
#[tokio::test]
async fn what_a_client_says_of_who_is_logged_in_never_reaches_a_backend() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let mut request = mcp::post(
        &fixture.url("/mcp"),
        &token,
        &call(5, "echo", &json!({"a": "arrived"})),
    );
    for name in [
        "Remote-User",
        "Remote-Groups",
        "Remote-Name",
        "Remote-Email",
        "remote_groups",
        "X-WebAuth-User",
        "X-WebAuth-Role",
        "X-Auth-Request-Email",
        "X-Authenticated-Groups",
        "X-Remote-Group",
        "X-Forwarded-Email",
        "Sec-Fetch-User",
        "Access-Control-Request-Method",
    ] {
        request = request.header(name, "mallory");
    }
    let reply = http::send(request.header("X-Custom", "passes")).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let arrived = fixture.backend.marked("arrived");
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].header("x-custom"), Some("passes"));
    let said: Vec<_> = arrived[0]
        .headers
        .iter()
        .filter(|(_, value)| value == "mallory")
        .collect();
    assert!(said.is_empty(), "{said:?}");
    Ok(())
}
