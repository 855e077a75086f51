//! What translations keep.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use quick_cache::sync::Cache;

use super::discover_fallbacks::DiscoverFallbacks;
use super::legacy_streams::LegacyStreams;
use super::param_headers::ParamHeaders;
use super::session_pool::SessionPool;
use super::stateless_upstream::Memory;
use super::suspended_calls::SuspendedCalls;

/// How many sessions in front of stateless backends are remembered beyond their ids.
const MEMORIES: usize = 8192;

/// What translations keep. All of it is bounded, and all of it may be lost.
pub(crate) struct Translator {
    pub(super) discover_fallbacks: DiscoverFallbacks,
    pub(super) pool: Arc<SessionPool>,
    pub(super) legacy_streams: Arc<LegacyStreams>,
    pub(super) memories: Cache<String, Arc<Memory>>,
    pub(super) suspended_calls: Arc<SuspendedCalls>,
    pub(super) param_headers: Arc<ParamHeaders>,
    /// The next id of a request over a shared session.
    pub(super) requests: AtomicU64,
}

impl Default for Translator {
    fn default() -> Self {
        Self {
            discover_fallbacks: DiscoverFallbacks::default(),
            pool: Arc::default(),
            legacy_streams: Arc::default(),
            memories: Cache::new(MEMORIES),
            suspended_calls: Arc::default(),
            param_headers: Arc::default(),
            requests: AtomicU64::new(1),
        }
    }
}
