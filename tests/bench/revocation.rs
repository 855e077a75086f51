//! From a revocation to the last byte: how long many streams on two replicas that share one Redis
//! live on, when a client, the operator by client, or the operator by person takes access back.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::gateway::Owner;
use tests::oauth::OAuthClient;
use tests::redis::Redis;
use tests::{http, mcp};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::figure::Figure;
use crate::gateways::{Gateway, Setup};
use crate::placement::Placement;
use crate::programs;
use crate::streams::{self, Relay};

/// Grants that the streams belong to, where a client or a person has more than one.
const GRANTS: usize = 10;
/// Streams of somebody else that must go on.
const BYSTANDERS: usize = 20;
/// No stream may live on for longer.
const LONGEST: Duration = Duration::from_secs(5);
/// The last chunk of a stream that was ended properly.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What one way of taking access back came to.
pub(crate) struct Revoked {
    /// Which.
    pub(crate) way: &'static str,
    /// Streams, on both replicas together.
    pub(crate) streams: usize,
    /// From the request to its answer.
    pub(crate) acknowledged: Duration,
    /// From the request to the last byte of each stream, in order.
    pub(crate) ended: Vec<Duration>,
    /// From the request until the replica that was not asked refused a call.
    pub(crate) refused: Duration,
}

impl Revoked {
    /// The time within which this share of the streams had ended.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let index = (self.ended.len() as f64 * share).ceil() as usize;
        self.ended[index.clamp(1, self.ended.len()) - 1]
    }
}

/// How access is taken back.
#[derive(Clone, Copy)]
enum RevocationScope {
    Token,
    Client,
    Person,
}

impl RevocationScope {
    const ALL: [Self; 3] = [Self::Token, Self::Client, Self::Person];

    const fn name(self) -> &'static str {
        match self {
            Self::Token => "the client, one grant at `/revoke`",
            Self::Client => "`gateway grants revoke --client ID`, 10 grants",
            Self::Person => "`gateway grants revoke --user NAME`, 10 grants",
        }
    }

    const fn grants(self) -> usize {
        match self {
            Self::Token => 1,
            Self::Client | Self::Person => GRANTS,
        }
    }
}

/// From revocation to last byte.
pub(crate) fn markdown(revoked: &[Revoked]) -> String {
    let Some(first) = revoked.first() else {
        return String::new();
    };
    let mut text = format!(
        "| revoked, with {} streams on two replicas and one Redis | acknowledged | last byte of a stream: median | 99 % | of the last | first call refused at the other replica |\n|---|---|---|---|---|---|\n",
        first.streams
    );
    for revoked in revoked {
        let millis = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
        text += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            revoked.way,
            millis(revoked.acknowledged),
            millis(revoked.percentile(0.5)),
            millis(revoked.percentile(0.99)),
            millis(revoked.percentile(1.0)),
            millis(revoked.refused),
        );
    }
    text + "\nTimes count from the moment the request is sent. Every stream ended with its last chunk; streams of another person on both replicas went on.\n\n"
}

/// For machines.
pub(crate) fn json(revoked: &[Revoked]) -> Value {
    let one = |revoked: &Revoked| {
        let ended: Vec<f64> = revoked.ended.iter().map(Duration::as_secs_f64).collect();
        json!({
            "way": revoked.way,
            "streams": revoked.streams,
            "acknowledged_seconds": revoked.acknowledged.as_secs_f64(),
            "refused_seconds": revoked.refused.as_secs_f64(),
            "ended_seconds": ended,
        })
    };
    revoked.iter().map(one).collect()
}

/// For the comparison with another run.
pub(crate) fn figures(revoked: &[Revoked]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for one in revoked {
        let last = one.percentile(1.0).as_secs_f64() * 1e3;
        let refused = one.refused.as_secs_f64() * 1e3;
        let way = one.way;
        figures.push(Figure::duration(
            format!("{way}: last byte of the last stream"),
            last,
        ));
        figures.push(Figure::duration(
            format!("{way}: refused at the other replica"),
            refused,
        ));
    }
    figures
}

struct Rig<'a> {
    first: Gateway<'a>,
    second: Gateway<'a>,
    host: String,
}

/// Measures every way once, each over `count` streams.
pub(crate) async fn measure(
    folder: &Path,
    placement: &Placement,
    threads: usize,
    count: usize,
) -> Result<Vec<Revoked>> {
    let redis = Redis::start().await?;
    let light = programs::light_backend(folder, placement.rest.as_deref()).await?;
    let proxies = placement.proxies.as_deref();
    let setup = |name, replica_of| Setup {
        store: Some(redis.url()),
        replica_of,
        ..Setup::new(name, folder, proxies, threads, light.address)
    };
    let first = Gateway::start(setup("replica-1", None)).await?;
    let shared = Some(("replica-1", first.listening.address));
    let second = Gateway::start(setup("replica-2", shared)).await?;
    let host = first.listening.address.to_string();
    let rig = Rig {
        first,
        second,
        host,
    };
    let bob = Owner {
        name: "bob".into(),
        password: "a second correct horse".into(),
    };
    let add = ["users", "add", "bob"];
    rig.first.command(&add, &bob.password).await?;
    let mut revoked = Vec::new();
    for way in RevocationScope::ALL {
        revoked.push(rig.revoke(way, &bob, count).await?);
    }
    rig.first.listening.end().await;
    rig.second.listening.end().await;
    light.end().await;
    Ok(revoked)
}

