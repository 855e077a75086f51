//! Admission: the questions between a request for a backend and its permit, in order. Nothing is
//! read of a body, and nothing said about methods, before the token has been confirmed.
//!
//! It goes by the value of a request ([`McpRequest`]) and knows no transport: whoever brings one gives its
//! head to [`confirm`], reads the body if that lets it, and gives it to [`admit`].

mod account;
mod body;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method};
use tokio::time::timeout;

use self::body::read_calls;
use super::account_doubt;
use super::audit::AdmissionEvent;
use super::call_limits::{self, Cost, Counters, LimitRefusal, Why};
use super::confirmation::LastToken;
use super::context::RequestContext;
use super::cors::{Origin, origin};
use super::decline_message::DeclineMessage;
use super::destination::{Destination, GatewayOwned};
use super::holder::Holder;
use super::lifetime::StreamLifetime;
use super::mcp_error::{Delivery, RefusedCall};
use super::policy_input::DecisionContext;
use super::rejection::Rejection;
use super::request::{McpRequest, RequestHead};
use super::routes::{BackendRoute, McpEndpoint, OwnedRoute};
use super::state::ProxyState;
use super::tasks::{TaskOwner, Tasks};
use super::watchdog::RequestWatchdog;
use super::{policy_input, tool_states, trace};
use gateway_accounts::AccountError;
use gateway_core::access_token::FailedCheck;
use gateway_core::clock::Clock;
use gateway_core::grants::personal::PersonalToken;
use gateway_core::limits::is_counted;
use gateway_core::policy::rules::{RequestedAction, Rules};
use gateway_core::policy::{
    self, AccessToken, DecisionInput, Permit, Question, Refusal, Refused, TokenRejection,
};
use gateway_core::reason::Reason;
use gateway_upstream::{Account, Catalogue};
use mcp_protocol::calls::Call;

/// How long what counts nowhere waits for the number of calls.
const BRIEFLY: Duration = Duration::from_millis(200);

/// A request that may go to its backend, with all that the exchange needs of it.
pub(super) struct Admitted {
    pub(super) permit: Permit,
    pub(super) lifetime: StreamLifetime,
    /// Path and query at the backend; for what is the gateway's own, its name.
    pub(super) target: String,
    /// The backend's own session id.
    pub(super) session: Option<String>,
    /// What of the gateway's own the request belongs to, rather than the backend's.
    pub(super) own: Option<GatewayOwned>,
    /// With the backend's own names in it.
    pub(super) request: McpRequest,
    /// The header that mirrors the name of a task, where it is not as the client sent it.
    pub(super) mirrored_name: Option<HeaderValue>,
    /// Whether the answer is a stream that waits for events, rather than that of a call.
    pub(super) waits_for_events: bool,
    /// Whether it is a part of one for several backends together.
    pub(super) is_part: bool,
    /// The account at the backend that it is made with, where people call it with their own.
    pub(super) account: Option<Arc<Account>>,
    /// Whether the client has declared that it opens addresses for its person; only known where it may
    /// have to be asked to.
    pub(super) opens_urls: bool,
    /// Why the request itself is refused; the rest is then what the backend is told of it.
    pub(super) refused: Option<Box<Rejection>>,
}

