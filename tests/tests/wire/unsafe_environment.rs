//! What around the gateway makes its promises hollow, and what of it will never work: named at the
//! start, by `gateway check` and by `/readyz`, with what to change.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Setup};
use tests::http;
use tests::mcp::{self, initialize};
use tests::program::{binary, free_port, run};
use tests::recorder::Recorder;
use tests::redis::Redis;
use tests::scripted_mcp;

/// The exit code of a command with a configuration of its own, and all that it says.
async fn command(name: &str, store: &str, more: &str) -> Result<(i32, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("gateway.toml");
    let toml = format!(
        "listen = [\"127.0.0.1:0\"]\nadmin_listen = \"127.0.0.1:0\"\nkeys_dir = \"{}\"\n\
         [store]\nurl = \"{store}\"\n{more}[[backend]]\nurl = \"http://127.0.0.1:9\"\n",
        folder.path().join("keys").display()
    );
    std::fs::write(&file, toml)?;
    let arguments = [name, "--config", &file.display().to_string()].map(str::to_owned);
    let (code, out, errors) = run(&binary("gateway"), &arguments, "").await?;
    Ok((code, out + &errors))
}

/// A store that no waiting mends ends the start at once, and the check, with what to change.
async fn assert_hopeless(store: &str, more: &str, wanted: &[&str]) -> Result<()> {
    let begun = Instant::now();
    let (code, said) = command("serve", store, more).await?;
    assert!(code != 0, "{store}: {said}");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "it was waited for: {said}"
    );
    let (check, checked) = command("check", store, more).await?;
    assert!(check != 0, "{store}: {checked}");
    for text in wanted {
        assert!(said.contains(text), "{text}: {said}");
        assert!(checked.contains(text), "{text}: {checked}");
    }
    assert!(!said.contains("hunter2") && !checked.contains("hunter2"));
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_of_redis_ends_the_start_at_once_and_says_where_it_stands() -> Result<()> {
    let redis = Redis::with(&["--requirepass", "right"]).await?;
    let port = redis.port;
    let wanted = ["password", "store.password_file"];
    assert_hopeless(&format!("redis://127.0.0.1:{port}"), "", &wanted).await?;
    assert_hopeless(&format!("redis://:hunter2@127.0.0.1:{port}"), "", &wanted).await?;
    let more = "password = \"hunter2\"\n";
    assert_hopeless(&format!("redis://127.0.0.1:{port}"), more, &wanted).await?;
    let (code, said) = command("check", &format!("redis://:right@127.0.0.1:{port}"), "").await?;
    assert_eq!(code, 0, "{said}");
    Ok(())
}

