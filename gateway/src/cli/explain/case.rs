//! Everything that a decision needs, gathered from configuration, token, arguments and, if it may be
//! asked, the backend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use biscuit_auth::KeyPair;
use serde_json::value::RawValue;

use super::member::{Place, at_member, backend_named};
use super::{Explain, Explained, RejectionCause, message};
use crate::cli::configuration::{Configuration, policy_of};
use crate::cli::{runtime, token};
use crate::config::{self, Config};
use crate::keys;
use gateway_core::access_token::{self, Claims, Keys, Tools, VerifiedToken};
use gateway_core::client::ClientId;
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::grants::{GrantId, PinKey, ToolState, UserId};
use gateway_core::policy::rules::{RequestedAction, Rules, Statement, Surroundings};
use gateway_core::policy::{
    self, AccessToken, Audience, DecisionInput, Question, Refusal, RevocationStatus, TokenRejection,
};
use gateway_core::protocol::bearer::BearerToken;
use gateway_core::protocol::scope::Scope;
use gateway_core::reason::Reason;
use gateway_core::secret::TagKey;
use gateway_upstream::{Backend, Catalogue, ToolListing};
use mcp_protocol::calls::Call;
use mcp_protocol::members::Members;
use mcp_protocol::tool_definition::Labels;

/// What is assumed where nobody says what a tool does.
const NOTHING_SAID: &str = "the tool says nothing of its effects";

/// How long a token lives that is made up for the question.
const HYPOTHETICAL: Duration = Duration::from_secs(3600);

/// One question with all that is known.
pub(super) struct Case<'a> {
    explain: &'a Explain,
    config: Config,
    token: Result<Arc<VerifiedToken>, TokenRejection>,
    backend: Arc<Backend>,
    /// All together that it is asked at, and which of them that backend is, where it is one of several.
    aggregate: Option<(Arc<Backend>, usize)>,
    call: Call,
    labels: Labels,
    /// Whether the backend was to be asked for them, and could not be.
    labels_unknown: bool,
    /// How the called tool stands at the backend.
    current: ToolState,
    /// What is supposed of a token that names its tools by their digest.
    kept: Option<Tools>,
    now: Timestamp,
    assumed: Vec<String>,
}

impl<'a> Case<'a> {
    pub(super) fn from_arguments(explain: &'a Explain) -> Result<Self, Vec<String>> {
        let configuration = Configuration::of_file(explain.config.clone());
        let layers = policy_of(&configuration, explain.policy.as_deref());
        let config = config::resolve(&layers)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        Self::within(explain, config).map_err(|sentence| vec![sentence])
    }

    pub(super) fn within(explain: &'a Explain, config: Config) -> Result<Self, String> {
        let now = explain.at.unwrap_or_else(|| Clock.now());
        let mut assumed = Vec::new();
        let call = explain.call()?;
        let rules = config.policy.as_ref();
        if explain.calls_today.is_none() && rules.is_some_and(|it| it.asks_for_calls_today()) {
            assumed.push("the person has made no call today".to_owned());
        }
        let own = own_keys(&config)?;
        let token = match &explain.token {
            Some(path) => {
                let bearer = token::from_file(path)?;
                let (keys, _) = own
                    .as_ref()
                    .ok_or_else(|| format!("{} holds no keys", config.keys_dir.display()))?;
                assumed.push(
                    "nothing was revoked and no changed tool approved again; only the running gateway knows"
                        .to_owned(),
                );
                access_token::verify(&bearer, keys)
                    .map(Arc::new)
                    .map_err(|error| TokenRejection::Invalid(error.reason()))
            }
            None => {
                let backend = explain.named_backend(&config)?;
                assumed.push("the person allowed every tool, also later ones".to_owned());
                explain.hypothetical(&config, &backend, now).map(Ok)?
            }
        };
        let its = token.as_ref().ok().and_then(|token| {
            let resource = &token.claims().resource;
            let mut all = config.backends.iter().map(|configured| &configured.backend);
            all.find(|backend| backend.mount.resource(&config.issuer) == *resource)
        });
        let backend = match its {
            Some(backend) if explain.backend.is_none() => Arc::new(backend.clone()),
            _ => explain.named_backend(&config)?,
        };
        let Place {
            backend,
            aggregate,
            call,
        } = at_member(&config, backend, call)?;
        let mut case = Self {
            explain,
            token,
            backend,
            aggregate,
            call,
            labels: Labels::default(),
            labels_unknown: false,
            current: ToolState::Unknown,
            kept: None,
            now,
            assumed,
            config,
        };
        case.assume_kept_tools();
        let tags = own.map_or_else(|| TagKey::new([0; 32]), |(_, tags)| tags);
        case.look_at_tool(&tags);
        Ok(case)
    }

