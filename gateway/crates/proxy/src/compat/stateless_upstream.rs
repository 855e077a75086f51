//! A client with sessions on its way to a stateless backend: each request says again what the
//! session began with, questions of the backend go to the client and its answers back.
//!
//! Owns: what is remembered between the messages of such a session, which is little and may be
//! lost. Not: where the client's messages come from (`gateway_session`, `legacy_sse`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderName;
use mcp_protocol::to_stateful::Filter;
use mcp_protocol::to_stateless::{self, ClientInitialize, Outcome, Questions, Step};
use mcp_protocol::{INPUT_TIMEOUT, Id, Kind, Message, Object, RpcError, Subscriptions, code};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::param_headers::ParamHeaders;
use super::response_stream::{MessageSender, ResponseStream};
use super::session_error::{SessionError, failed};
use super::upstream_client::{More, UpstreamClient};
use crate::account_refusal::AccountRefusal;
use gateway_upstream::Failure;

/// A call is asked back this often at most.
const MOST_ROUNDS: usize = 16;

/// A session has this many requests running at most, far more than its client has connections. Each
/// is a task and a connection to the backend.
pub(super) const MOST_RUNNING: usize = 1024;

/// One session of a client, as far as this gateway takes part in it.
#[derive(Debug)]
pub(super) struct StatelessUpstream {
    pub(super) hello: ClientInitialize,
    /// What of the backend's capabilities matters for its stream.
    pub(super) capabilities: Object,
    pub(super) memory: Arc<Memory>,
    pub(super) param_headers: Arc<ParamHeaders>,
}

/// What can't be written into a session id.
#[derive(Debug, Default)]
pub(super) struct Memory {
    level: Mutex<Option<String>>,
    resources: Mutex<Subscriptions>,
    resources_changed: Notify,
    running: Mutex<HashMap<String, CancellationToken>>,
    asked: Mutex<HashMap<String, oneshot::Sender<Message>>>,
    questions: AtomicU64,
}

impl StatelessUpstream {
    /// Takes a message of the client. `None` if there is nothing to answer. The handshake is not
    /// among them: see [`handshake`].
    pub(super) fn take(
        self: &Arc<Self>,
        upstream: Arc<UpstreamClient>,
        message: Message,
    ) -> Option<ResponseStream> {
        let step = to_stateless::step(&message);
        let memory = &self.memory;
        let done = |message: &Message| {
            let id = message.id()?;
            Some(ResponseStream::one(Message::result(&id, &Object::new())))
        };
        let refused = |error: &RpcError| {
            let id = message.id();
            Some(ResponseStream::one(Message::error(id.as_ref(), error)))
        };
        match step {
            Step::Call => self.call(upstream, message),
            Step::Answered => done(&message),
            Step::Level(level) => {
                *memory.level.lock() = Some(level);
                done(&message)
            }
            Step::Subscribe(uri) => {
                match memory.resources.lock().add(&uri) {
                    Ok(true) => memory.resources_changed.notify_waiters(),
                    Ok(false) => {}
                    Err(error) => return refused(&error),
                }
                done(&message)
            }
            Step::Unsubscribe(uri) => {
                memory.resources.lock().remove(&uri);
                memory.resources_changed.notify_waiters();
                done(&message)
            }
            Step::Cancel(id) => {
                if let Some(running) = memory.running.lock().get(&id.key()) {
                    running.cancel();
                }
                None
            }
            Step::Answer(id) => {
                if let Some(waiting) = memory.asked.lock().remove(&id.key()) {
                    let _ = waiting.send(message);
                }
                None
            }
            Step::Ignored => None,
            Step::Refused(error) => refused(&error),
            Step::Initialize => refused(&RpcError::new(
                code::INTERNAL,
                "This session has begun already",
            )),
        }
    }

