//! The pages on which a person connects an account of their own at a backend.

use askama::Template;

use super::login::Goal;
use super::page::{Forms, Frame, Page};
use super::text::{LONGEST_NAME, clean};
use super::tool_picker::LONGEST_DESCRIPTION;

/// Asks a person to connect an account.
#[derive(Clone, Debug, Template)]
#[template(path = "connect.html")]
pub struct Connect<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// The backend's name.
    pub backend: &'a str,
    /// Who is logged in.
    pub user_name: &'a str,
    /// What comes afterwards.
    pub goal: Goal<'a>,
    /// Proves that the form comes from this page.
    pub seal: &'a str,
    /// How it is connected.
    pub way: ConnectWay<'a>,
    /// Whether the backend is called without one, too.
    pub is_optional: bool,
    /// How an account stands that is connected.
    pub state: Option<String>,
    /// Why the page is shown again.
    pub problem: Option<ConnectProblem>,
}

/// How an account is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectWay<'a> {
    /// The person goes to the backend's authorization server.
    Login,
    /// The person pastes a key; where to get one, if the operator says so.
    Key(Option<&'a str>),
}

/// Why nothing was connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectProblem {
    /// In words for the person.
    pub words: String,
    /// What it is about, one a line; it may hold what a stranger sent.
    pub detail: String,
}

impl Connect<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        // The answer leads to the backend's authorization server, or back to an app.
        Page::render(self, Forms::Beyond)
    }
}

impl ConnectProblem {
    fn lines(&self) -> Vec<String> {
        let lines = self.detail.lines().filter(|line| !line.trim().is_empty());
        lines.map(|line| clean(line, LONGEST_DESCRIPTION)).collect()
    }
}

/// Says that an account is connected.
#[derive(Clone, Debug)]
pub struct ConnectedPage<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// The backend's name.
    pub backend: &'a str,
    /// What the account is called there, if that was said.
    pub called: Option<&'a str>,
    /// What the one before was called, if it was another one.
    pub instead_of: Option<&'a str>,
    /// The raw query with which `/authorize` goes on.
    pub authorization_request: Option<&'a str>,
}

impl ConnectedPage<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let shown = |text: &str| clean(text, LONGEST_NAME);
        let template = ConnectedTemplate {
            frame: self.frame,
            backend: self.backend,
            called: self.called.map(shown),
            instead_of: self.instead_of.map(shown),
            authorization_request: self.authorization_request,
        };
        Page::render(&template, Forms::None)
    }
}

#[derive(Template)]
#[template(path = "connected.html")]
struct ConnectedTemplate<'a> {
    frame: Frame<'a>,
    backend: &'a str,
    called: Option<String>,
    instead_of: Option<String>,
    authorization_request: Option<&'a str>,
}
