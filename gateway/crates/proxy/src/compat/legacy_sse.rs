//! A client of HTTP+SSE (2024-11-05) in front of a backend that has none of it: the gateway holds
//! the stream, takes the messages that are posted for it, and answers them over the stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp_protocol::to_stateless::{self, ClientInitialize};
use mcp_protocol::{Id, Kind, Message};
use pingora::protocols::http::ServerSession;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::downstream::Downstream;
use super::legacy_streams::{Posted, StreamRegistration};
use super::param_headers::ParamHeaders;
use super::plan::UpstreamProtocol;
use super::response_stream::{MessageSender, ResponseStream};
use super::session_error::{SessionError, failed};
use super::stateless_upstream::{self, MOST_RUNNING, StatelessUpstream};
use super::translator::Translator;
use super::upstream_client::UpstreamClient;
use super::upstream_session::{UpstreamSession, Wire, called};
use crate::legacy_outbox::LegacyOutbox;
use crate::proxy_error::ProxyError;
use crate::rejection::Rejection;

/// How many messages wait for a stream to take them. Whoever posts more waits, too.
const POSTED: usize = 256;

/// How long a post waits for the stream to take it.
const TAKEN: Duration = Duration::from_secs(30);

impl Translator {
    /// Opens a stream and serves what is posted for it until it ends.
    pub(super) async fn open_legacy_stream(
        &self,
        downstream: &Downstream<'_>,
        session: &mut ServerSession,
        protocol: UpstreamProtocol,
    ) -> Result<(), ProxyError> {
        let name = downstream.conversation.clone();
        let (post, posted) = mpsc::channel(POSTED);
        self.legacy_streams.0.lock().insert(name.clone(), post);
        let named = StreamRegistration {
            streams: Arc::clone(&self.legacy_streams),
            name: name.clone(),
        };
        let sessions = &downstream.state.sessions;
        let url = sessions.bind_own_endpoint(&name, downstream.holder());
        let endpoint = Bytes::from(format!("event: endpoint\ndata: {url}\n\n"));
        let param_headers = Arc::clone(&self.param_headers);
        let legacy_outboxes = &downstream.state.legacy_outboxes;
        let outbox = legacy_outboxes.open(downstream.holder(), &name);
        let responses = ResponseStream::spawn(move |out| async move {
            let _named = named;
            serve(posted, outbox, protocol, param_headers, out).await;
        });
        downstream
            .stream(session, responses, Some(endpoint), None)
            .await
    }

    /// Takes a message for the stream of this name.
    pub(super) async fn post_to_legacy_stream(
        &self,
        downstream: &Downstream<'_>,
        session: &mut ServerSession,
        name: &str,
        upstream: Arc<UpstreamClient>,
        message: Message,
    ) -> Result<(), ProxyError> {
        let post = self.legacy_streams.0.lock().get(name).cloned();
        let post = post.ok_or(Rejection::SessionUnknown)?;
        let taken = timeout(TAKEN, post.send(Posted { upstream, message }));
        match downstream.while_wanted(session, taken).await? {
            Ok(Ok(())) => downstream.accept(session, 202).await,
            Ok(Err(_)) => Err(Rejection::SessionUnknown.into()),
            Err(_) => Err(Rejection::Upstream(stateless_upstream::too_many(), None).into()),
        }
    }
}

/// What a stream's messages are for.
enum StreamUpstream {
    /// Nothing yet: the handshake comes first.
    Nobody,
    Session(Arc<UpstreamSession>),
    Stateless(Arc<StatelessUpstream>),
}

/// Answers what is posted, several requests at a time. The handshake is waited for, because
/// whatever comes after it depends on it.
async fn serve(
    mut posted: mpsc::Receiver<Posted>,
    mut outbox: LegacyOutbox,
    protocol: UpstreamProtocol,
    param_headers: Arc<ParamHeaders>,
    out: MessageSender,
) {
    let mut peer = StreamUpstream::Nobody;
    let mut running = JoinSet::new();
    loop {
        let Posted { upstream, message } = tokio::select! {
            posted = posted.recv() => match posted {
                Some(posted) => posted,
                None => return,
            },
            refusal = outbox.next() => {
                for refusal in messages(refusal) {
                    if out.send(refusal).await.is_err() {
                        return;
                    }
                }
                continue;
            }
            Some(_) = running.join_next(), if !running.is_empty() => continue,
            // The stream ends with its session, so that the client begins anew. What is posted meanwhile
            // is refused, and what is under way is told its end.
            () = ended(&peer) => {
                drop(posted);
                tokio::select! {
                    () = finish(&mut running) => {}
                    () = out.closed() => {}
                }
                return;
            }
            () = out.closed() => return,
        };
        let id = message.id();
        if running.len() >= MOST_RUNNING && message.kind() == Kind::Request {
            let id = id.unwrap_or_else(|| Id::number(0));
            let _ = out.send(failed(&id, &stateless_upstream::too_many())).await;
            continue;
        }
        match &peer {
            StreamUpstream::Nobody => {
                if let Some((answer, now)) =
                    begin(protocol, &param_headers, upstream, message).await
                {
                    peer = now;
                    if out.send(answer).await.is_err() {
                        return;
                    }
                }
            }
            StreamUpstream::Session(upstream_session) => {
                if message.kind() == Kind::Request {
                    let responses = called(upstream_session, &upstream, message);
                    let request_id = upstream.request_id().to_owned();
                    running.spawn(forward(responses, request_id, out.clone()));
                } else {
                    tell(upstream_session, &upstream, &message, &out).await;
                }
            }
            StreamUpstream::Stateless(kept) => {
                let is_initialized = message.method() == "notifications/initialized";
                let request_id = upstream.request_id().to_owned();
                if let Some(responses) = kept.take(Arc::clone(&upstream), message) {
                    running.spawn(forward(responses, request_id.clone(), out.clone()));
                }
                if is_initialized && kept.may_be_told() {
                    running.spawn(forward(kept.listen(upstream), request_id, out.clone()));
                }
            }
        }
    }
}

