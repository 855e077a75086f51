//! The error page.

use askama::Template;
use http::StatusCode;

use super::page::{Forms, Frame, Page};
use super::text::clean;
use gateway_core::reason::Reason;

/// How much of a value that a stranger sent is shown.
const LONGEST_DETAIL: usize = 400;

/// Says what was wrong, names the value, and what to do next.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "refusal.html")]
pub struct Refusal<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// The status of the answer.
    pub status: StatusCode,
    /// Why.
    pub reason: Reason,
    /// The values that were wrong, one a line.
    pub detail: Option<&'a str>,
    /// The raw query with which `/authorize` can be opened again.
    pub reopen: Option<&'a str>,
}

impl Refusal<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        Page::render(self, Forms::None)
    }

    fn heading(&self) -> &'static str {
        match self.status {
            StatusCode::NOT_FOUND => "There is nothing here",
            StatusCode::TOO_MANY_REQUESTS => "Too many attempts",
            status if status.is_server_error() => "This does not work right now",
            _ => "This connection was stopped",
        }
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.detail.unwrap_or_default().lines().take(12);
        let lines = lines.map(|line| clean(line, LONGEST_DETAIL));
        lines.filter(|line| !line.is_empty()).collect()
    }
}
