//! Pingora's hooks, a few lines each. Every request is answered in `request_filter`; the proxy path
//! behind it is closed.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::modules::http::HttpModules;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use super::context::RequestContext;
use super::metered::Meter;
use super::serve::Service;
use super::watchdog::RequestWatchdog;

/// How long the rest of a body that nobody wants may take before its connection is closed.
const DRAIN: Duration = Duration::from_secs(2);

pub(super) struct Hooks {
    service: Arc<Service>,
}

impl Hooks {
    pub(super) const fn new(service: Arc<Service>) -> Self {
        Self { service }
    }
}

#[async_trait]
impl ProxyHttp for Hooks {
    type CTX = RequestContext;

    fn new_ctx(&self) -> RequestContext {
        RequestContext::new(self.service.state.draining.enter())
    }

    /// No modules: answers are not compressed here, and streams least of all.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(
        &self,
        session: &mut Session,
        _visit: &mut RequestContext,
    ) -> pingora::Result<()> {
        if let Some(watchdog) = RequestWatchdog::current() {
            watchdog.head_is_read();
        }
        if let Some(meter) = Meter::current() {
            meter.head_is_read();
        }
        let timeouts = &self.service.state.settings.timeouts;
        session.set_write_timeout(Some(timeouts.write));
        session.set_total_drain_timeout(Some(DRAIN));
        // `answer` decides this for each body that nobody wants.
        session.set_close_on_response_before_downstream_finish(false);
        // Only where Pingora would keep the connection: it closes those with two framings.
        if session.get_keepalive().is_some() {
            let idle =
                (!self.service.state.draining.has_begun()).then_some(timeouts.idle.as_secs());
            session.set_keepalive(idle);
        }
        Ok(())
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        context: &mut RequestContext,
    ) -> pingora::Result<bool> {
        self.service
            .serve(&mut session.downstream_session, context)
            .await?;
        Ok(true)
    }

    /// Never reached: `request_filter` answers everything. If it ever were, there is no peer.
    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _visit: &mut RequestContext,
    ) -> pingora::Result<Box<HttpPeer>> {
        Error::e_explain(
            ErrorType::InternalError,
            "backends are reached through the exchange only",
        )
    }

    /// What failed has been logged where it failed, and an answer that has begun can't be replaced.
    async fn fail_to_proxy(
        &self,
        _session: &mut Session,
        _error: &Error,
        _visit: &mut RequestContext,
    ) -> FailToProxy {
        FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        }
    }

    fn suppress_error_log(
        &self,
        _session: &Session,
        _visit: &RequestContext,
        _error: &Error,
    ) -> bool {
        true
    }

    /// Marks the connection as one that has carried a request.
    fn persist_connection_context(
        &self,
        _session: &Session,
        _visit: &RequestContext,
    ) -> Option<Box<dyn Any + Send + Sync>> {
        Some(Box::new(()))
    }
}