/// Confirms the token of a request, and that its head may be followed by a body. Before that nothing is
/// read of one. `last`: what the same connection presented before, as far as that is remembered.
pub(super) async fn confirm(
    state: &ProxyState,
    context: &mut RequestContext,
    head: RequestHead<'_>,
    route: BackendRoute<'_>,
    last: &mut LastToken,
) -> Result<ConfirmedRequest, Rejection> {
    context.endpoint = Cow::Borrowed(route.endpoint.as_str());
    context.routed(|| Cow::Owned(route.path()));
    if let Some(query) = route.target.query
        && PersonalToken::may_stand_in(query)
    {
        let revoked = Box::pin(state.server.revoke_exposed_tokens(query, state.clock.now())).await;
        return Err(match revoked {
            Ok(()) => TokenRejection::Invalid(Reason::TokenInUrl).into(),
            // It is said to be revoked once it is.
            Err(error) => TokenRejection::Unknown(error.reason()).into(),
        });
    }
    let token = match &context.part_of {
        Some(part_of) => part_of.token.clone(),
        None => {
            let confirmation = &state.confirmation;
            let confirming =
                confirmation.confirm(head.headers, route.mounted, state.clock.now(), last);
            confirming.await?
        }
    };
    context.belongs_to(token.verified());
    // Whoever has no token learns where to get one, from wherever it asks.
    if let Origin::Foreign(origin) = origin(head.headers, &state.settings) {
        return Err(Rejection::Origin(origin));
    }
    let outlasts = state.settings.streams_outlast_tokens;
    let now = state.clock.now();
    let lifetime = StreamLifetime::new(&state.revocations, token.verified(), outlasts, now);
    if !route.target.names_host {
        head.check_host(&state.settings)?;
    }
    head.check_method(route.endpoint)?;
    let account = account_doubt::account_of(state, route.mounted, token.claims()).await;
    let connected = account.as_ref().ok().and_then(Option::clone);
    context.account = connected.as_ref().map(|account| account.id().clone());
    let token = token.with_account(context.account.clone());
    let lifetime = lifetime.with_account(connected);
    if let Some(watchdog) = RequestWatchdog::current() {
        watchdog.lifetime(lifetime.clone());
    }
    let holder = Holder::new(&token, &route.mounted.backend.mount);
    let destination = match &account {
        Ok(_) => Destination::find(&state.sessions, head.headers, route, holder)?,
        // It goes to no backend, and its session may be of an account that is connected no more.
        Err(error) if error.is_for_person() => {
            Destination::unconnected(&state.sessions, head, route, holder)
        }
        // To no backend.
        Err(_) => Destination::default(),
    };
    head.check_body()?;
    context.confirming = context.started.elapsed();
    Ok(ConfirmedRequest {
        request: McpRequest::new(route.endpoint, head),
        destination,
        rules: state.policy.current(),
        route: route.to_owned(),
        token,
        lifetime,
        account,
        may_wait: true,
        is_part: context.part_of.is_some(),
    })
}

/// From a confirmed token to the permit. `head` is the one that was confirmed; `body` is that of a POST.
pub(super) async fn admit(
    state: &ProxyState,
    context: &mut RequestContext,
    head: RequestHead<'_>,
    mut confirmed: ConfirmedRequest,
    body: Option<Bytes>,
) -> Result<Admitted, Rejection> {
    let begun = Instant::now();
    let (calls, mirrored_name) = match body {
        Some(body) => read_calls(state, head, &mut confirmed, body).await?,
        None => (Vec::new(), None),
    };
    trace_message(context, &confirmed);
    context.asks_for(head.method, &calls);
    let part_of = context.part_of.as_ref();
    // Before anything of an account: who left this member is led to no page of it.
    if part_of.is_some_and(|part_of| !part_of.is_left) {
        let refusal = Refusal::Narrowed(FailedCheck("backend"));
        return refuse(state, context, confirmed, Refused { refusal, calls });
    }
    let opens_urls = confirmed.route.mounted.backend.account.is_some()
        && account::opens_urls(head, &mut confirmed)?;
    if let Some(told) = account::connected(state, &confirmed, &calls) {
        return Err(told);
    }
    if let Err(error) = &confirmed.account
        && !confirmed.is_held(&calls)
    {
        // Boxed: it happens seldom.
        return Err(Box::pin(account::without_account(
            state,
            &confirmed,
            error,
            (calls, opens_urls),
        ))
        .await);
    }
    let waits_for_events = head.method == Method::GET || calls.iter().any(Call::listens);
    if confirmed.route.mounted.backend.aggregate.is_some() {
        let permit = policy::let_members_decide(confirmed.token.clone(), calls);
        let body = confirmed.request.bytes().map_or(0, Bytes::len);
        let (route, admissions) = (confirmed.route.route(), &state.admissions);
        admissions.allow(context, route, permit.calls(), body, begun);
        return Ok(Admitted {
            waits_for_events,
            ..confirmed.admitted(permit)
        });
    }
    let rules = confirmed.rules.as_ref();
    if rules.is_some_and(|rules| rules.asks_for_calls_today()) {
        // Boxed: only who limits anything needs room for it.
        let asked = Box::pin(count_calls(state, &confirmed, &calls));
        context.calls_today = Some(asked.await?);
    }
    let decision = decide(&state.catalogue, state.clock, context, &confirmed, calls);
    match decision.await {
        Ok(permit) => {
            let cost = if call_limits::concern(&state.server.limits, &permit) {
                // Boxed, as above.
                Box::pin(take(state, &confirmed, &permit)).await?
            } else {
                None
            };
            record(state, context, &confirmed, &permit)?;
            let ends = waits_for_events.then(|| confirmed.lifetime.spent());
            context.bytes = cost.and_then(|cost| cost.kept(ends));
            let body = confirmed.request.bytes().map_or(0, Bytes::len);
            let (route, admissions) = (confirmed.route.route(), &state.admissions);
            admissions.allow(context, route, permit.calls(), body, begun);
            expect_answers(&state.tasks, &confirmed, permit.calls());
            Ok(Admitted {
                mirrored_name,
                opens_urls,
                waits_for_events,
                ..confirmed.admitted(permit)
            })
        }
        Err(refused) => refuse(state, context, confirmed, refused),
    }
}

