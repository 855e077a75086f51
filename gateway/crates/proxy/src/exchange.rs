//! One exchange with a backend, for every MCP request: the request sent, repeated only where that
//! can do no harm, a redirect within the backend followed, the answer judged and relayed. It takes
//! the permit by value.

use std::pin::pin;

use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use tokio::time::timeout;

use super::account_doubt::{self, AccountCall, AccountDoubt};
use super::admission::Admitted;
use super::context::RequestContext;
use super::cors::allow_reading;
use super::event_filter::EventFilter;
use super::exchange_watch::ExchangeWatch;
use super::headers::{self, SESSION};
use super::holder::Holder;
use super::in_flight::Hold;
use super::lifetime;
use super::mcp_error::single_id;
use super::mounted_backend::MountedBackend;
use super::policy_input;
use super::proxy_error::ProxyError;
use super::rejection::Rejection;
use super::relay::Relay;
use super::request;
use super::response_head::{self, Shape, UpstreamAnswer};
use super::rewrite::EndpointRewriter;
use super::routes::{BackendRoute, McpEndpoint};
use super::sessions::Sessions;
use super::state::ProxyState;
use super::tool_list_filter::{self, ToolListFilter};
use super::upstream_head::{self, UpstreamHead};
use gateway_core::access_token::BackendToken;
use gateway_core::policy::Permit;
use gateway_core::reason::Reason;
use gateway_upstream::{Catalogue, Connection, Failure, Pooling, Reached, Request, RequestError};

/// What is wrong with an answer that would have to be held whole and can't be.
pub(super) const TOO_LARGE: &str = "a list of tools or an answer about a task is too large";

/// Exchanges one request and its answer with the backend of `route`.
pub(super) async fn exchange(
    state: &ProxyState,
    session: &mut ServerSession,
    context: &RequestContext,
    route: BackendRoute<'_>,
    mut admitted: Admitted,
) -> Result<(), ProxyError> {
    let mounted = route.mounted;
    let lifetime = admitted.lifetime.clone();
    let revoked = pin!(lifetime.ended());
    let leaving = pin!(lifetime::shutdown(
        &state.draining,
        admitted.waits_for_events
    ));
    let mut watch = ExchangeWatch::new(revoked, leaving);
    let (request, reached) =
        ask(state, session, context, mounted, &mut admitted, &mut watch).await?;
    let (mut connection, target) = (reached.connection, reached.target);
    let head = connection.read_head().await;
    let head = head.map_err(|failure| Rejection::Upstream(failure, None))?;
    context.answered(Some(head.status.as_u16()));
    let (policy, token) = (&state.policy, admitted.permit.token());
    let is_restricted = policy_input::cuts_lists(policy, &state.catalogue, token, mounted);
    let upstream = UpstreamAnswer::from(head);
    let form = AnswerForm::new(upstream, &request.method, route, &admitted, is_restricted)?;
    let conversation = conversation(&admitted, upstream);
    let head = head.clone();
    // It is sent and asked about no more. An answer may last for hours.
    admitted.request.body = None;
    let (shape, list) = match form.list {
        None => (form.shape, None),
        Some(limit) => {
            let filter = list_filter(state, mounted, context, &admitted, &conversation);
            let is_lenient = route.endpoint == McpEndpoint::Messages || !head.status.is_success();
            let hold = context.hold(&state.budget);
            let permit = &admitted.permit;
            let whole = whole_list(&mut connection, filter, permit, is_lenient, hold, limit);
            let list = watch.before_answer(session, whole).await??;
            (Shape::Bytes(Some(list.len() as u64)), Some(list))
        }
    };
    let sessions = &state.sessions;
    let headers = answer_headers(sessions, context, &head.headers, shape, mounted, &admitted);
    let takes_chunks = request.version == Version::HTTP_11;
    let answer = response_head::framed(head.status, headers, shape, takes_chunks)?;
    let status = answer.status.as_u16();
    session.write_response_header(Box::new(answer)).await?;

    let hold = form.is_filtered.then(|| context.hold(&state.budget));
    let relay = Relay {
        dependencies: state.filter_dependencies(),
        connections: &state.connections,
        legacy_outboxes: &state.legacy_outboxes,
        streams: &state.streams,
        budget: &state.budget,
        keep_alive: state.settings.keep_alive,
        mounted,
        context,
        permit: &admitted.permit,
        shape,
        endpoint: form.is_stream.then(|| EndpointRewriter::new(target)),
        outbox: None,
        conversation,
        lifetime: &lifetime,
        filter: hold.map(EventFilter::new),
        waits_for_events: admitted.waits_for_events,
        status,
    };
    if let Some(list) = list {
        return relay.finish(session, connection, list).await;
    }
    relay.run(session, connection, &mut watch).await
}

