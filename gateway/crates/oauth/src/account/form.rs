//! The forms of a person's pages: their seals, and how one is read that came back.

use rand::rngs::OsRng;

use crate::audited::audited;
use crate::browser::{self, Cookie};
use crate::error_page::{self, Refused};
use crate::form_token::{self, Purpose, SealError};
use crate::login::{self, LoginForm};
use crate::pages::Goal;
use crate::provider;
use crate::server::AuthorizationServer;
use gateway_core::audit::{Event, Record};
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_store::{FormPage, Key};

/// Seals the forms of one page: for this browser and this person.
#[derive(Clone, Copy)]
pub(super) struct Sealer<'a> {
    pub(super) server: &'a AuthorizationServer,
    pub(super) browser: &'a str,
    pub(super) session: &'a BrowserSession,
    pub(super) now: Timestamp,
}

impl Sealer<'_> {
    /// A seal over the fields of a form.
    pub(super) fn seal(&self, purpose: Purpose, fields: &[&str]) -> String {
        let bound = bound(self.browser, self.session, fields);
        form_token::seal(&self.server.tags, purpose, &bound, self.now, &mut OsRng)
    }

    /// A seal of the form that adds an account at a provider.
    pub(super) fn link_seal(&self, provider: &str) -> String {
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
pub(super) struct SubmittedForm {
    pub(super) session: BrowserSession,
    pub(super) fields: Vec<String>,
    /// When the page was made; `None`: so long ago that the form is not taken.
    pub(super) made: Option<Timestamp>,
    /// Names this one rendering of the form.
    pub(super) form: Key,
}

/// Reads a form with these fields, and their seal in `seal`.
pub(super) async fn pressed(
    login_form: LoginForm<'_>,
    request: &Request,
    purpose: Purpose,
    names: &[&'static str],
    now: Timestamp,
) -> Result<SubmittedForm, Refused> {
    let form = browser::posted_form(login_form.ways.settings, request)?;
    let goal = Goal::Account;
    let session = login_form.resumed_session(request, goal, now).await?;
    let fields: Vec<&str> = names.iter().map(|name| form.field(name)).collect();
    let browser = Cookie::Browser
        .read(login_form.ways.settings, request)
        .unwrap_or_default();
    let bound = bound(browser, &session, &fields);
    let unsealed = form_token::unseal(login_form.tags, purpose, &bound, form.field("seal"), now);
    let (made, nonce) = match unsealed {
        Ok(unsealed) => (Some(unsealed.made), unsealed.nonce),
        Err(SealError::Expired) => (None, String::new()),
        Err(SealError::Broken) => {
            let settings = login_form.ways.settings;
            return Err(login::cross_site(settings, request, "form_refused"));
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

/// The page that answers a button; where it says why nothing was done, with the line of the log and the
/// record of it.
pub(super) fn entered(
    request: &Request,
    session: &BrowserSession,
    page: Response,
    refused: Option<Reason>,
) -> Response {
    let Some(reason) = refused else {
        return page;
    };
    error_page::log("account_refused", request, reason);
    let is_fault = page.status().is_server_error();
    let record = Record {
        user: Some(session.user.as_str().to_owned()),
        ..Record::refused(Event::Page, reason, is_fault)
    };
    audited(page, record)
}

pub(super) fn bound<'a>(
    browser: &'a str,
    session: &'a BrowserSession,
    fields: &[&'a str],
) -> Vec<&'a [u8]> {
    let who = [browser.as_bytes(), session.user.as_str().as_bytes()];
    let fields = fields.iter().map(|field| field.as_bytes());
    who.into_iter().chain(fields).collect()
}
