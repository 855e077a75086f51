//! A session of the gateway's own with a backend, over Streamable HTTP or over HTTP+SSE: messages
//! go in, and what the backend says comes out where it belongs.
//!
//! Owns: the two wires. Not: whose session it is and how long it lasts (`session_pool`), nor
//! what messages mean (the crate `mcp_protocol`).

mod exchange;
mod routes;

use std::sync::Arc;

use http::{HeaderName, Method};
use mcp_protocol::{Id, Kind, Message, Object, SharedSubscriptions, to_stateful};
use parking_lot::Mutex;
use tokio::sync::watch;

use self::exchange::{
    call_over_stream, read_stream, relay_refusal, relay_response, response_in, tell,
};
use self::routes::Routes;
use super::response_stream::{MessageSender, ResponseStream, Task};
use super::session_error::SessionError;
use super::upstream_client::{More, UpstreamClient};
use gateway_upstream::{Failure, endpoint_path};

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// Which wire a session uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// Streamable HTTP.
    Streamable,
    /// HTTP+SSE.
    HttpSse,
}

/// One session with a backend. Dropping it ends it there, too.
pub(super) struct UpstreamSession {
    upstream: Arc<UpstreamClient>,
    transport: SessionTransport,
    routes: Arc<Routes>,
    /// The backend's answer to `initialize`.
    pub(super) hello: Message,
    ended: watch::Sender<bool>,
    reader: Mutex<Option<Task>>,
    listener: Mutex<Option<Task>>,
    /// What those who share it are subscribed to.
    pub(super) subscriptions: Mutex<SharedSubscriptions>,
    /// The level of log messages that was said last.
    level: Mutex<Option<String>>,
}

/// Where messages go.
#[derive(Debug)]
enum SessionTransport {
    Streamable {
        session: Option<String>,
        revision: Option<String>,
    },
    HttpSse {
        endpoint: String,
    },
}

impl UpstreamSession {
    /// Opens a session with `initialize`, a request. What the backend says before it answers is
    /// kept for the first who listens.
    pub(super) async fn open(
        upstream: Arc<UpstreamClient>,
        wire: Wire,
        initialize: Message,
    ) -> Result<Arc<Self>, SessionError> {
        match wire {
            Wire::Streamable => Self::open_streamable(upstream, initialize).await,
            Wire::HttpSse => Self::open_http_sse(upstream, initialize).await,
        }
    }

    async fn open_streamable(
        upstream: Arc<UpstreamClient>,
        initialize: Message,
    ) -> Result<Arc<Self>, SessionError> {
        let path = upstream.backend.mcp_path.clone();
        let mut reply = upstream.post(&path, None, More::new(), &initialize).await?;
        let hello = response_in(&mut reply.reader).await?;
        reply.reader.close().await;
        let hello = hello.ok_or(SessionError::Refused(reply.status))?;
        let revision = hello
            .outcome()
            .and_then(|result| result.text("protocolVersion"));
        let transport = SessionTransport::Streamable {
            session: reply.session,
            revision,
        };
        let (ended, _) = watch::channel(false);
        Ok(Self::new(
            upstream,
            transport,
            Arc::default(),
            hello,
            ended,
            None,
        ))
    }