/// Sends the request, and waits for the head of its answer as long as the client does.
async fn ask(
    state: &ProxyState,
    session: &mut ServerSession,
    context: &RequestContext,
    mounted: &MountedBackend,
    admitted: &mut Admitted,
    watch: &mut ExchangeWatch<'_>,
) -> Result<(RequestHeader, Reached), ProxyError> {
    let mut request = session.req_header().clone();
    if let Some(name) = admitted.mirrored_name.take() {
        request.insert_header(request::NAME, name)?;
    }
    // Boxed: a stream, which is done with it, need not have room for it.
    let reached = Box::pin(reach(state, context, mounted, &request, admitted));
    let reached = watch.before_answer(session, reached).await;
    let reached = reached.map_err(|error| match error {
        ProxyError::Denied(Rejection::AccountEnded) => {
            account_doubt::ended(account_doubt::asked(state, mounted, admitted)).into()
        }
        error => error,
    })?;
    let reached =
        reached.inspect_err(|rejection| distrust(&state.catalogue, mounted, rejection))?;
    Ok((request, reached))
}

/// What a backend that can't be reached may have become meanwhile: its tools are asked for anew, and
/// where it went away, what it speaks.
pub(super) fn distrust(catalogue: &Catalogue, mounted: &MountedBackend, rejection: &Rejection) {
    if matches!(rejection, Rejection::Upstream(_, _)) {
        catalogue.invalidate(&mounted.backend.mount.name);
    }
    // A backend that came back may be another one.
    if matches!(
        rejection,
        Rejection::Upstream(Failure::Unreachable(_) | Failure::NoAnswer(_), _)
    ) {
        mounted.protocols.invalidate();
    }
}

/// A backend that refuses how a client begins may have been replaced by one of another revision
/// family.
fn doubt_protocols(head: UpstreamAnswer<'_>, route: BackendRoute<'_>, permit: &Permit) {
    let is_first = route.endpoint == McpEndpoint::Sse
        || permit
            .calls()
            .first()
            .is_some_and(|call| call.method == "initialize");
    if is_first && matches!(head.status.as_u16(), 400 | 404 | 405) {
        route.mounted.protocols.invalidate();
    }
}

/// The session that the answer belongs to, which may begin with it; empty where there is none.
pub(super) fn conversation(admitted: &Admitted, head: UpstreamAnswer<'_>) -> String {
    let begun = || headers::text(head.headers, SESSION).map(str::to_owned);
    admitted.session.clone().or_else(begun).unwrap_or_default()
}

/// What kind of answer a backend gives, and how it is passed on.
pub(super) struct AnswerForm {
    pub(super) shape: Shape,
    /// Whether it is the stream of the legacy transport.
    is_stream: bool,
    /// Whether its events are judged.
    pub(super) is_filtered: bool,
    /// How large it may be, where it is held whole to be judged.
    pub(super) list: Option<usize>,
}

impl AnswerForm {
    /// `is_restricted`: lists of tools in it may have to be cut.
    pub(super) fn new(
        head: UpstreamAnswer<'_>,
        method: &Method,
        route: BackendRoute<'_>,
        admitted: &Admitted,
        is_restricted: bool,
    ) -> Result<Self, Rejection> {
        refuse_unusable(head, route.mounted)?;
        doubt_protocols(head, route, &admitted.permit);
        let is_stream = route.endpoint == McpEndpoint::Sse
            && *method == Method::GET
            && head.status == StatusCode::OK;
        let shape = Shape::from_head(head, *method == Method::HEAD);
        if is_stream && shape != Shape::Events {
            return Err(Rejection::UpstreamUnusable);
        }
        let list = match (is_restricted, shape) {
            (true, Shape::Bytes(_)) => {
                tool_list_filter::are_asked_for(&admitted.permit, admitted.request.bytes())
            }
            _ => None,
        };
        let is_filtered = is_restricted && shape == Shape::Events;
        if (list.is_some() || is_filtered) && !tool_list_filter::can_be_read(head.headers) {
            return Err(Rejection::UpstreamUnusable);
        }
        Ok(Self {
            shape,
            is_stream,
            is_filtered,
            list,
        })
    }
}

