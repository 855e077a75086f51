//! One request from its head to its answer: framing, route, then an endpoint of our own or
//! admission and exchange. Refusals become answers here, and are told here.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use pingora::protocols::http::ServerSession;
use tokio::time::timeout;

use super::admission::{self, Admitted};
use super::audit::AdmissionEvent;
use super::compat::{self, TranslationPlan, Translator};
use super::confirmation::LastToken;
use super::context::RequestContext;
use super::cors::{ANYBODY, allow_reading, preflight};
use super::decline_message;
use super::destination::GatewayOwned;
use super::exchange;
use super::exchange_watch::{ExchangeWatch, while_wanted};
use super::lifetime;
use super::mounted_backend::MountedBackend;
use super::proxy_error::ProxyError;
use super::rejection::Rejection;
use super::request::RequestHead;
use super::routes::{BackendRoute, Route, Target};
use super::settings::Settings;
use super::state::ProxyState;
use super::{body, framing, response_writer, stream_probe};
use gateway_core::protocol::web::{Request, Response};
use gateway_oauth::endpoint::MatchedEndpoint;

/// A client whose own answer to a backend is refused does not wait for longer until the backend has
/// taken that nobody answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// What answers requests.
pub(super) struct Service {
    pub(super) state: ProxyState,
    pub(super) translator: Translator,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("settings", &self.state.settings)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Answers the request whose head `session` has read. An error means that its connection is of
    /// no more use.
    pub(super) async fn serve(
        &self,
        session: &mut ServerSession,
        context: &mut RequestContext,
    ) -> pingora::Result<()> {
        let state = &self.state;
        let head = session.req_header();
        context.trace(&state.traces, &head.method, &head.headers, head.version);
        if let Err(what) = framing::check(session) {
            session.set_keepalive(None);
            let rejection = Rejection::Ambiguous(what);
            return refuse(state, session, context, &rejection, None).await;
        }
        let raw = framing::target(session);
        let target = match Target::read(&raw, &state.settings.issuer) {
            Ok(target) => target,
            Err(what) => {
                let rejection = Rejection::AmbiguousPath(what.0);
                return refuse(state, session, context, &rejection, None).await;
            }
        };
        if let Some(_place) = state.stream_probe.place(target.path, session.req_header()) {
            // Boxed: it happens hardly ever.
            return Box::pin(stream_probe::serve(session, &state.draining)).await;
        }
        match state.routes.route(&session.req_header().method, target) {
            Route::Endpoint(matched) => {
                serve_endpoint(state, session, context, matched, &target).await
            }
            // Boxed, like what an endpoint does: each is as large as all that may become of a request,
            // and a body that comes slowly is waited for within one of them.
            Route::Backend(route) => Box::pin(self.serve_backend(session, context, route)).await,
            Route::Nowhere => refuse(state, session, context, &Rejection::NotFound, None).await,
        }
    }

    /// Answers a request for a backend.
    pub(super) async fn serve_backend(
        &self,
        session: &mut ServerSession,
        context: &mut RequestContext,
        route: BackendRoute<'_>,
    ) -> pingora::Result<()> {
        let state = &self.state;
        let head = RequestHead::from_session(session);
        context.comes_from(head, &state.settings);
        if let Some(response) = preflight(head, context.allowed_origin.as_ref()) {
            let name = route.mounted.backend.mount.name.as_str();
            let labels = ["preflight", name, "allowed", ""];
            state.metrics.requests.with(labels).increment();
            context.routed(|| Cow::Owned(route.path()));
            context.ended("done", response.status().as_u16());
            return response_writer::write(session, response).await;
        }
        let outcome = match self.admit(session, context, route).await {
            Ok(admitted) => Box::pin(self.forward(session, context, route, admitted)).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(ProxyError::Broken(error)) => Err(error),
            Err(ProxyError::Denied(rejection)) => {
                refuse(state, session, context, &rejection, Some(route)).await
            }
        }
    }

