//! Polling streams: reading into a buffer, and writing several pieces at once.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::buffers::SIZE;

/// Reads what is there behind what `buffer` holds.
pub(crate) fn poll_read(
    io: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    // A future without state: what is polled once and dropped loses nothing.
    pin!(io.read_buf(buffer)).poll(context)
}

/// Makes room to read into, without asking for more where the buffer's own will do.
pub(crate) fn make_room(buffer: &mut BytesMut) {
    if buffer.capacity() - buffer.len() < SIZE / 4 {
        let wanted = if buffer.is_empty() { SIZE } else { SIZE / 2 };
        buffer.reserve(wanted);
    }
}

/// Writes pieces one behind the other, and tells when all are written.
pub(crate) struct Writing<'a, const N: usize> {
    slices: [IoSlice<'a>; N],
    written: usize,
    total: usize,
}

impl<'a, const N: usize> Writing<'a, N> {
    pub(crate) fn new(pieces: [&'a [u8]; N]) -> Self {
        Self {
            total: pieces.iter().map(|piece| piece.len()).sum(),
            slices: pieces.map(IoSlice::new),
            written: 0,
        }
    }

    /// How many bytes are not written yet.
    pub(crate) const fn left(&self) -> usize {
        self.total - self.written
    }

    /// Whether any byte is.
    pub(crate) const fn has_begun(&self) -> bool {
        self.written > 0
    }

    pub(crate) fn poll(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.total {
            let mut slices = self.slices;
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, self.written);
            let written = ready!(Pin::new(&mut *io).poll_write_vectored(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        Pin::new(io).poll_flush(context)
    }
}
