//! `/rescue`: a person sets themselves up, or comes in again, by a link of the operator's
//! (`gateway users link`): with a new password, or with a passkey.
//!
//! The link is what proves the right to do so. It is used up only after everything else in the form was
//! right. What the person allowed apps stays; a new password ends the browser sessions.

use std::time::Duration;

use http::StatusCode;
use rand::RngCore;

use crate::audited::audited;
use crate::browser::{self, BrowserName, PostedForm};
use crate::error_page::{self, Refused};
use crate::form_token::{Purpose, SealError};
use crate::identity::people;
use crate::pages::{self, PasskeyForm, RescueForm, RescueProblem};
use crate::passkey::{self, NotMade};
use crate::server::AuthorizationServer;
use crate::session::{open_session, open_session_with};
use crate::{login, setup};
use gateway_core::audit::{Event, Record};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::form::Form;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::{Secret, SecretHash};
use gateway_store::{Passkey, RescueLink, StoreError, TakenLink, User};

/// For so long the same form is answered as the first time.
const DOUBLE: Duration = Duration::from_secs(60);

/// How a person can come in by a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ways {
    password: bool,
    passkey: bool,
}

impl Ways {
    fn new(server: &AuthorizationServer, user: &User) -> Self {
        Self {
            // The owner's password is the configuration's.
            password: server.settings.password_login && !user.configured,
            passkey: server.passkeys.unavailable().is_none(),
        }
    }
}

