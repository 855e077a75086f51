//! State that an earlier version wrote is read by this one: clients, people, grants, codes, refresh
//! tokens, revocations and the audit log, on each kind of store. The recordings and the script that
//! made them are in `tests/recorded`.
//!
//! All that ends was given a hundred years there, so that these tests don't end with it. What can't be
//! given more is past its time: the code that nobody redeemed, and the browsers' sessions.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tests::browser::Browser;
use tests::fixture::StoreKind;
use tests::gateway::{Gateway, Setup};
use tests::mcp::{initialize, send};
use tests::oauth::OAuthClient;
use tests::operator::{command, done};
use tests::program::workspace;
use tests::redis::Redis;
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::indexes::assert_lists_agree;

/// Today's gateway on state of an earlier one.
struct Recorded {
    gateway: Gateway,
    _redis: Option<Redis>,
    said: Value,
}

impl Recorded {
    async fn start(store: StoreKind) -> Result<Self> {
        let name = match store {
            StoreKind::Embedded => "embedded",
            StoreKind::Redis => "redis",
        };
        let recording = workspace().join("tests/recorded").join(name);
        let said: Value = serde_json::from_slice(&std::fs::read(recording.join("said.json"))?)?;
        let folder = tempfile::tempdir()?;
        for part in ["keys", "audit", "state"] {
            copy(&recording.join(part), &folder.path().join(part))?;
        }
        let redis = match store {
            StoreKind::Embedded => {
                unpack(&folder)?;
                None
            }
            StoreKind::Redis => {
                let redis = Redis::start().await?;
                let commands = std::fs::read(recording.join("redis.commands"))?;
                redis.replay(&commands).await?;
                // As if all replicas were of this version for an hour, so that its indexes count.
                let mark = "{\"since\":1,\"walk\":null}";
                redis
                    .say(&["HSET", "gateway:setting:indexes", "value", mark])
                    .await?;
                Some(redis)
            }
        };
        let text = |member: &str| said[member].as_str().unwrap_or_default().to_owned();
        let tokens = text("tokens");
        let hash = text("owner_hash");
        let audit = folder.path().join("audit/audit.jsonl");
        let gateway = Gateway::start(Setup {
            store: redis.as_ref().map(Redis::url),
            public_url: Some(text("url")),
            owner: None,
            folder: Some(folder),
            more: format!(
                "{tokens}\n[audit]\nfile = \"{}\"\n\
                 [owner]\nname = \"alice\"\npassword_hash = \"{hash}\"\n",
                audit.display()
            ),
            ..Setup::default()
        })
        .await?;
        answer_at(&text("url"), gateway.port).await?;
        Ok(Self {
            gateway,
            _redis: redis,
            said,
        })
    }

    fn url(&self) -> &str {
        text(&self.said["url"])
    }

    fn client(&self, name: &str) -> OAuthClient {
        self.known(&self.said[name]["client_id"])
    }

    fn known(&self, id: &Value) -> OAuthClient {
        OAuthClient::known(self.url(), text(id), text(&self.said["callback"]))
    }

    async fn call(&self, token: &Value) -> Result<u16> {
        let reply = send(&format!("{}/mcp", self.url()), text(token), &initialize()).await?;
        Ok(reply.status)
    }

    /// The words of the page on which somebody sees the apps that they allowed something.
    async fn apps_of(&self, person: &str) -> Result<String> {
        let mut browser = Browser::default();
        let page = browser
            .visit(&Url::parse(&format!("{}/account", self.url()))?)
            .await?;
        let password = text(&self.said["passwords"][person]);
        let page = browser.log_in(&page, person, password).await?;
        Ok(page.words())
    }

    /// Waits until all that was written without an index is in one.
    async fn indexed(&self) -> Result<()> {
        self.gateway.logged("indexes_walked").await?;
        Ok(())
    }

    async fn listed(&self, what: &str) -> Result<Value> {
        let listed = done(&self.gateway, &[what, "ls", "--json"], "").await?;
        Ok(listed.json())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// A folder's files, as the gateway would have made them: nobody else may read them.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.exists() {
        return Ok(());
    }
    std::fs::create_dir(to)?;
    std::fs::set_permissions(to, Permissions::from_mode(0o700))?;
    for file in std::fs::read_dir(from)? {
        let file = file?;
        let (copied, kind) = (to.join(file.file_name()), file.file_type()?);
        if kind.is_dir() {
            copy(&file.path(), &copied)?;
        }
        // What it listens on is no file.
        if !kind.is_file() {
            continue;
        }
        std::fs::copy(file.path(), &copied)?;
        std::fs::set_permissions(&copied, Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn unpack(folder: &TempDir) -> Result<()> {
    let packed = folder.path().join("state/gateway.redb.gz");
    let unpacked = Command::new("gzip")
        .arg("--decompress")
        .arg(packed)
        .output();
    let unpacked = unpacked.context("no gzip")?;
    ensure!(unpacked.status.success(), "{unpacked:?}");
    Ok(())
}

/// What is sent to the recorded URL reaches the gateway. Its address is nobody else's, but these very
/// tests may run twice on one machine.
async fn answer_at(url: &str, port: u16) -> Result<()> {
    let address = url.trim_start_matches("http://");
    let begun = Instant::now();
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) if begun.elapsed() > Duration::from_secs(120) => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    tokio::spawn(async move {
        while let Ok((mut front, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut back = TcpStream::connect(("127.0.0.1", port)).await?;
                tokio::io::copy_bidirectional(&mut front, &mut back).await
            });
        }
    });
    Ok(())
}

/// Whether all that was said then is said now; there may be more.
fn says_still(now: &Value, then: &Value) -> bool {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => then.iter().all(|(name, then)| {
            let now = now.get(name).unwrap_or(&Value::Null);
            says_still(now, then)
        }),
        (Value::Array(now), Value::Array(then)) => {
            let mut both = now.iter().zip(then);
            now.len() == then.len() && both.all(|(now, then)| says_still(now, then))
        }
        _ => now == then,
    }
}

