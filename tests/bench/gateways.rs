//! The gateway under measurement: configured like any other, its tokens fetched through
//! the real pages.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tests::gateway::Owner;
use tests::oauth::OAuthClient;
use tests::program::{self, binary};
use tests::{http, mcp};

use crate::programs::{self, Listening, free_address};

/// How a gateway is started.
pub(crate) struct Setup<'a> {
    /// For its log and its folder.
    pub(crate) name: &'a str,
    /// Where those lie.
    pub(crate) folder: &'a Path,
    /// Processors to run on.
    pub(crate) processors: Option<&'a str>,
    /// Worker threads.
    pub(crate) threads: usize,
    /// `[store] url`; the embedded store when absent.
    pub(crate) store: Option<String>,
    /// The gateway whose keys and public URL it shares, by name and address.
    pub(crate) replica_of: Option<(&'a str, SocketAddr)>,
    /// Path and address of each backend.
    pub(crate) backends: Vec<(&'static str, SocketAddr)>,
    /// Keys for the top of its configuration.
    pub(crate) top: &'static str,
    /// Tables for its end.
    pub(crate) more: &'static str,
    /// The text of its policy, if it has one.
    pub(crate) policy: Option<&'static str>,
    /// The words of a program that it runs under, if it does.
    pub(crate) under: Vec<String>,
}

impl<'a> Setup<'a> {
    /// One backend at the root, an embedded store, and everything else as it is by default.
    pub(crate) fn new(
        name: &'a str,
        folder: &'a Path,
        processors: Option<&'a str>,
        threads: usize,
        backend: SocketAddr,
    ) -> Self {
        Self {
            name,
            folder,
            processors,
            threads,
            store: None,
            replica_of: None,
            backends: vec![("/", backend)],
            top: "",
            more: "",
            policy: None,
            under: Vec::new(),
        }
    }
}

/// A running gateway.
pub(crate) struct Gateway<'a> {
    setup: Setup<'a>,
    address: SocketAddr,
    /// Where the operator asks.
    pub(crate) admin: SocketAddr,
    /// The program.
    pub(crate) listening: Listening,
}

impl<'a> Gateway<'a> {
    /// Start it, with its owner set up.
    pub(crate) async fn start(setup: Setup<'a>) -> Result<Self> {
        let (address, admin) = (free_address(), free_address());
        let folder = setup.folder.join(setup.name);
        std::fs::create_dir(&folder)?;
        let password = format!("{}\n", Owner::alice().password);
        let (code, hash, errors) =
            program::run(&binary("gateway"), &["users", "hash"], &password).await?;
        ensure!(
            code == 0,
            "`gateway users hash` ended with {code}: {errors}"
        );
        std::fs::write(folder.join("password.hash"), hash.trim())?;
        if let Some(policy) = setup.policy {
            std::fs::write(folder.join("policy.biscuit"), policy)?;
        }
        std::fs::write(
            folder.join("gateway.toml"),
            configuration(&setup, &folder, address, admin),
        )?;
        let listening = launch(&setup, address, admin).await?;
        Ok(Gateway {
            setup,
            address,
            admin,
            listening,
        })
    }

    /// End it and start it again on the same state, so that its memory is that of a fresh process.
    pub(crate) async fn restart(self) -> Result<Self> {
        let nothing = async || Ok(());
        let (gateway, _) = self.restart_after(nothing).await?;
        Ok(gateway)
    }

    /// The same with something done while it does not run, and how long it took until it was healthy.
    pub(crate) async fn restart_after(
        self,
        between: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<(Self, Duration)> {
        let Gateway {
            setup,
            address,
            admin,
            listening,
        } = self;
        listening.end().await;
        between().await?;
        let begun = Instant::now();
        let listening = launch(&setup, address, admin).await?;
        let gateway = Gateway {
            setup,
            address,
            admin,
            listening,
        };
        Ok((gateway, begun.elapsed()))
    }

    /// The same under another program.
    pub(crate) async fn restart_under(mut self, under: Vec<String>) -> Result<Self> {
        self.setup.under = under;
        self.restart().await
    }

    /// A file of its folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.setup.folder.join(self.setup.name).join(name)
    }

    /// The URL of its store.
    pub(crate) fn store(&self) -> String {
        store_of(&self.setup)
    }

    /// Runs an operator's command; what it says.
    pub(crate) async fn command(&self, words: &[&str], input: &str) -> Result<String> {
        let config = self.file("gateway.toml").display().to_string();
        let words = [words, &["--config", &config]].concat();
        let (code, said, errors) = program::run(&binary("gateway"), &words, input).await?;
        ensure!(code == 0, "{words:?} ended with {code}: {errors}");
        Ok(said)
    }

