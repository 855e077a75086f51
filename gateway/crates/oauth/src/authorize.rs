//! `/authorize`: looks at the request and the session and names the next step: an error page, the
//! login, the consent page, or a redirect. It is the one place that takes a step, also the one after the
//! answer to the consent page.
//!
//! Nothing is stored for a visitor: the raw query travels through the pages and is validated anew
//! each time.

pub(crate) mod consent;
pub(crate) mod issue_code;
pub(crate) mod next_step;
pub mod request;
pub(crate) mod validate;

use http::{Method, StatusCode};

use self::issue_code::issue_code;
use self::next_step::{Consented, NextStep};
use self::request::{AuthorizationFlow, AuthorizationRequest, AuthorizeRefusal, Callback};
use self::validate::validate;
use crate::audited::audited;
use crate::clients::Clients;
use crate::error_page::Refused;
use crate::pages::Goal;
use crate::server::{AuthorizationServer, Settings};
use crate::{connect, device, error_page, error_response, login, session};
use gateway_core::audit::Record;
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::grants::personal::PersonalToken;
use gateway_core::protocol::form::has_media_type;
use gateway_core::protocol::oauth::OAuthError;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::TagKey;
use gateway_store::StoreError;

/// `GET /authorize`, and `POST` with the same parameters as a form (OAuth 2.1 §3.1).
pub(super) async fn answer(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    match first_step(server, request, now).await {
        Ok(next) => go_on(server, request, next, now).await,
        Err(error) => Ok(fault(&server.settings, request, error)),
    }
}

/// `POST /consent`.
pub(super) async fn answer_consent(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let next = consent::submit(server, request, now).await?;
    go_on(server, request, next, now).await
}

/// `/connect/NAME`, and the addresses that apps show.
pub(super) async fn answer_connect(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let next = connect::answer(server, request, now).await;
    go_on(server, request, next, now).await
}

/// Takes the next step.
async fn go_on(
    server: &AuthorizationServer,
    request: &Request,
    next: NextStep,
    now: Timestamp,
) -> Result<Response, Refused> {
    match next {
        NextStep::Answer(response) => Ok(response),
        NextStep::Login(raw_query) => {
            login::page(server.login_form(), request, Goal::Authorize(&raw_query)).await
        }
        NextStep::LoginAgain(raw_query) => {
            let goal = raw_query.as_deref().map_or(Goal::Start, Goal::Authorize);
            Ok(server.login_form().after_session(request, goal))
        }
        NextStep::Consent(asked, session) => {
            let before = connect::before_consent(server, request, &session, &asked).await;
            Ok(match before {
                Some(page) => page,
                None => consent::page(server.consent_desk(), request, &session, &asked).await,
            })
        }
        NextStep::WithoutAccount(raw_query, session) => {
            without_account(server, request, &raw_query, session, now).await
        }
        NextStep::IssueCode(consented) => match allowed(server, request, *consented, now).await {
            Err(Refused::Store(error)) => Ok(fault(&server.settings, request, error)),
            answered => answered,
        },
    }
}

/// The person goes on without an account at the backend, or where it is not called without one, not at all.
async fn without_account(
    server: &AuthorizationServer,
    request: &Request,
    raw_query: &str,
    session: BrowserSession,
    now: Timestamp,
) -> Result<Response, Refused> {
    let next = judge(
        server.clients(),
        &server.tags,
        request,
        raw_query,
        Some(session),
        now,
    )
    .await?;
    Ok(match next {
        NextStep::Consent(asked, session) => {
            let settings = server.accounts.settings(&asked.mount().name);
            if settings.is_none_or(|settings| settings.optional) {
                consent::page(server.consent_desk(), request, &session, &asked).await
            } else {
                consent::deny_at_once(
                    &server.records,
                    &server.settings,
                    request,
                    &session,
                    &asked,
                    now,
                )
                .await?
            }
        }
        NextStep::Answer(response) => response,
        _ => login::page(server.login_form(), request, Goal::Authorize(raw_query)).await?,
    })
}