/// Waits for the end of the session behind a stream; for ever where there is none.
async fn ended(peer: &StreamUpstream) {
    let StreamUpstream::Session(upstream_session) = peer else {
        return std::future::pending().await;
    };
    let mut over = upstream_session.end_signal();
    let _ = over.wait_for(|over| *over).await;
}

/// Waits until all that is running is done.
async fn finish(running: &mut JoinSet<()>) {
    while running.join_next().await.is_some() {}
}

/// Passes on what wants no answer, in order: an answer to a question must not overtake the end of the
/// handshake.
async fn tell(
    upstream_session: &Arc<UpstreamSession>,
    upstream: &Arc<UpstreamClient>,
    message: &Message,
    out: &MessageSender,
) {
    let told = upstream_session.notify(upstream, message).await;
    if matches!(told, Err(SessionError::Lost)) {
        upstream_session.end();
    } else if message.method() == "notifications/initialized" {
        upstream_session.listen(upstream, out.clone());
    }
}

/// The messages of an answer of the gateway's own: that to a batch is an array of them.
fn messages(answer: Value) -> Vec<Message> {
    let each = match answer {
        Value::Array(each) => each,
        one => vec![one],
    };
    let parsed = each.iter().filter_map(|one| {
        Message::parse(&one.to_string())
            .inspect_err(|_| {
                log::error!(event = "answer_lost"; "an answer of the gateway's own is no message");
            })
            .ok()
    });
    parsed.collect()
}

/// The handshake: its answer, and who is behind the stream from now on.
async fn begin(
    protocol: UpstreamProtocol,
    param_headers: &Arc<ParamHeaders>,
    upstream: Arc<UpstreamClient>,
    message: Message,
) -> Option<(Message, StreamUpstream)> {
    let id = message.id()?;
    if message.method() != "initialize" {
        let error =
            mcp_protocol::RpcError::new(mcp_protocol::code::INTERNAL, "initialize comes first");
        return Some((Message::error(Some(&id), &error), StreamUpstream::Nobody));
    }
    let request_id = upstream.request_id().to_owned();
    let refused = |error: SessionError| {
        let answer = match error.response(&id) {
            Ok(answer) => answer,
            Err(refusal) => messages(refusal.answer(&request_id)?).pop()?,
        };
        Some((answer, StreamUpstream::Nobody))
    };
    if protocol == UpstreamProtocol::Sessions {
        return Some(
            match UpstreamSession::open(upstream, Wire::Streamable, message).await {
                Ok(upstream_session) if upstream_session.hello.is_error() => {
                    (upstream_session.hello.clone(), StreamUpstream::Nobody)
                }
                Ok(upstream_session) => (
                    upstream_session.hello.clone(),
                    StreamUpstream::Session(upstream_session),
                ),
                Err(error) => return refused(error),
            },
        );
    }
    let hello = ClientInitialize::from_message(&message);
    let discovered = match stateless_upstream::handshake(&upstream, &hello).await {
        Ok(discovered) => discovered,
        Err(error) => return refused(error),
    };
    let Some(result) = discovered.outcome() else {
        return Some((discovered.with_id(&id), StreamUpstream::Nobody));
    };
    let answer = Message::result(&id, &to_stateless::initialized(&result, &hello));
    let capabilities = result.object("capabilities").unwrap_or_default();
    let kept = StatelessUpstream {
        hello,
        capabilities,
        memory: Arc::default(),
        param_headers: Arc::clone(param_headers),
    };
    Some((answer, StreamUpstream::Stateless(Arc::new(kept))))
}

/// Passes on what is answered to the request of this id in the log.
async fn forward(mut responses: ResponseStream, request_id: String, out: MessageSender) {
    while let Some(message) = responses.messages.recv().await {
        if out.send(message).await.is_err() {
            return;
        }
    }
    if let Some(refusal) = responses.refusal().await
        && let Some(answer) = refusal.answer(&request_id)
    {
        for message in messages(answer) {
            let _ = out.send(message).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_answer_to_a_batch_is_a_message_for_each() {
        let one = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
        let other = json!({"jsonrpc": "2.0", "id": 2, "error": {"code": -32601, "message": "No."}});
        assert_eq!(messages(one.clone()).len(), 1);
        let both = messages(json!([one, other]));
        let ids: Vec<_> = both.iter().map(Message::id).collect();
        assert_eq!(ids, [Some(Id::number(1)), Some(Id::number(2))]);
        assert!(messages(json!(["no message"])).is_empty());
    }
}
