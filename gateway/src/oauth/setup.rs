//! `/setup`: the first owner sets name and password with the code from the terminal.
//!
//! The code is what proves the right to do so; only a wrong one counts as a try, and only after
//! everything else in the form was right.

use http::StatusCode;
use rand::rngs::OsRng;

use crate::audit::{Event, Record};
use crate::grants::UserId;
use crate::identity::{self, LoginName, Password, SetupCode, SetupRefusal};
use crate::oauth::audited::audited;
use crate::oauth::refusal::{self, Refused};
use crate::oauth::{AuthorizationServer, browser, login};
use crate::pages::{self, SetupForm, SetupProblem};
use crate::protocol::form::Form;
use crate::protocol::web::{Request, Response};
use crate::reason::Reason;
use crate::store::User;

/// `GET /setup?code=…`; 404 once there is an owner.
pub async fn page(server: &AuthorizationServer, request: &Request) -> Response {
    match server.records.has_users(server.clock.now()).await {
        Ok(true) => done(server, request),
        Ok(false) => {
            let query = request.query.as_deref().unwrap_or_default();
            let form = Form::parse(query.as_bytes()).unwrap_or_default();
            let code = form.one("code").ok().flatten().unwrap_or_default();
            show(server, request, code, "", None)
        }
        Err(error) => Refused::from(error).page(server, request),
    }
}

/// `POST /setup`.
pub async fn submit(server: &AuthorizationServer, request: &Request) -> Response {
    match become_owner(server, request).await {
        Ok(response) => response,
        Err(refused) => refused.page(server, request),
    }
}

async fn become_owner(
    server: &AuthorizationServer,
    request: &Request,
) -> Result<Response, Refused> {
    let now = server.clock.now();
    if server.records.has_users(now).await? {
        return Ok(done(server, request));
    }
    let form = browser::posted_form(server, request)?;
    let again = |problem| {
        let (code, name) = (form.field("code"), form.field("name"));
        Refused::from(show(server, request, code, name, Some(problem)))
    };
    let refused = |refusal| match refusal {
        SetupRefusal::Store(error) => Refused::from(error),
        SetupRefusal::Done => done(server, request).into(),
        SetupRefusal::CodeWrong => {
            refusal::log("setup_refused", request, Reason::SetupCodeWrong);
            let Refused::Answered(page) = again(SetupProblem::Code) else {
                return again(SetupProblem::Code);
            };
            let record = Record::refused(Event::OwnerSet, Reason::SetupCodeWrong, false);
            audited(*page, record).into()
        }
    };
    let name = LoginName::parse(form.field("name")).ok_or_else(|| again(SetupProblem::Name))?;
    let password = new_password(form.field("password"), form.field("again")).map_err(again)?;
    let code =
        SetupCode::parse(form.field("code")).ok_or_else(|| refused(SetupRefusal::CodeWrong))?;
    let accepted = server.setup.accept(&server.records, &code, now).await;
    let accepted = accepted.map_err(refused)?;
    let hash = server.passwords.hash(password).await?;
    let owner = User::new(UserId::draw(&mut OsRng), name.as_str(), hash.as_str(), now);
    let claimed = server.setup.claim(&server.records, accepted, &owner, now);
    claimed.await.map_err(refused)?;
    log::info!(
        event = "owner_set",
        user = owner.id.as_str(),
        request_id = request.request_id.as_str();
        "the gateway has its owner"
    );
    let opened = login::open_session(server, request, &owner, "/", now).await?;
    let record = Record {
        user: Some(owner.id.as_str().to_owned()),
        ..Record::of(Event::OwnerSet)
    };
    Ok(audited(opened, record))
}

fn new_password(password: &str, again: &str) -> Result<Password, SetupProblem> {
    if password.len() > identity::LONGEST {
        return Err(SetupProblem::PasswordLong);
    }
    let accepted = Password::new(password).ok_or(SetupProblem::PasswordShort)?;
    if password != again {
        return Err(SetupProblem::PasswordsDiffer);
    }
    Ok(accepted)
}

fn done(server: &AuthorizationServer, request: &Request) -> Response {
    refusal::page(
        server,
        request,
        StatusCode::NOT_FOUND,
        Reason::SetupDone,
        None,
    )
}

fn show(
    server: &AuthorizationServer,
    request: &Request,
    code: &str,
    name: &str,
    problem: Option<SetupProblem>,
) -> Response {
    let page = SetupForm {
        frame: browser::frame(server, request),
        code: &pages::clean(code, 20),
        name,
        problem,
    }
    .page();
    let status = match problem {
        None => StatusCode::OK,
        Some(SetupProblem::Code) => StatusCode::FORBIDDEN,
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    pages::respond(status, page, server.settings.issuer.is_https())
}
