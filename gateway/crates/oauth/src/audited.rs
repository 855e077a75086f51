//! What an endpoint did, for the audit log. Endpoints attach records to their answers; here they
//! are entered before the answer leaves, so that whatever gives or takes access is on disk first.
//!
//! Every refusal passes `outcome` or `refusal`, which attach theirs: a new one can't forget it.

use http::StatusCode;

use crate::endpoint::{AuditLog, Caller, Endpoint};
use crate::server::AuthorizationServer;
use crate::{error_page, error_response};
use gateway_core::audit::{Outcome, Record};
use gateway_core::protocol::oauth::OAuthError;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_store::journal::Unwritable;

/// The records of one answer.
#[derive(Clone, Debug, Default)]
struct Records(Vec<Record>);

/// Attaches a record to an answer.
pub(super) fn audited(mut response: Response, record: Record) -> Response {
    response
        .extensions_mut()
        .get_or_insert_default::<Records>()
        .0
        .push(record);
    response
}

/// Refuses a form or a request that would give something, while the log can't be written: before
/// anything is consumed. Taking access back never waits for the log.
pub(super) fn unready(
    server: &AuthorizationServer,
    endpoint: Endpoint,
    request: &Request,
) -> Option<Response> {
    let gives = endpoint.audit_log() == AuditLog::Required;
    match server.journal.ready() {
        Err(error) if gives && request.method == http::Method::POST => {
            Some(unavailable(server, endpoint, request, error))
        }
        _ => None,
    }
}

/// Enters what is attached to an answer, and gives the answer, or 503 in its place where giving
/// something could not be written down.
pub(super) async fn entered(
    server: &AuthorizationServer,
    endpoint: Endpoint,
    request: &Request,
    mut response: Response,
) -> Response {
    let Some(Records(records)) = response.extensions_mut().remove::<Records>() else {
        return response;
    };
    for record in records {
        let record = record.asked_by(request.peer, &request.request_id);
        if record.user.is_none() {
            server.journal.append_anonymous(record);
            continue;
        }
        let takes = endpoint.audit_log() == AuditLog::BestEffort;
        let gives = record.outcome == Outcome::Allowed && !takes;
        if let Err(error) = server.journal.append_durable(record).await
            && gives
        {
            return unavailable(server, endpoint, request, error);
        }
    }
    response
}

/// The answer where something would be given and can't be written down.
pub(super) fn unavailable(
    server: &AuthorizationServer,
    endpoint: Endpoint,
    request: &Request,
    error: Unwritable,
) -> Response {
    let fault = OAuthError::fault(Reason::AuditUnavailable, error);
    error_response::log("audit_unavailable", request, None, &fault);
    match endpoint.caller() {
        Caller::App | Caller::Server => fault.to_response(),
        Caller::Person => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            error_page::page(server, request, status, Reason::AuditUnavailable, None)
        }
    }
}
