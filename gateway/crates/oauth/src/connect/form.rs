//! The page with its form, and where it leads.

use http::StatusCode;
use rand::rngs::OsRng;

use super::person;
use crate::audited::{audited, take_records};
use crate::authorize::validate::validate;
use crate::browser::{self, BrowserName};
use crate::clients::Clients;
use crate::error_page::{self, Refused};
use crate::error_response::loggable;
use crate::form_token::{self, Purpose};
use crate::pages::{self, Connect, ConnectProblem, ConnectWay, Goal};
use crate::server::AuthorizationServer;
use gateway_accounts::AccountError;
use gateway_core::account::settings::AccountKind;
use gateway_core::audit::{Event, Record};
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::TagKey;
use gateway_store::KeptGoal;

/// What comes after an account is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConnectGoal {
    /// The person goes on with an app's request, which is this raw query.
    Authorize(String),
    /// The person's apps.
    Account,
    /// The app that showed the address.
    App,
}

impl ConnectGoal {
    /// As a form of the page says it.
    pub(super) fn from_form(form: &browser::PostedForm) -> Self {
        match browser::authorization_request(form.field("request")) {
            Some(query) => Self::Authorize(query.to_owned()),
            None if form.field("goal") == "account" => Self::Account,
            None => Self::App,
        }
    }

    /// As it is kept while the person is elsewhere.
    pub(super) fn kept(&self) -> KeptGoal {
        match self {
            Self::Authorize(query) => KeptGoal::Authorize(query.clone()),
            Self::Account => KeptGoal::Account,
            Self::App => KeptGoal::Start,
        }
    }

    pub(super) fn from_kept(kept: KeptGoal) -> Self {
        match kept {
            KeptGoal::Authorize(query) => match browser::authorization_request(&query) {
                Some(_) => Self::Authorize(query),
                None => Self::App,
            },
            KeptGoal::Account => Self::Account,
            KeptGoal::Start | KeptGoal::Page(_) => Self::App,
        }
    }

    fn on_page(&self) -> Goal<'_> {
        match self {
            Self::Authorize(query) => Goal::Authorize(query),
            Self::Account => Goal::Account,
            Self::App => Goal::Start,
        }
    }

    /// What a seal binds of it.
    fn sealed(&self) -> &str {
        match self {
            Self::Authorize(query) => query,
            Self::Account => "#account",
            Self::App => "#app",
        }
    }
}

/// Why the page is shown again.
pub(super) struct Problem {
    pub(super) reason: Reason,
    pub(super) status: StatusCode,
    /// What it is about, one a line; no secret.
    pub(super) detail: String,
}

impl Problem {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            status: status(reason),
            detail: detail.into(),
        }
    }
}

/// What the seal of the form binds.
pub(super) fn bound<'a>(
    browser: &'a str,
    session: &'a BrowserSession,
    backend: &'a str,
    goal: &'a ConnectGoal,
) -> [&'a [u8]; 4] {
    [
        browser.as_bytes(),
        session.user.as_str().as_bytes(),
        backend.as_bytes(),
        goal.sealed().as_bytes(),
    ]
}

/// The page as things stand; with what was wrong, where it is not the first time.
pub(super) async fn show(
    server: &AuthorizationServer,
    request: &Request,
    session: &BrowserSession,
    backend: &str,
    goal: &ConnectGoal,
    problem: Option<Problem>,
) -> Result<Response, Refused> {
    let Some(settings) = server.accounts.settings(backend) else {
        let (status, reason) = (StatusCode::NOT_FOUND, Reason::NotFound);
        let page = error_page::page(&server.settings, request, status, reason, None);
        return Ok(page);
    };
    let now = server.clock.now();
    let browser = BrowserName::from_request(&server.settings, request);
    let bound = bound(&browser.value, session, backend, goal);
    let seal = form_token::seal(&server.tags, Purpose::Connect, &bound, now, &mut OsRng);
    let state = match server.accounts.credential(backend, person(session)).await {
        Ok(Some(_)) => Some(
            "You have connected one. Connecting again replaces it, also by another account."
                .to_owned(),
        ),
        Err(AccountError::ConnectAgain(lapse)) => {
            Some(format!("Connect it again: {}.", lapse.words()))
        }
        Ok(None) | Err(_) => None,
    };
    let is_part = is_part(server.clients(), &server.tags, request, backend, goal, now).await;
    let page = Connect {
        frame: browser::frame(&server.settings, request),
        backend,
        user_name: &session.user_name,
        goal: goal.on_page(),
        seal: &seal,
        way: match &settings.kind {
            AccountKind::Key { hint } => ConnectWay::Key(hint.as_deref()),
            AccountKind::OAuth(_) | AccountKind::Exchange(_) => ConnectWay::Login,
        },
        is_optional: settings.optional || is_part,
        state: state.filter(|_| problem.is_none()),
        problem: problem.as_ref().map(|problem| ConnectProblem {
            words: format!("{} {}", problem.reason.sentence(), problem.reason.remedy()),
            detail: problem.detail.clone(),
        }),
    }
    .page();
    let status = problem.as_ref().map_or(StatusCode::OK, |it| it.status);
    let mut response = pages::respond(status, page, server.settings.issuer.is_https());
    browser.keep(&server.settings, &mut response);
    Ok(match problem {
        Some(problem) => told(request, session, backend, response, &problem),
        None => response,
    })
}

/// Whether an app asks for several backends together, which it can use without this one.
async fn is_part(
    clients: Clients<'_>,
    tags: &TagKey,
    request: &Request,
    backend: &str,
    goal: &ConnectGoal,
    now: Timestamp,
) -> bool {
    let ConnectGoal::Authorize(query) = goal else {
        return false;
    };
    let asked = validate(clients, tags, request, query, now).await;
    asked.is_ok_and(|asked| asked.mount().name != backend)
}

/// The line of the log and the record of what was not connected.
pub(super) fn told(
    request: &Request,
    session: &BrowserSession,
    backend: &str,
    mut response: Response,
    problem: &Problem,
) -> Response {
    let (reason, detail) = (problem.reason, problem.detail.replace('\n', " "));
    log::warn!(
        event = "account_not_connected", reason, hint = reason.remedy(), backend,
        user = session.user.as_str(), detail = loggable(&detail).as_str(),
        request_id = request.request_id.as_str();
        "a person's account at a backend was not connected"
    );
    let _ = take_records(&mut response);
    let what = problem.detail.lines().next().unwrap_or_default();
    let record = Record {
        user: Some(session.user.as_str().to_owned()),
        backend: Some(backend.to_owned()),
        detail: Some(loggable(what)).filter(|text| !text.is_empty()),
        ..Record::refused(Event::Account, reason, problem.status.is_server_error())
    };
    audited(response, record)
}

/// The status of a page that says this reason.
const fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::OpenFilesExhausted | Reason::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Reason::AccountServerUnreachable
        | Reason::AccountServerUnusable
        | Reason::AccountAnswerInvalid
        | Reason::UpstreamUnreachable
        | Reason::ToolsUnknown => StatusCode::BAD_GATEWAY,
        Reason::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Reason::AccountStateUnknown => StatusCode::BAD_REQUEST,
        _ => StatusCode::FORBIDDEN,
    }
}
