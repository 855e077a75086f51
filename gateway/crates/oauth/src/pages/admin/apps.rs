//! `/admin/apps`: what people allowed apps, and the buttons that take it back.

use askama::Template;

use super::super::page::{Forms, Frame, Page};
use super::frame::{AdminFrame, PressForm, moment, shown};

/// A grant, as the operator sees it.
#[derive(Clone, Debug)]
pub struct GrantRow {
    /// Its id as it stands in a query.
    pub id_in_url: String,
    /// The app's name, or its id.
    pub app: String,
    /// The app's `client_id` as it stands in a query.
    pub client_in_url: String,
    /// The person's login name.
    pub user_name: String,
    /// Where it counts.
    pub resource: String,
    /// Its scopes.
    pub scope: String,
    /// Which tools; `None`: all, also later ones.
    pub tools: Option<Vec<String>>,
    /// When, in RFC 3339.
    pub created: String,
    /// When it was used last.
    pub last_used: Option<String>,
    /// When it ends.
    pub expires: String,
    /// Who allowed it, where it was not the person.
    pub allowed_by: Option<String>,
    /// Takes it back.
    pub revoke: PressForm,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "admin_apps.html")]
pub struct AppsPage<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// Around it, as one of the owner's.
    pub admin: AdminFrame<'a>,
    /// Of whom, as it was typed.
    pub user: &'a str,
    /// Of which app, as it was typed.
    pub client: &'a str,
    /// What was found.
    pub grants: Vec<GrantRow>,
    /// What takes all of them back, where it is clear what that is.
    pub revoke_all: Vec<PressForm>,
    /// Path and query of where the list goes on.
    pub next: Option<String>,
}

impl AppsPage<'_> {
    /// Renders it.
    pub fn page(mut self) -> Page {
        for grant in &mut self.grants {
            let texts = [
                &mut grant.app,
                &mut grant.user_name,
                &mut grant.resource,
                &mut grant.scope,
            ];
            let tools = grant.tools.iter_mut().flatten();
            for text in texts.into_iter().chain(tools) {
                *text = shown(text);
            }
            let moments = [&mut grant.created, &mut grant.expires];
            for at in moments.into_iter().chain(&mut grant.last_used) {
                *at = moment(at);
            }
        }
        Page::render(&self, Forms::Here)
    }
}