    fn call(
        self: &Arc<Self>,
        upstream: Arc<UpstreamClient>,
        message: Message,
    ) -> Option<ResponseStream> {
        let id = message.id()?;
        let cancelled = CancellationToken::new();
        {
            let mut running = self.memory.running.lock();
            if running.contains_key(&id.key()) {
                let sentence = "The id is that of a request that is still running";
                let error = RpcError::new(code::INVALID_PARAMS, sentence);
                return Some(ResponseStream::one(Message::error(Some(&id), &error)));
            }
            if running.len() >= MOST_RUNNING {
                return Some(ResponseStream::one(failed(&id, &too_many())));
            }
            running.insert(id.key(), cancelled.clone());
        }
        let entered = Entered {
            memory: Arc::clone(&self.memory),
            key: id.key(),
        };
        let own = Arc::clone(self);
        let ends = cancelled.clone();
        let responses = ResponseStream::try_spawn(move |out| async move {
            let _entered = entered;
            tokio::select! {
                // The client expects no answer to what it cancelled.
                () = ends.cancelled() => Ok(()),
                done = own.run(&upstream, id, message, out) => done,
            }
        });
        Some(responses.until(cancelled))
    }

    async fn run(
        &self,
        upstream: &Arc<UpstreamClient>,
        id: Id,
        message: Message,
        out: MessageSender,
    ) -> Result<(), Box<AccountRefusal>> {
        let response = match self.exchange(upstream, &id, message, &out).await {
            Ok(response) => response,
            Err(error) => error.response(&id)?,
        };
        let _ = out.send(response).await;
        Ok(())
    }

    /// Exchanges a request for its response, however often the backend asks back.
    async fn exchange(
        &self,
        upstream: &Arc<UpstreamClient>,
        id: &Id,
        message: Message,
        out: &MessageSender,
    ) -> Result<Message, SessionError> {
        // What was allowed once may be so no longer.
        let level = self.memory.level.lock().clone();
        let level = level.filter(|_| upstream.may_set_level());
        let mut request = to_stateless::request(message, &self.hello, level.as_deref());
        let mut may_learn = true;
        for round in 0..MOST_ROUNDS {
            let response = ask(upstream, &self.param_headers, &request, Some(out)).await?;
            let is_mismatch = response
                .failure()
                .is_some_and(|error| error.code() == code::HEADER_MISMATCH);
            if is_mismatch && may_learn && request.method() == "tools/call" {
                may_learn = false;
                self.param_headers.learn(upstream, &self.hello).await?;
                continue;
            }
            if request.method() == "tools/list" {
                self.param_headers.note(upstream, &response);
            }
            match to_stateless::outcome(id, request.method(), &response) {
                Outcome::Done(response) => return Ok(response),
                Outcome::Asks(questions) => {
                    let responses = match self.put(&questions, out).await {
                        Ok(responses) => responses,
                        Err(error) => return Ok(Message::error(Some(id), &error)),
                    };
                    let next = Id::text(&format!("{}-{}", id.key().trim_matches('"'), round + 1));
                    request = to_stateless::retry(request, &next, &questions, &responses);
                }
            }
        }
        let error = RpcError::new(code::INTERNAL, "The backend asks back without end");
        Ok(Message::error(Some(id), &error))
    }

    /// Puts the backend's questions to the client and waits for its answers.
    async fn put(
        &self,
        questions: &Questions,
        out: &MessageSender,
    ) -> Result<Vec<(String, Object)>, RpcError> {
        let mut waiting = Vec::new();
        for (name, method, params) in &questions.requests {
            let number = self.memory.questions.fetch_add(1, Ordering::Relaxed);
            let question = Id::text(&format!("gateway-{number}-{:08x}", rand::random::<u32>()));
            let (answered, answer) = oneshot::channel();
            self.memory.asked.lock().insert(question.key(), answered);
            waiting.push((
                name,
                answer,
                QuestionGuard {
                    memory: Arc::clone(&self.memory),
                    key: question.key(),
                },
            ));
            let asked = to_stateless::question(&question, method, params);
            let _ = out.send(asked).await;
        }
        let mut responses = Vec::new();
        for (name, answer, _asked) in waiting {
            let answer = timeout(INPUT_TIMEOUT, answer)
                .await
                .ok()
                .and_then(Result::ok)
                .ok_or_else(|| RpcError::new(code::INTERNAL, "The client did not answer"))?;
            match answer.outcome() {
                Some(result) => responses.push((name.clone(), result)),
                None => {
                    return Err(answer.failure().unwrap_or_else(|| {
                        RpcError::new(code::INTERNAL, "The client's answer is no object")
                    }));
                }
            }
        }
        Ok(responses)
    }

