//! `/setup`: the first owner sets name and password, or name and passkey, with the code from the terminal.
//!
//! The code is what proves the right to do so; only a wrong one counts as a try, and only after
//! everything else in the form was right.

use std::time::Duration;

use http::StatusCode;
use rand::rngs::OsRng;

use crate::audited::{audited, by};
use crate::browser::{BrowserName, PostedForm};
use crate::error_page::{self, Refused};
use crate::form_token::{Purpose, SealError};
use crate::identity::{self, LoginName, Password, Passwords, SetupCode, SetupRefusal};
use crate::pages::{self, SetupForm, SetupProblem};
use crate::passkey::{self, Ceremonies, NotMade};
use crate::server::{AuthorizationServer, Settings};
use crate::session::Sessions;
use crate::{browser, login};
use gateway_core::audit::{Event, Record};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::protocol::form::Form;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_store::{Passkey, User};

/// For so long after an owner was made the same form is answered as the first time.
const DOUBLE: Duration = Duration::from_secs(60);

/// How often, and how far apart, it is looked for what another press of a form is writing down.
pub(super) const LOOKS: usize = 20;
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// `GET /setup?code=…`; 404 once there is an owner.
pub(super) async fn page(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    if server.records.has_users(now).await? {
        return Ok(done(&server.settings, request));
    }
    let query = request.query.as_deref().unwrap_or_default();
    let form = Form::parse(query.as_bytes()).unwrap_or_default();
    let code = form.one("code").ok().flatten().unwrap_or_default();
    Ok(show(server.ceremonies(), request, code, "", None, now))
}

