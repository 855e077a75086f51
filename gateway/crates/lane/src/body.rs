//! Taking the content out of what a backend sends, by the framing of its answer.

use super::chunked::{Chunked, Decoded};
use super::response::Framing;

impl Framing {
    /// Takes content out of `raw`, which may be moved within it.
    pub(crate) fn decode(&mut self, raw: &mut [u8]) -> Result<Decoded, &'static str> {
        let used = match self {
            Self::Chunked(chunked) => return chunked.decode(raw),
            Self::Empty => 0,
            Self::Length(missing) => {
                let here = (*missing).min(raw.len() as u64);
                *missing -= here;
                // Not more than there are bytes in memory.
                here as usize
            }
            Self::Close => raw.len(),
        };
        if *self == Self::Length(0) {
            *self = Self::Empty;
        }
        Ok(Decoded {
            data: 0..used,
            used,
        })
    }

    /// Whether the body is complete.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Empty | Self::Chunked(Chunked::Done))
    }

    /// The connection has ended.
    pub(crate) fn end(&mut self) -> Result<(), &'static str> {
        match self {
            Self::Close => *self = Self::Empty,
            _ if self.is_done() => {}
            _ => return Err("it ended before its body did"),
        }
        Ok(())
    }
}
