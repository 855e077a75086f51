//! A replica of the gateway that is cut off from the store, while the others reach it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Gateway;
use tests::http::{self, Reply};
use tests::mcp::{self, initialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long calls go on with what is known.
const STALE: Duration = Duration::from_secs(60);

/// A way to a server that can be cut: whoever is on it is cut off, and nobody gets on it.
struct Way {
    port: u16,
    is_open: watch::Sender<bool>,
}

impl Way {
    async fn to(server: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (is_open, watched) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, watched.clone()));
            }
        });
        Ok(Self { port, is_open })
    }

    fn open(&self, is_open: bool) {
        let _ = self.is_open.send(is_open);
    }
}

/// As a network does that loses everything: nobody is told.
async fn carry(mut client: TcpStream, server: u16, mut is_open: watch::Receiver<bool>) {
    let is_gone = is_open.wait_for(|open| *open).await.is_err();
    if is_gone {
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let mut watched = is_open.clone();
    let cut = async move {
        let _ = watched.wait_for(|open| !open).await;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        () = cut => {
            // Held, so that neither side sees an end, until the way is open again.
            let _ = is_open.wait_for(|open| *open).await;
        }
    }
}

async fn called(gateway: &Gateway, host: &str, token: &str) -> Result<Reply> {
    let request = mcp::post(&gateway.url("/mcp"), token, &initialize());
    http::send(request.header("Host", host)).await
}

/// Cuts a replica off for a time; what it says meanwhile and afterwards.
async fn cut_off_for(outage: Duration) -> Result<()> {
    let fixture = Fixture::on(StoreKind::Redis).await?;
    let redis = fixture.redis.as_ref().expect("this world has one");
    let way = Arc::new(Way::to(redis.port).await?);
    let url = format!("redis://127.0.0.1:{}/0", way.port);
    let replica = fixture
        .replica(|mut setup| {
            setup.store = Some(url);
            setup
        })
        .await?;
    let issuer = fixture.gateway.issuer();
    let host = issuer.trim_start_matches("http://");
    let client = fixture.client("Client").await?;
    let kept = client.sign_in(&fixture.owner).await?;
    let revoked = client.sign_in(&fixture.owner).await?;
    for token in [&kept, &revoked] {
        assert_eq!(called(&replica, host, token).await?.status, 200);
    }
    way.open(false);
    let cut = Instant::now();
    assert_eq!(client.revoke(&revoked).await?.status, 200, "at the other");
    let mut refused = None;
    while cut.elapsed() < outage {
        let since = cut.elapsed();
        let call = called(&replica, host, &kept).await?;
        match call.status {
            200 => assert!(since < STALE + Duration::from_secs(3), "still believed"),
            503 => {
                assert!(!call.header("retry-after").is_empty(), "{}", call.text);
                refused = refused.or(Some(cut.elapsed()));
            }
            other => panic!("{other}: {}", call.text),
        }
        let asked = Instant::now();
        let url = client.authorization().url().to_string();
        let url = url.replace(&fixture.gateway.origin(), &replica.origin());
        let is_new = cut.elapsed() < Duration::from_secs(1);
        let login = http::send(http::client().get(url).header("Host", host)).await?;
        assert!(
            login.status == 503 || is_new,
            "{}: {}",
            login.status,
            login.text
        );
        assert!(
            asked.elapsed() < Duration::from_secs(3),
            "{:?}",
            asked.elapsed()
        );
        let elsewhere = mcp::send(&fixture.url("/mcp"), &kept, &initialize()).await?;
        assert_eq!(elsewhere.status, 200, "the other replica");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    if outage > STALE {
        let refused = refused.expect("calls are refused in the end");
        assert!(refused > STALE - Duration::from_secs(3), "{refused:?}");
        println!("calls were refused {refused:?} after the store was gone");
    }
    way.open(true);
    let back = Instant::now();
    loop {
        let statuses = [
            called(&replica, host, &kept).await?.status,
            called(&replica, host, &revoked).await?.status,
        ];
        if statuses == [200, 401] {
            break;
        }
        assert!(back.elapsed() < Duration::from_secs(5), "{statuses:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!(
        "what was revoked meanwhile is refused {:?} after the store was back",
        back.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn a_replica_without_its_store_goes_on_for_a_while_and_catches_up() -> Result<()> {
    cut_off_for(Duration::from_secs(4)).await
}

/// The long form: `cargo test -p tests --test wire two_minutes -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "takes two minutes"]
async fn a_replica_without_its_store_for_two_minutes_refuses_calls_and_catches_up() -> Result<()> {
    cut_off_for(Duration::from_secs(120)).await
}
