//! The page that waits for a backend that is still starting, and goes on by itself.

use askama::Template;

use super::page::{Forms, Frame, Page};

/// Says that a backend has not told its tools yet.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "waiting.html")]
pub struct Waiting<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// The backend's name.
    pub backend: &'a str,
    /// How long it may take, in words.
    pub longest: &'a str,
    /// The authorization request that is gone on with.
    pub authorization_request: &'a str,
}

impl Waiting<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        Page::render(self, Forms::None)
    }
}
