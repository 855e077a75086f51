//! `/admin/backends`: how each stands, its tools, and which of them are no longer what was allowed.

use askama::Template;

use super::super::page::{Forms, Frame, Page};
use super::frame::{AdminFrame, shown};
use super::overview::State;

/// A backend.
#[derive(Clone, Debug)]
pub struct BackendCard {
    /// Its name and how it stands.
    pub state: State,
    /// The URL that clients use.
    pub url: String,
    /// What it calls itself, with its version.
    pub server: Option<String>,
    /// Its tools, and those that were allowed and are gone.
    pub tools: Vec<ToolRow>,
    /// Whether more grants name tools of it than were looked at.
    pub is_cut: bool,
}

/// A tool.
#[derive(Clone, Debug)]
pub struct ToolRow {
    /// Its name.
    pub name: String,
    /// What it says of its effects.
    pub effects: &'static str,
    /// Grants that name it.
    pub grants: usize,
    /// Those of them that allowed it as it was and is no more.
    pub changed: usize,
    /// Whether the backend does not offer it any more.
    pub is_gone: bool,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "admin_backends.html")]
pub struct BackendsPage<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// Around it, as one of the owner's.
    pub admin: AdminFrame<'a>,
    /// In the order of the configuration.
    pub backends: Vec<BackendCard>,
}

impl BackendsPage<'_> {
    /// Renders it.
    pub fn page(mut self) -> Page {
        for backend in &mut self.backends {
            backend.state.clean();
            let tools = backend.tools.iter_mut().map(|tool| &mut tool.name);
            for text in backend.server.iter_mut().chain(tools) {
                *text = shown(text);
            }
        }
        Page::render(&self, Forms::Here)
    }
}
