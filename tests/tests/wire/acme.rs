//! Certificates that the gateway orders by itself, from Debian's `pebble`: order, renewal, everything
//! that goes wrong at the server or on the way, several replicas, a gateway that is killed in between.

mod counted;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hyper::Version;
use tests::gateway::{Gateway, Setup};
use tests::http;
use tests::https::HttpsClient;
use tests::pebble::{Pebble, PortForward};
use tests::program::{Program, binary, free_port, run, run_in, signal};
use tests::recorder::Recorder;
use tests::redis::Redis;
use tests::scripted_mcp;

const HOST: &str = "mcp.example.com";

/// How long an order may take, on a busy machine.
const ORDER: Duration = Duration::from_secs(30);

/// How long another replica's order may be left before it is somebody's again, and then be done.
const LEFT: Duration = Duration::from_secs(100);

/// What a gateway needs to order.
fn setup(pebble: &Pebble, plain: u16, backend: &Recorder) -> Setup {
    let (directory, authority) = (pebble.directory(), pebble.authority());
    let setup = Setup {
        public_url: Some(format!("https://{HOST}:PORT")),
        ..Setup::default()
    };
    setup.backend(&backend.url()).more(&format!(
        "[tls]\nacme = true\ndirectory = {directory:?}\ndirectory_ca_file = {authority:?}\n\
         contact = [\"ops@example.com\"]\nplain_listen = [\"127.0.0.1:{plain}\"]\n"
    ))
}

