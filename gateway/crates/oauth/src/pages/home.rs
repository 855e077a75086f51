//! The start page for people.

use askama::Template;

use super::page::{Forms, Frame, Page};

/// Says what this is and which URL to give to which app.
#[derive(Clone, Debug)]
pub struct Home<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// Every backend, in configuration order.
    pub mounts: Vec<MountUrls>,
    /// Whether nobody can log in yet. `None` while the store does not say.
    pub awaits_owner: Option<bool>,
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
        let template = HomeTemplate {
            frame: self.frame,
            mounts: &self.mounts,
            awaits_owner: self.awaits_owner == Some(true),
            loopback: self.loopback,
            person: self.person,
        };
        Page::render(&template, Forms::Here)
    }
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomeTemplate<'a> {
    frame: Frame<'a>,
    mounts: &'a [MountUrls],
    awaits_owner: bool,
    loopback: bool,
    person: Option<(&'a str, &'a str)>,
}
