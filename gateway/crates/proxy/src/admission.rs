//! Admission: the questions between a request for a backend and its permit, in order. Nothing is
//! read of a body, and nothing said about methods, before the token has been confirmed.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method};
use pingora::protocols::http::ServerSession;
use sha2::{Digest as _, Sha256};

use super::beside::Names;
use super::context::{ProxyError, RequestContext};
use super::cors::{Origin, origin};
use super::declined::Declined;
use super::lifetime::StreamLifetime;
use super::mcp_error::{Delivery, RefusedCall};
use super::mounted_backend::MountedBackend;
use super::peer::is_trusted;
use super::policy_input::Around;
use super::rejection::{Challenge, Rejection};
use super::routes::{McpEndpoint, Target, is_own_host};
use super::state::ProxyState;
use super::tasks::Theirs;
use super::upstream_head::forwarded_query;
use super::watchdog::RequestWatchdog;
use super::{audit, body, tool_list_filter};
use gateway_core::access_token::{self, Claims, VerifiedToken};
use gateway_core::grants::{NotAllowed, ToolState};
use gateway_core::policy::rules::Asked;
use gateway_core::policy::{
    self, AccessToken, Audience, DecisionInput, Permit, Question, RevocationStatus, TokenRejection,
};
use gateway_core::protocol::bearer::{BearerToken, Presented};
use gateway_upstream::Tool;
use mcp_protocol::calls::{self, Belonging, Call, MirrorHeaders};
use mcp_protocol::jsonrpc::{self, Keep, Kind};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

const RESOURCES_READ: &str = "resources/read";

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

/// Something that a translation keeps for a client, by what is written into its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// A session.
    Session(String),
    /// A legacy stream, for which a message is posted.
    Stream(String),
}

