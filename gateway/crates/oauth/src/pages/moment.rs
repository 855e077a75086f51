//! A moment, as pages of a person's account say it.

use super::text::ago;
use gateway_core::clock::Timestamp;

/// A moment for people and for programs.
pub(super) struct Moment {
    pub(super) words: String,
    pub(super) exactly: Timestamp,
}

impl Moment {
    pub(super) fn before(at: Timestamp, now: Timestamp) -> Self {
        Self {
            words: ago(now.since(at)),
            exactly: at,
        }
    }
}
