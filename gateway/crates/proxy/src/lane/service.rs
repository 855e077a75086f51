//! Which requests are the lane's, by their head.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use gateway_lane::{self as lane, Head, HeadDecision};
use http::Version;

use super::backends::Backends;
use super::exchange::{LaneExchange, Request};
use crate::compat::{self, Translator};
use crate::confirmation::LastToken;
use crate::context::RequestContext;
use crate::drain::{Draining, Phase};
use crate::exchange_watch::farewell;
use crate::lifetime::{End, StreamLifetime};
use crate::rejection::rejected_by;
use crate::request::RequestHead;
use crate::routes::{BackendRoute, McpEndpoint, Route, Target};
use crate::serve::Service;
use crate::{admission, framing, lifetime};
use gateway_upstream::Address;

/// What answers the lane's questions.
pub(crate) struct LaneService(Arc<Road>);

/// What its exchanges share.
pub(super) struct Road {
    pub(super) service: Arc<Service>,
    pub(super) backends: Backends,
}

impl fmt::Debug for LaneService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneService").finish_non_exhaustive()
    }
}

impl LaneService {
    pub(super) fn new(service: &Arc<Service>) -> Self {
        Self(Arc::new(Road {
            service: Arc::clone(service),
            backends: Backends::default(),
        }))
    }

    /// The route of a request that may be the lane's.
    fn find<'a>(&'a self, head: &Head<'a>) -> Option<BackendRoute<'a>> {
        let state = &self.0.service.state;
        let target = Target::read(head.target().as_bytes(), &state.settings.issuer).ok()?;
        let Route::Backend(route) = state.routes.route(head.method(), target) else {
            return None;
        };
        let is_plain = matches!(
            route.mounted.backend.address,
            Address::Tcp { tls: false, .. }
        );
        (route.endpoint == McpEndpoint::Mcp && is_plain).then_some(route)
    }
}

impl gateway_lane::Service for LaneService {
    type Exchange = Box<LaneExchange>;
    type Memory = LastToken;

    async fn begin(
        &self,
        head: &Head<'_>,
        peer: SocketAddr,
        last: &mut LastToken,
    ) -> HeadDecision<Box<LaneExchange>> {
        let state = &self.0.service.state;
        let Some(route) = self.find(head) else {
            return HeadDecision::OtherRoad;
        };
        let headers = head.to_header_map();
        if framing::check_headers(&headers, head.target().len()).is_err() {
            return HeadDecision::OtherRoad;
        }
        let request = RequestHead {
            method: head.method(),
            headers: &headers,
            authority: None,
            connection: Some(peer.ip()),
        };
        let is_stateless = request.is_mirrored();
        let (endpoint, mounted) = (route.endpoint, route.mounted);
        let family = compat::family(endpoint, is_stateless);
        if mounted.protocols.is_ready(family)
            && !Translator::passes(mounted, endpoint, is_stateless, None)
        {
            return HeadDecision::OtherRoad;
        }

        let mut context = RequestContext::new(state.draining.enter());
        context.trace(&state.traces, request.method, &headers, Version::HTTP_11);
        context.comes_from(request, &state.settings);
        let mut confirmed = admission::confirm(state, &mut context, request, route, last).await;
        if let Ok(waiting) = &confirmed
            && !waiting.is_without_account()
            && !mounted.protocols.is_ready(family)
        {
            // Boxed: it happens hardly ever.
            let probed = Box::pin(while_allowed(
                waiting.lifetime(),
                &state.draining,
                mounted.protocols.wait_until_probed(family),
            ));
            if let Err(end) = probed.await {
                confirmed = Err(rejected_by(end));
            }
        }
        let confirmed = match confirmed {
            Ok(confirmed)
                if !Translator::passes(mounted, endpoint, is_stateless, confirmed.own()) =>
            {
                return HeadDecision::OtherRoad;
            }
            confirmed => confirmed,
        };
        let request = Request {
            method: head.method().clone(),
            headers,
            connection: peer.ip(),
            route: route.to_owned(),
        };
        LaneExchange::begin(&self.0, request, context, confirmed)
    }

    fn is_draining(&self) -> bool {
        self.0.service.state.draining.has_begun()
    }

    async fn draining(&self) {
        let mut phase = self.0.service.state.draining.watch();
        // Whoever is idle while another process takes over may just be sending its next request.
        let begun = phase.wait_for(|phase| *phase >= Phase::Draining);
        if begun.await.is_err() {
            std::future::pending().await
        }
    }
}

/// Waits for some work before an answer, for as long as the right to it lasts and the gateway stays.
async fn while_allowed<T>(
    lifetime: &StreamLifetime,
    draining: &Draining,
    work: impl Future<Output = T>,
) -> Result<T, End> {
    tokio::select! {
        biased;
        end = lifetime.ended() => Err(end),
        end = lifetime::shutdown(draining, false) => Err(end),
        done = work => Ok(done),
    }
}

/// Waits for the end of the token's lifetime or the gateway's.
pub(super) async fn ending(
    lifetime: StreamLifetime,
    draining: Draining,
    waits_for_events: bool,
) -> lane::End {
    let end = tokio::select! {
        biased;
        end = lifetime.ended() => end,
        end = lifetime::shutdown(&draining, waits_for_events) => end,
    };
    lane::End {
        cause: end.as_str(),
        farewell: (end == End::Shutdown).then(farewell),
    }
}