impl ProxyState {
    /// From bearer to permit.
    pub(super) async fn admit(
        &self,
        session: &mut ServerSession,
        mounted: &MountedBackend,
        mcp_endpoint: McpEndpoint,
        asked: &Target<'_>,
        context: &mut RequestContext,
    ) -> Result<Admitted, ProxyError> {
        let token = self.confirm(&session.req_header().headers, mounted).await?;
        context.belongs_to(token.claims());
        // Whoever has no token learns where to get one, from wherever it asks.
        if let Origin::Foreign(origin) = origin(&session.req_header().headers, &self.settings) {
            return Err(Rejection::Origin(origin).into());
        }
        let outlasts = self.settings.streams_outlast_tokens;
        let now = self.clock.now();
        let lifetime = StreamLifetime::new(&self.revocations, token.verified(), outlasts, now);
        if let Some(watchdog) = RequestWatchdog::current() {
            watchdog.lifetime(lifetime.clone());
        }
        let method = session.req_header().method.clone();
        if !asked.names_host {
            self.check_host(session)?;
        }
        check_method(mcp_endpoint, &method)?;
        let head = session.req_header();
        let own = self.own(&head.headers, mounted, mcp_endpoint, asked, token.claims());
        let is_stateless = mcp_endpoint == McpEndpoint::Mcp && mirror(&head.headers).are_binding();
        let (target, bound_session) = match &own {
            Some(Own::Session(name) | Own::Stream(name)) => (name.clone(), None),
            None => (
                self.target(mounted, mcp_endpoint, asked, token.claims())?,
                self.session(&head.headers, mounted, mcp_endpoint, token.claims())?,
            ),
        };
        let rules = self.policy.current();
        let (calls, body) = match method {
            Method::POST => {
                let ruled = rules.as_ref().map_or(Keep::Nothing, |rules| rules.keep());
                let mut paths = token.attenuation().argument_paths();
                let keep = match (token.attenuation().asks_for_arguments(), ruled) {
                    (false, ruled) => ruled,
                    (true, Keep::Arguments) => Keep::Arguments,
                    (true, Keep::Nothing) => Keep::At(&paths),
                    (true, Keep::At(asked)) => {
                        paths = paths.and(asked);
                        Keep::At(&paths)
                    }
                };
                let (mut calls, body) = self
                    .read_calls(session, mcp_endpoint, keep, context)
                    .await?;
                if rules
                    .as_ref()
                    .is_some_and(|rules| rules.asks_for_resources())
                {
                    name_resources(&mut calls, body.as_deref().unwrap_or_default())?;
                }
                let conversation = match (&own, mcp_endpoint) {
                    (Some(Own::Session(name) | Own::Stream(name)), _) => name.as_str(),
                    (None, McpEndpoint::Messages) => target.as_str(),
                    (None, _) => bound_session.as_deref().unwrap_or_default(),
                };
                let names = Names {
                    sessions: &self.sessions,
                    claims: token.claims(),
                    mount: &mounted.backend.mount,
                    conversation,
                };
                let body = body.map(|body| names.restore(body, &mut calls));
                let body = match (body, calls.as_mut_slice()) {
                    (Some(body), [call]) if call.listens() && !token.may_use(&call.method) => {
                        Some(names.listen_to_tools(&body, call, &token).unwrap_or(body))
                    }
                    (body, _) => body,
                };
                if is_stateless {
                    names.restore_header(session.req_header_mut(), &NAME);
                }
                self.find_interfaces(&token, mounted, &mut calls).await;
                (calls, body)
            }
            _ => {
                refuse_body(session)?;
                (Vec::new(), None)
            }
        };
        context.asks_for(&method, &calls);
        let waits_for_events = method == Method::GET || calls.iter().any(Call::listens);
        let said = self.said(rules.as_deref(), mounted, &token, &calls).await;
        let read_only_tools = said.read_only();
        let may_ask = said.labels().is_some();
        let tool_states = self.tool_states(&token, mounted, &calls, may_ask).await;
        let runs_tools = calls.iter().any(|call| call.tool().is_some());
        let listed = runs_tools.then(|| self.doubled(&token, mounted)).flatten();
        let now = self.clock.now();
        let around = Around::of(&token, mounted, context, now);
        let input = DecisionInput {
            now,
            approval_required: &mounted.backend.approval_required,
            read_only_tools: read_only_tools.as_ref(),
            tool_states: &tool_states,
            doubled: listed.as_deref().map(|listing| &listing.doubled),
            policy: rules.as_deref().map(|rules| Question {
                rules,
                around: around.facts(),
                labels: said.labels(),
                without_message: match method {
                    Method::DELETE => Asked::end(),
                    _ => Asked::stream(),
                },
            }),
        };
        let permit = match policy::decide(token.clone(), calls, input) {
            Ok(permit) => permit,
            Err(refused) => {
                let declined = body
                    .as_ref()
                    .and_then(|body| Declined::of(&refused, &token, body, is_stateless));
                let call = RefusedCall {
                    refused,
                    is_batch: body.as_deref().is_some_and(is_batch),
                    is_stateless,
                    delivery: match mcp_endpoint {
                        McpEndpoint::Messages => Delivery::NoStream,
                        McpEndpoint::Mcp | McpEndpoint::Sse => Delivery::Response,
                    },
                };
                let challenge = self.challenge(mounted, mcp_endpoint, asked, context);
                let claims = token.claims();
                let rejection = self.deliver(call, mounted, claims, &target, &challenge, context);
                let Some(Declined { permit, body }) = declined else {
                    return Err(rejection.into());
                };
                return Ok(Admitted {
                    permit,
                    lifetime,
                    target,
                    session: bound_session,
                    own,
                    is_stateless,
                    body: Some(body),
                    waits_for_events: false,
                    refused: Some(Box::new(rejection)),
                });
            }
        };
        self.enter_calls(&permit, mounted, context, body.as_ref())?;
        if mcp_endpoint == McpEndpoint::Messages && token.is_restricted() {
            // Its answer comes on a stream, where nothing says what it is about.
            let theirs = Theirs {
                claims: token.claims(),
                mount: &mounted.backend.mount,
                conversation: &target,
            };
            self.tasks.expect(theirs, permit.calls());
        }
        Ok(Admitted {
            permit,
            lifetime,
            target,
            session: bound_session,
            own,
            is_stateless,
            body,
            waits_for_events,
            refused: None,
        })
    }

    /// Writes down what is let through, before it is: nothing reaches a backend unseen.
    fn enter_calls(
        &self,
        permit: &Permit,
        mounted: &MountedBackend,
        context: &RequestContext,
        body: Option<&Bytes>,
    ) -> Result<(), Rejection> {
        let backend = &mounted.backend.mount.name;
        let body = body.map(|body| &body[..]);
        let labels = |tool: &str| self.cached_labels(backend, context, tool);
        let now = self.clock.now();
        let journal = &self.journal;
        for record in audit::permitted(permit, backend, context, body, journal, labels, now) {
            self.journal
                .append(record)
                .map_err(|_| Rejection::AuditDown)?;
        }
        Ok(())
    }

