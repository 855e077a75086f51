//! README's command 1, but for the ports: `gateway serve --config conf/gateway.toml` with nothing
//! prepared, from the first line it prints to a fetched document, and a second start.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use tests::browser::Browser;
use tests::gateway::Owner;
use tests::http;
use tests::mcp::{self, call, response};
use tests::oauth::OAuthClient;
use tests::program::{Program, binary, free_port, fresh_clone};

/// A copy of `conf/`, as a fresh clone has it, and ports of the test's own.
struct Clone {
    folder: tempfile::TempDir,
    port: u16,
    environment: Vec<(String, String)>,
}

impl Clone {
    fn fresh() -> Result<Self> {
        let folder = fresh_clone()?;
        let (port, admin, backend) = (free_port(), free_port(), free_port());
        let backend = format!("127.0.0.1:{backend}");
        let command = format!(
            "mcp-backend,--documents,conf/documents,--listen,{backend},--until-stdin-closes"
        );
        let environment = [
            ("GATEWAY__LISTEN", format!("127.0.0.1:{port}")),
            ("GATEWAY__ADMIN_LISTEN", format!("127.0.0.1:{admin}")),
            ("GATEWAY__BACKEND__0__URL", format!("http://{backend}")),
            ("GATEWAY__BACKEND__0__COMMAND", command),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        Ok(Clone {
            folder,
            port,
            environment: environment.to_vec(),
        })
    }

    fn origin(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    async fn start(&self) -> Result<Program> {
        let arguments = ["serve", "--config", "conf/gateway.toml"];
        let mut program = Program::start(
            &binary("gateway"),
            self.folder.path(),
            &arguments,
            &self.environment,
        )?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while !http::get(&format!("{}/healthz", self.origin()))
            .await
            .is_ok_and(|reply| reply.status == 200)
        {
            anyhow::ensure!(program.ended().is_none(), "{}", program.last_words());
            anyhow::ensure!(Instant::now() < deadline, "{}", program.last_words());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(program)
    }
}

#[tokio::test]
async fn one_command_leads_from_nothing_to_a_cited_document_and_the_second_start_asks_nothing()
-> Result<()> {
    let clone = Clone::fresh()?;
    let mut program = clone.start().await?;
    let setup = program
        .stdout
        .wait(Duration::from_secs(10), |line| {
            line.contains("/setup?code=")
        })
        .await
        .context("no setup URL was printed")?;
    // The list of backends fills in as they answer.
    program
        .stdout
        .wait(Duration::from_secs(20), |line| line.contains("✓ backend"))
        .await
        .context("the backend did not answer")?;
    let printed = program.stdout.all().join("\n");
    let endpoint = format!("{}/mcp", clone.origin());
    for wanted in [
        "state",
        "key",
        "documents",
        "search",
        "fetch",
        endpoint.as_str(),
        "--public-url",
    ] {
        assert!(printed.contains(wanted), "{wanted} is not in:\n{printed}");
    }

    let owner = Owner::alice();
    let setup = setup
        .split_whitespace()
        .find(|word| word.contains("/setup?code="))
        .context("no URL in the line")?
        .parse()?;
    let mut browser = Browser::default();
    let page = browser.visit(&setup).await?;
    browser.log_in(&page, &owner.name, &owner.password).await?;
    let client = OAuthClient::register(&clone.origin(), "Client").await?;
    let token = client.sign_in(&owner).await?;
    let opened = mcp::send(&endpoint, &token, &mcp::initialize()).await?;
    let session = opened.header("mcp-session-id").to_owned();
    let ask = |body: serde_json::Value| {
        let mut request = mcp::post(&endpoint, &token, &body);
        if !session.is_empty() {
            request = request.header("Mcp-Session-Id", &session);
        }
        http::send(request)
    };
    let found = response(&ask(call(1, "search", &json!({"query": "gateway"}))).await?)?;
    let hit = &found["result"]["structuredContent"]["results"][0];
    let fetched = response(&ask(call(2, "fetch", &json!({"id": hit["id"]}))).await?)?;
    let document = &fetched["result"]["structuredContent"];
    assert_eq!(document["id"], hit["id"], "{fetched}");
    assert!(
        document["text"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    let cited = document["url"].as_str().unwrap_or_default();
    assert!(
        cited.starts_with(&format!("{}/pages/", clone.origin())),
        "{cited}"
    );
    let page = browser.visit(&cited.parse()?).await?;
    assert_eq!(
        page.reply.status, 200,
        "the browser of the set-up is logged in"
    );
    let title = document["title"].as_str().unwrap_or_default();
    assert!(page.words().contains(title), "{}", page.words());

    assert_eq!(program.terminate(Duration::from_secs(15)).await?, 0);
    let second = clone.start().await?;
    let again = mcp::send(&endpoint, &token, &mcp::initialize()).await?;
    assert_eq!(again.status, 200, "{}", again.text);
    let printed = second.stdout.all().join("\n");
    assert!(!printed.contains("/setup?code="), "{printed}");
    Ok(())
}