    /// A personal token for everything.
    pub(crate) async fn personal_token(&self) -> Result<String> {
        let owner = Owner::alice();
        let words = [
            "token",
            "create",
            "--user",
            &owner.name,
            "--name",
            "benchmark",
            "--everything",
        ];
        Ok(self.command(&words, "").await?.trim().to_owned())
    }

    /// What the operator's commands show.
    pub(crate) fn admin_token(&self) -> Result<String> {
        let text = std::fs::read_to_string(self.file("keys/admin.token"))?;
        Ok(text.trim().to_owned())
    }

    /// Register, log in, consent, redeem: an access token for the backend mounted at `path`.
    pub(crate) async fn token(&self, path: &str) -> Result<String> {
        let base = format!("http://{}", self.address);
        let client = OAuthClient::register(&base, "The benchmark").await?;
        let resource = format!("{base}{}/mcp", path.trim_end_matches('/'));
        client.sign_in_for(&Owner::alice(), &resource).await
    }

    /// The same for these tools alone, of the backend at the root.
    pub(crate) async fn token_for(&self, tools: &[String]) -> Result<String> {
        let base = format!("http://{}", self.address);
        let client = OAuthClient::register(&base, "The benchmark").await?;
        let names: Vec<&str> = tools.iter().map(String::as_str).collect();
        client
            .sign_in_choosing(&Owner::alice(), |form| form.choose_tools(&names))
            .await
    }
}

/// A session with an MCP server that wants one: its id, ready for calls.
pub(crate) async fn session(url: &str, token: &str) -> Result<String> {
    let reply = mcp::send(url, token, &mcp::initialize()).await?;
    ensure!(
        reply.status == 200,
        "initialize was answered {}: {}",
        reply.status,
        reply.text
    );
    let session = reply.header("mcp-session-id").to_owned();
    let initialized = serde_json::json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let noted = mcp::post(url, token, &initialized).header("Mcp-Session-Id", &session);
    let noted = http::send(noted).await?;
    ensure!(
        noted.status == 202,
        "notifications/initialized was answered {}: {}",
        noted.status,
        noted.text
    );
    Ok(session)
}

async fn launch(setup: &Setup<'_>, address: SocketAddr, admin: SocketAddr) -> Result<Listening> {
    let file = setup.folder.join(setup.name).join("gateway.toml");
    let arguments = ["serve", "--config", &file.display().to_string()].map(String::from);
    let (program, arguments) = programs::under(&setup.under, &binary("gateway"), &arguments);
    let mut listening = programs::start(
        setup.name,
        setup.folder,
        setup.processors,
        &program,
        &arguments,
        address,
    )
    .await?;
    let deadline = Instant::now() + Duration::from_secs(120);
    let health = format!("http://{admin}/healthz");
    while !http::get(&health).await.is_ok_and(|r| r.status == 200) {
        if listening.program.ended().is_some() || Instant::now() > deadline {
            bail!("the gateway does not become healthy");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(listening)
}

fn store_of(setup: &Setup<'_>) -> String {
    let state = setup.folder.join(setup.name).join("state");
    let embedded = || format!("file:{}", state.display());
    setup.store.clone().unwrap_or_else(embedded)
}

fn configuration(
    setup: &Setup<'_>,
    folder: &Path,
    address: SocketAddr,
    admin: SocketAddr,
) -> String {
    let here = folder.display();
    let store = store_of(setup);
    let (keys, public) = match setup.replica_of {
        Some((name, public)) => (setup.folder.join(name).join("keys"), public),
        None => (folder.join("keys"), address),
    };
    let keys = keys.display();
    let mut toml = format!(
        "public_url = \"http://{public}\"
listen = [\"{address}\"]
admin_listen = \"{admin}\"
keys_dir = \"{keys}\"
threads = {}
{}
[store]
url = \"{store}\"

[owner]
name = \"{}\"
password_hash_file = \"{here}/password.hash\"
",
        setup.threads,
        setup.top,
        Owner::alice().name,
    );
    for (number, (path, backend)) in setup.backends.iter().enumerate() {
        toml += &format!(
            "\n[[backend]]\nname = \"backend-{number}\"\npath = \"{path}\"\nurl = \"http://{backend}\"\n"
        );
    }
    if setup.policy.is_some() {
        toml += &format!("\n[policy]\nfile = \"{here}/policy.biscuit\"\n");
    }
    toml + setup.more
}
