//! Admission: the questions between a request for a backend and its permit, in order. Nothing is
//! read of a body, and nothing said about methods, before the token has been confirmed.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method};
use pingora::protocols::http::ServerSession;

use super::audit::AdmissionEvent;
use super::beside::Names;
use super::challenge::Challenge;
use super::context::{ProxyError, RequestContext};
use super::cors::{Origin, origin};
use super::declined::Declined;
use super::destination::{Destination, Own};
use super::lifetime::StreamLifetime;
use super::mcp_error::{Delivery, RefusedCall};
use super::peer::is_trusted;
use super::policy_input::Around;
use super::rejection::Rejection;
use super::routes::{BackendRoute, McpEndpoint, is_own_host};
use super::sessions::Sessions;
use super::settings::Settings;
use super::state::ProxyState;
use super::tasks::{Tasks, Theirs};
use super::watchdog::RequestWatchdog;
use super::{body, policy_input, tool_states};
use gateway_core::clock::Clock;
use gateway_core::policy::rules::{Asked, Rules};
use gateway_core::policy::{self, AccessToken, DecisionInput, Permit, Question, Refused};
use gateway_upstream::Catalogue;
use mcp_protocol::arguments::Paths;
use mcp_protocol::calls::{self, Call, MirrorHeaders};
use mcp_protocol::jsonrpc::{self, Keep, Kind};

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// A request that may go to its backend, with all that the exchange needs of it.
pub(super) struct Admitted {
    pub(super) permit: Permit,
    pub(super) lifetime: StreamLifetime,
    /// Path and query at the backend; for what is the gateway's own, its name.
    pub(super) target: String,
    /// The backend's own session id.
    pub(super) session: Option<String>,
    /// What of the gateway's own the request belongs to, rather than the backend's.
    pub(super) own: Option<Own>,
    /// Whether it says that it is of 2026-07-28 or later.
    pub(super) is_stateless: bool,
    pub(super) body: Option<Bytes>,
    /// Whether the answer is a stream that waits for events, rather than that of a call.
    pub(super) waits_for_events: bool,
    /// Why the request itself is refused; the rest is then what the backend is told of it.
    pub(super) refused: Option<Box<Rejection>>,
}

/// From bearer to permit.
pub(super) async fn admit(
    state: &ProxyState,
    session: &mut ServerSession,
    context: &mut RequestContext,
    route: BackendRoute<'_>,
) -> Result<Admitted, ProxyError> {
    let request = ConfirmedRequest::new(state, session, context, route).await?;
    let (calls, body) = match request.method {
        Method::POST => read_calls(state, session, context, &request).await?,
        _ => {
            refuse_body(session)?;
            (Vec::new(), None)
        }
    };
    context.asks_for(&request.method, &calls);
    let waits_for_events = request.method == Method::GET || calls.iter().any(Call::listens);
    let decision = decide(&state.catalogue, state.clock, context, &request, calls);
    match decision.await {
        Ok(permit) => {
            let permitted = AdmissionEvent::Permitted {
                permit: &permit,
                body: body.as_deref(),
            };
            let (backend, now) = (&route.mounted.backend.mount.name, state.clock.now());
            let told = state.admissions.tell(&permitted, context, backend, now);
            told.map_err(|_| Rejection::AuditDown)?;
            expect_answers(&state.tasks, &request, permit.calls());
            Ok(request.admitted(permit, body, waits_for_events))
        }
        Err(refused) => Ok(refuse(state, context, request, refused, body)?),
    }
}

/// A request whose token counts, as far as its head tells.
struct ConfirmedRequest<'a> {
    route: BackendRoute<'a>,
    method: Method,
    token: AccessToken,
    lifetime: StreamLifetime,
    destination: Destination,
    /// Whether it says that it is of 2026-07-28 or later.
    is_stateless: bool,
    /// The operator's policy, as it stood when the token was confirmed.
    rules: Option<Arc<Rules>>,
}

impl<'a> ConfirmedRequest<'a> {
    async fn new(
        state: &ProxyState,
        session: &ServerSession,
        context: &mut RequestContext,
        route: BackendRoute<'a>,
    ) -> Result<Self, Rejection> {
        let head = session.req_header();
        let confirmation = &state.confirmation;
        let token = confirmation
            .confirm(&head.headers, route.mounted, state.clock.now())
            .await?;
        context.belongs_to(token.claims());
        // Whoever has no token learns where to get one, from wherever it asks.
        if let Origin::Foreign(origin) = origin(&head.headers, &state.settings) {
            return Err(Rejection::Origin(origin));
        }
        let outlasts = state.settings.streams_outlast_tokens;
        let now = state.clock.now();
        let lifetime = StreamLifetime::new(&state.revocations, token.verified(), outlasts, now);
        if let Some(watchdog) = RequestWatchdog::current() {
            watchdog.lifetime(lifetime.clone());
        }
        if !route.target.names_host {
            check_host(session, &state.settings)?;
        }
        check_method(route.endpoint, &head.method)?;
        Ok(Self {
            destination: Destination::find(&state.sessions, &head.headers, route, token.claims())?,
            is_stateless: is_stateless(route.endpoint, &head.headers),
            rules: state.policy.current(),
            method: head.method.clone(),
            route,
            token,
            lifetime,
        })
    }

