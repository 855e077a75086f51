//! A call of a stateless client on its way.

use std::sync::Arc;

use mcp_protocol::{CallIdentity, Message};
use parking_lot::Mutex;

use super::response_stream::ResponseStream;
use super::shared_session::SharedSession;
use super::upstream_session::UpstreamSession;

/// The session of a call, known from when it was sent.
pub(super) type Running = Arc<Mutex<Option<Arc<UpstreamSession>>>>;

/// A call of a stateless client on its way.
pub(super) struct PendingCall {
    pub(super) responses: ResponseStream,
    /// The session that it runs in, once it does.
    pub(super) upstream_session: Running,
    pub(super) shared: SharedSession,
    pub(super) method: String,
    pub(super) name: Option<String>,
    /// What was judged, where the client may be asked back: a retry must be this again.
    pub(super) identity: Option<CallIdentity>,
}

/// The tool, prompt or resource that a call names.
pub(super) fn named(message: &Message) -> Option<String> {
    let params = message.params();
    params.text("name").or_else(|| params.text("uri"))
}
