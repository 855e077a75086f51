//! Another process of this machine that has the store and the audit log open: the gateway that took over
//! from this one. What is left to do here is done there, over a Unix socket.
//!
//! Owns: the questions that one process asks the other ([`Question`]), how they are asked
//! ([`Neighbour`]) and answered ([`answer`]). Not: who takes over from whom, and where the socket is.
//!
//! A question is a line of JSON, and so is its answer; each has a connection of its own. What was asked
//! and not answered is never asked again: it may have happened.

mod operation;
mod remote;

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

pub use self::operation::Operation;
pub(crate) use self::remote::Remote;

use self::operation::{Reply, perform};
use crate::error::StoreError;
use crate::journal::{Journal, LogName};
use crate::store::Store;
use gateway_core::audit::EncodedRecord;

/// How long somebody may be missing at the other end: it is just being handed over once more, or
/// started again.
const MISSING: Duration = Duration::from_secs(5);

/// Between two looks whether somebody is there.
const PAUSE: Duration = Duration::from_millis(20);

/// For an answer. The other end may have to wait for a disk, or for a third process that takes over.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest question and the longest answer.
pub const LONGEST: u64 = 64 * 1024 * 1024;

/// What one process asks of the other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Something of the store.
    Store(Operation),
    /// That records be entered in the audit log.
    Audit(AuditBatch),
}

/// Records for the audit log.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditBatch {
    /// For which of the two logs.
    pub log: LogName,
    /// Whether the answer waits until they are durable.
    pub durable: bool,
    /// The members of each, as they are written.
    pub records: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entered {
    entered: bool,
}

/// Where the other process listens.
#[derive(Clone, Debug)]
pub struct Neighbour(Arc<Path>);

impl Neighbour {
    /// The one that listens at this socket.
    pub fn at(socket: PathBuf) -> Self {
        Self(socket.into())
    }

    /// Asks the store there.
    async fn perform(&self, operation: Operation) -> Result<Reply, StoreError> {
        let question = line(&Question::Store(operation));
        let asking = async {
            let begun = Instant::now();
            let mut stream = loop {
                match tokio::net::UnixStream::connect(&self.0).await {
                    Err(error) if is_missing(&error) && begun.elapsed() < MISSING => {
                        tokio::time::sleep(PAUSE).await;
                    }
                    connected => break connected?,
                }
            };
            stream.write_all(&question).await?;
            let mut answer = Vec::new();
            let mut reader = tokio::io::BufReader::new(stream.take(LONGEST));
            reader.read_until(b'\n', &mut answer).await?;
            io::Result::Ok(answer)
        };
        let away = |why: String| StoreError::Away(format!("the gateway that took over: {why}"));
        let answer = tokio::time::timeout(PATIENCE, asking)
            .await
            .map_err(|_| away("no answer in time".to_owned()))?
            .map_err(|error| away(error.to_string()))?;
        let read: Result<Result<Reply, StoreError>, _> = serde_json::from_slice(&answer);
        read.map_err(|error| away(format!("an answer that can't be read: {error}")))?
    }

    /// Has records entered in the audit log there. Blocks.
    pub(crate) fn enter(
        &self,
        log: LogName,
        records: &[EncodedRecord],
        durable: bool,
    ) -> io::Result<()> {
        let texts = records
            .iter()
            .map(|record| String::from_utf8(record.members().to_vec()).map_err(io::Error::other));
        let batch = AuditBatch {
            log,
            durable,
            records: texts.collect::<io::Result<_>>()?,
        };
        let begun = Instant::now();
        let mut stream = loop {
            match connect(&self.0) {
                Err(error) if is_missing(&error) && begun.elapsed() < MISSING => {
                    std::thread::sleep(PAUSE);
                }
                connected => break connected?,
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&line(&Question::Audit(batch)))?;
        let mut answer = Vec::new();
        BufReader::new(stream.take(LONGEST)).read_until(b'\n', &mut answer)?;
        match serde_json::from_slice(&answer)? {
            Entered { entered: true } => Ok(()),
            Entered { entered: false } => Err(io::Error::other(
                "the gateway that took over can't write the audit log",
            )),
        }
    }
}

/// Connects, or says at once that nobody can be reached: a plain connect(2) waits for ever where so many wait
/// already that no more may, and the process that should take them has stopped.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Whether nobody is there at this moment.
fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
    matches!(error.kind(), ConnectionRefused | NotFound | WouldBlock)
}

/// Answers a question from what this process has open: the line to send back.
pub async fn answer(question: Question, store: &dyn Store, journal: &Journal) -> Vec<u8> {
    match question {
        Question::Store(operation) => line(&perform(store, operation).await),
        Question::Audit(batch) => {
            let read = batch.records.into_iter().map(EncodedRecord::received);
            let entered = match read.collect::<Option<Vec<_>>>() {
                Some(records) => journal
                    .enter(batch.log, records, batch.durable)
                    .await
                    .is_ok(),
                None => false,
            };
            line(&Entered { entered })
        }
    }
}

fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("texts, numbers and lists of them");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_neighbour_that_takes_no_connections_is_given_up() {
        let folder = std::env::temp_dir().join(format!("gateway-neighbour-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        // As many wait as may.
        let mut waiting = Vec::new();
        while let Ok(stream) = connect(&path) {
            waiting.push(stream);
        }
        let (tell, told) = std::sync::mpsc::channel();
        let neighbour = Neighbour::at(path);
        std::thread::spawn(move || tell.send(neighbour.enter(LogName::Calls, &[], false)));
        let entered = told.recv_timeout(MISSING * 4);
        assert!(entered.expect("it waits for ever").is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
