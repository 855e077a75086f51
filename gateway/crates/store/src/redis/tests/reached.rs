//! The ways to a server: passwords, sockets, TLS.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_refuses_is_a_fault_of_ours_and_no_password_shows() {
    let server = Server::start(&["--requirepass", "open sesame"]);
    let address = format!("127.0.0.1:{}", server.port);
    let without_password = open(&format!("redis://{address}"));
    assert_refused(without_password.as_ref()).await;
    let wrong = open(&format!("redis://:wr0ngsecret@{address}"));
    let error = assert_refused(wrong.as_ref()).await;
    assert!(!error.to_string().contains("wr0ngsecret"), "{error}");
    assert!(!format!("{wrong:?}").contains("wr0ngsecret"));

    let user = [
        "ACL",
        "SETUSER",
        "gateway",
        "on",
        ">pass word",
        "~*",
        "&*",
        "+@all",
    ];
    server.operate(&user);
    let store = open(&format!("redis://gateway:pass%20word@{address}/1"));
    write(store.as_ref()).await.unwrap();
    // Each of these is how a real server comes to refuse, and what ends it.
    for (fault, mended, word) in [
        (
            ["REPLICAOF", "127.0.0.1", "1"].as_slice(),
            ["REPLICAOF", "NO", "ONE"].as_slice(),
            "ReadOnly",
        ),
        (
            &["CONFIG", "SET", "maxmemory", "1"],
            &["CONFIG", "SET", "maxmemory", "0"],
            "OOM",
        ),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
            "NOREPLICAS",
        ),
        (&["ACL", "SETUSER", "gateway", "-evalsha"], &user, "NoPerm"),
        (&["ACL", "DELUSER", "gateway"], &user, "WRONGPASS"),
    ] {
        server.operate(fault);
        let since = Instant::now();
        loop {
            let error = assert_refused(store.as_ref()).await.to_string();
            assert!(!error.contains("pass word"), "{error}");
            if error.contains(word) {
                break;
            }
            // The first one to notice may see no more than a cut connection.
            assert!(since.elapsed() < Duration::from_secs(5), "{error}");
        }
        server.operate(mended);
        recovery(store.as_ref()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_reached_over_its_socket_and_from_short_lived_runtimes() {
    let server = Server::start(&[]);
    let url = format!("redis+unix://{}?db=1", server.socket().display());
    let store = open(&url);
    for _ in 0..3 {
        // The proxy's runtimes come and go; the connection must not be theirs.
        let store = Arc::clone(&store);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move { write(store.as_ref()).await.unwrap() });
        })
        .join()
        .unwrap();
    }
    assert!(
        store
            .get(&Key::in_table(Table::Session, "s"), Clock.now())
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_reached_over_tls_and_only_with_a_trusted_certificate() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = std::env::temp_dir().join(gateway_core::secret::identifier(
        "gateway-certificates-",
        &mut rand::rngs::OsRng,
    ));
    std::fs::create_dir(&folder).unwrap();
    certify(&folder);
    let file = |name: &str| folder.join(name).display().to_string();
    let port = free_port();
    let server = Server::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &file("cert.pem"),
        "--tls-key-file",
        &file("key.pem"),
        "--tls-ca-cert-file",
        &file("ca.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://127.0.0.1:{port}");
    let trusting = open(&format!("{url}?ca={}", file("ca.pem")));
    write(trusting.as_ref()).await.unwrap();
    let system = open(&url);
    let error = assert_refused(system.as_ref()).await;
    assert!(error.to_string().contains("certificate"), "{error}");
    drop(server);
    std::fs::remove_dir_all(&folder).unwrap();
}