/// The trace that a message belongs to goes before the one of its head.
fn trace_message(context: &RequestContext, confirmed: &ConfirmedRequest) {
    if let (Some(trace), Some(body)) = (&context.trace, &confirmed.request.body)
        && let Some(parent) = trace::message_context(&body.messages)
    {
        trace.message_context(parent);
    }
}

/// Writes down that a request may go: without that it does not.
fn record(
    state: &ProxyState,
    context: &RequestContext,
    confirmed: &ConfirmedRequest,
    permit: &Permit,
) -> Result<(), Rejection> {
    let permitted = AdmissionEvent::Permitted {
        permit,
        body: confirmed.request.body.as_ref(),
    };
    let (mounted, now) = (confirmed.route.route().mounted, state.clock.now());
    let told = (state.admissions).record(&permitted, context, Some(mounted), now);
    told.map_err(|_| Rejection::AuditDown)
}

/// Takes what a request costs of limits: for good once it is kept.
async fn take(
    state: &ProxyState,
    confirmed: &ConfirmedRequest,
    permit: &Permit,
) -> Result<Option<Cost>, Rejection> {
    let counters = Counters {
        limits: &state.server.limits,
        catalogue: &state.catalogue,
        mounted: &confirmed.route.mounted,
        caller: policy_input::caller(permit.token()),
    };
    let request = &confirmed.request;
    // Whoever goes is never kept.
    if request.method == Method::DELETE {
        return Ok(None);
    }
    let body = request.bytes().map_or(0, Bytes::len);
    let cost = counters.take(permit, body, request.is_batch()).await?;
    Ok(Some(cost))
}

/// How many calls the person has made today, without these, which are counted now: whether or not the policy
/// lets them through, so that nobody learns by trying for nothing. Where nothing is counted, what is known is
/// told: a store that is away must not keep anybody from a list, or from ending a session.
async fn count_calls(
    state: &ProxyState,
    confirmed: &ConfirmedRequest,
    calls: &[Call],
) -> Result<u64, Rejection> {
    let (shares, user) = (state.server.limits.shares(), &confirmed.token.claims().user);
    let counted = calls.iter().filter(|call| is_counted(call)).count() as u64;
    if counted == 0 {
        let known = timeout(BRIEFLY, shares.calls_today(user, 0)).await;
        return Ok(known.ok().and_then(Result::ok).unwrap_or_default());
    }
    let before = shares.calls_today(user, counted).await;
    before.map_err(|reason| {
        Rejection::Limit(Box::new(LimitRefusal {
            why: Why::Unknown(reason),
            calls: calls.to_vec(),
            is_batch: confirmed.request.is_batch(),
        }))
    })
}

/// A request whose token counts.
pub(super) struct ConfirmedRequest {
    route: OwnedRoute,
    request: McpRequest,
    token: AccessToken,
    lifetime: StreamLifetime,
    destination: Destination,
    /// The operator's policy, as it stood when the token was confirmed.
    rules: Option<Arc<Rules>>,
    /// Whether it is a part of one for several backends together.
    is_part: bool,
    /// The account at the backend that it is made with; or why it can't be made with one.
    account: Result<Option<Arc<Account>>, AccountError>,
    /// Whether its person may be waited for, who has said to connect an account.
    may_wait: bool,
}

impl ConfirmedRequest {
    /// How long the right to it lasts.
    pub(super) const fn lifetime(&self) -> &StreamLifetime {
        &self.lifetime
    }

    /// What of the gateway's own it belongs to, rather than the backend's.
    pub(super) const fn own(&self) -> Option<&GatewayOwned> {
        self.destination.own.as_ref()
    }

    /// Whether a body belongs to it.
    pub(super) fn has_body(&self) -> bool {
        self.request.method == Method::POST
    }