    async fn open_http_sse(
        upstream: Arc<UpstreamClient>,
        initialize: Message,
    ) -> Result<Arc<Self>, SessionError> {
        let path = upstream.backend.sse_path.clone();
        let mut stream = upstream
            .ask(&Method::GET, &path, None, More::new(), None)
            .await?;
        if stream.status != 200 || !stream.reader.is_stream() {
            return Err(SessionError::Refused(stream.status));
        }
        let patience = upstream.backend.response_timeout;
        let slow = |_| Failure::TimedOut("the endpoint of the stream");
        let endpoint = async {
            while let Some(event) = stream.reader.next_event().await? {
                if event.name == "endpoint" {
                    return Ok(event.data);
                }
            }
            Err(Failure::Broken("its stream names no endpoint".to_owned()))
        };
        let endpoint = tokio::time::timeout(patience, endpoint)
            .await
            .map_err(slow)??;
        let endpoint = endpoint_path(&upstream.backend, &stream.target, &endpoint)
            .ok_or_else(|| Failure::Broken("its endpoint is no URL of http".to_owned()))?;
        let routes = Arc::new(Routes::default());
        let (ended, _) = watch::channel(false);
        let reader = Task::start(read_stream(
            stream.reader,
            Arc::clone(&routes),
            ended.clone(),
        ));
        let id = initialize.id().unwrap_or_else(|| Id::number(0));
        let mut responses = ResponseStream::try_spawn({
            let (upstream, routes) = (Arc::clone(&upstream), Arc::clone(&routes));
            let (endpoint, ended) = (endpoint.clone(), ended.clone());
            move |out| async move {
                match call_over_stream(&upstream, &endpoint, &routes, &ended, initialize, out).await
                {
                    Err(SessionError::Account(refusal)) => Err(refusal),
                    _ => Ok(()),
                }
            }
        });
        let hello = async {
            while let Some(message) = responses.messages.recv().await {
                if message.kind() == Kind::Response && message.id().as_ref() == Some(&id) {
                    return Ok(message);
                }
            }
            Err(match responses.refusal().await {
                Some(refusal) => SessionError::Account(refusal),
                None => Failure::Broken("it did not answer initialize".to_owned()).into(),
            })
        };
        let hello = tokio::time::timeout(patience, hello)
            .await
            .map_err(|_| Failure::TimedOut("the answer to initialize"))??;
        let transport = SessionTransport::HttpSse { endpoint };
        Ok(Self::new(
            upstream,
            transport,
            routes,
            hello,
            ended,
            Some(reader),
        ))
    }

    fn new(
        upstream: Arc<UpstreamClient>,
        transport: SessionTransport,
        routes: Arc<Routes>,
        hello: Message,
        ended: watch::Sender<bool>,
        reader: Option<Task>,
    ) -> Arc<Self> {
        Arc::new(Self {
            upstream,
            transport,
            routes,
            hello,
            ended,
            reader: Mutex::new(reader),
            listener: Mutex::new(None),
            subscriptions: Mutex::default(),
            level: Mutex::default(),
        })
    }

    /// Sends a request; everything that belongs to it goes to `out`, the response last. Dropped
    /// before that, it tells the backend that nobody waits any more.
    pub(super) async fn call(
        self: &Arc<Self>,
        upstream: &Arc<UpstreamClient>,
        request: Message,
        out: MessageSender,
    ) -> Result<(), SessionError> {
        let Some(id) = request.id() else {
            return self.notify(upstream, &request).await;
        };
        let mut pending = Pending {
            upstream_session: Arc::clone(self),
            upstream: Arc::clone(upstream),
            id: Some(id.clone()),
        };
        let done = match &self.transport {
            SessionTransport::HttpSse { endpoint } => {
                call_over_stream(upstream, endpoint, &self.routes, &self.ended, request, out).await
            }
            SessionTransport::Streamable { session, .. } => {
                let path = &upstream.backend.mcp_path;
                let mut reply = upstream
                    .post(path, session.as_deref(), self.headers(), &request)
                    .await?;
                if reply.status == 404 && session.is_some() {
                    pending.id = None;
                    return Err(SessionError::Lost);
                }
                if reply.status == 400 && session.is_some() {
                    relay_refusal(&id, &mut reply.reader, out).await
                } else {
                    relay_response(&id, reply.status, &mut reply.reader, out).await
                }
            }
        };
        pending.id = None;
        done
    }

    /// Says from which level on log messages are wanted: in 2026-07-28 each request does, before that
    /// it is said once for all of a session, if the policy lets the client. `number`: the id to say it
    /// under.
    pub(super) async fn set_level(
        self: &Arc<Self>,
        upstream: &Arc<UpstreamClient>,
        number: u64,
        level: &str,
    ) {
        let result = self.hello.outcome();
        let capabilities = result.and_then(|result| result.object("capabilities"));
        let logs = capabilities.is_some_and(|capabilities| capabilities.has("logging"))
            && upstream.may_set_level();
        let before = logs.then(|| self.level.lock().replace(level.to_owned()));
        if before.is_none_or(|before| before.as_deref() == Some(level)) {
            return;
        }
        let params = Object::new().with("level", level);
        let request = Message::request(&Id::number(number), "logging/setLevel", &params);
        let mut answered = called(self, upstream, request);
        while answered.messages.recv().await.is_some() {}
    }

