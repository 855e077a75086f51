//! Whether the client is still there while it waits for an answer.

use pingora::ErrorType;
use pingora::protocols::http::ServerSession;

use super::proxy_error::ProxyError;

/// Notices that a client closes its connection while it waits.
#[derive(Default)]
pub(super) struct ClientWatch {
    blind: bool,
}

impl ClientWatch {
    /// Ends when the client is gone. Safe to drop and call again.
    pub(super) async fn gone(&mut self, session: &mut ServerSession) {
        if self.blind {
            return std::future::pending().await;
        }
        let read = session.read_body_or_idle(true).await;
        if let Err(error) = &read
            && *error.etype() == ErrorType::ConnectError
        {
            // The next request came before this answer: its first byte is taken, so it can't be
            // answered on this connection, but this one can.
            self.blind = true;
            session.set_keepalive(None);
            std::future::pending().await
        }
    }
}

/// The client closed its connection.
pub(super) fn gone() -> ProxyError {
    ProxyError::Broken(pingora::Error::explain(
        ErrorType::ConnectionClosed,
        "the client is gone",
    ))
}