    fn admitted(self, permit: Permit) -> Admitted {
        Admitted {
            permit,
            lifetime: self.lifetime,
            target: self.destination.target,
            session: self.destination.session,
            own: self.destination.own,
            request: self.request,
            mirrored_name: None,
            waits_for_events: false,
            is_part: self.is_part,
            account: self.account.ok().flatten(),
            opens_urls: false,
            refused: None,
        }
    }
}

/// What the policy says about a request, told all that it may want to know.
async fn decide(
    catalogue: &Arc<Catalogue>,
    clock: Clock,
    context: &RequestContext,
    confirmed: &ConfirmedRequest,
    calls: Vec<Call>,
) -> Result<Permit, Refused> {
    let (token, mounted) = (&confirmed.token, &confirmed.route.mounted);
    let rules = confirmed.rules.as_deref();
    let said = policy_input::said(catalogue, rules, mounted, token, &calls).await;
    let read_only_tools = said.read_only();
    let may_ask = said.labels().is_some();
    let tool_states = tool_states::of_calls(catalogue, token, mounted, &calls, may_ask).await;
    let runs_tools = calls.iter().any(|call| call.tool().is_some());
    let listed = runs_tools
        .then(|| policy_input::doubled(catalogue, token, mounted))
        .flatten();
    let now = clock.now();
    let around = DecisionContext::new(token, mounted, context, now, rules);
    let input = DecisionInput {
        now,
        approval_required: &mounted.backend.approval_required,
        read_only_tools: read_only_tools.as_ref(),
        tool_states: &tool_states,
        doubled: listed.as_deref().map(|listing| &listing.doubled),
        policy: rules.map(|rules| Question {
            rules,
            around: around.facts(),
            labels: said.labels(),
            without_message: match confirmed.request.method {
                Method::DELETE => RequestedAction::end(),
                _ => RequestedAction::stream(),
            },
        }),
    };
    policy::decide(token.clone(), calls, input)
}

/// What becomes of a request that the policy refuses: nothing, or what its backend is told instead.
fn refuse(
    state: &ProxyState,
    context: &RequestContext,
    confirmed: ConfirmedRequest,
    refused: Refused,
) -> Result<Admitted, Rejection> {
    let request = &confirmed.request;
    let declined = DeclineMessage::new(&refused, &confirmed.token, request);
    let call = RefusedCall {
        refused,
        is_batch: request.is_batch(),
        is_stateless: request.is_stateless,
        delivery: match request.endpoint {
            McpEndpoint::Messages => Delivery::NoStream,
            McpEndpoint::Mcp | McpEndpoint::Sse if context.is_translated() => Delivery::Translated,
            McpEndpoint::Mcp | McpEndpoint::Sse => Delivery::Response,
        },
    };
    let rejection = deliver(state, context, &confirmed, call);
    let Some(DeclineMessage { permit, body }) = declined else {
        return Err(rejection);
    };
    let mut admitted = confirmed.admitted(permit);
    admitted.request.body = Some(body);
    admitted.refused = Some(Box::new(rejection));
    Ok(admitted)
}

/// The refusal of a call. On the legacy transport clients read answers on their stream only.
fn deliver(
    state: &ProxyState,
    context: &RequestContext,
    request: &ConfirmedRequest,
    mut call: RefusedCall,
) -> Rejection {
    if call.delivery == Delivery::NoStream {
        let route = request.route.route();
        let challenge = context.challenge(&state.settings.issuer, route);
        let rejection = Rejection::Refused(Box::new(call.clone()));
        let answer = rejection.answer().within_mcp(Some(&challenge), &context.id);
        let holder = Holder::new(&request.token, &route.mounted.backend.mount);
        let (target, outboxes) = (&request.destination.target, &state.legacy_outboxes);
        if answer.is_some_and(|answer| outboxes.deliver(holder, target, answer)) {
            call.delivery = Delivery::Stream;
        }
    }
    Rejection::Refused(Box::new(call))
}

/// On the legacy transport an answer comes on a stream, where nothing says what it is about.
fn expect_answers(tasks: &Tasks, request: &ConfirmedRequest, calls: &[Call]) {
    if request.route.endpoint == McpEndpoint::Messages && request.token.is_restricted() {
        let owner = TaskOwner {
            holder: Holder::new(&request.token, &request.route.mounted.backend.mount),
            conversation: &request.destination.target,
        };
        tasks.expect(owner, calls);
    }
}
