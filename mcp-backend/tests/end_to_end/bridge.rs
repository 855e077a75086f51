//! `mcp-backend bridge` in front of a server that does what the test tells it to.

mod hostile;
mod owners;
mod processes;
mod questions;
mod revisions;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use serde_json::{Value, json};

use crate::backend::{PATIENCE, command, eventually, wait_for};
use crate::mcp::{self, Client, SessionClient, StatelessClient};
use crate::wire::Answer;

/// The server of the tests' own.
const SERVER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/end_to_end/bridge/server.py"
);

/// A running bridge. Killed when dropped.
struct Bridge {
    address: SocketAddr,
    child: Child,
    stdin: Option<ChildStdin>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Bridge {
    /// In front of the scripted server in one of its modes.
    fn start(mode: &str) -> Self {
        Self::start_with(mode, &[])
    }

    fn start_with(mode: &str, options: &[&str]) -> Self {
        Self::spawn(command(), options, &["python3", SERVER, mode])
    }

    /// In front of another command, with the options of the bridge.
    fn spawn(mut bridge: Command, options: &[&str], server: &[&str]) -> Self {
        let mut child = bridge
            .args(["bridge", "--listen", "127.0.0.1:0", "--until-stdin-closes"])
            .args(options)
            .arg("--")
            .args(server)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::<Mutex<Vec<String>>>::default();
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let (said, first) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
        let line = first
            .recv_timeout(PATIENCE)
            .expect("a line that says where it listens");
        let address = line.strip_prefix("listening on http://").expect(&line);
        Self {
            address: address.parse().expect("an address"),
            child,
            stdin,
            log,
        }
    }

    fn log(&self) -> Vec<Value> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let parsed = log.iter().map(|line| serde_json::from_str(line));
        parsed.map(|line| line.expect("a line of JSON")).collect()
    }

    fn events(&self, name: &str) -> Vec<Value> {
        let mut log = self.log();
        log.retain(|line| line["event"] == name);
        log
    }

    /// A message of 2026-07-28 as a person's client sends it.
    fn ask_as(&self, person: &str, method: &str, params: Value) -> Answer {
        let message = mcp::request(1, method, StatelessClient::with_meta(params.clone()));
        let name = params["name"].as_str().unwrap_or_default().to_owned();
        let mut headers = vec![
            ("mcp-protocol-version", mcp::STATELESS),
            ("mcp-method", method),
            ("x-forwarded-user", person),
        ];
        if !name.is_empty() {
            headers.push(("mcp-name", &name));
        }
        mcp::post(self.address, &headers, &message)
    }

    fn ended(&mut self) -> ExitStatus {
        wait_for(&mut self.child)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // The gentle end first: it also proves nothing hangs.
        self.stdin = None;
        let _ = wait_for(&mut self.child);
    }
}

/// What a tool of the scripted server said, as the JSON that it is.
fn said(result: &Value) -> Value {
    let text = result["content"][0]["text"].as_str().expect("a text");
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

/// The number of the process behind a client.
fn pid(client: &mut impl Client) -> u64 {
    said(&client.call("environment", json!({})))["pid"]
        .as_u64()
        .expect("a number")
}

fn is_running(pid: u64) -> bool {
    // A zombie has ended.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn is_gone(pid: u64) {
    eventually("the end of the process", || {
        (!is_running(pid)).then_some(())
    });
}

fn session(bridge: &Bridge) -> SessionClient {
    SessionClient::connect(bridge.address, "2025-11-25")
}

fn stateless(bridge: &Bridge) -> StatelessClient {
    StatelessClient {
        address: bridge.address,
    }
}
