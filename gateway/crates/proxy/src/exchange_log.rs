//! What is told of one exchange with a backend, whatever carried it: the lines of the log, and what is
//! counted.

use gateway_core::policy::AccessToken;
use gateway_core::reason::Reason;
use gateway_upstream::Failure;

use super::context::RequestContext;
use super::in_flight::Full;
use super::mounted_backend::MountedBackend;

/// What is told of one exchange.
#[derive(Clone, Copy)]
pub(super) struct ExchangeLog<'a> {
    pub(super) mounted: &'a MountedBackend,
    pub(super) context: &'a RequestContext,
    pub(super) token: &'a AccessToken,
    /// Of the answer.
    pub(super) status: u16,
}

impl ExchangeLog<'_> {
    /// It is over.
    pub(super) fn ended(&self, outcome: &'static str) {
        let context = self.context;
        context.ended(outcome, self.status);
        log::info!(
            event = "exchanged", outcome = outcome, status = self.status, backend = self.backend(),
            user = context.user(), client = context.client(), grant = context.grant(), token = self.token(), call = context.call,
            ms = u64::try_from(context.started.elapsed().as_millis()).unwrap_or(u64::MAX), request_id = context.id, trace_id = context.trace_id();
            "exchange with a backend"
        );
    }

    /// The backend failed within its answer.
    pub(super) fn failed(&self, failure: &Failure) {
        let reason = Reason::UpstreamFailed;
        let context = self.context;
        context.failed(reason, self.status, true);
        log::warn!(
            event = "exchange_failed", reason = reason.code(), hint = reason.remedy(), status = self.status,
            backend = self.backend(), user = context.user(), client = context.client(), grant = context.grant(),
            call = context.call, request_id = context.id, trace_id = context.trace_id();
            "{failure}"
        );
    }

    /// No more of the answer may be held.
    pub(super) fn cut(&self, full: Full) {
        let reason = Reason::InFlightFull;
        let context = self.context;
        context.failed(reason, self.status, true);
        self.mounted.metrics.limit_reached(full.setting());
        log::warn!(
            event = "answer_cut", reason = reason.code(), hint = reason.remedy(), limit = full.setting(),
            backend = self.backend(), user = context.user(), client = context.client(), grant = context.grant(),
            call = context.call, request_id = context.id, trace_id = context.trace_id();
            "an answer was broken off: {}", reason.sentence()
        );
    }

    fn backend(&self) -> &str {
        &self.mounted.backend.mount.name
    }

    /// Enough of the token's name to find it.
    fn token(&self) -> &str {
        let id = self.token.id();
        id.get(..16).unwrap_or(id)
    }
}
