//! One process of the server: started with an environment of its own, read line by line, ended with
//! everything it started.
//!
//! Owns: pipes, limits on lines, the log of stderr, the end. Not: what the lines mean (`connection`).

use std::future::Future;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::bridge::failure::End;
use crate::bridge::pool::process_slots::ProcessSlot;
use crate::bridge::reaper::{ENDED_WITH, LAST_WORDS};

/// Lines that wait for the process to read them.
const WAITING_LINES: usize = 64;
/// From the end of its input until the process is told by a signal.
const FAREWELL: Duration = Duration::from_secs(2);
/// What is kept of a line of stderr, in bytes.
const LONGEST_STDERR_LINE: usize = 8 * 1024;
/// Lines of stderr in a second that are logged; the rest is counted.
const STDERR_LINES: u32 = 100;
/// The second that they are counted in.
const SECOND: Duration = Duration::from_secs(1);

/// What to start, and how.
#[derive(Clone, Debug)]
pub struct CommandSpec {
    /// Its name in the log.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// All of its environment.
    pub environment: Vec<(String, String)>,
    /// Where it runs, if not here.
    pub working_directory: Option<PathBuf>,
    /// The longest line that it may write, in bytes.
    pub longest_line: usize,
}

/// A running process. It is stopped when this is dropped.
#[derive(Debug)]
pub struct Running {
    /// Its number, for the log.
    pub pid: u32,
    input: mpsc::Sender<String>,
    ended: watch::Receiver<Option<End>>,
    stop: CancellationToken,
}

impl CommandSpec {
    /// Starts a process; it gives its place back once it is gone. Its lines come from the receiver;
    /// that closes when there are no more.
    ///
    /// # Errors
    /// No process can be made. A program that is not there is noticed later: by its end.
    pub fn start(&self, slot: ProcessSlot) -> std::io::Result<(Running, mpsc::Receiver<String>)> {
        let mut command = Command::new(own_program());
        command
            .arg0("mcp-backend")
            .args(["keep", "--parent", &std::process::id().to_string(), "--"])
            .args(&self.command)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = &self.working_directory {
            command.current_dir(folder);
        }
        let mut child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        let stop = CancellationToken::new();
        let (input, to_write) = mpsc::channel(WAITING_LINES);
        // One line: a process is not read further than its messages are understood.
        let (read, lines) = mpsc::channel(1);
        let (last_words, ended) = watch::channel(None);
        let called = Called {
            name: self.name.as_str().into(),
            pid,
        };
        let life = Life {
            writer: tokio::spawn(write_lines(child.stdin.take(), to_write, stop.clone())),
            reader: tokio::spawn(read_lines(
                child.stdout.take(),
                read,
                self.longest_line,
                called.clone(),
                stop.clone(),
            )),
            logger: tokio::spawn(log_lines(child.stderr.take(), called.clone())),
            child,
            stop: stop.clone(),
            called,
            _slot: slot,
        };
        tokio::spawn(async move {
            let how = life.until_its_end().await;
            last_words.send_replace(Some(how));
        });
        let running = Running {
            pid,
            input,
            ended,
            stop,
        };
        Ok((running, lines))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    /// Asks it to end; soon it is ended.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Gives it a line to read. `false`: it has ended, or has read nothing for as long as `patience`.
    pub async fn write(&self, line: String, patience: Duration) -> bool {
        matches!(timeout(patience, self.input.send(line)).await, Ok(Ok(())))
    }

    /// Gives it a line to read unless too many wait.
    pub fn try_write(&self, line: String) -> bool {
        self.input.try_send(line).is_ok()
    }

    /// Waits for its end: how it ended.
    pub fn ended(&self) -> impl Future<Output = End> + use<> {
        let mut ended = self.ended.clone();
        async move {
            match ended.wait_for(Option::is_some).await {
                Ok(end) => end.clone().unwrap_or_else(End::stopped),
                Err(_) => End::stopped(),
            }
        }
    }
}

/// How a process is called in the log.
#[derive(Clone, Debug)]
struct Called {
    name: Arc<str>,
    pid: u32,
}

impl Called {
    fn ended(&self, end: End) -> End {
        log::info!(event = "process_ended", server = self.name.as_ref(), pid = self.pid, how = end.how.as_str(), said = end.said; "process ended: {}", end.in_full());
        end
    }
}

/// What a process said on stderr that tells how it ended.
#[derive(Debug, Default)]
struct ErrorOutput {
    /// In the reaper's words.
    how: Option<String>,
    /// Its own last line.
    last: Option<String>,
}

/// A process from its start to its end.
struct Life {
    child: Child,
    writer: JoinHandle<()>,
    /// Gives the reason if it was the reader who asked for the end.
    reader: JoinHandle<Option<String>>,
    logger: JoinHandle<ErrorOutput>,
    stop: CancellationToken,
    called: Called,
    _slot: ProcessSlot,
}

impl Life {
    /// How it ended, in words.
    async fn until_its_end(mut self) -> End {
        let Called { name, pid } = self.called.clone();
        log::info!(event = "process_started", server = name.as_ref(), pid = pid; "process started");
        let (asked, status) = tokio::select! {
            status = self.child.wait() => (false, status.ok()),
            () = self.stop.cancelled() => (true, None),
        };
        if asked {
            // The end of its input is what a well-behaved server waits for.
            let _ = self.writer.await;
            if timeout(FAREWELL, self.child.wait()).await.is_err() {
                signal_group(pid, Signal::TERM);
                // The reaper kills what is left of the group after this time by itself.
                if timeout(LAST_WORDS * 2, self.child.wait()).await.is_err() {
                    signal_group(pid, Signal::KILL);
                    let _ = self.child.wait().await;
                }
            }
        } else {
            self.stop.cancel();
        }
        // The keeper has ended its group already, unless somebody has killed the reaper.
        signal_group(pid, Signal::KILL);
        let broken = timeout(LAST_WORDS, self.reader).await;
        let broken = broken.ok().and_then(Result::ok).flatten();
        let said = timeout(LAST_WORDS, self.logger).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        let how = match (asked, broken, said.how) {
            (_, Some(how), _) | (false, None, Some(how)) => how,
            (true, None, _) => return self.called.ended(End::stopped()),
            // The reaper ended by itself and had nothing to tell of the program's end.
            (false, None, None) if status.is_some_and(|status| status.code().is_some()) => {
                "it could not be started".to_owned()
            }
            (false, None, None) => "killed".to_owned(),
        };
        let end = End {
            how,
            said: said.last,
        };
        self.called.ended(end)
    }
}

fn signal_group(pid: u32, signal: Signal) {
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // It has ended: as it should.
        let _ = kill_process_group(group, signal);
    }
}

