//! A desk of its own for a desktop client: a home folder, a bare environment, and a
//! browser at which the owner sits and answers the gateway's pages. The owner can
//! leave: what asks for a login then is written down and gets none.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::gateway::Owner;
use crate::program::workspace;

/// What may start a browser, by any name that a client tries.
const LAUNCHERS: [&str; 5] = [
    "xdg-open",
    "open",
    "sensible-browser",
    "www-browser",
    "x-www-browser",
];

/// Switches that keep clients from calling home. There is no way out of the test machine; this
/// keeps them from waiting for one.
const QUIET: [(&str, &str); 8] = [
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    ("DISABLE_TELEMETRY", "1"),
    ("DO_NOT_TRACK", "1"),
    ("FASTMCP_CHECK_FOR_UPDATES", "off"),
    ("NO_UPDATE_NOTIFIER", "1"),
    ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
    ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
];

/// A home folder with a browser. Dropping it removes the folder.
pub struct DesktopClient {
    folder: TempDir,
    answer: Answer,
    provider: Option<String>,
    environment: Vec<(String, String)>,
}

/// What a person answers to the consent page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What the page offers first: "Read only", to an app that nobody vouches for.
    Offered,
    /// "Read only", where the page offers more first.
    ReadOnly,
    /// "Everything".
    Everything,
}

/// A program that ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub errors: String,
}

impl DesktopClient {
    /// A desk at which `owner` sits.
    pub fn new(owner: &Owner) -> Result<Self> {
        let desktop = DesktopClient {
            folder: tempfile::Builder::new().prefix("desk").tempdir()?,
            answer: Answer::Offered,
            provider: None,
            environment: Vec::new(),
        };
        std::fs::create_dir(desktop.home())?;
        std::fs::create_dir(desktop.programs())?;
        desktop.seat(Some(owner))?;
        Ok(desktop)
    }

    /// The owner answers this to the consent page.
    pub fn answers(&mut self, owner: &Owner, answer: Answer) -> Result<()> {
        self.answer = answer;
        self.seat(Some(owner))
    }

    /// Somebody else sits here, who logs in at an identity provider under this name.
    pub fn logs_in_at(&mut self, issuer: &str, person: &Owner) -> Result<()> {
        self.provider = Some(issuer.to_owned());
        self.seat(Some(person))
    }

