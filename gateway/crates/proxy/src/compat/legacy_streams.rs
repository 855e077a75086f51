//! The streams of HTTP+SSE that are open here, and what is posted for them.

use std::collections::HashMap;
use std::sync::Arc;

use mcp_protocol::Message;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::upstream_client::UpstreamClient;

/// One message that was posted, and who posted it.
pub(super) struct Posted {
    pub(super) upstream: Arc<UpstreamClient>,
    pub(super) message: Message,
}

/// The streams that are open here, by their names.
#[derive(Default)]
pub(super) struct LegacyStreams(pub(super) Mutex<HashMap<String, mpsc::Sender<Posted>>>);

/// Keeps a stream's name for as long as it is open.
pub(super) struct StreamRegistration {
    pub(super) streams: Arc<LegacyStreams>,
    pub(super) name: String,
}

impl Drop for StreamRegistration {
    fn drop(&mut self) {
        self.streams.0.lock().remove(&self.name);
    }
}