    /// Whether the backend ever says anything unasked.
    pub(super) fn may_be_told(&self) -> bool {
        let anything = Filter::everything(&self.capabilities, vec![String::new()]);
        !anything.is_empty()
    }

    /// What the backend says unasked, for as long as the result is held. A subscription that ends
    /// ends it; one whose resources change is opened anew.
    pub(super) fn listen(self: &Arc<Self>, upstream: Arc<UpstreamClient>) -> ResponseStream {
        let own = Arc::clone(self);
        ResponseStream::spawn(move |out| async move {
            loop {
                let changed = own.memory.resources_changed.notified();
                let mut resources = own.memory.resources.lock().uris().to_vec();
                // As long as the client may subscribe to them.
                resources.retain(|uri| upstream.may_subscribe(uri).is_ok());
                let filter = Filter::everything(&own.capabilities, resources);
                let listen = to_stateless::listen(&own.hello, &Id::text("listen"), &filter);
                let Some(listen) = listen else {
                    // Nothing yet: a resource may be named later.
                    tokio::select! {
                        () = changed => continue,
                        () = out.closed() => return,
                    }
                };
                tokio::select! {
                    () = changed => {}
                    () = out.closed() => return,
                    _ = ask(&upstream, &own.param_headers, &listen, Some(&out)) => return,
                }
            }
        })
    }
}

/// The handshake: the backend is asked who it is.
pub(super) async fn handshake(
    upstream: &Arc<UpstreamClient>,
    hello: &ClientInitialize,
) -> Result<Message, SessionError> {
    let discover = to_stateless::discover(hello, &Id::text("discover"));
    ask(upstream, &ParamHeaders::default(), &discover, None).await
}

/// Sends one request of 2026-07-28 and reads up to its response; notifications go to `out`.
pub(super) async fn ask(
    upstream: &Arc<UpstreamClient>,
    param_headers: &ParamHeaders,
    request: &Message,
    out: Option<&MessageSender>,
) -> Result<Message, SessionError> {
    let mut headers: More = mcp_protocol::standard_headers(request)
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), value))
        .collect();
    headers.extend(param_headers.headers(upstream, request));
    let path = upstream.backend.mcp_path.clone();
    let mut reply = upstream.post(&path, None, headers, request).await?;
    while let Some(message) = reply.reader.next().await? {
        match message.kind() {
            Kind::Response => {
                reply.reader.close().await;
                return Ok(message);
            }
            // 2026-07-28 has none: there is nobody to ask.
            Kind::Request => {}
            Kind::Notification => {
                if let Some(out) = out
                    && let Some(message) = to_stateless::notification(message)
                    && out.send(message).await.is_err()
                {
                    return Err(Failure::Broken("nobody waits for the answer".to_owned()).into());
                }
            }
        }
        if !reply.reader.is_stream() {
            break;
        }
    }
    let status = reply.status;
    Err(Failure::Broken(format!("status {status} without a response that is MCP")).into())
}

/// More requests than a session may have running.
pub(super) fn too_many() -> Failure {
    Failure::Limit(format!(
        "The gateway translates {MOST_RUNNING} requests of a session at once and no more"
    ))
}

/// Keeps a request among those that can be cancelled.
struct Entered {
    memory: Arc<Memory>,
    key: String,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.memory.running.lock().remove(&self.key);
    }
}

/// Keeps a question among those that wait for an answer.
struct QuestionGuard {
    memory: Arc<Memory>,
    key: String,
}

impl Drop for QuestionGuard {
    fn drop(&mut self) {
        self.memory.asked.lock().remove(&self.key);
    }
}