    /// What of a body's arguments is kept for policy and attenuation. `paths` holds what is asked of
    /// them in all.
    fn keep<'k>(&'k self, paths: &'k mut Paths) -> Keep<'k> {
        let ruled = self
            .rules
            .as_ref()
            .map_or(Keep::Nothing, |rules| rules.keep());
        match (self.token.attenuation().asks_for_arguments(), ruled) {
            (false, ruled) => ruled,
            (true, Keep::Arguments) => Keep::Arguments,
            (true, Keep::Nothing) => Keep::At(paths),
            (true, Keep::At(asked)) => {
                *paths = paths.and(asked);
                Keep::At(paths)
            }
        }
    }

    /// The names that the client uses for what the backend named.
    fn names<'n>(&'n self, sessions: &'n Sessions) -> Names<'n> {
        let destination = &self.destination;
        let conversation = match (&destination.own, self.route.endpoint) {
            (Some(Own::Session(name) | Own::Stream(name)), _) => name.as_str(),
            (None, McpEndpoint::Messages) => destination.target.as_str(),
            (None, _) => destination.session.as_deref().unwrap_or_default(),
        };
        Names {
            sessions,
            claims: self.token.claims(),
            mount: &self.route.mounted.backend.mount,
            conversation,
        }
    }

    fn admitted(self, permit: Permit, body: Option<Bytes>, waits_for_events: bool) -> Admitted {
        Admitted {
            permit,
            lifetime: self.lifetime,
            target: self.destination.target,
            session: self.destination.session,
            own: self.destination.own,
            is_stateless: self.is_stateless,
            body,
            waits_for_events,
            refused: None,
        }
    }
}

/// The calls of a request and its body, with the backend's own names in it.
async fn read_calls(
    state: &ProxyState,
    session: &mut ServerSession,
    context: &RequestContext,
    request: &ConfirmedRequest<'_>,
) -> Result<(Vec<Call>, Option<Bytes>), ProxyError> {
    let endpoint = request.route.endpoint;
    body::check_form(&session.req_header().headers)?;
    let (limit, patience) = (state.settings.request_body, state.settings.timeouts.body);
    let body = body::read(session, limit, patience, context.hold(&state.budget)).await?;
    let mut paths = request.token.attenuation().argument_paths();
    let keep = request.keep(&mut paths);
    let mut calls = judge(endpoint, &session.req_header().headers, &body, keep)?;
    let rules = request.rules.as_ref();
    if rules.is_some_and(|rules| rules.asks_for_resources()) {
        name_resources(&mut calls, &body)?;
    }
    let names = request.names(&state.sessions);
    let mut body = names.restore(body, &mut calls);
    if let [call] = calls.as_mut_slice()
        && call.listens()
        && !request.token.may_use(&call.method)
    {
        let cut = names.listen_to_tools(&body, call, &request.token);
        body = cut.unwrap_or(body);
    }
    if request.is_stateless {
        names.restore_header(session.req_header_mut(), &NAME);
    }
    tool_states::find_interfaces(
        &state.catalogue,
        &request.token,
        request.route.mounted,
        &mut calls,
    )
    .await;
    Ok((calls, Some(body)))
}

/// What the policy says about a request, told all that it may want to know.
async fn decide(
    catalogue: &Arc<Catalogue>,
    clock: Clock,
    context: &RequestContext,
    request: &ConfirmedRequest<'_>,
    calls: Vec<Call>,
) -> Result<Permit, Refused> {
    let (token, mounted) = (&request.token, request.route.mounted);
    let rules = request.rules.as_deref();
    let said = policy_input::said(catalogue, rules, mounted, token, &calls).await;
    let read_only_tools = said.read_only();
    let may_ask = said.labels().is_some();
    let tool_states = tool_states::of_calls(catalogue, token, mounted, &calls, may_ask).await;
    let runs_tools = calls.iter().any(|call| call.tool().is_some());
    let listed = runs_tools
        .then(|| policy_input::doubled(catalogue, token, mounted))
        .flatten();
    let now = clock.now();
    let around = Around::of(token, mounted, context, now);
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
            without_message: match request.method {
                Method::DELETE => Asked::end(),
                _ => Asked::stream(),
            },
        }),
    };
    policy::decide(token.clone(), calls, input)
}

