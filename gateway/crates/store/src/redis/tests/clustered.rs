//! Redis Cluster: three masters with a replica each, on free ports of the loopback. A master dies, and slots
//! move.

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::IntoConnectionInfo as _;

use super::work::{Working, assert_nothing_is_lost};
use super::*;

/// Three masters, and their replicas after them.
struct Clustered {
    servers: Vec<Server>,
}

const MASTERS: usize = 3;

impl Clustered {
    async fn start() -> Self {
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
            servers.push(Server::start(&options));
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
        let info = ("127.0.0.1", self.port).into_connection_info().unwrap();
        let client = redis::Client::open(info).unwrap();
        let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
            return String::new();
        };
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let said = command.query_async::<String>(&mut connection).await;
        said.unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_keeps_every_promise_of_a_store() {
    let clustered = Clustered::start().await;
    let number = AtomicUsize::new(0);
    contract::every_promise(|| async {
        let number = number.fetch_add(1, Ordering::Relaxed);
        open(&format!("{}?prefix=t{number}", clustered.url()))
    })
    .await;
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
        if revoked.elapsed() < Duration::from_millis(100) {
            break;
        }
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "no hint is heard"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_went_to_another_server_are_followed() {
    let clustered = Clustered::start().await;
    let store = open(&format!("{}?wait=0", clustered.url()));
    recovery(store.as_ref()).await;
    let now = Clock.now();
    let key = Key::in_table(Table::Code, "c");
    store.put(&key, b"v", None).await.unwrap();
    // Masters change places with their replicas, as an operator does before maintenance.
    // One after the other, and again where the others did not agree in time.
    let since = Instant::now();
    for replica in &clustered.servers[MASTERS..] {
        while !replica
            .say(&["INFO", "replication"])
            .await
            .contains("role:master")
        {
            assert!(since.elapsed() < Duration::from_secs(40), "no failover");
            replica.say(&["CLUSTER", "FAILOVER"]).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    let since = Instant::now();
    loop {
        match store.take(&key, now).await {
            Ok(taken) => {
                assert_eq!(taken, TakeOutcome::Fresh(b"v".to_vec()));
                break;
            }
            Err(error) => assert!(since.elapsed() < Duration::from_secs(5), "{error}"),
        }
    }
    store.ping(now).await.unwrap();
    let revocation = Revocation {
        id: "g".to_owned(),
        expires: now + Duration::from_secs(60),
    };
    store.revoke(&revocation, now).await.unwrap();
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
