//! https at the gateway itself: what is negotiated, that streams outlast a new certificate, that what is
//! wrong with one is said with a remedy, that the port beside it only leads there, and that nobody gets
//! more by TLS than without it.

mod files;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http_body_util::BodyExt as _;
use hyper::Version;
use hyper::body::Incoming;
use serde_json::json;
use tempfile::TempDir;
use tests::gateway::{Gateway, Setup};
use tests::http;
use tests::https::{HttpsClient, HttpsConnection};
use tests::mcp::{REVISION, call, initialize};
use tests::operator::done;
use tests::program::{free_port, signal};
use tests::raw;
use tests::recorder::Recorder;
use tests::scripted_mcp::{self, MCP_STREAM};
use tests::tls::Certificates;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::acme::clock_ahead;

const HOST: &str = "localhost";

/// How long anything may take that happens at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often an address had too many connections, in `/metrics`.
const PER_ADDRESS: &str = "gateway_limit_reached_total{limit=\"limits.connections_per_address\"}";

/// A gateway with a certificate in files.
pub(crate) struct Secured {
    pub(crate) gateway: Gateway,
    pub(crate) backend: Recorder,
    plain: u16,
    files: TempDir,
    certificates: Certificates,
}

fn paths(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join("cert.pem"), folder.join("key.pem"))
}

impl Secured {
    pub(crate) async fn start(more: &str) -> Result<Self> {
        let certificates = Certificates::make(&format!("DNS:{HOST}"), 30)?;
        let (files, plain) = (tempfile::tempdir()?, free_port());
        let (certificate, key) = paths(files.path());
        certificates.install(&certificate, &key)?;
        let backend = Recorder::start(scripted_mcp::answer).await?;
        let setup = Setup {
            public_url: Some(format!("https://{HOST}:PORT")),
            ..Setup::default()
        };
        let tables = format!(
            "[tls]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\nplain_listen = [\"127.0.0.1:{plain}\"]\n{more}"
        );
        let gateway = Gateway::start(setup.backend(&backend.url()).more(&tables)).await?;
        Ok(Self {
            gateway,
            backend,
            plain,
            files,
            certificates,
        })
    }

    pub(crate) fn client(&self) -> Result<HttpsClient> {
        let authority = self.certificates.authority();
        HttpsClient::new(&authority, self.gateway.address(), HOST)
    }

    /// A token without a browser.
    pub(crate) async fn token(&self) -> Result<String> {
        let words = [
            "token",
            "create",
            "--user",
            "alice",
            "--name",
            "n",
            "--everything",
        ];
        Ok(done(&self.gateway, &words, "").await?.out.trim().to_owned())
    }

    pub(crate) async fn metric(&self, name: &str) -> Result<u64> {
        let text = http::get(&self.gateway.admin_url("/metrics")).await?.text;
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split(' ').nth(1));
        Ok(value
            .with_context(|| format!("no {name}"))?
            .parse::<f64>()? as u64)
    }
}

pub(crate) fn headers(bearer: &str) -> [(&str, &str); 4] {
    [
        ("Authorization", bearer),
        ("Accept", "application/json, text/event-stream"),
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", REVISION),
    ]
}