/// This program, also after its file was replaced by a newer one.
fn own_program() -> PathBuf {
    if cfg!(target_os = "linux") {
        return PathBuf::from("/proc/self/exe");
    }
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("mcp-backend"))
}

async fn write_lines(
    input: Option<ChildStdin>,
    mut lines: mpsc::Receiver<String>,
    stop: CancellationToken,
) {
    let Some(mut input) = input else { return };
    let writing = async {
        while let Some(mut line) = lines.recv().await {
            line.push('\n');
            if input.write_all(line.as_bytes()).await.is_err() || input.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = stop.cancelled() => {}
    }
}

async fn read_lines(
    output: Option<ChildStdout>,
    lines: mpsc::Sender<String>,
    longest: usize,
    called: Called,
    stop: CancellationToken,
) -> Option<String> {
    let mut output = BufReader::with_capacity(64 * 1024, output?);
    loop {
        let line = match read_line(&mut output, longest).await {
            Ok(Line::Whole(line)) => line,
            Ok(Line::TooLong) => {
                log::error!(event = "process_line_too_long", server = called.name.as_ref(), pid = called.pid;
                    "the process wrote a line of more than {longest} bytes and is stopped");
                stop.cancel();
                return Some(format!("it wrote a line of more than {longest} bytes"));
            }
            Ok(Line::End) | Err(_) => return None,
        };
        match String::from_utf8(line) {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                if lines.send(line).await.is_err() {
                    return None;
                }
            }
            Err(_) => {
                log::warn!(event = "process_line_not_utf8", server = called.name.as_ref(), pid = called.pid; "a line is not UTF-8 and is ignored");
            }
        }
    }
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
    End,
}

/// The next line without its end; never holds more than `longest` bytes and the end.
async fn read_line(
    input: &mut (impl AsyncBufRead + Unpin),
    longest: usize,
) -> std::io::Result<Line> {
    let mut line = Vec::new();
    let most = (longest as u64).saturating_add(1);
    input.take(most).read_until(b'\n', &mut line).await?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.is_empty() {
        return Ok(Line::End);
    } else if line.len() > longest {
        return Ok(Line::TooLong);
    }
    Ok(Line::Whole(line))
}

