//! `/account`: a person sees which apps may act in their name and takes that back, approves a tool
//! again that its backend changed, and takes off accounts that they log in with.
//!
//! Owns: who may do that, and what each button does. Not: what stands on the cards (`cards`), what a
//! revocation or an amendment is (`oauth::revoke`, `grants::amendment`).

mod approve;
mod cards;
mod new_token;
pub(super) mod passkeys;
mod readmit;
mod revoke;
mod tokens;
mod unlink;

use http::StatusCode;
use rand::rngs::OsRng;

pub(super) use self::approve::submit as approve;
pub(super) use self::readmit::submit as readmit;
pub(super) use self::revoke::submit as revoke;
pub(super) use self::tokens::{
    new as new_token, page as tokens, submit_new as make_token, submit_revoke as revoke_token,
};
pub(super) use self::unlink::submit as unlink;

use crate::audited::audited;
use crate::browser::{self, BrowserName, Cookie};
use crate::error_page::{self, Refused};
use crate::form_token::{self, Purpose, SealError};
use crate::pages::{
    self, Account, AccountNotice, Goal, LinkForm, LinkedAccount, Logins, PasskeysLine, UnlinkForm,
};
use crate::provider::{self, Provider, find_provider, has_another_way_in};
use crate::server::AuthorizationServer;
use crate::{login, session};
use gateway_core::audit::{Event, Record};
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_store::{FormPage, Identity, Key, StoreError, User};

/// `GET /account`. Whoever is not logged in is asked to, and comes back.
pub(super) async fn page(server: &AuthorizationServer, request: &Request) -> Response {
    match session::current_session(server, request, server.clock.now()).await {
        Ok(Some((_, session))) => show(server, request, &session, None)
            .await
            .unwrap_or_else(|refused| refused.page(server, request)),
        Ok(None) => login::page(server, request, Goal::Account).await,
        Err(error) => Refused::from(error).page(server, request),
    }
}

/// The page as things stand, with what came of a button.
async fn show(
    server: &AuthorizationServer,
    request: &Request,
    session: &BrowserSession,
    notice: Option<AccountNotice>,
) -> Result<Response, Refused> {
    let now = server.clock.now();
    let refused = notice.as_ref().and_then(AccountNotice::reason);
    let browser = BrowserName::from_request(server, request);
    let sealer = Sealer {
        server,
        browser: &browser.value,
        session,
        now,
    };
    let (apps, is_cut) = cards::load(sealer).await?;
    let user = server.records.user(&session.user_name, now).await?;
    let withheld = user.as_ref().map_or(&[][..], |user| &user.withheld);
    let withheld = cards::withheld(sealer, withheld).await?;
    let status = notice
        .as_ref()
        .map_or(StatusCode::OK, AccountNotice::status);
    let page = Account {
        frame: browser::frame(server, request),
        user_name: &session.user_name,
        now,
        notice,
        apps,
        is_cut,
        log_out_seal: &session::log_out_seal(server, &browser, session, now),
        logins: logins(sealer, user.as_ref()),
        has_tokens: server.settings.personal.is_some(),
        withheld,
    }
    .page();
    let mut response = pages::respond(status, page, server.settings.issuer.is_https());
    browser.keep(server, &mut response);
    if let Some(reason) = refused {
        error_page::log("account_refused", request, reason);
        let record = Record {
            user: Some(session.user.as_str().to_owned()),
            ..Record::refused(Event::Page, reason, status.is_server_error())
        };
        response = audited(response, record);
    }
    Ok(response)
}

/// How the person logs in, and with which providers a person of this gateway's own may besides.
fn logins<'a>(sealer: Sealer<'a>, user: Option<&'a User>) -> Logins<'a> {
    let providers = sealer.server.providers.all();
    let Some(user) = user else {
        return Logins::default();
    };
    let accounts = user.identities.iter();
    let accounts = accounts.map(|identity| {
        let address = identity.address.as_ref();
        let address = address.map(|address| address.text.as_str());
        LinkedAccount {
            provider: provider_words(sealer.server, identity),
            name: address
                .or(identity.name.as_deref())
                .unwrap_or(&identity.subject),
            is_current: sealer.session.provider.as_deref() == Some(&identity.provider),
            unlink: has_another_way_in(sealer.server, user, identity).then(|| UnlinkForm {
                issuer: &identity.issuer,
                subject: &identity.subject,
                seal: sealer.seal(Purpose::Unlink, &[&identity.issuer, &identity.subject]),
            }),
        }
    });
    let is_linked = |provider: &&Provider| {
        let mut identities = user.identities.iter();
        let of = |identity| find_provider(&sealer.server.providers, identity);
        !identities.any(|identity| of(identity).is_some_and(|of| of.name == provider.name))
    };
    let links = providers.iter().filter(is_linked).map(|provider| LinkForm {
        name: &provider.name,
        words: &provider.words,
        seal: sealer.link_seal(&provider.name),
    });
    let is_local = sealer.server.is_local(user);
    Logins {
        passkeys: passkeys_line(sealer.server, user),
        has_password: user.password().is_some(),
        accounts: accounts.collect(),
        links: links.filter(|_| is_local).collect(),
    }
}

