//! Starting up never waits for a backend: what answers at once, what is told of those that do not,
//! and servers on stdin and stdout that take long or end at once.

mod silent;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::mcp::{self, call, response};
use tests::oauth::OAuthClient;
use tests::program::{Program, binary, free_port};
use tests::recorder::{Answer, Recorded, Recorder, Step};
use tests::scripted_mcp;

/// As long as something may take that has to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A server on stdin and stdout with one tool. Its arguments: how many seconds it takes to its list
/// of tools (`hang` for ever, `exit` to end at once once its file `.broken` is there), and a file that
/// gets a line for each start.
const SERVER: &str = r#"
import json, os, sys, time
wait, starts = sys.argv[1], sys.argv[2]
with open(starts, "a") as file:
    file.write(f"{os.getpid()}\n")
if wait == "exit" and os.path.exists(starts + ".broken"):
    print("no configuration found: secret.toml", file=sys.stderr, flush=True)
    sys.exit(7)
if wait == "hang":
    time.sleep(3600)
time.sleep(float(wait) if wait != "exit" else 0)
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    method = message.get("method")
    answer = {"jsonrpc": "2.0", "id": message["id"]}
    if method == "initialize":
        answer["result"] = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                            "serverInfo": {"name": "slow", "version": "1"}}
    elif method == "tools/list":
        answer["result"] = {"tools": [{"name": "tell_pid", "annotations": {"readOnlyHint": True},
                                       "inputSchema": {"type": "object"}}]}
    elif method == "tools/call":
        time.sleep(float(message["params"].get("arguments", {}).get("seconds", 0)))
        answer["result"] = {"content": [{"type": "text", "text": str(os.getpid())}]}
    else:
        answer["error"] = {"code": -32601, "message": "no such method"}
    print(json.dumps(answer), flush=True)
"#;

/// The scripted server, and where it writes its starts.
struct Scripted {
    folder: tempfile::TempDir,
}

impl Scripted {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("server.py"), SERVER)?;
        Ok(Self { folder })
    }

    fn words(&self, name: &str, how: &str) -> Vec<String> {
        let at = |file: &str| self.folder.path().join(file).display().to_string();
        vec![
            "python3".into(),
            at("server.py"),
            how.into(),
            at(&format!("{name}.starts")),
        ]
    }

    fn backend(&self, name: &str, how: &str, more: &str) -> String {
        format!(
            "[[backend]]\nname = \"{name}\"\npath = \"/{name}\"\nstdio = {:?}\n{more}\n",
            self.words(name, how)
        )
    }

    fn break_it(&self, name: &str) -> Result<()> {
        let file = format!("{name}.starts.broken");
        Ok(std::fs::write(self.folder.path().join(file), "")?)
    }

    fn starts(&self, name: &str) -> usize {
        let file = self.folder.path().join(format!("{name}.starts"));
        std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
    }
}

async fn ready(gateway: &Gateway) -> Result<Reply> {
    http::get(&gateway.admin_url("/readyz")).await
}

/// The answer of `/readyz` that is 200, whatever the backends do: only a slow disk may be in its way.
async fn ready_at(admin: u16) -> Result<Reply> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = http::get(&format!("http://127.0.0.1:{admin}/readyz")).await?;
        if reply.status == 200 {
            return Ok(reply);
        }
        ensure!(Instant::now() < deadline, "{}", reply.text);
    }
}

/// Waits until `/readyz` has such a line.
async fn told(gateway: &Gateway, what: &str) -> Result<Reply> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = ready(gateway).await?;
        if reply.text.lines().any(|line| line.contains(what)) {
            return Ok(reply);
        }
        ensure!(Instant::now() < deadline, "no `{what}` in\n{}", reply.text);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A gateway as a person starts it, and how long it took until both listeners answered.
