//! The program under test: started on a folder of its own, ended with the test.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Everything a test waits for happens within this time, or the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-backend");

/// A running backend. Killed when dropped.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    child: Child,
    stdin: Option<ChildStdin>,
}

/// A folder of documents that a test writes.
pub(crate) struct Documents(TempDir);

impl Documents {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let documents = Self(tempfile::tempdir().expect("a temporary folder"));
        for (name, text) in files {
            documents.write(name, text);
        }
        documents
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, text).expect("a written file");
    }
}

impl Backend {
    pub(crate) fn start(documents: &Path) -> Self {
        Self::start_with(documents, &[])
    }

    /// Starts on a free port with further arguments, and waits until it listens.
    pub(crate) fn start_with(documents: &Path, arguments: &[&str]) -> Self {
        Self::spawn(command(), documents, arguments)
    }

    /// Starts under a lower limit of open files.
    pub(crate) fn start_with_few_files(documents: &Path, files: usize) -> Self {
        let mut shell = command_of("sh");
        shell
            .arg("-c")
            .arg(format!("ulimit -S -n {files} && exec \"$0\" \"$@\""))
            .arg(PROGRAM);
        Self::spawn(shell, documents, &[])
    }

    fn spawn(mut command: Command, documents: &Path, arguments: &[&str]) -> Self {
        let mut child = command
            .arg("--documents")
            .arg(documents)
            .args(["--listen", "127.0.0.1:0", "--until-stdin-closes"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout is piped");
        let (lines, first) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let line = first
            .recv_timeout(PATIENCE)
            .expect("a line that says where it listens");
        let address = line.strip_prefix("listening on http://").expect(&line);
        let address = address.parse().expect("an address");
        Self {
            address,
            child,
            stdin,
        }
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn terminate(&self) {
        let id = self.child.id().to_string();
        let status = Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .expect("kill runs");
        assert!(status.success());
    }

    /// Waits for the program to end by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        wait_for(&mut self.child)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, with none of the caller's settings.
pub(crate) fn command() -> Command {
    command_of(PROGRAM)
}

fn command_of(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MCP_BACKEND_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end: exit code and what it wrote to stderr.
pub(crate) fn outcome(command: &mut Command) -> (ExitStatus, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let status = wait_for(&mut child);
    (status, reader.join().expect("the reader ends"))
}

pub(crate) fn wait_for(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().expect("a child that can be asked") {
            return status;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    panic!("the program did not end within {PATIENCE:?}");
}

/// Tries until it gives something, or fails the test.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(found) = attempt() {
            return found;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} did not happen within {PATIENCE:?}");
}
