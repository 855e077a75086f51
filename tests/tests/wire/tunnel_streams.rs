//! Whether event streams come through a tunnel is found out and said. The stand-in prints what ngrok
//! prints, and the URL in it leads here for real: TLS, a proxy that passes events on or holds them back,
//! and the gateway.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tests::fault_proxy::{Fault, FaultProxy};
use tests::http;
use tests::program::{Program, binary, free_port};
use tests::recorder::Recorder;
use tests::scripted_mcp;
use tests::tls::{Certificates, TlsFront};

const PATIENCE: Duration = Duration::from_secs(40);

/// A gateway behind a tunnel that leads to it.
struct Tunnelled {
    gateway: Program,
    port: u16,
    _front: TlsFront,
    _proxy: FaultProxy,
    _backend: Recorder,
    _certificates: Certificates,
    _folder: TempDir,
}

async fn start(fault: Option<Fault>) -> Result<Tunnelled> {
    let port = free_port();
    let proxy = FaultProxy::start().await?;
    proxy.set(fault);
    proxy.front(&format!("http://127.0.0.1:{port}"));
    let certificates = Certificates::make("IP:127.0.0.1", 30)?;
    let front = TlsFront::start(&certificates).await?;
    front.front(proxy.address);
    let folder = tempfile::tempdir()?;
    let ngrok = format!(
        "#!/bin/sh\necho 't=2026-11-29T20:00:01+0000 lvl=info msg=\"started tunnel\" obj=tunnels name=command_line addr=http://127.0.0.1 url={}'\nexec sleep 600\n",
        front.origin()
    );
    let program = folder.path().join("ngrok");
    std::fs::write(&program, ngrok)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let words = [
        "serve".to_owned(),
        "--tunnel=ngrok".to_owned(),
        format!("--listen=127.0.0.1:{port}"),
        format!("--admin-listen=127.0.0.1:{}", free_port()),
        format!("--backend={}", backend.url()),
    ];
    let environment = [
        (
            "PATH".to_owned(),
            format!("{}:/usr/bin:/bin", folder.path().display()),
        ),
        (
            "SSL_CERT_FILE".to_owned(),
            certificates.authority().display().to_string(),
        ),
    ];
    let gateway = Program::start(&binary("gateway"), folder.path(), &words, &environment)?;
    Ok(Tunnelled {
        gateway,
        port,
        _front: front,
        _proxy: proxy,
        _backend: backend,
        _certificates: certificates,
        _folder: folder,
    })
}

impl Tunnelled {
    /// What it says of streams, once it does.
    async fn said(&self) -> Result<String> {
        let found = |line: &str| line.contains("tunnel     ") && line.contains("event streams");
        let line = self.gateway.stdout.wait(PATIENCE, found).await;
        line.with_context(|| self.gateway.last_words())
    }

    async fn stopped(&mut self) -> Result<()> {
        assert_eq!(self.gateway.terminate(Duration::from_secs(15)).await?, 0);
        let of_streams =
            |line: &&String| line.contains("tunnel     ") && line.contains("event streams");
        let said = self.gateway.stdout.all();
        assert_eq!(said.iter().filter(of_streams).count(), 1, "once: {said:?}");
        Ok(())
    }
}

#[tokio::test]
async fn a_tunnel_that_passes_events_on_is_said_to() -> Result<()> {
    let mut tunnelled = start(None).await?;
    let said = tunnelled.said().await?;
    assert!(
        said.starts_with("✓ tunnel     event streams flow"),
        "{said}"
    );
    tunnelled.stopped().await
}

#[tokio::test]
async fn a_tunnel_that_holds_events_back_is_said_to_and_what_that_means() -> Result<()> {
    let mut tunnelled = start(Some(Fault::FirstEventHeldBack)).await?;
    let said = tunnelled.said().await?;
    assert!(
        said.starts_with("! tunnel     event streams are held back") && said.contains("Calls work"),
        "{said}"
    );
    let logged = tunnelled.gateway.stderr.all().join("\n");
    assert!(logged.contains("tunnel_streams_held_back"), "{logged}");
    tunnelled.stopped().await
}

#[tokio::test]
async fn nobody_else_opens_the_stream_that_is_asked_for() -> Result<()> {
    let mut tunnelled = start(None).await?;
    tunnelled.said().await?;
    let url = format!("http://127.0.0.1:{}/stream-probe", tunnelled.port);
    let nowhere = format!("http://127.0.0.1:{}/no-such-page", tunnelled.port);
    for headers in [
        &[][..],
        &[("Authorization", "Bearer guessed")][..],
        &[("Authorization", "Bearer cupgw_guessed")][..],
    ] {
        let reply = http::ask("GET", &url, headers).await?;
        let none = http::ask("GET", &nowhere, headers).await?;
        assert_eq!((reply.status, none.status), (404, 404), "{}", reply.text);
        assert_eq!(reply.json()["reason"], none.json()["reason"]);
    }
    tunnelled.stopped().await
}
