//! What following the revocations costs Redis, and that nothing is missed: with other versions beside, and
//! after a list that was not the one that was followed.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::revocation::Revoked;
use crate::revocation_follower::{Follower, Follows};

/// As long as something may take that has to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a version before 2026-12 appends.
const EARLIER: &str = "local number = redis.call('INCR', KEYS[3])\n\
    redis.call('ZADD', KEYS[1], number, ARGV[1])\n\
    redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])\n\
    redis.call('PUBLISH', ARGV[3], number)\n\
    return number";

impl Server {
    /// How often a command was run.
    pub(super) async fn calls(&self, command: &str) -> u64 {
        let mut connection = self.connect().await;
        let info: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(&mut connection)
            .await
            .unwrap();
        let name = format!("cmdstat_{command}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(&name));
        let calls = line.and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse().unwrap())
    }

    /// Seconds of a processor that it has used.
    async fn processor(&self) -> f64 {
        let mut command = redis::cmd("INFO");
        command.arg("cpu");
        let info: String = command
            .query_async(&mut self.connect().await)
            .await
            .unwrap();
        let used = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().parse::<f64>().unwrap()
        };
        used("used_cpu_sys:") + used("used_cpu_user:")
    }

    async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Appends as a version before 2026-12 does.
    async fn revoke_as_before(&self, revocation: &Revocation) {
        let end = revocation.expires.millis();
        let mut script = redis::cmd("EVAL");
        script.arg(EARLIER).arg(3);
        for key in ["revocations", "revocations:ends", "revocations:last"] {
            script.arg(format!("gateway:{key}"));
        }
        script
            .arg(format!("{end}:{}", revocation.id))
            .arg(end)
            .arg("gateway:revocations:last");
        let mut connection = self.connect().await;
        script.query_async::<u64>(&mut connection).await.unwrap();
    }
}

fn revocation(id: impl Into<String>) -> Revocation {
    Revocation {
        id: id.into(),
        expires: Clock.now() + Duration::from_secs(600),
    }
}

async fn known(view: &RevocationView, id: &str, within: Duration) {
    let grant = GrantId::new(id);
    let waiting = tokio::time::timeout(within, view.until_revoked(&grant));
    waiting
        .await
        .unwrap_or_else(|_| panic!("{id} is not known within {within:?}"));
}

