//! What goes wrong in a stranger's first hour: each sentence names what to change, in the words of the
//! flag or key that is to be changed, and nothing else is said that would mislead.

use std::net::TcpListener;
use std::path::Path;

use anyhow::Result;
use tests::program::{binary, free_port, run_in};

const BACKEND: &str = "http://127.0.0.1:3001";

/// What a program says on both its outputs. It has to refuse: what starts is not waited for.
async fn says(folder: &Path, program: &str, words: &[&str]) -> Result<String> {
    let (code, out, errors) = run_in(folder, &binary(program), words, "").await?;
    let text = out + &errors;
    anyhow::ensure!(code != 0, "{words:?} is content:\n{text}");
    Ok(text)
}

/// Says all of these and none of those.
async fn assert_says(
    folder: &Path,
    program: &str,
    words: &[&str],
    wanted: &[&str],
    misleading: &[&str],
) -> Result<()> {
    let text = says(folder, program, words).await?;
    for part in wanted {
        assert!(
            text.contains(part),
            "{words:?} does not say {part:?}:\n{text}"
        );
    }
    for part in misleading {
        assert!(!text.contains(part), "{words:?} says {part:?}:\n{text}");
    }
    Ok(())
}

#[tokio::test]
async fn an_address_that_can_not_be_listened_on_is_named_by_its_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.to_string();
    let free = format!("127.0.0.1:{}", free_port());
    let serve = |listen: String, admin: String| {
        let folder = folder.path().to_owned();
        async move {
            let words = [
                "serve",
                "--backend",
                BACKEND,
                "--listen",
                &listen,
                "--admin-listen",
                &admin,
            ];
            says(&folder, "gateway", &words).await
        }
    };
    let text = serve(taken.clone(), free.clone()).await?;
    assert!(
        text.contains("another program listens there") && text.contains("`listen` or --listen"),
        "{text}"
    );
    let text = serve(free.clone(), taken.clone()).await?;
    assert!(text.contains("`admin_listen` or --admin-listen"), "{text}");
    // 192.0.2.0/24 is for documentation: no machine has it.
    let text = serve("192.0.2.1:8080".to_owned(), free.clone()).await?;
    assert!(text.contains("this machine has no such address"), "{text}");
    // The system lets both listen, and either gets what is meant for the other.
    let everywhere = free.replace("127.0.0.1", "0.0.0.0");
    for (listen, admin) in [(&free, &free), (&everywhere, &free), (&free, &everywhere)] {
        let text = serve(listen.clone(), admin.clone()).await?;
        assert!(
            text.contains("`admin_listen` is the address of `listen`, too"),
            "{text}"
        );
    }
    let text = serve("127.0.0.1:80x".to_owned(), taken).await?;
    assert!(
        text.contains("`listen` is no address with a port"),
        "{text}"
    );
    assert!(!text.contains("names no address"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_configuration_that_is_not_there_is_the_only_thing_that_is_wrong() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for command in [
        ["serve", "--config", "nowhere.toml"].as_slice(),
        &["check", "--config", "nowhere.toml"],
        &["grants", "ls", "--config", "nowhere.toml"],
        &["audit", "verify", "--config", "nowhere.toml"],
        &["healthcheck", "--config", "nowhere.toml"],
        &[
            "explain",
            "--config",
            "nowhere.toml",
            "--user",
            "x",
            "--tool",
            "y",
        ],
    ] {
        let wanted = ["nowhere.toml can't be read"];
        assert_says(
            folder.path(),
            "gateway",
            command,
            &wanted,
            &["`backend` is missing"],
        )
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_needs_a_configuration_says_how_to_name_it_and_what_needs_none_asks_for_none()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let says = |words: &'static [&'static str], wanted: &'static [&'static str]| {
        let folder = folder.path();
        async move { assert_says(folder, "gateway", words, wanted, &[]).await }
    };
    says(
        &["serve"],
        &[
            "`backend` is missing",
            "--config FILE",
            "--backend URL",
            "-- COMMAND",
        ],
    )
    .await?;
    says(
        &["explain", "--user", "x", "--tool", "y"],
        &["--config FILE"],
    )
    .await?;
    for words in [
        &["healthcheck", "--admin-listen", "127.0.0.1:1"][..],
        &["audit", "verify"],
    ] {
        assert_says(
            folder.path(),
            "gateway",
            words,
            &[],
            &["`backend` is missing"],
        )
        .await?;
    }
    says(
        &["healthcheck", "--admin-listen", "127.0.0.1:1"],
        &["no gateway answers", "admin_listen"],
    )
    .await
}

