//! A gateway in a terminal that is closed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::http;
use tests::program::{Program, binary};

use super::{bare, is_healthy, until};

/// What a closed terminal leaves behind would listen for ever.
#[tokio::test]
async fn a_gateway_in_a_terminal_ends_with_it() -> Result<()> {
    // Wherever its log goes.
    for redirection in ["", " 2>gateway.log", " 2>&1 | cat"] {
        let (folder, terminal, health) = in_terminal(&format!(
            "{} serve{redirection}",
            binary("gateway").display()
        ))
        .await?;
        until(&terminal, async || http::get(&health).await.is_err()).await?;
        drop(folder);
    }
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_is_to_outlive_its_terminal_does() -> Result<()> {
    let command = format!("exec nohup {} serve", binary("gateway").display());
    let (folder, _terminal, health) = in_terminal(&command).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    ensure!(is_healthy(&health).await, "it ended with its terminal");
    let process = std::fs::read_to_string(folder.path().join("process"))?;
    let killed = std::process::Command::new("kill")
        .arg(process.trim())
        .status()?;
    ensure!(killed.success(), "{killed}");
    Ok(())
}

/// A job that nobody tells of the end of its terminal goes on, and a signal that comes later is none of that.
#[tokio::test]
async fn a_later_signal_does_not_end_a_gateway_that_outlived_its_terminal() -> Result<()> {
    let command = format!(
        "set -m; {} serve & echo $! >process; sleep 100",
        binary("gateway").display()
    );
    let (folder, _terminal, health) = in_terminal(&command).await?;
    let process = std::fs::read_to_string(folder.path().join("process"))?;
    let tell = |signal: &str| {
        let words = [signal, process.trim()];
        std::process::Command::new("kill").args(words).status()
    };
    tokio::time::sleep(Duration::from_secs(5)).await;
    ensure!(is_healthy(&health).await, "it ended with its terminal");
    ensure!(tell("-HUP")?.success(), "no signal");
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(is_healthy(&health).await, "the signal ended it");
    ensure!(tell("-TERM")?.success(), "no signal");
    Ok(())
}

/// A gateway that was started by this command in a terminal, which is closed by now.
async fn in_terminal(command: &str) -> Result<(tempfile::TempDir, Program, String)> {
    let folder = tempfile::tempdir()?;
    let command = format!("echo $$ >process; {command}");
    let start = |environment: &[(String, String)]| {
        let words = ["-qefc", &command, "/dev/null"];
        Program::start(
            Path::new("/usr/bin/script"),
            folder.path(),
            &words,
            environment,
        )
    };
    let (mut terminal, health) = bare(folder.path(), start)?;
    until(&terminal, async || is_healthy(&health).await).await?;
    terminal.kill().await?;
    Ok((folder, terminal, health))
}
