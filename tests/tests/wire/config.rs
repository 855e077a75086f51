//! `gateway check`, and the configuration files that we ship.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::Result;
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Setup;
use tests::oauth;
use tests::program::{binary, fresh_clone, run, run_in};

async fn check(folder: &Path, toml: &str) -> Result<(i32, String)> {
    let file = folder.join("gateway.toml");
    std::fs::write(&file, toml)?;
    let arguments = [
        "check".to_owned(),
        "--config".to_owned(),
        file.display().to_string(),
    ];
    let (code, out, errors) = run(&binary("gateway"), &arguments, "").await?;
    Ok((code, out + &errors))
}

#[tokio::test]
async fn every_configuration_file_that_we_ship_is_accepted() -> Result<()> {
    let clone = fresh_clone()?;
    let mut seen = 0;
    for entry in std::fs::read_dir(clone.path().join("conf"))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            seen += 1;
            let arguments = [
                "check".to_owned(),
                "--config".to_owned(),
                path.display().to_string(),
            ];
            let (code, out, errors) =
                run_in(clone.path(), &binary("gateway"), &arguments, "").await?;
            assert_eq!(code, 0, "{}: {out}{errors}", path.display());
        }
    }
    assert!(seen >= 2, "only {seen} files in conf/");
    Ok(())
}

#[tokio::test]
async fn every_problem_is_told_at_once_with_its_line_and_the_likely_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let toml = "pubic_url = \"https://mcp.example.com\"\nlisten = [\"nonsense\"]\n\n[tokens]\naccess_ttl = \"24 parsecs\"\n\n[[backend]]\nname = \"a\"\npath = \"/\"\nuri = \"http://127.0.0.1:9\"\n";
    let (code, told) = check(folder.path(), toml).await?;
    assert_eq!(code, 64, "{told}");
    for wanted in [
        "pubic_url",
        "public_url",
        "nonsense",
        "24 parsecs",
        "uri",
        "url",
        ":1",
        "gateway.toml",
    ] {
        assert!(told.contains(wanted), "{wanted} is not in: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn a_variable_that_is_no_text_ends_no_command_and_is_named_if_it_is_ours() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("gateway.toml");
    std::fs::write(
        &file,
        format!("public_url = \"https://mcp.example.com\"\n{BACKEND}"),
    )?;
    for (name, expected) in [("X", 0), ("GATEWAY__LISTEN", 64)] {
        let mut command = std::process::Command::new(binary("gateway"));
        command.args(["check", "--config"]).arg(&file);
        let ended = command.env(name, OsStr::from_bytes(b"\xff")).output()?;
        assert_eq!(ended.status.code(), Some(expected), "{name}: {ended:?}");
        let told = String::from_utf8_lossy(&ended.stderr);
        let problem = format!("environment {name}: is no text in UTF-8");
        assert_eq!(told.contains(&problem), expected == 64, "{told}");
    }
    Ok(())
}

#[tokio::test]
async fn what_applies_is_shown_with_where_it_came_from_and_without_secrets() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let toml = "public_url = \"https://mcp.example.com\"\n[store]\nurl = \"redis://:canary-one@127.0.0.1:1/0\"\n[owner]\nname = \"alice\"\npassword_hash = \"$argon2id$v=19$m=19456,t=2,p=1$Y2FuYXJ5dHdv$Y2FuYXJ5dHdvY2FuYXJ5dHdvY2FuYXJ5dHdvY2FuYXI\"\n[[backend]]\nname = \"a\"\npath = \"/\"\nurl = \"http://127.0.0.1:9\"\nheaders = { Authorization = \"Bearer canary-three\" }\n";
    let (code, told) = check(folder.path(), toml).await?;
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("public_url") && told.contains("gateway.toml"),
        "{told}"
    );
    for secret in ["canary-one", "Y2FuYXJ5dHdv", "canary-three"] {
        assert!(!told.contains(secret), "{told}");
    }
    Ok(())
}

#[tokio::test]
async fn a_public_url_that_browsers_would_not_trust_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for url in [
        "http://mcp.example.com",
        "https://mcp.example.com/path",
        "https://mcp.example.com?x=1",
        "https://user@mcp.example.com",
        "mcp.example.com",
        "ftp://x",
    ] {
        let (code, told) = check(folder.path(), &format!("public_url = \"{url}\"\n[[backend]]\nname = \"a\"\npath = \"/\"\nurl = \"http://127.0.0.1:9\"\n")).await?;
        assert_eq!(code, 64, "{url}: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn two_backends_cannot_share_a_path() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let backend = |name: &str, path: &str| {
        format!("[[backend]]\nname = \"{name}\"\npath = \"{path}\"\nurl = \"http://127.0.0.1:9\"\n")
    };
    for (one, two) in [("/a", "/a"), ("/a", "/a/"), ("/", "/")] {
        let (code, told) =
            check(folder.path(), &(backend("one", one) + &backend("two", two))).await?;
        assert_eq!(code, 64, "{one} and {two}: {told}");
    }
    Ok(())
}

