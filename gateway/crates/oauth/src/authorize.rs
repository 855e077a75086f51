//! `/authorize`: looks at the request and the session and names the next step: an error page, the
//! login, the consent page, or a redirect. And what Allow does.
//!
//! Nothing is stored for a visitor: the raw query travels through the pages and is validated anew
//! each time.

use std::time::Duration;

use http::{Method, StatusCode};
use rand::rngs::OsRng;

use crate::audited::audited;
use crate::authorization_request::{Rules, client_id, judge};
use crate::clients::{self, NotFound};
use crate::pages::Goal;
use crate::server::AuthorizationServer;
use crate::{consent, error_page, error_response, login, session};
use gateway_core::audit::{Event, Record};
use gateway_core::browser_session::BrowserSession;
use gateway_core::client::{Allowed, REMEMBERED, Registration};
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::grants::authorization_code::{self, AuthorizationCode};
use gateway_core::grants::{GrantId, Tools};
use gateway_core::protocol::form::{Form, has_media_type};
use gateway_core::protocol::oauth::OAuthError;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::{Secret, SecretHash};
use gateway_store::{Records, StoreError, TakenCode};

pub use crate::authorization_request::{AuthorizationRequest, AuthorizeRefusal, Callback};

/// Longer queries are refused: a client that sends this much means something else.
const MAX_QUERY: usize = 16 * 1024;

/// When an app that has not redeemed its code never will.
const PATIENCE: Duration = Duration::from_secs(120);

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

/// Judges an authorization request anew, wherever it comes from: the address bar or a form.
pub async fn validate(
    server: &AuthorizationServer,
    raw_query: &str,
    now: Timestamp,
) -> Result<AuthorizationRequest, AuthorizeRefusal> {
    let malformed = |detail: String| AuthorizeRefusal::Page(Reason::RequestMalformed, detail);
    if raw_query.len() > MAX_QUERY {
        return Err(malformed("the request is too long".to_owned()));
    }
    let form = Form::parse(raw_query.as_bytes()).map_err(|error| malformed(error.to_string()))?;
    let id = client_id(&form)?;
    let client = clients::find(server, &id, now)
        .await
        .map_err(|error| match error {
            NotFound::Unknown(reason, detail) => {
                AuthorizeRefusal::Page(reason, error_response::loggable(&detail))
            }
            NotFound::Fault(error) => AuthorizeRefusal::Fault(error),
        })?;
    let settings = &server.settings;
    let rules = Rules {
        issuer: &settings.issuer,
        mounts: &settings.mounts,
        schemes: &settings.redirect_schemes,
        scopes: &settings.scopes,
        refresh: settings.refresh.is_some(),
    };
    judge(raw_query, &form, client, rules)
}

/// What Allow does: a code for what was consented to, durable before the browser carries it away.
/// `secret` is one a consent page: the same press again leads to the same code.
pub async fn approve(
    server: &AuthorizationServer,
    request: &Request,
    session: &BrowserSession,
    asked: AuthorizationRequest,
    tools: Tools,
    secret: &Secret,
    now: Timestamp,
) -> Response {
    let code = AuthorizationCode {
        grant: GrantId::draw(&mut OsRng),
        client: asked.client().id.clone(),
        client_fingerprint: asked.client().fingerprint(),
        redirect_uri: asked.callback().redirect_uri().as_str().to_owned(),
        code_challenge: asked.code_challenge().clone(),
        resource: asked.resource().clone(),
        scope: asked.scope().clone(),
        tools,
        user: session.user.clone(),
        user_name: session.user_name.clone(),
        issued: now,
        expires: now + authorization_code::LIFETIME,
    };
    match keep(server, &asked, secret, &code, now).await {
        Ok(true) => {}
        // The same press came twice, and the other one was faster: it has been written down.
        Ok(false) => return asked.callback().granted(secret),
        Err(error) => return fault(server, request, &error),
    }
    log::info!(
        event = "code_issued",
        client = code.client.as_str(),
        grant = code.grant.as_str(),
        user = code.user.as_str(),
        resource = code.resource.as_str(),
        scope:% = code.scope,
        request_id = request.request_id.as_str();
        "a person allowed a client; it has {} s to redeem the code",
        authorization_code::LIFETIME.as_secs()
    );
    let record = Record {
        user: Some(code.user.as_str().to_owned()),
        client: Some(code.client.as_str().to_owned()),
        grant: Some(code.grant.as_str().to_owned()),
        backend: Some(asked.mount().name.clone()),
        detail: Some(format!(
            "scope {}; tools {}",
            code.scope,
            code.tools.in_words()
        )),
        ..Record::of(Event::Consent)
    };
    tokio::spawn(watch(
        server.records.clone(),
        secret.hash(),
        code,
        server.clock,
    ));
    audited(asked.callback().granted(secret), record)
}

/// Tells the operator when an app never came for its code: the person saw an error of the app, and
/// nothing else here would show it.
async fn watch(records: Records, hash: SecretHash, code: AuthorizationCode, clock: Clock) {
    tokio::time::sleep(PATIENCE).await;
    // The code is past its time, so that taking it only asks whether anybody did.
    if let Ok(TakenCode::Fresh(_)) = records.take_code(&hash, clock.now()).await {
        log::warn!(
            event = "authorization_unused",
            reason = Reason::CodeNeverRedeemed,
            hint = Reason::CodeNeverRedeemed.remedy(),
            client = code.client.as_str(),
            grant = code.grant.as_str(),
            user = code.user.as_str();
            "{}", Reason::CodeNeverRedeemed.sentence()
        );
    }
}

/// `false` if the code is there already. The client is kept first, for as long as anything lives that comes from this code: a grant must
/// never outlive its client.
async fn keep(
    server: &AuthorizationServer,
    asked: &AuthorizationRequest,
    secret: &Secret,
    code: &AuthorizationCode,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let remember_code = code.remember_until(server.settings.longest_token());
    let remember_client = remember_code.max(now + REMEMBERED);
    let (records, client) = (&server.records, asked.client());
    match client.registration {
        // What the configuration says of a client is asked anew each time.
        Registration::PreRegistered => {}
        // One that the operator removed meanwhile stays removed.
        Registration::SelfRegistered => {
            records
                .extend_client(&client.id, remember_client, now)
                .await?;
        }
        Registration::MetadataDocument => {
            records.keep_client(client, remember_client).await?;
        }
    }
    if let Some(allowed) = Allowed::now(asked.client(), now) {
        server
            .records
            .put_allowed(&code.user, &code.client, &allowed, remember_client)
            .await?;
    }
    server
        .records
        .add_code(&secret.hash(), code, remember_code, now)
        .await
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
