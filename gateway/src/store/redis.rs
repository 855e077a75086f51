//! Not written yet.

use tokio::runtime::Handle;

use crate::store::{Memory, OpenError, RedisUrl};

/// Not written yet.
#[derive(Debug)]
pub struct Redis;

impl Redis {
    /// Not written yet.
    pub fn open(_: &RedisUrl, _: Handle) -> Result<Memory, OpenError> {
        Err(OpenError::Redis("not in this build yet".to_owned()))
    }
}