const BACKEND: &str = "[[backend]]\nurl = \"http://127.0.0.1:9\"\n";

/// A value that is compared with something later works as it is written, or is refused with what
/// to write instead: one that is taken and never matches is found out by nobody.
#[tokio::test]
async fn a_value_that_could_never_match_is_refused_with_what_to_write() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scheme = |text: &str| format!("{BACKEND}[clients]\nredirect_schemes = [\"{text}\"]\n");
    let top = |line: &str| format!("{line}\n{BACKEND}");
    let backend = |line: &str| format!("{BACKEND}{line}\n");
    let clients = |line: &str| format!("{BACKEND}[clients]\n{line}\n");
    for (toml, wanted) in [
        (scheme("http"), "loopback"),
        (scheme("https://"), "always accepted"),
        (scheme("javascript:"), "a browser would run it"),
        (scheme("data"), "a browser would run it"),
        (scheme("file://"), "read this computer's files"),
        (
            scheme("workbuddy://oauth/callback"),
            "write its scheme alone, `workbuddy`",
        ),
        (scheme("work buddy"), "is no scheme"),
        (
            top("allowed_origins = [\"localhost:3000\"]"),
            "is no origin",
        ),
        (top("allowed_origins = [\"null\"]"), "is no origin"),
        (
            top("allowed_origins = [\"https://example.com/app\"]"),
            "more than scheme, host and port",
        ),
        (
            top("trusted_proxies = [\"10.0.0.*\"]"),
            "is no address and no network",
        ),
        (top("keys_dir = \"~/keys\""), "write the whole path"),
        (
            clients("metadata_hosts = [\"*.example.com\"]"),
            "each host is named by itself",
        ),
        (
            clients("private_hosts = [\"https://example.com\"]"),
            "write its name alone",
        ),
        (
            backend("approval_required = [\"delete_*\"]"),
            "each tool is named by itself",
        ),
        (
            backend("headers = { Host = \"example.com\" }"),
            "another meaning",
        ),
        (
            backend("headers = { Content-Length = \"1\" }"),
            "another meaning",
        ),
        (backend("mcp_path = \"/mcp#x\""), "a fragment"),
        (
            "[[backend]]\nstdio = [\"npx -y some-server\"]\n".to_owned(),
            "write [\"npx\", \"-y\", \"some-server\"]",
        ),
        (
            format!("{BACKEND}[[group]]\nname = \"staff\"\nusers = [\"alice smith\"]\n"),
            "is no login name",
        ),
        (
            format!("{BACKEND}[[network]]\nname = \"office\"\naddresses = [\"office.example\"]\n"),
            "is no address and no network",
        ),
        (
            format!("{BACKEND}[identity]\nuser_header = \"Content-Length\"\n"),
            "another meaning",
        ),
        (
            format!("{BACKEND}[discovery]\nsecurity_contact = \"the security team\"\n"),
            "mailto:",
        ),
        (
            format!("{BACKEND}[limits]\nconnections = 0\n"),
            "at least 1",
        ),
        (
            format!("{BACKEND}[audit]\nfile = \"none\"\n"),
            "write `off`",
        ),
        (
            format!("{BACKEND}[store]\nurl = \"file:~/state\"\n"),
            "write the whole path",
        ),
        (
            format!("{BACKEND}[owner]\nname = \"alice\"\npassword_hash = \"hunter2\"\n"),
            "gateway users hash",
        ),
    ] {
        let (code, told) = check(folder.path(), &toml).await?;
        assert_eq!(code, 64, "taken: {toml}\n{told}");
        assert!(told.contains(wanted), "{wanted}\n{toml}\n{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    Ok(())
}

#[tokio::test]
async fn a_value_that_can_only_mean_one_thing_is_taken_as_that() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let policy = folder.path().join("policy.datalog");
    std::fs::write(&policy, "\u{feff}allow if true;\n")?;
    let toml = format!(
        "\u{feff}allowed_origins = [\"HTTPS://App.Example:443/\"]\n\
         trusted_proxies = [\" 10.1.2.3/8 \", \"[::1]\"]\n\
         {BACKEND}approval_required = [\" delete_note \"]\n\
         [clients]\nredirect_schemes = [\"workbuddy://\", \"Other:\", \"plain\"]\n\
         metadata_hosts = [\"Example.COM.\"]\n\
         [discovery]\nsecurity_contact = \"security@example.com\"\n\
         [audit]\nfile = \"OFF\"\n\
         [policy]\nfile = \"{}\"\n",
        policy.display()
    );
    let (code, told) = check(folder.path(), &toml).await?;
    assert_eq!(code, 0, "{told}");
    // A file of another encoding says so.
    let utf16: Vec<u8> = "\u{feff}allow if true;"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    std::fs::write(&policy, utf16)?;
    let (code, told) = check(folder.path(), &toml).await?;
    assert!(code == 64 && told.contains("UTF-16"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_scheme_in_any_spelling_lets_the_app_register_and_one_that_is_missing_is_named()
-> Result<()> {
    for written in ["workbuddy://", "workbuddy:", "WorkBuddy"] {
        let setup =
            |setup: Setup| setup.more(&format!("[clients]\nredirect_schemes = [\"{written}\"]\n"));
        let fixture = Fixture::with(StoreKind::Embedded, setup).await?;
        let metadata = json!({"client_name": "W", "redirect_uris": ["workbuddy://callback"]});
        let reply = oauth::register(&fixture.gateway.origin(), &metadata).await?;
        assert_eq!(reply.status, 201, "{written}: {}", reply.text);
    }
    Ok(())
}

/// One thing is wrong, and one line says so: with the key and the file, and without what follows from it.
#[tokio::test]
async fn a_file_that_a_key_names_and_that_is_not_there_is_told_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redirect = "redirect_uris = \"https://c.example/cb\"";
    let client = |line: &str| format!("[[client]]\nid = \"c\"\nname = \"C\"\n{redirect}\n{line}");
    let login = "[[login]]\nname = \"corp\"\nissuer = \"https://id.example\"\nclient_id = \"x\"\nallow = [\"*@corp.example\"]\n";
    for (key, table) in [
        (
            "owner.password_hash_file",
            "[owner]\nname = \"alice\"\n".to_owned(),
        ),
        (
            "store.password_file",
            "[store]\nurl = \"redis://127.0.0.1:1\"\n".to_owned(),
        ),
        ("secret_file", client("method = \"client_secret_post\"\n")),
        ("jwks_file", client("method = \"private_key_jwt\"\n")),
        ("client_secret_file", login.to_owned()),
        ("introspection_secret_hash_file", BACKEND.to_owned()),
        ("policy.file", "[policy]\n".to_owned()),
    ] {
        let name = key.rsplit('.').next().unwrap_or_default();
        let line = format!("{name} = \"nothing-here\"\n");
        let others = if table.starts_with(BACKEND) {
            ""
        } else {
            BACKEND
        };
        let toml = format!("{table}{line}{others}");
        let (code, told) = check(folder.path(), &toml).await?;
        assert_eq!(code, 64, "{key}: {told}");
        let problems: Vec<_> = told
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        let [problem] = &problems[..] else {
            anyhow::bail!("{key}: {told}");
        };
        assert!(problem.contains(key), "{key}: {problem}");
        assert!(problem.contains("nothing-here"), "{key}: {problem}");
    }
    Ok(())
}

/// One key more than is needed today, so that nobody's file means something else when there are two.
#[tokio::test]
async fn the_challenge_of_acme_is_the_one_that_is_offered() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let with = |challenge: &str| {
        format!(
            "public_url = \"https://mcp.example.com\"\nlisten = [\"0.0.0.0:443\"]\n[tls]\nacme = true\nchallenge = \"{challenge}\"\n[[backend]]\nurl = \"http://127.0.0.1:9\"\n"
        )
    };
    let (code, told) = check(folder.path(), &with("http-01")).await?;
    assert_eq!(code, 0, "{told}");
    for (challenge, said) in [
        (
            "tls-alpn-01",
            "`tls.challenge` is not offered here: write `http-01`",
        ),
        (
            "dns-01",
            "`tls.challenge` is not offered here: write `http-01`",
        ),
        ("http", "`tls.challenge` must be `http-01`"),
    ] {
        let (code, told) = check(folder.path(), &with(challenge)).await?;
        assert_eq!(code, 64, "{told}");
        assert!(told.contains(said), "{said}\n{told}");
    }
    Ok(())
}