    /// The same, where what the called tool says of its effects is known without asking.
    pub(super) fn with_labels(mut self, labels: Labels) -> Self {
        self.labels = labels;
        self.assumed.retain(|it| it != NOTHING_SAID);
        self
    }

    /// What a token stands for that says the digest of its tools alone: nothing but the called tool
    /// matters, and whether it is among them only the running gateway can tell.
    fn assume_kept_tools(&mut self) {
        let Ok(token) = &self.token else { return };
        let claims = token.claims();
        let Tools::Kept { count, .. } = &claims.tools else {
            return;
        };
        let called = self.call.tool().map(str::to_owned);
        if let Some(tool) = &called {
            self.assumed.push(format!(
                "{tool} is one of the {count} tools that the gateway keeps with grant {}, as it \
                 is now; `gateway grants show` names them",
                claims.grant
            ));
        }
        self.kept = Some(Tools::Only(called.into_iter().collect()));
    }

    /// What the called tool is and says, as far as it is to be known.
    fn look_at_tool(&mut self, tags: &TagKey) {
        let Some(tool) = self.call.tool().map(str::to_owned) else {
            return;
        };
        let claims = self.token.as_ref().ok().map(|token| token.claims());
        let as_granted = claims.and_then(|claims| {
            let granted = match self.members() {
                Some((members, member)) => members.shown(member, &tool),
                None => tool.clone(),
            };
            claims.tools.pin(&granted).map(ToolState::Defined)
        });
        let may_ask = !self.explain.offline && self.explain.label.is_none();
        let user = claims.map(|claims| claims.user_name.as_str());
        let asked = may_ask.then(|| ask(&self.config, &self.backend, tags, user));
        let name = &self.backend.mount.name;
        match asked {
            Some(Ok(listing)) => {
                self.labels = listing.labels(&tool).unwrap_or_default();
                self.current = listing.current(&tool);
                if listing.tool(&tool).is_none() {
                    self.assumed.push(format!(
                        "{name} has no tool {tool} now, so it says nothing of its effects"
                    ));
                }
            }
            Some(Err(error)) => {
                self.labels_unknown = true;
                self.assumed.push(format!(
                    "{name} can't be asked ({error}), so what the tool says of its effects is unknown; \
                     --label says it"
                ));
            }
            None => {
                if as_granted.is_some() {
                    self.assumed
                        .push("the tool is as it was when it was allowed".to_owned());
                }
                self.current = as_granted.unwrap_or(ToolState::Unknown);
                match self.explain.label {
                    Some(label) => self.labels = label.labels(),
                    None => self.assumed.push(NOTHING_SAID.to_owned()),
                }
            }
        }
    }

    /// Asks the code that decides in a running gateway.
    pub(super) fn decide(self) -> Result<Explained, Vec<String>> {
        let token = match self.confirmed() {
            Ok(token) => token.supposing_tools(self.kept.clone()),
            Err(TokenRejection::Invalid(reason)) => {
                return Ok(self.explained(Some(RejectionCause {
                    check: "the token itself".to_owned(),
                    needs: None,
                    failed: Vec::new(),
                    reason,
                })));
            }
            Err(TokenRejection::Unknown(_)) => {
                return Err(vec!["whether it counts is unknown".to_owned()]);
            }
        };
        let tool = self.call.tool().map(str::to_owned);
        let labels = Vec::from_iter(tool.clone().map(|tool| (tool, self.labels)));
        let tool_states = Vec::from_iter(tool.clone().map(|tool| (tool, self.current)));
        let read_only = tool.filter(|_| self.labels.reads_only());
        let read_only = BTreeSet::from_iter(read_only);
        let held = token.scopes();
        let around = self.surroundings(&token, &held);
        let rules = self.config.policy.as_deref();
        let input = DecisionInput {
            now: self.now,
            approval_required: &self.backend.approval_required,
            read_only_tools: (!self.labels_unknown).then_some(&read_only),
            tool_states: &tool_states,
            // What is asked about is one tool.
            doubled: None,
            policy: rules.map(|rules| Question {
                rules,
                around,
                labels: (!self.labels_unknown).then_some(&labels),
                without_message: RequestedAction::stream(),
            }),
        };
        let decided = policy::decide(token.clone(), vec![self.call.clone()], input);
        let is_known = |rules: &&Rules| !(self.labels_unknown && rules.asks_for_labels());
        let action = RequestedAction::from_call(&self.call, self.labels);
        let stated = rules.filter(is_known);
        let stated = stated.map(|rules| rules.stated(&around, &action));
        let (refused, rule) = match decided {
            Ok(permit) => (None, permit.rule(0).cloned()),
            Err(refused) => {
                let (why, rule) = why(&refused.refusal);
                (Some(why), rule)
            }
        };
        let mut explained = self.explained(refused);
        explained.rule = rule;
        explained.facts.extend(stated.into_iter().flatten());
        Ok(explained)
    }

