//! `/admin`: how everything stands.

use askama::Template;

use super::super::page::{Forms, Frame, Page};
use super::frame::{AdminFrame, shown};

/// How one thing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What it is called.
    pub name: String,
    /// How it stands, in words.
    pub words: String,
    /// Whether that is as it should be.
    pub is_good: bool,
}

impl State {
    pub(super) fn clean(&mut self) {
        self.name = shown(&self.name);
        self.words = shown(&self.words);
    }
}

/// The first page.
#[derive(Debug, Template)]
#[template(path = "admin_overview.html")]
pub struct OverviewPage<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// Around it, as one of the owner's.
    pub admin: AdminFrame<'a>,
    /// Of the gateway itself.
    pub version: &'a str,
    /// The people, as far as they were counted.
    pub people: String,
    /// Event streams that this process holds open.
    pub streams: usize,
    /// The identity providers.
    pub providers: Vec<State>,
    /// The backends.
    pub backends: Vec<State>,
    /// The limits of calls.
    pub limits: Vec<State>,
    /// The store, the list of revocations, the audit log.
    pub parts: Vec<State>,
}

impl OverviewPage<'_> {
    /// Renders it.
    pub fn page(mut self) -> Page {
        let lists = [
            &mut self.parts,
            &mut self.backends,
            &mut self.providers,
            &mut self.limits,
        ];
        lists.into_iter().flatten().for_each(State::clean);
        Page::render(&self, Forms::Here)
    }

    fn groups(&self) -> [(&'static str, &[State]); 4] {
        [
            ("This gateway", &self.parts),
            ("Backends", &self.backends),
            ("Identity providers", &self.providers),
            ("Limits", &self.limits),
        ]
    }
}
