//! `/admin/streams`: event streams that this process holds open.

use askama::Template;

use super::super::page::{Forms, Frame, Page};
use super::frame::{AdminFrame, NextPage, PressForm, moment, shown};

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
#[derive(Clone, Debug)]
pub struct StreamsPage<'a> {
    /// Around it.
    pub admin: AdminFrame<'a>,
    /// Oldest first.
    pub streams: Vec<StreamRow>,
    /// Where the list goes on.
    pub next: Option<NextPage>,
}

impl StreamsPage<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let streams = self.streams.iter().map(|stream| StreamRow {
            backend: shown(&stream.backend),
            user_name: shown(&stream.user_name),
            client: shown(&stream.client),
            since: moment(&stream.since),
            ..stream.clone()
        });
        let template = StreamsTemplate {
            frame: self.admin.frame,
            admin: &self.admin,
            streams: streams.collect(),
            next: self.next.as_ref(),
        };
        Page::render(&template, Forms::Here)
    }
}

#[derive(Template)]
#[template(path = "admin_streams.html")]
struct StreamsTemplate<'a> {
    frame: Frame<'a>,
    admin: &'a AdminFrame<'a>,
    streams: Vec<StreamRow>,
    next: Option<&'a NextPage>,
}