    /// The token, where nothing was revoked.
    fn confirmed(&self) -> Result<AccessToken, TokenRejection> {
        let asked = self.aggregate.as_ref();
        let asked = asked.map_or(&self.backend, |(aggregate, _)| aggregate);
        let scopes = &self.config.scopes;
        let audience = Audience {
            resource: &asked.mount.resource(&self.config.issuer),
            backend: &asked.mount.name,
            members: asked.members(),
            scopes: scopes.at(&asked.mount.name),
        };
        let status = RevocationStatus {
            revoked: false,
            remembers_since: Some(Timestamp::from_secs(0)),
            age: Duration::ZERO,
            fault: None,
        };
        let token = AccessToken::confirm(self.token.clone()?, audience, status, self.now)?;
        let Some((members, member)) = self.members() else {
            return Ok(token);
        };
        let (all, name) = (&asked.mount.name, &self.backend.mount.name);
        if !token.leaves_member(all, name) {
            return Err(TokenRejection::Invalid(Reason::TokenWrongAudience));
        }
        Ok(token.at_member(members, member, scopes.at_member(all, name)))
    }

    /// Those that it is one of, and which, where several backends are asked together.
    fn members(&self) -> Option<(&Members, usize)> {
        let (all, member) = self.aggregate.as_ref()?;
        Some((&all.aggregate.as_ref()?.members, *member))
    }

    /// Who asks, where and when, for the operator's policy.
    fn surroundings<'s>(
        &'s self,
        token: &'s AccessToken,
        scopes: &'s [&'s str],
    ) -> Surroundings<'s> {
        let claims = token.claims();
        Surroundings {
            user: &claims.user_name,
            is_service: claims.user.is_service(),
            groups: &claims.groups,
            client: claims.client.as_str(),
            grant: claims.grant.as_str(),
            scopes,
            backend: &self.backend.mount.name,
            resource: claims.resource.as_str(),
            approvals: token.approvals(),
            address: self.explain.address,
            protocol_version: Some(&self.explain.protocol_version),
            calls_today: Some(self.explain.calls_today.unwrap_or_default()),
            now: self.now,
        }
    }

    /// The decision with what is known of the token.
    fn explained(&self, refused: Option<RejectionCause>) -> Explained {
        let mut facts = Vec::new();
        if let Ok(token) = &self.token {
            let claims = token.claims();
            facts.push(format!(
                "token: user {} ({}), client {}, scope {}, for {}, until {}",
                claims.user_name,
                claims.user,
                claims.client,
                claims.scope,
                claims.resource.as_str(),
                token.ends()
            ));
            facts.push(format!("tools granted: {}", claims.tools.in_words()));
            for check in token.attenuation().checks() {
                facts.push(format!("narrowed: {check}"));
            }
            for approval in token.approvals() {
                let (tool, until, by) = (&approval.tool, approval.until, &approval.approver);
                facts.push(format!("approved: {tool} until {until} by {by}"));
            }
        }
        if let Some(tool) = self.call.tool() {
            let words = match (self.labels.read_only, self.labels.destructive) {
                _ if self.labels_unknown => "what it says of its effects is unknown",
                (Some(true), _) => "read-only",
                (_, Some(true)) => "destructive",
                (Some(false), _) | (None, Some(false)) => "changes things",
                (None, None) => "not labelled",
            };
            facts.push(format!("tool {tool}: {words}"));
            if policy::needs_approval(&self.backend.approval_required, tool) {
                facts.push(format!("tool {tool}: needs an approval"));
            }
        }
        facts.push(format!("at {}", self.now));
        Explained {
            refused,
            rule: None,
            facts,
            assumed: self.assumed.clone(),
        }
    }
}

