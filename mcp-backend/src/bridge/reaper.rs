//! `mcp-backend keep -- COMMAND`: stands between the bridge and a process, so that nothing of it is
//! left behind however the bridge ends.
//!
//! The reaper leads the process group that the bridge made for it, and the command and what the
//! command starts (`npx` starts a `node`) are members. When the bridge dies, even by SIGKILL, the
//! kernel signals the keeper, and the reaper ends the group. When the command ends, what it left
//! running ends too. The three standard streams are the command's; the reaper keeps none of the
//! first two, so that their ends are seen at once.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use rustix::process::{Signal, getpid, getppid, kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// From the request to end until the group is killed.
pub const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often systems that cannot announce the parent's death are asked for it.
#[cfg(not(target_os = "linux"))]
const LOOK_FOR_PARENT: Duration = Duration::from_secs(1);

/// Runs the command as a child of `parent`, the bridge; kills its own group at the end.
///
/// # Errors
/// The command cannot be started.
pub fn keep(parent: u32, command: &[String]) -> anyhow::Result<()> {
    announce_the_parents_death();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(watch(command, parent))
}

async fn watch(command: &[String], parent: u32) -> anyhow::Result<()> {
    let mut told = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    if !is_child_of(parent) {
        anyhow::bail!("the bridge has ended");
    }
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| anyhow::anyhow!("the command is empty"))?;
    // It has our three standard streams.
    let mut child = Command::new(program)
        .args(arguments)
        .spawn()
        .map_err(|error| {
            anyhow::anyhow!(
                "{program} can't be started: {error}; a program is looked for on the PATH"
            )
        })?;
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;

    tokio::select! {
        status = child.wait() => {
            let status = status?;
            let how = match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => status.to_string(),
            };
            eprintln!("{ENDED_WITH}{how}");
        }
        _ = told.recv() => end(&mut child).await,
        _ = interrupted.recv() => end(&mut child).await,
        () = parent_gone(parent) => end(&mut child).await,
    }
    // Ourselves included: nothing comes after this line.
    let _ = kill_process_group(getpid(), Signal::KILL);
    Ok(())
}

/// What the reaper's last line on stderr begins with; the bridge reads the exit code from it.
pub const ENDED_WITH: &str = "mcp-backend keep: ended with ";

fn is_child_of(parent: u32) -> bool {
    getppid().is_some_and(|pid| u32::try_from(pid.as_raw_nonzero().get()) == Ok(parent))
}

async fn end(child: &mut Child) {
    let _ = kill_process_group(getpid(), Signal::TERM);
    let _ = tokio::time::timeout(LAST_WORDS, child.wait()).await;
}

#[cfg(target_os = "linux")]
fn announce_the_parents_death() {
    // Without it the bridge's own stop is all there is; better than not to start at all.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
}

#[cfg(not(target_os = "linux"))]
fn announce_the_parents_death() {}

#[cfg(target_os = "linux")]
async fn parent_gone(_parent: u32) {
    std::future::pending().await
}

#[cfg(not(target_os = "linux"))]
async fn parent_gone(parent: u32) {
    while is_child_of(parent) {
        tokio::time::sleep(LOOK_FOR_PARENT).await;
    }
}
