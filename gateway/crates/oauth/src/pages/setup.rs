//! The page on which the first owner sets name and password.

use askama::Template;

use super::page::{Forms, Frame, Page};

/// Asks for the code from the terminal, a name and a new password.
#[derive(Clone, Copy, Debug)]
pub struct SetupForm<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// The code from the URL, or as it was typed.
    pub code: &'a str,
    /// The name that was typed before.
    pub name: &'a str,
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
        }
    }
}

impl SetupForm<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let template = SetupTemplate {
            frame: self.frame,
            code: self.code,
            asks_for_code: self.code.is_empty() || self.problem == Some(SetupProblem::Code),
            name: self.name,
            problem: self.problem,
        };
        Page::render(&template, Forms::Here)
    }
}

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupTemplate<'a> {
    frame: Frame<'a>,
    code: &'a str,
    asks_for_code: bool,
    name: &'a str,
    problem: Option<SetupProblem>,
}

impl SetupTemplate<'_> {
    fn concerns_code(&self) -> bool {
        self.problem == Some(SetupProblem::Code)
    }

    fn concerns_name(&self) -> bool {
        self.problem == Some(SetupProblem::Name)
    }

    fn concerns_password(&self) -> bool {
        self.problem.is_some() && !self.concerns_code() && !self.concerns_name()
    }
}
