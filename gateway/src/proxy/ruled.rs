//! What the operator's policy is told about a request, gathered where it is known.

use http::HeaderMap;

use super::serve::Visit;
use super::{Gateway, Place};
use crate::clock::Timestamp;
use crate::policy::AccessToken;
use crate::policy::rules::{Rules, Surroundings};
use crate::protocol::mcp::{Call, Version};
use crate::protocol::tool_definition::Labels;

/// Who asks, where and when, held for as long as a policy is asked.
pub(super) struct Around<'a> {
    token: &'a AccessToken,
    place: &'a Place,
    visit: &'a Visit,
    scopes: Vec<&'a str>,
    now: Timestamp,
}

impl<'a> Around<'a> {
    pub(super) fn of(
        token: &'a AccessToken,
        place: &'a Place,
        visit: &'a Visit,
        now: Timestamp,
    ) -> Self {
        Self {
            scopes: token.scopes(),
            token,
            place,
            visit,
            now,
        }
    }

    /// As the policy wants it.
    pub(super) fn facts(&self) -> Surroundings<'_> {
        let claims = self.token.claims();
        Surroundings {
            user: &claims.user_name,
            client: claims.client.as_str(),
            grant: claims.grant.as_str(),
            scopes: &self.scopes,
            backend: &self.place.backend.mount.name,
            resource: claims.resource.as_str(),
            approvals: self.token.verified().approvals(),
            address: self.visit.peer,
            protocol_version: self.visit.protocol_version.as_deref(),
            now: self.now,
        }
    }
}

impl Gateway {
    /// Whether lists of tools on their way to this token may have to be cut.
    pub(super) fn cuts_lists(&self, token: &AccessToken) -> bool {
        token.is_restricted() || self.policy.current().is_some()
    }

    /// What a called tool says about its effects, for the audit log: as far as it is known.
    pub(super) fn known_labels(&self, backend: &str, visit: &Visit, tool: &str) -> Option<Labels> {
        let catalogue = &self.server.catalogue;
        catalogue.known_labels(backend, &visit.user_name, tool)
    }

    /// What the called tools say about their effects, where the policy asks.
    pub(super) async fn labels(
        &self,
        rules: &Rules,
        place: &Place,
        token: &AccessToken,
        calls: &[Call],
    ) -> Vec<(String, Labels)> {
        let mut labels = Vec::new();
        if !rules.asks_for_labels() {
            return labels;
        }
        let (name, user) = (&place.backend.mount.name, &token.claims().user_name);
        for tool in calls.iter().filter_map(Call::tool) {
            // Boxed: only policies that ask for labels need room for it.
            let said = Box::pin(self.server.catalogue.labels(name, user, tool)).await;
            labels.push((tool.to_owned(), said));
        }
        labels
    }
}

/// The revision of MCP that a request names in its header.
pub(super) fn protocol_version(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("mcp-protocol-version")?;
    Version::parse(text.as_bytes())?;
    text.to_str().ok().map(str::to_owned)
}
