//! Replicas are replaced one by one behind a balancer, which asks `/readyz`: here HAProxy, with the
//! configuration of `conf/haproxy.cfg`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::mcp::{call, initialize, open_session, post, send};
use tests::oauth::OAuthClient;
use tests::operator::{command, done};
use tests::program::{Program, free_port, signal, workspace};
use tests::recorder::Recorder;
use tests::redis::Redis;
use tests::scripted_revisions;
use tests::sse::EventStream;
use tests::steady_load::{Plan, SteadyLoad};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// As long as something may take that has to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// HAProxy in front of these, at `port`.
async fn balancer(folder: &Path, port: u16, gateways: &[&Gateway]) -> Result<Program> {
    let text = std::fs::read_to_string(workspace().join("conf/haproxy.cfg"))?;
    let mut text = text.replace("127.0.0.1:8088", &format!("127.0.0.1:{port}"));
    for (line, gateway) in ["127.0.0.1:8080 port 9090", "127.0.0.1:8081 port 9091"]
        .iter()
        .zip(gateways)
    {
        ensure!(text.contains(line), "conf/haproxy.cfg has another `{line}`");
        let other = format!("{} port {}", gateway.address(), gateway.admin_port);
        text = text.replace(line, &other);
    }
    let socket = format!("global\n    stats socket {}\n", socket_in(folder).display());
    text = text.replace("global\n", &socket);
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, text)?;
    let words = ["-db", "-f", &file.display().to_string()].map(str::to_owned);
    let program = Program::start_bound(Path::new("haproxy"), folder, &words, &[])?;
    answers(port, &program).await?;
    Ok(program)
}

/// Where the balancer in a folder is asked for its state.
fn socket_in(folder: &Path) -> PathBuf {
    folder.join("haproxy.sock")
}