    /// How the tools stand that are about to be called, where the token allows them in one
    /// definition only. Known in memory; the backend is asked only where it is not, and not again
    /// for this request where it could not be asked.
    async fn tool_states(
        &self,
        token: &AccessToken,
        mounted: &MountedBackend,
        calls: &[Call],
        mut may_ask: bool,
    ) -> Vec<(String, ToolState)> {
        let claims = token.claims();
        let mut tool_states = Vec::new();
        for tool in calls.iter().filter_map(Call::concerns) {
            if token.tools().pin(tool).is_some() {
                let catalogue = &self.server.catalogue;
                let name = &mounted.backend.mount.name;
                let user = &claims.user_name;
                let mut current = match may_ask {
                    true => catalogue.current(name, user, tool).await,
                    false => catalogue.cached_state(name, user, tool),
                };
                let has_changed = || token.admit(tool, || current) == Err(NotAllowed::Changed);
                if may_ask && token.is_amended(tool) && has_changed() {
                    // Approved on another replica since this one asked.
                    current = catalogue.current_now(name, user, tool).await;
                }
                may_ask &= current != ToolState::Unknown;
                tool_states.push((tool.to_owned(), current));
            }
        }
        tool_states
    }

    /// Writes down whose user interface is about to be read: that of a tool which the token shows.
    async fn find_interfaces(
        &self,
        token: &AccessToken,
        mounted: &MountedBackend,
        calls: &mut [Call],
    ) {
        let reads = |call: &Call| {
            let uri = call.name.as_deref().unwrap_or_default();
            call.method == RESOURCES_READ && uri.starts_with("ui://")
        };
        if !calls.iter().any(reads) || token.may_use(RESOURCES_READ) {
            return;
        }
        let (name, user) = (&mounted.backend.mount.name, &token.claims().user_name);
        // Boxed: hardly any request needs room for it.
        let Ok(listing) = Box::pin(self.server.catalogue.cached(name, user)).await else {
            return;
        };
        for call in calls.iter_mut().filter(|call| reads(call)) {
            let names_it = |tool: &&Tool| {
                let mut interfaces = tool.interfaces.iter();
                interfaces.any(|uri| Some(uri) == call.name.as_ref())
                    && tool_list_filter::shows(token, tool)
            };
            let tool = listing.tools.iter().find(names_it);
            call.belongs_to = tool.map(|tool| Belonging::Tool(tool.name.clone()));
        }
    }

    /// The refusal of a call. On the legacy transport clients read answers on their stream only.
    fn deliver(
        &self,
        mut call: RefusedCall,
        mounted: &MountedBackend,
        claims: &Claims,
        target: &str,
        challenge: &Challenge,
        context: &RequestContext,
    ) -> Rejection {
        if call.delivery == Delivery::NoStream {
            let rejection = Rejection::Refused(Box::new(call.clone()));
            let answer = rejection.answer_within(Some(challenge), &context.id);
            let is_told = answer.is_some_and(|answer| {
                self.legacy_outboxes
                    .deliver(mounted, claims, target, answer)
            });
            if is_told {
                call.delivery = Delivery::Stream;
            }
        }
        Rejection::Refused(Box::new(call))
    }

    /// A trusted proxy may have put its own name for this gateway there.
    fn check_host(&self, session: &ServerSession) -> Result<(), Rejection> {
        let head = session.req_header();
        let named = head.headers.get(HOST).and_then(|host| host.to_str().ok());
        let authority = named.or_else(|| head.uri.authority().map(|authority| authority.as_str()));
        let peer = session.client_addr().and_then(|address| address.as_inet());
        let is_from_proxy =
            peer.is_some_and(|peer| is_trusted(peer.ip(), &self.settings.trusted_proxies));
        match authority {
            // HTTP/1.0 without Host; later versions have been refused.
            None => Ok(()),
            Some(_) if is_from_proxy => Ok(()),
            Some(authority) if is_own_host(authority, &self.settings.issuer) => Ok(()),
            Some(_) => Err(Rejection::Host),
        }
    }

    async fn confirm(
        &self,
        headers: &HeaderMap,
        mounted: &MountedBackend,
    ) -> Result<AccessToken, Rejection> {
        let lines = headers
            .get_all(AUTHORIZATION)
            .iter()
            .map(|line| line.as_bytes());
        let bearer = match Presented::read(lines) {
            Presented::Nothing => return Err(Rejection::NoToken),
            Presented::Malformed => return Err(Rejection::MalformedToken),
            Presented::Repeated => return Err(Rejection::Ambiguous("two Authorization headers")),
            Presented::Token(bearer) => bearer,
        };
        let token = self.verified(&bearer)?;
        let now = self.clock.now();
        let status = RevocationStatus {
            revoked: self.revocations.revokes(&token),
            remembers_since: self.revocations.epoch().map(|epoch| epoch.counts_from()),
            age: self.revocations.age(now),
        };
        let audience = Audience {
            resource: &mounted.resource,
            backend: &mounted.backend.mount.name,
            scopes: &mounted.scopes,
        };
        let amended = self.revocations.amended(&token.claims().grant);
        let token = AccessToken::confirm(token, audience, status, now)?.amended(amended);
        Ok(self.server.with_kept_tools(token, now).await?)
    }