/// A view that has read everything and hears hints.
async fn settled(server: &Server) -> Arc<RevocationView> {
    let view = RevocationView::follow(open(&server.url()), Clock, &Handle::current());
    let since = Instant::now();
    let wait = async || {
        assert!(since.elapsed() < Duration::from_secs(60), "no reading");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    while view.epoch().is_none() {
        wait().await;
    }
    // Its second question finds all known, and the third says that it is done with that.
    let asked = server.calls("evalsha").await;
    while server.calls("evalsha").await < asked + 2 {
        wait().await;
    }
    view
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hint_brings_the_revocation_and_nothing_is_read_again() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    for number in 0..100 {
        let before = revocation(format!("g_before{number}"));
        store.revoke(&before, Clock.now()).await.unwrap();
    }
    let view = settled(&server).await;
    assert!(view.is_revoked(&GrantId::new("g_before99")));
    let read = server.calls("zrangebyscore").await;
    for number in 0..50 {
        let id = format!("g_{number}");
        store.revoke(&revocation(&id), Clock.now()).await.unwrap();
        known(&view, &id, PATIENCE).await;
    }
    let (before, begun) = (server.calls("evalsha").await, Instant::now());
    let mut asked = 0;
    while asked < 3 {
        assert!(begun.elapsed() < PATIENCE, "{asked} questions");
        tokio::time::sleep(Duration::from_millis(20)).await;
        asked = server.calls("evalsha").await - before;
    }
    let most = begun.elapsed().as_millis() as u64 / 800 + 1;
    assert!(asked <= most, "{asked} questions in {:?}", begun.elapsed());
    // A question may come between one and its hint.
    let read = server.calls("zrangebyscore").await - read;
    assert!(read < 10, "it was read again: {read}");
    // It was asked a moment ago.
    assert!(view.age(Clock.now()) < begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_of_a_version_before_may_run_beside() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    let view = settled(&server).await;
    for round in 0..5 {
        let (theirs, ours) = (format!("g_theirs{round}"), format!("g_ours{round}"));
        server.revoke_as_before(&revocation(&theirs)).await;
        known(&view, &theirs, PATIENCE).await;
        store.revoke(&revocation(&ours), Clock.now()).await.unwrap();
        known(&view, &ours, PATIENCE).await;
    }
    // A gateway that starts then, of either version, reads all of them: a list like any other.
    let late = settled(&server).await;
    let (listed, _) = store
        .revocations(Cursor::default(), Clock.now())
        .await
        .unwrap();
    assert_eq!(listed.len(), 10);
    for revocation in listed {
        assert!(late.is_revoked(&GrantId::new(revocation.id)));
    }
    // Once theirs are gone, everything is read once, and then no more.
    let since = Instant::now();
    loop {
        store
            .revoke(&revocation("g_last"), Clock.now())
            .await
            .unwrap();
        let read = server.calls("zrangebyscore").await;
        let asked = server.calls("evalsha").await;
        // Both views ask twice.
        while server.calls("evalsha").await < asked + 6 {
            assert!(since.elapsed() < PATIENCE, "nobody asks");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if server.calls("zrangebyscore").await == read {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "it is read again and again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_lost_its_end_and_gave_the_same_numbers_again_is_noticed() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    store.revoke(&revocation("g_1"), Clock.now()).await.unwrap();
    let kept: Vec<Option<String>> = redis::cmd("MGET")
        .arg(&["gateway:revocations:last", "gateway:revocations:digest"])
        .query_async(&mut server.connect().await)
        .await
        .unwrap();
    let lost = revocation("g_lost");
    store.revoke(&lost, Clock.now()).await.unwrap();
    let view = settled(&server).await;
    assert!(view.is_revoked(&GrantId::new("g_lost")));
    // As a replica has it that had not received the last one, and nobody hears of what is appended next.
    let entry = format!("{}:g_lost", lost.expires.millis());
    server.operate(&["ZREM", "gateway:revocations", &entry]);
    let [Some(last), Some(digest)] = kept.as_slice() else {
        panic!("{kept:?}")
    };
    server.operate(&["SET", "gateway:revocations:last", last]);
    server.operate(&["SET", "gateway:revocations:digest", digest]);
    let other = open(&format!("{}?prefix=gateway", server.url()));
    server.operate(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    other.revoke(&revocation("g_2"), Clock.now()).await.unwrap();
    known(&view, "g_2", PATIENCE).await;
    assert!(
        view.is_revoked(&GrantId::new("g_lost")),
        "what was seen is kept"
    );
}

/// The same where nothing but the list itself tells, and it grows all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_lost_its_end_is_noticed_while_it_grows() {
    let server = Server::start(&[]);
    // Hints are refused to this user.
    let silent = ["on", ">x", "~*", "resetchannels", "+@all"];
    server.operate(&[&["ACL", "SETUSER", "silent"], &silent[..]].concat());
    let store = open(&server.url());
    store.revoke(&revocation("g_1"), Clock.now()).await.unwrap();
    let positions = ["gateway:revocations:last", "gateway:revocations:digest"];
    let kept: Vec<String> = redis::cmd("MGET")
        .arg(&positions)
        .query_async(&mut server.connect().await)
        .await
        .unwrap();
    let lost = revocation("g_lost");
    store.revoke(&lost, Clock.now()).await.unwrap();
    let polling = open(&server.url().replace("://", "://silent:x@"));
    let view = RevocationView::follow(polling, Clock, &Handle::current());
    known(&view, "g_lost", PATIENCE).await;
    let entry = format!("{}:g_lost", lost.expires.millis());
    let mut rewind = redis::pipe();
    rewind.atomic().zrem("gateway:revocations", &entry);
    for (name, value) in positions.iter().zip(&kept) {
        rewind.set(name, value);
    }
    let () = rewind
        .query_async(&mut server.connect().await)
        .await
        .unwrap();
    for id in ["g_2", "g_3"] {
        store.revoke(&revocation(id), Clock.now()).await.unwrap();
    }
    let (since, grant) = (Instant::now(), GrantId::new("g_2"));
    for number in 0.. {
        if view.is_revoked(&grant) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "not noticed");
        let more = revocation(format!("g_more{number}"));
        store.revoke(&more, Clock.now()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_nothing_is_read_again_that_the_digest_proves() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    for number in 0..10 {
        let before = revocation(format!("g_{number}"));
        store.revoke(&before, Clock.now()).await.unwrap();
    }
    let view = settled(&server).await;
    let read = server.calls("zrangebyscore").await;
    server.signal("-STOP");
    let since = Instant::now();
    while view.fault().is_none() {
        assert!(since.elapsed() < PATIENCE, "no fault");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.signal("-CONT");
    while view.fault().is_some() {
        assert!(since.elapsed() < PATIENCE, "no recovery");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.calls("zrangebyscore").await, read);
    // What came meanwhile is read on.
    store
        .revoke(&revocation("g_later"), Clock.now())
        .await
        .unwrap();
    known(&view, "g_later", PATIENCE).await;
}

/// How many of them read everything at their start.
const READERS: usize = 10;

/// Counts what it is told.
#[derive(Default)]
struct Counting {
    known: AtomicUsize,
    confirmed: AtomicUsize,
    failed: AtomicUsize,
}

impl Follows for Counting {
    fn add(&self, revocations: &[Revocation]) {
        self.known.fetch_add(revocations.len(), Ordering::Relaxed);
    }

    fn confirm(&self, _: StoreEpoch, _: gateway_core::clock::Timestamp) {
        self.confirmed.fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&self, _: StoreError) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn forget_expired(&self, _: gateway_core::clock::Timestamp) {}
}

/// Appends so many.
async fn append(store: &Arc<dyn Store>, live: usize) {
    let now = Clock.now();
    for first in (0..live).step_by(100) {
        let revoking = (first..live.min(first + 100)).map(|number| {
            let (store, revocation) = (Arc::clone(store), revocation(format!("g_{number}")));
            async move { store.revoke(&revocation, now).await.unwrap() }
        });
        futures_util::future::join_all(revoking).await;
    }
}

/// What so many replicas cost Redis that follow a list of so many live entries: the share of one processor
/// while nothing happens, and how long a revocation takes to the last of them: mostly, and at most.
async fn measured(replicas: usize, live: usize, seconds: u64) -> (f64, Duration, Duration) {
    let server = Server::start(&["--maxclients", "20000"]);
    let store = open(&server.url());
    let now = Clock.now();
    append(&store, live).await;
    let candidate = StoreEpoch {
        id: "b".to_owned(),
        at: now,
    };
    let head = store.revocation_head(&candidate).await.unwrap();
    let mut followers = Vec::new();
    for number in 0..replicas {
        let counting = Arc::new(Counting::default());
        let own = open(&server.url());
        // A few read everything at their start; the others did so before.
        let follower = if number < READERS {
            Follower::new(own)
        } else {
            counting.known.store(live, Ordering::Relaxed);
            Follower::at(own, head.clone())
        };
        tokio::spawn(follower.run(Arc::downgrade(&counting), Clock));
        followers.push(counting);
        if number % 20 == 19 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let all = async |what: &str, limit: Duration, holds: &dyn Fn(&Counting) -> bool| {
        let since = Instant::now();
        while !followers.iter().all(|follower| holds(follower)) {
            assert!(since.elapsed() < limit, "not all within {limit:?}: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        since.elapsed()
    };
    all("read everything", Duration::from_secs(300), &|it| {
        it.known.load(Ordering::Relaxed) >= live && it.confirmed.load(Ordering::Relaxed) > 0
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (before, since) = (server.processor().await, Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let share = (server.processor().await - before) / since.elapsed().as_secs_f64();
    let mut took = Vec::new();
    for number in 0..seconds.min(10) {
        let known: Vec<usize> = followers
            .iter()
            .map(|it| it.known.load(Ordering::Relaxed))
            .collect();
        let begun = Instant::now();
        let one = revocation(format!("g_new{number}"));
        store.revoke(&one, Clock.now()).await.unwrap();
        while !followers
            .iter()
            .zip(&known)
            .all(|(it, known)| it.known.load(Ordering::Relaxed) > *known)
        {
            assert!(begun.elapsed() < Duration::from_secs(30), "not everywhere");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    took.sort_unstable();
    let (mostly, slowest) = (took[took.len() / 2], took[took.len() - 1]);
    let failed: usize = followers
        .iter()
        .map(|it| it.failed.load(Ordering::Relaxed))
        .sum();
    println!(
        "{replicas} replicas, {live} live revocations: {:.1} % of a processor of Redis; a revocation is \
         everywhere after {mostly:?}, {slowest:?} at most; {failed} questions failed",
        share * 100.0
    );
    (share, mostly, slowest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_replicas_that_follow_cost_redis_little() {
    let (share, mostly, slowest) = measured(50, 5_000, 4).await;
    // What a thousand may take together.
    assert!(share < 0.02, "{share}");
    assert!(mostly < Duration::from_secs(1), "{mostly:?}");
    // What is promised; a busy machine may need more than it mostly does.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

/// The long form: `cargo test -p gateway-store --lib a_thousand_replicas -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some minutes"]
async fn a_thousand_replicas_that_follow_cost_redis_little() {
    let (share, _, slowest) = measured(1000, 100_000, 30).await;
    assert!(share < 0.02, "{share}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// Channels know no databases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_in_one_database_of_a_redis_is_not_in_another_with_the_same_prefix() {
    let server = Server::start(&[]);
    let urls = ["", "/1", "/2"].map(|database| format!("{}{database}", server.url()));
    let stores = urls.each_ref().map(|url| open(url));
    let mut views = Vec::new();
    for url in &urls {
        let view = RevocationView::follow(open(url), Clock, &Handle::current());
        let since = Instant::now();
        while view.epoch().is_none() {
            assert!(since.elapsed() < PATIENCE, "no reading");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        views.push(view);
    }
    for (number, store) in (1..).zip(&stores) {
        for id in [
            Revoked::SigningKey(number).to_string(),
            format!("g_{number}"),
        ] {
            store.revoke(&revocation(id), Clock.now()).await.unwrap();
        }
    }
    for (number, view) in (1..).zip(&views) {
        known(view, &format!("g_{number}"), PATIENCE).await;
    }
    // What is told to others comes at once; this is for a busy machine.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (number, view) in (1..).zip(&views) {
        assert_eq!(view.revoked_signing_keys(), [number].into());
        for other in 1..4 {
            let grant = GrantId::new(format!("g_{other}"));
            assert_eq!(view.is_revoked(&grant), other == number, "{other}");
        }
    }
    // In each it is told, and not found by asking alone.
    let mut command = redis::cmd("PUBSUB");
    let (_, heard): (String, u32) = command
        .arg("NUMSUB")
        .arg("gateway:revocations:last:1")
        .query_async(&mut server.connect().await)
        .await
        .unwrap();
    assert_eq!(heard, 2, "who revokes, and who follows");
}
