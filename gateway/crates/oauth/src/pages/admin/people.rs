//! `/admin/people`: who may log in, and with what.

use askama::Template;

use super::super::page::{Forms, Frame, Page};
use super::frame::{AdminFrame, NextPage, PressForm, moment, shown};

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
#[derive(Clone, Debug)]
pub struct PeoplePage<'a> {
    /// Around it.
    pub admin: AdminFrame<'a>,
    /// In the order of their names.
    pub people: Vec<PersonRow>,
    /// Where the list goes on.
    pub next: Option<NextPage>,
}

impl PeoplePage<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let people = self.people.iter().map(|person| PersonRow {
            name: shown(&person.name),
            id: shown(&person.id),
            created: moment(&person.created),
            ways: person
                .ways
                .iter()
                .map(|way| LoginWay {
                    words: shown(&way.words),
                    form: way.form.clone(),
                })
                .collect(),
            ..person.clone()
        });
        let template = PeopleTemplate {
            frame: self.admin.frame,
            admin: &self.admin,
            people: people.collect(),
            next: self.next.as_ref(),
        };
        Page::render(&template, Forms::Here)
    }
}

#[derive(Template)]
#[template(path = "admin_people.html")]
struct PeopleTemplate<'a> {
    frame: Frame<'a>,
    admin: &'a AdminFrame<'a>,
    people: Vec<PersonRow>,
    next: Option<&'a NextPage>,
}
