//! What keeps a new process from taking over leaves the old one serving, and is said in a sentence.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Setup};
use tests::mcp::{initialize, send};
use tests::program::Program;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::PATIENCE;

/// The exit code and what was said.
async fn refused(mut new: Program) -> Result<(i32, String)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(code) = new.ended() {
            return Ok((code, new.stderr.to_the_end(PATIENCE).await.join("\n")));
        }
        ensure!(Instant::now() < deadline, "{}", new.last_words());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The gateway serves everything: a token, a login, which writes, and a new process that is sound.
async fn it_serves(fixture: &mut Fixture, token: &str) -> Result<()> {
    let reply = send(&fixture.url("/mcp"), token, &initialize()).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let client = fixture.client("Another").await?;
    client.sign_in(&fixture.owner).await?;
    let page = Browser::default()
        .visit(&client.authorization().url())
        .await?;
    ensure!(page.password_form().is_ok(), "{}", page.words());
    Ok(())
}

async fn what_is_broken_leaves_the_old_one_serving(store: StoreKind) -> Result<()> {
    let mut fixture = Fixture::on(store).await?;
    let (_, token) = fixture.signed_in().await?;

    // Its configuration.
    let sound = fixture.gateway.setup().more.clone();
    fixture.gateway.setup().more = format!("{sound}\n[limits]\nnothing = 1\n");
    let (code, said) = refused(fixture.gateway.upgrading()?).await?;
    assert_eq!(code, 64, "{said}");
    ensure!(said.contains("limits.nothing"), "{said}");
    it_serves(&mut fixture, &token).await?;

    // What is found out only with the store open.
    fixture.gateway.setup().more = format!("{sound}\n[audit]\nfile = \"/dev/null/audit.jsonl\"\n");
    let (code, said) = refused(fixture.gateway.upgrading()?).await?;
    assert_eq!(code, 69, "{said}");
    ensure!(said.contains("the audit log can't be written"), "{said}");
    it_serves(&mut fixture, &token).await?;

    // A process that is killed in the middle: whenever that is, somebody serves.
    fixture.gateway.setup().more = sound;
    for moment in [20, 60, 120, 200] {
        let mut new = fixture.gateway.upgrading()?;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let took_over = |said: Vec<String>| said.iter().any(|line| line.contains("\"took_over\""));
        if took_over(new.stderr.all()) {
            break;
        }
        new.kill().await?;
        if took_over(new.stderr.to_the_end(PATIENCE).await) {
            break;
        }
        let served = it_serves(&mut fixture, &token).await;
        // What the new one logged last may have died with it; the old one says that it left, too.
        let old = fixture.gateway.log();
        if served.is_err() && old.iter().any(|line| line.contains("\"upgraded\"")) {
            break;
        }
        served?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_broken_leaves_the_old_one_serving_on_the_embedded_store() -> Result<()> {
    what_is_broken_leaves_the_old_one_serving(StoreKind::Embedded).await
}

#[tokio::test]
async fn what_is_broken_leaves_the_old_one_serving_on_redis() -> Result<()> {
    what_is_broken_leaves_the_old_one_serving(StoreKind::Redis).await
}

#[tokio::test]
async fn who_cannot_take_over_is_told_why_and_what_to_do() -> Result<()> {
    let mut gateway = Gateway::start(Setup {
        only_more: true,
        more: "[[backend]]\nurl = \"http://127.0.0.1:9\"\n".to_owned(),
        hasty: true,
        ..Setup::default()
    })
    .await?;
    // Another store.
    let other = gateway.folder().join("other");
    let folder = gateway.folder().join("state");
    std::fs::create_dir_all(&other)?;
    std::os::unix::fs::symlink(folder.join("upgrade.sock"), other.join("upgrade.sock"))?;
    gateway.setup().store = Some(format!("file:{}", other.display()));
    let (code, said) = refused(gateway.upgrading()?).await?;
    assert_eq!(code, 69, "{said}");
    ensure!(
        said.contains("its store is file:") && said.contains("changed with a restart"),
        "{said}"
    );
    // A version that takes over in another way, and a folder and socket that are their owner's alone.
    let socket = folder.join("upgrade.sock");
    let mut stream = tokio::net::UnixStream::connect(&socket).await?;
    let hello = "{\"upgrade\":2,\"version\":\"9.9.9\",\"store\":\"x\"}\n";
    stream.write_all(hello.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(
        answer.contains("hands over in the way 1") && answer.contains("9.9.9"),
        "{answer}"
    );
    let mode =
        |path: &Path| std::fs::metadata(path).map(|about| about.permissions().mode() & 0o777);
    assert_eq!((mode(&folder)?, mode(&socket)?), (0o700, 0o600));
    // Nobody there.
    let nobody = gateway.folder().join("nobody");
    gateway.setup().store = Some(format!("file:{}", nobody.display()));
    let (code, said) = refused(gateway.upgrading()?).await?;
    assert_eq!(code, 69, "{said}");
    ensure!(said.contains("no gateway listens at"), "{said}");
    ensure!(said.contains("start it without --upgrade"), "{said}");
    Ok(())
}