    /// From head and body, as they come in here, to an admitted request.
    async fn admit(
        &self,
        session: &mut ServerSession,
        context: &mut RequestContext,
        route: BackendRoute<'_>,
    ) -> Result<Admitted, ProxyError> {
        let state = &self.state;
        let head = RequestHead::from_session(session);
        let confirmed =
            admission::confirm(state, context, head, route, &mut LastToken::default()).await?;
        let body = if confirmed.has_body() {
            let (limit, patience) = (state.settings.request_body, state.settings.timeouts.body);
            let hold = context.hold(&state.budget);
            Some(body::read(session, limit, patience, hold).await?)
        } else {
            None
        };
        let head = RequestHead::from_session(session);
        match admission::admit(state, context, head, confirmed, body.clone()).await {
            Err(Rejection::AccountAwaited) => {
                // Boxed: it happens hardly ever.
                Box::pin(self.admit_connected(session, context, route, body)).await
            }
            admitted => Ok(admitted?),
        }
    }

    /// Admits a request whose person connects an account now, once that is done, for as long as the client
    /// waits and the gateway stays. Where it goes and in which session is another question then.
    async fn admit_connected(
        &self,
        session: &mut ServerSession,
        context: &mut RequestContext,
        route: BackendRoute<'_>,
        body: Option<Bytes>,
    ) -> Result<Admitted, ProxyError> {
        let (state, last) = (&self.state, &mut LastToken::default());
        let head = RequestHead::from_session(session);
        let confirmed = admission::confirm(state, context, head, route, last).await?;
        let connected = pin!(confirmed.account_connected(state));
        let ended = pin!(confirmed.lifetime().ended());
        // A person may take longer than a shutdown: the client asks again, and is asked by whoever serves.
        let leaving = pin!(lifetime::shutdown(&state.draining, true));
        let mut watch = ExchangeWatch::new(ended, leaving);
        watch.before_answer(session, connected).await?;
        context.call.clear();
        let head = RequestHead::from_session(session);
        let confirmed = admission::confirm(state, context, head, route, last).await?;
        let confirmed = confirmed.without_waiting();
        Ok(admission::admit(state, context, head, confirmed, body).await?)
    }

    /// Exchanges an admitted request with its backend, in what that speaks.
    async fn forward(
        &self,
        session: &mut ServerSession,
        context: &RequestContext,
        route: BackendRoute<'_>,
        mut admitted: Admitted,
    ) -> Result<(), ProxyError> {
        let (state, mounted) = (&self.state, route.mounted);
        if admitted.refused.is_none() {
            state.note_use(admitted.permit.token(), context.peer);
        }
        let family = compat::family(route.endpoint, admitted.request.is_stateless);
        let is_held = admitted.own == Some(GatewayOwned::Unconnected);
        if !is_held && !mounted.protocols.is_ready(family) {
            // Boxed: it happens hardly ever.
            let probed = Box::pin(mounted.protocols.wait_until_probed(family));
            while_wanted(&state.draining, &admitted.lifetime, session, probed).await?;
        }
        let translator = &self.translator;
        let plan = translator.plan(mounted, &admitted);
        if let Some(rejection) = admitted.refused.take() {
            // Boxed: it happens hardly ever.
            let declined = self.decline(session, context, mounted, &plan, admitted, *rejection);
            admitted = Box::pin(declined).await?;
        }
        match plan {
            TranslationPlan::Through => {
                exchange::exchange(state, session, context, route, admitted).await
            }
            // Boxed: what passes through need not have room for it.
            plan => {
                let translated =
                    translator.translate(state, session, context, mounted, plan, admitted);
                Box::pin(translated).await
            }
        }
    }

    /// Sees to it that a backend is told that the answer to its question is refused. Where the client
    /// waits for no answer of its own, what is left to do is the exchange of what is given back; else
    /// the denial is its answer.
    async fn decline(
        &self,
        session: &ServerSession,
        context: &RequestContext,
        mounted: &MountedBackend,
        plan: &TranslationPlan,
        admitted: Admitted,
        rejection: Rejection,
    ) -> Result<Admitted, ProxyError> {
        let state = &self.state;
        if rejection.is_swallowed() {
            let refused = RefusedRequest::from_session(session, &state.settings);
            refused.tell(state, context, &rejection, Some(mounted), 202);
            return Ok(admitted);
        }
        let head = session.req_header();
        let told = async {
            match plan {
                TranslationPlan::Through if !admitted.permit.calls().is_empty() => {
                    exchange::send_unanswered(state, context, head, mounted, &admitted).await;
                }
                TranslationPlan::Stateless(_) => {
                    if let Rejection::Refused(call) = &rejection {
                        let error = decline_message::why(call.refusal());
                        self.translator
                            .give_up(state, &head.headers, context, mounted, admitted, &error)
                            .await;
                    }
                }
                _ => {}
            }
        };
        // It is refused all the same where the backend takes nothing: its own patience is left then.
        let _ = timeout(PATIENCE, told).await;
        Err(rejection.into())
    }
}