/// Waits until the balancer has noticed that both are there.
async fn both_are_up(folder: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut socket = tokio::net::UnixStream::connect(socket_in(folder)).await?;
        socket.write_all(b"show stat\n").await?;
        let mut said = String::new();
        socket.read_to_string(&mut said).await?;
        let servers = said.lines().filter(|line| {
            ["one", "two"]
                .iter()
                .any(|name| line.starts_with(&format!("gateways,{name},")))
        });
        let up = servers.filter(|line| line.contains(",UP,")).count();
        if up == 2 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{up} of them are up: {said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a gateway answers behind a balancer.
async fn answers(port: u16, program: &Program) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let metadata = format!("http://127.0.0.1:{port}/.well-known/oauth-authorization-server");
    while !http::get(&metadata)
        .await
        .is_ok_and(|reply| reply.status == 200)
    {
        ensure!(Instant::now() < deadline, "{}", program.last_words());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_replicas_are_replaced_behind_a_balancer() -> Result<()> {
    let port = free_port();
    let front = format!("http://127.0.0.1:{port}");
    let setup = |setup: Setup| {
        let top = "trusted_proxies = [\"127.0.0.1\"]\n".to_owned();
        let setup = Setup {
            public_url: Some(front.clone()),
            top,
            ..setup
        };
        setup.more("[timeouts]\nunready = \"2s\"\n")
    };
    let mut fixture = Fixture::with(StoreKind::Redis, setup).await?;
    let mut other = fixture.replica(setup).await?;
    let folder = tempfile::tempdir()?;
    let balancer = balancer(folder.path(), port, &[&fixture.gateway, &other]).await?;
    let client = OAuthClient::register(&front, "Steady").await?;
    let token = client.sign_in(&fixture.owner).await?;
    let plan = Plan {
        address: ([127, 0, 0, 1], port).into(),
        host: format!("127.0.0.1:{port}"),
        token,
        kept: 8,
        fresh: 2,
        pause: Duration::from_millis(200),
        streams: 10,
    };
    let load = SteadyLoad::start(&plan);
    load.await_streams(10).await?;
    for _ in 0..2 {
        for gateway in [&mut fixture.gateway, &mut other] {
            gateway.restart().await?;
            // The balancer has to see that it is there before the other one goes.
            both_are_up(folder.path()).await?;
        }
    }
    load.await_streams(10).await?;
    let tally = load.stop().await;
    println!(
        "4 restarts: {} calls, {} streams ended properly",
        tally.answered.load(Ordering::Relaxed),
        tally.ended.load(Ordering::Relaxed)
    );
    ensure!(
        tally.problems().is_empty(),
        "{:#?}\n{}",
        tally.problems(),
        balancer.last_words()
    );
    ensure!(tally.ended.load(Ordering::Relaxed) >= 10);
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_is_told_to_end_says_so_and_serves_on_for_a_while() -> Result<()> {
    let mut fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[timeouts]\nunready = \"3s\"\n")
    })
    .await?;
    let (_, token) = fixture.signed_in().await?;
    let request = http::client().get(fixture.url("/mcp"));
    let mut stream = EventStream::open(request.bearer_auth(&token)).await?;
    let ready = fixture.gateway.admin_url("/readyz");
    assert_eq!(http::get(&ready).await?.status, 200);
    let process = fixture.gateway.process_id().context("it ended")?;
    let told = Instant::now();
    signal(process, "TERM").await?;
    let unready = loop {
        let reply = http::get(&ready).await?;
        if reply.status == 503 {
            break reply;
        }
        ensure!(told.elapsed() < Duration::from_secs(2), "it is ready still");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    ensure!(
        unready
            .text
            .contains("running: FAILED, the gateway was told to end"),
        "{}",
        unready.text
    );
    // It lives, and whoever comes all the same is served.
    assert_eq!(
        http::get(&fixture.gateway.admin_url("/healthz"))
            .await?
            .status,
        200
    );
    // The last of them must be answered before the three seconds are over, on a busy machine, too.
    while told.elapsed() < Duration::from_millis(1500) {
        let reply = send(&fixture.url("/mcp"), &token, &initialize()).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(stream.end(PATIENCE).await?, "the stream was cut");
    let ended = told.elapsed();
    ensure!(ended >= Duration::from_secs(3), "it ended after {ended:?}");
    let code = loop {
        if let Some(code) = fixture.gateway.program().ended() {
            break code;
        }
        ensure!(told.elapsed() < PATIENCE, "it runs on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(code, 0);
    Ok(())
}

/// nginx with the configuration of the manual, in front of these.
async fn nginx(folder: &Path, port: u16, gateways: &[&Gateway]) -> Result<Program> {
    let manual = std::fs::read_to_string(workspace().join("conf/documents/upgrading.md"))?;
    let (_, after) = manual
        .split_once("```\nupstream gateways {")
        .context("the manual has no configuration of nginx")?;
    let (snippet, _) = after.split_once("```").context("it has no end")?;
    let mut text = format!(
        "daemon off;\npid {here}/nginx.pid;\nerror_log {here}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n\
         client_body_temp_path {here}/body;\nproxy_temp_path {here}/proxy;\nupstream gateways {{{snippet}}}\n",
        here = folder.display()
    );
    text = text.replace("127.0.0.1:8088", &format!("127.0.0.1:{port}"));
    for (address, gateway) in ["127.0.0.1:8080", "127.0.0.1:8081"].iter().zip(gateways) {
        ensure!(text.contains(address), "the manual has another {address}");
        text = text.replace(address, &gateway.address().to_string());
    }
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text)?;
    let words = ["-c", &file.display().to_string()].map(str::to_owned);
    let program = Program::start_group(Path::new("nginx"), folder, &words, &[])?;
    answers(port, &program).await?;
    Ok(program)
}

/// Two replicas in front of a backend that speaks HTTP+SSE alone, whose sessions the gateway therefore holds.
struct Translating {
    host: String,
    front: String,
    replicas: [Gateway; 2],
    token: String,
    folder: tempfile::TempDir,
    _balancer: Program,
    _backend: Recorder,
    _redis: Redis,
}

impl Translating {
    async fn behind(
        start: impl AsyncFn(&Path, u16, &[&Gateway]) -> Result<Program>,
    ) -> Result<Self> {
        let (port, redis) = (free_port(), Redis::start().await?);
        let front = format!("http://127.0.0.1:{port}");
        let backend = Recorder::start(scripted_revisions::http_sse).await?;
        let setup = || Setup {
            store: Some(redis.url()),
            public_url: Some(front.clone()),
            top: "trusted_proxies = [\"127.0.0.1\"]\n".to_owned(),
            only_more: true,
            more: format!(
                "[[backend]]\nname = \"main\"\npath = \"/\"\nurl = \"{}\"\neras = [\"2024-11-05\"]\n",
                backend.url()
            ),
            ..Setup::default()
        };
        let one = Gateway::start(setup()).await?;
        let keys = one.folder().join("keys").display().to_string();
        let two = Gateway::start(Setup {
            environment: vec![("GATEWAY__KEYS_DIR".to_owned(), keys)],
            ..setup()
        })
        .await?;
        let folder = tempfile::tempdir()?;
        let balancer = start(folder.path(), port, &[&one, &two]).await?;
        let client = OAuthClient::register(&front, "Translated").await?;
        let token = client.sign_in(&Owner::alice()).await?;
        Ok(Self {
            host: format!("127.0.0.1:{port}"),
            front,
            replicas: [one, two],
            token,
            folder,
            _balancer: balancer,
            _backend: backend,
            _redis: redis,
        })
    }

    async fn ask(&self, origin: &str, session: &str) -> Result<http::Reply> {
        // No id twice in a session, as MCP wants it: the end of the call before may still be under way.
        static IDS: AtomicU64 = AtomicU64::new(10);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let look = call(id, "look", &json!({}));
        let request = post(&format!("{origin}/mcp"), &self.token, &look);
        let request = request.header("Host", &self.host);
        http::send(request.header("Mcp-Session-Id", session)).await
    }

    /// Sessions are found by the balancer, and are unknown in the replica that did not begin them: whichever
    /// of the two that is.
    async fn holds(&self) -> Result<()> {
        for _ in 0..4 {
            let session = open_session(&format!("{}/mcp", self.front), &self.token).await?;
            for _ in 0..6 {
                let reply = self.ask(&self.front, &session).await?;
                assert_eq!(reply.status, 200, "{} in {:?}", reply.text, self.folder);
            }
            let mut statuses = Vec::new();
            for replica in &self.replicas {
                statuses.push(self.ask(&replica.origin(), &session).await?.status);
            }
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 404], "it is in one of them");
        }
        Ok(())
    }
}

/// A session that the gateway holds lives in the replica that began it. Elsewhere it is unknown, as MCP has
/// it, so that its client begins another.
#[tokio::test]
async fn a_held_session_is_404_elsewhere_and_found_behind_a_balancer_that_learns_its_id()
-> Result<()> {
    Translating::behind(balancer).await?.holds().await
}

#[tokio::test]
#[ignore = "needs nginx; some calls get 502, which is not understood"]
async fn a_held_session_is_found_behind_nginx_by_the_token_of_its_client() -> Result<()> {
    Translating::behind(nginx).await?.holds().await
}

/// Streams are listed and closed wherever they are: at another replica, and in a process that left.
async fn listed_and_closed(asked: &Gateway, stream: &mut EventStream, holder: u32) -> Result<()> {
    let listed = done(asked, &["streams", "ls", "--json"], "").await?.json();
    let streams = listed["streams"].as_array().context("no list")?;
    ensure!(streams.len() == 1, "{listed}");
    let replica = streams[0]["replica"].as_str().context("no replica")?;
    ensure!(replica.ends_with(&format!("/{holder}")), "{listed}");
    let number = streams[0]["stream"].to_string();
    let closed = done(asked, &["streams", "close", &number], "").await?;
    ensure!(closed.out.contains("closed 1 stream"), "{closed:?}");
    ensure!(stream.end(PATIENCE).await?, "the stream was cut");
    // It is gone, and nobody has another of this number.
    let again = command(asked, &["streams", "close", &number], "").await?;
    assert_eq!(again.code, 1, "{again:?}");
    Ok(())
}

#[tokio::test]
async fn streams_of_another_replica_are_listed_and_closed() -> Result<()> {
    let fixture = Fixture::on(StoreKind::Redis).await?;
    let (_, token) = fixture.signed_in().await?;
    let other = fixture.replica(|setup| setup).await?;
    let open = async || {
        let request = http::client().get(other.url("/mcp")).bearer_auth(&token);
        let host = fixture.gateway.address().to_string();
        EventStream::open(request.header("Host", host)).await
    };
    let holder = other.process_id().context("it ended")?;
    let mut stream = open().await?;
    fixture.backend.await_streams(1, PATIENCE).await?;
    listed_and_closed(&fixture.gateway, &mut stream, holder).await?;
    // All of a person, wherever they are.
    let (mut one, mut two) = (open().await?, open().await?);
    let here = http::client().get(fixture.url("/mcp")).bearer_auth(&token);
    let mut here = EventStream::open(here).await?;
    fixture.backend.await_streams(3, PATIENCE).await?;
    let words = ["streams", "close", "--user", "alice"];
    let closed = done(&fixture.gateway, &words, "").await?;
    ensure!(closed.out.contains("closed 3 streams"), "{closed:?}");
    for stream in [&mut one, &mut two, &mut here] {
        ensure!(stream.end(PATIENCE).await?, "the stream was cut");
    }
    Ok(())
}

#[tokio::test]
async fn streams_of_a_process_that_left_are_listed_and_closed() -> Result<()> {
    let mut fixture = Fixture::on(StoreKind::Embedded).await?;
    let (_, token) = fixture.signed_in().await?;
    let request = http::client().get(fixture.url("/mcp")).bearer_auth(&token);
    let mut stream = EventStream::open(request).await?;
    fixture.backend.await_streams(1, PATIENCE).await?;
    let holder = fixture.gateway.process_id().context("it ended")?;
    let _old = fixture.gateway.upgrade().await?;
    listed_and_closed(&fixture.gateway, &mut stream, holder).await
}
