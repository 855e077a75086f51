//! Why a passkey is not taken.

use gateway_core::protocol::web::Request;
use gateway_core::reason::Reason;

/// Why an answer was not taken: one reason, and the library's own words for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PasskeyRefusal {
    pub(crate) reason: Reason,
    pub(crate) cause: String,
}

impl PasskeyRefusal {
    pub(super) fn new(reason: Reason, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        Self { reason, cause }
    }

    /// One log line, with the library's words.
    pub(crate) fn log(&self, event: &str, request: &Request) {
        log::warn!(
            event = event, reason = self.reason, hint = self.reason.remedy(), cause = self.cause.as_str(),
            peer:% = request.peer, request_id = request.request_id.as_str();
            "{}", self.reason.sentence()
        );
    }
}