/// What judges the lists of an answer.
pub(super) fn list_filter<'a>(
    state: &'a ProxyState,
    mounted: &'a MountedBackend,
    context: &'a RequestContext,
    admitted: &'a Admitted,
    conversation: &'a str,
) -> ToolListFilter<'a> {
    ToolListFilter {
        dependencies: state.filter_dependencies(),
        mounted,
        context,
        token: admitted.permit.token(),
        calls: admitted.permit.calls(),
        conversation,
    }
}

/// The headers of the answer but for its framing, with the session id that is the client's alone.
fn answer_headers(
    sessions: &Sessions,
    context: &RequestContext,
    upstream: &HeaderMap,
    shape: Shape,
    mounted: &MountedBackend,
    admitted: &Admitted,
) -> HeaderMap {
    let bound = bound_session(sessions, upstream, mounted, admitted);
    let mut headers = response_head::headers(upstream, shape, bound);
    if let (Some(_), Some(challenge)) = (&mounted.backend.aggregate, upstream.get(WWW_AUTHENTICATE))
    {
        headers.insert(WWW_AUTHENTICATE, challenge.clone());
    }
    if let Some(origin) = &context.allowed_origin {
        allow_reading(&mut headers, origin);
    }
    headers
}

/// The session id for the client, where the backend's answer has one.
pub(super) fn bound_session(
    sessions: &Sessions,
    upstream: &HeaderMap,
    mounted: &MountedBackend,
    admitted: &Admitted,
) -> Option<String> {
    let holder = Holder::new(admitted.permit.token(), &mounted.backend.mount);
    let id = headers::text(upstream, SESSION)?;
    Some(sessions.bind(id, holder, admitted.opens_urls))
}

/// Sends what nobody waits for an answer to: the backend takes it or does not.
pub(super) async fn send_unanswered(
    state: &ProxyState,
    context: &RequestContext,
    request: &RequestHeader,
    mounted: &MountedBackend,
    admitted: &Admitted,
) {
    if let Ok(reached) = reach(state, context, mounted, request, admitted).await {
        reached.connection.abandon().await;
    }
}

/// A connection on which the backend has answered with the head of a final response. Where it doubts the
/// person's account, that is settled first.
async fn reach(
    state: &ProxyState,
    context: &RequestContext,
    mounted: &MountedBackend,
    request: &RequestHeader,
    admitted: &Admitted,
) -> Result<Reached, Rejection> {
    let mut is_second = false;
    loop {
        let sent = admitted.account.as_ref().map(|account| account.value());
        let reaching = reach_once(state, context, mounted, request, (admitted, sent.as_ref()));
        let mut reached = reaching.await?;
        if mounted.backend.account.is_none() {
            return Ok(reached);
        }
        let head = reached.connection.read_head().await;
        let head = head.map_err(|failure| Rejection::Upstream(failure, None))?;
        let Some(doubt) = AccountDoubt::of(head.status.as_u16(), &head.headers) else {
            return Ok(reached);
        };
        reached.connection.abandon().await;
        // Boxed: it happens seldom.
        let settling = settle(state, mounted, admitted, &doubt, sent.as_ref(), is_second);
        Box::pin(settling).await?;
        is_second = true;
    }
}

/// Settles what a backend doubts of the account in whose name it was asked: `Ok` where the request is sent
/// once more. `sent`: the value that says whose account it is.
pub(super) async fn settle(
    state: &ProxyState,
    mounted: &MountedBackend,
    admitted: &Admitted,
    doubt: &AccountDoubt,
    sent: Option<&HeaderValue>,
    is_second: bool,
) -> Result<(), Rejection> {
    let call = AccountCall {
        accounts: &state.server.accounts,
        backend: &mounted.backend.mount.name,
        claims: admitted.permit.token().claims(),
        account: admitted.account.as_ref(),
    };
    let Err(why) = call.settle(doubt, sent, is_second).await else {
        return Ok(());
    };
    let asked = account_doubt::asked(state, mounted, admitted);
    let refusal = call.refusal(why, asked).await;
    Err(Rejection::Account(Box::new(refusal)))
}

