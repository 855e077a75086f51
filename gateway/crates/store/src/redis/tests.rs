//! Redis's own proofs, against real servers that each test starts on a free port of the loopback:
//! the contract, and a server that dies, freezes, forgets or refuses.

mod clustered;
mod followed;
/// One file for all crates: what it gives is given once.
#[allow(unreachable_pub)]
#[path = "../../../../../tests/src/machine.rs"]
mod machine;
mod outages;
mod reached;
mod swept;
mod watched;
mod work;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use self::machine::free_port;
use super::*;
use crate::contract;
use crate::key::Index;
use crate::records::{Records, User};
use crate::revocation_view::RevocationView;
use crate::url::StoreUrl;
use gateway_core::clock::Clock;
use gateway_core::grants::{GrantId, UserId};

/// How long a server may take to start on a busy machine.
const UP: Duration = Duration::from_secs(10);

/// A server in a folder of its own. Both go with the test.
struct Server {
    folder: PathBuf,
    port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let mut server = Self::idle(options);
        server.run();
        server
    }

    /// One that does not run yet.
    fn idle(options: &[&str]) -> Self {
        let name = gateway_core::secret::identifier("gateway-redis-", &mut rand::rngs::OsRng);
        let folder = machine::synced_folder().join(name);
        std::fs::create_dir(&folder).unwrap();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Self {
            folder,
            port: free_port(),
            options,
            child: None,
        }
    }

    fn run(&mut self) {
        let mut command = redis_server();
        command
            .args(["--bind", "127.0.0.1", "--save", ""])
            .args(["--port", &self.port.to_string(), "--dir"])
            .arg(&self.folder)
            .args(["--unixsocket"])
            .arg(self.socket())
            .args(&self.options);
        self.launch(&mut command);
        // It opens after the port.
        let started = Instant::now();
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(started.elapsed() < UP, "redis-server opens no socket");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it, and waits until it takes connections.
    fn launch(&mut self, command: &mut Command) {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("no redis-server: install it (apt-get install redis-server) or run tests/run");
        let child = self.child.insert(child);
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < UP,
                "redis-server does not come up: {ended:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Asks as an operator would.
    fn operate(&self, words: &[&str]) {
        let mut command = Command::new("redis-cli");
        if let [name, password] = self.options.as_slice()
            && name == "--requirepass"
        {
            command.env("REDISCLI_AUTH", password);
        }
        let said = command
            .args(["-e", "-s"])
            .arg(self.socket())
            .args(words)
            .output()
            .expect("no redis-cli: install redis-tools");
        assert!(said.status.success(), "{words:?}: {said:?}");
    }

    /// Lets a user `gateway` do what the manual says that it must be let do, after these words, under
    /// another prefix.
    fn allow_as_documented(&self, after: &str, prefix: &str) {
        let manual = include_str!("../../../../../conf/documents/scale.md");
        let (_, told) = manual.split_once("A user of its own is ").unwrap();
        let (_, told) = told.split_once(after).unwrap();
        let (_, told) = told.split_once('`').unwrap();
        let (told, _) = told.split_once('`').unwrap();
        let told = told.replace("ACL SETUSER gateway on >PASSWORD ", "");
        let patterns = told.replace("+@all", "").replace("gateway", prefix);
        let mut words = vec!["ACL", "SETUSER", "gateway", "on", ">of-redis", "+@all"];
        words.extend(patterns.split_whitespace());
        self.operate(&words);
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A server that ends with the test's thread, even if that is killed.
fn redis_server() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "redis-server"]);
    command
}

fn open(url: &str) -> Arc<dyn Store> {
    let StoreUrl::Redis(url) = url.parse().unwrap() else {
        panic!("no Redis URL: {url}")
    };
    Arc::new(Redis::open(&url, Handle::current()).unwrap())
}

/// Works, as a login does.
async fn write(store: &dyn Store) -> Result<(), StoreError> {
    store
        .put(&Key::in_table(Table::Session, "s"), b"1", None)
        .await
}

/// An error, and soon.
async fn assert_refused(store: &dyn Store) -> StoreError {
    let asked = Instant::now();
    let error = write(store)
        .await
        .expect_err("the server can't have done it");
    // A second is what a command has; the rest is for a busy machine.
    assert!(asked.elapsed() < Duration::from_secs(10), "{error}");
    error
}

