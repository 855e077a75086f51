//! How a refusal leaves the endpoints that programs call: one log line, one JSON answer.

use crate::audited::audited;
use gateway_core::audit::{Event, Record};
use gateway_core::grants::personal::PersonalToken;
use gateway_core::protocol::oauth::OAuthError;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_store::journal::Unwritable;

/// Logs a refusal under `event` and answers it. `client` is what the request claims; it may be
/// anything.
pub(super) fn refused(
    event: &str,
    request: &Request,
    client: Option<&str>,
    error: &OAuthError,
) -> Response {
    log(event, request, client, error);
    audited(error.to_response(), record(event, client, error))
}

/// The audit log's record of a refusal that is logged under `event`.
pub(super) fn record(event: &str, client: Option<&str>, error: &OAuthError) -> Record {
    let event = match event {
        "token_refused" => Event::Token,
        "registration_refused" => Event::Registration,
        "revocation_refused" => Event::Revocation,
        "authorization_refused" => Event::Authorization,
        _ => Event::Page,
    };
    Record {
        client: client.map(loggable),
        ..Record::refused(event, error.reason, error.is_fault())
    }
}

/// Logs that the audit log can't be written where something would have been given: the fault to answer.
pub(super) fn audit_unavailable(request: &Request, error: Unwritable) -> OAuthError {
    let fault = OAuthError::fault(Reason::AuditUnavailable, error);
    log("audit_unavailable", request, None, &fault);
    fault
}

/// Logs a refusal that is answered in another way, such as a redirect.
pub(super) fn log(event: &str, request: &Request, client: Option<&str>, error: &OAuthError) {
    let level = if error.is_fault() {
        log::Level::Error
    } else {
        log::Level::Warn
    };
    let client = client.map(loggable);
    log::log!(
        level,
        event = event,
        reason = error.reason,
        hint = error.reason.remedy(),
        error = error.code.as_str(),
        client = client.as_deref(),
        peer:% = request.peer,
        cause = error.cause.as_deref(),
        request_id = request.request_id.as_str();
        "{}", error.description
    );
}

/// What a stranger sent, or a sentence of ours around it, fit for one line: blanks and letters stay,
/// what steers a terminal or the direction of writing does not, and nothing of a personal token.
pub(super) fn loggable(text: &str) -> String {
    const LONGEST: usize = 300;
    let plain =
        |c: char| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric() || "…’“”–".contains(c);
    PersonalToken::masked(text)
        .chars()
        .take(LONGEST)
        .map(|c| if plain(c) { c } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::loggable;

    #[test]
    fn a_sentence_keeps_its_blanks_and_nothing_steers() {
        assert_eq!(
            loggable("its host name does not resolve"),
            "its host name does not resolve"
        );
        assert_eq!(loggable("für “App”"), "für “App”");
        assert_eq!(loggable("a\nb\tc\u{1b}[0m\u{202e}d"), "a?b?c?[0m?d");
        assert_eq!(loggable(&"x".repeat(1_000)).len(), 300);
        let token = format!("client cupgw_{}", "aB3".repeat(18));
        assert_eq!(loggable(&token), "client cupgw_…");
    }
}
