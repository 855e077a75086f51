//! A `gateway serve` of the test's own: its configuration and folder, start, stop,
//! kill and restart on the same state and port, and what it printed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::http;
use crate::program::{self, Program, binary, free_port, workspace};

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(30);

/// How long a line of the log, or what leads to it, may take on a busy machine.
const LOGGED: Duration = Duration::from_secs(20);

/// How long backends may take to answer or fail.
const BACKENDS: Duration = Duration::from_secs(20);

/// The person whose name and password the gateway was set up with.
#[derive(Clone, Debug)]
pub struct Owner {
    /// As typed into the login form.
    pub name: String,
    /// As typed into the login form.
    pub password: String,
}

impl Owner {
    /// The owner of every test gateway that is set up unattended.
    pub fn alice() -> Self {
        Owner {
            name: "alice".into(),
            password: "correct horse battery staple".into(),
        }
    }
}

/// How a gateway is to be started.
pub struct Setup {
    /// `[store] url`; the embedded store in the gateway's own folder when absent.
    pub store: Option<String>,
    /// `public_url`, in which `PORT` stands for the port of the public listener; the loopback origin it
    /// listens on when absent.
    pub public_url: Option<String>,
    /// Name, path and URL of each `[[backend]]`. None: the bundled `mcp-backend`, as in `conf/gateway.toml`.
    pub backends: Vec<(String, String, String)>,
    /// Set the owner up unattended; else the setup code is left to the test.
    pub owner: Option<Owner>,
    /// Top-level keys for the configuration file.
    pub top: String,
    /// Tables for its end.
    pub more: String,
    /// Added to the environment.
    pub environment: Vec<(String, String)>,
    /// The limit of open files, soft and hard; that of the test when absent.
    pub open_files: Option<u64>,
    /// A server on stdin and stdout, as the words after `--`.
    pub stdio: Vec<String>,
    /// Go on as soon as the gateway listens, without waiting until its backends have answered or
    /// failed.
    pub hasty: bool,
    /// No backend but those in `more`.
    pub only_more: bool,
    /// Another build of the gateway than the one that is tested: that of an earlier version.
    pub program: Option<PathBuf>,
    /// A folder with state, keys and the like to start in, instead of an empty one.
    pub folder: Option<TempDir>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            store: None,
            public_url: None,
            backends: Vec::new(),
            owner: Some(Owner::alice()),
            top: String::new(),
            more: String::new(),
            environment: Vec::new(),
            open_files: None,
            stdio: Vec::new(),
            hasty: false,
            only_more: false,
            program: None,
            folder: None,
        }
    }
}

impl Setup {
    /// One backend at `/`.
    #[must_use]
    pub fn backend(self, url: &str) -> Self {
        self.mounted("main", "/", url)
    }

    /// One more backend at a path.
    #[must_use]
    pub fn mounted(mut self, name: &str, path: &str, url: &str) -> Self {
        self.backends.push((name.into(), path.into(), url.into()));
        self
    }

    /// Tables for the end of the configuration file.
    #[must_use]
    pub fn more(mut self, toml: &str) -> Self {
        self.more += toml;
        self
    }
}

/// A running gateway. Dropping it kills it and removes its folder.
pub struct Gateway {
    setup: Setup,
    folder: TempDir,
    program: Program,
    /// The port of the public listener.
    pub port: u16,
    /// The port of the admin listener.
    pub admin_port: u16,
}

impl Gateway {
    /// Start and wait until it answers.
    pub async fn start(mut setup: Setup) -> Result<Self> {
        let folder = match setup.folder.take() {
            Some(folder) => folder,
            None => tempfile::tempdir()?,
        };
        if let Some(owner) = &setup.owner {
            let (code, hash, errors) = program::run(
                &binary("gateway"),
                &["users", "hash"],
                &format!("{}\n", owner.password),
            )
            .await?;
            anyhow::ensure!(
                code == 0,
                "`gateway users hash` ended with {code}: {errors}"
            );
            std::fs::write(folder.path().join("password.hash"), hash.trim())?;
        }
        let (port, admin_port) = (free_port(), free_port());
        let program = launch(&setup, &folder, port, admin_port).await?;
        Ok(Gateway {
            setup,
            folder,
            program,
            port,
            admin_port,
        })
    }

