//! What Deny comes to.

use crate::audited::audited;
use crate::authorize::request::{AuthorizationFlow, AuthorizationRequest};
use crate::device;
use crate::error_page::Refused;
use crate::server::Settings;
use gateway_core::audit::{Event, Record};
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_store::Records;

/// The person denies before anything else was asked.
pub(in crate::authorize) async fn deny_at_once(
    records: &Records,
    settings: &Settings,
    request: &Request,
    session: &BrowserSession,
    asked: &AuthorizationRequest,
    now: Timestamp,
) -> Result<Response, Refused> {
    match asked.flow() {
        AuthorizationFlow::Browser(callback, _) => {
            Ok(told(request, session, asked, callback.denied()))
        }
        AuthorizationFlow::Device(kept) => {
            let (denied, counts) =
                device::deny(records, settings, request, asked, kept, now).await?;
            Ok(if counts {
                told(request, session, asked, denied)
            } else {
                denied
            })
        }
    }
}

/// The answer with the line of the log and the record of what was denied.
pub(super) fn told(
    request: &Request,
    session: &BrowserSession,
    asked: &AuthorizationRequest,
    denied: Response,
) -> Response {
    let reason = Reason::UserDenied;
    log::info!(
        event = "authorization_denied", reason, hint = reason.remedy(),
        client = asked.client().id.as_str(), user = session.user.as_str(),
        request_id = request.request_id.as_str(); "{}", reason.sentence()
    );
    let record = Record {
        user: Some(session.user.as_str().to_owned()),
        client: Some(asked.client().id.as_str().to_owned()),
        backend: Some(asked.mount().name.clone()),
        ..Record::refused(Event::Consent, reason, false)
    };
    audited(denied, record)
}
