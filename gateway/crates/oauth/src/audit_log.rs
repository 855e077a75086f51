//! The audit log's part in an answer: whatever gives or takes access is on disk before the answer
//! leaves, and what would give something is refused while it can't be.

use crate::audited::take_records;
use crate::endpoint::{AuditLog, Caller, Endpoint};
use crate::error_page::Refused;
use crate::error_response;
use crate::server::Settings;
use gateway_core::audit::Outcome;
use gateway_core::protocol::web::{Request, Response};
use gateway_store::journal::{Journal, Unwritable};

/// Refuses a form or a request that would give something, while the log can't be written: before
/// anything is consumed. Taking access back never waits for the log.
pub(super) fn unready(
    settings: &Settings,
    journal: &Journal,
    endpoint: Endpoint,
    request: &Request,
) -> Option<Response> {
    let gives = endpoint.audit_log() == AuditLog::Required;
    match journal.ready() {
        Err(error) if gives && request.method == endpoint.acts_by() => {
            Some(unavailable(settings, endpoint, request, error))
        }
        _ => None,
    }
}

/// Enters what is attached to an answer, and gives the answer, or 503 in its place where giving
/// something could not be written down.
pub(super) async fn entered(
    settings: &Settings,
    journal: &Journal,
    endpoint: Endpoint,
    request: &Request,
    mut response: Response,
) -> Response {
    for record in take_records(&mut response) {
        let record = record.asked_by(request.peer, &request.request_id);
        if record.user.is_none() {
            journal.append_anonymous(&record);
            continue;
        }
        let takes = endpoint.audit_log() == AuditLog::BestEffort;
        let gives = record.outcome == Outcome::Allowed && !takes;
        if let Err(error) = journal.append_durable(record).await
            && gives
        {
            return unavailable(settings, endpoint, request, error);
        }
    }
    response
}

/// The answer where something would be given and can't be written down.
fn unavailable(
    settings: &Settings,
    endpoint: Endpoint,
    request: &Request,
    error: Unwritable,
) -> Response {
    match endpoint.caller() {
        Caller::App | Caller::Server => {
            error_response::audit_unavailable(request, error).to_response()
        }
        Caller::Person => Refused::from(error).page(settings, request),
    }
}
