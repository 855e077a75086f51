//! `/rescue`: a person sets themselves up, or comes in again, by a link of the operator's
//! (`gateway users link`): with a new password, or with a passkey.
//!
//! The link is what proves the right to do so. It is used up only after everything else in the form was
//! right, and is worth nothing once the person logs in with something else than when it was made. What
//! the person allowed apps stays; a new password ends the browser sessions.
//!
//! Not for people who come through an identity provider alone: the provider says whether they may, and a
//! link would go around it.

use std::time::Duration;

use http::StatusCode;
use rand::RngCore;

use crate::audited::{audited, by};
use crate::browser::{self, BrowserName, PostedForm};
use crate::error_page::{self, Refused};
use crate::form_token::{Purpose, SealError};
use crate::identity::people;
use crate::login;
use crate::pages::{RescueForm, RescueProblem};
use crate::passkey::{self, Ceremonies, NotMade, Unavailable};
use crate::server::{AuthorizationServer, Settings};
use crate::setup::{self, BETWEEN_LOOKS, LOOKS, SetAnswer};
use crate::ways_in::WaysIn;
use gateway_core::audit::{Event, Record};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::form::Form;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::{Secret, SecretHash};
use gateway_store::{Passkey, Records, RescueLink, StoreError, TakenLink, User};

/// For so long the same form is answered as the first time.
const DOUBLE: Duration = Duration::from_secs(60);

/// How a person can come in by a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ways {
    password: bool,
    passkey: bool,
}

impl Ways {
    /// At least one; or why no link would help.
    fn new(ways_in: WaysIn<'_>, user: &User) -> Result<Self, Reason> {
        if ways_in.is_of_provider(user) {
            return Err(Reason::ProviderDecides);
        }
        let ways = Self {
            // The owner's password is the configuration's.
            password: ways_in.settings.password_login && !user.configured,
            passkey: ways_in.passkeys.unavailable().is_none(),
        };
        match ways {
            Self {
                password: false,
                passkey: false,
            } if user.configured => Err(Reason::InConfiguration),
            Self {
                password: false,
                passkey: false,
            } => Err(Reason::PasswordLoginOff),
            ways => Ok(ways),
        }
    }
}

