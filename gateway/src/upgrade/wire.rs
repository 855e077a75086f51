//! Lines of JSON over a Unix socket, with files beside them (SCM_RIGHTS, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::process_file::ProcessFile;

/// More files than a message may have (SCM_MAX_FD is 253).
const MOST_FILES: usize = 250;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// One end of a conversation.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    unread: Vec<u8>,
    files: Vec<OwnedFd>,
    longest: usize,
}

impl Wire {
    /// On this stream, with no line longer than `longest`.
    pub(super) const fn new(stream: UnixStream, longest: usize) -> Self {
        Self {
            stream,
            unread: Vec::new(),
            files: Vec::new(),
            longest,
        }
    }

    /// Whether the other end is the user that this process runs as, or root.
    pub(super) fn is_ours(&self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        let peer = self.stream.peer_cred().map(|peer| peer.uid());
        peer.is_ok_and(|peer| peer == own || peer == 0)
    }

    /// Whether it is the user that this process runs as, and nobody else: whoever takes over goes on as
    /// that user.
    pub(super) fn is_same_user(&self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        self.stream.peer_cred().is_ok_and(|peer| peer.uid() == own)
    }

    /// The process at the other end, as far as it can be seen from here.
    pub(super) fn process(&self) -> Option<ProcessFile> {
        let id = self.stream.peer_cred().ok()?.pid()?;
        ProcessFile::open(u32::try_from(id).ok()?).ok()
    }

    /// Whether the other end may still say something.
    pub(super) fn is_open(&self) -> bool {
        let mut byte = [0];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recv(&self.stream, &mut byte, flags) {
            Ok((read, _)) => read > 0,
            Err(error) => error == Errno::AGAIN,
        }
    }

    /// Waits until it says nothing more, for so long.
    pub(super) async fn closes_within(&mut self, patience: Duration) -> bool {
        let closed = async {
            loop {
                if let Err(error) = self.line().await {
                    return error.kind() == io::ErrorKind::UnexpectedEof
                        || error.kind() == io::ErrorKind::ConnectionReset;
                }
            }
        };
        timeout(patience, closed).await.unwrap_or(false)
    }

    pub(super) async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.send_with(message, &[]).await
    }

    /// A line, and files with its first byte.
    pub(super) async fn send_with(
        &mut self,
        message: &impl Serialize,
        files: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.send_bytes(&line, files).await
    }

    /// A line that is one already.
    pub(super) async fn send_bytes(
        &mut self,
        line: &[u8],
        files: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        if files.len() > MOST_FILES {
            return Err(io::Error::other("too many files for one message"));
        }
        let mut sent = 0;
        if !files.is_empty() {
            let send = || {
                let space = rustix::cmsg_space!(ScmRights(files.len()));
                let mut space = vec![MaybeUninit::uninit(); space];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !control.push(SendAncillaryMessage::ScmRights(files)) {
                    return Err(io::Error::other("too many files for one message"));
                }
                let bytes = [IoSlice::new(line)];
                Ok(sendmsg(
                    &self.stream,
                    &bytes,
                    &mut control,
                    SendFlags::NOSIGNAL,
                )?)
            };
            sent = self.stream.async_io(Interest::WRITABLE, send).await?;
        }
        self.stream.write_all(&line[sent..]).await
    }

    /// The next line, within `patience`.
    pub(super) async fn receive<T: DeserializeOwned>(
        &mut self,
        patience: Duration,
    ) -> io::Result<T> {
        let line = timeout(patience, self.line()).await;
        let line = line.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(serde_json::from_slice(&line)?)
    }

    /// The files that came so far, in order.
    pub(super) fn take_files(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.files)
    }

    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let rest = self.unread.split_off(end + 1);
                return Ok(std::mem::replace(&mut self.unread, rest));
            }
            if self.unread.len() > self.longest {
                return Err(io::Error::other("a line that is too long"));
            }
            let mut chunk = vec![0; CHUNK];
            let stream = &self.stream;
            let receive = || receive(stream, &mut chunk);
            let (read, files) = stream.async_io(Interest::READABLE, receive).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.extend_from_slice(&chunk[..read]);
            self.files.extend(files);
        }
    }
}

fn receive(stream: &UnixStream, chunk: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let space = rustix::cmsg_space!(ScmRights(MOST_FILES));
    let mut space = vec![MaybeUninit::uninit(); space];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [IoSliceMut::new(chunk)];
    let read = recvmsg(stream, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            files.extend(received);
        }
    }
    Ok((read.bytes, files))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;

    use super::*;

    #[tokio::test]
    async fn files_go_with_their_line() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Wire::new(one, 1 << 20), Wire::new(other, 1 << 20));
        assert!(one.is_ours() && one.is_same_user() && one.is_open());
        let (mut reads, writes) = std::io::pipe().unwrap();
        let long = "x".repeat(300_000);
        let files = [writes.as_fd()];
        let (sent, received) = tokio::join!(
            one.send_with(&long, &files),
            other.receive::<String>(Duration::from_secs(10))
        );
        sent.unwrap();
        assert_eq!(received.unwrap(), long);
        drop(writes);
        let mut files = other.take_files();
        assert_eq!(files.len(), 1);
        let mut pipe = std::fs::File::from(files.remove(0));
        pipe.write_all(b"through another process").unwrap();
        drop(pipe);
        let mut text = String::new();
        reads.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through another process");
        assert!(one.is_open());
        drop(other);
        assert!(!one.is_open());
        assert!(one.closes_within(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn a_line_has_an_end_and_a_bound() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Wire::new(one, 1 << 20), Wire::new(other, 1_000));
        let sending = tokio::spawn(async move {
            let _ = one.send_bytes(&[b'x'; 200_000], &[]).await;
            one
        });
        let patience = Duration::from_secs(10);
        let received = other.receive::<String>(patience).await;
        assert!(received.unwrap_err().to_string().contains("too long"));
        drop(other);
        drop(sending.await.unwrap());
    }
}
