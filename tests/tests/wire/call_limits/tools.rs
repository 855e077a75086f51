//! `per = "tool"`: each tool for itself.

use super::*;

#[tokio::test]
async fn each_tool_counts_for_itself_from_the_first_call_on() -> Result<()> {
    let limits = "[[limit]]\nname = \"tools\"\nper = \"tool\"\ncalls_per_day = 2\n";
    for lane in ROADS {
        let fixture = Fixture::with(StoreKind::Redis, |setup| road(setup.more(limits), lane));
        let fixture = fixture.await?;
        let (_, token) = fixture.signed_in().await?;
        // Nobody has asked this one for its tools.
        let cold = fixture.replica(|mut setup| {
            setup.environment.push(("GATEWAY_LANE".into(), lane.into()));
            setup.more(limits)
        });
        let cold = cold.await?;
        let host = fixture.gateway.issuer();
        let host = host.trim_start_matches("http://").to_owned();
        let status = async |tool: &str| -> Result<u16> {
            let call = call(1, tool, &json!({}));
            let request = post(&cold.url("/mcp"), &token, &call).header("Host", &host);
            Ok(http::send(request).await?.status)
        };
        for tool in ["echo", "look", "erase", "echo", "look"] {
            assert_eq!(status(tool).await?, 200, "{lane}: {tool}");
        }
        // What a backend may take for a tool counts as the tool.
        assert_eq!(status("Erase").await?, 200, "{lane}");
        for tool in ["echo", "Echo", "ECHO", "look", "Look", "erase", "Erase"] {
            assert_eq!(status(tool).await?, 429, "{lane}: {tool}");
        }
        // Names that are made up count together.
        for (tool, expected) in [("one", 200), ("two", 200), ("three", 429)] {
            assert_eq!(status(tool).await?, expected, "{lane}: {tool}");
        }
    }
    Ok(())
}