/// What a refusal says, and the statement of the operator's policy that it rests on.
fn why(refusal: &Refusal) -> (RejectionCause, Option<Statement>) {
    let (rule, failed, needs) = match refusal {
        Refusal::Policy(_, decision) => (decision.by.clone(), decision.failed.clone(), None),
        Refusal::Scope(scope) => (None, Vec::new(), Some(scope.clone())),
        _ => (None, Vec::new(), None),
    };
    let why = RejectionCause {
        reason: refusal.reason(),
        check: refusal.to_string(),
        needs,
        failed,
    };
    (why, rule)
}

impl Explain {
    fn call(&self) -> Result<Call, String> {
        let arguments = match &self.arguments {
            Some(text) => Some(
                RawValue::from_string(text.clone())
                    .map_err(|error| format!("--arguments is no JSON: {error}"))?,
            ),
            None if self.argument.is_empty() && self.tool.is_none() => None,
            None => Some(message::arguments(&self.argument)?),
        };
        match &self.method {
            None => message::call("tools/call", self.tool.as_deref(), arguments.as_deref()),
            Some(method) => message::call(method, self.name.as_deref(), arguments.as_deref()),
        }
    }

    fn named_backend(&self, config: &Config) -> Result<Arc<Backend>, String> {
        match (&self.backend, config.backends.first()) {
            (None, Some(first)) => Ok(Arc::new(first.backend.clone())),
            (name, _) => backend_named(config, name.as_deref().unwrap_or_default()),
        }
    }

    /// A token as the gateway would mint it, signed with a key that is thrown away.
    fn hypothetical(
        &self,
        config: &Config,
        backend: &Backend,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken>, String> {
        let scope = if self.scope.is_empty() {
            config.scopes.at(&backend.mount.name).defaults()
        } else {
            Scope::parse(&self.scope.join(" "))
        };
        let client = self.client.as_deref().unwrap_or("c_of-this-question");
        let claims = Claims {
            user: UserId::new("u_of-this-question"),
            user_name: self.user.clone().unwrap_or_default(),
            groups: Vec::new(),
            client: ClientId::new(client),
            grant: GrantId::new("g_of-this-question"),
            resource: backend.mount.resource(&config.issuer),
            scope,
            tools: Tools::All,
            issued: now,
            expires: now + HYPOTHETICAL,
        };
        let keys = Keys::new(BTreeMap::from([(1, KeyPair::new())])).ok_or("no key")?;
        let minted = access_token::mint(&claims, &keys).map_err(|error| error.to_string())?;
        let bearer = BearerToken::parse_token(&minted.token).ok_or("no token comes of this")?;
        let verified = access_token::verify(&bearer, &keys);
        verified.map(Arc::new).map_err(|error| error.to_string())
    }
}

/// The keys of the configuration. Nothing is made here.
fn own_keys(config: &Config) -> Result<Option<(Keys, TagKey)>, String> {
    let keys = keys::existing(&config.keys_dir).map_err(|error| error.to_string())?;
    Ok(keys.map(|keys| {
        let signing = keys.signing.with_approvers(config.approvers.clone());
        (signing, keys.tags)
    }))
}

/// What the backend offers, asked as a running gateway asks.
fn ask(
    config: &Config,
    backend: &Arc<Backend>,
    tags: &TagKey,
    user: Option<&str>,
) -> Result<Arc<ToolListing>, String> {
    let runtime = runtime().map_err(|error| error.to_string())?;
    let catalogue = Catalogue::new(
        vec![Arc::clone(backend)],
        Arc::default(),
        config.identity.clone(),
        PinKey::new(tags),
    );
    runtime
        .block_on(catalogue.listing(&backend.mount.name, user))
        .map_err(|error| error.to_string())
}
