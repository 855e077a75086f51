//! `/connect`: a person connects an account of their own at a backend, once, so that calls to it carry
//! their own credential.
//!
//! `/connect/NAME` is the page, `/connect/link/RANDOM` the same by the address that an app showed,
//! `/connect/NAME/callback` where the backend's authorization server sends the browser back to. Each backend has
//! its own, and its own client: what the server of one sends is never taken for the answer of another's
//! (RFC 9700 §4.4.2).
//!
//! Owns: who may connect what, and what each button does. Not: how an account is obtained and kept
//! (`gateway-accounts`), where it is seen and removed (`account`).

mod callback;
mod done;
mod form;
mod submit;

pub(super) use self::callback::answer as callback;

use http::{Method, StatusCode};

use self::form::{ConnectGoal, show};
use crate::authorize::next_step::NextStep;
use crate::authorize::request::AuthorizationRequest;
use crate::endpoint::{Endpoint, between};
use crate::error_page::{self, Refused};
use crate::pages::Goal;
use crate::server::{AuthorizationServer, Settings};
use crate::{audited, cacheable_response, discovery};
use gateway_accounts::{Accounts, Person};
use gateway_core::account::settings::AccountKind;
use gateway_core::audit::{Event, Record};
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::Secret;

/// `/connect/NAME`, and the addresses that apps show.
pub(super) async fn answer(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> NextStep {
    let below = request.path.strip_prefix(Endpoint::Connect.path());
    let below = below.unwrap_or_default().trim_start_matches('/');
    let is_submitted = request.method == Method::POST;
    let answered = match below.split_once('/') {
        Some(("link", random)) if is_link(random) && !is_submitted => {
            link(server, request, random, now).await.map(NextStep::from)
        }
        None if is_connected_by_people(&server.accounts, below) && is_submitted => {
            submit::answer(server, request, below, now).await
        }
        None if is_connected_by_people(&server.accounts, below) => {
            page(server, request, below, now).await.map(NextStep::from)
        }
        _ => Ok(discovery::absent().into()),
    };
    answered.unwrap_or_else(|refused| refused.page(&server.settings, request).into())
}

/// `/connect/NAME/client.json`: what the gateway is for authorization servers that take such a document.
pub(super) fn document(accounts: &Accounts, settings: &Settings, request: &Request) -> Response {
    let path = Endpoint::ConnectDocument.path();
    let backend = between(path, &request.path, "/client.json").unwrap_or_default();
    if !is_connected_by_people(accounts, backend) {
        return discovery::absent();
    }
    let document = accounts.client_document(&settings.title, backend);
    cacheable_response::json(request, "application/json", &document)
}

/// `/connect/keys`: what verifies the subject tokens that the gateway has exchanged.
pub(super) fn keys(accounts: &Accounts, request: &Request) -> Response {
    let mut backends = accounts.backends();
    if !backends.any(|(_, settings)| matches!(settings.kind, AccountKind::Exchange(_))) {
        return discovery::absent();
    }
    let keys = accounts.exchange_keys();
    cacheable_response::json(request, "application/jwk-set+json", &keys)
}

/// Whether the backend of this name is called with accounts that people connect.
fn is_connected_by_people(accounts: &Accounts, backend: &str) -> bool {
    let settings = accounts.settings(backend);
    settings.is_some_and(|settings| !matches!(settings.kind, AccountKind::Exchange(_)))
}

/// What is random in the addresses that apps show.
fn is_link(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    text.len() == 43 && text.bytes().all(is_plain)
}

pub(super) fn person(session: &BrowserSession) -> Person<'_> {
    Person {
        id: &session.user,
        name: &session.user_name,
    }
}

/// The page that stands before the consent page, where the person has no account there that can be used; of
/// several backends that are offered together, at the first of them.
pub(super) async fn before_consent(
    server: &AuthorizationServer,
    request: &Request,
    session: &BrowserSession,
    asked: &AuthorizationRequest,
) -> Option<Response> {
    let name = &asked.mount().name;
    let members = server.catalogue.members(name).iter();
    let mut backend = None;
    for one in members.chain([name]) {
        if wants_connecting(&server.accounts, one, session).await {
            backend = Some(one);
            break;
        }
    }
    let backend = backend?;
    let goal = ConnectGoal::Authorize(asked.raw_query().to_owned());
    let shown = show(server, request, session, backend, &goal, None).await;
    Some(shown.unwrap_or_else(|refused| refused.page(&server.settings, request)))
}

/// Whether a backend is called with accounts that people connect, and this person has none there that can be
/// used.
async fn wants_connecting(accounts: &Accounts, backend: &str, session: &BrowserSession) -> bool {
    if !is_connected_by_people(accounts, backend) {
        return false;
    }
    match accounts.credential(backend, person(session)).await {
        // Connected; or a fault, which a page can't mend: the consent page says what is not known.
        Ok(Some(_)) => false,
        Err(error) => error.is_for_person(),
        Ok(None) => true,
    }
}

/// `GET /connect/NAME`.
async fn page(
    server: &AuthorizationServer,
    request: &Request,
    backend: &str,
    now: Timestamp,
) -> Result<Response, Refused> {
    let goal = Goal::Page(&request.path);
    let session = server.login_form().session(request, goal, now).await?;
    let goal = ConnectGoal::Account;
    show(server, request, &session, backend, &goal, None).await
}

/// `GET /connect/link/RANDOM`: for the person whom the call was for, and nobody else.
async fn link(
    server: &AuthorizationServer,
    request: &Request,
    random: &str,
    now: Timestamp,
) -> Result<Response, Refused> {
    let goal = Goal::Page(&request.path);
    let session = server.login_form().session(request, goal, now).await?;
    let link = server.accounts.link_of(&Secret::presented(random)).await?;
    let link = link.filter(|link| is_connected_by_people(&server.accounts, &link.backend));
    let refused = |status, reason| {
        error_page::log("account_refused", request, reason);
        error_page::page(&server.settings, request, status, reason, None)
    };
    let Some(link) = link else {
        let reason = Reason::AccountLinkUnknown;
        return Ok(refused(StatusCode::NOT_FOUND, reason));
    };
    if link.user != session.user {
        // Whoever connects an account for somebody else gives that person their own access.
        let reason = Reason::AccountLinkForeign;
        let mut refused = refused(StatusCode::FORBIDDEN, reason);
        let _ = audited::take_records(&mut refused);
        let record = Record {
            user: Some(session.user.as_str().to_owned()),
            backend: Some(link.backend),
            ..Record::refused(Event::Account, reason, false)
        };
        return Ok(audited::audited(refused, record));
    }
    let goal = ConnectGoal::App;
    show(server, request, &session, &link.backend, &goal, None).await
}
