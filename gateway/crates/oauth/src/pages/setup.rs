//! The page on which the first owner sets name and password, or a passkey instead.

use askama::Template;

use super::page::{Forms, Frame, Page};
use super::passkeys::PasskeyForm;
use gateway_core::reason::Reason;

/// Asks for the code from the terminal, a name and a new password.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "setup.html")]
pub struct SetupForm<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// The code from the URL, or as it was typed.
    pub code: &'a str,
    /// The name that was typed before.
    pub name: &'a str,
    /// Makes a passkey, where they work.
    pub passkey: Option<PasskeyForm<'a>>,
    /// The id that the owner gets who does.
    pub user: &'a str,
    /// Why the page is shown again.
    pub problem: Option<SetupProblem>,
}

/// Why nobody became the owner yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupProblem {
    /// The code is wrong, used up or too old.
    Code,
    /// The name is of no accepted form.
    Name,
    /// The password is too short.
    PasswordShort,
    /// The password is longer than what is looked at.
    PasswordLong,
    /// The two passwords differ.
    PasswordsDiffer,
    /// The passkey is not taken, for this reason.
    Passkey(Reason),
}

impl SetupProblem {
    /// What the page says.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Code => {
                "This code is wrong, was used, or is older than 15 minutes. Restart the gateway: it prints a new one."
            }
            Self::Name => {
                "A name has 1 to 64 letters, digits, or characters of . _ - + @ and no blanks."
            }
            Self::PasswordShort => "The password needs at least 12 characters.",
            Self::PasswordLong => "The password may have at most 256 bytes.",
            Self::PasswordsDiffer => "The two passwords differ.",
            Self::Passkey(reason) => reason.sentence(),
        }
    }
}

impl SetupForm<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        Page::render(self, Forms::Here).with_script(self.passkey.is_some())
    }

    fn asks_for_code(&self) -> bool {
        self.code.is_empty() || self.concerns_code()
    }

    fn concerns_code(&self) -> bool {
        self.problem == Some(SetupProblem::Code)
    }

    fn concerns_name(&self) -> bool {
        self.problem == Some(SetupProblem::Name)
    }

    fn concerns_password(&self) -> bool {
        matches!(
            self.problem,
            Some(
                SetupProblem::PasswordShort
                    | SetupProblem::PasswordLong
                    | SetupProblem::PasswordsDiffer
            )
        )
    }
}
