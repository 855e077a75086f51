//! `/authorize`: looks at the request and the session and names the next step: an error page, the
//! login, the consent page, or a redirect.
//!
//! Nothing is stored for a visitor: the raw query travels through the pages and is validated anew
//! each time.

pub mod consent;
pub(crate) mod issue_code;
pub mod request;
pub(crate) mod validate;

use http::{Method, StatusCode};

use crate::audited::audited;
use crate::pages::Goal;
use crate::server::AuthorizationServer;
use crate::{error_page, error_response, login, session};
use gateway_core::audit::Record;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::form::has_media_type;
use gateway_core::protocol::oauth::OAuthError;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_store::StoreError;

use self::request::AuthorizeRefusal;
use self::validate::validate;

/// `GET /authorize`, and `POST` with the same parameters as a form (OAuth 2.1 §3.1).
pub(super) async fn answer(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Response {
    let raw_query = match raw_query(request) {
        Ok(raw_query) => raw_query,
        Err(reason) => return refuse(server, request, reason, None),
    };
    let judged = match validate(server, raw_query, now).await {
        Err(AuthorizeRefusal::Page(reason, detail)) => {
            return refuse(server, request, reason, Some(&detail));
        }
        Err(AuthorizeRefusal::Fault(error)) => return fault(server, request, &error),
        Err(AuthorizeRefusal::Redirect(callback, error)) => Err((callback, error)),
        Ok(valid) => Ok(valid),
    };
    // The person logs in before anything is sent to a client that registered itself, errors too:
    // else anybody could make this origin redirect to any place (OAuth 2.1 §7.13.2).
    let session = match session::current_session(server, request, now).await {
        Ok(Some((_, session))) => session,
        Ok(None) => return login::page(server, request, Goal::Authorize(raw_query)).await,
        Err(error) => return fault(server, request, &error),
    };
    match judged {
        Ok(valid) => {
            let asked = consent::Asked {
                client: valid.client(),
                redirect_uri: valid.callback().redirect_uri(),
                mount: valid.mount(),
                scope: valid.scope(),
                scopes: server.settings.scopes.at(&valid.mount().name),
                raw_query: valid.raw_query(),
            };
            consent::page(server, request, &session, asked).await
        }
        Err((callback, error)) => {
            let client = callback.client().as_str();
            error_response::log("authorization_refused", request, Some(client), &error);
            let record = Record {
                user: Some(session.user.as_str().to_owned()),
                ..error_response::record("authorization_refused", Some(client), &error)
            };
            audited(callback.refused(&error), record)
        }
    }
}

/// The parameters, undecoded: the query, or the body of a form. Never both.
fn raw_query(request: &Request) -> Result<&str, Reason> {
    let query = request.query.as_deref().unwrap_or_default();
    if request.method != Method::POST {
        return Ok(query);
    }
    if !has_media_type(&request.headers, "application/x-www-form-urlencoded") {
        return Err(Reason::MediaTypeWrong);
    }
    if !query.is_empty() {
        return Err(Reason::RequestMalformed);
    }
    std::str::from_utf8(&request.body).map_err(|_| Reason::RequestMalformed)
}

fn refuse(
    server: &AuthorizationServer,
    request: &Request,
    reason: Reason,
    detail: Option<&str>,
) -> Response {
    log::warn!(
        event = "authorization_refused",
        reason = reason,
        hint = reason.remedy(),
        detail = detail.map(error_response::loggable).as_deref(),
        peer:% = request.peer,
        request_id = request.request_id.as_str();
        "{}", reason.sentence()
    );
    error_page::page(server, request, StatusCode::BAD_REQUEST, reason, detail)
}

fn fault(server: &AuthorizationServer, request: &Request, error: &StoreError) -> Response {
    let error = OAuthError::fault(Reason::StoreUnavailable, error);
    error_response::log("authorization_failed", request, None, &error);
    error_page::page(
        server,
        request,
        error.code.status(),
        Reason::StoreUnavailable,
        None,
    )
}
