//! Redis under sentinels: a master, replicas and sentinels, each on a free port of the loopback. The master
//! dies, is cut off, or can't be found; what was acknowledged is still there.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::work::{Working, assert_nothing_is_lost};
use super::*;

const PASSWORD: &str = "of-redis";
const SENTINEL_PASSWORD: &str = "of-sentinels";

/// A sentinel in a folder of its own.
struct Sentinel {
    server: Server,
}

/// A master, its replicas, and three sentinels that call it `main`.
struct Watched {
    servers: Vec<Server>,
    sentinels: Vec<Sentinel>,
}

impl Sentinel {
    fn start(master: u16) -> Self {
        let mut server = Server::idle(&[]);
        let configuration = format!(
            "port {}\nbind 127.0.0.1\ndir {}\nrequirepass {SENTINEL_PASSWORD}\n\
             sentinel sentinel-pass {SENTINEL_PASSWORD}\n\
             sentinel monitor main 127.0.0.1 {master} 2\n\
             sentinel auth-user main gateway\nsentinel auth-pass main {PASSWORD}\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 4000\n\
             sentinel parallel-syncs main 5\n",
            server.port,
            server.folder.display(),
        );
        let file = server.folder.join("sentinel.conf");
        std::fs::write(&file, configuration).unwrap();
        let mut command = redis_server();
        server.launch(command.arg(&file).arg("--sentinel"));
        Self { server }
    }
}