/// What Allow does: a code that the browser carries away, or an answer that an app on another machine
/// comes for.
pub(crate) async fn allowed(
    server: &AuthorizationServer,
    request: &Request,
    consented: Consented,
    now: Timestamp,
) -> Result<Response, Refused> {
    match consented.asked.flow().clone() {
        AuthorizationFlow::Browser(callback, challenge) => {
            let flow = (callback, challenge);
            Ok(issue_code(
                &server.settings,
                &server.records,
                server.clock,
                request,
                consented,
                flow,
                now,
            )
            .await?)
        }
        AuthorizationFlow::Device(kept) => {
            device::allow(
                &server.settings,
                &server.records,
                &server.journal,
                request,
                consented,
                &kept,
                now,
            )
            .await
        }
    }
}

/// What comes after a request of an app.
async fn first_step(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<NextStep, StoreError> {
    let raw_query = match raw_query(request) {
        Ok(raw_query) => raw_query,
        Err(reason) => return Ok(refuse(&server.settings, request, reason, None).into()),
    };
    if PersonalToken::may_stand_in(raw_query) {
        // Typed where an app asks for a client id.
        server.revoke_exposed_tokens(raw_query, now).await?;
        return Ok(refuse(&server.settings, request, Reason::TokenInUrl, None).into());
    }
    let session = session::current_session(server.ways_in(), &server.records, request, now).await?;
    let session = session.map(|(_, session)| session);
    judge(
        server.clients(),
        &server.tags,
        request,
        raw_query,
        session,
        now,
    )
    .await
}

/// What a request comes to, for whoever is logged in.
async fn judge(
    clients: Clients<'_>,
    tags: &TagKey,
    request: &Request,
    raw_query: &str,
    session: Option<BrowserSession>,
    now: Timestamp,
) -> Result<NextStep, StoreError> {
    let judged = match validate(clients, tags, request, raw_query, now).await {
        Err(AuthorizeRefusal::Page(reason, detail)) => {
            return Ok(refuse(clients.settings, request, reason, Some(&detail)).into());
        }
        Err(AuthorizeRefusal::TypeCode) => return Ok(device::type_code().into()),
        Err(AuthorizeRefusal::Fault(error)) => return Err(error),
        Err(AuthorizeRefusal::NotNow(reason)) => {
            let page = Refused::Unknown(reason).page(clients.settings, request);
            return Ok(page.into());
        }
        Err(AuthorizeRefusal::Redirect(callback, error)) => Err((callback, error)),
        Ok(valid) => Ok(valid),
    };
    Ok(decide(request, raw_query, judged, session))
}

/// The person logs in before anything is sent to a client that registered itself, errors too: else
/// anybody could make this origin redirect to any place (OAuth 2.1 §7.13.2).
fn decide(
    request: &Request,
    raw_query: &str,
    judged: Result<AuthorizationRequest, (Box<Callback>, OAuthError)>,
    session: Option<BrowserSession>,
) -> NextStep {
    let Some(session) = session else {
        return NextStep::Login(raw_query.to_owned());
    };
    let (callback, error) = match judged {
        Ok(valid) => return NextStep::Consent(Box::new(valid), session),
        Err(refusal) => refusal,
    };
    let client = callback.client().as_str();
    error_response::log("authorization_refused", request, Some(client), &error);
    let record = Record {
        user: Some(session.user.as_str().to_owned()),
        ..error_response::record("authorization_refused", Some(client), &error)
    };
    audited(callback.refused(&error), record).into()
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
    settings: &Settings,
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
    error_page::page(settings, request, StatusCode::BAD_REQUEST, reason, detail)
}

fn fault(settings: &Settings, request: &Request, error: StoreError) -> Response {
    let error = OAuthError::from(error);
    error_response::log("authorization_failed", request, None, &error);
    error_page::page(settings, request, error.code.status(), error.reason, None)
}