/// Waits until the store works again.
async fn recovery(store: &dyn Store) {
    let since = Instant::now();
    while write(store).await.is_err() {
        assert!(since.elapsed() < Duration::from_secs(30), "no recovery");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// As a user that may do what the manual says, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_keeps_every_promise_of_a_store() {
    let server = Server::start(&[]);
    let number = std::sync::atomic::AtomicU64::new(0);
    let own = server.url().replace("://", "://gateway:of-redis@");
    contract::every_promise(|| async {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        server.allow_as_documented("", &format!("t{number}"));
        open(&format!("{own}/{}?prefix=t{number}", number % 3))
    })
    .await;
    let error = assert_refused(open(&format!("{own}?prefix=t")).as_ref()).await;
    assert!(error.to_string().contains("NoPerm"), "{error}");
}

/// Nobody fills it by asking what is used.
#[tokio::test]
async fn a_look_at_a_quota_keeps_nothing() {
    let (server, now) = (Server::start(&[]), Clock.now());
    let (store, key) = (open(&server.url()), CountKey::new("budget"));
    let (quota, look) = (
        Quota::Total(5, now + Duration::from_secs(600)),
        Draw::default(),
    );
    for quota in [quota, Quota::Day(5)] {
        let seen = store.draw(&key, quota, look, now).await.unwrap();
        assert_eq!((seen.granted, seen.used), (0, 0));
    }
    let kept = "if #redis.call('KEYS', '*') > 0 then return redis.error_reply('kept') end";
    server.operate(&["EVAL", kept, "0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_type_is_corrupt_and_no_outage() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    let (key, now) = (Key::in_table(Table::Session, "s"), Clock.now());
    server.operate(&["SET", "gateway:session:s", "5ecret"]);
    for outcome in [
        store.get(&key, now).await.map(drop),
        store.put(&key, b"1", None).await,
        store.insert(&key, b"1", None, now).await.map(drop),
        store.replace(&key, b"0", b"1", None, now).await,
        store.take(&key, now).await.map(drop),
    ] {
        let error = outcome.expect_err("it is no hash");
        let named = Corrupt::Record {
            kind: crate::KeyKind::Session,
            fault: "the key holds a value of another type".to_owned(),
        };
        assert_eq!(error, StoreError::Corrupt(named));
    }
    // What is asked beside it works, and a list has it as what can't be read.
    for name in ["a", "s", "t"] {
        server.operate(&["DEL", "gateway:session:s"]);
        let key = Key::in_table(Table::Session, name);
        store.put(&key, b"1", None).await.unwrap();
    }
    server.operate(&["DEL", "gateway:session:s"]);
    server.operate(&["SET", "gateway:session:s", "5ecret"]);
    let listed = store
        .list(Listing::of(Table::Session, None, 9), now)
        .await
        .unwrap();
    let expected = [("a", "1"), ("s", ""), ("t", "1")];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
    assert_eq!(listed, expected);
    assert!(store.remove(&key).await.unwrap(), "it can be taken away");
    // Nor does one that ends at no time; the operator's word replaces both.
    for (command, rest) in [
        ("SET", &["x"][..]),
        ("HSET", &["value", "1", "expires", "never"]),
    ] {
        server.operate(&["DEL", "gateway:user:alice"]);
        server.operate(&[&[command, "gateway:user:alice"], rest].concat());
        server.operate(&["ZADD", "gateway:keys:user", "0", "alice"]);
        let records = Records::new(Arc::clone(&store));
        assert!(
            records
                .users(None, 9, now)
                .await
                .unwrap()
                .entries
                .is_empty()
        );
        let alice = User::new(UserId::new("u_1"), "alice", "", now);
        assert!(
            records.add_user_anew(&alice, now).await.unwrap(),
            "{command}"
        );
        assert_eq!(records.user("alice", now).await.unwrap(), Some(alice));
    }
    // Nor does it keep a sweep from going on.
    server.operate(&["ZADD", "gateway:expiry", "1", "nonsense"]);
    store.sweep(now).await.unwrap();
    server.operate(&["SET", "gateway:birth", "5ecret"]);
    let epoch = StoreEpoch {
        id: "b".to_owned(),
        at: now,
    };
    let error = store.epoch(&epoch).await.expect_err("it is no epoch");
    assert!(
        error.is_corrupt() && !error.to_string().contains("5ecret"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_of_revocations_that_cannot_be_read_says_why() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    server.operate(&["ZADD", "gateway:revocations", "7", "5ecret"]);
    let view = RevocationView::follow(Arc::clone(&store), Clock, &Handle::current());
    let fault = async || {
        let started = Instant::now();
        loop {
            let fault = view.fault();
            if fault.is_some() || view.age(Clock.now()) < Duration::MAX {
                return fault;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "no reading");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let met = fault().await.expect("an entry is none of ours");
    assert!(
        met.is_corrupt() && !met.to_string().contains("5ecret"),
        "{met}"
    );
    server.operate(&["ZREM", "gateway:revocations", "5ecret"]);
    let started = Instant::now();
    while view.fault().is_some() {
        assert!(started.elapsed() < Duration::from_secs(10), "it is mended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(view.age(Clock.now()) < Duration::MAX);
}

/// Makes a certificate authority and with it a certificate for 127.0.0.1.
fn certify(folder: &std::path::Path) {
    let openssl = |words: &str| {
        let said = Command::new("openssl")
            .args(words.split(' '))
            .current_dir(folder)
            .output()
            .expect("no openssl: install it (apt-get install openssl) or run tests/run");
        assert!(said.status.success(), "{words}: {said:?}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca"
    ));
    openssl(&format!(
        "req {key} -keyout key.pem -out request.pem -subj /CN=redis"
    ));
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
    openssl(
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -days 2 -extfile names -out cert.pem",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_reaches_another_replica_at_once_even_after_an_outage() {
    let mut server = Server::start(&["--appendonly", "yes"]);
    let (here, there) = (open(&server.url()), open(&server.url()));
    let view = RevocationView::follow(there, Clock, &Handle::current());
    for round in 0..2 {
        let read = Instant::now();
        // A reading after this moment says that the view's replica hears hints.
        while view.age(Clock.now()) > read.elapsed() {
            assert!(read.elapsed() < Duration::from_secs(60), "no reading");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let listed = server.calls("zrangebyscore").await;
        for number in 0..10 {
            let id = format!("g_{round}_{number}");
            let grant = GrantId::new(&id);
            let expires = Clock.now() + Duration::from_secs(600);
            let revocation = Revocation { id, expires };
            let revoking = async { here.revoke(&revocation, Clock.now()).await.unwrap() };
            tokio::join!(view.until_revoked(&grant), revoking);
        }
        // Its question of every second may come between one and its hint.
        let listed = server.calls("zrangebyscore").await - listed;
        assert!(listed < 10, "hints bring them, and no reading: {listed}");
        server.kill();
        server.run();
        recovery(here.as_ref()).await;
    }
}

/// A version from before there were indexes takes its keys away and nothing else; and an index goes with
/// the last of what it names, also where no gateway is left to sweep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_version_removed_is_taken_out_of_indexes_when_it_is_met() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    let now = Clock.now();
    let index = Index::new(Table::Grant, "user:a");
    let until = Some(now + Duration::from_secs(60));
    for name in ["1", "2"] {
        let key = Key::in_table(Table::Grant, name).indexed([index.clone()]);
        store.put(&key, b"1", until).await.unwrap();
    }
    server.operate(&["DEL", "gateway:grant:1"]);
    server.operate(&["ZREM", "gateway:keys:grant", "1"]);
    let ask = async |words: &[&str]| {
        let client = redis::Client::open(server.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async::<i64>(&mut connection).await.unwrap()
    };
    let named = ["ZCARD", "gateway:index:grant:user:a"];
    assert_eq!(ask(&named).await, 2);
    let found = store.list(Listing::by(&index, None, 9), now).await.unwrap();
    assert_eq!(found, [("2".to_owned(), b"1".to_vec())]);
    assert_eq!(ask(&named).await, 1);
    let left = ask(&["PTTL", "gateway:index:grant:user:a"]).await;
    let record = ask(&["PTTL", "gateway:grant:2"]).await;
    assert!(
        (0..=5_000).contains(&(left - record).abs()),
        "{left} {record}"
    );
    store.sweep(now + Duration::from_secs(60)).await.unwrap();
    assert_eq!(ask(&["EXISTS", "gateway:index:grant:user:a"]).await, 0);
}

/// However many keys an index has of what is not there: Redis does other things meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_what_is_gone_is_mended_piece_by_piece() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    let (now, index) = (Clock.now(), Index::new(Table::Grant, "user:a"));
    let key = Key::in_table(Table::Grant, "z").indexed([index.clone()]);
    store.put(&key, b"1", None).await.unwrap();
    let mut add = redis::cmd("EVAL");
    add.arg("for n = 1, 20000 do redis.call('ZADD', KEYS[1], 0, 'g' .. n) end")
        .arg(1)
        .arg("gateway:index:grant:user:a");
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let () = add.query_async(&mut connection).await.unwrap();
    let before = evaluations(&mut connection).await;
    let found = store.list(Listing::by(&index, None, 9), now).await.unwrap();
    assert_eq!(found, [("z".to_owned(), b"1".to_vec())]);
    let steps = evaluations(&mut connection).await - before;
    assert!((20..=22).contains(&steps), "{steps} steps");
    let left: u64 = redis::cmd("ZCARD")
        .arg("gateway:index:grant:user:a")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(left, 1);
}

/// How many scripts were run.
async fn evaluations(connection: &mut redis::aio::MultiplexedConnection) -> u64 {
    let mut command = redis::cmd("INFO");
    command.arg("commandstats");
    let info: String = command.query_async(connection).await.unwrap();
    let line = info
        .lines()
        .find_map(|it| it.strip_prefix("cmdstat_evalsha:calls="));
    line.and_then(|rest| rest.split(',').next())
        .unwrap()
        .parse()
        .unwrap()
}