async fn serve_endpoint(
    state: &ProxyState,
    session: &mut ServerSession,
    context: &mut RequestContext,
    matched: MatchedEndpoint,
    target: &Target<'_>,
) -> pingora::Result<()> {
    context.endpoint = matched.endpoint.name().into();
    context.routed(|| context.endpoint.clone());
    let head = session.req_header();
    let mut request = Request {
        method: head.method.clone(),
        path: target.path.to_owned(),
        query: target.query.map(str::to_owned),
        headers: head.headers.clone(),
        body: Bytes::new(),
        peer: RequestHead::from_session(session).address(&state.settings.trusted_proxies),
        request_id: context.id.clone(),
    };
    // Boxed, as below.
    let limit = Box::pin(state.server.body_limit(matched.endpoint, &request)).await;
    let patience = state.settings.timeouts.endpoint_body;
    context.peer = Some(request.peer);
    let hold = context.hold(&state.budget);
    // Where none is taken none is read, not even to be refused for its size.
    let read = if limit > 0 && matched.endpoint.takes(&request.method) {
        body::read(session, limit, patience, hold).await
    } else {
        Ok(Bytes::new())
    };
    request.body = match read {
        Ok(body) => body,
        Err(ProxyError::Denied(rejection)) => {
            return refuse(state, session, context, &rejection, None).await;
        }
        Err(ProxyError::Broken(error)) => return Err(error),
    };
    // Boxed, so that streams, which never get here, need not have room for it.
    let response = Box::pin(state.server.answer(matched, &request)).await;
    context.ended("done", response.status().as_u16());
    response_writer::write(session, response).await
}

/// Answers with a denial, and tells it.
async fn refuse(
    state: &ProxyState,
    session: &mut ServerSession,
    context: &RequestContext,
    rejection: &Rejection,
    route: Option<BackendRoute<'_>>,
) -> pingora::Result<()> {
    let refused = RefusedRequest::from_session(session, &state.settings);
    let response = refused.answer(state, context, rejection, route);
    response_writer::write(session, response).await
}

/// What is told of a refused request, whatever brought it here.
#[derive(Clone, Copy)]
pub(super) struct RefusedRequest<'a> {
    pub(super) method: &'a Method,
    /// Path and query, as they were sent.
    pub(super) target: &'a [u8],
    pub(super) peer: IpAddr,
}

impl<'a> RefusedRequest<'a> {
    fn from_session(session: &'a ServerSession, settings: &Settings) -> Self {
        let head = session.req_header();
        Self {
            method: &head.method,
            target: head.raw_path(),
            peer: RequestHead::from_session(session).address(&settings.trusted_proxies),
        }
    }

    /// What it is answered, told as it is made.
    pub(super) fn answer(
        self,
        state: &ProxyState,
        context: &RequestContext,
        rejection: &Rejection,
        route: Option<BackendRoute<'_>>,
    ) -> Response {
        let issuer = &state.settings.issuer;
        let challenge = route.map(|route| context.challenge(issuer, route));
        let mut response = rejection.answer().response(challenge.as_ref(), &context.id);
        // Not what was asked of pages that know a person by a cookie.
        if route.is_some() || *rejection == Rejection::NotFound {
            let origin = context.allowed_origin.as_ref();
            allow_reading(response.headers_mut(), origin.unwrap_or(&ANYBODY));
        }
        let mounted = route.map(|route| &**route.mounted);
        let status = response.status().as_u16();
        self.tell(state, context, rejection, mounted, status);
        response
    }

    fn tell(
        self,
        state: &ProxyState,
        context: &RequestContext,
        rejection: &Rejection,
        mounted: Option<&MountedBackend>,
        status: u16,
    ) {
        let refused = AdmissionEvent::Refused {
            rejection,
            status,
            method: self.method,
            target: self.target,
            peer: context.peer.unwrap_or(self.peer),
        };
        // It is refused already, whether or not the audit log can be written.
        let now = state.clock.now();
        let _ = state.admissions.record(&refused, context, mounted, now);
    }
}
