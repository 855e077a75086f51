//! The embedded store's own proofs: the contract, the lock, a kill at any moment, and a disk that
//! loses power, is full or breaks.

mod disk;
mod restore;

use std::collections::BTreeSet;
use std::io::{BufRead as _, Read as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use redb::ReadableTable as _;

use self::disk::Disk;
use super::writer::{COUNTS_LAST, PAUSE};
use super::*;
use crate::contract;
use crate::key::{CountKey, Index, Key, Table};
use crate::revocation::{Cursor, Revocation};
use crate::store::{Listing, Store, TakeOutcome};
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::limits::{Draw, Drawn, Quota};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = gateway_core::secret::identifier("gateway-store-", &mut rand::rngs::OsRng);
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded_keeps_every_promise_of_a_store() {
    let root = Folder::new();
    let number = std::sync::atomic::AtomicU64::new(0);
    contract::every_promise(|| async {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = root.0.join(number.to_string());
        Arc::new(Embedded::open(&folder).unwrap()) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn a_state_folder_has_one_gateway_and_only_its_user_reads_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let first = Embedded::open(&folder.0).unwrap();
    let refused = Embedded::open(&folder.0).unwrap_err();
    assert!(matches!(refused, OpenError::InUse(_)), "{refused}");
    assert!(refused.to_string().contains("another gateway is using"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.0), 0o700);
    assert_eq!(mode(&folder.0.join("gateway.redb")), 0o600);
    drop(first);
    Embedded::open(&folder.0).unwrap();
}

/// Such as a later version may have left there.
#[tokio::test]
async fn rows_that_this_version_does_not_know_cost_a_sweep_and_the_store_nothing() {
    let folder = Folder::new();
    let store = Embedded::open(&folder.0).unwrap();
    let now = Clock.now();
    let later = now + Duration::from_secs(1);
    let key = Key::in_table(Table::Session, "s");
    store.put(&key, b"1", Some(later)).await.unwrap();
    let odd = [("revocation", "no number"), ("a later table", "k")];
    let noted = store
        .write(move |batch| batch.note_for_test(now, &odd))
        .await;
    noted.unwrap();
    for _ in 0..2 {
        store.sweep(later).await.unwrap();
        assert!(!store.remove(&key).await.unwrap(), "it was swept");
        store.put(&key, b"1", Some(later)).await.unwrap();
    }
    let swept = store.write(move |batch| batch.sweep(later)).await.unwrap();
    assert_eq!((swept.may_have_more, swept.unknown), (false, 2));
}

/// What a store said that it had done: a word and a key.
type Acknowledged = BTreeSet<(&'static str, String)>;

/// Registers, authorizes, redeems and revokes for ever, from `tasks` at once, and tells each thing
/// that the store acknowledged.
async fn busy(
    store: Arc<Embedded>,
    life: String,
    tasks: usize,
    tell: impl Fn(&'static str, &str) + Clone + Send + Sync + 'static,
) {
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (store, tell, life) = (Arc::clone(&store), tell.clone(), life.clone());
        running.spawn(async move {
            for number in 0.. {
                let now = Clock.now();
                let until = now + Duration::from_secs(3600);
                let key = format!("{life}-{task}-{number}");
                let client = Key::in_table(Table::Client, &key);
                let inserted = store.insert(&client, key.as_bytes(), None, now);
                if inserted.await.is_err() {
                    return;
                }
                tell("registered", &key);
                // Counts are committed without a sync; that must not loosen the rest.
                let count = CountKey::new(&key);
                let counted = store.count(&count, Duration::from_secs(60), now);
                if counted.await.is_err() {
                    return;
                }
                let code = Key::in_table(Table::Code, &key);
                let put = store.put(&code, key.as_bytes(), Some(until));
                if put.await.is_err() {
                    return;
                }
                tell("authorized", &key);
                if store
                    .take(&Key::in_table(Table::Code, &key), now)
                    .await
                    .is_err()
                {
                    return;
                }
                tell("redeemed", &key);
                let revocation = Revocation {
                    id: key.clone(),
                    expires: until,
                };
                if store.revoke(&revocation, now).await.is_err() {
                    return;
                }
                tell("revoked", &key);
            }
        });
    }
    running.join_all().await;
}

/// Everything that was acknowledged is there, and no redeemed code can be redeemed.
async fn assert_kept(store: &Embedded, acknowledged: &Acknowledged) {
    let now = Clock.now();
    let mut revoked = BTreeSet::new();
    let mut cursor = Cursor::default();
    loop {
        let (page, next) = store.revocations(cursor, now).await.unwrap();
        revoked.extend(page.into_iter().map(|revocation| revocation.id));
        if next == cursor {
            break;
        }
        cursor = next;
    }
    for (what, key) in acknowledged {
        let value = key.as_bytes().to_vec();
        match *what {
            "registered" => {
                let found = store
                    .get(&Key::in_table(Table::Client, key), now)
                    .await
                    .unwrap();
                assert_eq!(found, Some(value), "a registration is lost: {key}");
            }
            "authorized" => {
                let found = store
                    .get(&Key::in_table(Table::Code, key), now)
                    .await
                    .unwrap();
                assert_eq!(found, Some(value), "a code is lost: {key}");
            }
            "redeemed" => {
                let taken = store
                    .take(&Key::in_table(Table::Code, key), now)
                    .await
                    .unwrap();
                assert_eq!(taken, TakeOutcome::Again(value), "redeemed twice: {key}");
            }
            _ => assert!(revoked.contains(key), "a revocation is lost: {key}"),
        }
    }
}

const CHILD: &str = "GATEWAY_STORE_TEST_FOLDER";
/// How often it is killed: 25 times, or as often as somebody has the patience for.
fn lives() -> usize {
    let told = std::env::var("GATEWAY_STORE_TEST_LIVES").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(25)
}

/// With so much acknowledged something was tried.
const ENOUGH: usize = 100;

const LIFE: &str = "GATEWAY_STORE_TEST_LIFE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    // This very test is also the child that is killed.
    if let (Ok(folder), Ok(life)) = (std::env::var(CHILD), std::env::var(LIFE)) {
        let store = Arc::new(Embedded::open(Path::new(&folder)).unwrap());
        println!("open it.");
        return busy(store, life, 8, |what, key| println!("{what} {key}.")).await;
    }
    let folder = Folder::new();
    let mut acknowledged = Acknowledged::new();
    // A slow disk acknowledges little in a life.
    for life in 0..20 * lives() {
        if life >= lives() && acknowledged.len() > ENOUGH {
            break;
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("embedded::tests::a_kill_at_any_moment_loses_nothing_that_was_acknowledged")
            .env(CHILD, &folder.0)
            .env(LIFE, life.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("open it.") {
            line.clear();
            assert_ne!(
                said.read_line(&mut line).unwrap(),
                0,
                "the child died early"
            );
        }
        let reader = std::thread::spawn(move || {
            let mut rest = Vec::new();
            said.read_to_end(&mut rest).unwrap();
            String::from_utf8(rest).unwrap()
        });
        let moment = rand::thread_rng().gen_range(1_000..120_000);
        std::thread::sleep(Duration::from_micros(moment));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in reader.join().unwrap().lines() {
            // The last line may be cut: it counts only with its full stop.
            let words = line.strip_suffix('.').and_then(|line| line.split_once(' '));
            let Some((what, key)) = words else { continue };
            let what = ["registered", "authorized", "redeemed", "revoked"]
                .into_iter()
                .find(|known| *known == what);
            acknowledged.insert((what.expect("a word of ours"), key.to_owned()));
        }
        let opening = Instant::now();
        let store = Embedded::open(&folder.0).unwrap();
        assert!(opening.elapsed() < Duration::from_secs(10), "slow to open");
        assert_kept(&store, &acknowledged).await;
    }
    assert!(acknowledged.len() > ENOUGH, "hardly anything was tried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let seed = rand::thread_rng().r#gen();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut acknowledged = Acknowledged::new();
    let mut disk = Disk::default();
    for life in 0..800 {
        if life >= 40 && acknowledged.len() > ENOUGH {
            break;
        }
        let store = Arc::new(disk.open());
        assert_kept(&store, &acknowledged).await;
        let said = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&said);
        let work = tokio::spawn(busy(store, life.to_string(), 4, move |what, key| {
            hear.lock().push((what, key.to_owned()));
        }));
        let moment = random.gen_range(1_000..20_000);
        tokio::time::sleep(Duration::from_micros(moment)).await;
        // What was said before the cut must be on the disk after it.
        acknowledged.extend(said.lock().clone());
        let after = disk.cut_power(&mut random);
        work.abort();
        let _ = work.await;
        disk = after;
    }
    assert!(acknowledged.len() > ENOUGH, "hardly anything was tried");
}

async fn drawn(store: &Embedded, wanted: u64) -> Drawn {
    let draw = Draw {
        wanted,
        ..Draw::default()
    };
    let key = CountKey::new("day");
    let drawn = store.draw(&key, Quota::Day(1_000), draw, Clock.now());
    drawn.await.unwrap()
}

/// Whether or not anything else is written, and whether or not more is drawn all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_forgets_what_was_drawn_in_the_last_seconds_and_no_more() {
    let lasting = COUNTS_LAST + Duration::from_secs(3);
    for goes_on in [false, true] {
        let disk = Disk::default();
        let store = disk.open();
        assert_eq!(drawn(&store, 30).await.used, 30);
        let since = Instant::now();
        while since.elapsed() < lasting {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if goes_on {
                drawn(&store, 1).await;
            }
        }
        let after = disk.cut_power(&mut StdRng::seed_from_u64(1));
        drop(store);
        let used = drawn(&after.open(), 0).await.used;
        assert!(used >= 30, "{used} are left where it goes on: {goes_on}");
    }
}

/// An earlier version sweeps the rows that say when something ends, and leaves what it does not know.
#[tokio::test]
async fn what_was_drawn_ends_though_an_earlier_version_was_there() {
    let folder = Folder::new();
    let store = Embedded::open(&folder.0).unwrap();
    assert_eq!(drawn(&store, 30).await.used, 30);
    let key = CountKey::new("day");
    let swept = store.write(move |batch| {
        let ends = {
            let table = batch.transaction.open_table(super::tables::DRAWN)?;
            let row = table.get(key.name())?.unwrap().value();
            row.2
        };
        batch.forget_expiry(ends, "count", key.name())
    });
    swept.await.unwrap();
    assert_eq!(drawn(&store, 1).await.used, 31);
    let tomorrow = Clock.now() + Duration::from_secs(2 * 86_400);
    store.sweep(tomorrow).await.unwrap();
    assert_eq!(drawn(&store, 1).await.used, 1);
}

async fn put(store: &Embedded, key: &str) -> Result<(), StoreError> {
    store
        .put(&Key::in_table(Table::Client, key), b"1", None)
        .await
}

async fn is_there(store: &Embedded, key: &str) -> Result<bool, StoreError> {
    let found = store
        .get(&Key::in_table(Table::Client, key), Clock.now())
        .await?;
    Ok(found.is_some())
}

async fn assert_recovers(store: &Embedded) {
    let since = Instant::now();
    while put(store, "after").await.is_err() {
        assert!(since.elapsed() < Duration::from_secs(5), "no recovery");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(is_there(store, "before").await.unwrap());
    assert!(is_there(store, "after").await.unwrap());
    assert!(!is_there(store, "lost").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_answers_reads_and_mends_itself() {
    let disk = Disk::default();
    let store = disk.open();
    put(&store, "before").await.unwrap();
    disk.limit(Some(4_000_000));
    let big = vec![7; 50_000];
    let mut kept = 0;
    let error = loop {
        let key = kept.to_string();
        match store
            .put(&Key::in_table(Table::Setting, &key), &big, None)
            .await
        {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1000, "it never fills");
    };
    assert!(error.to_string().contains("a write failed"), "{error}");
    put(&store, "lost").await.unwrap_err();
    store.ping(Clock.now()).await.unwrap_err();
    assert!(is_there(&store, "before").await.unwrap(), "reads go on");
    disk.limit(None);
    assert_recovers(&store).await;
    for key in 0..kept {
        let key = key.to_string();
        let found = store
            .get(&Key::in_table(Table::Setting, &key), Clock.now())
            .await;
        assert_eq!(found.unwrap().as_ref(), Some(&big));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_read_only_is_written_again() {
    let disk = Disk::default();
    let store = disk.open();
    put(&store, "before").await.unwrap();
    disk.set_read_only(true);
    put(&store, "lost").await.unwrap_err();
    put(&store, "lost").await.unwrap_err();
    disk.set_read_only(false);
    assert_recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_to_sync_is_not_trusted_again() {
    let disk = Disk::default();
    let store = disk.open();
    put(&store, "before").await.unwrap();
    disk.fail_syncs(true);
    put(&store, "lost").await.unwrap_err();
    disk.fail_syncs(false);
    tokio::time::sleep(PAUSE + Duration::from_millis(100)).await;
    put(&store, "later").await.unwrap_err();
    let error = is_there(&store, "before").await.unwrap_err();
    assert!(error.to_string().contains("a write failed"), "{error}");
    drop(store);
    let disk = disk.cut_power(&mut StdRng::seed_from_u64(1));
    let store = disk.open();
    assert!(is_there(&store, "before").await.unwrap());
    put(&store, "later").await.unwrap();
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_left_alone() {
    let folder = Folder::new();
    std::fs::create_dir(&folder.0).unwrap();
    let path = folder.0.join("gateway.redb");
    std::fs::write(&path, [7; 5000]).unwrap();
    let refused = Embedded::open(&folder.0).unwrap_err();
    assert!(matches!(refused, OpenError::Folder { .. }), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), [7; 5000]);

    std::fs::remove_file(&path).unwrap();
    let other = Database::create(&path).unwrap();
    let transaction = other.begin_write().unwrap();
    let table: redb::TableDefinition<&str, &[u8]> = redb::TableDefinition::new("store");
    transaction
        .open_table(table)
        .unwrap()
        .insert("layout", b"9".as_slice())
        .unwrap();
    transaction.commit().unwrap();
    drop(other);
    let refused = Embedded::open(&folder.0).unwrap_err();
    assert!(refused.to_string().contains("layout 9"), "{refused}");
}

/// A version from before there were indexes takes its row away and nothing else.
#[tokio::test]
async fn what_an_earlier_version_removed_is_taken_out_of_indexes_when_it_is_met() {
    let folder = Folder::new();
    let store = Embedded::open(&folder.0).unwrap();
    let now = Clock.now();
    let index = Index::new(Table::Grant, "user:a");
    for name in ["1", "2"] {
        let key = Key::in_table(Table::Grant, name).indexed([index.clone()]);
        store.put(&key, b"1", None).await.unwrap();
    }
    let removing = store.write(|batch| {
        batch.change = tables::Change::Values;
        let mut table = batch
            .transaction
            .open_table(tables::entries(Table::Grant))?;
        table.remove("1")?;
        Ok(())
    });
    removing.await.unwrap();
    let missing = async || {
        let of = index.clone();
        let read = store.read(move |snapshot| snapshot.list_index(&of, None, 9, now));
        read.await.unwrap().missing
    };
    assert_eq!(missing().await, ["1"]);
    let found = store.list(Listing::by(&index, None, 9), now).await.unwrap();
    assert_eq!(found, [("2".to_owned(), b"1".to_vec())]);
    assert!(missing().await.is_empty());
}
