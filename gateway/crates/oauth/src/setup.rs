//! `/setup`: the first owner sets name and password with the code from the terminal.
//!
//! The code is what proves the right to do so; only a wrong one counts as a try, and only after
//! everything else in the form was right.

use std::time::Duration;

use http::StatusCode;
use rand::rngs::OsRng;

use crate::audited::audited;
use crate::browser::PostedForm;
use crate::error_page::{self, Refused};
use crate::identity::{self, LoginName, Password, SetupCode, SetupRefusal};
use crate::pages::{self, SetupForm, SetupProblem};
use crate::server::AuthorizationServer;
use crate::{browser, session};
use gateway_core::audit::{Event, Record};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::protocol::form::Form;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_store::User;

/// For so long after an owner was made the same form is answered as the first time.
const DOUBLE: Duration = Duration::from_secs(60);

/// How often, and how far apart, it is looked for an owner who is being written down.
const LOOKS: usize = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

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
        let form = browser::posted_form(server, request).map_err(|_| done(server, request))?;
        let again = sent_again(server, request, &form, now).await?;
        return Ok(again.unwrap_or_else(|| done(server, request)));
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
            error_page::log("setup_refused", request, Reason::SetupCodeWrong);
            let Refused::Answered(page) = again(SetupProblem::Code) else {
                return again(SetupProblem::Code);
            };
            let record = Record::refused(Event::OwnerSet, Reason::SetupCodeWrong, false);
            audited(*page, record).into()
        }
    };
    let name = LoginName::parse(form.field("name"))
        .filter(|name| !server.settings.is_service(name.as_str()))
        .ok_or_else(|| again(SetupProblem::Name))?;
    let password = new_password(form.field("password"), form.field("again")).map_err(again)?;
    let code =
        SetupCode::parse(form.field("code")).ok_or_else(|| refused(SetupRefusal::CodeWrong))?;
    let accepted = server.setup.accept(&server.records, &code, now).await;
    let accepted = match accepted {
        Ok(accepted) => accepted,
        Err(refusal) => {
            let again = sent_again(server, request, &form, now).await?;
            return again.ok_or_else(|| refused(refusal));
        }
    };
    let hash = server.passwords.hash(password).await?;
    let owner = User {
        owner: true,
        ..User::new(UserId::draw(&mut OsRng), name.as_str(), hash.as_str(), now)
    };
    let claimed = server.setup.claim(&server.records, accepted, &owner, now);
    if let Err(refusal) = claimed.await {
        let again = sent_again(server, request, &form, now).await?;
        return again.ok_or_else(|| refused(refusal));
    }
    log::info!(
        event = "owner_set",
        user = owner.id.as_str(),
        request_id = request.request_id.as_str();
        "the gateway has its owner"
    );
    let opened = session::open_session(server, request, &owner, "/", now).await?;
    let record = Record {
        user: Some(owner.id.as_str().to_owned()),
        ..Record::new(Event::OwnerSet)
    };
    Ok(audited(opened, record))
}

/// The same form within a minute of the one that made the owner: whoever pressed twice is logged in as
/// they would have been. The code that was used, the name and the password have to be the same.
async fn sent_again(
    server: &AuthorizationServer,
    request: &Request,
    form: &PostedForm,
    now: Timestamp,
) -> Result<Option<Response>, Refused> {
    let (code, name) = (
        SetupCode::parse(form.field("code")),
        LoginName::parse(form.field("name")),
    );
    let (Some(code), Some(name)) = (code, name) else {
        return Ok(None);
    };
    let records = &server.records;
    if !server.setup.was_claimed_with(records, &code, now).await? {
        return Ok(None);
    }
    for _ in 0..LOOKS {
        if let Some(owner) = records.user(name.as_str(), now).await? {
            let is_new = now.since(owner.created) < DOUBLE && owner.disabled.is_none();
            let Some(password) = Password::presented(form.field("password")).filter(|_| is_new)
            else {
                return Ok(None);
            };
            let hash = Some(owner.password_hash.as_str());
            if !server.passwords.check(hash, password).await? {
                return Ok(None);
            }
            let opened = session::open_session(server, request, &owner, "/", now).await?;
            let record = Record {
                user: Some(owner.id.as_str().to_owned()),
                ..Record::new(Event::Login)
            };
            return Ok(Some(audited(opened, record)));
        }
        // The other press has used the code up and is about to write the owner down.
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Ok(None)
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
    error_page::page(
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
