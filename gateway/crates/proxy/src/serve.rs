//! One request from its head to its answer: framing, route, then an endpoint of our own or
//! admission and exchange. Refusals become answers here, and are logged here.

use bytes::Bytes;
use http::HeaderValue;
use pingora::protocols::http::ServerSession;

use super::audit::AdmissionEvent;
use super::challenge::Challenge;
use super::compat::{self, TranslationPlan};
use super::context::{ProxyError, RequestContext};
use super::cors::{ANYBODY, Origin, allow_reading, origin, preflight};
use super::rejection::Rejection;
use super::routes::{BackendRoute, Route, Target};
use super::state::ProxyState;
use super::{admission, body, framing, peer, policy_input, response_writer};
use gateway_core::protocol::web::Request;
use gateway_oauth::endpoint::Endpoint;

impl ProxyState {
    /// Answers the request whose head `session` has read. An error means that its connection is of
    /// no more use.
    pub(super) async fn serve(
        &self,
        session: &mut ServerSession,
        context: &mut RequestContext,
    ) -> pingora::Result<()> {
        if let Err(what) = framing::check(session) {
            session.set_keepalive(None);
            return self
                .refuse(session, context, &Rejection::Ambiguous(what), None, "")
                .await;
        }
        let raw = framing::target(session);
        let target = match Target::read(&raw, &self.settings.issuer) {
            Ok(target) => target,
            Err(what) => {
                return self
                    .refuse(
                        session,
                        context,
                        &Rejection::AmbiguousPath(what.0),
                        None,
                        "",
                    )
                    .await;
            }
        };
        match self.routes.route(&session.req_header().method, &target) {
            Route::Endpoint(endpoint) => {
                self.serve_endpoint(session, context, endpoint, &target)
                    .await
            }
            Route::Backend(route) => self.serve_backend(session, context, route).await,
            Route::Nowhere => {
                self.refuse(session, context, &Rejection::NotFound, None, "")
                    .await
            }
        }
    }

    async fn serve_endpoint(
        &self,
        session: &mut ServerSession,
        context: &mut RequestContext,
        endpoint: Endpoint,
        target: &Target<'_>,
    ) -> pingora::Result<()> {
        let head = session.req_header();
        let mut request = Request {
            method: head.method.clone(),
            path: target.path.to_owned(),
            query: target.query.map(str::to_owned),
            headers: head.headers.clone(),
            body: Bytes::new(),
            peer: peer::address_of(session, &self.settings.trusted_proxies),
            request_id: context.id.clone(),
        };
        // Boxed, as below.
        let limit = Box::pin(self.server.body_limit(&endpoint, &request)).await;
        let patience = self.settings.timeouts.endpoint_body;
        context.peer = Some(request.peer);
        let hold = context.hold(&self.budget);
        // Where none is taken none is read, not even to be refused for its size.
        let read = match limit > 0 && endpoint.takes(&request.method) {
            true => body::read(session, limit, patience, hold).await,
            false => Ok(Bytes::new()),
        };
        request.body = match read {
            Ok(body) => body,
            Err(ProxyError::Denied(rejection)) => {
                return self.refuse(session, context, &rejection, None, "").await;
            }
            Err(ProxyError::Broken(error)) => return Err(error),
        };
        // Boxed, so that streams, which never get here, need not have room for it.
        let response = Box::pin(self.server.answer(endpoint, &request)).await;
        response_writer::write(session, response).await
    }

    async fn serve_backend(
        &self,
        session: &mut ServerSession,
        context: &mut RequestContext,
        route: BackendRoute<'_>,
    ) -> pingora::Result<()> {
        let (mounted, mcp_endpoint) = (route.mounted, route.endpoint);
        let name = &mounted.backend.mount.name;
        let allowed = match origin(&session.req_header().headers, &self.settings) {
            Origin::Allowed(origin) => Some(origin),
            Origin::Absent | Origin::Foreign(_) => None,
        };
        if let Some(response) = preflight(session, allowed.as_ref()) {
            return response_writer::write(session, response).await;
        }
        context.peer = Some(peer::address_of(session, &self.settings.trusted_proxies));
        context.protocol_version = policy_input::protocol_version(&session.req_header().headers);
        let admitted = admission::admit(self, session, context, route).await;
        if let Ok(admitted) = &admitted
            && admitted.refused.is_none()
        {
            let grant = &admitted.permit.token().claims().grant;
            self.server.last_use.note(grant, self.clock.now());
        }
        let outcome = match admitted {
            Ok(mut admitted) => {
                let family = compat::family(mcp_endpoint, admitted.is_stateless);
                if !mounted.protocols.is_ready(family) {
                    // Boxed: it happens hardly ever.
                    Box::pin(mounted.protocols.wait_until_probed(family)).await;
                }
                let plan = self.plan(mounted, mcp_endpoint, session, &admitted);
                let admitted = match admitted.refused.take() {
                    None => Ok(admitted),
                    // Boxed: it happens hardly ever.
                    Some(rejection) => {
                        Box::pin(
                            self.decline(session, context, mounted, &plan, admitted, *rejection),
                        )
                        .await
                    }
                };
                match (admitted, plan) {
                    (Err(error), _) => Err(error),
                    (Ok(admitted), TranslationPlan::Through) => {
                        self.exchange(
                            session,
                            context,
                            mounted,
                            mcp_endpoint,
                            admitted,
                            allowed.as_ref(),
                        )
                        .await
                    }
                    // Boxed: what passes through need not have room for it.
                    (Ok(admitted), plan) => {
                        let translated = self.translate(
                            session,
                            context,
                            mounted,
                            plan,
                            admitted,
                            allowed.as_ref(),
                        );
                        Box::pin(translated).await
                    }
                }
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(ProxyError::Broken(error)) => Err(error),
            Err(ProxyError::Denied(rejection)) => {
                let challenge = Challenge::new(&self.settings.issuer, route, &context.scope);
                let answer = Some((&challenge, allowed.as_ref()));
                self.refuse(session, context, &rejection, answer, name)
                    .await
            }
        }
    }

    /// Answers with a denial, and logs it.
    async fn refuse(
        &self,
        session: &mut ServerSession,
        context: &RequestContext,
        rejection: &Rejection,
        for_backend: Option<(&Challenge, Option<&HeaderValue>)>,
        backend: &str,
    ) -> pingora::Result<()> {
        let mut response = rejection
            .answer()
            .response(for_backend.map(|(challenge, _)| challenge), &context.id);
        // Not what was asked of pages that know a person by a cookie.
        if for_backend.is_some() || *rejection == Rejection::NotFound {
            let origin = for_backend.and_then(|(_, origin)| origin);
            allow_reading(response.headers_mut(), origin.unwrap_or(&ANYBODY));
        }
        let status = response.status().as_u16();
        let refused = AdmissionEvent::Refused {
            rejection,
            status,
            head: session.req_header(),
            peer: peer::address_of(session, &self.settings.trusted_proxies),
        };
        // It is refused already, whether or not the audit log can be written.
        let now = self.clock.now();
        let _ = self.admissions.tell(&refused, context, backend, now);
        response_writer::write(session, response).await
    }
}
