//! A session that a client began before its person had an account at the backend, which then could not be
//! asked: the gateway answered `initialize` itself, and wrote into the session's id what the client said.
//! Once an account is connected, a session with the backend stands behind it, begun with those words, and
//! remade without a word where it is lost.

use std::sync::Arc;

use http::Method;
use mcp_protocol::to_stateless::ClientInitialize;
use mcp_protocol::{Id, Kind, Message, Object};
use pingora::protocols::http::ServerSession;

use super::downstream::{Downstream, always_ok};
use super::gateway_session::own_key;
use super::pending_call::Running;
use super::plan::UpstreamProtocol;
use super::session_state::SessionState;
use super::shared_session::SharedSession;
use super::stateless_client::calling;
use super::translator::Translator;
use super::upstream_client::UpstreamClient;
use super::upstream_session::Wire;
use crate::proxy_error::ProxyError;
use crate::rejection::Rejection;

/// What the client said, said again.
fn initialize(hello: &ClientInitialize) -> Message {
    let mut params = Object::new()
        .with("protocolVersion", &hello.revision)
        .with("capabilities", &hello.capabilities);
    if let Some(info) = &hello.client_info {
        params.set("clientInfo", info);
    }
    Message::request(&Id::text("gateway"), "initialize", &params)
}

impl Translator {
    /// Everything in such a session, once there is an account. With what is asked goes what the backend
    /// is spoken to in.
    pub(super) async fn in_waiting_session(
        &self,
        downstream: &Downstream<'_>,
        session: &mut ServerSession,
        upstream: Arc<UpstreamClient>,
        written: SessionState,
        (protocol, message): (UpstreamProtocol, Option<Message>),
    ) -> Result<(), ProxyError> {
        let wire = match protocol {
            UpstreamProtocol::Sessions => Wire::Streamable,
            UpstreamProtocol::HttpSse => Wire::HttpSse,
            // Each request says again what the session began with: nothing stands behind it.
            UpstreamProtocol::Stateless => {
                return self
                    .in_written_session(downstream, session, upstream, written, message)
                    .await;
            }
        };
        let Some((hello, _)) = &written.agreed else {
            return Err(Rejection::SessionUnknown.into());
        };
        let shared = SharedSession {
            pool: Arc::clone(&self.pool),
            key: own_key(&written, downstream),
            wire,
            initialize: initialize(hello),
            lifetime: downstream.lifetime.clone(),
        };
        match message {
            Some(message) if message.kind() == Kind::Request => {
                let id = message.id();
                let responses = calling(shared, upstream, message, None, Running::default());
                downstream
                    .answer(session, responses, id.as_ref(), always_ok)
                    .await
            }
            // It was said to the backend when its session began.
            Some(message) if message.method() == "notifications/initialized" => {
                downstream.accept(session, 202).await
            }
            message => {
                if session.req_header().method != Method::DELETE {
                    self.opened(downstream, session, &upstream, &shared).await?;
                }
                self.in_held_session(downstream, session, upstream, &written, message)
                    .await
            }
        }
    }

    /// Sees to it that there is a session with the backend.
    async fn opened(
        &self,
        downstream: &Downstream<'_>,
        session: &mut ServerSession,
        upstream: &Arc<UpstreamClient>,
        shared: &SharedSession,
    ) -> Result<(), ProxyError> {
        let opened = downstream
            .while_wanted(session, shared.upstream_session(upstream))
            .await?;
        opened
            .map(drop)
            .map_err(|error| error.rejection(None).into())
    }
}