/// Reads an open stream until these words have come.
pub(crate) async fn reads(stream: &mut Incoming, words: &str) -> Result<()> {
    let mut read = String::new();
    let reading = async {
        while !read.contains(words) {
            let frame = stream.frame().await.context("the stream ended")??;
            read += &String::from_utf8_lossy(frame.data_ref().map_or(&[][..], |data| data));
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .context("nothing came")?
}

pub(crate) async fn open_stream(
    connection: &mut HttpsConnection,
    bearer: &str,
) -> Result<Incoming> {
    let response = connection
        .begin(
            "GET",
            "/mcp",
            &[("Authorization", bearer), ("Accept", "text/event-stream")],
            "",
        )
        .await?;
    anyhow::ensure!(response.status() == 200, "{response:?}");
    Ok(response.into_body())
}

#[tokio::test]
async fn calls_pages_and_metadata_come_by_http_2_and_by_http_1_1() -> Result<()> {
    let secured = Secured::start("").await?;
    let bearer = format!("Bearer {}", secured.token().await?);
    for version in [Version::HTTP_2, Version::HTTP_11] {
        let mut connection = secured.client()?.open(version).await?;
        let path = "/.well-known/oauth-protected-resource/mcp";
        let metadata = connection.send("GET", path, &[], "").await?;
        let resource = format!("{}/mcp", secured.gateway.issuer());
        assert_eq!(metadata.json()["resource"], resource, "{version:?}");
        let page = connection.send("GET", "/login", &[], "").await?;
        assert_eq!(page.status, 200, "{version:?} {page:?}");
        let refused = connection
            .send(
                "POST",
                "/mcp",
                &headers("Bearer nothing"),
                &initialize().to_string(),
            )
            .await?;
        assert_eq!(refused.status, 401);
        for round in 0..3 {
            let body = call(round, "echo", &json!({"round": round})).to_string();
            let answer = connection
                .send("POST", "/mcp", &headers(&bearer), &body)
                .await?;
            assert_eq!(answer.status, 200, "{version:?} {answer:?}");
            assert!(
                answer.text.contains(&format!("round\\\":{round}")),
                "{answer:?}"
            );
        }
        // What is large, what has two readings and what has a body of no use go on over both.
        let large = call(9, "echo", &json!({"x": "y".repeat(300_000)})).to_string();
        let answer = connection
            .send("POST", "/mcp", &headers(&bearer), &large)
            .await?;
        assert_eq!(answer.status, 200, "{version:?}");
        let twice = [
            ("Origin", "https://a.example"),
            ("Origin", "https://b.example"),
        ];
        let answer = connection.send("GET", "/login", &twice, "").await?;
        assert_eq!(answer.status, 400, "{version:?}");
    }
    Ok(())
}

#[tokio::test]
async fn http_1_1_over_tls_has_the_lane_and_comes_back_to_it() -> Result<()> {
    let secured = Secured::start("").await?;
    if std::env::var("GATEWAY_LANE").is_ok_and(|lane| lane == "off") {
        return Ok(());
    }
    let bearer = format!("Bearer {}", secured.token().await?);
    let before = secured.metric("gateway_lane_requests_total").await?;
    let mut connection = secured.client()?.open(Version::HTTP_11).await?;
    for round in 0..3 {
        let body = call(round, "echo", &json!({})).to_string();
        assert_eq!(
            connection
                .send("POST", "/mcp", &headers(&bearer), &body)
                .await?
                .status,
            200
        );
        // The other road, on the same connection.
        assert_eq!(connection.send("GET", "/login", &[], "").await?.status, 200);
    }
    let served = secured.metric("gateway_lane_requests_total").await? - before;
    assert_eq!(served, 3);
    Ok(())
}

#[tokio::test]
async fn streams_outlast_a_new_certificate_which_new_connections_get() -> Result<()> {
    let secured = Secured::start("").await?;
    let bearer = format!("Bearer {}", secured.token().await?);
    let mut two = secured.client()?.open(Version::HTTP_2).await?;
    let mut one = secured.client()?.open(Version::HTTP_11).await?;
    let mut streams = [
        open_stream(&mut two, &bearer).await?,
        open_stream(&mut one, &bearer).await?,
    ];
    secured.backend.await_streams(2, PATIENCE).await?;
    let (certificate, key) = paths(secured.files.path());
    for is_asked in [true, false] {
        let renewed = Certificates::make(&format!("DNS:{HOST}"), 60)?;
        renewed.install(&certificate, &key)?;
        if is_asked {
            let id = secured.gateway.process_id().context("it ended")?;
            signal(id, "HUP").await?;
        }
        let client = HttpsClient::new(&renewed.authority(), secured.gateway.address(), HOST)?;
        let deadline = Instant::now() + Duration::from_secs(if is_asked { 10 } else { 20 });
        loop {
            match client.open(Version::HTTP_2).await {
                Ok(_) => break,
                Err(error) => anyhow::ensure!(Instant::now() < deadline, "{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        secured.backend.push(
            MCP_STREAM,
            &format!("event: message\ndata: asked {is_asked}\n\n"),
        );
        for stream in &mut streams {
            reads(stream, &format!("asked {is_asked}")).await?;
        }
        // A connection that was there carries requests, too.
        assert_eq!(two.send("GET", "/login", &[], "").await?.status, 200);
    }
    Ok(())
}

#[tokio::test]
async fn the_plain_port_leads_to_https_and_serves_nothing_else() -> Result<()> {
    let secured = Secured::start("").await?;
    let address = ([127, 0, 0, 1], secured.plain).into();
    let issuer = secured.gateway.issuer();
    let ask = async |method: &str, target: &str, host: &str, body: &[u8]| {
        let request = raw::request(method, target, host, &[], body);
        raw::exchange(address, &request, Duration::from_secs(5)).await
    };
    for (method, target, body) in [
        ("GET", "/", &b""[..]),
        ("GET", "/authorize?a=b%20c", b""),
        ("POST", "/mcp", b"{}"),
        ("HEAD", "//evil.example/x", b""),
        ("GET", "/.well-known/oauth-authorization-server", b""),
    ] {
        let answer = ask(method, target, "evil.example", body).await?;
        assert_eq!(answer.status(), 308, "{target} {}", answer.text);
        assert_eq!(
            answer.header("location"),
            Some(format!("{issuer}{target}").as_str())
        );
        assert!(answer.closed);
        assert!(!answer.text.contains("evil.example/\r"), "{}", answer.text);
    }
    for (method, target) in [
        ("CONNECT", "a.example:443"),
        ("GET", "http://a.example/"),
        ("OPTIONS", "*"),
    ] {
        let answer = ask(method, target, "a.example", b"").await?;
        assert!(
            matches!(answer.status(), 400 | 405),
            "{target} {}",
            answer.text
        );
    }
    // A load balancer asks it before there is a certificate, and without TLS.
    let healthy = ask("GET", "/healthz", "10.0.0.1", b"").await?;
    assert_eq!(
        (healthy.status(), healthy.closed),
        (200, true),
        "{}",
        healthy.text
    );
    let other = ask("POST", "/healthz", "10.0.0.1", b"").await?;
    assert_eq!(other.status(), 308, "{}", other.text);
    let unknown = ask("GET", "/.well-known/acme-challenge/abc", "x", b"").await?;
    assert_eq!(unknown.status(), 404, "{}", unknown.text);
    // Nobody holds it open.
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(b"GET / HT").await?;
    let left = raw::read_until_silent(&mut socket, Duration::from_secs(20)).await;
    assert!(left.closed);
    Ok(())
}

#[tokio::test]
async fn a_handshake_takes_a_place_and_no_longer_than_a_head() -> Result<()> {
    let secured =
        Secured::start("[timeouts]\nheader = \"2s\"\n[limits]\nconnections_per_address = 4\n")
            .await?;
    let begun = Instant::now();
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut socket = TcpStream::connect(secured.gateway.address()).await?;
        // The first bytes of a handshake.
        socket.write_all(b"\x16\x03\x01\x02\x00").await?;
        held.push(socket);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(secured.client()?.open(Version::HTTP_2).await.is_err());
    assert_eq!(secured.metric(PER_ADDRESS).await?, 1);
    for socket in &mut held {
        let mut rest = Vec::new();
        let ended = socket.read_to_end(&mut rest);
        let _ = tokio::time::timeout(Duration::from_secs(6), ended).await?;
    }
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    let mut connection = secured.client()?.open(Version::HTTP_2).await?;
    assert_eq!(connection.send("GET", "/login", &[], "").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn streams_of_one_connection_count_as_connections() -> Result<()> {
    let secured = Secured::start("[limits]\nconnections_per_address = 5\n").await?;
    let bearer = format!("Bearer {}", secured.token().await?);
    let mut connection = secured.client()?.open(Version::HTTP_2).await?;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(open_stream(&mut connection, &bearer).await?);
    }
    let refused = connection.send("GET", "/login", &[], "").await?;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(refused.json()["reason"], "connections_full");
    assert_eq!(refused.header("retry-after"), "5");
    assert_eq!(secured.metric(PER_ADDRESS).await?, 1);
    drop(streams.pop());
    secured.backend.await_streams(4, PATIENCE).await?;
    assert_eq!(connection.send("GET", "/login", &[], "").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_revocation_ends_streams_of_http_2_and_a_stop_ends_them_properly() -> Result<()> {
    let mut secured = Secured::start("").await?;
    let gone = secured.token().await?;
    let gone_bearer = format!("Bearer {gone}");
    let kept = format!("Bearer {}", secured.token().await?);
    let mut connection = secured.client()?.open(Version::HTTP_2).await?;
    let mut ended = open_stream(&mut connection, &gone_bearer).await?;
    let mut other = open_stream(&mut connection, &kept).await?;
    done(&secured.gateway, &["token", "revoke"], &gone).await?;
    let finished = tokio::time::timeout(Duration::from_secs(5), async {
        while let Some(frame) = ended.frame().await {
            frame?;
        }
        anyhow::Ok(())
    });
    finished.await.context("it was not ended")??;
    secured
        .backend
        .push(MCP_STREAM, "event: message\ndata: still here\n\n");
    reads(&mut other, "still here").await?;
    let stopping = secured.gateway.program().terminate(Duration::from_secs(15));
    let (code, ending) = tokio::join!(stopping, async {
        while let Some(frame) = other.frame().await {
            frame?;
        }
        anyhow::Ok(())
    });
    assert_eq!(code?, 0);
    ending.context("the stream was broken off")?;
    Ok(())
}

#[tokio::test]
async fn the_operator_sees_when_the_certificate_ends() -> Result<()> {
    let secured = Secured::start("").await?;
    let ready = http::get(&secured.gateway.admin_url("/readyz")).await?;
    assert!(
        ready.text.contains("certificate: ok, ends 20"),
        "{}",
        ready.text
    );
    assert!(ready.text.contains("in 29 days"), "{}", ready.text);
    let ends = secured
        .metric("gateway_certificate_end_timestamp_seconds")
        .await?;
    let now = tests::keys::now().as_secs();
    assert!(
        (29 * 86_400..=30 * 86_400).contains(&(ends - now)),
        "{ends}"
    );
    let printed = secured.gateway.printed().join("\n");
    assert!(
        printed.contains("✓ https      localhost, with a certificate until 20"),
        "{printed}"
    );
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_ends_soon_or_is_for_another_name_is_said_at_the_start() -> Result<()> {
    let certificates = Certificates::make("DNS:elsewhere.example", 30)?;
    let files = tempfile::tempdir()?;
    let (certificate, key) = paths(files.path());
    certificates.install(&certificate, &key)?;
    let setup = Setup {
        public_url: Some(format!("https://{HOST}:PORT")),
        environment: clock_ahead(29),
        ..Setup::default()
    };
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let tables = format!("[tls]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n");
    let gateway = Gateway::start(setup.backend(&backend.url()).more(&tables)).await?;
    let line = gateway
        .prints(|line| line.contains("elsewhere.example"))
        .await?;
    assert!(
        line.contains("and not for localhost, the host of public_url"),
        "{line}"
    );
    gateway.logged("certificate_ends").await?;
    Ok(())
}
