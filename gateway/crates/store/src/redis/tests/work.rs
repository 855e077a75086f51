//! What logins and revocations do to a store while its servers die, and whether it kept its word.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::*;

/// What somebody was told of, and what happened meanwhile.
#[derive(Default)]
pub(super) struct Told {
    /// Codes that somebody took.
    taken: HashSet<String>,
    /// Grants that were revoked.
    revoked: HashSet<String>,
    wrong: Vec<String>,
}

impl Told {
    /// An outage may be told, and nothing else.
    fn note<T>(&mut self, outcome: Result<T, StoreError>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(StoreError::Away(_)) => None,
            Err(error) => {
                self.wrong.push(error.to_string());
                None
            }
        }
    }
}

/// Takes codes and revokes grants until it is told to stop, as logins do.
async fn work(store: Arc<dyn Store>, worker: usize, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    let now = Clock.now();
    let until = now + Duration::from_secs(600);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{worker}-{number}");
        let key = Key::in_table(Table::Code, &name);
        let put = store.put(&key, b"grant", Some(until)).await;
        if told.note(put).is_some() {
            let taken = store.take(&key, now).await;
            match told.note(taken) {
                Some(TakeOutcome::Fresh(_)) => drop(told.taken.insert(name.clone())),
                Some(TakeOutcome::Again(_)) => told.wrong.push(format!("{name} was taken before")),
                // Acknowledged, and lost all the same.
                Some(TakeOutcome::Unknown) => told.wrong.push(format!("{name} is lost")),
                None => {}
            }
        }
        let revocation = Revocation {
            id: format!("g_{name}"),
            expires: until,
        };
        let revoked = store.revoke(&revocation, now).await;
        if told.note(revoked).is_some() {
            told.revoked.insert(revocation.id);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    told
}

/// Some that work at the same time.
pub(super) struct Working {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Told>>,
}

impl Working {
    /// Each on a store of its own.
    pub(super) fn start(workers: usize, open: impl Fn() -> Arc<dyn Store>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let worker = |number| tokio::spawn(work(open(), number, Arc::clone(&stop)));
        let workers = (0..workers).map(worker).collect();
        Self { stop, workers }
    }

    pub(super) async fn stop(self) -> Vec<Told> {
        self.stop.store(true, Ordering::Relaxed);
        let mut told = Vec::new();
        for worker in self.workers {
            told.push(worker.await.unwrap());
        }
        told
    }
}

/// What was acknowledged is there, and no code is good again.
pub(super) async fn assert_nothing_is_lost(store: &dyn Store, told: Vec<Told>) {
    let now = Clock.now();
    let mut listed = HashSet::new();
    let mut cursor = Cursor::default();
    loop {
        let (page, next) = store.revocations(cursor, now).await.unwrap();
        listed.extend(page.into_iter().map(|revocation| revocation.id));
        if next == cursor {
            break;
        }
        cursor = next;
    }
    let mut codes = 0;
    for told in told {
        assert_eq!(told.wrong, Vec::<String>::new());
        let lost: Vec<_> = told.revoked.difference(&listed).collect();
        assert!(lost.is_empty(), "{lost:?}");
        for name in told.taken {
            let again = store.take(&Key::in_table(Table::Code, &name), now).await;
            assert!(
                matches!(again, Ok(TakeOutcome::Again(_))),
                "{name} is taken twice: {again:?}"
            );
            codes += 1;
        }
    }
    assert!(codes > 100, "{codes}");
}
