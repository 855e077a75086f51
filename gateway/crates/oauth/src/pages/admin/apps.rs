//! `/admin/apps`: what people allowed apps, and the buttons that take it back.

use askama::Template;

use super::super::page::{Forms, Frame, Page};
use super::frame::{AdminFrame, NextPage, PressForm, moment, shown};

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
#[derive(Clone, Debug)]
pub struct AppsPage<'a> {
    /// Around it.
    pub admin: AdminFrame<'a>,
    /// Of whom, as it was typed.
    pub user: &'a str,
    /// Of which app, as it was typed.
    pub client: &'a str,
    /// What was found.
    pub grants: Vec<GrantRow>,
    /// What takes all of them back, where it is clear what that is.
    pub revoke_all: Vec<PressForm>,
    /// Where the list goes on.
    pub next: Option<NextPage>,
}

impl AppsPage<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let grants = self.grants.iter().map(|grant| GrantRow {
            app: shown(&grant.app),
            user_name: shown(&grant.user_name),
            resource: shown(&grant.resource),
            scope: shown(&grant.scope),
            tools: grant
                .tools
                .as_ref()
                .map(|tools| tools.iter().map(|tool| shown(tool)).collect()),
            created: moment(&grant.created),
            last_used: grant.last_used.as_deref().map(moment),
            expires: moment(&grant.expires),
            ..grant.clone()
        });
        let template = AppsTemplate {
            frame: self.admin.frame,
            admin: &self.admin,
            user: self.user,
            client: self.client,
            grants: grants.collect(),
            revoke_all: &self.revoke_all,
            next: self.next.as_ref(),
        };
        Page::render(&template, Forms::Here)
    }
}

#[derive(Template)]
#[template(path = "admin_apps.html")]
struct AppsTemplate<'a> {
    frame: Frame<'a>,
    admin: &'a AdminFrame<'a>,
    user: &'a str,
    client: &'a str,
    grants: Vec<GrantRow>,
    revoke_all: &'a [PressForm],
    next: Option<&'a NextPage>,
}