    /// The loopback origin that it listens on, without a trailing slash.
    pub fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A URL on that origin.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// A URL on the admin listener.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.admin_port)
    }

    /// The socket of the public listener.
    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The issuer: `public_url` as configured.
    pub fn issuer(&self) -> String {
        let configured = self.setup.public_url.as_ref();
        configured.map_or_else(|| self.origin(), |url| with_port(url, self.port))
    }

    /// Its own folder: configuration, state, documents of the test.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// The process, for memory and signals.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// The id of the process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.program.id()
    }

    /// Everything on standard error, with what is on its way: for what must not stand there. What must,
    /// `logged` and `eventually_logged` wait for: the gateway writes lines of everyday a few milliseconds
    /// after what they are about, on a busy machine later.
    pub fn log(&self) -> Vec<String> {
        std::thread::sleep(Duration::from_millis(200));
        self.program.stderr.all()
    }

    /// The first line of the log with these words, as soon as it is there.
    pub async fn logged(&self, words: &str) -> Result<String> {
        let line = |log: &[String]| log.iter().find(|line| line.contains(words)).cloned();
        let line = self.eventually_logged(line).await;
        line.with_context(|| format!("not logged: {words}"))
    }

    /// What is found in the log, as soon as it is there.
    pub async fn eventually_logged<T>(&self, found: impl Fn(&[String]) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + LOGGED;
        loop {
            if let Some(found) = found(&self.program.stderr.all()) {
                return Ok(found);
            }
            if Instant::now() > deadline {
                bail!("not in the log\n{}", self.program.last_words());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The lines of the log with this event, once there are so many of them.
    pub async fn events(&self, event: &str, count: usize) -> Result<Vec<Value>> {
        let found = self.eventually_logged(|log| {
            let lines = of_event(log, event);
            (lines.len() >= count).then_some(lines)
        });
        found.await.with_context(|| format!("{count} of {event}"))
    }

    /// Waits until the last line of the log with this event has this reason.
    pub async fn last_logged(&self, event: &str, reason: &str) -> Result<()> {
        let found = self.eventually_logged(|log| {
            let lines = of_event(log, event);
            (lines.last()?["reason"] == reason).then_some(())
        });
        found.await.with_context(|| format!("{event}: {reason}"))
    }

    /// Everything on standard output so far.
    pub fn printed(&self) -> Vec<String> {
        self.program.stdout.all()
    }

    /// A line on standard output, which may come a while after the start.
    pub async fn prints(&self, found: impl Fn(&str) -> bool) -> Result<String> {
        let line = self.program.stdout.wait(START, found).await;
        line.with_context(|| format!("the line was not printed\n{}", self.program.last_words()))
    }

    /// The URL with the one-time code for the first owner, from standard output.
    pub async fn setup_url(&self) -> Result<String> {
        let line = self
            .program
            .stdout
            .wait(Duration::from_secs(10), |line| {
                line.contains("/setup?code=")
            })
            .await;
        let line = line
            .with_context(|| format!("no setup URL was printed\n{}", self.program.last_words()))?;
        let word = line
            .split_whitespace()
            .find(|word| word.contains("/setup?code="))
            .context("no URL in the line")?;
        Ok(word.trim_matches(|c: char| !c.is_alphanumeric()).to_owned())
    }

    /// SIGTERM, wait for its exit, start again on the same state and ports.
    pub async fn restart(&mut self) -> Result<()> {
        self.program.terminate(Duration::from_secs(30)).await?;
        self.program = launch(&self.setup, &self.folder, self.port, self.admin_port).await?;
        Ok(())
    }

    /// SIGTERM, and wait for its exit.
    pub async fn stop(&mut self) -> Result<()> {
        self.program.terminate(Duration::from_secs(30)).await?;
        Ok(())
    }

    /// Start one that was stopped, on the same state and ports.
    pub async fn start_again(&mut self) -> Result<()> {
        self.program = launch(&self.setup, &self.folder, self.port, self.admin_port).await?;
        Ok(())
    }

    /// Has a new process take over, with the configuration as it is written now. The old one, which ends
    /// with what is open there.
    pub async fn upgrade(&mut self) -> Result<Program> {
        let mut new = self.upgrading()?;
        let deadline = Instant::now() + START;
        loop {
            let said = new.stderr.all();
            if said.iter().any(|line| line.contains("\"took_over\"")) {
                return Ok(std::mem::replace(&mut self.program, new));
            }
            if new.ended().is_some() || Instant::now() > deadline {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let old = self.program.last_words();
                bail!("it did not take over\n{}\n{old}", new.last_words());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts a process that is to take over.
    pub fn upgrading(&self) -> Result<Program> {
        let config = self.folder.path().join("gateway.toml");
        // The bundled server would get another port.
        if !self.setup.backends.is_empty() || self.setup.only_more {
            let text = configuration(&self.setup, &self.folder, self.port, self.admin_port);
            std::fs::write(&config, text)?;
        }
        let config = config.display().to_string();
        let words = ["serve", "--upgrade", "--config", &config];
        Program::start(
            &binary("gateway"),
            self.folder.path(),
            &words,
            &self.setup.environment,
        )
    }

    /// Kill -9, start again on the same state and ports.
    pub async fn crash_and_restart(&mut self) -> Result<()> {
        self.program.kill().await?;
        self.program = launch(&self.setup, &self.folder, self.port, self.admin_port).await?;
        Ok(())
    }

    /// Change how it will be started next.
    pub fn setup(&mut self) -> &mut Setup {
        &mut self.setup
    }
}

fn of_event(log: &[String], event: &str) -> Vec<Value> {
    let lines = log.iter().filter(|line| line.contains(event));
    let lines = lines.filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| line["event"] == event)
        .collect()
}

/// Write the configuration, start the process, wait for `/healthz`.
async fn launch(setup: &Setup, folder: &TempDir, port: u16, admin_port: u16) -> Result<Program> {
    let config = folder.path().join("gateway.toml");
    std::fs::write(&config, configuration(setup, folder, port, admin_port))?;
    let mut arguments = vec![
        "serve".to_owned(),
        "--config".to_owned(),
        config.display().to_string(),
    ];
    if !setup.stdio.is_empty() {
        arguments.push("--".to_owned());
        arguments.extend(setup.stdio.iter().cloned());
    }
    let built = setup.program.clone().unwrap_or_else(|| binary("gateway"));
    let mut program = match setup.open_files {
        None => Program::start(&built, folder.path(), &arguments, &setup.environment)?,
        Some(limit) => Program::start_with_open_files(
            limit,
            &built,
            folder.path(),
            &arguments,
            &setup.environment,
        )?,
    };
    let deadline = Instant::now() + START;
    loop {
        if let Some(code) = program.ended() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            bail!("the gateway ended with {code}\n{}", program.last_words());
        }
        if http::get(&format!("http://127.0.0.1:{admin_port}/healthz"))
            .await
            .is_ok_and(|reply| reply.status == 200)
            && tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
        {
            if !setup.hasty {
                settled(admin_port).await;
            }
            return Ok(program);
        }
        if Instant::now() > deadline {
            bail!(
                "the gateway is not ready after {START:?}\n{}",
                program.last_words()
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Wait until each backend has answered or failed, or as long as one may take that is started
/// beside the gateway. It serves without that; most tests want to begin where a person would.
async fn settled(admin_port: u16) {
    let deadline = Instant::now() + BACKENDS;
    let ready = format!("http://127.0.0.1:{admin_port}/readyz");
    while Instant::now() < deadline {
        let is_pending = http::get(&ready)
            .await
            .map_or(true, |reply| reply.text.contains(": pending"));
        if !is_pending {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A URL in which `PORT` stands for the port that the gateway will have.
fn with_port(url: &str, port: u16) -> String {
    url.replace("PORT", &port.to_string())
}

fn configuration(setup: &Setup, folder: &TempDir, port: u16, admin_port: u16) -> String {
    let here = folder.path().display();
    let public_url = setup.public_url.as_ref();
    let public_url = public_url.map_or_else(
        || format!("http://127.0.0.1:{port}"),
        |url| with_port(url, port),
    );
    let store = setup
        .store
        .clone()
        .unwrap_or_else(|| format!("file:{here}/state"));
    let mut toml = format!(
        "public_url = \"{public_url}\"\nlisten = [\"127.0.0.1:{port}\"]\nadmin_listen = \"127.0.0.1:{admin_port}\"\nkeys_dir = \"{here}/keys\"\n"
    );
    toml += &setup.top;
    toml += &format!("\n[store]\nurl = \"{store}\"\n");
    if let Some(owner) = &setup.owner {
        toml += &format!(
            "\n[owner]\nname = \"{}\"\npassword_hash_file = \"{here}/password.hash\"\n",
            owner.name
        );
    }
    for (name, path, url) in &setup.backends {
        toml += &format!("\n[[backend]]\nname = \"{name}\"\npath = \"{path}\"\nurl = \"{url}\"\n");
    }
    if setup.backends.is_empty() && !setup.only_more {
        let listen = format!("127.0.0.1:{}", free_port());
        let command = [
            binary("mcp-backend").display().to_string(),
            "--documents".into(),
            workspace().join("conf/documents").display().to_string(),
            "--listen".into(),
            listen.clone(),
            "--until-stdin-closes".into(),
        ];
        toml += &format!(
            "\n[[backend]]\nname = \"documents\"\npath = \"/\"\nurl = \"http://{listen}\"\ncommand = {command:?}\n"
        );
    }
    toml + "\n" + &setup.more
}
