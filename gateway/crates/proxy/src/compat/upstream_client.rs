//! Speaking to a backend on somebody's behalf, message by message: the request with the headers
//! that tell who calls, and the messages of the answer, whatever form it has.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mcp_protocol::Message;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::session_error::SessionError;
use crate::account_doubt::{AccountCall, AccountDoubt};
use crate::account_refusal::{AccountRefusal, Asked, Why};
use crate::context::RequestContext;
use crate::headers::{self, SESSION};
use crate::in_flight::{Full, Hold};
use crate::lifetime::StreamLifetime;
use crate::mounted_backend::MountedBackend;
use crate::policy_input::StandingContext;
use crate::rejection::Rejection;
use crate::state::ProxyState;
use crate::upstream_head::{self, UpstreamHead};
use gateway_accounts::{AccountError, Accounts};
use gateway_core::access_token::BackendToken;
use gateway_core::policy::{AccessToken, Delegation, Permit, Refused};
use gateway_traces::Propagated;
use gateway_upstream::{
    Account, Backend, Connection, Connections, Failure, IdentityHeaders, OnBehalfOf, Pooling,
    Reached, Request, RequestError,
};
use mcp_protocol::calls::{Call, is_read_only};
use mcp_protocol::media_type;
use mcp_protocol::sse::{Event, Splitter};

/// The largest message that is translated, in bytes: it is held whole. What passes as it is has no
/// such limit.
pub(crate) const LARGEST: usize = 64 * 1024 * 1024;

/// The most that is read of it at once.
const PIECE: usize = 64 * 1024;

fn too_large() -> Failure {
    Failure::Limit(format!(
        "The answer is larger than {} MiB, the most that the gateway translates between revisions of MCP",
        LARGEST / 1024 / 1024
    ))
}

const fn full(full: Full) -> Failure {
    Failure::Full(full.setting())
}

/// Who speaks to which backend: the right to, for as long as the token's lifetime, and what of the
/// client's headers goes on.
pub(super) struct UpstreamClient {
    delegation: Delegation,
    /// What a part of the client's request is judged by, where it is a message of its own.
    standing: StandingContext,
    lifetime: StreamLifetime,
    connections: Arc<Connections>,
    pub(super) backend: Arc<Backend>,
    identity: IdentityHeaders,
    /// The token that says who calls, where the backend is to have one.
    token: Option<Arc<BackendToken>>,
    /// The person's account there, where people call it with their own.
    account: Option<Arc<Account>>,
    /// Who asks, where several backends are asked together.
    caller: Option<OnBehalfOf>,
    accounts: Arc<Accounts>,
    /// The client's own request, which is answered where there is no account to speak with.
    asked: Asked,
    request_id: String,
    headers: HeaderMap,
    /// What answers are held on.
    hold: Hold,
}

/// Headers beside those of the upstream client.
pub(super) type More = Vec<(HeaderName, String)>;

/// The answer to one HTTP request.
pub(super) struct Reply {
    pub(super) status: u16,
    /// The backend's own session id.
    pub(super) session: Option<String>,
    pub(super) reader: Reader,
    /// The path and query that answered.
    pub(super) target: String,
}

impl UpstreamClient {
    /// The client of a permit. `client_headers`: as the client sent them.
    pub(super) fn new(
        state: &ProxyState,
        mounted: &MountedBackend,
        context: &RequestContext,
        (permit, lifetime, account, asked): (Permit, StreamLifetime, Option<Arc<Account>>, Asked),
        client_headers: &HeaderMap,
        hold: Hold,
    ) -> Result<Arc<Self>, Rejection> {
        let token = state
            .backend_tokens
            .get(mounted, &permit, state.clock.now())?;
        let mut headers = HeaderMap::new();
        for (name, value) in client_headers {
            // What is about the form of the message is said anew.
            let is_form = name.as_str().starts_with("mcp-")
                || [ACCEPT, CONTENT_TYPE].contains(name)
                || name == "last-event-id"
                || name == "cache-control";
            if !is_form {
                headers.append(name.clone(), value.clone());
            }
        }
        if let Some(trace) = context.propagated() {
            for name in Propagated::NAMES {
                headers.remove(name);
            }
            headers.extend(trace.headers().map(|(name, value)| (name, value.clone())));
        }
        Ok(Arc::new(Self {
            standing: StandingContext::new(
                &state.policy,
                state.clock,
                permit.token().clone(),
                mounted,
                context,
            ),
            caller: context.caller(&mounted.backend, permit.token()),
            delegation: permit.delegate(),
            lifetime,
            connections: Arc::clone(&state.connections),
            backend: Arc::clone(&mounted.backend),
            identity: state.settings.identity_headers.clone(),
            token,
            account,
            accounts: Arc::clone(&state.server.accounts),
            asked,
            request_id: context.id.clone(),
            headers,
            hold,
        }))
    }

    /// On whose behalf it speaks.
    pub(super) const fn token(&self) -> &AccessToken {
        self.delegation.token()
    }

    /// The id in the log of the request that it was made for.
    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Whether the client may say this now, which it has said as a part of another request.
    fn may_say(&self, part: Call) -> Result<(), Refused> {
        self.standing.decide(part).map(drop)
    }

