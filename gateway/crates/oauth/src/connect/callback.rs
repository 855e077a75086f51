//! `GET /connect/NAME/callback`: the browser comes back from a backend's authorization server.

use http::{Method, StatusCode};

use super::form::{ConnectGoal, Problem, show, told};
use super::{done, person};
use crate::endpoint::{Endpoint, between};
use crate::error_page::{self, Refused};
use crate::pages::Goal;
use crate::provider::browser_hash;
use crate::server::{AuthorizationServer, Settings};
use gateway_accounts::{Returned, Traveller, Unfinished};
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;

/// HEAD is no visit, and would use a connection up.
pub(crate) async fn answer(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Response {
    if request.method == Method::HEAD {
        return web::empty(StatusCode::NO_CONTENT);
    }
    let answered = accept(server, request, now).await;
    answered.unwrap_or_else(|refused| refused.page(&server.settings, request))
}

async fn accept(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let goal = Goal::Account;
    let session = server
        .login_form()
        .resumed_session(request, goal, now)
        .await?;
    let path = Endpoint::ConnectCallback.path();
    let backend = between(path, &request.path, "/callback").unwrap_or_default();
    let query = request.query.as_deref().unwrap_or_default();
    let Some(returned) = Returned::read(query, "the authorization server") else {
        return Ok(unknown(&server.settings, request, &session, String::new()));
    };
    // The code of an error alone: a server may repeat in its description what it was sent.
    let code_alone = |said: String| said.lines().next().unwrap_or_default().to_owned();
    let returned = Returned {
        outcome: returned.outcome.map_err(code_alone),
        ..returned
    };
    let browser = browser_hash(&server.settings, request);
    let who = Traveller {
        person: person(&session),
        browser: &browser,
    };
    match server.accounts.finish(backend, returned, who).await {
        Ok((connected, goal)) => {
            let goal = ConnectGoal::from_kept(goal);
            Ok(done::answer(&server.settings, request, &connected, &goal))
        }
        Err(Unfinished { failure, begun }) => {
            let (reason, detail) = failure.explained()?;
            let Some((backend, goal)) = begun else {
                return Ok(unknown(&server.settings, request, &session, detail));
            };
            let goal = ConnectGoal::from_kept(goal);
            let problem = Some(Problem::new(reason, detail));
            show(server, request, &session, &backend, &goal, problem).await
        }
    }
}

/// The answer to what was not begun here.
fn unknown(
    settings: &Settings,
    request: &Request,
    session: &BrowserSession,
    detail: String,
) -> Response {
    let problem = Problem::new(Reason::AccountStateUnknown, detail);
    let (status, reason, detail) = (problem.status, problem.reason, &problem.detail);
    let page = error_page::page(settings, request, status, reason, Some(detail));
    told(request, session, "", page, &problem)
}