/// What [`reach`] does, once. `sent`: the value that says whose account it is.
async fn reach_once(
    state: &ProxyState,
    context: &RequestContext,
    mounted: &MountedBackend,
    request: &RequestHeader,
    (admitted, sent): (&Admitted, Option<&HeaderValue>),
) -> Result<Reached, Rejection> {
    let (backend, permit) = (&mounted.backend, &admitted.permit);
    let token = state
        .backend_tokens
        .get(mounted, permit, state.clock.now())?;
    let trace = context.propagated();
    let head = |target: &str| {
        upstream_head::build(&UpstreamHead {
            method: &request.method,
            target,
            client_headers: &request.headers,
            session: admitted.session.as_deref(),
            body_length: admitted.request.bytes().map(Bytes::len),
            backend,
            identity: &state.settings.identity_headers,
            claims: permit.token().claims(),
            token: token.as_deref().map(BackendToken::as_str),
            account: sent,
            trace: trace.as_ref(),
        })
    };
    let caller = context.caller(backend, permit.token());
    let request = Request {
        target: &admitted.target,
        body: admitted.request.bytes().cloned(),
        account: admitted.account.as_deref(),
        pooling: Pooling::Reuse,
        is_repeatable: permit.is_read_only(),
        follows_redirect: true,
        caller: caller.as_ref(),
        deadline: Some(backend.response_timeout),
    };
    let reached = state.connections.request(backend, request, head).await;
    reached.map_err(|error| match error {
        RequestError::Failed(failure) => Rejection::Upstream(failure, single_id(permit)),
        RequestError::Redirected(_) => Rejection::UpstreamRedirects,
        RequestError::Unspeakable => Rejection::Unspeakable,
    })
}

/// The whole of an answer that may hold a list, cut to what the token allows.
async fn whole_list(
    connection: &mut Connection,
    filter: ToolListFilter<'_>,
    permit: &Permit,
    is_lenient: bool,
    mut hold: Hold,
    limit: usize,
) -> Result<Bytes, Rejection> {
    let failed = |failure| Rejection::Upstream(failure, single_id(permit));
    let mut body = Vec::new();
    let patience = filter.mounted.backend.response_timeout;
    loop {
        let read = timeout(patience, connection.read_body())
            .await
            .unwrap_or(Err(Failure::TimedOut("the rest of the response")));
        match read.map_err(failed)? {
            Some(chunk) if body.len() + chunk.len() <= limit => {
                hold.grow_beyond_free(body.len() + chunk.len())?;
                body.extend_from_slice(&chunk);
            }
            Some(_) => return Err(failed(Failure::Broken(TOO_LARGE.to_owned()))),
            None => break,
        }
    }
    filter
        .judge_body(body, is_lenient)
        .await
        .map(|list| hold.over(list))
        .map_err(|unreadable| failed(Failure::Broken(unreadable.to_string())))
}

/// A backend that wants credentials wants them from the gateway: its challenge would send the
/// client to log in where there is no login. A 403 or 421 without a challenge is about the call
/// or the Host; it goes on, and a line in the log names the likely cause.
fn refuse_unusable(head: UpstreamAnswer<'_>, mounted: &MountedBackend) -> Result<(), Rejection> {
    if mounted.backend.aggregate.is_some() {
        // What was refused at a member is refused by the gateway itself.
        return Ok(());
    }
    let challenges = head.headers.contains_key(WWW_AUTHENTICATE);
    match head.status.as_u16() {
        401 | 407 => Err(Rejection::UpstreamRefusedUs),
        403 if challenges => Err(Rejection::UpstreamRefusedUs),
        status @ (403 | 421) => {
            let reason = Reason::UpstreamRefusedHost;
            log::warn!(
                event = "upstream_refused", reason = reason.code(), hint = reason.remedy(), status = status,
                backend = mounted.backend.mount.name;
                "the backend refused a request"
            );
            Ok(())
        }
        _ => Ok(()),
    }
}
