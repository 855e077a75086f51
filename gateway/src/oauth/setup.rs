//! `/setup`: the first owner sets name and password with the code from the terminal.
//!
//! The code is what proves the right to do so; only a wrong one counts as a try, and only after
//! everything else in the form was right.

use http::StatusCode;
use rand::rngs::OsRng;

use crate::grants::UserId;
use crate::identity::{self, LoginName, Password, SetupCode, SetupRefusal};
use crate::oauth::{AuthorizationServer, browser, login, refusal};
use crate::pages::{self, SetupForm, SetupProblem};
use crate::protocol::form::Form;
use crate::protocol::web::{Request, Response};
use crate::reason::Reason;
use crate::store::{StoreError, User};

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
        Err(error) => refusal::store_unavailable(server, request, &error),
    }
}

/// `POST /setup`.
pub async fn submit(server: &AuthorizationServer, request: &Request) -> Response {
    match become_owner(server, request).await {
        Ok(response) => response,
        Err(error) => refusal::store_unavailable(server, request, &error),
    }
}

async fn become_owner(
    server: &AuthorizationServer,
    request: &Request,
) -> Result<Response, StoreError> {
    let now = server.clock.now();
    if server.records.has_users(now).await? {
        return Ok(done(server, request));
    }
    let form = match browser::posted_form(server, request) {
        Ok(form) => form,
        Err(response) => return Ok(*response),
    };
    let field = |name| form.one(name).ok().flatten().unwrap_or_default();
    let again = |problem| {
        let (code, name) = (field("code"), field("name"));
        Ok(show(server, request, code, name, Some(problem)))
    };
    let Some(name) = LoginName::parse(field("name")) else {
        return again(SetupProblem::Name);
    };
    let password = match new_password(field("password"), field("again")) {
        Ok(password) => password,
        Err(problem) => return again(problem),
    };
    let Some(code) = SetupCode::parse(field("code")) else {
        return again(SetupProblem::Code);
    };
    let accepted = match server.setup.accept(&server.records, &code, now).await {
        Ok(accepted) => accepted,
        Err(refusal) => return refused(server, request, refusal, || again(SetupProblem::Code)),
    };
    let Ok(hash) = server.passwords.hash(password).await else {
        return Ok(refusal::overloaded(server, request));
    };
    let owner = User {
        id: UserId::draw(&mut OsRng),
        name: name.as_str().to_owned(),
        password_hash: hash.as_str().to_owned(),
        created: now,
    };
    let claimed = server.setup.claim(&server.records, accepted, &owner, now);
    if let Err(refusal) = claimed.await {
        return refused(server, request, refusal, || again(SetupProblem::Code));
    }
    log::info!(event = "owner_set", user = owner.id.as_str(), request_id = request.request_id.as_str();
        "the gateway has its owner");
    login::open_session(server, request, &owner, "/", now).await
}

fn new_password(password: &str, again: &str) -> Result<Password, SetupProblem> {
    if password.len() > identity::LONGEST {
        return Err(SetupProblem::PasswordLong);
    }
    let Some(accepted) = Password::new(password) else {
        return Err(SetupProblem::PasswordShort);
    };
    if password != again {
        return Err(SetupProblem::PasswordsDiffer);
    }
    Ok(accepted)
}

fn refused(
    server: &AuthorizationServer,
    request: &Request,
    refusal: SetupRefusal,
    again: impl FnOnce() -> Result<Response, StoreError>,
) -> Result<Response, StoreError> {
    match refusal {
        SetupRefusal::Store(error) => Err(error),
        SetupRefusal::Done => Ok(done(server, request)),
        SetupRefusal::CodeWrong => {
            let reason = Reason::SetupCodeWrong;
            log::warn!(
                event = "setup_refused", reason, hint = reason.remedy(), peer:% = request.peer,
                request_id = request.request_id.as_str(); "{}", reason.sentence()
            );
            again()
        }
    }
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