    /// What the owner answers, as `tests/clients/person.py` is told it: a variable, set or not.
    pub fn answer(&self) -> &'static str {
        match self.answer {
            Answer::Offered => "",
            Answer::ReadOnly => "ALLOW_READING=1",
            Answer::Everything => "ALLOW_EVERYTHING=1",
        }
    }

    /// The home folder, which is also where programs start.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// One more variable for every program started here.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Write a file under the home folder.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.home().join(path);
        std::fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        Ok(std::fs::write(path, text)?)
    }

    /// The owner goes away: from now on nobody answers the pages.
    pub fn leave(&self) -> Result<()> {
        self.seat(None)
    }

    /// Every URL for which a browser was started, in order.
    pub fn opened(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines()
            .filter_map(|line| line.strip_prefix("opened "))
            .map(String::from)
            .collect()
    }

    /// Writes down that a client which has a browser of its own was sent to this URL in it.
    pub fn was_opened(&self, url: &str) -> Result<()> {
        let log = self.browser_log();
        Ok(std::fs::write(self.log(), format!("{log}opened {url}\n"))?)
    }

    /// What the browser wrote down, for the message of a failure.
    pub fn browser_log(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Run a program to its end within `patience`; on the way out its whole process group goes.
    pub async fn run(
        &self,
        program: &Path,
        arguments: &[&str],
        patience: Duration,
    ) -> Result<Ended> {
        let mut command = self.command(program, arguments);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        // Also where the caller stops waiting.
        let group = Group(child.id());
        let output = tokio::time::timeout(patience, child.wait_with_output()).await;
        drop(group);
        let output = output.with_context(|| {
            format!(
                "{} {arguments:?} is not done after {patience:?}; its browser:\n{}",
                program.display(),
                self.browser_log()
            )
        })??;
        Ok(Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The same at a terminal, for programs that ask for one. Both outputs come as one.
    pub async fn run_at_terminal(
        &self,
        program: &Path,
        arguments: &[&str],
        patience: Duration,
    ) -> Result<Ended> {
        let line = quoted(program, arguments);
        self.run(Path::new("script"), &["-qec", &line, "/dev/null"], patience)
            .await
    }

    /// The same, with what the person types before it asks.
    pub async fn run_at_terminal_typing(
        &self,
        program: &Path,
        arguments: &[&str],
        typed: &str,
        patience: Duration,
    ) -> Result<Ended> {
        let line = quoted(program, arguments);
        let typing = format!(
            "printf '%s\\n' {} | script -qec {} /dev/null",
            quote(typed),
            quote(&line)
        );
        self.run(Path::new("sh"), &["-c", &typing], patience).await
    }

    /// Start a program at a terminal, wait until `done`, and end it: for those that stay.
    pub async fn at_terminal_until(
        &self,
        program: &Path,
        arguments: &[&str],
        patience: Duration,
        done: impl Fn() -> bool,
    ) -> Result<()> {
        let staying = self.run_at_terminal(program, arguments, patience);
        let watching = async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            ended = staying => anyhow::bail!("it did not stay: {:?}", ended?),
            () = watching => Ok(()),
        }
    }

    /// Where a program that is spoken to writes its standard error.
    pub fn errors(&self) -> PathBuf {
        self.folder.path().join("errors.log")
    }

    /// Start a program that is spoken to in lines of JSON.
    pub fn converse(&self, program: &Path, arguments: &[&str]) -> Result<Conversation> {
        let errors = std::fs::File::create(self.errors())?;
        let mut child = self
            .command(program, arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let group = Group(child.id());
        let input = child.stdin.take().context("piped above")?;
        let output = BufReader::new(child.stdout.take().context("piped above")?).lines();
        Ok(Conversation {
            input,
            output,
            errors: self.errors(),
            next_id: 1,
            _group: group,
            _child: child,
        })
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let home = self.home();
        let node = workspace().join("tests/.work");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&home)
            .env_clear()
            .env("HOME", &home)
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env(
                "PATH",
                format!("{}:{}:{path}", self.programs().display(), node.display()),
            )
            .env("BROWSER", self.programs().join("xdg-open"))
            .env("TERM", "xterm")
            .env("LANG", "C.UTF-8")
            .envs(QUIET)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true)
            .process_group(0);
        command
    }

    fn programs(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("browser.log")
    }

    fn seat(&self, owner: Option<&Owner>) -> Result<()> {
        let who = owner.map(|owner| {
            let provider = self.provider.as_ref();
            let provider =
                provider.map_or_else(String::new, |issuer| format!("PROVIDER='{issuer}'"));
            format!(
                "OWNER_NAME='{}' OWNER_PASSWORD='{}' {} {provider} ",
                owner.name,
                owner.password,
                self.answer()
            )
        });
        let script = format!(
            "#!/bin/sh\n{}exec '{}' '{}' '{}' \"$@\"\n",
            who.unwrap_or_default(),
            workspace()
                .join("tests/.work/python-v1/bin/python")
                .display(),
            workspace().join("tests/clients/browser.py").display(),
            self.log().display(),
        );
        for launcher in LAUNCHERS {
            let path = self.programs().join(launcher);
            std::fs::write(&path, &script)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }
}

/// A word of a shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A command line of a shell.
fn quoted(program: &Path, arguments: &[&str]) -> String {
    let words = std::iter::once(quote(&program.display().to_string()));
    let words = words.chain(arguments.iter().map(|word| quote(word)));
    words.collect::<Vec<_>>().join(" ")
}

/// A process group of the test's own, which ends with this value.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            let _ = std::process::Command::new("kill")
                .args(["-KILL", "--", &format!("-{id}")])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// A program spoken to in lines of JSON-RPC. Dropping it ends it.
pub struct Conversation {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    errors: PathBuf,
    next_id: u64,
    _group: Group,
    _child: Child,
}

impl Conversation {
    /// Send a request; its `result`, waiting at most `patience`. Messages in between are dropped.
    pub async fn ask(&mut self, method: &str, params: Value, patience: Duration) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await?;
        let reply = tokio::time::timeout(patience, async {
            while let Some(line) = self.output.next_line().await? {
                let message: Value = serde_json::from_str(&line).unwrap_or_default();
                if message["id"] == id && message.get("method").is_none() {
                    return Ok::<_, anyhow::Error>(message);
                }
            }
            anyhow::bail!("it ended")
        });
        let reply = reply
            .await
            .context("no answer in time")
            .and_then(|reply| reply)
            .with_context(|| {
                format!(
                    "{method}\n{}",
                    std::fs::read_to_string(&self.errors).unwrap_or_default()
                )
            })?;
        anyhow::ensure!(reply.get("result").is_some(), "{method} gave {reply}");
        Ok(reply["result"].clone())
    }

    /// Send a notification.
    pub async fn tell(&mut self, method: &str) -> Result<()> {
        self.send(&json!({"jsonrpc": "2.0", "method": method}))
            .await
    }

    async fn send(&mut self, message: &Value) -> Result<()> {
        self.input
            .write_all(format!("{message}\n").as_bytes())
            .await?;
        Ok(self.input.flush().await?)
    }
}
