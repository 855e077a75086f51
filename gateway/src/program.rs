//! Programs that run beside the gateway: how they are started and ended, and what they print. They are not
//! ours: a line may have no end, or be no text.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a program may take to end by itself.
pub const FAREWELL: Duration = Duration::from_secs(3);

/// How a program is started whose outputs are read here, and which ends with what holds it.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_for_programs(name)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Whether a program gets the variable of this name. The gateway's own may hold its secrets; all others are
/// passed on as they are, also what is no text.
fn is_for_programs(name: &OsStr) -> bool {
    !name.as_encoded_bytes().starts_with(b"GATEWAY")
}

/// Waits until a program has ended, and says how.
pub async fn outcome(child: &mut Child) -> String {
    let status = child.wait().await;
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// Waits until a program has ended that was told to, and kills it if it runs on for too long.
pub async fn end(mut child: Child) {
    if timeout(FAREWELL, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// Waits until all that runs beside the gateway is to end.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and the gateway with it.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The next line of a program's output, without its end; `None` once it is closed. Of one that is longer
/// than `longest` bytes it is the next piece. What is not UTF-8 is replaced.
pub async fn next_line(output: &mut (impl AsyncBufRead + Unpin), longest: u64) -> Option<String> {
    let mut line = Vec::new();
    let read = output.take(longest).read_until(b'\n', &mut line).await;
    if !matches!(read, Ok(1..)) {
        return None;
    }
    let line = String::from_utf8_lossy(&line);
    Some(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn a_program_gets_all_variables_but_the_gateways_own() {
        for name in [&b"PATH"[..], b"X\xff", b"\xffGATEWAY", b"GATE"] {
            assert!(is_for_programs(OsStr::from_bytes(name)), "{name:?}");
        }
        for name in [
            &b"GATEWAY__LISTEN"[..],
            b"GATEWAY_BACKUP_PASSPHRASE",
            b"GATEWAY\xff",
        ] {
            assert!(!is_for_programs(OsStr::from_bytes(name)), "{name:?}");
        }
    }

    #[tokio::test]
    async fn what_is_too_long_comes_in_pieces_and_what_is_no_text_ends_nothing() {
        let mut output = &b"one\r\n\xff\xfe!\n\n0123456789abcdef\nlast"[..];
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut output, 10).await {
            lines.push(line);
        }
        let expected = [
            "one",
            "\u{fffd}\u{fffd}!",
            "",
            "0123456789",
            "abcdef",
            "last",
        ];
        assert_eq!(lines, expected);
    }
}
