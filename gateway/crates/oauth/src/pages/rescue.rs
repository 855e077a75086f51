//! The page on which a person sets themselves up, or comes in again, by a link of the operator's.

use askama::Template;

use super::page::{Forms, Frame, Page};
use super::passkeys::PasskeyForm;
use super::setup::SetupProblem;
use gateway_core::reason::Reason;

/// Asks for a new password or a passkey.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "rescue.html")]
pub struct RescueForm<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// The link's secret.
    pub secret: &'a str,
    /// Whom it is for.
    pub user_name: &'a str,
    /// Whether a password would log the person in.
    pub with_password: bool,
    /// Makes a passkey, where they work.
    pub passkey: Option<PasskeyForm<'a>>,
    /// Why there are no passkeys here, if so, in words for the person.
    pub unavailable: Option<&'static str>,
    /// Why the page is shown again.
    pub problem: Option<RescueProblem>,
}

/// Why nothing was set yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RescueProblem {
    /// The password is not taken.
    Password(SetupProblem),
    /// The passkey is not taken.
    Passkey(Reason),
}

impl RescueForm<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        Page::render(self, Forms::Here).with_script(self.passkey.is_some())
    }

    fn alert(&self) -> Option<String> {
        Some(match self.problem? {
            RescueProblem::Password(problem) => problem.sentence().to_owned(),
            RescueProblem::Passkey(reason) => format!("{} {}", reason.sentence(), reason.remedy()),
        })
    }

    fn concerns_password(&self) -> bool {
        matches!(self.problem, Some(RescueProblem::Password(_)))
    }
}
