//! Real clients whose person logs in by the button of an identity provider: the client is none the wiser,
//! and what it gets is the person's whom the provider named.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::desktop_client::DesktopClient;
use tests::gateway::{Gateway, Owner, Setup};
use tests::identity_provider::{IdentityProvider, SECRET};
use tests::operator;

use crate::apps::{ClaudeCode, Codex};
use crate::drive::{App, PLACES, Task};
use crate::sdks::{Sdk, drive_with};

/// The bundled backend, behind a gateway at which Bob logs in with his company's provider.
struct Company {
    gateway: Gateway,
    provider: IdentityProvider,
    bob: Owner,
}

impl Company {
    async fn start() -> Result<Self> {
        let mut provider = IdentityProvider::new("oidc.mjs")?;
        let issuer = provider.issuer();
        let login = format!(
            "[[login]]\nname = \"corp\"\nwords = \"Example Inc.\"\nissuer = \"{issuer}\"\nclient_id = \"rs256\"\n\
             client_secret = \"{SECRET}\"\nallow = [\"*@example.com\"]\n"
        );
        let gateway = Gateway::start(Setup::default().more(&login)).await?;
        let base = gateway.issuer();
        provider
            .arguments(&["callback", "backchannel"].map(|at| format!("{base}/login/corp/{at}")));
        provider.start().await?;
        let claims = json!({ "email": "bob@example.com", "email_verified": true });
        provider.person("bob", claims).await?;
        Ok(Self {
            gateway,
            provider,
            bob: Owner {
                name: "bob".into(),
                password: "any".into(),
            },
        })
    }

    /// Whoever allowed an app something here is Bob, by one grant.
    async fn is_connected_to_bob_alone(&self) -> Result<()> {
        let grants = operator::done(&self.gateway, &["grants", "ls", "--json"], "").await?;
        let grants = grants.json();
        let grants = grants["grants"].as_array().context("no list")?;
        let users: Vec<&str> = grants
            .iter()
            .filter_map(|grant| grant["user_name"].as_str())
            .collect();
        anyhow::ensure!(users == ["bob@example.com"], "{grants:?}");
        Ok(())
    }

    async fn works_with_app<A: App>(&self) -> Result<()> {
        let mut desktop: DesktopClient = A::desktop(&self.bob)?;
        desktop.logs_in_at(&self.provider.issuer(), &self.bob)?;
        let url = self.gateway.url("/mcp");
        let task = Task {
            desktop: &desktop,
            url: &url,
            sse: false,
            again: false,
        };
        let done = A::work(&task).await;
        let done = done.with_context(|| format!("its browser:\n{}", desktop.browser_log()))?;
        let mut tools = done.tools;
        tools.sort();
        anyhow::ensure!(tools == ["fetch", "search"], "it lists {tools:?}");
        let found = done.found;
        anyhow::ensure!(found.contains("Cupcake Gateway"), "search gave {found}");
        Ok(())
    }

    async fn works_with_sdk(&self, sdk: Sdk) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let storage = folder.path().join("storage.json").display().to_string();
        let url = self.gateway.url("/mcp");
        let arguments = [
            "--url",
            &url,
            "--transport",
            "http",
            "--storage",
            &storage,
            "--phase",
            "first",
        ];
        let issuer = self.provider.issuer();
        let environment = [("PROVIDER", issuer.as_str())];
        let report: Value = drive_with(sdk, &arguments, Some(&self.bob), &environment).await?;
        anyhow::ensure!(report["tools"] == json!(["fetch", "search"]), "{report}");
        Ok(())
    }
}

async fn app_works<A: App>() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let company = Company::start().await?;
    let outcome = company.works_with_app::<A>().await;
    outcome.with_context(|| company.gateway.log().join("\n"))?;
    company.is_connected_to_bob_alone().await
}

async fn sdk_works(sdk: Sdk) -> Result<()> {
    let company = Company::start().await?;
    let outcome = company.works_with_sdk(sdk).await;
    outcome.with_context(|| company.gateway.log().join("\n"))?;
    company.is_connected_to_bob_alone().await
}

#[tokio::test]
async fn claude_code_gets_in_through_an_identity_provider() -> Result<()> {
    app_works::<ClaudeCode>().await
}

#[tokio::test]
async fn codex_gets_in_through_an_identity_provider() -> Result<()> {
    app_works::<Codex>().await
}

#[tokio::test]
async fn the_typescript_sdk_v2_gets_in_through_an_identity_provider() -> Result<()> {
    sdk_works(Sdk::TypeScriptV2).await
}

#[tokio::test]
async fn the_python_sdk_v2_gets_in_through_an_identity_provider() -> Result<()> {
    sdk_works(Sdk::PythonV2).await
}
