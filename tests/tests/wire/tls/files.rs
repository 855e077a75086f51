//! Certificates in files: what is wrong with them is said with a remedy, and never served.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::Version;
use tests::http;
use tests::program::{binary, free_port, run_in, signal};
use tests::tls::Certificates;

use super::{Secured, paths};

#[tokio::test]
async fn files_that_are_as_they_were_are_read_in_silence() -> Result<()> {
    let secured = Secured::start("").await?;
    // The first look is five seconds after the start, and reads them again.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let log = secured.gateway.log().join("\n");
    assert!(!log.contains("certificate_reloaded"), "{log}");
    // An operator who asks is told that it was done.
    let id = secured.gateway.process_id().context("it ended")?;
    signal(id, "HUP").await?;
    secured.gateway.logged("certificate_reloaded").await?;
    Ok(())
}

#[tokio::test]
async fn a_new_certificate_that_is_wrong_leaves_the_last_good_one_and_says_so() -> Result<()> {
    let secured = Secured::start("").await?;
    let (_, key) = paths(secured.files.path());
    let served = secured.client()?.open(Version::HTTP_11).await?.certificate;
    let other = Certificates::make("DNS:elsewhere", 60)?;
    let apart = tempfile::tempdir()?;
    let (unused, other_key) = paths(apart.path());
    other.install(&unused, &other_key)?;
    std::fs::copy(&other_key, &key)?;
    let id = secured.gateway.process_id().context("it ended")?;
    signal(id, "HUP").await?;
    secured.gateway.logged("certificate_kept").await?;
    assert_eq!(
        secured.client()?.open(Version::HTTP_11).await?.certificate,
        served
    );
    let ready = http::get(&secured.gateway.admin_url("/readyz")).await?;
    assert_eq!(ready.status, 200, "{}", ready.text);
    assert!(
        ready.text.contains("there is no newer one: `tls.key_file`"),
        "{}",
        ready.text
    );
    assert!(!secured.gateway.log().join("\n").contains("PRIVATE KEY"));
    Ok(())
}

/// What `gateway check` and `gateway serve` say of these files; they must refuse them.
async fn refused(certificate: &Path, key: &Path) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let (port, admin) = (free_port(), free_port());
    let config = format!(
        "public_url = \"https://localhost:{port}\"\nlisten = [\"127.0.0.1:{port}\"]\nadmin_listen = \"127.0.0.1:{admin}\"\n\
         [tls]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n[[backend]]\nurl = \"http://127.0.0.1:9\"\n"
    );
    std::fs::write(folder.path().join("gateway.toml"), config)?;
    let mut said = String::new();
    for command in ["check", "serve"] {
        let words = [command, "--config", "gateway.toml"];
        let (code, _, errors) = run_in(folder.path(), &binary("gateway"), &words, "").await?;
        assert_ne!(code, 0, "{command}: {errors}");
        let line = errors.lines().find(|line| line.starts_with("error: "));
        let line = line.with_context(|| format!("{command}: {errors}"))?;
        anyhow::ensure!(said.is_empty() || said == line, "{said} {line}");
        said = line.to_owned();
    }
    Ok(said)
}

#[tokio::test]
async fn files_that_can_not_be_served_end_the_start_with_what_to_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (certificate, key) = paths(folder.path());
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    };
    Certificates::make("DNS:localhost", 30)?.install(&certificate, &key)?;
    let nothing = write("nothing.pem", "nothing\n")?;
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let locked = write("locked.pem", locked)?;
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = write("broken.pem", broken)?;
    let (other, other_key) = (folder.path().join("o.pem"), folder.path().join("ok.pem"));
    Certificates::make("DNS:localhost", 30)?.install(&other, &other_key)?;
    let (old, old_key) = (
        folder.path().join("old.pem"),
        folder.path().join("old-key.pem"),
    );
    Certificates::make("DNS:localhost", -1)?.install(&old, &old_key)?;
    for (certificate, key, said) in [
        (
            folder.path().join("none"),
            key.clone(),
            "let the gateway's user read it",
        ),
        (
            certificate.clone(),
            folder.path().join("none"),
            "`tls.key_file`",
        ),
        (nothing.clone(), key.clone(), "fullchain.pem"),
        (certificate.clone(), nothing.clone(), "privkey.pem"),
        (certificate.clone(), locked, "openssl pkey"),
        (broken, key.clone(), "can't be read"),
        (
            certificate.clone(),
            other_key,
            "the server's own certificate comes first",
        ),
        (old, old_key, "renew it"),
    ] {
        let line = refused(&certificate, &key).await?;
        assert!(line.contains(said), "{said}: {line}");
    }
    Ok(())
}