impl Rig<'_> {
    async fn revoke(&self, way: RevocationScope, bob: &Owner, count: usize) -> Result<Revoked> {
        let base = format!("http://{}", self.host);
        let client = OAuthClient::register(&base, "Taken back").await?;
        let mut tokens = Vec::new();
        for _ in 0..way.grants() {
            tokens.push(client.sign_in(&Owner::alice()).await?);
        }
        let bystander = OAuthClient::register(&base, "Bystander").await?;
        let bystander = bystander.sign_in(bob).await?;
        let mut kept = Vec::new();
        let mut held = Vec::new();
        for (replica, share) in [(&self.first, count.div_ceil(2)), (&self.second, count / 2)] {
            kept.extend(self.open(replica, &bystander, BYSTANDERS / 2).await?);
            for (at, token) in tokens.iter().enumerate() {
                let each = share / tokens.len() + usize::from(at < share % tokens.len());
                held.extend(self.open(replica, token, each).await?);
            }
        }
        ensure!(held.len() == count, "{} streams are open", held.len());
        let mut reading = JoinSet::new();
        for stream in held {
            reading.spawn(last_byte(stream));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        ensure!(
            reading.try_join_next().is_none(),
            "a stream ended by itself"
        );

        let start = Instant::now();
        let refused = tokio::spawn(refusal(
            self.second.listening.address,
            self.host.clone(),
            tokens[0].clone(),
            start,
        ));
        match way {
            RevocationScope::Token => {
                let reply = client.revoke(&tokens[0]).await?;
                ensure!(reply.status == 200, "{}", reply.text);
            }
            RevocationScope::Client => self.ask(&json!({"client": client.client_id})).await?,
            RevocationScope::Person => self.ask(&json!({"user": "alice"})).await?,
        }
        let acknowledged = start.elapsed();
        let mut ended = Vec::new();
        let deadline = tokio::time::Instant::from_std(start + LONGEST);
        while ended.len() < count {
            let joined = tokio::time::timeout_at(deadline, reading.join_next()).await;
            let joined = joined.with_context(|| {
                format!(
                    "{} of {count} streams live on after {LONGEST:?}",
                    count - ended.len()
                )
            })?;
            let at = joined.context("all were counted")???;
            ended.push(at.duration_since(start));
        }
        ended.sort();
        for stream in &kept {
            streams::came_since(stream).context("a bystander's stream")?;
        }
        Ok(Revoked {
            way: way.name(),
            streams: count,
            acknowledged,
            ended,
            refused: refused.await??,
        })
    }

    async fn open(
        &self,
        replica: &Gateway<'_>,
        token: &str,
        count: usize,
    ) -> Result<Vec<TcpStream>> {
        let relay = Relay {
            name: "replica",
            address: replica.listening.address,
            host: self.host.clone(),
            id: replica.listening.id()?,
            token,
        };
        streams::open_all(&relay, count).await
    }

    /// The request that the command makes, without the time that its process takes to start.
    async fn ask(&self, what: &Value) -> Result<()> {
        let request = http::client()
            .post(format!("http://{}/v1/grants/revoke", self.first.admin))
            .bearer_auth(self.first.admin_token()?)
            .json(what);
        let reply = http::send(request).await?;
        ensure!(reply.status == 200, "{}", reply.text);
        Ok(())
    }
}

/// When the last byte of a stream came; an error if it was cut off.
async fn last_byte(mut stream: TcpStream) -> Result<Instant> {
    let mut tail = Vec::new();
    loop {
        let read = stream.read_buf(&mut tail).await?;
        ensure!(read > 0, "a stream was cut off");
        if tail.ends_with(LAST_CHUNK) {
            return Ok(Instant::now());
        }
        // Only the end is looked at.
        tail.drain(..tail.len().saturating_sub(LAST_CHUNK.len()));
    }
}

/// How long a replica goes on taking calls.
async fn refusal(
    replica: SocketAddr,
    host: String,
    token: String,
    start: Instant,
) -> Result<Duration> {
    let client = http::client();
    let url = format!("http://{replica}/mcp");
    while start.elapsed() < LONGEST {
        let call = mcp::call(1, "search", &json!({"query": "x"}));
        let request = client
            .post(&url)
            .header("Host", &host)
            .header("Accept", "application/json, text/event-stream")
            .bearer_auth(&token)
            .json(&call);
        if http::send(request).await?.status == 401 {
            return Ok(start.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    anyhow::bail!("the other replica takes calls after {LONGEST:?}")
}
