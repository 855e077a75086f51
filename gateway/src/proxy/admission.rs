//! Admission: the questions between a request for a backend and its permit, in order. Nothing is
//! read of a body, and nothing said about methods, before the token has been confirmed.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method};
use pingora::protocols::http::ServerSession;
use sha2::{Digest as _, Sha256};

use super::beside::Names;
use super::declined::Declined;
use super::denial::{Challenge, Denial};
use super::endings::Lease;
use super::listener::Lifeline;
use super::peer::is_trusted;
use super::refused::{RefusedCall, Way};
use super::routes::{Door, Target, is_own_host};
use super::ruled::Around;
use super::serve::{Origin, Stop, Visit};
use super::tasks::Theirs;
use super::upstream_head::forwarded_query;
use super::{Gateway, Place, audited, body, lists};
use crate::access_token::{self, Claims, VerifiedToken};
use crate::backend::Tool;
use crate::grants::{Current, NotAllowed};
use crate::policy::rules::Asked;
use crate::policy::{
    self, AccessToken, Audience, Circumstances, Permit, Question, Rejection, Standing,
};
use crate::protocol::bearer::{BearerToken, Presented};
use crate::protocol::jsonrpc::{self, Keep, Kind};
use crate::protocol::mcp::{self, Belonging, Call, MirrorHeaders};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

const RESOURCES_READ: &str = "resources/read";

/// A request that may go to its backend, with all that the exchange needs of it.
pub(super) struct Admitted {
    pub(super) permit: Permit,
    pub(super) lease: Lease,
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
    pub(super) refused: Option<Box<Denial>>,
}

/// Something that a translation keeps for a client, by what is written into its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// A session.
    Session(String),
    /// A legacy stream, for which a message is posted.
    Stream(String),
}