    /// Whether the client may subscribe to a resource now.
    pub(super) fn may_subscribe(&self, uri: &str) -> Result<(), Refused> {
        self.may_say(Call {
            name: Some(uri.to_owned()),
            ..Call::named("resources/subscribe")
        })
    }

    /// Whether the client may set the level of log messages now.
    pub(super) fn may_set_level(&self) -> bool {
        self.may_say(Call::named("logging/setLevel")).is_ok()
    }

    /// Whether the delegation is good for this message now.
    fn check(&self, message: &Message) -> Result<(), Failure> {
        let is_covered = self.delegation.covers(message)
            || Delegation::part(message).is_some_and(|part| self.may_say(part).is_ok());
        if !is_covered {
            let what = "a message that was not permitted was to be sent";
            return Err(Failure::Broken(what.to_owned()));
        }
        if self.lifetime.is_over() && !Delegation::takes_back(message) {
            Err(Failure::Broken("the token's lifetime is over".to_owned()))
        } else {
            Ok(())
        }
    }

    /// Sends one message.
    pub(super) async fn post(
        &self,
        target: &str,
        session: Option<&str>,
        more: More,
        message: &Message,
    ) -> Result<Reply, SessionError> {
        self.check(message)?;
        let body = Bytes::from(message.to_string());
        // Of this message: the permit may be that of another, which opened the session.
        let is_repeatable = is_read_only(message.method());
        let body = Some((body, is_repeatable));
        self.ask(&Method::POST, target, session, more, body).await
    }

    /// A connection on which the backend has answered. Where it doubts the person's account, that is
    /// settled first.
    async fn reach(
        &self,
        method: &Method,
        session: Option<&str>,
        headers: &HeaderMap,
        request: &Request<'_>,
    ) -> Result<Reached, SessionError> {
        let mut is_second = false;
        loop {
            if self
                .account
                .as_ref()
                .is_some_and(|account| account.is_over())
            {
                let why = Why::Account(AccountError::NotConnected);
                let refusal = AccountRefusal::new(why, self.asked.clone());
                return Err(SessionError::Account(Box::new(refusal)));
            }
            let sent = self.account.as_ref().map(|account| account.value());
            let head = |target: &str| {
                upstream_head::build(&UpstreamHead {
                    method,
                    target,
                    client_headers: headers,
                    session,
                    body_length: request.body.as_ref().map(Bytes::len),
                    backend: &self.backend,
                    identity: &self.identity,
                    claims: self.token().claims(),
                    token: self.token.as_deref().map(BackendToken::as_str),
                    account: sent.as_ref(),
                    // It stands among the client's headers.
                    trace: None,
                })
            };
            let (backend, asked) = (&self.backend, request.clone());
            let reached = self.connections.request(backend, asked, head).await;
            let mut reached = reached.map_err(|error| match error {
                RequestError::Failed(failure) => failure,
                // What the client is told is that the backend did not answer as it should.
                other => Failure::Broken(other.to_string()),
            })?;
            if self.backend.account.is_none() {
                return Ok(reached);
            }
            let head = reached.connection.read_head().await?;
            let Some(doubt) = AccountDoubt::of(head.status.as_u16(), &head.headers) else {
                return Ok(reached);
            };
            reached.connection.abandon().await;
            // Boxed: it happens seldom.
            Box::pin(self.settle(&doubt, sent.as_ref(), is_second)).await?;
            is_second = true;
        }
    }

    /// Settles what the backend doubts of the account: `Ok` where the request is sent once more.
    async fn settle(
        &self,
        doubt: &AccountDoubt,
        sent: Option<&HeaderValue>,
        is_second: bool,
    ) -> Result<(), SessionError> {
        let call = AccountCall {
            accounts: &self.accounts,
            backend: &self.backend.mount.name,
            claims: self.token().claims(),
            account: self.account.as_ref(),
        };
        let Err(why) = call.settle(doubt, sent, is_second).await else {
            return Ok(());
        };
        let refusal = call.refusal(why, self.asked.clone()).await;
        Err(SessionError::Account(Box::new(refusal)))
    }

