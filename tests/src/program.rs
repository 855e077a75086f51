//! A child process of a test: where the binaries are, a free port for them, their
//! output line by line, and a sure end. Knows nothing of what the program does.

use std::ffi::OsStr;
use std::io::{BufRead as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

pub use crate::machine::free_port;

/// What a program has of the test's environment.
const PASSED: [&str; 5] = ["PATH", "HOME", "TMPDIR", "LANG", "GATEWAY_LANE"];

/// Lines that a program wrote so far, in order; clones see the same lines.
#[derive(Clone, Default)]
pub struct Lines {
    held: Arc<Mutex<Vec<String>>>,
    /// Whether nothing more can come.
    ended: Arc<AtomicBool>,
}

impl Lines {
    /// Everything written so far.
    pub fn all(&self) -> Vec<String> {
        self.held
            .lock()
            .expect("no holder of this lock panics")
            .clone()
    }

    /// Everything, once the program has closed what it writes to; what is there after `patience` otherwise.
    pub async fn to_the_end(&self, patience: Duration) -> Vec<String> {
        let deadline = Instant::now() + patience;
        while !self.ended.load(Ordering::Acquire) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.all()
    }

    /// The first line for which `found` holds, waiting at most `patience`.
    pub async fn wait(&self, patience: Duration, found: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(line) = self.all().into_iter().find(|line| found(line)) {
                return Some(line);
            }
            if Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// On a thread of its own, so that lines come while a test waits for nothing else.
    fn follow(&self, source: std::io::Result<OwnedFd>) -> Result<()> {
        let lines = self.clone();
        let source = std::io::BufReader::new(std::fs::File::from(source?));
        std::thread::spawn(move || {
            for line in source.lines().map_while(Result::ok) {
                lines
                    .held
                    .lock()
                    .expect("no holder of this lock panics")
                    .push(line);
            }
            lines.ended.store(true, Ordering::Release);
        });
        Ok(())
    }
}

/// A running program. Dropping it kills it, and with it its whole group if it leads one.
pub struct Program {
    child: Child,
    name: String,
    group: Option<u32>,
    /// Standard output.
    pub stdout: Lines,
    /// Standard error.
    pub stderr: Lines,
}

impl Program {
    /// Start `binary` in `folder` with `arguments`, and `environment` added to a clean one. Of ours it has
    /// `GATEWAY_LANE`, which forces a road for all requests of a run.
    pub fn start<A: AsRef<OsStr>>(
        binary: &Path,
        folder: &Path,
        arguments: &[A],
        environment: &[(String, String)],
    ) -> Result<Self> {
        Self::spawn(
            Command::new(binary).args(arguments),
            binary,
            folder,
            environment,
        )
    }

    /// The same with no more than `limit` open files.
    pub fn start_with_open_files<A: AsRef<OsStr>>(
        limit: u64,
        binary: &Path,
        folder: &Path,
        arguments: &[A],
        environment: &[(String, String)],
    ) -> Result<Self> {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")])
            .arg(binary)
            .args(arguments);
        Self::spawn(&mut command, binary, folder, environment)
    }

    /// The same as the leader of a process group, for a program that starts others: they end with
    /// it, and it ends with the test's thread even if that is killed.
    pub fn start_group<A: AsRef<OsStr>>(
        binary: &Path,
        folder: &Path,
        arguments: &[A],
        environment: &[(String, String)],
    ) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "--"])
            .arg(binary)
            .args(arguments)
            .process_group(0);
        let mut program = Self::spawn(&mut command, binary, folder, environment)?;
        program.group = program.id();
        Ok(program)
    }

    /// The same as a server that nobody else ends: it goes with the test's thread even if that is killed.
    pub fn start_bound<A: AsRef<OsStr>>(
        binary: &Path,
        folder: &Path,
        arguments: &[A],
        environment: &[(String, String)],
    ) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(binary)
            .args(arguments);
        Self::spawn(&mut command, binary, folder, environment)
    }

    fn spawn(
        command: &mut Command,
        binary: &Path,
        folder: &Path,
        environment: &[(String, String)],
    ) -> Result<Self> {
        let mut child = command
            .current_dir(folder)
            .env_clear()
            .envs(std::env::vars().filter(|(key, _)| PASSED.contains(&key.as_str())))
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let (stdout, stderr) = (Lines::default(), Lines::default());
        stdout.follow(child.stdout.take().expect("piped above").into_owned_fd())?;
        stderr.follow(child.stderr.take().expect("piped above").into_owned_fd())?;
        let name = binary
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Program {
            child,
            name,
            group: None,
            stdout,
            stderr,
        })
    }

    /// The process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// `Some(code)` once it has ended; -1 when a signal ended it.
    pub fn ended(&mut self) -> Option<i32> {
        self.child
            .try_wait()
            .ok()
            .flatten()
            .map(|status| status.code().unwrap_or(-1))
    }

    /// SIGKILL, and wait until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("kill {}", self.name))
    }

    /// SIGTERM; its exit code, or an error when it is still there after `patience`.
    pub async fn terminate(&mut self, patience: Duration) -> Result<i32> {
        if let Some(id) = self.child.id() {
            signal(id, "TERM").await?;
        }
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(status) => Ok(status?.code().unwrap_or(-1)),
            Err(_) => bail!("{} still runs {patience:?} after SIGTERM", self.name),
        }
    }

    /// SIGTERM to the whole group, SIGKILL to what is left of it after `patience`. Says whether
    /// everything went by itself.
    pub fn end_group(&mut self, patience: Duration) -> bool {
        let Some(group) = self.group.take() else {
            return true;
        };
        signal_group(group, "TERM");
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            // A leader that nobody has waited for still counts as a member.
            let _ = self.child.try_wait();
            if !signal_group(group, "0") {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        signal_group(group, "KILL");
        let _ = self.child.try_wait();
        false
    }

    /// A signal by name to the whole group, for example `STOP`; whether anybody was there.
    pub fn signal_group(&self, name: &str) -> bool {
        self.group.is_some_and(|group| signal_group(group, name))
    }

    /// Resident memory in bytes.
    pub fn resident_memory(&self) -> Result<u64> {
        let id = self.id().context("it has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .context("no VmRSS line")?;
        let kilobytes: u64 = line
            .split_whitespace()
            .nth(1)
            .context("no VmRSS value")?
            .parse()?;
        Ok(kilobytes * 1024)
    }

    /// CPU time so far.
    pub fn cpu_time(&self) -> Result<Duration> {
        let id = self.id().context("it has ended")?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// What it wrote, for the message of a failure.
    pub fn last_words(&self) -> String {
        let tail = |lines: Vec<String>| lines[lines.len().saturating_sub(40)..].join("\n");
        format!(
            "--- {} stdout\n{}\n--- stderr\n{}",
            self.name,
            tail(self.stdout.all()),
            tail(self.stderr.all())
        )
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end_group(Duration::from_secs(3));
    }
}

/// Whether there was anything in the group to send it to.
fn signal_group(group: u32, name: &str) -> bool {
    std::process::Command::new("kill")
        .args(["-s", name, "--", &format!("-{group}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Send a signal by name, for example `TERM` or `STOP`.
pub async fn signal(id: u32, name: &str) -> Result<()> {
    let done = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(id.to_string())
        .status()
        .await?;
    if !done.success() {
        bail!("kill -{name} {id} failed");
    }
    Ok(())
}

/// Lets a running process open no more than `spare` files beside those that it has.
pub fn leave_files(id: u32, spare: usize) -> Result<()> {
    let mut taken = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{id}/fd"))? {
        let name = entry?.file_name();
        taken.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    let mut free = (0..).filter(|number| !taken.contains(number));
    let limit = free.nth(spare).context("numbers do not end")?;
    limit_files(id, &format!("{limit}:"))
}

/// Lets a running process open no file at all, not even in place of one that it closes.
pub fn forbid_files(id: u32) -> Result<()> {
    limit_files(id, "1:")
}

/// Lets it open as many again as it may have at most.
pub fn give_files_back(id: u32) -> Result<()> {
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits"))?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(4));
    limit_files(id, &format!("{}:", hard.context("no limit")?))
}

fn limit_files(id: u32, limit: &str) -> Result<()> {
    let done = std::process::Command::new("prlimit")
        .args(["--pid", &id.to_string(), &format!("--nofile={limit}")])
        .status()?;
    anyhow::ensure!(done.success(), "prlimit ended with {done}");
    Ok(())
}

/// Run a program to its end with `input`, within 30 seconds; its exit code and output.
///
/// It runs in an empty folder of its own and without this machine's settings for a gateway: what a
/// person's own run leaves in the clone, as `./state`, is nothing that a test may meet or change.
pub async fn run<A: AsRef<OsStr>>(
    binary: &Path,
    arguments: &[A],
    input: &str,
) -> Result<(i32, String, String)> {
    let folder = tempfile::tempdir()?;
    run_in(folder.path(), binary, arguments, input).await
}

/// The same in a folder that the test prepared.
pub async fn run_in<A: AsRef<OsStr>>(
    folder: &Path,
    binary: &Path,
    arguments: &[A],
    input: &str,
) -> Result<(i32, String, String)> {
    let mut file = tempfile::tempfile()?;
    file.write_all(input.as_bytes())?;
    std::io::Seek::rewind(&mut file)?;
    let mut command = Command::new(binary);
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(file)
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name != "GATEWAY_LANE" && name.to_string_lossy().starts_with("GATEWAY_") {
            command.env_remove(name);
        }
    }
    let ended = command.output();
    let output = tokio::time::timeout(Duration::from_secs(30), ended)
        .await
        .context("not done after 30 s")??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    ))
}

/// A binary of this workspace: `$GATEWAY_BINARIES/name`, else beside the test executable.
pub fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os("GATEWAY_BINARIES")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            let me = std::env::current_exe().expect("the test executable has a path");
            me.ancestors()
                .nth(2)
                .expect("target/PROFILE/deps/test")
                .to_path_buf()
        });
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build` with the same profile first",
        path.display()
    );
    path
}

/// A folder with a copy of `conf/`, as a fresh clone has it.
pub fn fresh_clone() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(workspace().join("conf"))
        .arg(folder.path())
        .status()?;
    anyhow::ensure!(copied.success(), "conf/ could not be copied");
    Ok(folder)
}

/// The workspace's top folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the workspace")
        .to_path_buf()
}
