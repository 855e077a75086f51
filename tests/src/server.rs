//! MCP servers and bridges that people run, started from the packages that
//! `tests/servers` locks: nothing is fetched at run time. Each runs as a process group
//! of its own, in a folder of its own, on a port of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Program, free_port, workspace};

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(150);

/// Where a package comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// `tests/servers/package-lock.json`.
    Npm,
    /// `tests/servers/python-v1/requirements.txt`: what needs the Python SDK 1.
    PythonV1,
    /// `tests/servers/python-v2/requirements.txt`: what needs the Python SDK 2.
    PythonV2,
    /// Nothing: `npx -y NAME@VERSION` fetches it, and what it needs as of [`AS_OF`].
    Npx,
    /// Nothing: `uvx NAME@VERSION` fetches it, and what it needs as of [`AS_OF`].
    Uvx,
}

/// What `npx` and `uvx` fetch is what there was at this time, so that each run is of the same.
pub const AS_OF: &str = "2026-11-28T00:00:00Z";

impl Lock {
    /// The version of a package that it holds.
    pub fn version(self, package: &str) -> Result<String> {
        let servers = workspace().join("tests/servers");
        let requirements = |folder: &str| -> Result<String> {
            let text = std::fs::read_to_string(servers.join(folder).join("requirements.txt"))?;
            let pinned = text
                .lines()
                .find_map(|line| line.strip_prefix(package)?.strip_prefix("=="))
                .with_context(|| format!("{package} is not in {folder}"))?;
            Ok(pinned.trim_end_matches([' ', '\\']).to_owned())
        };
        match self {
            Lock::Npx | Lock::Uvx => {
                let (_, version) = package.rsplit_once('@').context("NAME@VERSION")?;
                Ok(version.to_owned())
            }
            Lock::PythonV1 => requirements("python-v1"),
            Lock::PythonV2 => requirements("python-v2"),
            Lock::Npm => {
                let text = std::fs::read_to_string(servers.join("package-lock.json"))?;
                let lock: Value = serde_json::from_str(&text)?;
                let entry = &lock["packages"][format!("node_modules/{package}")]["version"];
                Ok(entry
                    .as_str()
                    .with_context(|| format!("{package} is not locked"))?
                    .to_owned())
            }
        }
    }
}

/// A command line and its environment.
#[derive(Clone, Debug)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Launch {
    /// A script of an npm package, by its path below `node_modules`.
    pub fn npm(script: &str) -> Self {
        let script = workspace().join("tests/servers/node_modules").join(script);
        Self::new(&workspace().join("tests/.work/node")).arg(&installed(&script))
    }

    /// A command of one of the two Python environments.
    pub fn python(lock: Lock, command: &str) -> Self {
        let environment = match lock {
            Lock::PythonV1 => "servers-v1",
            _ => "servers-v2",
        };
        Self::new(
            &workspace()
                .join("tests/.work")
                .join(environment)
                .join("bin")
                .join(command),
        )
    }

    /// A sample server on the TypeScript SDK.
    pub fn node_sample(name: &str) -> Self {
        Self::new(&workspace().join("tests/.work/node")).arg(&sample(name))
    }

    fn new(program: &Path) -> Self {
        Launch {
            program: PathBuf::from(installed(program)),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// The command line of another program as further arguments.
    #[must_use]
    pub fn then(mut self, nested: Launch) -> Self {
        self.arguments.extend(nested.words());
        self.environment.extend(nested.environment);
        self
    }

    /// The command line of another program as one argument, for a bridge that hands it to a shell.
    #[must_use]
    pub fn then_in_one(mut self, nested: Launch) -> Self {
        self.arguments.push(nested.words().join(" "));
        self.environment.extend(nested.environment);
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Program and arguments.
    pub fn words(&self) -> Vec<String> {
        let program = self.program.display().to_string();
        std::iter::once(program)
            .chain(self.arguments.iter().cloned())
            .collect()
    }
}

/// The path of a sample server of our own.
pub fn sample(name: &str) -> String {
    installed(&workspace().join("tests/servers/samples").join(name))
}

fn installed(path: &Path) -> String {
    assert!(
        path.exists(),
        "{} is missing: `tests/run` installs it",
        path.display()
    );
    path.display().to_string()
}

/// A running server. Dropping it ends its whole group.
pub struct Server {
    program: Program,
    launch: Launch,
    folder: TempDir,
    /// Where it listens on loopback.
    pub port: u16,
}

impl Server {
    /// Start what `launch` gives for a port and a folder, and wait until it listens.
    pub async fn start(launch: impl FnOnce(u16, &Path) -> Launch) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port();
        let launch = launch(port, folder.path());
        let program = start(&launch, folder.path(), port).await?;
        Ok(Server {
            program,
            launch,
            folder,
            port,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The same by name, for servers that want to be called so.
    pub fn url_by_name(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Its working folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// End it and start it again on the same port and folder.
    pub async fn restart(&mut self) -> Result<()> {
        self.end();
        self.program = start(&self.launch, self.folder.path(), self.port).await?;
        Ok(())
    }

    /// End it, and wait until nothing of its group is left.
    pub fn end(&mut self) {
        self.program.end_group(Duration::from_secs(5));
    }

    /// What it printed, for the message of a failure.
    pub fn last_words(&self) -> String {
        self.program.last_words()
    }
}

async fn start(launch: &Launch, folder: &Path, port: u16) -> Result<Program> {
    let mut environment = launch.environment.clone();
    // What it may want to write beside its work stays in its folder.
    environment.push(("HOME".into(), folder.display().to_string()));
    environment.push(("NO_PROXY".into(), "127.0.0.1,localhost".into()));
    let mut program =
        Program::start_group(&launch.program, folder, &launch.arguments, &environment)?;
    let deadline = Instant::now() + START;
    loop {
        if let Some(code) = program.ended() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            bail!("it ended with {code}\n{}", program.last_words());
        }
        // By name, as some listen on one of its two addresses only.
        if tokio::net::TcpStream::connect(("localhost", port))
            .await
            .is_ok()
        {
            return Ok(program);
        }
        if Instant::now() > deadline {
            bail!(
                "it does not listen after {START:?}\n{}",
                program.last_words()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