impl Watched {
    async fn start(replicas: usize) -> Self {
        let mut servers: Vec<Server> = Vec::new();
        for _ in 0..=replicas {
            let password = format!(">{PASSWORD}");
            let mut options = vec![
                "--user",
                "gateway",
                "on",
                &password,
                "~*",
                "&*",
                "+@all",
                "--masteruser",
                "gateway",
                "--masterauth",
                PASSWORD,
                "--repl-diskless-sync-delay",
                "0",
                "--appendonly",
                "yes",
            ];
            let master = servers.first().map(|server| server.port.to_string());
            if let Some(port) = &master {
                options.extend(["--replicaof", "127.0.0.1", port]);
            }
            servers.push(Server::start(&options));
        }
        let master = servers[0].port;
        let sentinels = (0..3).map(|_| Sentinel::start(master)).collect();
        let watched = Self { servers, sentinels };
        // A sentinel knows the others and the replicas a little after its start.
        let since = Instant::now();
        while !watched.is_whole(replicas).await {
            assert!(since.elapsed() < Duration::from_secs(30), "not whole");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        watched
    }

    async fn is_whole(&self, replicas: usize) -> bool {
        for sentinel in &self.sentinels {
            let said = sentinel.server.ask(&["SENTINEL", "MASTER", "main"]).await;
            let field = |name: &str| {
                let at = said.iter().position(|word| word == name)?;
                said.get(at + 1)?.parse::<usize>().ok()
            };
            if field("num-other-sentinels") != Some(2) || field("num-slaves") != Some(replicas) {
                return false;
            }
        }
        let info = self.servers[0].ask(&["INFO", "replication"]).await;
        super::super::replicas::heard(&info.join("\n")) == replicas
    }

    fn url(&self) -> String {
        let ports = self.sentinels.iter().map(|it| it.server.port);
        let hosts: Vec<String> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
        format!(
            "redis+sentinel://gateway:{PASSWORD}@{}/main?sentinel_pass={SENTINEL_PASSWORD}",
            hosts.join(",")
        )
    }

    /// Which server the sentinels call the master.
    async fn master(&self) -> usize {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"];
        let said = self.sentinels[0].server.ask(&words).await;
        let port: u16 = said[1].parse().unwrap();
        self.servers.iter().position(|it| it.port == port).unwrap()
    }
}

impl Server {
    /// Asks as the gateway's user, or a sentinel; no words where it does not answer.
    async fn ask(&self, words: &[&str]) -> Vec<String> {
        for settings in [
            redis::RedisConnectionInfo::default()
                .set_username("gateway")
                .set_password(PASSWORD),
            redis::RedisConnectionInfo::default().set_password(SENTINEL_PASSWORD),
            redis::RedisConnectionInfo::default(),
        ] {
            use redis::IntoConnectionInfo as _;
            let info = ("127.0.0.1", self.port).into_connection_info().unwrap();
            let client = redis::Client::open(info.set_redis_settings(settings)).unwrap();
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
                continue;
            };
            let mut command = redis::cmd(words[0]);
            command.arg(&words[1..]);
            if let Ok(said) = command.query_async::<Vec<String>>(&mut connection).await {
                return said;
            }
            if let Ok(said) = command.query_async::<String>(&mut connection).await {
                return said.lines().map(str::to_owned).collect();
            }
        }
        Vec::new()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_under_sentinels_keeps_every_promise_of_a_store() {
    let watched = Watched::start(1).await;
    let number = AtomicUsize::new(0);
    contract::every_promise(|| async {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let url = watched
            .url()
            .replace("/main?", &format!("/main/{}?", number % 3));
        open(&format!("{url}&prefix=t{number}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_master_that_dies_takes_nothing_with_it_that_was_acknowledged() {
    let mut watched = Watched::start(2).await;
    let store = open(&watched.url());
    recovery(store.as_ref()).await;
    let url = watched.url();
    let working = Working::start(8, || open(&url));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let master = watched.master().await;
    watched.servers[master].kill();
    let killed = Instant::now();
    while write(store.as_ref()).await.is_err() {
        assert!(killed.elapsed() < Duration::from_secs(20), "no recovery");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "writes are taken again {:?} after the master was killed",
        killed.elapsed()
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    let told = working.stop().await;
    assert_nothing_is_lost(store.as_ref(), told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_no_replica_has_is_refused_and_says_so() {
    let mut watched = Watched::start(1).await;
    let store = open(&watched.url());
    recovery(store.as_ref()).await;
    let replica = 1 - watched.master().await;
    watched.servers[replica].kill();
    let error = assert_refused(store.as_ref()).await.to_string();
    assert!(error.contains("0 of the 1 replicas"), "{error}");
    let away = store.examine().await;
    let told = away.unsafe_settings.join("\n");
    assert!(told.contains("store.url waits for 1"), "{told}");
    // What is only read goes on, and so does what the operator lets go on.
    let key = Key::in_table(Table::Session, "s");
    assert!(store.get(&key, Clock.now()).await.unwrap().is_some());
    write(open(&format!("{}&wait=0", watched.url())).as_ref())
        .await
        .unwrap();
    // Many that wait for it at once hold nobody up, nor each other: who reads is answered before them, unless
    // the machine stands still for as long as they wait.
    let mut was_first = false;
    for _ in 0..5 {
        let many = (0..50).map(|_| {
            let store = Arc::clone(&store);
            async move { assert_refused(store.as_ref()).await }
        });
        let mut many = many.collect::<tokio::task::JoinSet<_>>();
        store.get(&key, Clock.now()).await.unwrap();
        was_first |= many.try_join_next().is_none();
        while let Some(refused) = many.join_next().await {
            refused.unwrap();
        }
    }
    assert!(was_first, "it waited for a write");
    watched.servers[replica].run();
    recovery(store.as_ref()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_sentinels_is_said_plainly() {
    let mut watched = Watched::start(1).await;
    let url = watched.url();
    for (url, sentence) in [
        (url.replace("/main?", "/other?"), "know no master \"other\""),
        (
            url.replace(SENTINEL_PASSWORD, "wr0ng"),
            "store.sentinel_password_file",
        ),
        (
            url.replace("sentinel_pass", "prefix"),
            "store.sentinel_password_file",
        ),
        (url.replace(PASSWORD, "wr0ng"), "store.password_file"),
    ] {
        let store = open(&url);
        let error = assert_refused(store.as_ref()).await.to_string();
        assert!(error.contains(sentence), "{error}");
        let hopeless = store.examine().await.hopeless.unwrap_or_default();
        assert!(hopeless.contains(sentence), "{hopeless}");
        assert!(!error.contains("wr0ng") && !hopeless.contains("wr0ng"));
    }
    // A Redis that is no sentinel.
    let master = watched.servers[0].port;
    let no_sentinel = format!(
        "redis+sentinel://127.0.0.1:{master}/main?sentinel_user=gateway&sentinel_pass={PASSWORD}"
    );
    let hopeless = open(&no_sentinel).examine().await.hopeless;
    assert!(hopeless.unwrap_or_default().contains("is no sentinel"));
    let store = open(&url);
    recovery(store.as_ref()).await;
    // One sentinel is enough to find a master that replicas follow.
    for dead in [0, 1] {
        watched.sentinels[dead].server.kill();
    }
    let one = open(&url);
    recovery(one.as_ref()).await;
    watched.sentinels[2].server.kill();
    // Without any, a known master that replicas follow is believed, and none is found.
    tokio::time::sleep(Duration::from_millis(5200)).await;
    write(store.as_ref()).await.unwrap();
    let late = open(&url);
    let error = assert_refused(late.as_ref()).await.to_string();
    assert!(error.contains("no sentinel answers"), "{error}");
    let examined = late.examine().await;
    assert_eq!(examined.hopeless, None);
    assert!(
        examined
            .away
            .unwrap_or_default()
            .contains("no sentinel answers")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_may_be_cut_off_is_not_believed() {
    let mut watched = Watched::start(1).await;
    let store = open(&format!("{}&wait=0", watched.url()));
    recovery(store.as_ref()).await;
    // As this side of a partition sees it: neither the others' sentinels nor the replica are there.
    for away in [0, 1] {
        watched.sentinels[away].server.kill();
    }
    watched.servers[1].kill();
    let since = Instant::now();
    let error = loop {
        match write(store.as_ref()).await {
            Ok(()) => assert!(since.elapsed() < Duration::from_secs(8), "it is believed"),
            Err(error) => break error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(
        error.contains("may be cut off: 1 of 3 sentinels"),
        "{error}"
    );
    let other = open(&format!("{}&wait=0", watched.url()));
    let error = assert_refused(other.as_ref()).await.to_string();
    assert!(error.contains("may be cut off"), "{error}");
    watched.servers[1].run();
    let since = Instant::now();
    while write(store.as_ref()).await.is_err() {
        assert!(since.elapsed() < Duration::from_secs(15), "no recovery");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// TLS to the sentinel and to the master that it names, with one authority for both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_their_master_are_reached_over_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut server = Server::idle(&[]);
    certify(&server.folder);
    let file = |name: &str| server.folder.join(name).display().to_string();
    let tls = format!(
        "port 0\nbind 127.0.0.1\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\n\
         tls-auth-clients no\ntls-replication yes\n",
        file("cert.pem"),
        file("key.pem"),
        file("ca.pem")
    );
    let authority = file("ca.pem");
    let configured = server.folder.join("redis.conf");
    let more = format!(
        "{tls}tls-port {}\ndir {}\n",
        server.port,
        server.folder.display()
    );
    std::fs::write(&configured, more).unwrap();
    server.launch(redis_server().arg(&configured));
    let mut sentinel = Server::idle(&[]);
    let configured = sentinel.folder.join("sentinel.conf");
    let more = format!(
        "{tls}tls-port {}\ndir {}\nsentinel monitor main 127.0.0.1 {} 1\n",
        sentinel.port,
        sentinel.folder.display(),
        server.port
    );
    std::fs::write(&configured, more).unwrap();
    sentinel.launch(redis_server().arg(&configured).arg("--sentinel"));
    let url = format!("rediss+sentinel://127.0.0.1:{}/main?wait=0", sentinel.port);
    let trusting = open(&format!("{url}&ca={authority}"));
    recovery(trusting.as_ref()).await;
    let error = assert_refused(open(&url).as_ref()).await.to_string();
    assert!(error.contains("certificate"), "{error}");
    let plain = open(&url.replace("rediss", "redis"));
    let error = assert_refused(plain.as_ref()).await.to_string();
    assert!(error.contains("no sentinel answers"), "{error}");
}