/// What becomes of a request that the policy refuses: nothing, or what its backend is told instead.
fn refuse(
    state: &ProxyState,
    context: &RequestContext,
    request: ConfirmedRequest<'_>,
    refused: Refused,
    body: Option<Bytes>,
) -> Result<Admitted, Rejection> {
    let declined = body
        .as_ref()
        .and_then(|body| Declined::of(&refused, &request.token, body, request.is_stateless));
    let call = RefusedCall {
        refused,
        is_batch: body.as_deref().is_some_and(is_batch),
        is_stateless: request.is_stateless,
        delivery: match request.route.endpoint {
            McpEndpoint::Messages => Delivery::NoStream,
            McpEndpoint::Mcp | McpEndpoint::Sse => Delivery::Response,
        },
    };
    let rejection = deliver(state, context, &request, call);
    let Some(Declined { permit, body }) = declined else {
        return Err(rejection);
    };
    Ok(Admitted {
        refused: Some(Box::new(rejection)),
        ..request.admitted(permit, Some(body), false)
    })
}

/// The refusal of a call. On the legacy transport clients read answers on their stream only.
fn deliver(
    state: &ProxyState,
    context: &RequestContext,
    request: &ConfirmedRequest<'_>,
    mut call: RefusedCall,
) -> Rejection {
    if call.delivery == Delivery::NoStream {
        let route = request.route;
        let challenge = Challenge::new(&state.settings.issuer, route, &context.scope);
        let rejection = Rejection::Refused(Box::new(call.clone()));
        let answer = rejection.answer().within_mcp(Some(&challenge), &context.id);
        let (claims, target) = (request.token.claims(), &request.destination.target);
        let outboxes = &state.legacy_outboxes;
        if answer.is_some_and(|answer| outboxes.deliver(route.mounted, claims, target, answer)) {
            call.delivery = Delivery::Stream;
        }
    }
    Rejection::Refused(Box::new(call))
}

/// On the legacy transport an answer comes on a stream, where nothing says what it is about.
fn expect_answers(tasks: &Tasks, request: &ConfirmedRequest<'_>, calls: &[Call]) {
    if request.route.endpoint == McpEndpoint::Messages && request.token.is_restricted() {
        let theirs = Theirs {
            claims: request.token.claims(),
            mount: &request.route.mounted.backend.mount,
            conversation: &request.destination.target,
        };
        tasks.expect(theirs, calls);
    }
}

/// A trusted proxy may have put its own name for this gateway there.
fn check_host(session: &ServerSession, settings: &Settings) -> Result<(), Rejection> {
    let head = session.req_header();
    let named = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = named.or_else(|| head.uri.authority().map(|authority| authority.as_str()));
    let peer = session.client_addr().and_then(|address| address.as_inet());
    let is_from_proxy = peer.is_some_and(|peer| is_trusted(peer.ip(), &settings.trusted_proxies));
    match authority {
        // HTTP/1.0 without Host; later versions have been refused.
        None => Ok(()),
        Some(_) if is_from_proxy => Ok(()),
        Some(authority) if is_own_host(authority, &settings.issuer) => Ok(()),
        Some(_) => Err(Rejection::Host),
    }
}

/// The calls in a body, each judged. Mirrored headers are a rule of Streamable HTTP: on the legacy
/// transport clients of 2026-07-28 send its version and none of them.
fn judge(
    mcp_endpoint: McpEndpoint,
    headers: &HeaderMap,
    body: &[u8],
    keep: Keep<'_>,
) -> Result<Vec<Call>, Rejection> {
    let mirror = mirror(headers);
    let judged = jsonrpc::judge_and_keep(body, calls::takes_batches(mirror.version), keep)
        .map_err(|refused| Rejection::BadMessage(refused.0))?;
    let is_stateless = is_stateless(mcp_endpoint, headers);
    for message in judged.messages() {
        calls::check_shape(message, is_stateless)
            .map_err(|what| Rejection::BadMessage(what.to_owned()))?;
        if mcp_endpoint == McpEndpoint::Mcp {
            mirror.check(message).map_err(|what| {
                let id = message.id.clone().filter(|_| message.kind == Kind::Request);
                Rejection::HeaderMismatch(what, id)
            })?;
        }
    }
    Ok(judged.messages().iter().map(Call::of).collect())
}

/// Writes down what a subscription names, for a policy that asks about resources.
fn name_resources(calls: &mut [Call], body: &[u8]) -> Result<(), Rejection> {
    if !calls.iter().any(Call::listens) {
        return Ok(());
    }
    let named = calls::resources_of(body).map_err(|what| Rejection::BadMessage(what.to_owned()))?;
    for (call, resources) in calls.iter_mut().zip(named) {
        call.resources = resources;
    }
    Ok(())
}