/// The certificate that is served, once one by this authority is.
async fn served(gateway: &Gateway, root: &Path, patience: Duration) -> Result<Vec<u8>> {
    let client = HttpsClient::new(root, gateway.address(), HOST)?;
    let deadline = Instant::now() + patience;
    loop {
        match client.open(Version::HTTP_2).await {
            Ok(mut connection) => {
                let page = connection.send("GET", "/login", &[], "").await?;
                anyhow::ensure!(page.status == 200, "{page:?}");
                let certificate = connection.certificate.context("no certificate")?;
                return Ok(certificate.to_vec());
            }
            Err(error) if Instant::now() > deadline => {
                let log = gateway.log().join("\n");
                return Err(error.context(format!("no certificate\n{log}")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn hang_up(gateway: &Gateway) -> Result<()> {
    signal(gateway.process_id().context("it ended")?, "HUP").await
}

async fn logged(gateway: &Gateway, words: &str, patience: Duration) -> Result<String> {
    let deadline = Instant::now() + patience;
    loop {
        let log = gateway.log();
        if let Some(line) = log.iter().find(|line| line.contains(words)) {
            return Ok(line.clone());
        }
        anyhow::ensure!(Instant::now() < deadline, "no {words}\n{}", log.join("\n"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn ready(gateway: &Gateway) -> Result<http::Reply> {
    http::get(&gateway.admin_url("/readyz")).await
}

#[tokio::test]
async fn one_is_ordered_where_nonces_are_refused_and_kept_over_restarts() -> Result<()> {
    let plain = free_port();
    let mut pebble = Pebble::start(plain, 20).await?;
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let mut gateway = Gateway::start(setup(&pebble, plain, &backend)).await?;
    let root = pebble.root().await?;
    let first = served(&gateway, &root, ORDER).await?;
    let reply = ready(&gateway).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(
        reply.text.contains("certificate: ok, ends 20"),
        "{}",
        reply.text
    );
    let orders = pebble.orders();
    gateway.restart().await?;
    assert_eq!(served(&gateway, &root, ORDER).await?, first);
    // Nothing of the server is needed for what there is.
    pebble.vanish().await?;
    gateway.crash_and_restart().await?;
    assert_eq!(served(&gateway, &root, ORDER).await?, first);
    assert_eq!(pebble.orders(), orders);
    // What is secret stays so.
    let said = [gateway.log(), gateway.printed()].concat().join("\n");
    assert!(!said.contains("PRIVATE KEY"), "{said}");
    let state = std::fs::read(gateway.folder().join("state/store.redb"))
        .or_else(|_| read_all(&gateway.folder().join("state")))?;
    let holds = |words: &[u8]| state.windows(words.len()).any(|window| window == words);
    assert!(!holds(b"PRIVATE KEY") && !holds(b"key_pkcs8"));
    assert!(holds(b"BEGIN CERTIFICATE"));
    Ok(())
}

fn read_all(folder: &std::path::Path) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            all.extend(std::fs::read(path)?);
        }
    }
    Ok(all)
}

#[tokio::test]
async fn a_challenge_that_is_not_found_is_told_and_asked_again_when_the_operator_says_so()
-> Result<()> {
    let (plain, forward) = (free_port(), PortForward::start().await?);
    let pebble = Pebble::start(forward.port, 0).await?;
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let gateway = Gateway::start(setup(&pebble, plain, &backend)).await?;
    let line = logged(&gateway, "certificate_order_failed", ORDER).await?;
    assert!(line.contains("did not find its challenge"), "{line}");
    assert!(line.contains("404"), "what the server saw: {line}");
    let reply = ready(&gateway).await?;
    assert_eq!(reply.status, 503);
    assert!(
        reply
            .text
            .contains("certificate: FAILED, there is none yet"),
        "{}",
        reply.text
    );
    assert!(reply.text.contains("let port 80 through"), "{}", reply.text);
    // It does not try again by itself, also after a restart.
    let mut gateway = gateway;
    gateway.restart().await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(pebble.orders(), 1);
    forward.lead(Some(plain));
    hang_up(&gateway).await?;
    served(&gateway, &pebble.root().await?, ORDER).await?;
    assert_eq!(pebble.orders(), 2);
    assert_eq!(ready(&gateway).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_away_or_frozen_is_waited_for() -> Result<()> {
    let plain = free_port();
    let mut pebble = Pebble::absent(plain, 0)?;
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let gateway = Gateway::start(setup(&pebble, plain, &backend)).await?;
    let line = logged(&gateway, "certificate_order_failed", ORDER).await?;
    assert!(line.contains("can't be asked"), "{line}");
    assert_eq!(ready(&gateway).await?.status, 503);
    pebble.appear().await?;
    pebble.freeze().await?;
    hang_up(&gateway).await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    // The rest of the gateway waits for nothing.
    assert_eq!(http::get(&gateway.admin_url("/healthz")).await?.status, 200);
    pebble.thaw().await?;
    served(&gateway, &pebble.root().await?, ORDER).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_comes_is_asked_without_an_operator() -> Result<()> {
    let plain = free_port();
    let mut pebble = Pebble::absent(plain, 0)?;
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let gateway = Gateway::start(setup(&pebble, plain, &backend)).await?;
    logged(&gateway, "certificate_order_failed", ORDER).await?;
    pebble.appear().await?;
    served(&gateway, &pebble.root().await?, LEFT).await?;
    Ok(())
}

/// A gateway on a Redis, on a port of its own, which has a plain port, too.
async fn replica(
    pebble: &Pebble,
    redis: &Redis,
    backend: &Recorder,
    keys: &std::path::Path,
) -> Result<(Gateway, u16)> {
    let plain = free_port();
    let mut setup = setup(pebble, plain, backend);
    setup.store = Some(redis.url());
    setup.hasty = true;
    setup.environment = vec![("GATEWAY__KEYS_DIR".into(), keys.display().to_string())];
    Ok((Gateway::start(setup).await?, plain))
}

#[tokio::test]
async fn replicas_order_once_whichever_of_them_is_asked_for_the_challenge() -> Result<()> {
    let (redis, forward) = (Redis::start().await?, PortForward::start().await?);
    let pebble = Pebble::start(forward.port, 0).await?;
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let keys = tempfile::tempdir()?;
    // The keys are made by whoever comes first, and shared.
    let (first, plain) = replica(&pebble, &redis, &backend, keys.path()).await?;
    drop(first);
    redis.wipe().await?;
    forward.lead(Some(plain));
    let before = pebble.orders();
    let root = pebble.root().await?;
    // Nobody is asked for the challenge before both can be.
    pebble.freeze().await?;
    let (one, two) = tokio::try_join!(
        replica(&pebble, &redis, &backend, keys.path()),
        replica(&pebble, &redis, &backend, keys.path()),
    )?;
    // Nobody can know which of them orders: both are asked in turn until it is done.
    forward.lead(Some(two.1));
    pebble.thaw().await?;
    let leading = async {
        loop {
            forward.lead(Some(one.1));
            tokio::time::sleep(Duration::from_millis(50)).await;
            forward.lead(Some(two.1));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let both = async {
        let first = served(&one.0, &root, ORDER).await?;
        // The other one looks every half minute at the latest.
        let second = served(&two.0, &root, ORDER + Duration::from_secs(30)).await?;
        anyhow::Ok((first, second))
    };
    let (first, second) = tokio::select! {
        done = both => done?,
        () = leading => unreachable!("it has no end"),
    };
    assert_eq!(first, second);
    assert_eq!(pebble.orders() - before, 1, "{}", pebble.last_words());
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_is_killed_while_it_orders_orders_again_when_its_lease_is_over() -> Result<()>
{
    let plain = free_port();
    let mut pebble = Pebble::absent(plain, 0)?;
    pebble.appear().await?;
    pebble.freeze().await?;
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let mut gateway = Gateway::start(setup(&pebble, plain, &backend)).await?;
    logged(&gateway, "\"certificate_ordered\"", ORDER).await?;
    gateway.crash_and_restart().await?;
    pebble.thaw().await?;
    served(&gateway, &pebble.root().await?, LEFT).await?;
    assert_eq!(pebble.orders(), 1);
    Ok(())
}

#[tokio::test]
async fn it_is_renewed_at_two_thirds_of_its_life_while_it_is_served() -> Result<()> {
    let plain = free_port();
    let pebble = Pebble::start(plain, 5).await?;
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let mut gateway = Gateway::start(setup(&pebble, plain, &backend)).await?;
    let root = pebble.root().await?;
    let first = served(&gateway, &root, ORDER).await?;
    // Pebble's certificates live for five years. A clock ahead of ours is before two thirds of them,
    // then behind.
    gateway.setup().environment = clock_ahead(1150);
    gateway.restart().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(served(&gateway, &root, ORDER).await?, first);
    let orders = pebble.orders();
    gateway.setup().environment = clock_ahead(1300);
    gateway.restart().await?;
    let deadline = Instant::now() + ORDER;
    while served(&gateway, &root, ORDER).await? == first {
        anyhow::ensure!(Instant::now() < deadline, "{}", gateway.log().join("\n"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // By this clock the new one is due, too: it is left alone for half a day.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(pebble.orders(), orders + 1);
    Ok(())
}

/// What puts a program's clock ahead of ours.
pub(crate) fn clock_ahead(days: u32) -> Vec<(String, String)> {
    let variables = [
        ("LD_PRELOAD", tests::clock::library()),
        ("FAKETIME", format!("+{days}d")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

#[tokio::test]
async fn another_name_gets_another_certificate_also_where_the_account_is_forgotten() -> Result<()> {
    let plain = free_port();
    let mut pebble = Pebble::start(plain, 0).await?;
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let mut gateway = Gateway::start(setup(&pebble, plain, &backend)).await?;
    let root = pebble.root().await?;
    served(&gateway, &root, ORDER).await?;
    pebble.vanish().await?;
    pebble.appear().await?;
    let root = pebble.root().await?;
    gateway.setup().public_url = Some("https://other.example.com:PORT".to_owned());
    gateway.restart().await?;
    let client = HttpsClient::new(&root, gateway.address(), "other.example.com")?;
    let deadline = Instant::now() + ORDER;
    while client.open(Version::HTTP_11).await.is_err() {
        anyhow::ensure!(Instant::now() < deadline, "{}", gateway.log().join("\n"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(pebble.orders(), 2);
    Ok(())
}

#[tokio::test]
async fn one_flag_is_all_that_a_machine_with_a_name_needs() -> Result<()> {
    let (port, plain, folder) = (free_port(), free_port(), tempfile::tempdir()?);
    let pebble = Pebble::start(plain, 0).await?;
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let words = [
        "serve".to_owned(),
        format!("--domain={HOST}"),
        format!("--listen=127.0.0.1:{port}"),
        format!("--admin-listen=127.0.0.1:{}", free_port()),
        format!("--backend={}", backend.url()),
    ];
    let environment = [
        ("GATEWAY__TLS__DIRECTORY", pebble.directory()),
        (
            "GATEWAY__TLS__DIRECTORY_CA_FILE",
            pebble.authority().display().to_string(),
        ),
        ("GATEWAY__TLS__PLAIN_LISTEN", format!("127.0.0.1:{plain}")),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    let gateway = Program::start(&binary("gateway"), folder.path(), &words, &environment)?;
    let setup = gateway
        .stdout
        .wait(ORDER, |line| line.contains("/setup?code="))
        .await;
    let setup = setup.with_context(|| gateway.last_words())?;
    assert!(
        setup.contains(&format!("https://{HOST}/setup?code=")),
        "{setup}"
    );
    let client = HttpsClient::new(&pebble.root().await?, ([127, 0, 0, 1], port).into(), HOST)?;
    let deadline = Instant::now() + ORDER;
    let mut connection = loop {
        match client.open(Version::HTTP_2).await {
            Ok(connection) => break connection,
            Err(_) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await
            }
            Err(error) => return Err(error.context(gateway.last_words())),
        }
    };
    let path = "/.well-known/oauth-authorization-server";
    let metadata = connection.send("GET", path, &[], "").await?.json();
    assert_eq!(metadata["issuer"], format!("https://{HOST}"));
    // Without more it is ports 443 and 80 of all addresses.
    let words = ["check", "--domain", HOST, "--backend", "http://127.0.0.1:9"];
    let (_, printed, _) = run(&binary("gateway"), &words, "").await?;
    let line = |key: &str| {
        printed
            .lines()
            .find(|line| line.starts_with(key))
            .map(str::to_owned)
    };
    assert!(
        line("listen ").is_some_and(|line| line.contains("0.0.0.0:443")),
        "{printed}"
    );
    assert!(
        line("tls.acme ").is_some_and(|line| line.contains("true")),
        "{printed}"
    );
    Ok(())
}

#[tokio::test]
async fn what_can_not_be_certified_is_refused_before_anybody_is_asked() -> Result<()> {
    for (top, tls, said) in [
        (
            "public_url = \"https://192.0.2.1\"\n",
            "acme = true\nplain_listen = [\"127.0.0.1:80\"]\n",
            "must have a domain name",
        ),
        (
            "public_url = \"https://localhost\"\n",
            "acme = true\nplain_listen = [\"127.0.0.1:80\"]\n",
            "must have a domain name",
        ),
        (
            "public_url = \"https://a.example\"\n",
            "acme = true\n",
            "at port 80",
        ),
        (
            "",
            "acme = true\nplain_listen = [\"127.0.0.1:80\"]\n",
            "`public_url` must",
        ),
        (
            "public_url = \"https://a.example\"\n",
            "acme = true\ncertificate_file = \"a\"\nkey_file = \"b\"\n",
            "or is in files",
        ),
        (
            "public_url = \"https://a.example\"\n",
            "certificate_file = \"a\"\n",
            "`tls.key_file` must be given",
        ),
        (
            "public_url = \"https://a.example\"\n",
            "plain_listen = [\"127.0.0.1:80\"]\n",
            "which is not served here",
        ),
        (
            "public_url = \"https://a.example\"\n",
            "acme = true\ncontact = [\"nobody\"]\nplain_listen = [\"127.0.0.1:80\"]\n",
            "no e-mail address",
        ),
        (
            "public_url = \"https://a.example\"\n",
            "acme = true\ndirectory = \"http://a.example\"\nplain_listen = [\"127.0.0.1:80\"]\n",
            "no https URL",
        ),
        (
            "public_url = \"https://a.example\"\n",
            "acme = true\nplain_listen = [\"127.0.0.1:8080\"]\n",
            "an address of `listen`, too",
        ),
    ] {
        let folder = tempfile::tempdir()?;
        let config = format!("{top}[tls]\n{tls}[[backend]]\nurl = \"http://127.0.0.1:9\"\n");
        std::fs::write(folder.path().join("gateway.toml"), config)?;
        let words = ["check", "--config", "gateway.toml"];
        let (code, _, errors) = run_in(folder.path(), &binary("gateway"), &words, "").await?;
        assert_eq!(code, 64, "{tls}: {errors}");
        assert!(errors.contains(said), "{said}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    Ok(())
}
