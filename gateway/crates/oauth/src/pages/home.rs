//! The start page for people.

use askama::Template;

use super::page::{Forms, Frame, Page};

/// Says what this is and which URL to give to which app.
#[derive(Clone, Debug, Template)]
#[template(path = "home.html")]
pub struct Home<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// Every backend, in configuration order.
    pub mounts: Vec<MountUrls>,
    /// Whether nobody can log in yet, as far as the store says.
    pub awaits_owner: bool,
    /// Whether programs on other machines can't reach the public URL.
    pub loopback: bool,
    /// Who is logged in, and the seal of the log-out form.
    pub person: Option<(&'a str, &'a str)>,
}

/// The public URLs of a backend.
#[derive(Clone, Debug)]
pub struct MountUrls {
    /// Its name.
    pub name: String,
    /// Of its Streamable HTTP endpoint.
    pub mcp: String,
    /// Of its legacy SSE stream.
    pub sse: String,
}

impl Home<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        Page::render(self, Forms::Here)
    }
}
