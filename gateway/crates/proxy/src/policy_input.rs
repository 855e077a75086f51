//! What the operator's policy is told about a request, gathered where it is known.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::context::RequestContext;
use super::mounted_backend::MountedBackend;
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::policy::rules::{RequestedAction, Rules, Surroundings};
use gateway_core::policy::{
    self, AccessToken, DecisionInput, Permit, PolicyHandle, Question, Refused,
};
use gateway_upstream::{Backend, Caller, Catalogue, ToolListing};
use mcp_protocol::calls::Call;
use mcp_protocol::tool_definition::Labels;

/// Who asks, where and when, held for as long as a policy is asked.
pub(super) struct DecisionContext<'a> {
    token: &'a AccessToken,
    backend: &'a str,
    address: Option<IpAddr>,
    protocol_version: Option<&'a str>,
    scopes: Vec<&'a str>,
    calls_today: Option<u64>,
    now: Timestamp,
}

impl<'a> DecisionContext<'a> {
    pub(super) fn new(
        token: &'a AccessToken,
        mounted: &'a MountedBackend,
        context: &'a RequestContext,
        now: Timestamp,
        rules: Option<&Rules>,
    ) -> Self {
        Self {
            scopes: scopes(token, rules),
            token,
            backend: &mounted.backend.mount.name,
            address: context.peer,
            protocol_version: context.protocol_version.as_deref(),
            calls_today: context.calls_today,
            now,
        }
    }

    /// As the policy wants it.
    pub(super) fn facts(&self) -> Surroundings<'_> {
        let claims = self.token.claims();
        Surroundings {
            user: &claims.user_name,
            is_service: claims.user.is_service(),
            groups: &claims.groups,
            client: claims.client.as_str(),
            grant: claims.grant.as_str(),
            scopes: &self.scopes,
            backend: self.backend,
            resource: claims.resource.as_str(),
            approvals: self.token.approvals(),
            address: self.address,
            protocol_version: self.protocol_version,
            calls_today: self.calls_today,
            now: self.now,
        }
    }
}

/// The scopes of a token, where a policy asks for them.
fn scopes<'a>(token: &'a AccessToken, rules: Option<&Rules>) -> Vec<&'a str> {
    if rules.is_some_and(Rules::asks_for_scopes) {
        token.scopes()
    } else {
        Vec::new()
    }
}

/// Who asks, for as long as what they began goes on: whoever says a part of it again, in another
/// message, asks the policy of that moment.
pub(super) struct StandingContext {
    token: AccessToken,
    backend: Arc<Backend>,
    address: Option<IpAddr>,
    protocol_version: Option<String>,
    calls_today: Option<u64>,
    policy: PolicyHandle,
    clock: Clock,
}

impl StandingContext {
    pub(super) fn new(
        policy: &PolicyHandle,
        clock: Clock,
        token: AccessToken,
        mounted: &MountedBackend,
        context: &RequestContext,
    ) -> Self {
        Self {
            token,
            backend: Arc::clone(&mounted.backend),
            address: context.peer,
            protocol_version: context.protocol_version.clone(),
            calls_today: context.calls_today,
            policy: policy.clone(),
            clock,
        }
    }

    /// Whether something that runs no tool is allowed now.
    pub(super) fn decide(&self, call: Call) -> Result<Permit, Refused> {
        if self.backend.aggregate.is_some() {
            return Ok(policy::let_members_decide(self.token.clone(), vec![call]));
        }
        let (rules, nothing) = (self.policy.current(), BTreeSet::new());
        let now = self.clock.now();
        let around = DecisionContext {
            scopes: scopes(&self.token, rules.as_deref()),
            token: &self.token,
            backend: &self.backend.mount.name,
            address: self.address,
            protocol_version: self.protocol_version.as_deref(),
            calls_today: self.calls_today,
            now,
        };
        let input = DecisionInput {
            now,
            approval_required: &self.backend.approval_required,
            read_only_tools: Some(&nothing),
            tool_states: &[],
            doubled: None,
            policy: rules.as_deref().map(|rules| Question {
                rules,
                around: around.facts(),
                labels: Some(&[]),
                without_message: RequestedAction::stream(),
            }),
        };
        policy::decide(self.token.clone(), vec![call], input)
    }
}

/// Whether lists of tools on their way to this token may have to be cut.
pub(super) fn cuts_lists(
    policy: &PolicyHandle,
    catalogue: &Arc<Catalogue>,
    token: &AccessToken,
    mounted: &MountedBackend,
) -> bool {
    // Each member's was cut already.
    if mounted.backend.aggregate.is_some() {
        return false;
    }
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
    catalogue.doubled(&mounted.backend.mount.name, caller(token))
}

/// Who asks a backend by this token, and with which account there.
pub(super) fn caller(token: &AccessToken) -> Caller<'_> {
    Caller {
        user: &token.claims().user_name,
        account: token.account(),
    }
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
    let name = &mounted.backend.mount.name;
    // Boxed: only what asks for labels needs room for it.
    match Box::pin(catalogue.cached(name, caller(token))).await {
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
