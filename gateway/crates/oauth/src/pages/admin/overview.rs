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

/// The first page.
#[derive(Clone, Debug)]
pub struct OverviewPage<'a> {
    /// Around it.
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
    pub fn page(&self) -> Page {
        let cleaned = |states: &[State]| {
            let states = states.iter().map(|state| State {
                name: shown(&state.name),
                words: shown(&state.words),
                is_good: state.is_good,
            });
            states.collect()
        };
        let template = OverviewTemplate {
            frame: self.admin.frame,
            admin: &self.admin,
            version: self.version,
            people: &self.people,
            streams: self.streams,
            groups: vec![
                ("This gateway", cleaned(&self.parts)),
                ("Backends", cleaned(&self.backends)),
                ("Identity providers", cleaned(&self.providers)),
                ("Limits", cleaned(&self.limits)),
            ],
        };
        Page::render(&template, Forms::Here)
    }
}

#[derive(Template)]
#[template(path = "admin_overview.html")]
struct OverviewTemplate<'a> {
    frame: Frame<'a>,
    admin: &'a AdminFrame<'a>,
    version: &'a str,
    people: &'a str,
    streams: usize,
    groups: Vec<(&'static str, Vec<State>)>,
}
