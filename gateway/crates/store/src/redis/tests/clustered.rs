//! Redis Cluster: three masters with a replica each, on free ports of the loopback. A master dies, and slots
//! move.

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::IntoConnectionInfo as _;

use super::work::{Working, assert_nothing_is_lost};
use super::*;
use crate::redis::spaces::{Space, Spaces};

/// Three masters, and their replicas after them.
struct Clustered {
    servers: Vec<Server>,
}

const MASTERS: usize = 3;

impl Clustered {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With more options for every server.
    async fn with(more: &[&str]) -> Self {
        let mut buses = Vec::new();
        let mut servers = Vec::new();
        for _ in 0..2 * MASTERS {
            let bus = free_port().to_string();
            let options = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                bus.as_str(),
                "--cluster-node-timeout",
                "1500",
                "--repl-diskless-sync-delay",
                "0",
                "--appendonly",
                "yes",
            ];
            servers.push(Server::start(&[&options, more].concat()));
            buses.push(bus);
        }
        let clustered = Self { servers };
        clustered.join(&buses).await;
        clustered
    }

    async fn join(&self, buses: &[String]) {
        let last = usize::from(super::super::slots::SLOTS) - 1;
        for (number, server) in self.servers.iter().enumerate() {
            let epoch = (number + 1).to_string();
            server.operate(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
            if number < MASTERS {
                let first = (number * (last + 1)).div_ceil(MASTERS).to_string();
                let end = ((number + 1) * (last + 1)).div_ceil(MASTERS) - 1;
                server.operate(&["CLUSTER", "ADDSLOTSRANGE", &first, &end.to_string()]);
            }
            if number > 0 {
                let port = self.servers[0].port.to_string();
                server.operate(&["CLUSTER", "MEET", "127.0.0.1", &port, &buses[0]]);
            }
        }
        self.until("all know each other", async |server| {
            let nodes = server.say(&["CLUSTER", "NODES"]).await;
            nodes.lines().count() == 2 * MASTERS && !nodes.contains("handshake")
        })
        .await;
        for number in 0..MASTERS {
            let master = self.servers[number].say(&["CLUSTER", "MYID"]).await;
            self.servers[MASTERS + number].operate(&["CLUSTER", "REPLICATE", &master]);
        }
        self.until("all follow", async |server| {
            let info = server.say(&["CLUSTER", "INFO"]).await;
            let role = server.say(&["INFO", "replication"]).await;
            let follows = role.contains("master_link_status:up");
            let leads = super::super::replicas::heard(&role) == 1;
            info.contains("cluster_state:ok") && (follows || leads)
        })
        .await;
    }

    async fn until(&self, what: &str, holds: impl AsyncFn(&Server) -> bool) {
        let since = Instant::now();
        for server in self.servers.iter().filter(|server| server.child.is_some()) {
            while !holds(server).await {
                assert!(since.elapsed() < Duration::from_secs(30), "not yet: {what}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn url(&self) -> String {
        let hosts = self.servers.iter().take(MASTERS);
        let hosts: Vec<String> = hosts.map(|it| format!("127.0.0.1:{}", it.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The server that has the slot of what there is once.
    async fn common(&self) -> usize {
        let slot = super::super::slots::slot_of("gateway");
        for (number, server) in self.servers.iter().enumerate() {
            let words = ["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()];
            let is_master = server
                .say(&["INFO", "replication"])
                .await
                .contains("role:master");
            if is_master && server.say(&words).await != "0" {
                return number;
            }
        }
        panic!("nobody has it")
    }
}

impl Server {
    async fn say(&self, words: &[&str]) -> String {
        self.answer(words).await
    }

    /// Nothing where it does not answer.
    async fn answer<T: FromRedisValue + Default>(&self, words: &[&str]) -> T {
        let info = ("127.0.0.1", self.port).into_connection_info().unwrap();
        let client = redis::Client::open(info).unwrap();
        let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
            return T::default();
        };
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let said = command.query_async(&mut connection).await;
        said.unwrap_or_default()
    }
}

/// As a user that may do what the manual says, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_keeps_every_promise_of_a_store() {
    let clustered = Clustered::start().await;
    let number = AtomicUsize::new(0);
    contract::every_promise(|| async {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("t{number}");
        for server in &clustered.servers {
            server.allow_as_documented("in a cluster ", &prefix);
        }
        let own = clustered.url().replace("://", "://gateway:of-redis@");
        open(&format!("{own}?prefix={prefix}"))
    })
    .await;
    let stranger = clustered.url().replace("://", "://gateway:of-redis@");
    let error = assert_refused(open(&format!("{stranger}?prefix=t")).as_ref()).await;
    assert!(error.to_string().contains("NoPerm"), "{error}");
    for server in &clustered.servers[..MASTERS] {
        assert_ne!(server.say(&["DBSIZE"]).await, "0", "everyone has a share");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_master_of_a_cluster_that_dies_takes_nothing_with_it_that_was_acknowledged() {
    let mut clustered = Clustered::start().await;
    let url = clustered.url();
    let store = open(&url);
    recovery(store.as_ref()).await;
    let view = RevocationView::follow(open(&url), Clock, &Handle::current());
    let working = Working::start(8, || open(&url));
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The one that has the revocations, which is felt most.
    let master = clustered.common().await;
    clustered.servers[master].kill();
    let killed = Instant::now();
    while store
        .revocations(Cursor::default(), Clock.now())
        .await
        .is_err()
    {
        assert!(killed.elapsed() < Duration::from_secs(20), "no failover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let over = killed.elapsed();
    // Its replica has none now, which a write waits for.
    let error = store.ping(Clock.now()).await.expect_err("nobody follows");
    assert!(error.to_string().contains("0 of the 1 replicas"), "{error}");
    clustered.servers[master].run();
    while store.ping(Clock.now()).await.is_err() {
        assert!(killed.elapsed() < Duration::from_secs(20), "no recovery");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "a cluster reads again {over:?} after a master was killed, and writes after {:?}",
        killed.elapsed()
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    let told = working.stop().await;
    assert_nothing_is_lost(store.as_ref(), told).await;
    // Hints are heard from the new master, too.
    let since = Instant::now();
    loop {
        let id = gateway_core::secret::identifier("g_", &mut rand::rngs::OsRng);
        let revocation = Revocation {
            id: id.clone(),
            expires: Clock.now() + Duration::from_secs(60),
        };
        store.revoke(&revocation, Clock.now()).await.unwrap();
        let revoked = Instant::now();
        view.until_revoked(&GrantId::new(&id)).await;
        if revoked.elapsed() < Duration::from_millis(300) {
            break;
        }
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "no hint is heard"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_went_to_another_server_are_followed() {
    // Servers that name no hosts, as those behind one address do.
    let unnamed = ["--cluster-preferred-endpoint-type", "unknown-endpoint"];
    let clustered = Clustered::with(&unnamed).await;
    let store = open(&format!("{}?wait=0", clustered.url()));
    recovery(store.as_ref()).await;
    let now = Clock.now();
    let keys: Vec<Key> = (0..100)
        .map(|number| Key::in_table(Table::Code, format!("c{number}")))
        .collect();
    for key in &keys {
        store.put(key, b"v", None).await.unwrap();
    }
    // Masters change places with their replicas, as an operator does before maintenance.
    // One after the other, and again where the others did not agree in time.
    let since = Instant::now();
    for replica in &clustered.servers[MASTERS..] {
        let mut asked: Option<Instant> = None;
        while !replica
            .say(&["INFO", "replication"])
            .await
            .contains("role:master")
        {
            assert!(since.elapsed() < Duration::from_secs(60), "no failover");
            // Asking again begins anew, and it may take five seconds.
            if asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(6)) {
                replica.say(&["CLUSTER", "FAILOVER"]).await;
                asked = Some(Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    // Who is asked first says where it is. Of what a busy machine did not do in time nobody knows whether it
    // was done: the next code is tried.
    let mut taken = None;
    for key in &keys {
        taken = store.take(key, now).await.ok();
        if taken.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(taken, Some(TakeOutcome::Fresh(b"v".to_vec())));
    let revocation = Revocation {
        id: "g".to_owned(),
        expires: now + Duration::from_secs(60),
    };
    let since = Instant::now();
    while let Err(error) = store
        .ping(now)
        .await
        .and(store.revoke(&revocation, now).await)
    {
        assert!(since.elapsed() < Duration::from_secs(10), "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_cluster_and_one_that_is_away_are_said_plainly() {
    let mut server = Server::start(&[]);
    let url = format!("redis+cluster://127.0.0.1:{}", server.port);
    let store = open(&url);
    let error = assert_refused(store.as_ref()).await.to_string();
    assert!(
        error.contains("is no Redis Cluster: write redis://"),
        "{error}"
    );
    let examined = store.examine().await;
    assert!(
        examined
            .hopeless
            .unwrap_or_default()
            .contains("is no Redis Cluster")
    );
    server.kill();
    let error = assert_refused(store.as_ref()).await.to_string();
    assert!(
        error.contains("no server of the Redis Cluster answers"),
        "{error}"
    );
    let examined = store.examine().await;
    assert_eq!(examined.hopeless, None);
    assert!(
        examined
            .away
            .unwrap_or_default()
            .contains("no server of the Redis Cluster")
    );
    // One whose parts are nobody's.
    let bus = free_port().to_string();
    let empty = Server::start(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
    let store = open(&format!("redis+cluster://127.0.0.1:{}", empty.port));
    let error = assert_refused(store.as_ref()).await.to_string();
    assert!(
        error.contains("no server of the Redis Cluster has slot"),
        "{error}"
    );
}

/// Keys of one table whose records are in the same bucket.
fn neighbours(space: &Space) -> [Key; 2] {
    let spaces = Spaces::of_cluster("gateway");
    let mut keys = (0..).map(|number| Key::in_table(Table::Grant, format!("g_{number}")));
    let mut next = || keys.find(|key| spaces.of(key) == space).unwrap();
    [next(), next()]
}

/// A slot is moved key by key: a part of it is on one server and a part on another for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_while_its_slot_moves_is_written_whole_or_not_at_all() {
    let clustered = Clustered::start().await;
    let store = open(&clustered.url());
    recovery(store.as_ref()).await;
    let now = Clock.now();
    let until = Some(now + Duration::from_secs(600));
    let spaces = Spaces::of_cluster("gateway");
    let space = &spaces.buckets()[0];
    let [key, other] = neighbours(space);
    let [a, b] = ["user:a", "user:b"].map(|name| Index::new(Table::Grant, name));
    let in_a = key.clone().indexed([a.clone()]);
    store.put(&in_a, b"1", until).await.unwrap();
    let other = other.indexed([b.clone()]);
    store.put(&other, b"2", until).await.unwrap();

    // The first bucket is on the first server. The index by which the record is found goes first.
    let slot = space.slot().unwrap().to_string();
    let (from, to) = (&clustered.servers[0], &clustered.servers[1]);
    let (from_id, to_id) = (
        from.say(&["CLUSTER", "MYID"]).await,
        to.say(&["CLUSTER", "MYID"]).await,
    );
    to.operate(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    from.operate(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    let port = to.port.to_string();
    let migrate = |name: &str| from.operate(&["MIGRATE", "127.0.0.1", &port, name, "0", "5000"]);
    let index_of_a = format!("{}user:a", space.indexes_of(Table::Grant));
    migrate(&index_of_a);
    let in_b = key.clone().indexed([b.clone()]);
    let later = now + Duration::from_secs(6000);
    for outcome in [
        store.put(&in_b, b"3", until).await,
        store.replace(&in_b, b"1", b"3", until, now).await,
        store.extend(&key, later, now).await.map(drop),
        store.remove(&key).await.map(drop),
        store.enter(std::slice::from_ref(&in_b)).await.map(drop),
    ] {
        let error = outcome.expect_err("a part of it is on another server");
        assert!(error.to_string().contains("is moving slot"), "{error}");
    }
    // It is as it was before.
    assert_eq!(store.get(&key, now).await.unwrap().unwrap(), b"1");
    let words = ["CLUSTER", "GETKEYSINSLOT", &slot, "100"];
    let left: Vec<String> = from.answer(&words).await;
    assert!(left.contains(&space.record(&key)), "{left:?}");
    for name in &left {
        migrate(name);
    }
    for server in [to, from] {
        server.operate(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
    let since = Instant::now();
    while let Err(error) = store.get(&key, now).await {
        assert!(since.elapsed() < Duration::from_secs(10), "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let named = async |index: &Index| {
        let rows = store.list(Listing::by(index, None, 9), now).await.unwrap();
        rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(named(&a).await, [key.name()]);
    assert_eq!(named(&b).await, [other.name()]);
    store.put(&in_b, b"3", until).await.unwrap();
    assert_eq!(named(&a).await, [""; 0]);
    assert_eq!(named(&b).await.len(), 2);
}

/// The bucket whose slot is also that of what there is once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bucket_is_swept_whatever_slot_the_prefix_has() {
    let clustered = Clustered::start().await;
    let spaces = Spaces::of_cluster("oq");
    let shares = |space: &&Space| space.slot() == spaces.common().slot();
    let shared = spaces.buckets().iter().find(shares).expect("one of them");
    let store = open(&format!("{}?prefix=oq", clustered.url()));
    recovery(store.as_ref()).await;
    let now = Clock.now();
    let mut keys = (0..).map(|number| Key::in_table(Table::Code, format!("c_{number}")));
    let key = keys.find(|key| spaces.of(key) == shared).unwrap();
    let until = now + Duration::from_secs(5);
    let before = store.sizes().await.unwrap().tables[Table::Code as usize];
    store.put(&key, b"1", Some(until)).await.unwrap();
    store.sweep(until).await.unwrap();
    let left = store.sizes().await.unwrap().tables[Table::Code as usize];
    assert_eq!(left, before);
}

/// What the login page asks: whether anybody is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_is_found_while_a_master_is_away_for_good() {
    let mut clustered = Clustered::start().await;
    let store = open(&format!("{}?wait=0", clustered.url()));
    recovery(store.as_ref()).await;
    let now = Clock.now();
    let records = Records::new(Arc::clone(&store));
    for number in 0..50 {
        let id = UserId::new(format!("u_{number}"));
        let user = User::new(id, &format!("person{number}"), "", now);
        assert!(records.add_user(&user, now).await.unwrap());
    }
    for server in &clustered.servers {
        server.operate(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let away = 1;
    clustered.servers[MASTERS + away].kill();
    clustered.servers[away].kill();
    let since = Instant::now();
    while records.users(None, 9, now).await.is_ok() {
        assert!(since.elapsed() < Duration::from_secs(10), "all is there");
    }
    let since = Instant::now();
    while let Err(error) = records.has_users(now).await {
        assert!(since.elapsed() < Duration::from_secs(10), "{error}");
    }
    // Whoever was looked for is found by their own key.
    let mut names = (0..50).map(|number| format!("person{number}"));
    let found = loop {
        let name = names.next().expect("two thirds are there");
        if let Ok(Some(user)) = records.user(&name, now).await {
            break user;
        }
    };
    let key = Key::user(&found.name);
    assert!(store.get(&key, now).await.unwrap().is_some());
    assert!(records.has_users(now).await.unwrap());
}
