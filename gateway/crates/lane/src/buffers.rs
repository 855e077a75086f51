//! Buffers that are borrowed while bytes flow. An idle connection holds none.

use bytes::BytesMut;
use parking_lot::Mutex;

/// How large a buffer is, and how much is read at once.
pub(crate) const SIZE: usize = 16 * 1024;

/// Unused buffers, up to a number.
#[derive(Debug)]
pub(crate) struct Buffers {
    unused: Mutex<Vec<BytesMut>>,
    most: usize,
}

impl Buffers {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            unused: Mutex::new(Vec::with_capacity(most)),
            most,
        }
    }

    /// An empty buffer.
    pub(crate) fn take(&self) -> BytesMut {
        let unused = self.unused.lock().pop();
        unused.unwrap_or_else(|| BytesMut::with_capacity(SIZE))
    }

    /// Takes a buffer back, unless it grew or somebody still refers to what was in it.
    pub(crate) fn give(&self, mut buffer: BytesMut) {
        buffer.clear();
        if buffer.capacity() <= SIZE && buffer.try_reclaim(SIZE) && buffer.capacity() == SIZE {
            let mut unused = self.unused.lock();
            if unused.len() < self.most {
                unused.push(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_unless_it_is_referred_to_or_grew() {
        let buffers = Buffers::new(2);
        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"abc");
        let referred = buffer.split_to(2).freeze();
        buffers.give(buffer);
        assert_eq!(buffers.unused.lock().len(), 0);
        drop(referred);

        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"abc");
        drop(buffer.split_to(2).freeze());
        buffers.give(buffer);
        assert_eq!(buffers.unused.lock().len(), 1);
        assert!(buffers.take().is_empty());

        let mut large = buffers.take();
        large.reserve(SIZE * 4);
        buffers.give(large);
        assert_eq!(buffers.unused.lock().len(), 0);

        for buffer in [buffers.take(), buffers.take(), buffers.take()] {
            buffers.give(buffer);
        }
        assert_eq!(buffers.unused.lock().len(), 2);
    }
}