    /// Signature and form, once for each token: afterwards the hash of its text is enough.
    fn verified(&self, bearer: &BearerToken) -> Result<Arc<VerifiedToken>, Rejection> {
        let key: [u8; 32] = Sha256::digest(bearer.as_str()).into();
        if let Some(token) = self.tokens.get(&key) {
            return Ok(token);
        }
        let token = access_token::verify(bearer, &self.keys)
            .map_err(|error| Rejection::Token(TokenRejection::Invalid(error.reason())))?;
        let token = Arc::new(token);
        self.tokens.insert(key, Arc::clone(&token));
        Ok(token)
    }

    async fn read_calls(
        &self,
        session: &mut ServerSession,
        mcp_endpoint: McpEndpoint,
        keep: Keep<'_>,
        context: &RequestContext,
    ) -> Result<(Vec<Call>, Option<Bytes>), ProxyError> {
        body::check_form(&session.req_header().headers)?;
        let (limit, patience) = (self.settings.request_body, self.settings.timeouts.body);
        let hold = self.hold(context);
        let body = body::read(session, limit, patience, hold).await?;
        let calls = judge(mcp_endpoint, &session.req_header().headers, &body, keep)?;
        Ok((calls, Some(body)))
    }

    /// Where the request goes at the backend.
    fn target(
        &self,
        mounted: &MountedBackend,
        mcp_endpoint: McpEndpoint,
        asked: &Target<'_>,
        claims: &Claims,
    ) -> Result<String, Rejection> {
        let backend = &mounted.backend;
        match mcp_endpoint {
            McpEndpoint::Mcp => Ok(with_query(&backend.mcp_path, asked.query)),
            McpEndpoint::Sse => Ok(with_query(&backend.sse_path, asked.query)),
            McpEndpoint::Messages => self
                .sessions
                .unbind_endpoint(asked.query, claims, &backend.mount)
                .ok_or(Rejection::SessionUnknown),
        }
    }

    /// What of the gateway's own the request names. It is bound as the backend's are.
    fn own(
        &self,
        headers: &HeaderMap,
        mounted: &MountedBackend,
        mcp_endpoint: McpEndpoint,
        asked: &Target<'_>,
        claims: &Claims,
    ) -> Option<Own> {
        let mount = &mounted.backend.mount;
        match mcp_endpoint {
            McpEndpoint::Mcp if !mirror(headers).are_binding() => {
                let presented = headers.get(SESSION)?.to_str().ok()?;
                let text = self.sessions.unbind_own(presented, claims, mount)?;
                Some(Own::Session(text.to_owned()))
            }
            McpEndpoint::Messages => self
                .sessions
                .unbind_own_endpoint(asked.query, claims, mount)
                .map(Own::Stream),
            McpEndpoint::Mcp | McpEndpoint::Sse => None,
        }
    }

    /// The backend's session id. Sessions are no authentication: one that was given to another
    /// user, client or backend is unknown. 2026-07-28 has none: there the header is ignored.
    fn session(
        &self,
        headers: &HeaderMap,
        mounted: &MountedBackend,
        mcp_endpoint: McpEndpoint,
        claims: &Claims,
    ) -> Result<Option<String>, Rejection> {
        let Some(presented) = headers.get(SESSION) else {
            return Ok(None);
        };
        if mcp_endpoint != McpEndpoint::Mcp || mirror(headers).are_binding() {
            return Ok(None);
        }
        let id = presented
            .to_str()
            .ok()
            .and_then(|text| self.sessions.unbind(text, claims, &mounted.backend.mount))
            .ok_or(Rejection::SessionUnknown)?;
        Ok(Some(id.to_owned()))
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
    let is_stateless = mcp_endpoint == McpEndpoint::Mcp && mirror.are_binding();
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

fn mirror(headers: &HeaderMap) -> MirrorHeaders<'_> {
    let value = |name: &HeaderName| headers.get(name).map(|value| value.as_bytes());
    MirrorHeaders {
        version: value(&VERSION),
        method: value(&METHOD),
        name: value(&NAME),
    }
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

fn with_query(path: &str, query: Option<&str>) -> String {
    match forwarded_query(query) {
        None => path.to_owned(),
        Some(query) if path.contains('?') => format!("{path}&{query}"),
        Some(query) => format!("{path}?{query}"),
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
    fn the_path_of_a_backend_keeps_its_own_query() {
        assert_eq!(with_query("/mcp", None), "/mcp");
        assert_eq!(with_query("/mcp", Some("a=1")), "/mcp?a=1");
        assert_eq!(with_query("/mcp?k=v", Some("a=1")), "/mcp?k=v&a=1");
        assert_eq!(with_query("/mcp", Some("access_token=x")), "/mcp");
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
