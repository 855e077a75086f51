//! `/account/passkeys`: a person's passkeys, and the password that one of them may replace.
//!
//! Owns: the page and its forms. Not: what adding and removing are (`passkey`).
//!
//! Whose login is an identity provider's business alone adds none: the provider says who may come in,
//! and a passkey would go on after that.

use rand::rngs::OsRng;

use super::form::{Sealer, SubmittedForm, entered, pressed};
use crate::audited::{audited, by};
use crate::browser::{self, BrowserName};
use crate::error_page::Refused;
use crate::form_token::{Purpose, SealError};
use crate::pages::{Goal, OwnPasskey, PasskeyNotice, PasskeysPage, PasswordForm};
use crate::passkey::{self, NewPasskey, NotMade, Removed, Unavailable, has_way_in};
use crate::server::AuthorizationServer;
use crate::{login, session};
use gateway_core::audit::{Event, Record};
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_store::{FormPage, Key, Passkey, Submission, User};

/// `GET /account/passkeys`. Whoever is not logged in is asked to, and comes back.
pub(crate) async fn page(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let login_form = server.login_form();
    let session = login_form.session(request, Goal::Passkeys, now).await?;
    show(server, request, &session, None).await
}

/// `POST /account/passkeys/add`.
pub(crate) async fn add(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let form = browser::posted_form(&server.settings, request)?;
    let login_form = server.login_form();
    let session = login_form
        .resumed_session(request, Goal::Passkeys, now)
        .await?;
    let again = |reason| {
        show(
            server,
            request,
            &session,
            Some(PasskeyNotice::Refused(reason)),
        )
    };
    let about = (Purpose::AddPasskey, session.user.as_str());
    let NewPasskey { passkey, unsealed } =
        match passkey::registered(server.ceremonies(), request, &form, about, now) {
            Ok(new) => new,
            Err(NotMade::Seal(SealError::Expired)) => return again(Reason::PageExpired).await,
            Err(NotMade::Seal(SealError::Broken)) => {
                return Err(login::cross_site(&server.settings, request, "form_refused"));
            }
            Err(NotMade::Refused(refusal)) => {
                refusal.log("passkey_refused", request);
                return again(refusal.reason).await;
            }
        };
    let user = login_form
        .person(request, &session, Goal::Passkeys, now)
        .await?;
    if !server.ways_in().is_local(&user) {
        return again(Reason::ProviderDecides).await;
    }
    let form = Key::form_answer(FormPage::Account, &unsealed.nonce);
    let press = server
        .records
        .press(&form, &passkey.id, unsealed.expires, now);
    let notice = PasskeyNotice::Added(passkey.name.clone());
    match press.await? {
        // Pressed twice: the first press may have been cut short, and what it did is not done twice.
        Submission::First | Submission::Again => {}
        Submission::Before => return again(Reason::PageExpired).await,
    }
    let is_meant = |present: &User| present.id == user.id;
    let user = match passkey::add(&server.records, &user, is_meant, &passkey, now).await? {
        Ok(user) => user,
        Err(reason) => return again(reason).await,
    };
    log::info!(
        event = "passkey_added",
        user = user.id.as_str(),
        passkey = passkey.name.as_str(),
        request_id = request.request_id.as_str();
        "a person added a passkey"
    );
    let response = show(server, request, &session, Some(notice)).await?;
    let detail = format!("added the passkey “{}”", passkey.name);
    Ok(audited(response, entry(&user, Event::Login, detail)))
}

/// `POST /account/passkeys/remove`.
pub(crate) async fn remove(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let (purpose, names) = (Purpose::RemovePasskey, ["passkey"]);
    let SubmittedForm {
        session,
        fields,
        made,
        ..
    } = pressed(server.login_form(), request, purpose, &names, now).await?;
    let again = |notice| show(server, request, &session, Some(notice));
    if made.is_none() {
        return again(PasskeyNotice::Refused(Reason::PageExpired)).await;
    }
    let login_form = server.login_form();
    let user = login_form
        .person(request, &session, Goal::Passkeys, now)
        .await?;
    let id = &fields[0];
    match passkey::remove(server.ways_in(), &server.records, &user, id, now).await? {
        Removed::NotThere => again(PasskeyNotice::AlreadyRemoved).await,
        Removed::LastWayIn => again(PasskeyNotice::Refused(Reason::LastWayIn)).await,
        Removed::Done(_) => {
            let name = user.passkey(id).map_or("", |passkey| &passkey.name);
            log::info!(
                event = "passkey_removed",
                user = user.id.as_str(),
                passkey = name,
                request_id = request.request_id.as_str();
                "a person removed a passkey"
            );
            let notice = PasskeyNotice::Removed(name.to_owned());
            // The person may have come with that very passkey.
            let response =
                match session::current_session(server.ways_in(), &server.records, request, now)
                    .await?
                {
                    Some(_) => again(notice).await?,
                    None => server.login_form().after_session(request, Goal::Passkeys),
                };
            let detail = format!("removed the passkey “{name}”");
            Ok(audited(response, entry(&user, Event::Logout, detail)))
        }
    }
}

