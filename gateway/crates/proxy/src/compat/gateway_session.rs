//! A client of Streamable HTTP with sessions, in front of a backend that has none of that kind. In
//! front of a stateless backend the session's id says all that was agreed on, so that nothing need
//! be kept: replicas agree on it, and a restart does not end it. In front of HTTP+SSE it names a
//! session that the gateway holds.

use std::convert::Infallible;
use std::sync::Arc;

use http::Method;
use mcp_protocol::to_stateless::{self, ClientInitialize};
use mcp_protocol::{Kind, Message, Object};
use pingora::protocols::http::ServerSession;

use super::downstream::{Downstream, always_ok};
use super::response_stream::ResponseStream;
use super::session_error::SessionError;
use super::session_pool::{Key, Owner};
use super::session_state::{LONGEST, SessionState};
use super::stateless_upstream::{self, Memory, StatelessUpstream};
use super::translator::Translator;
use super::upstream_client::UpstreamClient;
use super::upstream_session::{UpstreamSession, Wire, called};
use crate::proxy_error::ProxyError;
use crate::rejection::Rejection;

/// What of a server's capabilities says whether it ever speaks unasked.
fn telling(capabilities: &Object) -> Object {
    let mut telling = Object::new();
    for feature in ["tools", "prompts", "resources"] {
        let mut flags = Object::new();
        for flag in ["listChanged", "subscribe"] {
            let is_set = capabilities
                .object(feature)
                .and_then(|feature| feature.read(flag));
            if is_set == Some(true) {
                flags.set(flag, &true);
            }
        }
        if !flags.is_empty() {
            telling.set(feature, &flags);
        }
    }
    telling
}

impl Translator {
    /// `initialize`, for a stateless backend.
    pub(super) async fn begin_stateless(
        &self,
        downstream: &Downstream<'_>,
        session: &mut ServerSession,
        upstream: Arc<UpstreamClient>,
        message: &Message,
    ) -> Result<(), ProxyError> {
        let id = message.id();
        let hello = ClientInitialize::from_message(message);
        let shaking = stateless_upstream::handshake(&upstream, &hello);
        let discovered = downstream
            .while_wanted_or_refused(session, id.as_ref(), shaking)
            .await?;
        let id = id.unwrap_or_else(|| mcp_protocol::Id::number(0));
        let Some(result) = discovered.outcome() else {
            downstream.mounted.protocols.invalidate();
            let refusal = discovered.with_id(&id);
            return downstream.respond(session, &refusal, 200, None).await;
        };
        let capabilities = result.object("capabilities").unwrap_or_default();
        let agreed = (hello.clone(), telling(&capabilities));
        let text = SessionState::new(Some(agreed)).text();
        if text.len() > LONGEST {
            let what = "what the client can do takes more room than a session id has";
            return Err(Rejection::BadMessage(what.to_owned()).into());
        }
        let own = self.bind_session(&text, downstream);
        let answer = Message::result(&id, &to_stateless::initialized(&result, &hello));
        downstream.respond(session, &answer, 200, Some(&own)).await
    }

    /// `initialize`, for a backend of HTTP+SSE.
    pub(super) async fn begin_over_stream(
        &self,
        downstream: &Downstream<'_>,
        session: &mut ServerSession,
        upstream: Arc<UpstreamClient>,
        message: Message,
    ) -> Result<(), ProxyError> {
        let id = message.id();
        let opened = UpstreamSession::open(upstream, Wire::HttpSse, message);
        let upstream_session = downstream
            .while_wanted_or_refused(session, id.as_ref(), opened)
            .await?;
        let hello = upstream_session.hello.clone();
        if hello.is_error() {
            return downstream.respond(session, &hello, 200, None).await;
        }
        let written = SessionState::new(None);
        self.pool.keep(
            own_key(&written, downstream),
            upstream_session,
            &downstream.lifetime,
        );
        let own = self.bind_session(&written.text(), downstream);
        downstream.respond(session, &hello, 200, Some(&own)).await
    }

    /// Everything in a session of the gateway's own.
    pub(super) async fn in_gateway_session(
        &self,
        downstream: &Downstream<'_>,
        session: &mut ServerSession,
        upstream: Arc<UpstreamClient>,
        written: SessionState,
        message: Option<Message>,
    ) -> Result<(), ProxyError> {
        if session.req_header().method == Method::HEAD {
            return Err(Rejection::Method("GET, POST, DELETE, OPTIONS").into());
        }
        if written.agreed.is_some() {
            return self
                .in_written_session(downstream, session, upstream, written, message)
                .await;
        }
        self.in_held_session(downstream, session, upstream, &written, message)
            .await
    }