    /// Sends a notification or a response.
    pub(super) async fn notify(
        &self,
        upstream: &UpstreamClient,
        message: &Message,
    ) -> Result<(), SessionError> {
        let (target, session) = match &self.transport {
            SessionTransport::HttpSse { endpoint } => (endpoint, None),
            SessionTransport::Streamable { session, .. } => {
                (&upstream.backend.mcp_path, session.as_deref())
            }
        };
        tell(upstream, target, session, self.headers(), message).await
    }

    /// What the backend says unasked goes to `out` from now on, until its other end is dropped. It is
    /// asked for on behalf of `upstream`.
    pub(super) fn listen(self: &Arc<Self>, upstream: &Arc<UpstreamClient>, out: MessageSender) {
        self.routes.listen(out);
        let SessionTransport::Streamable { session, .. } = &self.transport else {
            return;
        };
        let mut listener = self.listener.lock();
        if listener.as_ref().is_none_or(Task::is_done) {
            let (upstream, routes) = (Arc::clone(upstream), Arc::clone(&self.routes));
            let (session, headers) = (session.clone(), self.headers());
            *listener = Some(Task::start(async move {
                let path = upstream.backend.mcp_path.clone();
                let opened = upstream
                    .ask(&Method::GET, &path, session.as_deref(), headers, None)
                    .await;
                // A backend without such a stream answers 405: it has nothing to say unasked.
                if let Ok(mut reply) = opened
                    && reply.status == 200
                    && reply.reader.is_stream()
                {
                    while let Ok(Some(message)) = reply.reader.next().await {
                        if !routes.deliver(message) {
                            return;
                        }
                    }
                }
            }));
        }
    }

    /// Whether nobody waits for anything.
    pub(super) fn is_quiet(&self) -> bool {
        self.routes.is_quiet()
    }

    /// Ends it, whoever still uses it.
    pub(super) fn end(&self) {
        self.reader.lock().take();
        self.listener.lock().take();
        self.ended.send_replace(true);
        self.routes.close();
    }

    /// Turns true when it has ended.
    pub(super) fn end_signal(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    fn headers(&self) -> More {
        match &self.transport {
            SessionTransport::Streamable {
                revision: Some(revision),
                ..
            } => vec![(VERSION, revision.clone())],
            _ => More::new(),
        }
    }
}

impl Drop for UpstreamSession {
    fn drop(&mut self) {
        let SessionTransport::Streamable {
            session: Some(session),
            ..
        } = &self.transport
        else {
            return;
        };
        let (upstream, session, headers) =
            (Arc::clone(&self.upstream), session.clone(), self.headers());
        in_background(async move {
            let path = upstream.backend.mcp_path.clone();
            let deleted = upstream
                .ask(&Method::DELETE, &path, Some(&session), headers, None)
                .await;
            if let Ok(reply) = deleted {
                reply.reader.close().await;
            }
        });
    }
}

/// A request over a session, its failure told as its response. A session that the backend has forgotten ends
/// with it, for all who use it.
pub(super) fn called(
    upstream_session: &Arc<UpstreamSession>,
    upstream: &Arc<UpstreamClient>,
    message: Message,
) -> ResponseStream {
    let (upstream_session, upstream) = (Arc::clone(upstream_session), Arc::clone(upstream));
    ResponseStream::try_spawn(move |out| async move {
        let id = message.id();
        if let Err(error) = upstream_session.call(&upstream, message, out.clone()).await {
            if matches!(error, SessionError::Lost) {
                upstream_session.end();
            }
            if let Some(id) = id {
                let _ = out.send(error.response(&id)?).await;
            }
        }
        Ok(())
    })
}

/// A request that is being answered. Dropped before it is, its cancellation goes out.
struct Pending {
    upstream_session: Arc<UpstreamSession>,
    upstream: Arc<UpstreamClient>,
    id: Option<Id>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        self.upstream_session.routes.forget(&id);
        let (upstream_session, upstream) = (
            Arc::clone(&self.upstream_session),
            Arc::clone(&self.upstream),
        );
        in_background(async move {
            let cancelled = to_stateful::cancelled(&id, "the client is gone");
            let _ = upstream_session.notify(&upstream, &cancelled).await;
        });
    }
}

/// Last words to a backend, within its response timeout; not said when the process is ending.
fn in_background(words: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(words);
    }
}