/// `POST /setup`.
pub(super) async fn submit(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    if server.records.has_users(now).await? {
        let form = browser::posted_form(&server.settings, request)
            .map_err(|_| done(&server.settings, request))?;
        let again = sent_again(server, request, &form, now).await?;
        return Ok(again.unwrap_or_else(|| done(&server.settings, request)));
    }
    let form = browser::posted_form(&server.settings, request)?;
    let again = |problem| {
        let (code, name) = (form.field("code"), form.field("name"));
        let page = show(server.ceremonies(), request, code, name, Some(problem), now);
        Refused::from(page)
    };
    let refused = |refusal| match refusal {
        SetupRefusal::Store(error) => Refused::from(error),
        SetupRefusal::Done => done(&server.settings, request).into(),
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
    let chosen = chosen(server.ceremonies(), request, &form, now, &again)?;
    let code =
        SetupCode::parse(form.field("code")).ok_or_else(|| refused(SetupRefusal::CodeWrong))?;
    let accepted = code.accept(&server.records, now).await;
    let accepted = match accepted {
        Ok(accepted) => accepted,
        Err(refusal) => {
            let again = sent_again(server, request, &form, now).await?;
            return again.ok_or_else(|| refused(refusal));
        }
    };
    let (owner, answer) = owner(&server.passwords, &name, chosen, now).await?;
    let claimed = accepted.claim(&server.records, &owner, now);
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
    let record = by(&owner.id, Event::OwnerSet);
    let opened = open_by(server.sessions(), request, &owner, &answer, now).await?;
    Ok(audited(opened, record))
}

/// The owner's record, and with what they log in.
async fn owner(
    passwords: &Passwords,
    name: &LoginName,
    chosen: Chosen,
    now: Timestamp,
) -> Result<(User, SetAnswer), Refused> {
    let (owner, answer) = match chosen {
        Chosen::Password(password) => {
            let hash = passwords.hash(password).await?;
            let id = UserId::draw(&mut OsRng);
            let owner = User::new(id, name.as_str(), hash.as_str(), now);
            (owner, SetAnswer::Password)
        }
        Chosen::Passkey(id, passkey) => {
            let owner = User::new(id, name.as_str(), "", now).with_passkey(passkey.clone());
            (owner, SetAnswer::Passkey(passkey))
        }
    };
    let owner = User {
        owner: true,
        ..owner
    };
    Ok((owner, answer))
}

/// With what somebody has just set themselves up.
#[derive(Debug)]
pub(super) enum SetAnswer {
    /// A new password.
    Password,
    /// This passkey, which the person's record has.
    Passkey(Passkey),
}

/// A session for whoever has just set themselves up, by what they did it with. The way to a passkey is
/// made here, also where the press that wrote the record down was cut short before.
pub(super) async fn open_by(
    sessions: Sessions<'_>,
    request: &Request,
    user: &User,
    answer: &SetAnswer,
    now: Timestamp,
) -> Result<Response, Refused> {
    let passkey = match answer {
        SetAnswer::Password => {
            return Ok(sessions.open(request, user, "/", now).await?);
        }
        SetAnswer::Passkey(passkey) => passkey,
    };
    if !sessions.records.add_passkey(&passkey.id, user, now).await? {
        let (status, reason) = (StatusCode::CONFLICT, Reason::PasskeyTaken);
        error_page::log("setup_refused", request, reason);
        return Err(error_page::page(sessions.settings, request, status, reason, None).into());
    }
    Ok(sessions.open_with(request, user, passkey, "/", now).await?)
}

/// What the owner logs in with from then on.
enum Chosen {
    Password(Password),
    /// With the id that the passkey was made for.
    Passkey(UserId, Passkey),
}

fn chosen(
    ceremonies: Ceremonies<'_>,
    request: &Request,
    form: &PostedForm,
    now: Timestamp,
    again: &dyn Fn(SetupProblem) -> Refused,
) -> Result<Chosen, Refused> {
    if form.field("credential").is_empty() {
        let password = new_password(form.field("password"), form.field("again"));
        return password.map(Chosen::Password).map_err(again);
    }
    let user = form.field("user");
    let about = (Purpose::PasskeySetup, user);
    match passkey::registered(ceremonies, request, form, about, now) {
        Ok(new) => Ok(Chosen::Passkey(UserId::new(user), new.passkey)),
        Err(NotMade::Seal(SealError::Broken)) => Err(login::cross_site(
            ceremonies.settings,
            request,
            "setup_refused",
        )),
        Err(NotMade::Seal(SealError::Expired)) => {
            Err(again(SetupProblem::Passkey(Reason::PageExpired)))
        }
        Err(NotMade::Refused(refusal)) => {
            refusal.log("setup_refused", request);
            Err(again(SetupProblem::Passkey(refusal.reason)))
        }
    }
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
    if !code.was_claimed(records, now).await? {
        return Ok(None);
    }
    for _ in 0..LOOKS {
        if let Some(owner) = records.user(name.as_str(), now).await? {
            let is_new = now.since(owner.created) < DOUBLE && owner.disabled.is_none();
            if !is_new {
                return Ok(None);
            }
            let Some(answer) = same_answer(
                server.ceremonies(),
                &server.passwords,
                request,
                form,
                &owner,
                now,
            )
            .await?
            else {
                return Ok(None);
            };
            let opened = open_by(server.sessions(), request, &owner, &answer, now).await?;
            let record = by(&owner.id, Event::Login);
            return Ok(Some(audited(opened, record)));
        }
        // The other press has used the code up and is about to write the owner down.
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Ok(None)
}

/// What a person set themselves up with a moment ago, if it is what a form has; `None`: the form has
/// something else.
pub(super) async fn same_answer(
    ceremonies: Ceremonies<'_>,
    passwords: &Passwords,
    request: &Request,
    form: &PostedForm,
    user: &User,
    now: Timestamp,
) -> Result<Option<SetAnswer>, Refused> {
    if form.field("credential").is_empty() {
        let (Some(hash), Some(password)) =
            (user.password(), Password::presented(form.field("password")))
        else {
            return Ok(None);
        };
        let is_same = passwords.check(Some(hash), password).await?;
        return Ok(is_same.then_some(SetAnswer::Password));
    }
    let about = (Purpose::PasskeySetup, user.id.as_str());
    let new = passkey::registered(ceremonies, request, form, about, now);
    let kept = new.ok().and_then(|new| {
        let kept = user.passkey(&new.passkey.id)?;
        kept.is_same(&new.passkey).then(|| kept.clone())
    });
    Ok(kept.map(SetAnswer::Passkey))
}

pub(super) fn new_password(password: &str, again: &str) -> Result<Password, SetupProblem> {
    if password.len() > identity::LONGEST {
        return Err(SetupProblem::PasswordLong);
    }
    let accepted = Password::new(password).ok_or(SetupProblem::PasswordShort)?;
    if password != again {
        return Err(SetupProblem::PasswordsDiffer);
    }
    Ok(accepted)
}

fn done(settings: &Settings, request: &Request) -> Response {
    error_page::page(
        settings,
        request,
        StatusCode::NOT_FOUND,
        Reason::SetupDone,
        None,
    )
}

fn show(
    ceremonies: Ceremonies<'_>,
    request: &Request,
    code: &str,
    name: &str,
    problem: Option<SetupProblem>,
    now: Timestamp,
) -> Response {
    let browser = BrowserName::from_request(ceremonies.settings, request);
    // The owner's id, if a passkey is what they choose: it is made for somebody.
    let user = UserId::draw(&mut OsRng);
    let ceremony = ceremonies.passkeys.begin_registration(&user, name, &[]);
    let seal = ceremony.as_ref().map(|ceremony| {
        let (purpose, about) = (Purpose::PasskeySetup, user.as_str());
        passkey::seal(
            ceremonies.tags,
            purpose,
            &browser.value,
            about,
            ceremony,
            now,
        )
    });
    let page = SetupForm {
        frame: browser::frame(ceremonies.settings, request),
        code: &pages::clean(code, 20),
        name,
        passkey: passkey::form::fields(ceremony.as_ref(), seal.as_deref()),
        user: user.as_str(),
        problem,
    }
    .page();
    let status = match problem {
        None => StatusCode::OK,
        Some(SetupProblem::Code) => StatusCode::FORBIDDEN,
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    browser.respond(ceremonies.settings, status, page)
}
