//! What a client meets when a real server dies, stalls, comes back, or closes a kept connection
//! under the gateway's hands; and what a server notices when a client is gone. The wire tests do
//! the same against a scripted backend; here uvicorn and Node are themselves.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::gateway::{Owner, Setup};
use tests::http::{self, Reply};
use tests::mcp::{self, LegacySession};
use tests::oauth::{OAuthClient, REDIRECT_URI};
use tests::server::{Launch, Lock, Server, sample};
use tests::sse::{EventStream, SseItem};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::front::{Front, message, watched};

async fn on_node() -> Result<Server> {
    Server::start(|port, _| Launch::node_sample("ts_sdk_v2.mjs").arg(&port.to_string())).await
}

async fn on_uvicorn() -> Result<Server> {
    Server::start(|port, _| {
        Launch::python(Lock::PythonV1, "python")
            .args(&[&sample("python_sdk_v1.py"), &port.to_string()])
    })
    .await
}

async fn everything(transport: &'static str) -> Result<Server> {
    Server::start(|port, _| {
        Launch::npm("@modelcontextprotocol/server-everything/dist/index.js")
            .arg(transport)
            .env("PORT", &port.to_string())
    })
    .await
}

/// A tool that changes something: loaves on the shelf. No two calls have the same id, as they may
/// be in one session at once.
fn bake(loaves: u64) -> Value {
    static ID: AtomicU64 = AtomicU64::new(1);
    let id = ID.fetch_add(1, Ordering::Relaxed);
    mcp::call(id, "bake", &json!({"loaves": loaves}))
}

/// The loaves on the shelf, as an answer tells them.
fn loaves(reply: &Reply) -> Result<u64> {
    let answer = mcp::response(reply)?;
    let text = answer["result"]["content"][0]["text"].as_str();
    let word = text.and_then(|text| text.split(' ').next());
    word.with_context(|| answer.to_string())?
        .parse()
        .with_context(|| answer.to_string())
}

/// `bake` at a path, in a session where the server has them.
struct Oven {
    url: String,
    token: String,
    session: Option<String>,
}

impl Oven {
    async fn at(front: &Front, path: &str, with_session: bool) -> Result<Self> {
        let (url, token) = (front.gateway.url(path), front.token(path).await?);
        let session = if with_session {
            Some(mcp::open_session(&url, &token).await?)
        } else {
            None
        };
        Ok(Oven {
            url,
            token,
            session,
        })
    }

    async fn bake(&self, loaves: u64) -> Result<Reply> {
        let headers: Vec<_> = self
            .session
            .iter()
            .map(|session| ("Mcp-Session-Id", session.as_str()))
            .collect();
        http::send(message(
            &self.url,
            Some(&self.token),
            &bake(loaves),
            &headers,
        ))
        .await
    }
}

/// Many lanes call, pause about as long as both sides keep a connection (the gateway 4 s, Node
/// and uvicorn 5 s), and call again: each reuse is a race with the other side's end.
async fn races_with_keep_alive(server: &Server, with_session: bool) -> Result<()> {
    const LANES: u64 = 40;
    const ROUNDS: u64 = 5;
    let front = Front::start(&server.url()).await?;
    let oven = Oven::at(&front, "/mcp", with_session).await?;
    let lanes = (0..LANES).map(|lane| {
        let oven = &oven;
        async move {
            let mut refused = Vec::new();
            for round in 0..ROUNDS {
                let reply = oven.bake(1).await?;
                if reply.status != 200 {
                    refused.push((lane, round, reply.status, reply.text));
                }
                tokio::time::sleep(Duration::from_millis(3_800 + 35 * lane)).await;
            }
            anyhow::Ok(refused)
        }
    });
    let refused = futures::future::try_join_all(lanes).await?.concat();
    assert!(
        refused.is_empty(),
        "{} of {}: {refused:?}",
        refused.len(),
        LANES * ROUNDS
    );
    assert_eq!(
        loaves(&oven.bake(0).await?)?,
        LANES * ROUNDS,
        "calls were made twice, or lost"
    );
    println!("{} calls, 0 refused, 0 made twice", LANES * ROUNDS);
    Ok(())
}

#[tokio::test]
async fn where_node_ends_keep_alive_no_call_fails_and_none_is_made_twice() -> Result<()> {
    watched(on_node(), async |server| {
        races_with_keep_alive(server, false).await
    })
    .await
}

#[tokio::test]
async fn where_uvicorn_ends_keep_alive_no_call_fails_and_none_is_made_twice() -> Result<()> {
    watched(on_uvicorn(), async |server| {
        races_with_keep_alive(server, true).await
    })
    .await
}