/// Whether a judged body is an array of messages.
fn is_batch(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"[")
}

pub(super) fn mirror(headers: &HeaderMap) -> MirrorHeaders<'_> {
    let value = |name: &HeaderName| headers.get(name).map(|value| value.as_bytes());
    MirrorHeaders {
        version: value(&VERSION),
        method: value(&METHOD),
        name: value(&NAME),
    }
}

/// Whether a request says that it is of 2026-07-28 or later.
fn is_stateless(mcp_endpoint: McpEndpoint, headers: &HeaderMap) -> bool {
    mcp_endpoint == McpEndpoint::Mcp && mirror(headers).are_binding()
}

/// `/sse` is no endpoint for messages; 404 is what makes clients fall back to GET there.
fn check_method(mcp_endpoint: McpEndpoint, method: &Method) -> Result<(), Rejection> {
    match (mcp_endpoint, method) {
        (McpEndpoint::Mcp, &(Method::GET | Method::HEAD | Method::POST | Method::DELETE)) => Ok(()),
        (McpEndpoint::Mcp, _) => Err(Rejection::Method("GET, HEAD, POST, DELETE, OPTIONS")),
        (McpEndpoint::Sse, &(Method::GET | Method::HEAD)) => Ok(()),
        (McpEndpoint::Sse, &Method::POST) => Err(Rejection::NotFound),
        (McpEndpoint::Sse, _) => Err(Rejection::Method("GET, HEAD, OPTIONS")),
        (McpEndpoint::Messages, &Method::POST) => Ok(()),
        (McpEndpoint::Messages, _) => Err(Rejection::Method("POST, OPTIONS")),
    }
}

/// Only POST has a body here; one on another method would be dropped by some and read by others.
fn refuse_body(session: &mut ServerSession) -> Result<(), Rejection> {
    let headers = &session.req_header().headers;
    let declared = headers
        .get(CONTENT_LENGTH)
        .is_some_and(|length| length != "0");
    match declared || headers.contains_key(TRANSFER_ENCODING) {
        true => Err(Rejection::Ambiguous("this method has no body")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_those_of_the_transports() {
        for (mcp_endpoint, method, expected) in [
            (McpEndpoint::Mcp, Method::POST, Ok(())),
            (McpEndpoint::Mcp, Method::DELETE, Ok(())),
            (McpEndpoint::Sse, Method::GET, Ok(())),
            (McpEndpoint::Sse, Method::POST, Err(Rejection::NotFound)),
            (McpEndpoint::Messages, Method::POST, Ok(())),
            (
                McpEndpoint::Messages,
                Method::GET,
                Err(Rejection::Method("POST, OPTIONS")),
            ),
        ] {
            assert_eq!(check_method(mcp_endpoint, &method), expected);
        }
        for method in ["TRACE", "CONNECT", "PUT", "PATCH", "get", "post", "BREW"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            for mcp_endpoint in [McpEndpoint::Mcp, McpEndpoint::Sse, McpEndpoint::Messages] {
                assert!(
                    check_method(mcp_endpoint, &method).is_err(),
                    "{method} {mcp_endpoint:?}"
                );
            }
        }
    }

    #[test]
    fn a_batch_is_judged_by_the_version_of_its_request() {
        let batch = br#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a"}}]"#;
        let mut headers = HeaderMap::new();
        assert_eq!(
            judge(McpEndpoint::Mcp, &headers, batch, Keep::Nothing)
                .unwrap()
                .len(),
            2
        );
        headers.insert(VERSION, "2025-03-26".parse().unwrap());
        assert_eq!(
            judge(McpEndpoint::Mcp, &headers, batch, Keep::Nothing).unwrap()[1].tool(),
            Some("a")
        );
        headers.insert(VERSION, "2025-06-18".parse().unwrap());
        assert!(matches!(
            judge(McpEndpoint::Mcp, &headers, batch, Keep::Nothing),
            Err(Rejection::BadMessage(_))
        ));
    }

    #[test]
    fn mirrored_headers_are_asked_for_on_streamable_http_alone() {
        let message = br#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
        let mut headers = HeaderMap::new();
        headers.insert(VERSION, "2026-07-28".parse().unwrap());
        assert!(matches!(
            judge(McpEndpoint::Mcp, &headers, message, Keep::Nothing),
            Err(Rejection::HeaderMismatch(..))
        ));
        assert_eq!(
            judge(McpEndpoint::Messages, &headers, message, Keep::Nothing)
                .unwrap()
                .len(),
            1
        );
    }
}
