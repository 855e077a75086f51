//! `/device`: a person types the code that an app on another machine shows.
//!
//! Nobody has to be logged in for it: the consent page asks. Wrong codes are counted by the network that
//! they come from.

use std::time::Duration;

use http::StatusCode;

use super::apps::DeviceApps;
use super::typed;
use crate::error_page::{self, Refused};
use crate::login_limit::{self, Limit};
use crate::pages::{self, DeviceForm, DeviceProblem};
use crate::request_limit::network;
use crate::server::{AuthorizationServer, Settings};
use crate::{audited::audited, browser, discovery};
use gateway_core::audit::{Event, Record};
use gateway_core::clock::Timestamp;
use gateway_core::grants::device::UserCode;
use gateway_core::protocol::form::Form;
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_store::{CountKey, LoginSubject};

/// So many wrong codes one network may type.
const WRONG_CODES: Limit = Limit {
    most: 5,
    window: Duration::from_secs(600),
};
/// And so many codes in all, right or wrong, in the same time.
const CODES: u64 = 60;

/// `GET /device`, with the code where the app could show a whole address.
pub(crate) fn page(settings: &Settings, request: &Request) -> Response {
    if settings.device_apps == DeviceApps::Off {
        return discovery::absent();
    }
    let query = request.query.as_deref().unwrap_or_default();
    let form = Form::parse(query.as_bytes()).ok();
    let typed = form.as_ref().and_then(|form| form.one("user_code").ok()?);
    let code = typed.and_then(UserCode::parse);
    show(settings, request, code.map(|code| code.shown()), None)
}

fn show(
    settings: &Settings,
    request: &Request,
    code: Option<String>,
    problem: Option<DeviceProblem>,
) -> Response {
    let status = match problem {
        None => StatusCode::OK,
        Some(DeviceProblem::Unknown) => StatusCode::BAD_REQUEST,
        Some(DeviceProblem::Limited(_)) => StatusCode::TOO_MANY_REQUESTS,
    };
    let page = DeviceForm {
        frame: browser::frame(settings, request),
        code: code.as_deref(),
        problem,
    }
    .page();
    let response = pages::respond(status, page, settings.issuer.is_https());
    match problem {
        Some(DeviceProblem::Limited(wait)) => web::with_retry_after(response, wait.as_secs()),
        _ => response,
    }
}

/// `POST /device`: on to the consent page, or the page again.
pub(crate) async fn submit(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let (settings, records) = (&server.settings, &server.records);
    if settings.device_apps == DeviceApps::Off {
        return Ok(discovery::absent());
    }
    let form = browser::posted_form(settings, request)?;
    let subject = LoginSubject::user_codes(&network(request.peer));
    if let Some(wait) = records.logins_locked_for(&subject, now).await? {
        return Ok(refuse(settings, request, DeviceProblem::Limited(wait)));
    }
    let typed = UserCode::parse(form.field("user_code"));
    // Counted before anything is looked up, so that guesses at the same moment are not free.
    if typed.is_some() {
        let key = CountKey::user_codes(&network(request.peer));
        if records.count(&key, WRONG_CODES.window, now).await? > CODES {
            let problem = DeviceProblem::Limited(WRONG_CODES.window);
            return Ok(refuse(settings, request, problem));
        }
    }
    let found = match &typed {
        Some(code) => records.device_of_user_code(code, now).await?,
        None => None,
    };
    let is_known = found.is_some();
    if let Some(kept) = found.filter(|kept| kept.asked.is_open(now)) {
        return Ok(typed::go_on(
            settings,
            &server.tags,
            request,
            &kept.code,
            now,
        ));
    }
    // What can be no code was mistyped, and whose code was answered pressed twice: neither guesses.
    if typed.is_some() && !is_known {
        login_limit::count(records, &subject, &WRONG_CODES, now).await?;
    }
    Ok(refuse(settings, request, DeviceProblem::Unknown))
}

fn refuse(settings: &Settings, request: &Request, problem: DeviceProblem) -> Response {
    let reason = match problem {
        DeviceProblem::Unknown => Reason::UserCodeUnknown,
        DeviceProblem::Limited(_) => Reason::RateLimited,
    };
    error_page::log("device_refused", request, reason);
    let page = show(settings, request, None, Some(problem));
    audited(page, Record::refused(Event::Page, reason, false))
}
