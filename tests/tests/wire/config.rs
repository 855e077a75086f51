//! `gateway check`, and the configuration files that we ship.

use std::path::Path;

use anyhow::Result;
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