async fn cold_start(config: &str, folder: &Path) -> Result<(Program, Duration, u16)> {
    let (port, admin) = (free_port(), free_port());
    let here = folder.display();
    let toml = format!(
        "public_url = \"http://127.0.0.1:{port}\"\nlisten = [\"127.0.0.1:{port}\"]\nadmin_listen = \"127.0.0.1:{admin}\"\nkeys_dir = \"{here}/keys\"\n[store]\nurl = \"file:{here}/state\"\n{config}"
    );
    std::fs::write(folder.join("gateway.toml"), toml)?;
    let begun = Instant::now();
    let arguments = ["serve", "--config", "gateway.toml"];
    let mut program = Program::start(&binary("gateway"), folder, &arguments, &[])?;
    let health = format!("http://127.0.0.1:{admin}/healthz");
    while !http::get(&health)
        .await
        .is_ok_and(|reply| reply.status == 200)
    {
        ensure!(program.ended().is_none(), "{}", program.last_words());
        ensure!(begun.elapsed() < PATIENCE, "{}", program.last_words());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Healthy is: the public address takes connections, at once.
    let page = http::get(&format!("http://127.0.0.1:{port}/")).await?;
    ensure!(page.status < 500, "{}", page.text);
    Ok((program, begun.elapsed(), admin))
}

/// Asked one after the other, these would take more than 20 s; each of them alone more than 5 s.
#[tokio::test]
async fn ten_servers_on_stdio_of_which_one_hangs_hold_nothing_up() -> Result<()> {
    let scripted = Scripted::new()?;
    let mut config = scripted.backend("hung", "hang", "start_timeout = \"1h\"");
    for at in 1..10 {
        config += &scripted.backend(&format!("s{at}"), "6", "");
    }
    let folder = tempfile::tempdir()?;
    let (program, took, admin) = cold_start(&config, folder.path()).await?;
    println!("first answer after {took:?}");
    // A second by itself; the bound is for a machine on which all tests run at once.
    ensure!(took < Duration::from_secs(5), "{took:?}");
    let ready = ready_at(admin).await?;
    assert!(
        ready.text.contains("backend hung: pending"),
        "{}",
        ready.text
    );
    // The list fills in as they answer, side by side.
    for at in 1..10 {
        let wanted = format!("✓ backend    s{at} at /s{at}/mcp");
        let line = program
            .stdout
            .wait(PATIENCE, |line| line.contains(&wanted))
            .await;
        line.with_context(|| format!("{wanted}\n{}", program.last_words()))?;
    }
    let printed = program.stdout.all().join("\n");
    assert!(
        printed.contains("… backend    hung at /hung/mcp"),
        "{printed}"
    );
    let ready = http::get(&format!("http://127.0.0.1:{admin}/readyz")).await?;
    assert!(
        ready.text.contains("backend s9: ok, 1 tools"),
        "{}",
        ready.text
    );
    Ok(())
}

#[tokio::test]
async fn a_backend_that_swallows_connections_holds_nothing_up() -> Result<()> {
    let silent = Recorder::start(|_: &Recorded| Answer::Silence).await?;
    let away = free_port();
    let config = format!(
        "[[backend]]\nname = \"silent\"\npath = \"/silent\"\nurl = \"{}\"\n[[backend]]\nname = \"away\"\npath = \"/away\"\nurl = \"http://127.0.0.1:{away}\"\n",
        silent.url()
    );
    let folder = tempfile::tempdir()?;
    let (program, took, admin) = cold_start(&config, folder.path()).await?;
    ensure!(took < Duration::from_secs(5), "{took:?}");
    let place = format!("http://127.0.0.1:{away}/mcp");
    let told = |line: &str| {
        line.contains("! backend    away at /away/mcp: can't connect") && line.contains(&place)
    };
    let line = program.stdout.wait(PATIENCE, told).await;
    line.with_context(|| program.last_words())?;
    let ready = ready_at(admin).await?;
    assert!(
        ready.text.contains("backend silent: pending"),
        "{}",
        ready.text
    );
    assert!(
        ready.text.contains("backend away: failed"),
        "{}",
        ready.text
    );
    Ok(())
}

#[tokio::test]
async fn a_backend_that_comes_and_goes_is_told_by_readyz() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    told(&fixture.gateway, "backend main: ok, 3 tools").await?;
    let (_, token) = fixture.signed_in().await?;
    let gone = std::mem::replace(
        &mut fixture.backend,
        Recorder::start(scripted_mcp::answer).await?,
    );
    drop(gone);
    // A call finds out.
    let reply = mcp::send(&fixture.url("/mcp"), &token, &mcp::initialize()).await?;
    assert_eq!(reply.status, 502, "{}", reply.text);
    told(&fixture.gateway, "backend main: failed").await?;
    ready_at(fixture.gateway.admin_port).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_ends_at_once_is_told_with_its_last_line_and_started_ever_less_often()
-> Result<()> {
    let scripted = Scripted::new()?;
    let mut gateway = Gateway::start(Setup {
        hasty: true,
        more: scripted.backend("broken", "exit", "") + &scripted.backend("well", "0", ""),
        ..no_backend()
    })
    .await?;
    told(&gateway, "backend broken: ok").await?;
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    let resource = gateway.url("/broken/mcp");
    let token = client.sign_in_for(&Owner::alice(), &resource).await?;
    scripted.break_it("broken")?;
    gateway.restart().await?;
    let last_line = "no configuration found: secret.toml";
    told(&gateway, "backend broken: failed").await?;
    let reply = told(&gateway, last_line).await?;
    assert!(reply.text.contains("exit code 7"), "{}", reply.text);
    let line = gateway
        .prints(|line| line.contains("! backend    broken") && line.contains(last_line))
        .await?;
    assert!(line.contains("exit code 7"), "{line}");
    told(&gateway, "backend well: ok").await?;

    // Clients are told that it ended, and not its words, which are the operator's.
    let before = scripted.starts("broken");
    let begun = Instant::now();
    for _ in 0..40 {
        let reply = mcp::send(&resource, &token, &mcp::initialize()).await?;
        let answer = response(&reply)?;
        let sentence = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(sentence.contains("exit code 7"), "{answer}");
        assert!(!sentence.contains("secret.toml"), "{answer}");
    }
    let starts = scripted.starts("broken") - before;
    ensure!(starts < 8, "{starts} starts in {:?}", begun.elapsed());
    Ok(())
}

/// None but those in `more`.
fn no_backend() -> Setup {
    Setup {
        only_more: true,
        ..Setup::default()
    }
}

fn is_waiting(words: &str) -> bool {
    words.contains("This page goes on by itself")
}

/// Where the page says that it goes, as a browser without scripts reads it.
fn refreshed(page: &tests::browser::Page) -> Result<url::Url> {
    let html = &page.reply.text;
    let after = html
        .split_once("http-equiv=\"refresh\" content=\"2;url=")
        .context("no refresh")?
        .1;
    let target = after.split('"').next().unwrap_or_default();
    Ok(page
        .url
        .join(&target.replace("&#38;", "&").replace("&amp;", "&"))?)
}

#[tokio::test]
async fn a_server_that_takes_six_seconds_is_waited_for_and_started_once() -> Result<()> {
    let scripted = Scripted::new()?;
    let gateway = Gateway::start(Setup {
        hasty: true,
        more: scripted.backend("slow", "6", ""),
        ..no_backend()
    })
    .await?;
    let owner = Owner::alice();
    let resource = gateway.url("/slow/mcp");
    for round in 0..2 {
        let client = OAuthClient::register(&gateway.origin(), "Client").await?;
        let request = client.authorization_for(&resource);
        let mut browser = Browser::default();
        let mut page = browser.visit(&request.url()).await?;
        page = browser.log_in(&page, &owner.name, &owner.password).await?;
        let deadline = Instant::now() + PATIENCE;
        let mut waits = 0;
        while is_waiting(&page.words()) {
            ensure!(Instant::now() < deadline, "{}", page.words());
            assert!(page.words().contains("slow"), "{}", page.words());
            waits += 1;
            tokio::time::sleep(Duration::from_millis(300)).await;
            page = browser.visit(&refreshed(&page)?).await?;
        }
        ensure!(round > 0 || waits > 0, "the page did not wait");
        assert!(page.reply.text.contains("tell_pid"), "{}", page.words());
        let last = browser.answer(&page, "Allow").await?;
        assert!(last.location().is_some(), "{}", last.words());
        assert_eq!(scripted.starts("slow"), 1, "one process for all looks");
    }
    // A client that comes has a process of its own, and waits for it.
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    let token = client.sign_in_for(&owner, &resource).await?;
    let session = mcp::open_session(&resource, &token).await?;
    let ask = mcp::post(&resource, &token, &call(1, "tell_pid", &json!({})));
    let reply = http::send(ask.header("Mcp-Session-Id", session)).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(scripted.starts("slow"), 2);
    Ok(())
}

/// The same over HTTP, where asking takes as long each time.
#[tokio::test]
async fn a_backend_over_http_that_takes_four_seconds_to_list_is_waited_for() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
        hasty: true,
        ..setup
    })
    .await?;
    fixture.backend.play(|request| {
        let message = request.json();
        match message["method"].as_str() {
            Some("tools/list") => Answer::Steps(
                200,
                vec![("Content-Type".into(), "application/json".into())],
                vec![
                    Step::Wait(Duration::from_secs(4)),
                    Step::Send(scripted_mcp::reply(&message).to_string()),
                ],
            ),
            _ => scripted_mcp::answer(request),
        }
    });
    // What was known from the start is too old for a page.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let client = fixture.client("Client").await?;
    let mut browser = Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    let owner = &fixture.owner;
    let mut page = browser.log_in(&page, &owner.name, &owner.password).await?;
    assert!(is_waiting(&page.words()), "{}", page.words());
    let deadline = Instant::now() + PATIENCE;
    while is_waiting(&page.words()) {
        ensure!(Instant::now() < deadline, "it waits without end");
        tokio::time::sleep(Duration::from_secs(1)).await;
        page = browser.visit(&refreshed(&page)?).await?;
    }
    assert!(page.reply.text.contains("erase"), "{}", page.words());
    let last = browser.answer(&page, "Allow").await?;
    assert!(last.location().is_some(), "{}", last.words());
    Ok(())
}

#[tokio::test]
async fn patience_is_configured_and_ends() -> Result<()> {
    let scripted = Scripted::new()?;
    let gateway = Gateway::start(Setup {
        hasty: true,
        more: scripted.backend("hung", "hang", "start_timeout = \"1s\""),
        ..no_backend()
    })
    .await?;
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    let request = client.authorization_for(&gateway.url("/hung/mcp"));
    let owner = Owner::alice();
    let mut browser = Browser::default();
    let page = browser.visit(&request.url()).await?;
    let mut page = browser.log_in(&page, &owner.name, &owner.password).await?;
    let deadline = Instant::now() + PATIENCE;
    while is_waiting(&page.words()) {
        ensure!(Instant::now() < deadline, "it waits without end");
        // The very first start may take five times as long.
        assert!(page.words().contains("5 seconds"), "{}", page.words());
        page = browser.visit(&refreshed(&page)?).await?;
    }
    page.form_with_button("Deny")?;
    Ok(())
}
