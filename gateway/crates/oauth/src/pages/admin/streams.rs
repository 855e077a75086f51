//! `/admin/streams`: event streams that this process holds open.

use askama::Template;

use super::super::page::{Forms, Frame, Page};
use super::frame::{AdminFrame, PressForm, moment, shown};

/// An open stream.
#[derive(Clone, Debug)]
pub struct StreamRow {
    /// Its number.
    pub number: u64,
    /// The backend's name.
    pub backend: String,
    /// The person's login name.
    pub user_name: String,
    /// Who reads it.
    pub client: String,
    /// When it was opened, in RFC 3339.
    pub since: String,
    /// Ends it.
    pub close: PressForm,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "admin_streams.html")]
pub struct StreamsPage<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// Around it, as one of the owner's.
    pub admin: AdminFrame<'a>,
    /// Oldest first.
    pub streams: Vec<StreamRow>,
    /// Path and query of where the list goes on.
    pub next: Option<String>,
}

impl StreamsPage<'_> {
    /// Renders it.
    pub fn page(mut self) -> Page {
        for stream in &mut self.streams {
            for text in [
                &mut stream.backend,
                &mut stream.user_name,
                &mut stream.client,
            ] {
                *text = shown(text);
            }
            stream.since = moment(&stream.since);
        }
        Page::render(&self, Forms::Here)
    }
}