async fn verifies(gateway: &Gateway) -> Result<()> {
    let verified = command(gateway, &["audit", "verify"], "").await?;
    assert_eq!(verified.code, 0, "{verified:?}");
    Ok(())
}

async fn state_of_an_earlier_version_counts(store: StoreKind) -> Result<()> {
    let recorded = Recorded::start(store).await?;
    let said = &recorded.said;

    // The operator sees what there was.
    for (what, member) in [
        ("users", "people"),
        ("clients", "clients"),
        ("grants", "grants"),
    ] {
        let now = recorded.listed(what).await?;
        assert!(
            says_still(&now, &said[member]),
            "{now:#}\n{:#}",
            said[member]
        );
    }
    verifies(&recorded.gateway).await?;

    // What belongs to a person or an app is found as if that version had kept indexes.
    recorded.indexed().await?;
    assert!(assert_lists_agree(&recorded.gateway).await? > 4);

    // People log in with their passwords, and see what they allowed.
    for person in ["alice", "bob"] {
        let words = recorded.apps_of(person).await?;
        assert!(words.contains("App"), "{person}: {words}");
    }
    let words = recorded.apps_of("carol").await?;
    assert!(!words.contains("My apps"), "kept out: {words}");

    // Tokens count, and are renewed: of an app without a secret and of one with.
    let app = recorded.client("app");
    let given = &said["refreshing"];
    assert_eq!(recorded.call(&given["access_token"]).await?, 200);
    let renewed = app.refresh(text(&given["refresh_token"])).await?;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    assert_eq!(recorded.call(&renewed.json()["access_token"]).await?, 200);
    let secretive = recorded.client("secretive");
    let mut fields = secretive.refresh_request(text(&said["chosen"]["refresh_token"]));
    let unproven = secretive.token(&fields).await?;
    assert_eq!(unproven.error(), "invalid_client", "{}", unproven.text);
    let secret = text(&said["secretive"]["client_secret"]).to_owned();
    fields.push(("client_secret".to_owned(), secret));
    let renewed = secretive.token(&fields).await?;
    assert_eq!(renewed.status, 200, "{}", renewed.text);

    // What was taken back stays taken back.
    let revoked = said["revoked"].as_object().context("nothing was revoked")?;
    assert_eq!(revoked.len(), 5);
    for (how, grant) in revoked {
        assert_eq!(recorded.call(&grant["access_token"]).await?, 401, "{how}");
        let client = recorded.known(&grant["client"]);
        let answer = client.refresh(text(&grant["refresh_token"])).await?;
        let error = match how.as_str() {
            // That takes back one token, and no grant.
            "by the operator" => {
                assert_eq!(answer.status, 200, "{}", answer.text);
                continue;
            }
            "with its client's record" => "invalid_client",
            _ => "invalid_grant",
        };
        assert_eq!(answer.error(), error, "{how}: {}", answer.text);
    }

    // What was used is known to have been used: once more ends the grant.
    let used = &said["reused"];
    assert_eq!(recorded.call(&used["new"]["access_token"]).await?, 200);
    let again = app.refresh(text(&used["old"]["refresh_token"])).await?;
    assert!(again.text.contains("used again"), "{}", again.text);
    assert_eq!(recorded.call(&used["new"]["access_token"]).await?, 401);
    let redeemed = &said["redeemed"];
    assert_eq!(
        recorded.call(&redeemed["tokens"]["access_token"]).await?,
        200
    );
    for (code, is_taken) in [(&redeemed["code"], true), (&said["pending"], false)] {
        let again = app.redeem(text(&code[0]), text(&code[1])).await?;
        assert_eq!(again.error(), "invalid_grant", "{is_taken}: {}", again.text);
    }
    assert_eq!(
        recorded.call(&redeemed["tokens"]["access_token"]).await?,
        401
    );

    // The audit log goes on from where it was.
    verifies(&recorded.gateway).await
}

#[tokio::test]
async fn state_of_an_earlier_version_counts_on_the_embedded_store() -> Result<()> {
    state_of_an_earlier_version_counts(StoreKind::Embedded).await
}

#[tokio::test]
async fn state_of_an_earlier_version_counts_on_redis() -> Result<()> {
    state_of_an_earlier_version_counts(StoreKind::Redis).await
}