    /// One request and the head of its answer: repeated on a fresh connection where a kept one
    /// turned out to be dead and that can do no harm, as it never does without a body (GET, DELETE);
    /// a redirect within the backend is followed. With a body goes whether it may be sent twice.
    pub(super) async fn ask(
        &self,
        method: &Method,
        target: &str,
        session: Option<&str>,
        more: More,
        body: Option<(Bytes, bool)>,
    ) -> Result<Reply, SessionError> {
        let (body, is_repeatable) = match body {
            Some((body, is_repeatable)) => (Some(body), is_repeatable),
            None => (None, true),
        };
        let unspeakable = || Failure::Broken("a value can't be put in a header".to_owned());
        let mut headers = self.headers.clone();
        let accept = if method == Method::GET {
            "text/event-stream"
        } else {
            "application/json, text/event-stream"
        };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if body.is_some() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(CONTENT_TYPE, json);
        }
        for (name, value) in more {
            let value = HeaderValue::from_str(&value).map_err(|_| unspeakable())?;
            headers.insert(name, value);
        }
        let request = Request {
            target,
            body,
            account: self.account.as_deref(),
            pooling: Pooling::Reuse,
            is_repeatable,
            follows_redirect: true,
            caller: self.caller.as_ref(),
            deadline: Some(self.backend.response_timeout),
        };
        // Boxed: what asks stands deep on the stack already.
        let reached = Box::pin(self.reach(method, session, &headers, &request)).await?;
        let (mut connection, target) = (reached.connection, reached.target);
        let head = connection.read_head().await?;
        let status = head.status.as_u16();
        let session = headers::text(&head.headers, SESSION).map(str::to_owned);
        let is_events = media_type::is_event_stream(&head.headers);
        let hold = self.hold.another(LARGEST + PIECE);
        let reader = Reader::new(connection, &self.connections, is_events, hold);
        Ok(Reply {
            status,
            session,
            reader,
            target,
        })
    }
}

/// So long a stream may take to end after its response.
const ENDING: Duration = Duration::from_secs(1);

/// So many streams are waited for at the same time; others are broken off where they have not ended yet.
static ENDINGS: Semaphore = Semaphore::const_new(128);

/// Reads the messages of one answer: those of an event stream as they come, or the one of a body.
pub(crate) struct Reader {
    connection: Option<Connection>,
    connections: Arc<Connections>,
    splitter: Option<Splitter>,
    ready: VecDeque<Event>,
    /// For what was read last; until more is read, or nobody reads any more.
    hold: Hold,
}

impl Reader {
    pub(crate) fn new(
        connection: Connection,
        connections: &Arc<Connections>,
        is_events: bool,
        hold: Hold,
    ) -> Self {
        Self {
            connection: Some(connection),
            connections: Arc::clone(connections),
            splitter: is_events.then(Splitter::default),
            ready: VecDeque::new(),
            hold,
        }
    }

    /// Whether the answer is an event stream.
    pub(crate) const fn is_stream(&self) -> bool {
        self.splitter.is_some()
    }

    /// The next message; `None` at the end. What is no message is passed over.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, Failure> {
        if !self.is_stream() {
            let body = self.rest().await?;
            return Ok(Message::from_bytes(Bytes::from(body)).ok());
        }
        while let Some(event) = self.next_event().await? {
            if let Ok(message) = Message::from_bytes(Bytes::from(event.data)) {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The next event of a stream; `None` at its end. Safe to drop and call again.
    pub(super) async fn next_event(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let (Some(connection), Some(splitter)) = (&mut self.connection, &mut self.splitter)
            else {
                return Ok(None);
            };
            match connection.read_body().await? {
                Some(chunk) => {
                    if splitter.held() == 0 {
                        self.hold.release();
                    }
                    let held = splitter.held() + chunk.len();
                    self.hold.grow_beyond_free(held).map_err(full)?;
                    let events = splitter.split(&chunk, LARGEST).map_err(|_| too_large())?;
                    let parsed = events.iter().filter_map(|event| Event::parse(event));
                    self.ready.extend(parsed);
                }
                None => self.give_back().await,
            }
        }
    }

    /// Reads what is left, so that the connection can be used again. Bounded like a message.
    pub(super) async fn rest(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(connection) = &mut self.connection {
            match connection.read_body().await? {
                Some(chunk) => {
                    let held = body.len() + chunk.len();
                    if held > LARGEST {
                        return Err(too_large());
                    }
                    self.hold.grow_beyond_free(held).map_err(full)?;
                    body.extend_from_slice(&chunk);
                }
                None => self.give_back().await,
            }
        }
        Ok(body)
    }

    /// What is held for what was read, for whoever keeps it.
    pub(crate) fn take_hold(&mut self) -> Hold {
        let nothing = self.hold.another(0);
        std::mem::replace(&mut self.hold, nothing)
    }

    /// Lets go of an answer whose response was read. A short one is read to its end. A stream ends by itself as
    /// a rule, so its end is waited for elsewhere: whoever relays it has not lost its client then, and the
    /// connection can be used again. One that goes on is broken off.
    pub(crate) async fn close(mut self) {
        if !self.is_stream() {
            // Its end is of no interest, only that it ends.
            drop(self.rest().await);
            return;
        }
        self.hold.release();
        let place = ENDINGS.try_acquire();
        let patience = if place.is_ok() {
            ENDING
        } else {
            Duration::ZERO
        };
        tokio::spawn(async move {
            drop(timeout(patience, self.end()).await);
            drop(place);
            if let Some(connection) = self.connection.take() {
                connection.abandon().await;
            }
        });
    }

    /// Passes over what is left of a stream, within what a message may be.
    async fn end(&mut self) {
        let mut passed = 0;
        while let Some(connection) = &mut self.connection
            && passed < LARGEST
        {
            match connection.read_body().await {
                Ok(Some(chunk)) => passed += chunk.len(),
                Ok(None) => self.give_back().await,
                Err(_) => return,
            }
        }
    }

    async fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.connections.release(connection).await;
        }
    }
}