#[tokio::test]
async fn a_server_that_dies_is_told_at_once_and_found_again_when_it_is_back() -> Result<()> {
    watched(on_node(), async |server| {
        let neighbour = on_node().await?;
        let setup = Setup::default().backend(&server.url()).mounted(
            "neighbour",
            "/neighbour",
            &neighbour.url(),
        );
        let front = Front::with(setup).await?;
        let oven = Oven::at(&front, "/mcp", false).await?;
        let other = Oven::at(&front, "/neighbour/mcp", false).await?;
        assert_eq!(loaves(&oven.bake(1).await?)?, 1);

        server.end();
        for _ in 0..3 {
            let refused = oven.bake(1).await?;
            assert!(matches!(refused.status, 502 | 503), "{refused:?}");
            assert!(refused.took < Duration::from_secs(5), "{refused:?}");
            assert!(refused.json()["id"].is_u64(), "{refused:?}");
            assert!(
                refused.json()["error"]["message"].is_string(),
                "{refused:?}"
            );
            let served = other.bake(1).await?;
            assert_eq!(served.status, 200, "{served:?}");
            assert!(served.took < Duration::from_secs(10), "{served:?}");
        }

        server.restart().await?;
        assert_eq!(
            loaves(&oven.bake(2).await?)?,
            2,
            "its shelf was empty again"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_server_that_stalls_costs_one_deadline_and_its_call_is_made_once() -> Result<()> {
    watched(on_node(), async |server| {
        let neighbour = on_node().await?;
        let stalls = format!(
            "[[backend]]\nname = \"stalls\"\npath = \"/stalls\"\nurl = \"{}\"\nresponse_timeout = \"5s\"\n",
            server.url()
        );
        let setup = Setup::default().backend(&neighbour.url()).more(&stalls);
        let front = Front::with(setup).await?;
        let oven = Oven::at(&front, "/stalls/mcp", false).await?;
        let other = Oven::at(&front, "/mcp", false).await?;
        assert_eq!(loaves(&oven.bake(1).await?)?, 1);

        assert!(server.program().signal_group("STOP"));
        let (refused, served) = tokio::join!(oven.bake(1), other.bake(1));
        let (refused, served) = (refused?, served?);
        assert!(server.program().signal_group("CONT"));
        assert_eq!(refused.status, 504, "{refused:?}");
        // One deadline, and not two.
        assert!(refused.took < Duration::from_secs(10), "{refused:?}");
        assert!(refused.json()["error"].is_object(), "{refused:?}");
        assert_eq!(served.status, 200, "{served:?}");
        assert!(served.took < refused.took, "it waited, too: {served:?}");

        // It had the call before it stalled, or on a connection that waited: once, not twice.
        let total = loaves(&oven.bake(0).await?)?;
        assert!((1..=2).contains(&total), "{total} loaves");
        Ok(())
    })
    .await
}

/// A call of six seconds whose progress comes as a stream; its first step has been seen.
async fn working(front: &Front) -> Result<EventStream> {
    let (url, token) = (front.gateway.url("/mcp"), front.token("/mcp").await?);
    let session = mcp::open_session(&url, &token).await?;
    let call = mcp::message(
        7,
        "tools/call",
        &json!({
            "name": "trigger-long-running-operation",
            "arguments": {"duration": 6, "steps": 3},
            "_meta": {"progressToken": "p"},
        }),
    );
    let request = message(&url, Some(&token), &call, &[("Mcp-Session-Id", &session)]);
    let mut stream = EventStream::open(request).await?;
    let (_, progress) = progress(&mut stream).await?;
    anyhow::ensure!(progress.contains("notifications/progress"), "{progress}");
    Ok(stream)
}

/// The next event with anything in it.
async fn progress(stream: &mut EventStream) -> Result<(String, String)> {
    loop {
        let (name, data) = stream.event(Duration::from_secs(15)).await?;
        if !data.is_empty() {
            return Ok((name, data));
        }
    }
}

#[tokio::test]
async fn a_server_killed_amid_a_stream_never_looks_like_one_that_finished() -> Result<()> {
    watched(everything("streamableHttp"), async |server| {
        let front = Front::start(&server.url()).await?;
        let mut stream = working(&front).await?;
        assert!(server.program().signal_group("KILL"));
        let killed = Instant::now();
        let properly = stream.end(Duration::from_secs(10)).await?;
        assert!(
            !properly,
            "a stream that broke off was ended like a whole one"
        );
        let took = killed.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
        println!("the client knew after {took:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_server_that_stalls_amid_a_stream_is_waited_for_and_the_stream_kept_alive() -> Result<()>
{
    watched(everything("streamableHttp"), async |server| {
        let setup = Setup::default()
            .backend(&server.url())
            .more("[timeouts]\nkeepalive = \"1s\"\n");
        let front = Front::with(setup).await?;
        let mut stream = working(&front).await?;
        assert!(server.program().signal_group("STOP"));
        let stalled = Instant::now();
        let mut comments = 0;
        while stalled.elapsed() < Duration::from_secs(4) {
            match stream.next(Duration::from_secs(3)).await? {
                SseItem::Comment(_) => comments += 1,
                SseItem::Event { .. } => {}
                SseItem::End(_) => panic!("the stream ended while its server stalled"),
            }
        }
        assert!(server.program().signal_group("CONT"));
        assert!(comments >= 2, "{comments} comments in four seconds");
        loop {
            let (_, data) = progress(&mut stream).await?;
            let event: Value = serde_json::from_str(&data)?;
            if event["id"] == 7 {
                assert!(event["result"].is_object(), "{event}");
                break;
            }
        }
        assert!(stream.end(Duration::from_secs(5)).await?);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_server_is_told_within_two_seconds_that_its_clients_are_gone() -> Result<()> {
    const STREAMS: usize = 50;
    watched(everything("sse"), async |server| {
        let front = Front::start(&server.url()).await?;
        let token = front.token("/sse").await?;
        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            streams.push(LegacySession::open(&front.gateway.url("/sse"), &token).await?);
        }
        let noticed = || {
            let lines = [server.program().stdout.all(), server.program().stderr.all()].concat();
            lines
                .iter()
                .filter(|line| line.contains("Client Disconnected"))
                .count()
        };
        // The gateway itself was there before, to read the tools, and its own line may come later.
        let before = noticed();
        let gone = Instant::now();
        drop(streams);
        // Two seconds is what it takes where the machine has time for the server to write so many lines.
        while noticed() < before + STREAMS && gone.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(noticed() >= before + STREAMS, "after {:?}", gone.elapsed());
        println!("{STREAMS} streams, all ended after {:?}", gone.elapsed());
        Ok(())
    })
    .await
}

/// A port that takes no connection and refuses none: its queue is full.
struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl BlackHole {
    async fn open() -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind("127.0.0.1:0".parse()?)?;
        let listener = socket.listen(1)?;
        let address = listener.local_addr()?;
        let mut waiting = Vec::new();
        // Until one more gets no answer.
        while waiting.len() < 16 {
            let more =
                tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address));
            match more.await {
                Ok(connected) => waiting.push(connected?),
                Err(_) => {
                    return Ok(BlackHole {
                        address,
                        _listener: listener,
                        _waiting: waiting,
                    });
                }
            }
        }
        anyhow::bail!("sixteen connections were taken")
    }
}

#[tokio::test]
async fn a_server_that_swallows_connections_costs_the_connect_timeout_and_no_neighbour()
-> Result<()> {
    watched(on_node(), async |server| {
        let hole = BlackHole::open().await?;
        let setup = Setup::default().backend(&server.url()).mounted(
            "hole",
            "/hole",
            &format!("http://{}", hole.address),
        );
        // What a backend offers that never answers is not known, so only a client that the operator
        // vouches for can be allowed there.
        let setup = setup.more(&format!(
            "start_timeout = \"1s\"\n[[client]]\nid = \"baker\"\nname = \"Baker\"\nredirect_uris = [\"{REDIRECT_URI}\"]\n"
        ));
        let front = Front::with(setup).await?;
        let url = front.gateway.url("/hole/mcp");
        let baker = OAuthClient::known(&front.gateway.origin(), "baker", REDIRECT_URI);
        let lost = Oven {
            token: baker.sign_in_for(&Owner::alice(), &url).await?,
            session: None,
            url,
        };
        let other = Oven::at(&front, "/mcp", false).await?;
        let neighbour = async {
            let mut slowest = Duration::ZERO;
            for _ in 0..100 {
                let served = other.bake(1).await?;
                anyhow::ensure!(served.status == 200, "{served:?}");
                slowest = slowest.max(served.took);
            }
            anyhow::Ok(slowest)
        };
        let swallowed = futures::future::try_join_all((0..20).map(|_| lost.bake(1)));
        let (swallowed, slowest) = tokio::try_join!(swallowed, neighbour)?;
        for refused in &swallowed {
            assert!(matches!(refused.status, 502 | 504), "{refused:?}");
            assert!(refused.json()["error"].is_object(), "{refused:?}");
            // Five seconds, and what a busy machine adds.
            assert!(refused.took < Duration::from_secs(8), "{refused:?}");
        }
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        println!("20 calls swallowed, the slowest of 100 beside them took {slowest:?}");
        Ok(())
    })
    .await
}
