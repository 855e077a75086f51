//! Connections to backends: one beside each client's connection, and a few that wait for whoever needs
//! one.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout_at};

use super::buffers::Buffers;
use super::service::Failed;
use super::wire;

/// The pause before a backend that is just starting is tried again.
const COMES_UP_PAUSE: Duration = Duration::from_millis(50);

/// A backend that speaks HTTP/1.1 without TLS, as far as the lane needs to know it.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Connections are shared by those who ask for the same one.
    pub id: u64,
    /// Where it listens, tried in this order.
    pub addresses: Vec<Address>,
    /// For opening a connection.
    pub connect_time: Duration,
    /// For the head of an answer, and for silence within one that is not of events.
    pub response_time: Duration,
    /// Until when a refused connection is tried again, within `connect_time`: it was just started.
    pub comes_up_until: Option<std::time::Instant>,
}

/// Where a backend listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host and port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Who shares connections: those who call a backend and are not kept apart, or are kept apart together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SharedBy {
    pub(crate) backend: u64,
    pub(crate) apart: Option<u64>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection to a backend, with what was read from it and not used yet.
#[derive(Debug)]
pub(crate) struct BackendConnection {
    socket: Socket,
    pub(crate) shared_by: SharedBy,
    pub(crate) buffer: BytesMut,
    /// Whether it has carried a request before.
    pub(crate) is_reused: bool,
    /// When it was opened, or had carried the last one.
    since: Instant,
}

impl BackendConnection {
    /// Opens one to the first address that takes it, within the backend's time for it. Of one that
    /// comes up in vain the last refusal is told.
    pub(crate) async fn open(backend: &Backend, apart: Option<u64>) -> Result<Self, Failed> {
        let deadline = Instant::now() + backend.connect_time;
        let comes_up = backend.comes_up_until.map(Instant::from_std);
        let mut met = Failed::TimedOut("connecting");
        while let Ok(opened) = timeout_at(deadline, open_any(&backend.addresses)).await {
            match opened {
                Ok(socket) => {
                    return Ok(Self {
                        socket,
                        shared_by: SharedBy {
                            backend: backend.id,
                            apart,
                        },
                        buffer: BytesMut::new(),
                        is_reused: false,
                        since: Instant::now(),
                    });
                }
                Err(error) => met = Failed::Unreachable(error.to_string(), error.raw_os_error()),
            }
            let is_starting = comes_up.is_some_and(|until| Instant::now() < until);
            if !is_starting || Instant::now() + COMES_UP_PAUSE >= deadline {
                break;
            }
            sleep(COMES_UP_PAUSE).await;
        }
        Err(met)
    }

    /// Reads on. Nothing at the end.
    pub(crate) fn poll_fill(
        &mut self,
        buffers: &Buffers,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() == 0 {
            self.buffer = buffers.take();
        }
        wire::make_room(&mut self.buffer);
        wire::poll_read(&mut self.socket, &mut self.buffer, context)
    }

    /// Reads on for somebody who may wait for long: no buffer is kept meanwhile but for what was read
    /// and not used.
    pub(crate) fn poll_fill_idle(
        &mut self,
        buffers: &Buffers,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = buffers.take();
        buffer.extend_from_slice(&self.buffer);
        let polled = wire::poll_read(&mut self.socket, &mut buffer, context);
        if matches!(polled, Poll::Ready(Ok(read)) if read > 0) {
            self.buffer = buffer;
        } else {
            buffers.give(buffer);
        }
        polled
    }

    /// Gives the buffer back; what was read and not used is kept in as little as it takes.
    pub(crate) fn shrink(&mut self, buffers: &Buffers) {
        let buffer = std::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            self.buffer = BytesMut::from(&buffer[..]);
        }
        buffers.give(buffer);
    }

    /// Whether an idle connection has ended. One on which something comes unasked is of no more use
    /// either.
    pub(crate) fn poll_dead(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 1];
        let mut scratch = ReadBuf::new(&mut scratch);
        Pin::new(&mut self.socket)
            .poll_read(context, &mut scratch)
            .map(|_| ())
    }

    /// This connection once it has carried a request: idle from now on.
    pub(crate) fn into_idle(mut self, buffers: &Buffers) -> Self {
        self.shrink(buffers);
        self.is_reused = true;
        self.since = Instant::now();
        self
    }

    /// This connection, if it still lives and has not been idle for so long.
    pub(crate) fn alive(mut self, kept_for: Duration) -> Option<Self> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let is_alive = self.since.elapsed() < kept_for && self.poll_dead(&mut context).is_pending();
        is_alive.then_some(self)
    }
}

