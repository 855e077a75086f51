//! `/admin`: who may open it, and how its forms are protected. To everybody but the owner it is a path
//! under which there is nothing.
//!
//! Owns: the way in, the seals of the forms, a form that is pressed twice. Not: what stands on the pages
//! and what their buttons do, which is the operator's API: the program gives that ([`OwnerPages`]), as
//! it stands above this crate.

pub(crate) mod visit;

use std::time::Duration;

use http::{Method, StatusCode};
use rand::rngs::OsRng;

pub use self::visit::{OwnerPages, OwnerPagesHandle, OwnerVisit};

use crate::browser::{self, BrowserName, PostedForm};
use crate::error_page::{self, Refused};
use crate::form_token::{self, Purpose, SealError};
use crate::pages::{Frame, Goal, Page};
use crate::server::{AuthorizationServer, Settings};
use crate::{login, session};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_store::{FormPage, Key};

/// For so long a button that is pressed again says the same.
const DOUBLE: Duration = Duration::from_secs(60);

/// A form of one of the pages, from the person and the browser that it was made for.
pub struct OwnerPress {
    /// What it does.
    pub action: String,
    /// What about.
    pub subject: String,
    fields: PostedForm,
    form: Key,
    is_expired: bool,
}

/// `/admin` and below.
pub(super) async fn answer(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let visit = visit(server, request, now).await?;
    Ok(match server.owner_pages.0.get() {
        Some(pages) => pages.answer(&visit).await,
        None => visit.absent(),
    })
}

async fn visit<'a>(
    server: &'a AuthorizationServer,
    request: &'a Request,
    now: Timestamp,
) -> Result<OwnerVisit<'a>, Refused> {
    let (login_form, goal) = (server.login_form(), Goal::Page(&request.path));
    let session = if request.method == Method::POST {
        login_form.resumed_session(request, goal, now).await?
    } else {
        login_form.session(request, goal, now).await?
    };
    let user = server.records.user(&session.user_name, now).await?;
    if !user.is_some_and(|user| user.is_owner()) {
        return Err(absent(&server.settings, request).into());
    }
    Ok(OwnerVisit {
        browser: BrowserName::from_request(&server.settings, request),
        server,
        request,
        now,
        session,
    })
}

fn absent(settings: &Settings, request: &Request) -> Response {
    error_page::page(
        settings,
        request,
        StatusCode::NOT_FOUND,
        Reason::NotFound,
        None,
    )
}

impl<'a> OwnerVisit<'a> {
    /// What stands around the page.
    pub fn frame(&self) -> Frame<'a> {
        browser::frame(&self.server.settings, self.request)
    }

    /// The owner's login name.
    pub fn user_name(&self) -> &str {
        &self.session.user_name
    }

    /// The seal of the form that logs out.
    pub fn log_out_seal(&self) -> String {
        session::log_out_seal(&self.server.tags, &self.browser, &self.session, self.now)
    }

    /// The seal of a form that does this about that.
    pub fn seal(&self, action: &str, subject: &str) -> String {
        let bound = self.bound(action, subject);
        let tags = &self.server.tags;
        form_token::seal(tags, Purpose::Administer, &bound, self.now, &mut OsRng)
    }

    fn bound<'b>(&'b self, action: &'b str, subject: &'b str) -> [&'b [u8]; 4] {
        [
            self.browser.value.as_bytes(),
            self.session.user.as_str().as_bytes(),
            action.as_bytes(),
            subject.as_bytes(),
        ]
    }

    /// The form that was sent: `action` and `subject`, under their seal.
    ///
    /// # Errors
    /// The page that says why it is not taken.
    pub fn pressed(&self) -> Result<OwnerPress, Box<Response>> {
        self.read_form()
            .map_err(|refused| Box::new(refused.page(&self.server.settings, self.request)))
    }

    fn read_form(&self) -> Result<OwnerPress, Refused> {
        let form = browser::posted_form(&self.server.settings, self.request)?;
        let (action, subject) = (
            form.field("action").to_owned(),
            form.field("subject").to_owned(),
        );
        let bound = self.bound(&action, &subject);
        let (tags, seal) = (&self.server.tags, form.field("seal"));
        let unsealed = form_token::unseal(tags, Purpose::Administer, &bound, seal, self.now);
        let (nonce, is_expired) = match unsealed {
            Ok(unsealed) => (unsealed.nonce, false),
            Err(SealError::Expired) => (String::new(), true),
            Err(SealError::Broken) => {
                let settings = &self.server.settings;
                return Err(login::cross_site(settings, self.request, "form_refused"));
            }
        };
        Ok(OwnerPress {
            action,
            subject,
            fields: form,
            form: Key::form_answer(FormPage::Admin, &nonce),
            is_expired,
        })
    }

    /// What this very form was answered within the last minute, if it was pressed before.
    pub async fn said_before(&self, press: &OwnerPress) -> Option<String> {
        let records = &self.server.records;
        let said = records.pressed_lately(&press.form, self.now).await;
        said.ok().flatten()
    }

    /// Notes what a form is answered, for whoever presses it again. It was done, whether or not that can
    /// be noted.
    pub async fn note(&self, press: &OwnerPress, said: &str) {
        let records = &self.server.records;
        let until = self.now + DOUBLE;
        let _ = records.press(&press.form, said, until, self.now).await;
    }

    /// A page as the answer.
    pub fn respond(&self, status: StatusCode, page: Page) -> Response {
        self.browser.respond(&self.server.settings, status, page)
    }

    /// There is nothing under this path.
    pub fn absent(&self) -> Response {
        absent(&self.server.settings, self.request)
    }

    /// One log line for something that was not done, where the operator's API has written none.
    pub fn log_refusal(&self, reason: Reason) {
        error_page::log("admin_refused", self.request, reason);
    }

    /// Why a page can't be shown.
    pub fn refused(&self, status: StatusCode, reason: Reason, detail: &str) -> Response {
        self.log_refusal(reason);
        error_page::page(
            &self.server.settings,
            self.request,
            status,
            reason,
            Some(detail),
        )
    }
}

impl OwnerPress {
    /// A field that a person fills in, which no seal is over.
    pub fn field(&self, name: &'static str) -> &str {
        self.fields.field(name)
    }

    /// Whether the page was open for so long that its form is not taken any more.
    pub const fn is_expired(&self) -> bool {
        self.is_expired
    }
}
