//! The login page, and what stands in its place while there is nobody to log in.

use std::time::Duration;

use askama::Template;

use super::page::{Forms, Frame, Page};
use super::passkeys::PasskeyForm;
use super::text::in_words;
use gateway_core::reason::Reason;

/// Where a login leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal<'a> {
    /// To the start page.
    Start,
    /// To the person's apps.
    Account,
    /// To the person's own tokens.
    Tokens,
    /// To the person's passkeys.
    Passkeys,
    /// To `/authorize` with this raw query.
    Authorize(&'a str),
    /// To the page of our own at this path, which is opened with GET.
    Page(&'a str),
}

impl<'a> Goal<'a> {
    /// The raw query, if it has one.
    pub const fn authorization_request(self) -> Option<&'a str> {
        match self {
            Self::Authorize(query) => Some(query),
            Self::Start | Self::Account | Self::Tokens | Self::Passkeys | Self::Page(_) => None,
        }
    }

    /// What forms call it, unless it is the start page or has a query.
    pub(super) const fn name(self) -> Option<&'a str> {
        match self {
            Self::Account => Some("account"),
            Self::Tokens => Some("tokens"),
            Self::Passkeys => Some("passkeys"),
            Self::Page(path) => Some(path),
            Self::Start | Self::Authorize(_) => None,
        }
    }
}

/// Asks who somebody is: by an identity provider, or by name and password.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "login.html")]
pub struct Login<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// What comes afterwards.
    pub goal: Goal<'a>,
    /// Proves that the form came from this page.
    pub seal: &'a str,
    /// The name that was typed before.
    pub name: &'a str,
    /// Why the page is shown again.
    pub problem: Option<LoginProblem>,
    /// The identity providers, each with a button.
    pub providers: &'a [ProviderButton<'a>],
    /// The button for passkeys, where they work.
    pub passkey: Option<PasskeyForm<'a>>,
    /// Whether the page asks for name and password.
    pub with_password: bool,
}

/// A button that leads to an identity provider.
#[derive(Clone, Copy, Debug)]
pub struct ProviderButton<'a> {
    /// Its name in the path.
    pub name: &'a str,
    /// Its name for people.
    pub words: &'a str,
}

/// Why somebody is not logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginProblem {
    /// Name or password is wrong; which, is not said.
    Failed,
    /// The passkey is not taken, for this reason.
    Passkey(Reason),
    /// Too many were wrong; try again after this time.
    Limited(Duration),
    /// The page was open for too long.
    PageExpired,
    /// The session ended while another page was open.
    SessionEnded,
}

impl Login<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        Page::render(self, Forms::Beyond).with_script(self.passkey.is_some())
    }

    fn alert(&self) -> Option<String> {
        Some(match self.problem? {
            LoginProblem::Failed => "The name or the password is wrong.".to_owned(),
            LoginProblem::Passkey(reason) => format!("{} {}", reason.sentence(), reason.remedy()),
            LoginProblem::Limited(wait) => format!(
                "Too many wrong passwords. Wait {} and try again.",
                in_words(wait)
            ),
            LoginProblem::PageExpired => {
                "This page was open for too long. Please log in again.".to_owned()
            }
            LoginProblem::SessionEnded => "Your login has ended. Please log in again.".to_owned(),
        })
    }

    fn is_wrong(&self) -> bool {
        self.problem == Some(LoginProblem::Failed)
    }
}

/// Says that nobody can log in yet, and how that is mended.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "ownerless.html")]
pub struct Ownerless<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// The raw query with which `/authorize` can be opened again.
    pub authorization_request: Option<&'a str>,
}

impl Ownerless<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        Page::render(self, Forms::None)
    }
}
