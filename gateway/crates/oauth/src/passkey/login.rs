//! `POST /login` with the answer of a passkey: the browser names nobody, the passkey does.

use super::ceremony::Assertion;
use super::form::unseal;
use super::refusal::PasskeyRefusal;
use crate::audited::audited;
use crate::browser::{Cookie, PostedForm};
use crate::error_page::{self, Refused};
use crate::form_token::{Purpose, SealError};
use crate::login::{self, Fields, LoginForm};
use crate::login_limit::Attempt;
use crate::pages::LoginProblem;
use crate::passkey::site::Passkeys;
use crate::session::Sessions;
use gateway_core::audit::{Event, Record};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_store::{
    Corrupt, FormPage, Key, KeyKind, Passkey, Records, StoreError, Submission, User,
};

/// Somebody who proved to have a passkey.
struct Proven {
    user: User,
    passkey: Passkey,
}

/// Why nobody did.
enum NotProven {
    /// Whose the passkey is, if it is somebody's, and why it is not taken.
    Refused(Option<User>, PasskeyRefusal),
    Store(StoreError),
}

impl From<StoreError> for NotProven {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Logs in whoever has the passkey.
pub(crate) async fn log_in(
    sessions: Sessions<'_>,
    login_form: LoginForm<'_>,
    request: &Request,
    form: &PostedForm,
    now: Timestamp,
) -> Result<Response, Refused> {
    let (settings, records) = (sessions.settings, sessions.records);
    let fields = Fields::from_form(settings, form);
    let refuse = |user: Option<&User>, why: &PasskeyRefusal| {
        Err(refused(login_form, request, &fields, user, why))
    };
    let browser = Cookie::Browser.read(settings, request).unwrap_or_default();
    let about = login::sealed(fields.goal);
    let bound = (browser, about.as_ref(), form.field("state"));
    let sealed = form.field("seal");
    let unsealed = match unseal(sessions.tags, Purpose::PasskeyLogin, bound, sealed, now) {
        Ok(unsealed) => unsealed,
        Err(SealError::Broken) => {
            return Err(login::cross_site(settings, request, "login_refused"));
        }
        Err(SealError::Expired) => return Err(used_up(login_form, request, &fields)),
    };
    let attempt = Attempt::without_name(request.peer);
    let wait = attempt.wait(records, now).await?;
    login_form.refuse_while_limited(request, &fields, wait)?;
    // Before the count of the passkey is looked at: an answer that is sent twice is no copy of it.
    let page = Key::form_answer(FormPage::Login, &unsealed.nonce);
    if records.was_pressed(&page, now).await? {
        return Err(used_up(login_form, request, &fields));
    }
    let proven = match prove(login_form.ways.passkeys, records, form, now).await {
        Ok(proven) => proven,
        Err(NotProven::Store(error)) => return Err(error.into()),
        Err(NotProven::Refused(user, refusal)) => {
            attempt.count_failure(records, now).await?;
            return refuse(user.as_ref(), &refusal);
        }
    };
    let (pressed, until) = (proven.passkey.id.as_str(), unsealed.expires);
    let press = records.press(&page, pressed, until, now).await?;
    if press != Submission::First {
        return Err(used_up(login_form, request, &fields));
    }
    let user = match keep(records, &proven, now).await? {
        Ok(user) => user,
        Err(refusal) => return refuse(Some(&proven.user), &refusal),
    };
    log::info!(
        event = "login", user = user.id.as_str(), passkey = proven.passkey.name.as_str(),
        request_id = request.request_id.as_str();
        "a person logged in"
    );
    let location = login::location(fields.goal);
    let opened = sessions.open_with(request, &user, &proven.passkey, &location, now);
    let record = Record {
        user: Some(user.id.as_str().to_owned()),
        detail: Some(format!("with the passkey “{}”", proven.passkey.name)),
        ..Record::new(Event::Login)
    };
    Ok(audited(opened.await?, record))
}

async fn prove(
    passkeys: &Passkeys,
    records: &Records,
    form: &PostedForm,
    now: Timestamp,
) -> Result<Proven, NotProven> {
    let nobody = |refusal| NotProven::Refused(None, refusal);
    let answer = form.field("credential");
    let assertion: Assertion = passkeys.presented(answer).map_err(nobody)?;
    let user = records.user_of_passkey(&assertion.id, now).await?;
    let unknown = || PasskeyRefusal::new(Reason::PasskeyUnknown, "nobody has this credential id");
    let user = user.ok_or_else(|| nobody(unknown()))?;
    let state = form.field("state");
    match passkeys.finish_login(state, &assertion, &user, now) {
        Ok(passkey) => Ok(Proven { user, passkey }),
        // A fault of ours, and no guess.
        Err(refusal) if refusal.reason == Reason::RecordUnreadable => {
            let (kind, fault) = (KeyKind::Passkey, refusal.cause);
            Err(NotProven::Store(Corrupt::Record { kind, fault }.into()))
        }
        Err(refusal) => Err(NotProven::Refused(Some(user), refusal)),
    }
}

/// Notes the use. Judged over the record as it is then: of two answers with one count, one is a copy's.
async fn keep(
    records: &Records,
    Proven { user, passkey }: &Proven,
    now: Timestamp,
) -> Result<Result<User, PasskeyRefusal>, StoreError> {
    let goes_on = |kept: &Passkey| {
        (kept.counter == 0 && passkey.counter == 0) || passkey.counter > kept.counter
    };
    let change = |present: User| {
        if present.passkey(&passkey.id).is_some_and(goes_on) {
            present.with_passkey(passkey.clone())
        } else {
            present
        }
    };
    let changed = records.change_person(user, now, change).await?;
    let unknown = || PasskeyRefusal::new(Reason::PasskeyUnknown, "it was removed meanwhile");
    let Some(changed) = changed else {
        return Ok(Err(unknown()));
    };
    Ok(match changed.passkey(&passkey.id) {
        None => Err(unknown()),
        Some(kept) if kept != passkey => {
            let cause = "its count was used at the same moment";
            Err(PasskeyRefusal::new(Reason::PasskeyCloned, cause))
        }
        Some(_) if changed.disabled.is_some() => {
            Err(PasskeyRefusal::new(Reason::UserDisabled, "disabled"))
        }
        Some(_) => Ok(changed),
    })
}

/// The page again, where it was open for too long or its answer came before.
fn used_up(login_form: LoginForm<'_>, request: &Request, fields: &Fields<'_>) -> Refused {
    let reason = Reason::PageExpired;
    error_page::log("login_refused", request, reason);
    let page = login_form.show_again(request, fields, LoginProblem::PageExpired);
    audited(page, Record::refused(Event::Login, reason, false)).into()
}

fn refused(
    login_form: LoginForm<'_>,
    request: &Request,
    fields: &Fields<'_>,
    user: Option<&User>,
    PasskeyRefusal { reason, cause }: &PasskeyRefusal,
) -> Refused {
    log::warn!(
        event = "login_refused", reason = reason, hint = reason.remedy(),
        user = user.map(|user| user.id.as_str()), cause = cause.as_str(), peer:% = request.peer,
        request_id = request.request_id.as_str();
        "{}", reason.sentence()
    );
    let record = Record {
        user: user.map(|user| user.id.as_str().to_owned()),
        ..Record::refused(Event::Login, *reason, false)
    };
    let page = login_form.show_again(request, fields, LoginProblem::Passkey(*reason));
    audited(page, record).into()
}