async fn open_any(addresses: &[Address]) -> io::Result<Socket> {
    let mut met = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        let opened = match address {
            Address::Tcp(address) => TcpStream::connect(address).await.map(|stream| {
                // Without it requests are a little later.
                let _ = stream.set_nodelay(true);
                Socket::Tcp(stream)
            }),
            Address::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
        };
        match opened {
            Ok(socket) => return Ok(socket),
            Err(error) => met = error,
        }
    }
    Err(met)
}

/// Idle connections to backends.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: Mutex<Idle>,
    /// Of all backends together.
    most: usize,
    time: Duration,
}

#[derive(Debug, Default)]
struct Idle {
    /// None of them is empty: who shares connections may be many.
    shared: HashMap<SharedBy, VecDeque<BackendConnection>>,
    count: usize,
}

impl Idle {
    fn pop(&mut self, shared_by: SharedBy, end: End) -> Option<BackendConnection> {
        let connections = self.shared.get_mut(&shared_by)?;
        let connection = match end {
            End::Latest => connections.pop_back(),
            End::Oldest => connections.pop_front(),
        };
        if connections.is_empty() {
            self.shared.remove(&shared_by);
        }
        self.count -= usize::from(connection.is_some());
        connection
    }
}

/// Which of several.
#[derive(Clone, Copy)]
enum End {
    Latest,
    Oldest,
}

impl Pool {
    pub(crate) fn new(most: usize, time: Duration) -> Self {
        Self {
            idle: Mutex::default(),
            most,
            time,
        }
    }

    /// The one that was used last, if it still lives.
    pub(crate) fn take(&self, shared_by: SharedBy) -> Option<BackendConnection> {
        loop {
            let connection = self.idle.lock().pop(shared_by, End::Latest)?;
            if let Some(connection) = connection.alive(self.time) {
                return Some(connection);
            }
        }
    }

    /// Keeps an idle connection. Where too many are kept it takes the place of one that the same share,
    /// or is closed.
    pub(crate) fn give(&self, connection: BackendConnection) {
        let mut idle = self.idle.lock();
        let shared_by = connection.shared_by;
        if idle.count < self.most || idle.pop(shared_by, End::Oldest).is_some() {
            idle.shared
                .entry(shared_by)
                .or_default()
                .push_back(connection);
            idle.count += 1;
        }
    }

    /// Closes what was idle for too long.
    pub(crate) fn sweep(&self) {
        let mut idle = self.idle.lock();
        let mut count = 0;
        idle.shared.retain(|_, connections| {
            connections.retain(|connection| connection.since.elapsed() < self.time);
            count += connections.len();
            !connections.is_empty()
        });
        idle.count = count;
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl BackendConnection {
    /// Writes a request; see [`wire::Writing`].
    pub(crate) fn poll_write<const N: usize>(
        &mut self,
        writing: &mut wire::Writing<'_, N>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        writing.poll(&mut self.socket, context)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(backend: u64, apart: Option<u64>) -> SharedBy {
        SharedBy { backend, apart }
    }

    fn idle(shared_by: SharedBy) -> (BackendConnection, UnixStream) {
        let (socket, other) = UnixStream::pair().unwrap();
        let connection = BackendConnection {
            socket: Socket::Unix(socket),
            shared_by,
            buffer: BytesMut::new(),
            is_reused: true,
            since: Instant::now(),
        };
        (connection, other)
    }

    #[tokio::test]
    async fn no_more_are_kept_than_there_is_room_for_in_all() {
        let pool = Pool::new(2, Duration::from_secs(60));
        let given = [1, 2, 3, 2].map(|backend| idle(of(backend, None)));
        let (connections, _backends): (Vec<_>, Vec<_>) = given.into_iter().unzip();
        for connection in connections {
            pool.give(connection);
        }
        let kept = [1, 2, 2, 3].map(|backend| pool.take(of(backend, None)).is_some());
        assert_eq!(kept, [true, true, false, false]);
        assert!(pool.idle.lock().shared.is_empty());
        assert_eq!(pool.idle.lock().count, 0);
    }

    #[tokio::test]
    async fn who_is_kept_apart_gets_a_connection_of_nobody_else() {
        let pool = Pool::new(8, Duration::from_secs(60));
        let (alice, bob, all) = (of(1, Some(1)), of(1, Some(2)), of(1, None));
        let (connection, _backend) = idle(alice);
        pool.give(connection);
        assert!(pool.take(bob).is_none());
        assert!(pool.take(all).is_none());
        assert!(pool.take(of(2, Some(1))).is_none());
        assert!(pool.take(alice).is_some());
        let (connection, _backend) = idle(all);
        pool.give(connection);
        assert!(pool.take(alice).is_none());
        pool.sweep();
        assert_eq!(pool.idle.lock().count, 1);
        assert!(pool.take(all).is_some());
    }
}
