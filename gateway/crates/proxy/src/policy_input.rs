//! What the operator's policy is told about a request, gathered where it is known.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::HeaderMap;

use super::context::RequestContext;
use super::mounted_backend::MountedBackend;
use gateway_core::clock::Timestamp;
use gateway_core::policy::rules::{Rules, Surroundings};
use gateway_core::policy::{AccessToken, PolicyHandle};
use gateway_upstream::{Catalogue, ToolListing};
use mcp_protocol::calls::{Call, Version};
use mcp_protocol::tool_definition::Labels;

/// Who asks, where and when, held for as long as a policy is asked.
pub(super) struct DecisionContext<'a> {
    token: &'a AccessToken,
    mounted: &'a MountedBackend,
    context: &'a RequestContext,
    scopes: Vec<&'a str>,
    now: Timestamp,
}

impl<'a> DecisionContext<'a> {
    pub(super) fn new(
        token: &'a AccessToken,
        mounted: &'a MountedBackend,
        context: &'a RequestContext,
        now: Timestamp,
    ) -> Self {
        Self {
            scopes: token.scopes(),
            token,
            mounted,
            context,
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
            backend: &self.mounted.backend.mount.name,
            resource: claims.resource.as_str(),
            approvals: self.token.verified().approvals(),
            address: self.context.peer,
            protocol_version: self.context.protocol_version.as_deref(),
            now: self.now,
        }
    }
}

/// Whether lists of tools on their way to this token may have to be cut.
pub(super) fn cuts_lists(
    policy: &PolicyHandle,
    catalogue: &Arc<Catalogue>,
    token: &AccessToken,
    mounted: &MountedBackend,
) -> bool {
    token.is_restricted()
        || policy.current().is_some()
        || doubled(catalogue, token, mounted).is_some()
}

/// What the backend lists for the person, if two tools in it have one name.
pub(super) fn doubled(
    catalogue: &Arc<Catalogue>,
    token: &AccessToken,
    mounted: &MountedBackend,
) -> Option<Arc<ToolListing>> {
    let (name, user) = (&mounted.backend.mount.name, &token.claims().user_name);
    catalogue.doubled(name, user)
}

/// What the called tools say about their effects, where token or policy ask for it. The backend is
/// asked once for all of them.
pub(super) async fn said(
    catalogue: &Arc<Catalogue>,
    rules: Option<&Rules>,
    mounted: &MountedBackend,
    token: &AccessToken,
    calls: &[Call],
) -> CalledTools {
    let matters = token.asks_for_effects() || rules.is_some_and(Rules::asks_for_labels);
    let mut tools = calls.iter().filter_map(Call::concerns).peekable();
    if !matters || tools.peek().is_none() {
        return CalledTools::Labels(Vec::new());
    }
    let (name, user) = (&mounted.backend.mount.name, &token.claims().user_name);
    // Boxed: only what asks for labels needs room for it.
    match Box::pin(catalogue.cached(name, user)).await {
        // A tool that is not there says nothing.
        Ok(listing) => CalledTools::Labels(
            tools
                .map(|tool| (tool.to_owned(), listing.labels(tool).unwrap_or_default()))
                .collect(),
        ),
        Err(_) => CalledTools::Unknown,
    }
}

/// What the called tools say about their effects.
pub(super) enum CalledTools {
    /// This, or nobody asks.
    Labels(Vec<(String, Labels)>),
    /// The backend could not be asked.
    Unknown,
}

impl CalledTools {
    pub(super) fn labels(&self) -> Option<&[(String, Labels)]> {
        match self {
            Self::Labels(labels) => Some(labels),
            Self::Unknown => None,
        }
    }

    /// The tools that say that they change nothing.
    pub(super) fn read_only(&self) -> Option<BTreeSet<String>> {
        let reading = self.labels()?.iter().filter(|(_, said)| said.reads_only());
        Some(reading.map(|(tool, _)| tool.clone()).collect())
    }
}

/// The revision of MCP that a request names in its header.
pub(super) fn protocol_version(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("mcp-protocol-version")?;
    Version::parse(text.as_bytes())?;
    text.to_str().ok().map(str::to_owned)
}
