//! A store that moves, and one that another process has: asked over a real socket.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::runtime::Handle;

use super::*;
use crate::contract;
use crate::journal::Journal;
use crate::memory::Memory;
use crate::neighbour;
use crate::revocation_view::RevocationView;
use gateway_core::clock::Clock;
use gateway_core::grants::GrantId;

/// A socket at which questions about `store` are answered.
fn served(store: Arc<dyn Store>) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("gateway-movable-{}-{number}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                let question = serde_json::from_str(&line).unwrap();
                let answer = neighbour::answer(question, store.as_ref(), &Journal::off()).await;
                stream.write_all(&answer).await.unwrap();
            });
        }
    });
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_of_another_process_keeps_every_promise() {
    contract::every_promise(|| async {
        let movable = Movable::new(Arc::new(Memory::new()), &Metrics::new());
        movable.close().await.unwrap();
        movable.moved(Neighbour::at(served(Arc::new(Memory::new()))));
        Arc::new(movable) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn whoever_asks_while_it_moves_waits_and_is_answered() {
    let (movable, now) = (
        Arc::new(Movable::new(Arc::new(Memory::new()), &Metrics::new())),
        Clock.now(),
    );
    movable.ping(now).await.unwrap();
    movable.close().await.unwrap();
    assert!(movable.close().await.is_err(), "it is closed once");
    let asked = {
        let movable = Arc::clone(&movable);
        tokio::spawn(async move { movable.ping(now).await })
    };
    sleep(Duration::from_millis(50)).await;
    assert!(!asked.is_finished());
    movable.open(Arc::new(Memory::new()));
    asked.await.unwrap().unwrap();
}

#[tokio::test]
async fn it_is_closed_once_nobody_uses_it_and_a_hint_does_not_keep_it() {
    let movable = Arc::new(Movable::new(Arc::new(Memory::new()), &Metrics::new()));
    let follower = {
        let movable = Arc::clone(&movable);
        tokio::spawn(async move { movable.revocation_hint(Duration::from_secs(60)).await })
    };
    sleep(Duration::from_millis(20)).await;
    timeout(Duration::from_secs(5), movable.close())
        .await
        .expect("it waits for nobody")
        .unwrap();
    let hint = follower.await.unwrap();
    assert!(hint.look, "what it had not told is looked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_are_followed_to_where_the_store_is() {
    let (there, now) = (Arc::new(Memory::new()), Clock.now());
    let movable = Arc::new(Movable::new(Arc::new(Memory::new()), &Metrics::new()));
    let store: Arc<dyn Store> = movable.clone();
    let view = RevocationView::follow(Arc::clone(&store), Clock, &Handle::current());
    let revoke = async |id: &str| {
        let revocation = Revocation {
            id: id.to_owned(),
            expires: now + Duration::from_secs(60),
        };
        store.revoke(&revocation, now).await.unwrap();
        let grant = GrantId::new(id);
        let known = timeout(Duration::from_secs(5), view.until_revoked(&grant)).await;
        known.unwrap_or_else(|_| panic!("{id} is not known"));
    };
    revoke("g_here").await;
    movable.close().await.unwrap();
    movable.moved(Neighbour::at(served(there.clone())));
    revoke("g_there").await;
    assert!(view.is_revoked(&GrantId::new("g_here")));
    let candidate = StoreEpoch {
        id: "b_later".to_owned(),
        at: now,
    };
    let head = store.revocation_head(&candidate).await.unwrap();
    assert_eq!(head, there.revocation_head(&candidate).await.unwrap());
    assert_ne!(head.epoch, candidate, "the view's was the first");
}