impl Gateway {
    /// From bearer to permit.
    pub(super) async fn admit(
        &self,
        session: &mut ServerSession,
        place: &Place,
        door: Door,
        asked: &Target<'_>,
        visit: &mut Visit,
    ) -> Result<Admitted, Stop> {
        let token = self.confirm(&session.req_header().headers, place).await?;
        visit.belongs_to(token.claims());
        // Whoever has no token learns where to get one, from wherever it asks.
        if let Origin::Foreign(origin) = self.origin(&session.req_header().headers) {
            return Err(Denial::Origin(origin).into());
        }
        let outlasts = self.settings.streams_outlast_tokens;
        let now = self.clock.now();
        let lease = Lease::new(&self.revocations, token.verified(), outlasts, now);
        if let Some(lifeline) = Lifeline::current() {
            lifeline.lease(lease.clone());
        }
        let method = session.req_header().method.clone();
        if !asked.names_host {
            self.check_host(session)?;
        }
        check_method(door, &method)?;
        let head = session.req_header();
        let own = self.own(&head.headers, place, door, asked, token.claims());
        let is_stateless = door == Door::Mcp && mirror(&head.headers).are_binding();
        let (target, bound_session) = match &own {
            Some(Own::Session(name) | Own::Stream(name)) => (name.clone(), None),
            None => (
                self.target(place, door, asked, token.claims())?,
                self.session(&head.headers, place, door, token.claims())?,
            ),
        };
        let rules = self.policy.current();
        let (calls, body) = match method {
            Method::POST => {
                let ruled = rules.as_ref().map_or(Keep::Nothing, |rules| rules.keep());
                let mut paths = token.narrowing().argument_paths();
                let keep = match (token.narrowing().asks_for_arguments(), ruled) {
                    (false, ruled) => ruled,
                    (true, Keep::Arguments) => Keep::Arguments,
                    (true, Keep::Nothing) => Keep::At(&paths),
                    (true, Keep::At(asked)) => {
                        paths = paths.and(asked);
                        Keep::At(&paths)
                    }
                };
                let (mut calls, body) = self.read_calls(session, door, keep, visit).await?;
                if rules
                    .as_ref()
                    .is_some_and(|rules| rules.asks_for_resources())
                {
                    name_resources(&mut calls, body.as_deref().unwrap_or_default())?;
                }
                let conversation = match (&own, door) {
                    (Some(Own::Session(name) | Own::Stream(name)), _) => name.as_str(),
                    (None, Door::Messages) => target.as_str(),
                    (None, _) => bound_session.as_deref().unwrap_or_default(),
                };
                let names = Names {
                    sessions: &self.sessions,
                    claims: token.claims(),
                    mount: &place.backend.mount,
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
                self.find_interfaces(&token, place, &mut calls).await;
                (calls, body)
            }
            _ => {
                refuse_body(session)?;
                (Vec::new(), None)
            }
        };
        visit.asks_for(&method, &calls);
        let waits_for_events = method == Method::GET || calls.iter().any(Call::listens);
        let said = self.said(rules.as_deref(), place, &token, &calls).await;
        let read_only_tools = said.read_only();
        let may_ask = said.labels().is_some();
        let standing = self.standing_of_tools(&token, place, &calls, may_ask).await;
        let runs_tools = calls.iter().any(|call| call.tool().is_some());
        let listed = runs_tools.then(|| self.doubled(&token, place)).flatten();
        let now = self.clock.now();
        let around = Around::of(&token, place, visit, now);
        let circumstances = Circumstances {
            now,
            approval_required: &place.backend.approval_required,
            read_only_tools: read_only_tools.as_ref(),
            standing: &standing,
            doubled: listed.as_deref().map(|offer| &offer.doubled),
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
        let permit = match policy::decide(token.clone(), calls, circumstances) {
            Ok(permit) => permit,
            Err(refused) => {
                let declined = body
                    .as_ref()
                    .and_then(|body| Declined::of(&refused, &token, body, is_stateless));
                let call = RefusedCall {
                    refused,
                    is_batch: body.as_deref().is_some_and(is_batch),
                    is_stateless,
                    way: match door {
                        Door::Messages => Way::NoStream,
                        Door::Mcp | Door::Sse => Way::Response,
                    },
                };
                let challenge = self.challenge(place, door, asked, visit);
                let claims = token.claims();
                let denial = self.deliver(call, place, claims, &target, &challenge, visit);
                let Some(Declined { permit, body }) = declined else {
                    return Err(denial.into());
                };
                return Ok(Admitted {
                    permit,
                    lease,
                    target,
                    session: bound_session,
                    own,
                    is_stateless,
                    body: Some(body),
                    waits_for_events: false,
                    refused: Some(Box::new(denial)),
                });
            }
        };
        self.enter_calls(&permit, place, visit, body.as_ref())?;
        if door == Door::Messages && token.is_restricted() {
            // Its answer comes on a stream, where nothing says what it is about.
            let theirs = Theirs {
                claims: token.claims(),
                mount: &place.backend.mount,
                conversation: &target,
            };
            self.tasks.expect(theirs, permit.calls());
        }
        Ok(Admitted {
            permit,
            lease,
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
        place: &Place,
        visit: &Visit,
        body: Option<&Bytes>,
    ) -> Result<(), Denial> {
        let backend = &place.backend.mount.name;
        let body = body.map(|body| &body[..]);
        let labels = |tool: &str| self.known_labels(backend, visit, tool);
        let now = self.clock.now();
        let journal = &self.journal;
        for record in audited::permitted(permit, backend, visit, body, journal, labels, now) {
            self.journal.note(record).map_err(|_| Denial::AuditDown)?;
        }
        Ok(())
    }

    /// How the tools stand that are about to be called, where the token allows them in one
    /// definition only. Known in memory; the backend is asked only where it is not, and not again
    /// for this request where it could not be asked.
    async fn standing_of_tools(
        &self,
        token: &AccessToken,
        place: &Place,
        calls: &[Call],
        mut may_ask: bool,
    ) -> Vec<(String, Current)> {
        let claims = token.claims();
        let mut standing = Vec::new();
        for tool in calls.iter().filter_map(Call::concerns) {
            if token.tools().pin(tool).is_some() {
                let catalogue = &self.server.catalogue;
                let name = &place.backend.mount.name;
                let user = &claims.user_name;
                let mut current = match may_ask {
                    true => catalogue.current(name, user, tool).await,
                    false => catalogue.known_current(name, user, tool),
                };
                let has_changed = || token.admit(tool, || current) == Err(NotAllowed::Changed);
                if may_ask && token.is_amended(tool) && has_changed() {
                    // Approved on another replica since this one asked.
                    current = catalogue.current_now(name, user, tool).await;
                }
                may_ask &= current != Current::Unknown;
                standing.push((tool.to_owned(), current));
            }
        }
        standing
    }

    /// Writes down whose user interface is about to be read: that of a tool which the token shows.
    async fn find_interfaces(&self, token: &AccessToken, place: &Place, calls: &mut [Call]) {
        let reads = |call: &Call| {
            let uri = call.name.as_deref().unwrap_or_default();
            call.method == RESOURCES_READ && uri.starts_with("ui://")
        };
        if !calls.iter().any(reads) || token.may_use(RESOURCES_READ) {
            return;
        }
        let (name, user) = (&place.backend.mount.name, &token.claims().user_name);
        // Boxed: hardly any request needs room for it.
        let Ok(offer) = Box::pin(self.server.catalogue.believed(name, user)).await else {
            return;
        };
        for call in calls.iter_mut().filter(|call| reads(call)) {
            let names_it = |tool: &&Tool| {
                let mut interfaces = tool.interfaces.iter();
                interfaces.any(|uri| Some(uri) == call.name.as_ref()) && lists::shows(token, tool)
            };
            let tool = offer.tools.iter().find(names_it);
            call.belongs_to = tool.map(|tool| Belonging::Tool(tool.name.clone()));
        }
    }

    /// The refusal of a call. On the legacy transport clients read answers on their stream only.
    fn deliver(
        &self,
        mut call: RefusedCall,
        place: &Place,
        claims: &Claims,
        target: &str,
        challenge: &Challenge,
        visit: &Visit,
    ) -> Denial {
        if call.way == Way::NoStream {
            let denial = Denial::Refused(Box::new(call.clone()));
            let answer = denial.answer_within(Some(challenge), &visit.id);
            let is_told =
                answer.is_some_and(|answer| self.mailboxes.deliver(place, claims, target, answer));
            if is_told {
                call.way = Way::Stream;
            }
        }
        Denial::Refused(Box::new(call))
    }

    /// A trusted proxy may have put its own name for this gateway there.
    fn check_host(&self, session: &ServerSession) -> Result<(), Denial> {
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
            Some(_) => Err(Denial::Host),
        }
    }

    async fn confirm(&self, headers: &HeaderMap, place: &Place) -> Result<AccessToken, Denial> {
        let lines = headers
            .get_all(AUTHORIZATION)
            .iter()
            .map(|line| line.as_bytes());
        let bearer = match Presented::read(lines) {
            Presented::Nothing => return Err(Denial::NoToken),
            Presented::Malformed => return Err(Denial::MalformedToken),
            Presented::Repeated => return Err(Denial::Ambiguous("two Authorization headers")),
            Presented::Token(bearer) => bearer,
        };
        let token = self.verified(&bearer)?;
        let now = self.clock.now();
        let standing = Standing {
            revoked: self.revocations.revokes(&token),
            remembers_since: self.revocations.birth().map(|birth| birth.counts_from()),
            age: self.revocations.age(now),
        };
        let audience = Audience {
            resource: &place.resource,
            backend: &place.backend.mount.name,
            scopes: &place.scopes,
        };
        let amended = self.revocations.amended(&token.claims().grant);
        let token = AccessToken::confirm(token, audience, standing, now)?.amended(amended);
        Ok(self.server.with_kept_tools(token, now).await?)
    }

    /// Signature and form, once for each token: afterwards the hash of its text is enough.
    fn verified(&self, bearer: &BearerToken) -> Result<Arc<VerifiedToken>, Denial> {
        let key: [u8; 32] = Sha256::digest(bearer.as_str()).into();
        if let Some(token) = self.tokens.get(&key) {
            return Ok(token);
        }
        let token = access_token::verify(bearer, &self.keys)
            .map_err(|error| Denial::Token(Rejection::Invalid(error.reason())))?;
        let token = Arc::new(token);
        self.tokens.insert(key, Arc::clone(&token));
        Ok(token)
    }

    async fn read_calls(
        &self,
        session: &mut ServerSession,
        door: Door,
        keep: Keep<'_>,
        visit: &Visit,
    ) -> Result<(Vec<Call>, Option<Bytes>), Stop> {
        body::check_form(&session.req_header().headers)?;
        let (limit, patience) = (self.settings.request_body, self.settings.timeouts.body);
        let hold = self.hold(visit);
        let body = body::read(session, limit, patience, hold).await?;
        let calls = judge(door, &session.req_header().headers, &body, keep)?;
        Ok((calls, Some(body)))
    }

    /// Where the request goes at the backend.
    fn target(
        &self,
        place: &Place,
        door: Door,
        asked: &Target<'_>,
        claims: &Claims,
    ) -> Result<String, Denial> {
        let backend = &place.backend;
        match door {
            Door::Mcp => Ok(with_query(&backend.mcp_path, asked.query)),
            Door::Sse => Ok(with_query(&backend.sse_path, asked.query)),
            Door::Messages => self
                .sessions
                .unbind_endpoint(asked.query, claims, &backend.mount)
                .ok_or(Denial::SessionUnknown),
        }
    }

    /// What of the gateway's own the request names. It is bound as the backend's are.
    fn own(
        &self,
        headers: &HeaderMap,
        place: &Place,
        door: Door,
        asked: &Target<'_>,
        claims: &Claims,
    ) -> Option<Own> {
        let mount = &place.backend.mount;
        match door {
            Door::Mcp if !mirror(headers).are_binding() => {
                let presented = headers.get(SESSION)?.to_str().ok()?;
                let text = self.sessions.unbind_own(presented, claims, mount)?;
                Some(Own::Session(text.to_owned()))
            }
            Door::Messages => self
                .sessions
                .unbind_own_endpoint(asked.query, claims, mount)
                .map(Own::Stream),
            Door::Mcp | Door::Sse => None,
        }
    }

    /// The backend's session id. Sessions are no authentication: one that was given to another
    /// user, client or backend is unknown. 2026-07-28 has none: there the header is ignored.
    fn session(
        &self,
        headers: &HeaderMap,
        place: &Place,
        door: Door,
        claims: &Claims,
    ) -> Result<Option<String>, Denial> {
        let Some(presented) = headers.get(SESSION) else {
            return Ok(None);
        };
        if door != Door::Mcp || mirror(headers).are_binding() {
            return Ok(None);
        }
        let id = presented
            .to_str()
            .ok()
            .and_then(|text| self.sessions.unbind(text, claims, &place.backend.mount))
            .ok_or(Denial::SessionUnknown)?;
        Ok(Some(id.to_owned()))
    }
}

/// The calls in a body, each judged. Mirrored headers are a rule of Streamable HTTP: on the legacy
/// transport clients of 2026-07-28 send its version and none of them.
fn judge(
    door: Door,
    headers: &HeaderMap,
    body: &[u8],
    keep: Keep<'_>,
) -> Result<Vec<Call>, Denial> {
    let mirror = mirror(headers);
    let judged = jsonrpc::judge_and_keep(body, mcp::takes_batches(mirror.version), keep)
        .map_err(|refused| Denial::BadMessage(refused.0))?;
    let is_stateless = door == Door::Mcp && mirror.are_binding();
    for message in judged.messages() {
        mcp::check_shape(message, is_stateless)
            .map_err(|what| Denial::BadMessage(what.to_owned()))?;
        if door == Door::Mcp {
            mirror.check(message).map_err(|what| {
                let id = message.id.clone().filter(|_| message.kind == Kind::Request);
                Denial::HeaderMismatch(what, id)
            })?;
        }
    }
    Ok(judged.messages().iter().map(Call::of).collect())
}

/// Writes down what a subscription names, for a policy that asks about resources.
fn name_resources(calls: &mut [Call], body: &[u8]) -> Result<(), Denial> {
    if !calls.iter().any(Call::listens) {
        return Ok(());
    }
    let named = mcp::resources_of(body).map_err(|what| Denial::BadMessage(what.to_owned()))?;
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
fn check_method(door: Door, method: &Method) -> Result<(), Denial> {
    match (door, method) {
        (Door::Mcp, &(Method::GET | Method::HEAD | Method::POST | Method::DELETE)) => Ok(()),
        (Door::Mcp, _) => Err(Denial::Method("GET, HEAD, POST, DELETE, OPTIONS")),
        (Door::Sse, &(Method::GET | Method::HEAD)) => Ok(()),
        (Door::Sse, &Method::POST) => Err(Denial::NotFound),
        (Door::Sse, _) => Err(Denial::Method("GET, HEAD, OPTIONS")),
        (Door::Messages, &Method::POST) => Ok(()),
        (Door::Messages, _) => Err(Denial::Method("POST, OPTIONS")),
    }
}

/// Only POST has a body here; one on another method would be dropped by some and read by others.
fn refuse_body(session: &mut ServerSession) -> Result<(), Denial> {
    let headers = &session.req_header().headers;
    let declared = headers
        .get(CONTENT_LENGTH)
        .is_some_and(|length| length != "0");
    match declared || headers.contains_key(TRANSFER_ENCODING) {
        true => Err(Denial::Ambiguous("this method has no body")),
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
        for (door, method, expected) in [
            (Door::Mcp, Method::POST, Ok(())),
            (Door::Mcp, Method::DELETE, Ok(())),
            (Door::Sse, Method::GET, Ok(())),
            (Door::Sse, Method::POST, Err(Denial::NotFound)),
            (Door::Messages, Method::POST, Ok(())),
            (
                Door::Messages,
                Method::GET,
                Err(Denial::Method("POST, OPTIONS")),
            ),
        ] {
            assert_eq!(check_method(door, &method), expected);
        }
        for method in ["TRACE", "CONNECT", "PUT", "PATCH", "get", "post", "BREW"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            for door in [Door::Mcp, Door::Sse, Door::Messages] {
                assert!(check_method(door, &method).is_err(), "{method} {door:?}");
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
            judge(Door::Mcp, &headers, batch, Keep::Nothing)
                .unwrap()
                .len(),
            2
        );
        headers.insert(VERSION, "2025-03-26".parse().unwrap());
        assert_eq!(
            judge(Door::Mcp, &headers, batch, Keep::Nothing).unwrap()[1].tool(),
            Some("a")
        );
        headers.insert(VERSION, "2025-06-18".parse().unwrap());
        assert!(matches!(
            judge(Door::Mcp, &headers, batch, Keep::Nothing),
            Err(Denial::BadMessage(_))
        ));
    }

    #[test]
    fn mirrored_headers_are_asked_for_on_streamable_http_alone() {
        let message = br#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
        let mut headers = HeaderMap::new();
        headers.insert(VERSION, "2026-07-28".parse().unwrap());
        assert!(matches!(
            judge(Door::Mcp, &headers, message, Keep::Nothing),
            Err(Denial::HeaderMismatch(..))
        ));
        assert_eq!(
            judge(Door::Messages, &headers, message, Keep::Nothing)
                .unwrap()
                .len(),
            1
        );
    }
}