#[tokio::test]
async fn a_folder_or_file_that_can_not_be_written_is_named_with_its_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("a-file"), "")?;
    let admin = format!("127.0.0.1:{}", free_port());
    let listen = format!("127.0.0.1:{}", free_port());
    let serve = |more: &[&str]| {
        let addresses = ["serve", "--listen", &listen, "--admin-listen", &admin];
        let words: Vec<String> = addresses
            .iter()
            .chain(more)
            .map(|word| (*word).to_owned())
            .collect();
        let folder = folder.path().to_owned();
        async move {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            says(&folder, "gateway", &words).await
        }
    };
    let text = serve(&["--backend", BACKEND, "--store", "file:./a-file"]).await?;
    assert!(
        text.contains("a-file") && text.contains("`keys_dir`") && text.contains("--store"),
        "{text}"
    );
    std::fs::write(
        folder.path().join("audit.toml"),
        "[audit]\nfile = \"./a-file/audit.jsonl\"\n",
    )?;
    let text = serve(&["--backend", BACKEND, "--config", "audit.toml"]).await?;
    assert!(
        text.contains("`audit.file`") && text.contains("`off`"),
        "{text}"
    );
    assert_eq!(
        text.matches("audit.jsonl").count(),
        1,
        "said twice:\n{text}"
    );
    let command = format!(
        "[[backend]]\nname = \"a\"\npath = \"/\"\nurl = {BACKEND:?}\ncommand = [\"no-such-program\"]\n"
    );
    std::fs::write(folder.path().join("command.toml"), command)?;
    let text = serve(&["--config", "command.toml"]).await?;
    assert!(
        text.contains("backend a: its `command`")
            && text.contains("no-such-program")
            && text.contains("PATH"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_url_that_is_none_is_answered_with_one_that_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (backend, wanted) in [
        ("localhost:3001", "such as http://127.0.0.1:3001"),
        ("127.0.0.1:3001", "such as http://127.0.0.1:3001"),
        ("http://127.0.0.1:3001/mcp", "write `http://127.0.0.1:3001`"),
        (
            "https://mcp.example.com/sse?x=1",
            "write `https://mcp.example.com`",
        ),
    ] {
        let words = ["check", "--backend", backend];
        assert_says(
            folder.path(),
            "gateway",
            &words,
            &["`backend.0.url`", wanted],
            &[],
        )
        .await?;
    }
    let words = [
        "check",
        "--backend",
        BACKEND,
        "--public-url",
        "mcp.example.com",
    ];
    let wanted = ["`public_url`", "such as https://mcp.example.com"];
    assert_says(folder.path(), "gateway", &words, &wanted, &[]).await
}

#[tokio::test]
async fn commands_over_tokens_say_where_a_token_comes_from() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    assert_says(
        folder,
        "gateway",
        &["token", "inspect"],
        &["standard input"],
        &[],
    )
    .await?;
    std::fs::write(folder.join("token"), "not a token")?;
    let file = format!("[[backend]]\nurl = {BACKEND:?}\n");
    std::fs::write(folder.join("gateway.toml"), file)?;
    let words = [
        "explain",
        "--config",
        "gateway.toml",
        "--offline",
        "--token",
        "token",
        "--tool",
        "x",
    ];
    assert_says(folder, "gateway", &words, &["`access_token`"], &[]).await?;
    let words = [
        "token", "approve", "--key", "nowhere", "--tool", "x", "--for", "2h",
    ];
    assert_says(
        folder,
        "gateway",
        &words,
        &["--key nowhere", "approver-key"],
        &["keys_dir"],
    )
    .await
}

#[tokio::test]
async fn the_document_server_and_the_bridge_name_their_flags() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    std::fs::create_dir(folder.join("documents"))?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.to_string();
    let words = ["--documents", "nowhere"];
    assert_says(
        folder,
        "mcp-backend",
        &words,
        &["--documents", "nowhere"],
        &[],
    )
    .await?;
    let words = ["--documents", "documents", "--listen", &taken];
    assert_says(folder, "mcp-backend", &words, &[&taken, "--listen"], &[]).await?;
    let words = ["bridge", "--listen", &taken, "--", "cat"];
    assert_says(folder, "mcp-backend", &words, &[&taken, "--listen"], &[]).await?;
    let words = ["healthcheck", "--listen", "127.0.0.1:1"];
    assert_says(
        folder,
        "mcp-backend",
        &words,
        &["no server answers at 127.0.0.1:1", "--listen"],
        &[],
    )
    .await
}
