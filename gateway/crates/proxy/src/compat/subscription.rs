//! `subscriptions/listen` of a stateless client: what a backend with sessions says unasked, as far
//! as the client wants it. Resources are never unsubscribed from, because the session is shared by
//! whatever else the client listens to; what nobody wants goes no further than here. The streams over one
//! session hold no more of them at once than any session may have.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mcp_protocol::to_stateful::{self, Caller, Filter, Passing};
use mcp_protocol::{Id, Kind, Message, Object, RpcError, meta};
use pingora::protocols::http::ServerSession;

use super::downstream::Downstream;
use super::response_stream::ResponseStream;
use super::stateless_client::server_of;
use super::translator::Translator;
use super::upstream_client::UpstreamClient;
use super::upstream_session::{UpstreamSession, called};
use crate::proxy_error::ProxyError;
use crate::rejection::Rejection;

impl Translator {
    /// Opens the stream and serves it until somebody ends it.
    pub(super) async fn subscribe(
        &self,
        downstream: &Downstream<'_>,
        session: &mut ServerSession,
        upstream: Arc<UpstreamClient>,
        upstream_session: Arc<UpstreamSession>,
        message: &Message,
    ) -> Result<(), ProxyError> {
        let server = server_of(&upstream_session).ok_or(Rejection::UpstreamUnusable)?;
        let id = message.id().unwrap_or_else(|| Id::number(0));
        let asked =
            Filter::from_message(message).map(|filter| filter.granted(&server.capabilities));
        let accepted = asked.and_then(|granted| {
            let held = HeldSubscriptions::new(&upstream_session, &granted.updates)?;
            Ok((granted, held))
        });
        let (granted, held) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let (status, refusal) = (error.status(false), Message::error(Some(&id), &error));
                return downstream.respond(session, &refusal, status, None).await;
            }
        };
        let acknowledged = to_stateful::acknowledged(&id, &granted);
        let ended = to_stateful::ended(&id);
        let count = held.uris.len() as u64;
        let first = self.requests.fetch_add(count, Ordering::Relaxed);
        let responses = ResponseStream::spawn(move |out| async move {
            if out.send(acknowledged).await.is_err() {
                return;
            }
            let mut heard = ResponseStream::spawn({
                let upstream_session = Arc::clone(&upstream_session);
                let upstream = Arc::clone(&upstream);
                move |out| async move {
                    upstream_session.listen(&upstream, out.clone());
                    out.closed().await;
                }
            });
            for (number, uri) in (first..).zip(&held.uris) {
                let params = Object::new().with("uri", uri);
                let request = Message::request(&Id::number(number), "resources/subscribe", &params);
                let mut answered = called(&upstream_session, &upstream, request);
                while answered.messages.recv().await.is_some() {}
            }
            let mut over = upstream_session.end_signal();
            loop {
                let message = tokio::select! {
                    message = heard.messages.recv() => message,
                    _ = over.wait_for(|over| *over) => None,
                    () = out.closed() => return,
                };
                let Some(message) = message else { break };
                if message.kind() == Kind::Request {
                    // A subscription carries no questions.
                    if let Passing::Answered(answer) = refuse(message) {
                        let _ = upstream_session.notify(&upstream, &answer).await;
                    }
                } else if granted.takes(&message)
                    && out
                        .send(to_stateful::subscribed(message, &id))
                        .await
                        .is_err()
                {
                    return;
                }
            }
            let _ = out.send(to_stateful::ended(&id)).await;
        });
        downstream
            .stream(session, responses, None, Some(&ended))
            .await
    }
}

/// The resources that one stream holds, for as long as it is open.
struct HeldSubscriptions {
    upstream_session: Arc<UpstreamSession>,
    uris: Vec<String>,
}

impl HeldSubscriptions {
    fn new(upstream_session: &Arc<UpstreamSession>, uris: &[String]) -> Result<Self, RpcError> {
        upstream_session.subscriptions.lock().hold(uris)?;
        Ok(Self {
            upstream_session: Arc::clone(upstream_session),
            uris: uris.to_vec(),
        })
    }
}

impl Drop for HeldSubscriptions {
    fn drop(&mut self) {
        let mut subscriptions = self.upstream_session.subscriptions.lock();
        subscriptions.release(&self.uris);
    }
}

/// A question that belongs to no call.
fn refuse(message: Message) -> Passing {
    let nobody = Object::new().with(
        "_meta",
        &Object::new()
            .with(meta::VERSION, mcp_protocol::STATELESS)
            .with(meta::CLIENT_CAPABILITIES, &Object::new()),
    );
    match Caller::from_message(&Message::request(&Id::number(0), "", &nobody)) {
        Ok(nobody) => to_stateful::pass(message, "", &nobody),
        Err(_) => Passing::Dropped,
    }
}
