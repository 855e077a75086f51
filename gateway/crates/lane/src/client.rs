//! A client's connection and what was read from it.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::buffers::Buffers;
use super::head::{Index, Parsed, Scan};
use super::wire;

/// How much of the next request is read at once.
const AHEAD: usize = 512;

#[derive(Debug)]
pub(crate) struct Client<IO> {
    pub(crate) io: IO,
    buffer: BytesMut,
    /// Whether what the buffer is part of grew beyond the size of a borrowed one.
    is_large: bool,
    scan: Scan,
}

impl<IO> Client<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            is_large: false,
            scan: Scan::default(),
        }
    }

    /// How many bytes wait to be looked at.
    pub(crate) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// Looks for a head at the front of what came.
    pub(crate) fn look(&mut self, most: usize, index: &mut Index) -> Parsed {
        self.scan.look(&self.buffer, most, index)
    }

    /// Takes a whole request from the front of what came.
    pub(crate) fn take(&mut self, length: usize) -> Bytes {
        self.scan = Scan::default();
        self.buffer.split_to(length).freeze()
    }

    /// Everything that came and was not answered, behind `taken`, which was taken before.
    pub(crate) fn put_back(&mut self, taken: &Bytes) -> Bytes {
        let rest = std::mem::take(&mut self.buffer);
        if taken.is_empty() {
            return rest.freeze();
        }
        let mut all = BytesMut::with_capacity(taken.len() + rest.len());
        all.extend_from_slice(taken);
        all.extend_from_slice(&rest);
        all.freeze()
    }

    /// Gives the buffer back, unless something waits in it: that is kept, and no more than it takes
    /// where the buffer grew for a large request.
    pub(crate) fn shrink(&mut self, buffers: &Buffers) {
        if self.buffer.is_empty() {
            buffers.give(std::mem::take(&mut self.buffer));
            self.is_large = false;
        } else {
            self.shed();
        }
    }

    /// Lets go of a buffer that grew for a large request, but for what waits in it.
    pub(crate) fn shed(&mut self) {
        if self.is_large {
            self.buffer = BytesMut::from(&self.buffer[..]);
            self.is_large = false;
        }
    }
}

impl<IO: AsyncRead + Unpin> Client<IO> {
    /// Reads on; nothing at the end. While nothing has come yet no buffer is kept.
    pub(crate) fn poll_fill(
        &mut self,
        missing: usize,
        buffers: &Buffers,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() == 0 {
            self.buffer = buffers.take();
        }
        if self.buffer.capacity() - self.buffer.len() < missing.min(super::buffers::SIZE) {
            self.buffer.reserve(missing.min(super::buffers::SIZE));
        }
        wire::make_room(&mut self.buffer);
        self.is_large |= self.buffer.capacity() > super::buffers::SIZE;
        let polled = wire::poll_read(&mut self.io, &mut self.buffer, context);
        if polled.is_pending() && self.buffer.is_empty() {
            self.shrink(buffers);
        }
        polled
    }

    /// Whether the client is gone. What it sends meanwhile is the beginning of its next request, which
    /// is kept up to `most` bytes; beyond that nothing is read, and nobody knows whether it is there.
    pub(crate) fn poll_gone(&mut self, most: usize, context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; AHEAD];
        loop {
            let room = most.saturating_sub(self.buffer.len()).min(AHEAD);
            if room == 0 {
                return Poll::Pending;
            }
            let mut piece = ReadBuf::new(&mut scratch[..room]);
            match Pin::new(&mut self.io).poll_read(context, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    self.buffer.extend_from_slice(piece.filled());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Waits for `what`, which decides about a request, for as long as its client is there; nothing once it
/// is not.
pub(crate) async fn while_there<IO: AsyncRead + Unpin, T>(
    client: &mut Client<IO>,
    read_ahead: usize,
    what: impl Future<Output = T>,
) -> Option<T> {
    let mut what = pin!(what);
    poll_fn(|context| {
        if let Poll::Ready(done) = what.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        client.poll_gone(read_ahead, context).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::SIZE;

    #[tokio::test]
    async fn what_waits_behind_a_large_request_keeps_no_large_buffer() {
        let buffers = Buffers::new(2);
        for (sent, waiting) in [(60_000, 0), (60_000, 5), (100, 5)] {
            let sent_bytes = vec![b'x'; sent];
            let mut client = Client::new(&sent_bytes[..]);
            while client.waiting() < sent {
                let missing = sent - client.waiting();
                poll_fn(|context| client.poll_fill(missing, &buffers, context))
                    .await
                    .unwrap();
            }
            drop(client.take(sent - waiting));
            client.shrink(&buffers);
            assert_eq!(client.waiting(), waiting);
            // Nothing else refers to what is behind it: all of that could be had again.
            client.buffer.clear();
            let is_large = client.buffer.try_reclaim(SIZE + 1);
            assert!(!is_large, "{sent} {waiting}");
        }
    }
}