#[tokio::test]
async fn a_redis_cluster_is_named_as_one() -> Result<()> {
    // The port of its bus is 10,000 above its own unless told, where anybody may listen already.
    let bus = free_port().to_string();
    let redis = Redis::with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await?;
    let url = format!("redis://127.0.0.1:{}", redis.port);
    // Before it has its slots, and with all of them.
    assert_hopeless(&url, "", &["Cluster", "store.url"]).await?;
    redis
        .say(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"])
        .await?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !redis.say(&["SET", "probe", "1"]).await?.starts_with("+OK") {
        assert!(Instant::now() < deadline, "the cluster does not come up");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_hopeless(&url, "", &["Cluster", "store.url"]).await
}

#[tokio::test]
async fn a_user_without_rights_is_told_which() -> Result<()> {
    let redis = Redis::start().await?;
    let rule = [
        "ACL",
        "SETUSER",
        "weak",
        "on",
        ">hunter2",
        "~gateway:*",
        "&*",
        "+@connection",
        "+info",
    ];
    assert!(redis.say(&rule).await?.starts_with("+OK"));
    let url = format!("redis://weak:hunter2@127.0.0.1:{}", redis.port);
    let begun = Instant::now();
    let (code, said) = command("serve", &url, "").await?;
    assert!(code != 0 && said.contains("ACL SETUSER"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(45));
    Ok(())
}

async fn on(redis: &Redis) -> Result<(Recorder, Gateway)> {
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let setup = Setup {
        store: Some(redis.url()),
        ..Setup::default()
    };
    let gateway = Gateway::start(setup.backend(&backend.url())).await?;
    Ok((backend, gateway))
}

#[tokio::test]
async fn an_evicting_or_forgetful_redis_is_named_at_the_start_in_check_and_in_readyz() -> Result<()>
{
    for (options, wanted) in [
        (
            vec!["--maxmemory", "200mb", "--maxmemory-policy", "allkeys-lru"],
            "maxmemory-policy noeviction",
        ),
        (
            vec!["--maxmemory", "200mb", "--maxmemory-policy", "volatile-ttl"],
            "maxmemory-policy noeviction",
        ),
        (vec!["--appendonly", "no"], "appendonly yes"),
    ] {
        let redis = Redis::with(&options).await?;
        let (_backend, gateway) = on(&redis).await?;
        let printed = gateway.printed().join("\n");
        assert!(printed.contains(wanted), "{options:?}: {printed}");
        let ready = http::get(&gateway.admin_url("/readyz")).await?;
        assert_eq!(ready.status, 200, "{}", ready.text);
        assert!(ready.text.contains(wanted), "{options:?}: {}", ready.text);
        let (code, said) = command("check", &redis.url(), "").await?;
        assert!(code == 0 && said.contains(wanted), "{options:?}: {said}");
    }
    let redis = Redis::start().await?;
    let (_backend, gateway) = on(&redis).await?;
    let ready = http::get(&gateway.admin_url("/readyz")).await?;
    assert!(!ready.text.contains("unsafe"), "{}", ready.text);
    Ok(())
}

#[tokio::test]
async fn what_was_revoked_stays_so_when_redis_evicts_the_list() -> Result<()> {
    let mut fixture = Fixture::on(StoreKind::Redis).await?;
    let (client, token) = fixture.signed_in().await?;
    client.revoke(&token).await?;
    let url = fixture.url("/mcp");
    assert_eq!(mcp::send(&url, &token, &initialize()).await?.status, 401);
    // A token that is younger than the leeway of clocks says nothing here.
    let (_, good) = fixture.signed_in().await?;
    assert_eq!(mcp::send(&url, &good, &initialize()).await?.status, 200);
    tokio::time::sleep(Duration::from_secs(33)).await;
    let redis = fixture.redis.as_ref().expect("the store is one");
    for key in ["gateway:revocations", "gateway:revocations:ends"] {
        redis.say(&["DEL", key]).await?;
    }
    fixture.gateway.restart().await?;
    let url = fixture.url("/mcp");
    let reply = mcp::send(&url, &token, &initialize()).await?;
    assert_eq!(reply.status, 401, "a revoked token came back to life");
    // What can't be told from it is refused as well, and a new one works.
    let reply = mcp::send(&url, &good, &initialize()).await?;
    assert_eq!(reply.status, 401, "{}", reply.text);
    let (_, new) = fixture.signed_in().await?;
    assert_eq!(mcp::send(&url, &new, &initialize()).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_clock_that_is_behind_the_store_is_named_at_the_start_and_in_readyz() -> Result<()> {
    let redis = Redis::start().await?;
    let birth = r#"{"id":"b_1","at":4102444800000}"#;
    redis.say(&["SET", "gateway:birth", birth]).await?;
    let (_backend, gateway) = on(&redis).await?;
    let printed = gateway.printed().join("\n");
    assert!(printed.contains("clock"), "{printed}");
    let ready = http::get(&gateway.admin_url("/readyz")).await?;
    assert!(ready.text.contains("clock"), "{}", ready.text);
    Ok(())
}

#[tokio::test]
async fn a_keys_folder_that_others_can_enter_is_named_by_the_check() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let keys = folder.path().join("keys");
    std::fs::create_dir(&keys)?;
    let file = folder.path().join("gateway.toml");
    let toml = format!(
        "keys_dir = \"{}\"\n[[backend]]\nurl = \"http://127.0.0.1:9\"\n",
        keys.display()
    );
    std::fs::write(&file, toml)?;
    let arguments = ["check", "--config", &file.display().to_string()].map(str::to_owned);
    for (mode, named) in [(0o755, true), (0o750, true), (0o700, false)] {
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(mode))?;
        let (code, _, errors) = run(&binary("gateway"), &arguments, "").await?;
        assert_eq!(
            (code, errors.contains("chmod 700")),
            (0, named),
            "{mode:o}: {errors}"
        );
    }
    Ok(())
}