/// Makes a link for a person: the path and query of its URL, good once within
/// [`RescueLink::LIFETIME`]. Or why no link would help.
pub async fn offer(
    ways_in: WaysIn<'_>,
    records: &Records,
    user: &User,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<Result<String, Reason>, StoreError> {
    if user.disabled.is_some() {
        return Ok(Err(Reason::UserDisabled));
    }
    if let Err(reason) = Ways::new(ways_in, user) {
        return Ok(Err(reason));
    }
    let secret = Secret::draw(random);
    let link = RescueLink::new(user);
    records.put_rescue_link(&secret.hash(), &link, now).await?;
    Ok(Ok(format!("/rescue?link={}", secret.reveal())))
}

/// `GET /rescue?link=…`.
pub(super) async fn page(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let query = request.query.as_deref().unwrap_or_default();
    let form = Form::parse(query.as_bytes()).unwrap_or_default();
    let secret = form.one("link").ok().flatten().unwrap_or_default();
    let (link, user) = find(&server.settings, &server.records, request, secret, now).await?;
    if link.used.is_some() {
        return Err(wrong(&server.settings, request));
    }
    let ways = ways(server.ways_in(), request, &user)?;
    let about = (secret, &user);
    Ok(show(server.ceremonies(), request, about, ways, None, now))
}

/// `POST /rescue`.
pub(super) async fn submit(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let form = browser::posted_form(&server.settings, request)?;
    let secret = form.field("link");
    let (link, user) = find(&server.settings, &server.records, request, secret, now).await?;
    if link.used.is_some() {
        return sent_again(server, request, &form, &link, now).await;
    }
    let ways = ways(server.ways_in(), request, &user)?;
    let again = |problem| {
        let page = show(
            server.ceremonies(),
            request,
            (secret, &user),
            ways,
            Some(problem),
            now,
        );
        Refused::from(page)
    };
    let hash = Secret::presented(secret).hash();
    if form.field("credential").is_empty() {
        if !ways.password {
            return Err(again(RescueProblem::Passkey(Reason::PasswordLoginOff)));
        }
        let password = setup::new_password(form.field("password"), form.field("again"));
        let password = password.map_err(|problem| again(RescueProblem::Password(problem)))?;
        let password = server.passwords.hash(password).await?;
        if let Some(used) = take(&server.records, &server.settings, request, &hash, now).await? {
            return sent_again(server, request, &form, &used, now).await;
        }
        // Another link, or the person themselves, may have set something while this one was hashed.
        let is_meant = |present: &User| link.fits(present);
        let changed = people::set_password(&server.records, &user.name, is_meant, &password, now);
        let user = changed
            .await?
            .ok_or_else(|| wrong(&server.settings, request))?;
        let opened =
            setup::open_by(server.sessions(), request, &user, &SetAnswer::Password, now).await?;
        return Ok(done(request, &user, opened, "a password"));
    }
    let passkey = made(server.ceremonies(), request, &form, &user, &again, now)?;
    if let Some(used) = take(&server.records, &server.settings, request, &hash, now).await? {
        return sent_again(server, request, &form, &used, now).await;
    }
    let is_meant = |present: &User| link.fits(present);
    let added = passkey::add(&server.records, &user, is_meant, &passkey, now).await?;
    let user = added.map_err(|reason| match reason {
        Reason::PasskeyUnknown => wrong(&server.settings, request),
        reason => refused(&server.settings, request, reason),
    })?;
    let answer = SetAnswer::Passkey(passkey);
    let opened = setup::open_by(server.sessions(), request, &user, &answer, now).await?;
    Ok(done(request, &user, opened, "a passkey"))
}

/// How the person of a link can come in by it.
fn ways(ways_in: WaysIn<'_>, request: &Request, user: &User) -> Result<Ways, Refused> {
    Ways::new(ways_in, user).map_err(|reason| refused(ways_in.settings, request, reason))
}

fn made(
    ceremonies: Ceremonies<'_>,
    request: &Request,
    form: &PostedForm,
    user: &User,
    again: &dyn Fn(RescueProblem) -> Refused,
    now: Timestamp,
) -> Result<Passkey, Refused> {
    let about = (Purpose::PasskeySetup, user.id.as_str());
    let again = |reason| Err(again(RescueProblem::Passkey(reason)));
    match passkey::registered(ceremonies, request, form, about, now) {
        Ok(new) if user.passkey(&new.passkey.id).is_some() => again(Reason::PasskeyTaken),
        Ok(_) if user.passkeys.len() >= Passkey::MOST => again(Reason::PasskeysFull),
        Ok(new) => Ok(new.passkey),
        Err(NotMade::Seal(SealError::Broken)) => Err(login::cross_site(
            ceremonies.settings,
            request,
            "rescue_refused",
        )),
        Err(NotMade::Seal(SealError::Expired)) => again(Reason::PageExpired),
        Err(NotMade::Refused(refusal)) => {
            refusal.log("rescue_refused", request);
            again(refusal.reason)
        }
    }
}

/// The link of this secret and its person, who may log in. One that is not used is for the person as they
/// were when it was made.
async fn find(
    settings: &Settings,
    records: &Records,
    request: &Request,
    secret: &str,
    now: Timestamp,
) -> Result<(RescueLink, User), Refused> {
    let hash = Secret::presented(secret).hash();
    let wrong = || wrong(settings, request);
    let link = records.rescue_link(&hash, now).await?;
    let link = link.ok_or_else(wrong)?;
    let user = person(records, &link, now).await?.ok_or_else(wrong)?;
    if link.used.is_some() || link.fits(&user) {
        return Ok((link, user));
    }
    // Another press may have used it and set something between the two looks.
    let link = records.rescue_link(&hash, now).await?;
    let link = link.filter(|link| link.used.is_some()).ok_or_else(wrong)?;
    Ok((link, user))
}

/// The person of a link as they are now, if they may log in.
async fn person(
    records: &Records,
    link: &RescueLink,
    now: Timestamp,
) -> Result<Option<User>, StoreError> {
    let user = records.user(&link.user_name, now).await?;
    Ok(user.filter(|user| user.id == link.user && user.disabled.is_none()))
}

/// Uses the link up. The link, where another press of the form did so a moment before.
async fn take(
    records: &Records,
    settings: &Settings,
    request: &Request,
    hash: &SecretHash,
    now: Timestamp,
) -> Result<Option<RescueLink>, Refused> {
    match records.take_rescue_link(hash, now).await? {
        TakenLink::Fresh(_) => Ok(None),
        TakenLink::Again(used) => Ok(Some(used)),
        TakenLink::Unknown => Err(wrong(settings, request)),
    }
}

/// The same form within a minute of the one that used the link up: whoever pressed twice is logged in as
/// they would have been. The other press may still be about to write down what it set.
async fn sent_again(
    server: &AuthorizationServer,
    request: &Request,
    form: &PostedForm,
    link: &RescueLink,
    now: Timestamp,
) -> Result<Response, Refused> {
    if link.used.is_none_or(|used| now.since(used) >= DOUBLE) {
        return Err(wrong(&server.settings, request));
    }
    for _ in 0..LOOKS {
        let user = person(&server.records, link, now).await?;
        let user = user.ok_or_else(|| wrong(&server.settings, request))?;
        // Passwords are compared once, as that is dear: when there is something new to compare with.
        if !link.fits(&user) {
            let answer = setup::same_answer(
                server.ceremonies(),
                &server.passwords,
                request,
                form,
                &user,
                now,
            )
            .await?;
            let answer = answer.ok_or_else(|| wrong(&server.settings, request))?;
            let opened = setup::open_by(server.sessions(), request, &user, &answer, now).await?;
            let record = by(&user.id, Event::Login);
            return Ok(audited(opened, record));
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Err(wrong(&server.settings, request))
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
        detail: Some(format!("set {with} by a link of the operator's")),
        ..by(&user.id, Event::Login)
    };
    audited(opened, record)
}

fn wrong(settings: &Settings, request: &Request) -> Refused {
    refused(settings, request, Reason::RescueLinkWrong)
}

fn refused(settings: &Settings, request: &Request, reason: Reason) -> Refused {
    error_page::refused(settings, request, "rescue_refused", reason)
}

fn show(
    ceremonies: Ceremonies<'_>,
    request: &Request,
    (secret, user): (&str, &User),
    ways: Ways,
    problem: Option<RescueProblem>,
    now: Timestamp,
) -> Response {
    let browser = BrowserName::from_request(ceremonies.settings, request);
    let passkeys = ceremonies.passkeys;
    let ceremony = passkeys.begin_registration(&user.id, &user.name, &user.passkeys);
    let seal = ceremony.as_ref().map(|ceremony| {
        let (purpose, about) = (Purpose::PasskeySetup, user.id.as_str());
        passkey::seal(
            ceremonies.tags,
            purpose,
            &browser.value,
            about,
            ceremony,
            now,
        )
    });
    let page = RescueForm {
        frame: browser::frame(ceremonies.settings, request),
        secret,
        user_name: &user.name,
        with_password: ways.password,
        passkey: passkey::form::fields(ceremony.as_ref(), seal.as_deref()),
        unavailable: passkeys.unavailable().map(Unavailable::words),
        problem,
    }
    .page();
    let status = match problem {
        None => StatusCode::OK,
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    browser.respond(ceremonies.settings, status, page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Providers;
    use crate::provider::examples::{NOW, person, provider};
    use crate::server::Settings;

    fn passkey(site: &str) -> Passkey {
        Passkey {
            id: "k".to_owned(),
            name: "Phone".to_owned(),
            site: Some(site.to_owned()),
            public_key: serde_json::Value::Null,
            counter: 0,
            backup_eligible: false,
            backed_up: false,
            added: NOW,
            last_used: None,
        }
    }

    #[test]
    fn a_link_is_for_people_of_this_gateways_own_and_the_provider_decides_of_all_others() {
        let server = |password_login| {
            let server = crate::tests::server();
            AuthorizationServer {
                providers: Providers::new(vec![provider("*")]),
                settings: Settings {
                    password_login,
                    ..server.settings
                },
                ..server
            }
        };
        let decides = Err(Reason::ProviderDecides);
        let ways = |password, passkey| Ok(Ways { password, passkey });
        let of_provider = person("", &[]);
        let both = person("$argon2id$", &[]);
        let moved = of_provider.clone().with_passkey(passkey("old.example.com"));
        let with_passkey = of_provider.clone().with_passkey(passkey("mcp.example.com"));
        let own = User {
            identities: Vec::new(),
            ..of_provider.clone()
        };
        let owner = User {
            configured: true,
            ..both.clone()
        };
        for (user, with_passwords, without) in [
            (&of_provider, decides, decides),
            (&moved, decides, decides),
            (&both, ways(true, true), decides),
            (&with_passkey, ways(true, true), ways(false, true)),
            (&own, ways(true, true), ways(false, true)),
            (&owner, ways(false, true), ways(false, true)),
        ] {
            assert_eq!(
                Ways::new(server(true).ways_in(), user),
                with_passwords,
                "{user:?}"
            );
            assert_eq!(
                Ways::new(server(false).ways_in(), user),
                without,
                "{user:?}"
            );
        }
    }
}
