//! Revoked at one replica, ended at the other: clients, people and narrowed tokens, with the store
//! gone and back in between (issue: Revocation; S12).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner};
use tests::http::{self, Reply};
use tests::mcp::{self, call, initialize};
use tests::oauth::OAuthClient;
use tests::operator::{command, done, token};
use tests::program::{binary, run};
use tests::recorder::Answer;
use tests::scripted_mcp::{self, MCP_STREAM};
use tests::sse::EventStream;

/// The next call is refused within this, on every replica.
const CALLS: Duration = Duration::from_secs(1);
/// Streams and calls have ended within this.
const STREAMS: Duration = Duration::from_secs(5);

/// Two replicas on one Redis. The backend never answers the tool `hang`.
struct Pair {
    fixture: Fixture,
    second: Gateway,
    bob: Owner,
}

impl Pair {
    async fn start() -> Result<Self> {
        let fixture = Fixture::on(StoreKind::Redis).await?;
        fixture.backend.play(|request| {
            let body = String::from_utf8_lossy(&request.body);
            if body.contains("\"hang\"") {
                Answer::Silence
            } else {
                scripted_mcp::answer(request)
            }
        });
        let second = fixture.replica(|setup| setup).await?;
        let bob = Owner {
            name: "bob".into(),
            password: "a second correct horse".into(),
        };
        done(&fixture.gateway, &["users", "add", "bob"], &bob.password).await?;
        Ok(Pair {
            fixture,
            second,
            bob,
        })
    }

    /// To the second replica, as clients see it.
    fn host(&self) -> String {
        let issuer = self.fixture.gateway.issuer();
        issuer.trim_start_matches("http://").to_owned()
    }

    fn call(&self, token: &str, tool: &str) -> RequestBuilder {
        let body = call(1, tool, &serde_json::json!({}));
        mcp::post(&self.second.url("/mcp"), token, &body).header("Host", self.host())
    }

    async fn status(&self, token: &str) -> Result<u16> {
        let request = mcp::post(&self.second.url("/mcp"), token, &initialize());
        Ok(http::send(request.header("Host", self.host()))
            .await?
            .status)
    }

    async fn stream(&self, token: &str) -> Result<EventStream> {
        let request = http::client()
            .get(self.second.url("/mcp"))
            .header("Host", self.host())
            .bearer_auth(token);
        EventStream::open(request).await
    }

    async fn lose_and_find_the_store(&mut self) -> Result<()> {
        let redis = self.fixture.redis.as_mut().expect("this world has one");
        redis.kill().await?;
        // Both notice.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        redis.restart().await
    }

