//! A new process takes over, and nobody notices: no call fails, no connection is refused, no stream is
//! cut, and what was taken back stays taken back in the process that left, too.

mod failed;
mod scripted;
mod secured;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Setup};
use tests::http;
use tests::mcp::{call, initialize, open_session, post, send};
use tests::operator::done;
use tests::program::{Program, binary, signal};
use tests::scripted_mcp::MCP_STREAM;
use tests::sse::EventStream;
use tests::steady_load::{Plan, SteadyLoad, Tally};

/// As long as something may take that has to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The old one has ended, by itself and well.
async fn ends(old: &mut Program) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while old.ended().is_none() {
        ensure!(
            Instant::now() < deadline,
            "it runs on\n{}",
            old.last_words()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(old.ended() == Some(0), "{}", old.last_words());
    Ok(())
}

struct Amount {
    upgrades: u64,
    kept: usize,
    fresh: usize,
    pause: Duration,
    streams: usize,
    /// From one upgrade to the next.
    rest: Duration,
    /// `timeouts.upgrade`
    longest: &'static str,
}

async fn nobody_notices(store: StoreKind, amount: Amount) -> Result<()> {
    let audit = tempfile::tempdir()?;
    let more = format!(
        "[timeouts]\nupgrade = \"{}\"\n[audit]\nfile = \"{}/audit.jsonl\"\n",
        amount.longest,
        audit.path().display()
    );
    let mut fixture = Fixture::with(store, |setup| setup.more(&more)).await?;
    let (_, token) = fixture.signed_in().await?;
    let plan = Plan {
        address: fixture.gateway.address(),
        host: fixture.gateway.address().to_string(),
        token,
        kept: amount.kept,
        fresh: amount.fresh,
        pause: amount.pause,
        streams: amount.streams,
    };
    let load = SteadyLoad::start(&plan);
    load.await_streams(amount.streams as u64).await?;
    let (mut old, mut took) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    for _ in 0..amount.upgrades {
        tokio::time::sleep(amount.rest).await;
        let asked = Instant::now();
        old.push(fixture.gateway.upgrade().await?);
        took.push(asked.elapsed());
    }
    tokio::time::sleep(amount.rest).await;
    for old in &mut old {
        ends(old).await?;
    }
    load.await_streams(amount.streams as u64).await?;
    let lasted = begun.elapsed();
    let tally = load.stop().await;
    report(store, &amount, &tally, lasted, &took);
    ensure!(tally.problems().is_empty(), "{:#?}", tally.problems());
    let ended = tally.ended.load(Ordering::Relaxed);
    // Each stream was somewhere when that process left.
    ensure!(ended >= amount.streams as u64, "only {ended} streams ended");
    verified(&fixture, audit.path(), &tally).await
}

fn report(store: StoreKind, amount: &Amount, tally: &Tally, lasted: Duration, took: &[Duration]) {
    let answered = tally.answered.load(Ordering::Relaxed);
    let slowest = took.iter().max().copied().unwrap_or_default();
    println!(
        "{} upgrades on {store:?} within {:.1} s (the slowest {:.1} s from its start): {answered} calls ({:.0} a second), \
         {} streams ended properly and were opened again, the longest call took {} ms, {} problems",
        amount.upgrades,
        lasted.as_secs_f64(),
        slowest.as_secs_f64(),
        answered as f64 / lasted.as_secs_f64(),
        tally.ended.load(Ordering::Relaxed),
        tally.longest.load(Ordering::Relaxed),
        tally.problems().len()
    );
}

/// The audit log is whole, whichever process decided, and has every call that was answered.
async fn verified(fixture: &Fixture, audit: &Path, tally: &Tally) -> Result<()> {
    let answered = tally.answered.load(Ordering::Relaxed);
    let deadline = Instant::now() + PATIENCE;
    // Calls are on disk a moment after their answer; beyond what one grant may write one by one they are
    // counted.
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut calls = 0;
        for entry in std::fs::read_dir(audit)? {
            let text = std::fs::read_to_string(entry?.path())?;
            calls += text.matches("\"event\":\"call\"").count() as u64;
        }
        if calls == answered || answered > 1000 {
            break;
        }
        ensure!(
            calls < answered && Instant::now() < deadline,
            "{calls} calls in the log, and {answered} were answered"
        );
    }
    done(&fixture.gateway, &["audit", "verify"], "").await?;
    Ok(())
}

