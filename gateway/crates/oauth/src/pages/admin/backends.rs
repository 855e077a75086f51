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
#[derive(Clone, Debug)]
pub struct BackendsPage<'a> {
    /// Around it.
    pub admin: AdminFrame<'a>,
    /// In the order of the configuration.
    pub backends: Vec<BackendCard>,
}

impl BackendsPage<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let backends = self.backends.iter().map(|backend| BackendCard {
            state: State {
                name: shown(&backend.state.name),
                words: shown(&backend.state.words),
                is_good: backend.state.is_good,
            },
            server: backend.server.as_deref().map(shown),
            tools: backend
                .tools
                .iter()
                .map(|tool| ToolRow {
                    name: shown(&tool.name),
                    ..tool.clone()
                })
                .collect(),
            ..backend.clone()
        });
        let template = BackendsTemplate {
            frame: self.admin.frame,
            admin: &self.admin,
            backends: backends.collect(),
        };
        Page::render(&template, Forms::Here)
    }
}

#[derive(Template)]
#[template(path = "admin_backends.html")]
struct BackendsTemplate<'a> {
    frame: Frame<'a>,
    admin: &'a AdminFrame<'a>,
    backends: Vec<BackendCard>,
}