    /// A command at the first replica, repeated while its store is still on its way back.
    async fn operate(&self, words: &[&str], input: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            let commanded = command(&self.fixture.gateway, words, input).await?;
            match commanded.code {
                0 => return Ok(()),
                69 if start.elapsed() < STREAMS => {}
                _ => anyhow::bail!("{words:?}: {commanded:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The victim's stream and running call at the second replica end, the bystander's go on.
    async fn ends(
        &mut self,
        victim: &str,
        bystander: &str,
        words: &[&str],
        input: &str,
    ) -> Result<()> {
        let mut ended = self.stream(victim).await?;
        let mut goes_on = self.stream(bystander).await?;
        let hanging = tokio::spawn(http::send(self.call(victim, "hang")));
        let waiting = tokio::spawn(http::send(self.call(bystander, "hang")));
        self.fixture.backend.await_streams(2, STREAMS).await?;
        let arrived = Instant::now();
        while self.fixture.backend.marked("\"hang\"").len() < 2 {
            anyhow::ensure!(arrived.elapsed() < STREAMS, "the calls do not arrive");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.lose_and_find_the_store().await?;
        assert!(!hanging.is_finished(), "an outage ended a call");

        self.operate(words, input).await?;
        let start = Instant::now();
        // After an outage its look of each second may be all that tells it: patience.
        while self.status(victim).await? != 401 {
            assert!(
                start.elapsed() < STREAMS,
                "{words:?}: the second lets it in"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(ended.end(STREAMS).await?, "{words:?}: cut instead of ended");
        let refused: Reply = tokio::time::timeout(STREAMS, hanging).await???;
        assert_eq!(refused.status, 401, "{}", refused.text);
        assert!(start.elapsed() < STREAMS, "{:?}", start.elapsed());

        assert_eq!(self.status(bystander).await?, 200, "{words:?}");
        assert!(!waiting.is_finished(), "a bystander's call ended");
        waiting.abort();
        self.fixture
            .backend
            .push(MCP_STREAM, "data: still here\n\n");
        assert_eq!(goes_on.event(STREAMS).await?.1, "still here");
        // It is in the list, not in the memory of one process.
        self.second.crash_and_restart().await?;
        assert_eq!(self.status(victim).await?, 401, "{words:?}: after a crash");
        assert_eq!(
            self.status(bystander).await?,
            200,
            "{words:?}: after a crash"
        );
        Ok(())
    }

    async fn client(&self, name: &str) -> Result<OAuthClient> {
        self.fixture.client(name).await
    }
}

#[tokio::test]
async fn a_client_revoked_at_one_replica_ends_at_the_other_though_the_store_was_away() -> Result<()>
{
    let mut pair = Pair::start().await?;
    let client = pair.client("Victim").await?;
    let victim = client.sign_in(&pair.fixture.owner).await?;
    let bystander = pair.client("Bystander").await?;
    let bystander = bystander.sign_in(&pair.fixture.owner).await?;
    let words = ["grants", "revoke", "--client", &client.client_id];
    pair.ends(&victim, &bystander, &words, "").await?;
    // Allowed again, it works again, also at the other replica.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let again = client.sign_in(&pair.fixture.owner).await?;
    assert_eq!(pair.status(&again).await?, 200);
    assert_eq!(pair.status(&victim).await?, 401);
    Ok(())
}

#[tokio::test]
async fn a_person_disabled_at_one_replica_ends_at_the_other_though_the_store_was_away() -> Result<()>
{
    let mut pair = Pair::start().await?;
    let client = pair.client("Shared app").await?;
    let victim = client.sign_in(&pair.bob).await?;
    let bystander = client.sign_in(&pair.fixture.owner).await?;
    pair.ends(&victim, &bystander, &["users", "disable", "bob"], "")
        .await?;
    assert!(client.sign_in(&pair.bob).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_narrowed_token_revoked_at_one_replica_ends_at_the_other_though_the_store_was_away()
-> Result<()> {
    let mut pair = Pair::start().await?;
    let client = pair.client("App").await?;
    let parent = client.sign_in(&pair.fixture.owner).await?;
    let narrow = async |token: &str| -> Result<String> {
        let words = ["token", "narrow", "--tool", "hang"];
        let (code, out, errors) = run(&binary("gateway"), &words, token).await?;
        anyhow::ensure!(code == 0, "{errors}");
        Ok(out.trim().to_owned())
    };
    let child = narrow(&parent).await?;
    let grandchild = narrow(&child).await?;
    pair.ends(&grandchild, &parent, &["token", "revoke"], &child)
        .await?;
    assert_eq!(pair.status(&child).await?, 401);
    Ok(())
}

/// None slips through: while somebody connects again and again at both replicas, all of the client
/// is revoked. Whatever was given before the answer is dead after it.
#[tokio::test]
async fn no_code_and_no_refresh_that_races_with_a_cut_survives_it() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Redis, |setup| {
        setup.more("[tokens]\nrefresh = true\n")
    })
    .await?;
    let second = fixture
        .replica(|setup| setup.more("[tokens]\nrefresh = true\n"))
        .await?;
    let host = fixture
        .gateway
        .issuer()
        .trim_start_matches("http://")
        .to_owned();
    let fixture = Arc::new(fixture);
    // Some came before the cut and some after it, or nothing raced.
    let (mut gave, mut refused) = (0, 0);
    for round in 0..60 {
        if round >= 6 && gave > 0 && refused > 0 {
            break;
        }
        let client = Arc::new(fixture.client(&format!("Racer {round}")).await?);
        let mut racing = tokio::task::JoinSet::new();
        let mut refreshed = Vec::new();
        for _ in 0..3 {
            refreshed.push(client.connect(&fixture.owner).await?);
        }
        let mut codes = Vec::new();
        for _ in 0..3 {
            let request = client.authorization();
            let code = client.allow(&request, &fixture.owner).await?.code();
            codes.push(client.token_request(&code, &request.pkce.verifier));
        }
        let asked = codes.into_iter().chain(refreshed.iter().map(|answer| {
            let token = answer["refresh_token"].as_str().expect("a refresh token");
            client.refresh_request(token)
        }));
        for (at, fields) in asked.enumerate() {
            let url = match at % 2 {
                0 => fixture.url("/token"),
                _ => second.url("/token"),
            };
            let request = http::client().post(url).header("Host", &host).form(&fields);
            let delay = Duration::from_millis((at as u64 * 7 + round * 11) % 60);
            racing.spawn(async move {
                tokio::time::sleep(delay).await;
                http::send(request).await
            });
        }
        tokio::time::sleep(Duration::from_millis(round * 12)).await;
        // As the command asks, without the time that a process takes to start.
        let all = json!({ "client": client.client_id }).to_string();
        let right = format!("Bearer {}", token(&fixture.gateway)?);
        let right = [("Authorization", right.as_str())];
        let revoke = fixture.gateway.admin_url("/v1/grants/revoke");
        let revoked = http::post(&revoke, "application/json", all, &right).await?;
        assert_eq!(revoked.status, 200, "{}", revoked.text);
        let acknowledged = Instant::now();

        let mut given: Vec<String> = refreshed
            .iter()
            .map(|answer| {
                answer["access_token"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect();
        while let Some(reply) = racing.join_next().await {
            let reply = reply??;
            if reply.status == 200 {
                gave += 1;
                let token = reply.json()["access_token"].as_str().map(str::to_owned);
                given.extend(token);
            } else {
                refused += 1;
                assert_eq!(reply.error(), "invalid_grant", "{}", reply.text);
            }
        }
        tokio::time::sleep(CALLS.saturating_sub(acknowledged.elapsed())).await;
        for token in given {
            for url in [fixture.url("/mcp"), second.url("/mcp")] {
                let request = mcp::post(&url, &token, &initialize());
                let reply = http::send(request.header("Host", &host)).await?;
                assert_eq!(reply.status, 401, "round {round}: one slipped through");
            }
        }
    }
    assert!(gave > 0 && refused > 0, "{gave} given, {refused} refused");
    Ok(())
}

#[tokio::test]
async fn without_its_store_a_revocation_is_not_acknowledged_and_says_why() -> Result<()> {
    let audit = "[audit]\nfile = \"audit.jsonl\"\n";
    let mut fixture = Fixture::with(StoreKind::Redis, |setup| setup.more(audit)).await?;
    let (client, given) = fixture.signed_in().await?;
    fixture
        .redis
        .as_mut()
        .expect("this world has one")
        .kill()
        .await?;
    for words in [
        vec!["grants", "revoke", "--client", &client.client_id],
        vec!["users", "disable", "alice"],
        vec!["grants", "ls"],
    ] {
        let refused = command(&fixture.gateway, &words, "").await?;
        assert_eq!(refused.code, 69, "{words:?}: {refused:?}");
        assert!(refused.errors.contains("store"), "{words:?}: {refused:?}");
    }
    let revoked = command(&fixture.gateway, &["token", "revoke"], &given).await?;
    assert_eq!(revoked.code, 69, "{revoked:?}");
    // Part of each may have been done: the audit log says what was meant.
    // It has a moment later what nobody waits for.
    let file = fixture.gateway.folder().join("audit.jsonl");
    let failed = async |command: &str| -> Result<Value> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let records = std::fs::read_to_string(&file)?;
            let lines = records
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let mut failed = lines.filter(|record: &Value| record["outcome"] == "failed");
            let said = |record: &Value| record["detail"].as_str().unwrap_or_default().to_owned();
            if let Some(found) = failed.find(|record| said(record).starts_with(command)) {
                return Ok(found);
            }
            ensure!(
                Instant::now() < deadline,
                "no record of {command}: {records}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let of_grant = failed("grants revoke").await?;
    assert_eq!(of_grant["client"], json!(client.client_id));
    failed("users disable alice, by ").await?;
    assert!(failed("token revoke").await?["grant"].is_string());
    Ok(())
}
