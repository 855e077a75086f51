//! A connection on its way to the other road, with what was read of it, which is to be read first there.

use bytes::Bytes;

/// A connection whose next request is not for this lane.
#[derive(Debug)]
pub struct Handover<IO> {
    /// The connection itself.
    pub io: IO,
    /// What was read from it and not answered: from the first byte of a request.
    pub bytes: Bytes,
    /// Whether no request of it was answered here.
    pub is_first: bool,
}
