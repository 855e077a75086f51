//! `/admin/apps`.

use super::{Desk, PageResult, counted, in_url, said};
use crate::admin::failure::Failure;
use crate::operator_api::{
    GrantPage, GrantView, GrantedTools, GrantsQuery, GrantsToRevoke, ListGrants, RevokeGrants,
};
use gateway_core::reason::Reason;
use gateway_oauth::owner::OwnerPress;
use gateway_oauth::pages::admin::{AppsPage, GrantRow, Notice, PressForm};

impl Desk<'_> {
    pub(super) async fn apps(&self, notice: Option<Notice>) -> PageResult {
        let (user, client) = (self.parameter("user"), self.parameter("client"));
        let query = GrantsQuery {
            user: said(user),
            client: said(client),
            page: self.part(),
        };
        let page = match self.operator().read::<ListGrants>(&query).await {
            // A name that nobody has is no fault of the page.
            Err(failure) if failure.reason == Reason::NotFound => GrantPage {
                grants: Vec::new(),
                next: None,
            },
            page => page?,
        };
        let grants = page.grants.iter().map(|grant| self.grant(grant));
        Ok(AppsPage {
            frame: self.visit.frame(),
            admin: self.frame(notice),
            user,
            client,
            grants: grants.collect(),
            revoke_all: if page.grants.is_empty() {
                Vec::new()
            } else {
                self.revoke_all(user, client)
            },
            next: self.next(page.next, &[("user", user), ("client", client)]),
        }
        .page())
    }

    fn grant(&self, grant: &GrantView) -> GrantRow {
        let name = grant.token_name.as_ref().or(grant.client_name.as_ref());
        let app = name.unwrap_or(&grant.client);
        let about = format!("{app} for {}", grant.user_name);
        GrantRow {
            id_in_url: in_url(&grant.id),
            app: app.clone(),
            client_in_url: in_url(&grant.client),
            user_name: grant.user_name.clone(),
            resource: grant.resource.clone(),
            scope: grant.scope.clone(),
            tools: match &grant.tools {
                GrantedTools::All => None,
                GrantedTools::Named(tools) => Some(tools.clone()),
            },
            created: grant.created.clone(),
            last_used: grant.last_used.clone(),
            expires: grant.expires.clone(),
            allowed_by: grant.allowed_by.clone(),
            revoke: self.button("revoke", &grant.id, "Revoke", &about, true),
        }
    }

    /// All of one person, or of one app; not where both are said, as there is no operation for that.
    fn revoke_all(&self, user: &str, client: &str) -> Vec<PressForm> {
        let button = match (user, client) {
            ("", "") => None,
            (user, "") => {
                Some(self.button("revoke-user", user, "Revoke all of this person", user, true))
            }
            ("", client) => Some(self.button(
                "revoke-client",
                client,
                "Revoke all of this app",
                client,
                true,
            )),
            _ => None,
        };
        button.into_iter().collect()
    }

    pub(super) async fn press_grants(&self, press: &OwnerPress) -> Result<String, Failure> {
        let subject = press.subject.clone();
        let what = match press.action.as_str() {
            "revoke" => GrantsToRevoke::Grants(vec![subject]),
            "revoke-user" => GrantsToRevoke::User(subject),
            "revoke-client" => GrantsToRevoke::Client(subject),
            _ => return Err(self.no_button()),
        };
        let done = self.operator().change::<RevokeGrants>(&what).await?;
        Ok(format!(
            "Revoked {}. It ends at once.",
            counted(done.revoked, "grant")
        ))
    }
}