/// Logs stderr line by line, a bounded number of them in a second. Returns what it told of the end.
async fn log_lines(errors: Option<impl AsyncRead + Unpin>, called: Called) -> ErrorOutput {
    let Some(errors) = errors else {
        return ErrorOutput::default();
    };
    let mut errors = BufReader::new(errors);
    let (mut told, mut part) = (ErrorOutput::default(), Vec::new());
    let (mut second, mut logged, mut dropped) = (Instant::now(), 0_u32, 0_u64);
    loop {
        let next = read_cut_line(&mut errors, &mut part);
        let line = match dropped {
            0 => next.await,
            // A program that falls silent after a flood has the flood told all the same.
            _ => match timeout(SECOND.saturating_sub(second.elapsed()), next).await {
                Ok(line) => line,
                Err(_) => {
                    say_dropped(&called, &mut dropped);
                    continue;
                }
            },
        };
        let Some(line) = line else { break };
        if let Some(words) = line.strip_prefix(ENDED_WITH) {
            told.how = Some(words.to_owned());
            continue;
        }
        if !line.trim().is_empty() {
            told.last = Some(shown(&line));
        }
        if second.elapsed() >= SECOND {
            say_dropped(&called, &mut dropped);
            (second, logged) = (Instant::now(), 0);
        }
        if logged < STDERR_LINES {
            logged += 1;
            log::info!(event = "process_stderr", server = called.name.as_ref(), pid = called.pid; "{line}");
        } else {
            dropped += 1;
        }
    }
    say_dropped(&called, &mut dropped);
    told
}

/// As much of a line as is told together with the end, in characters.
const LONGEST_SHOWN: usize = 200;

fn shown(line: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = line.chars().take(LONGEST_SHOWN).map(printable).collect();
    text.trim().to_owned()
}

fn say_dropped(called: &Called, dropped: &mut u64) {
    if *dropped > 0 {
        log::warn!(event = "process_stderr_dropped", server = called.name.as_ref(), pid = called.pid, lines = *dropped; "too many lines on stderr; {dropped} are not shown");
        *dropped = 0;
    }
}

/// The next line, cut where it is longer than what is kept. `line` holds what was read of it, so
/// that nothing is lost where the wait is given up.
async fn read_cut_line(
    input: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> Option<String> {
    loop {
        let available = input.fill_buf().await.ok()?;
        if available.is_empty() {
            return (!line.is_empty()).then(|| whole(line));
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        let room = LONGEST_STDERR_LINE.saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let read = part.len() + usize::from(end.is_some());
        input.consume(read);
        if end.is_some() {
            return Some(whole(line));
        }
    }
}

fn whole(line: &mut Vec<u8>) -> String {
    let text = String::from_utf8_lossy(line).trim_end().to_owned();
    line.clear();
    text
}

/// Why no process can be made. Where it is a limit: its name, and what to change.
pub(crate) fn not_started(error: &std::io::Error) -> String {
    let remedy = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => {
            "the limit of open files of the bridge's process is met: raise it (`ulimit -n`, LimitNOFILE= \
             of systemd, ulimits.nofile of compose), or have fewer processes"
        }
        Some(Errno::NFILE) => {
            "the limit of open files of the machine is met: raise it (`sysctl fs.file-max`)"
        }
        Some(Errno::AGAIN) => {
            "the limit of processes is met: raise it (`ulimit -u`, TasksMax= of systemd, pids_limit of \
             compose), or have fewer"
        }
        Some(Errno::NOMEM) => "the machine has no memory left for it",
        _ => return error.to_string(),
    };
    format!("{remedy} ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_read_up_to_its_limit_and_no_further() {
        let mut input = BufReader::with_capacity(4, &b"12345678\n\nlast"[..]);
        assert!(
            matches!(read_line(&mut input, 8).await, Ok(Line::Whole(line)) if line == b"12345678")
        );
        assert!(matches!(read_line(&mut input, 8).await, Ok(Line::Whole(line)) if line.is_empty()));
        assert!(matches!(read_line(&mut input, 8).await, Ok(Line::Whole(line)) if line == b"last"));
        assert!(matches!(read_line(&mut input, 8).await, Ok(Line::End)));
        let mut input = BufReader::with_capacity(4, &b"123456789\n"[..]);
        assert!(matches!(read_line(&mut input, 8).await, Ok(Line::TooLong)));
    }

    #[tokio::test]
    async fn a_long_line_of_stderr_is_cut() {
        let text = format!("{}\nnext\n", "x".repeat(3 * LONGEST_STDERR_LINE));
        let mut input = BufReader::new(text.as_bytes());
        assert_eq!(
            read_cut_line(&mut input, &mut Vec::new())
                .await
                .map(|line| line.len()),
            Some(LONGEST_STDERR_LINE)
        );
        assert_eq!(
            read_cut_line(&mut input, &mut Vec::new()).await.as_deref(),
            Some("next")
        );
        assert_eq!(read_cut_line(&mut input, &mut Vec::new()).await, None);
    }
}
