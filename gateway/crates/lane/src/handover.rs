//! A connection on its way to the other road, with what was read of it put back.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose next request is not for this lane.
#[derive(Debug)]
pub struct Handover<IO> {
    /// The connection itself.
    pub io: IO,
    /// What was read from it and not answered: from the first byte of a request.
    pub bytes: Bytes,
    /// Whether it has carried a request before.
    pub is_reused: bool,
}

impl<IO> Handover<IO> {
    /// The connection as if nothing had been read.
    pub fn rewind(self) -> Rewind<IO> {
        Rewind {
            bytes: self.bytes,
            io: self.io,
        }
    }
}

/// A stream that first gives back what was read from it before.
#[derive(Debug)]
pub struct Rewind<IO> {
    bytes: Bytes,
    io: IO,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Rewind<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let here = self.bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.bytes[..here]);
        self.bytes.advance(here);
        if self.bytes.is_empty() {
            self.bytes = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Rewind<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