const SHORT: Amount = Amount {
    upgrades: 3,
    kept: 8,
    fresh: 2,
    pause: Duration::from_millis(200),
    streams: 10,
    rest: Duration::from_secs(2),
    longest: "1s",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_an_upgrade_on_the_embedded_store() -> Result<()> {
    nobody_notices(StoreKind::Embedded, SHORT).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_an_upgrade_on_redis() -> Result<()> {
    nobody_notices(StoreKind::Redis, SHORT).await
}

const LONG: Amount = Amount {
    upgrades: 20,
    kept: 100,
    fresh: 20,
    pause: Duration::from_millis(600),
    streams: 200,
    rest: Duration::from_secs(3),
    longest: "2s",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes two minutes of 200 calls a second"]
async fn nobody_notices_twenty_upgrades_on_the_embedded_store() -> Result<()> {
    nobody_notices(StoreKind::Embedded, LONG).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes two minutes of 200 calls a second"]
async fn nobody_notices_twenty_upgrades_on_redis() -> Result<()> {
    nobody_notices(StoreKind::Redis, LONG).await
}

/// A stream of a process that left goes on, has its events, and ends when its token is revoked at the new
/// one.
async fn a_stream_outlives_an_upgrade_and_not_its_token(store: StoreKind) -> Result<()> {
    let mut fixture = Fixture::on(store).await?;
    let (client, token) = fixture.signed_in().await?;
    let (_, other) = fixture.signed_in().await?;
    let open = async |token: &str| {
        let request = http::client().get(fixture.gateway.url("/mcp"));
        EventStream::open(request.bearer_auth(token)).await
    };
    let (mut stream, mut kept) = (open(&token).await?, open(&other).await?);
    fixture.backend.await_streams(2, PATIENCE).await?;
    // Two generations back.
    let mut first = fixture.gateway.upgrade().await?;
    let mut second = fixture.gateway.upgrade().await?;
    ends(&mut second).await?;
    ensure!(first.ended().is_none(), "{}", first.last_words());
    let event = json!({"still": "here"}).to_string();
    fixture
        .backend
        .push(MCP_STREAM, &format!("data: {event}\n\n"));
    assert_eq!(stream.event(PATIENCE).await?.1, event);
    assert_eq!(kept.event(PATIENCE).await?.1, event);

    let revoked = Instant::now();
    assert_eq!(client.revoke(&token).await?.status, 200);
    ensure!(
        stream.end(PATIENCE).await?,
        "the stream was cut instead of ended"
    );
    let took = revoked.elapsed();
    ensure!(took < Duration::from_secs(5), "it ended after {took:?}");
    assert_eq!(
        send(&fixture.url("/mcp"), &token, &initialize())
            .await?
            .status,
        401
    );
    fixture
        .backend
        .push(MCP_STREAM, &format!("data: {event}\n\n"));
    assert_eq!(kept.event(PATIENCE).await?.1, event, "another's stream");
    // Told to end, it does, with its last word.
    signal(first.id().context("it ended")?, "TERM").await?;
    ensure!(kept.end(PATIENCE).await?, "the stream was cut");
    ends(&mut first).await
}

#[tokio::test]
async fn a_stream_outlives_an_upgrade_and_not_its_token_on_the_embedded_store() -> Result<()> {
    a_stream_outlives_an_upgrade_and_not_its_token(StoreKind::Embedded).await
}

#[tokio::test]
async fn a_stream_outlives_an_upgrade_and_not_its_token_on_redis() -> Result<()> {
    a_stream_outlives_an_upgrade_and_not_its_token(StoreKind::Redis).await
}

/// A connection that was idle during an upgrade gets its next answer, whatever it asks for, and is closed
/// with that.
async fn the_next_answer_of_a_kept_connection(store: StoreKind) -> Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let mut fixture = Fixture::on(store).await?;
    let host = fixture.gateway.address().to_string();
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut socket = tokio::net::TcpStream::connect(fixture.gateway.address()).await?;
        let ask =
            format!("GET /.well-known/oauth-authorization-server HTTP/1.1\r\nHost: {host}\r\n\r\n");
        socket.write_all(ask.as_bytes()).await?;
        let mut first = vec![0; 16 * 1024];
        let read = tokio::time::timeout(PATIENCE, socket.read(&mut first)).await??;
        ensure!(first[..read].starts_with(b"HTTP/1.1 200"), "no answer");
        idle.push(socket);
    }
    let mut old = fixture.gateway.upgrade().await?;
    // What writes to the store, and what waits for the audit log.
    let body = json!({"redirect_uris": ["http://127.0.0.1:1/callback"], "client_name": "Kept"});
    let body = body.to_string();
    for mut socket in idle {
        let ask = format!(
            "POST /register HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(ask.as_bytes()).await?;
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await??;
        ensure!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        ensure!(
            answer.to_lowercase().contains("connection: close"),
            "{answer}"
        );
        let client = answer.split("\"client_id\":\"").nth(1);
        let client = client.and_then(|rest| rest.split('"').next());
        let client = client.context("no client id")?;
        // It is known where everybody asks now.
        done(&fixture.gateway, &["clients", "show", client], "").await?;
    }
    ends(&mut old).await
}

#[tokio::test]
async fn a_kept_connection_gets_its_next_answer_on_the_embedded_store() -> Result<()> {
    the_next_answer_of_a_kept_connection(StoreKind::Embedded).await
}

#[tokio::test]
async fn a_kept_connection_gets_its_next_answer_on_redis() -> Result<()> {
    the_next_answer_of_a_kept_connection(StoreKind::Redis).await
}

#[tokio::test]
async fn a_program_beside_the_gateway_goes_on_and_ends_with_the_last_one() -> Result<()> {
    let mut gateway = Gateway::start(Setup::default()).await?;
    let client = tests::oauth::OAuthClient::register(&gateway.origin(), "A").await?;
    let token = client.sign_in(&tests::gateway::Owner::alice()).await?;
    let started = async |gateway: &Gateway| -> Result<u64> {
        let line = gateway.logged("\"backend_started\"").await?;
        let line: serde_json::Value = serde_json::from_str(&line)?;
        line["pid"].as_u64().context("no program")
    };
    let process = started(&gateway).await?;
    let session = open_session(&gateway.url("/mcp"), &token).await?;
    let ask = async |gateway: &Gateway, session: &str| {
        let search = call(1, "search", &json!({"query": "policy"}));
        let request = post(&gateway.url("/mcp"), &token, &search);
        http::send(request.header("Mcp-Session-Id", session)).await
    };
    let mut old = gateway.upgrade().await?;
    ends(&mut old).await?;
    assert_eq!(started(&gateway).await?, process, "it was adopted");
    // With its sessions.
    let reply = ask(&gateway, &session).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // It is started again by its new owner.
    signal(u32::try_from(process)?, "KILL").await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let session = open_session(&gateway.url("/mcp"), &token).await;
        if let Ok(session) = session {
            let reply = ask(&gateway, &session).await?;
            assert_eq!(reply.status, 200, "{}", reply.text);
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "{}",
            gateway.program().last_words()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    gateway.program().terminate(PATIENCE).await?;
    Ok(())
}

/// A process that nobody here has started is ended all the same, however the test ends.
struct Ended(u32);

impl Drop for Ended {
    fn drop(&mut self) {
        let id = self.0.to_string();
        // It may have ended long ago.
        let _ = std::process::Command::new("kill")
            .args(["-s", "KILL", &id])
            .stderr(std::process::Stdio::null())
            .status();
    }
}

#[tokio::test]
async fn the_command_starts_the_new_process_and_systemd_learns_which_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let told = || -> Result<Vec<String>> {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).context("nothing was told")?;
        let text = std::str::from_utf8(&bytes[..length])?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let mut gateway = Gateway::start(Setup {
        environment: vec![("NOTIFY_SOCKET".to_owned(), path.display().to_string())],
        only_more: true,
        more: "[[backend]]\nurl = \"http://127.0.0.1:9\"\n".to_owned(),
        hasty: true,
        ..Setup::default()
    })
    .await?;
    assert_eq!(told()?[0], "READY=1");
    let config = gateway.folder().join("gateway.toml").display().to_string();
    // As `systemctl reload` runs it: without the socket in its environment.
    let words = ["upgrade", "--config", &config];
    let begun = Instant::now();
    let mut command = Program::start(&binary("gateway"), &gateway.folder(), &words, &[])?;
    ends(&mut command).await?;
    println!("upgraded within {:?}", begun.elapsed());
    let main = told()?;
    let process = main[0].strip_prefix("MAINPID=").context("no MAINPID")?;
    let process: u32 = process.parse()?;
    let _ended = Ended(process);
    assert_ne!(Some(process), gateway.process_id());
    // The new one says by itself that it serves.
    let ready = told()?;
    assert_eq!(ready[0], "READY=1", "{ready:?}");
    ends(gateway.program()).await?;
    let reply = http::get(&gateway.url("/.well-known/oauth-authorization-server")).await;
    signal(process, "TERM").await?;
    assert_eq!(reply?.status, 200);
    let stopping = told()?;
    assert_eq!(stopping[0], "STOPPING=1");
    Ok(())
}
