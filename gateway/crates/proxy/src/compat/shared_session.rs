//! The session that the gateway holds for all that a stateless client says under one name.

use std::sync::Arc;

use mcp_protocol::{Message, to_stateful};

use super::session_error::SessionError;
use super::session_pool::{Key, SessionPool};
use super::upstream_client::UpstreamClient;
use super::upstream_session::{UpstreamSession, Wire};
use crate::lifetime::StreamLifetime;

/// The session that stands behind what a client says who has not begun it with the backend.
#[derive(Clone)]
pub(super) struct SharedSession {
    pub(super) pool: Arc<SessionPool>,
    pub(super) key: Key,
    pub(super) wire: Wire,
    /// What it is begun with.
    pub(super) initialize: Message,
    pub(super) lifetime: StreamLifetime,
}

impl SharedSession {
    /// The session, opened if there is none.
    pub(super) async fn upstream_session(
        &self,
        upstream: &Arc<UpstreamClient>,
    ) -> Result<Arc<UpstreamSession>, SessionError> {
        if let Some(upstream_session) = self.pool.find(&self.key, &self.lifetime) {
            return Ok(upstream_session);
        }
        let _turn = self.pool.turn(&self.key).await;
        if let Some(upstream_session) = self.pool.find(&self.key, &self.lifetime) {
            return Ok(upstream_session);
        }
        let initialize = self.initialize.clone();
        let upstream_session =
            UpstreamSession::open(Arc::clone(upstream), self.wire, initialize).await?;
        if let Some(error) = upstream_session.hello.failure() {
            return Err(SessionError::Declined(error));
        }
        upstream_session
            .notify(upstream, &to_stateful::initialized())
            .await?;
        self.pool.keep(
            self.key.clone(),
            Arc::clone(&upstream_session),
            &self.lifetime,
        );
        Ok(upstream_session)
    }

    /// Forgets a session that the backend has forgotten.
    pub(super) fn lost(&self, upstream_session: &Arc<UpstreamSession>) {
        self.pool.end_this(&self.key, upstream_session);
    }
}