    /// Everything in a session that its id says all of, in front of a stateless backend.
    pub(super) async fn in_written_session(
        &self,
        downstream: &Downstream<'_>,
        session: &mut ServerSession,
        upstream: Arc<UpstreamClient>,
        written: SessionState,
        message: Option<Message>,
    ) -> Result<(), ProxyError> {
        let Some((hello, capabilities)) = written.agreed else {
            return Err(Rejection::SessionUnknown.into());
        };
        if session.req_header().method == Method::DELETE {
            self.memories.remove(&written.nonce);
            return downstream.accept(session, 200).await;
        }
        let kept = self.kept(&written.nonce, hello, capabilities);
        let Some(message) = message else {
            if !kept.may_be_told() {
                return Err(Rejection::Method("POST, DELETE, OPTIONS").into());
            }
            let heard = kept.listen(upstream);
            return downstream.stream(session, heard, None, None).await;
        };
        let id = message.id();
        match kept.take(upstream, message) {
            Some(responses) => {
                downstream
                    .answer(session, responses, id.as_ref(), always_ok)
                    .await
            }
            None => downstream.accept(session, 202).await,
        }
    }

    /// Everything in a session that the gateway holds, in front of HTTP+SSE.
    pub(super) async fn in_held_session(
        &self,
        downstream: &Downstream<'_>,
        session: &mut ServerSession,
        upstream: Arc<UpstreamClient>,
        written: &SessionState,
        message: Option<Message>,
    ) -> Result<(), ProxyError> {
        let key = own_key(written, downstream);
        if session.req_header().method == Method::DELETE {
            return if self.pool.end(&key) {
                downstream.accept(session, 200).await
            } else {
                Err(Rejection::SessionUnknown.into())
            };
        }
        // Its stream is gone: the backend ended it, nobody used it, or this gateway was restarted. The
        // client begins anew.
        let upstream_session = self
            .pool
            .find(&key, &downstream.lifetime)
            .ok_or(Rejection::SessionUnknown)?;
        match message {
            Some(message) if message.kind() == Kind::Request => {
                let id = message.id();
                let responses = called(&upstream_session, &upstream, message);
                downstream
                    .answer(session, responses, id.as_ref(), always_ok)
                    .await
            }
            Some(message) => {
                let told = downstream
                    .while_wanted(session, upstream_session.notify(&upstream, &message))
                    .await?;
                match told {
                    Ok(()) => downstream.accept(session, 202).await,
                    Err(SessionError::Lost) => {
                        self.pool.end_this(&key, &upstream_session);
                        Err(Rejection::SessionUnknown.into())
                    }
                    Err(error) => Err(error.rejection(None).into()),
                }
            }
            None => {
                let responses = ResponseStream::spawn(|out| async move {
                    let mut over = upstream_session.end_signal();
                    upstream_session.listen(&upstream, out.clone());
                    tokio::select! {
                        () = out.closed() => {}
                        _ = over.wait_for(|over| *over) => {}
                    }
                });
                downstream.stream(session, responses, None, None).await
            }
        }
    }

    fn bind_session(&self, text: &str, downstream: &Downstream<'_>) -> String {
        let sessions = &downstream.state.sessions;
        sessions.bind_own(text, downstream.holder())
    }

    fn kept(
        &self,
        nonce: &str,
        hello: ClientInitialize,
        capabilities: Object,
    ) -> Arc<StatelessUpstream> {
        let fresh = || Ok::<_, Infallible>(Arc::<Memory>::default());
        let memory = self.memories.get_or_insert_with(nonce, fresh);
        Arc::new(StatelessUpstream {
            hello,
            capabilities,
            memory: memory.unwrap_or_default(),
            param_headers: Arc::clone(&self.param_headers),
        })
    }
}

pub(super) fn own_key(written: &SessionState, downstream: &Downstream<'_>) -> Key {
    Key {
        owner: Owner::new(downstream.holder()),
        name: written.nonce.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_says_what_was_agreed_on() {
        let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"roots":{}},"clientInfo":{"name":"a","version":"1"}}}"#;
        let capabilities = Object::parse(
            r#"{"tools":{"listChanged":true},"resources":{"subscribe":false},"logging":{}}"#,
        )
        .unwrap();
        let written = SessionState {
            nonce: "n".to_owned(),
            agreed: Some((
                ClientInitialize::from_message(&Message::parse(initialize).unwrap()),
                telling(&capabilities),
            )),
        };
        let text = written.text();
        assert!(text.bytes().all(|b| b.is_ascii_graphic()));
        let (hello, capabilities) = SessionState::read(&text).unwrap().agreed.unwrap();
        assert_eq!(hello.revision, "2025-06-18");
        assert_eq!(
            capabilities.to_string(),
            r#"{"tools":{"listChanged":true}}"#
        );
        for forged in ["", "e30", "!", &text[1..]] {
            assert!(SessionState::read(forged).is_none(), "{forged}");
        }
    }
}