fn passkeys_line(server: &AuthorizationServer, user: &User) -> PasskeysLine {
    match (server.passkeys.count(user), server.passkeys.unavailable()) {
        _ if !server.is_local(user) => PasskeysLine::None,
        (0, Some(why)) => PasskeysLine::Unavailable(pages::unavailable_words(why)),
        (0, None) => PasskeysLine::Possible,
        (count, _) => PasskeysLine::Some(count),
    }
}

/// What people know the provider of an account by.
fn provider_words<'a>(server: &'a AuthorizationServer, identity: &'a Identity) -> &'a str {
    let provider = find_provider(&server.providers, identity);
    provider.map_or(identity.provider.as_str(), |it| it.words.as_str())
}

/// Seals the forms of one page: for this browser and this person.
#[derive(Clone, Copy)]
struct Sealer<'a> {
    server: &'a AuthorizationServer,
    browser: &'a str,
    session: &'a BrowserSession,
    now: Timestamp,
}

impl Sealer<'_> {
    /// A seal over the fields of a form.
    fn seal(&self, purpose: Purpose, fields: &[&str]) -> String {
        let bound = bound(self.browser, self.session, fields);
        form_token::seal(&self.server.tags, purpose, &bound, self.now, &mut OsRng)
    }

    /// A seal of the form that adds an account at a provider.
    fn link_seal(&self, provider: &str) -> String {
        let bound = provider::link_bound(self.browser, &self.session.user, provider);
        form_token::seal(
            &self.server.tags,
            Purpose::Link,
            &bound,
            self.now,
            &mut OsRng,
        )
    }
}

/// A form of the page, from the person and the browser that it was made for.
struct SubmittedForm {
    session: BrowserSession,
    fields: Vec<String>,
    /// When the page was made; `None`: so long ago that the form is not taken.
    made: Option<Timestamp>,
    /// Names this one rendering of the form.
    form: Key,
}

/// Reads a form with these fields, and their seal in `seal`.
async fn pressed(
    server: &AuthorizationServer,
    request: &Request,
    purpose: Purpose,
    names: &[&'static str],
    now: Timestamp,
) -> Result<SubmittedForm, Refused> {
    let form = browser::posted_form(server, request)?;
    let Some((_, session)) = session::current_session(server, request, now).await? else {
        return Err(login::page_after_session(server, request, Goal::Account).into());
    };
    let fields: Vec<&str> = names.iter().map(|name| form.field(name)).collect();
    let browser = Cookie::Browser
        .read(&server.settings, request)
        .unwrap_or_default();
    let bound = bound(browser, &session, &fields);
    let unsealed = form_token::unseal(&server.tags, purpose, &bound, form.field("seal"), now);
    let (made, nonce) = match unsealed {
        Ok(unsealed) => (Some(unsealed.made), unsealed.nonce),
        Err(SealError::Expired) => (None, String::new()),
        Err(SealError::Broken) => {
            let reason = Reason::CrossSiteForm;
            error_page::log("form_refused", request, reason);
            let status = StatusCode::FORBIDDEN;
            return Err(error_page::page(server, request, status, reason, None).into());
        }
    };
    let fields = fields.into_iter().map(str::to_owned).collect();
    Ok(SubmittedForm {
        session,
        fields,
        made,
        form: Key::form_answer(FormPage::Account, &nonce),
    })
}

/// The person of a session, as they are now.
async fn user_of(
    server: &AuthorizationServer,
    session: &BrowserSession,
    now: Timestamp,
) -> Result<Option<User>, StoreError> {
    let user = server.records.user(&session.user_name, now).await?;
    Ok(user.filter(|user| user.id == session.user))
}

fn bound<'a>(browser: &'a str, session: &'a BrowserSession, fields: &[&'a str]) -> Vec<&'a [u8]> {
    let who = [browser.as_bytes(), session.user.as_str().as_bytes()];
    let fields = fields.iter().map(|field| field.as_bytes());
    who.into_iter().chain(fields).collect()
}