/// `POST /account/password/remove`.
pub(crate) async fn remove_password(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let SubmittedForm { session, made, .. } = pressed(
        server.login_form(),
        request,
        Purpose::RemovePassword,
        &[],
        now,
    )
    .await?;
    let again = |notice| show(server, request, &session, Some(notice));
    if made.is_none() {
        return again(PasskeyNotice::Refused(Reason::PageExpired)).await;
    }
    let login_form = server.login_form();
    let user = login_form
        .person(request, &session, Goal::Passkeys, now)
        .await?;
    let removed =
        passkey::remove_password(&server.passkeys, &server.records, &user, now, &mut OsRng).await?;
    let user = match removed {
        Removed::Done(user) => user,
        Removed::LastWayIn => {
            return again(PasskeyNotice::Refused(Reason::LastWayIn)).await;
        }
        Removed::NotThere if user.configured => {
            return again(PasskeyNotice::Refused(Reason::InConfiguration)).await;
        }
        Removed::NotThere => return again(PasskeyNotice::PasswordRemoved).await,
    };
    log::info!(
        event = "password_removed",
        user = user.id.as_str(),
        request_id = request.request_id.as_str();
        "a person does without a password"
    );
    // Every session is over, and this browser has just been let in by another.
    let renewed = session.renewed(&user.credential());
    let notice = PasskeyNotice::PasswordRemoved;
    let response = show(server, request, &renewed, Some(notice)).await?;
    let response = session::renew(
        &server.settings,
        &server.records,
        request,
        response,
        &renewed,
    )
    .await?;
    let detail = "removed the password".to_owned();
    Ok(audited(response, entry(&user, Event::Logout, detail)))
}

/// The page as things stand, with what came of a button.
async fn show(
    server: &AuthorizationServer,
    request: &Request,
    session: &BrowserSession,
    notice: Option<PasskeyNotice>,
) -> Result<Response, Refused> {
    let now = server.clock.now();
    let (login_form, goal) = (server.login_form(), Goal::Passkeys);
    let user = login_form.person(request, session, goal, now).await?;
    let browser = BrowserName::from_request(&server.settings, request);
    let sealer = Sealer {
        server,
        browser: &browser.value,
        session,
        now,
    };
    let is_local = server.ways_in().is_local(&user);
    let may_add = is_local && user.passkeys.len() < Passkey::MOST;
    let passkeys = &server.passkeys;
    let ceremony =
        may_add.then(|| passkeys.begin_registration(&user.id, &user.name, &user.passkeys));
    let ceremony = ceremony.flatten();
    let seal = ceremony.as_ref().map(|ceremony| {
        let (purpose, about) = (Purpose::AddPasskey, user.id.as_str());
        passkey::seal(&server.tags, purpose, &browser.value, about, ceremony, now)
    });
    let status = notice.as_ref().map(PasskeyNotice::status);
    let refused = notice.as_ref().and_then(PasskeyNotice::reason);
    let page = PasskeysPage {
        frame: browser::frame(&server.settings, request),
        user_name: &session.user_name,
        now,
        notice,
        passkeys: user
            .passkeys
            .iter()
            .map(|it| own(sealer, &user, it))
            .collect(),
        add: passkey::form::fields(ceremony.as_ref(), seal.as_deref()),
        unavailable: passkeys.unavailable().map(Unavailable::words),
        is_of_provider: !is_local,
        password: password_form(sealer, &user),
        log_out_seal: &session::log_out_seal(&server.tags, &browser, session, now),
    }
    .page();
    let response = browser.respond(&server.settings, status.unwrap_or_default(), page);
    Ok(entered(request, session, response, refused))
}

fn own<'a>(sealer: Sealer<'_>, user: &User, passkey: &'a Passkey) -> OwnPasskey<'a> {
    let left = user.clone().without_passkey(&passkey.id);
    let may_go = has_way_in(sealer.server.ways_in(), &left);
    OwnPasskey {
        passkey,
        is_current: sealer.session.passkey.as_ref() == Some(&passkey.id),
        is_elsewhere: !sealer.server.passkeys.takes(passkey),
        remove_seal: may_go.then(|| sealer.seal(Purpose::RemovePasskey, &[&passkey.id])),
    }
}

fn password_form(sealer: Sealer<'_>, user: &User) -> PasswordForm {
    if user.password().is_none() {
        PasswordForm::None
    } else if user.configured {
        PasswordForm::Configured
    } else if sealer.server.passkeys.lets_in(user) {
        PasswordForm::Removable(sealer.seal(Purpose::RemovePassword, &[]))
    } else {
        PasswordForm::Needed
    }
}

fn entry(user: &User, event: Event, detail: String) -> Record {
    Record {
        detail: Some(detail),
        ..by(&user.id, event)
    }
}