/// Makes a link for a person: the path and query of its URL, good once within
/// [`RescueLink::LIFETIME`]. Or why no link would help.
pub async fn offer(
    server: &AuthorizationServer,
    user: &User,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<Result<String, Reason>, StoreError> {
    if user.disabled.is_some() {
        return Ok(Err(Reason::UserDisabled));
    }
    match Ways::new(server, user) {
        Ways {
            password: false,
            passkey: false,
        } if user.configured => return Ok(Err(Reason::InConfiguration)),
        Ways {
            password: false,
            passkey: false,
        } => return Ok(Err(Reason::PasswordLoginOff)),
        _ => {}
    }
    let secret = Secret::draw(random);
    let link = RescueLink {
        user: user.id.clone(),
        user_name: user.name.clone(),
        used: None,
    };
    let records = &server.records;
    records.put_rescue_link(&secret.hash(), &link, now).await?;
    Ok(Ok(format!("/rescue?link={}", secret.reveal())))
}

/// `GET /rescue?link=…`.
pub(crate) async fn page(server: &AuthorizationServer, request: &Request) -> Response {
    let query = request.query.as_deref().unwrap_or_default();
    let form = Form::parse(query.as_bytes()).unwrap_or_default();
    let secret = form.one("link").ok().flatten().unwrap_or_default();
    let now = server.clock.now();
    let shown = async {
        let (link, user) = find(server, request, secret, now).await?;
        match link.used {
            None => Ok(show(server, request, secret, &user, None, now)),
            Some(_) => Err(wrong(server, request)),
        }
    };
    let shown: Result<_, Refused> = shown.await;
    shown.unwrap_or_else(|refused| refused.page(server, request))
}

/// `POST /rescue`.
pub(crate) async fn submit(server: &AuthorizationServer, request: &Request) -> Response {
    let answered = answer(server, request).await;
    answered.unwrap_or_else(|refused| refused.page(server, request))
}

async fn answer(server: &AuthorizationServer, request: &Request) -> Result<Response, Refused> {
    let now = server.clock.now();
    let form = browser::posted_form(server, request)?;
    let secret = form.field("link");
    let (link, user) = find(server, request, secret, now).await?;
    if link.used.is_some() {
        return sent_again(server, request, &form, &link, &user, now).await;
    }
    let again = |problem| Refused::from(show(server, request, secret, &user, Some(problem), now));
    let ways = Ways::new(server, &user);
    let hash = Secret::presented(secret).hash();
    if form.field("credential").is_empty() {
        if !ways.password {
            return Err(again(RescueProblem::Passkey(Reason::PasswordLoginOff)));
        }
        let password = setup::new_password(form.field("password"), form.field("again"));
        let password = password.map_err(|problem| again(RescueProblem::Password(problem)))?;
        let password = server.passwords.hash(password).await?;
        take(server, request, &hash, now).await?;
        let changed = people::set_password(&server.records, &user.name, &password, now).await?;
        let user = changed.ok_or_else(|| wrong(server, request))?;
        let opened = open_session(server, request, &user, "/", now).await?;
        return Ok(done(request, &user, opened, "a password"));
    }
    let passkey = made(server, request, &form, &user, &again, now)?;
    take(server, request, &hash, now).await?;
    let added = passkey::add(server, &user, &passkey, now).await?;
    let user = added.map_err(|reason| refused(server, request, reason))?;
    let opened = open_session_with(server, request, &user, &passkey, "/", now).await?;
    Ok(done(request, &user, opened, "a passkey"))
}

fn made(
    server: &AuthorizationServer,
    request: &Request,
    form: &PostedForm,
    user: &User,
    again: &dyn Fn(RescueProblem) -> Refused,
    now: Timestamp,
) -> Result<Passkey, Refused> {
    let about = (Purpose::PasskeySetup, user.id.as_str());
    let again = |reason| Err(again(RescueProblem::Passkey(reason)));
    match passkey::registered(server, request, form, about, now) {
        Ok(new) if user.passkey(&new.passkey.id).is_some() => again(Reason::PasskeyTaken),
        Ok(_) if user.passkeys.len() >= Passkey::MOST => again(Reason::PasskeysFull),
        Ok(new) => Ok(new.passkey),
        Err(NotMade::Seal(SealError::Broken)) => {
            Err(login::cross_site(server, request, "rescue_refused"))
        }
        Err(NotMade::Seal(SealError::Expired)) => again(Reason::PageExpired),
        Err(NotMade::Refused(refusal)) => {
            refusal.log("rescue_refused", request);
            again(refusal.reason)
        }
    }
}

/// The link of this secret and its person, who may log in.
async fn find(
    server: &AuthorizationServer,
    request: &Request,
    secret: &str,
    now: Timestamp,
) -> Result<(RescueLink, User), Refused> {
    let hash = Secret::presented(secret).hash();
    let link = server.records.rescue_link(&hash, now).await?;
    let link = link.ok_or_else(|| wrong(server, request))?;
    let user = server.records.user(&link.user_name, now).await?;
    let user = user.filter(|user| user.id == link.user && user.disabled.is_none());
    Ok((link, user.ok_or_else(|| wrong(server, request))?))
}

async fn take(
    server: &AuthorizationServer,
    request: &Request,
    hash: &SecretHash,
    now: Timestamp,
) -> Result<(), Refused> {
    match server.records.take_rescue_link(hash, now).await? {
        TakenLink::Fresh(_) => Ok(()),
        TakenLink::Again(_) | TakenLink::Unknown => Err(wrong(server, request)),
    }
}

/// The same form within a minute of the one that used the link up: whoever pressed twice is logged in as
/// they would have been.
async fn sent_again(
    server: &AuthorizationServer,
    request: &Request,
    form: &PostedForm,
    link: &RescueLink,
    user: &User,
    now: Timestamp,
) -> Result<Response, Refused> {
    let is_new = link.used.is_some_and(|used| now.since(used) < DOUBLE);
    if !is_new || !setup::has_same(server, request, form, user, now).await? {
        return Err(wrong(server, request));
    }
    let opened = open_session(server, request, user, "/", now).await?;
    let record = Record {
        user: Some(user.id.as_str().to_owned()),
        ..Record::new(Event::Login)
    };
    Ok(audited(opened, record))
}

fn done(request: &Request, user: &User, opened: Response, with: &str) -> Response {
    log::info!(
        event = "rescued",
        user = user.id.as_str(),
        with = with,
        request_id = request.request_id.as_str();
        "a person set themselves up by a link of the operator's"
    );
    let record = Record {
        user: Some(user.id.as_str().to_owned()),
        detail: Some(format!("set {with} by a link of the operator's")),
        ..Record::new(Event::Login)
    };
    audited(opened, record)
}

fn wrong(server: &AuthorizationServer, request: &Request) -> Refused {
    refused(server, request, Reason::RescueLinkWrong)
}

fn refused(server: &AuthorizationServer, request: &Request, reason: Reason) -> Refused {
    error_page::log("rescue_refused", request, reason);
    error_page::page(server, request, StatusCode::FORBIDDEN, reason, None).into()
}

fn show(
    server: &AuthorizationServer,
    request: &Request,
    secret: &str,
    user: &User,
    problem: Option<RescueProblem>,
    now: Timestamp,
) -> Response {
    let browser = BrowserName::from_request(server, request);
    let passkeys = &server.passkeys;
    let ceremony = passkeys.begin_registration(&user.id, &user.name, &user.passkeys);
    let seal = ceremony.as_ref().map(|ceremony| {
        let (purpose, about) = (Purpose::PasskeySetup, user.id.as_str());
        passkey::seal(server, purpose, &browser.value, about, ceremony, now)
    });
    let page = RescueForm {
        frame: browser::frame(server, request),
        secret,
        user_name: &user.name,
        with_password: Ways::new(server, user).password,
        passkey: PasskeyForm::new(ceremony.as_ref(), seal.as_deref()),
        unavailable: passkeys.unavailable(),
        problem,
    }
    .page();
    let status = match problem {
        None => StatusCode::OK,
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let mut response = pages::respond(status, page, server.settings.issuer.is_https());
    browser.keep(server, &mut response);
    response
}
