//! `/admin/people`: who may log in, and with what.

use askama::Template;

use super::super::page::{Forms, Frame, Page};
use super::frame::{AdminFrame, PressForm, moment, shown};

/// Somebody, as the operator sees them.
#[derive(Clone, Debug)]
pub struct PersonRow {
    /// The login name.
    pub name: String,
    /// The id.
    pub id: String,
    /// The id as it stands in a query.
    pub id_in_url: String,
    /// Whether they may open these pages.
    pub is_owner: bool,
    /// Why they may not log in, if so.
    pub disabled: Option<String>,
    /// When they were added, in RFC 3339.
    pub created: String,
    /// With what they log in: each way has a line of its own, and what takes it away.
    pub ways: Vec<LoginWay>,
    /// What can be done about the person.
    pub forms: Vec<PressForm>,
}

/// Something that somebody logs in with.
#[derive(Clone, Debug)]
pub struct LoginWay {
    /// In words.
    pub words: String,
    /// Takes it away, where that can be done here.
    pub form: Option<PressForm>,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "admin_people.html")]
pub struct PeoplePage<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// Around it, as one of the owner's.
    pub admin: AdminFrame<'a>,
    /// In the order of their names.
    pub people: Vec<PersonRow>,
    /// Path and query of where the list goes on.
    pub next: Option<String>,
}

impl PeoplePage<'_> {
    /// Renders it.
    pub fn page(mut self) -> Page {
        for person in &mut self.people {
            let ways = person.ways.iter_mut().map(|way| &mut way.words);
            for text in [&mut person.name, &mut person.id].into_iter().chain(ways) {
                *text = shown(text);
            }
            person.created = moment(&person.created);
        }
        Page::render(&self, Forms::Here)
    }
}
