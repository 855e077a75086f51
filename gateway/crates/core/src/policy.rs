//! Whether a call may reach a backend. Pure: what is known about token, grant and message goes in,
//! a [`Permit`] or the reason against it comes out. Without a permit there is no exchange with a
//! backend: it takes one by value.
//!
//! Owns: the order of the questions and their answers. Not: reading the request (`proxy`),
//! signatures (`access_token`), what was revoked (the store's view), what the operator's policy says
//! ([`rules`]).

mod handle;
pub mod rules;
mod scopes;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::access_token::{Attenuation, Claims, FailedCheck, ToolCall, Tools, VerifiedToken};
use crate::clock::Timestamp;
use crate::grants::amendment::Amended;
use crate::grants::{NotAllowed, Pin, ToolState};
use crate::protocol::resource::Resource;
use crate::protocol::scope::Scope;
use crate::reason::Reason;
use mcp_protocol::calls::{Belonging, Call};
use mcp_protocol::lenient;
use mcp_protocol::tool_definition::Labels;

pub use self::handle::PolicyHandle;
pub use self::scopes::{
    Coverage, Operation, Pattern, ScopeFault, ScopeRule, ScopeTable, ScopedTools, Scopes,
};

use self::rules::{Asked, Decision, Effect, Failure, Rules, Statement, Surroundings};

/// A view of the revocations that is older than this decides nothing any more.
pub const VIEW_LIFETIME: Duration = Duration::from_secs(60);

/// What the revocation view says about a token at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationStatus {
    /// Whether the grant, or one of the token's blocks, was revoked.
    pub revoked: bool,
    /// The earliest moment that a token was given at whose revocation the store would remember;
    /// `None` while it was never reached.
    pub remembers_since: Option<Timestamp>,
    /// How long ago the view was last brought up to date.
    pub age: Duration,
}

/// Why a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRejection {
    /// 401: the client needs another token.
    #[error("{0}")]
    Invalid(Reason),
    /// 503: whether it counts can't be known, and why.
    #[error("whether the token counts can't be known: {0}")]
    Unknown(Reason),
}

/// Where a token is presented.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'a> {
    /// The resource that it must have been minted for.
    pub resource: &'a Resource,
    /// The name of the backend behind it, which a narrowed token may have excluded.
    pub backend: &'a str,
    /// The scopes of that backend.
    pub scopes: &'a Arc<Scopes>,
}

/// A token that counts here and now: signed by us, for this resource, within its lifetime, its
/// grant not revoked.
#[derive(Clone, Debug)]
pub struct AccessToken {
    token: Arc<VerifiedToken>,
    scopes: Arc<Scopes>,
    amended: Option<Arc<Amended>>,
    kept: Option<Arc<Tools>>,
}

impl AccessToken {
    /// Confirms a verified token for a resource.
    pub fn confirm(
        token: Arc<VerifiedToken>,
        audience: Audience<'_>,
        status: RevocationStatus,
        now: Timestamp,
    ) -> Result<Self, TokenRejection> {
        let claims = token.claims();
        if token.is_expired(now) {
            return Err(TokenRejection::Invalid(Reason::TokenExpired));
        }
        let attenuation = token.attenuation();
        if claims.resource != *audience.resource || !attenuation.allows_backend(audience.backend) {
            return Err(TokenRejection::Invalid(Reason::TokenWrongAudience));
        }
        if status.revoked {
            return Err(TokenRejection::Invalid(Reason::GrantRevoked));
        }
        let Some(since) = status.remembers_since else {
            return Err(TokenRejection::Unknown(Reason::StoreUnavailable));
        };
        if status.age > VIEW_LIFETIME {
            return Err(TokenRejection::Unknown(Reason::StoreUnavailable));
        }
        // A store that was emptied forgot its revocations: what is older than it may be revoked.
        // No leeway for clocks counts in favour of a token here; `since` has it within.
        if claims.issued < since {
            return Err(TokenRejection::Invalid(Reason::TokenOlderThanStore));
        }
        Ok(Self {
            token,
            scopes: Arc::clone(audience.scopes),
            amended: None,
            kept: None,
        })
    }

    /// The same token with what the person has approved under its grant since it was given.
    #[must_use]
    pub fn amended(self, amended: Option<Arc<Amended>>) -> Self {
        Self { amended, ..self }
    }

    /// The same token with the choice that is kept with its grant, where it says [`Tools::Kept`]. Any
    /// other choice than that is not taken: the token allows no tool then.
    #[must_use]
    pub fn with_tools(self, kept: Option<Arc<Tools>>) -> Self {
        let said = match &self.claims().tools {
            Tools::Kept { digest, .. } => Some(*digest),
            _ => None,
        };
        let is_it = |kept: &Arc<Tools>| said == Some(kept.digest());
        let kept = kept.filter(is_it);
        Self { kept, ..self }
    }

    /// The same, supposing a choice that can't be read: for a question about a token, never for a call.
    #[must_use]
    pub fn supposing_tools(self, kept: Option<Tools>) -> Self {
        let kept = kept.map(Arc::new);
        Self { kept, ..self }
    }

    /// The tools that are granted.
    pub fn tools(&self) -> &Tools {
        self.kept.as_deref().unwrap_or(&self.claims().tools)
    }

    /// The definition in which a tool is granted, where that matters.
    pub fn pin(&self, tool: &str) -> Option<Pin> {
        self.tools().pin_amended(tool, self.amended.as_deref())
    }

    /// Whether the person has approved a later definition of this tool.
    pub fn is_amended(&self, tool: &str) -> bool {
        let amended = self.amended.as_deref();
        amended.is_some_and(|amended| amended.pin(tool).is_some())
    }

    /// Whether a tool is granted as it stands. `current` is asked only where it matters.
    pub fn admit(&self, tool: &str, current: impl FnOnce() -> ToolState) -> Result<(), NotAllowed> {
        let amended = self.amended.as_deref();
        self.tools().admit_amended(tool, amended, current)
    }

    /// What it says.
    pub fn claims(&self) -> &Claims {
        self.token.claims()
    }

    /// Its name in the log.
    pub fn id(&self) -> &str {
        self.token.id()
    }

    /// The revocation id of its last block, which no other token has.
    pub fn last_id(&self) -> &str {
        let last = self.token.ids().last();
        last.map(String::as_str).unwrap_or_default()
    }

    /// What its holders appended.
    pub fn attenuation(&self) -> &Attenuation {
        self.token.attenuation()
    }

    /// The token itself.
    pub const fn verified(&self) -> &Arc<VerifiedToken> {
        &self.token
    }

    /// Whether an approver has approved this tool, and still does.
    pub fn is_approved(&self, tool: &str, now: Timestamp) -> bool {
        let mut approvals = self.token.approvals().iter();
        approvals.any(|approval| approval.tool == tool && now < approval.until)
    }

    /// Whether it is good for less than everything at its backend. Then lists of tools are cut, and
    /// methods are refused that are not known to be harmless.
    pub fn is_restricted(&self) -> bool {
        let claims = self.claims();
        !claims.tools.is_all()
            || !self.attenuation().is_empty()
            || !self.scopes.is_everything(&claims.scope)
    }

    /// Whether a method is left to it, or to one with more scope: what is not is not announced to
    /// its holder either.
    pub fn may_use(&self, method: &str) -> bool {
        matches!(
            decide_method(self, &Call::named(method)),
            Ok(()) | Err(Refusal::Scope(_))
        )
    }

    /// Whether what tools say of their effects decides about it.
    pub fn asks_for_effects(&self) -> bool {
        self.attenuation().asks_for_effects() || self.scopes.ask_for_effects(&self.claims().scope)
    }

    /// The scopes that it comes to: its own, and those that they include.
    pub fn scopes(&self) -> Vec<&str> {
        self.scopes.all(&self.claims().scope)
    }

    /// Whether its scope covers an operation, and if not, which would.
    pub fn coverage(&self, operation: Operation<'_>) -> Coverage {
        self.scopes.coverage(&self.claims().scope, operation)
    }

    /// Whether a list may show a tool that stands so: granted as it is, and not narrowed away. A
    /// tool that another scope covers is shown, too: no client asks for more scope unless it calls a
    /// tool that needs it, and none calls a tool that it never saw.
    pub fn shows(
        &self,
        tool: &str,
        reads_only: bool,
        current: impl FnOnce() -> ToolState,
    ) -> Result<(), NotAllowed> {
        if !self.attenuation().allows_tool(tool, reads_only) {
            return Err(NotAllowed::Never);
        }
        let operation = Operation::Tool {
            name: tool,
            reads_only,
        };
        match self.coverage(operation) {
            Coverage::Covered => self.admit(tool, current),
            Coverage::Needs(_) => Ok(()),
            Coverage::Never => Err(NotAllowed::Never),
        }
    }
}

/// What a decision needs to know besides token and calls.
#[derive(Clone, Copy, Debug)]
pub struct DecisionInput<'a> {
    /// The time.
    pub now: Timestamp,
    /// The tools that need an approval.
    pub approval_required: &'a BTreeSet<String>,
    /// The called tools that say that they change nothing; asked for only where that decides.
    /// `None`: the backend could not be asked.
    pub read_only_tools: Option<&'a BTreeSet<String>>,
    /// How the called tools stand at the backend, where the token has pins for them.
    pub tool_states: &'a [(String, ToolState)],
    /// The names that two tools of the backend have, as far as it is known.
    pub doubled: Option<&'a BTreeSet<String>>,
    /// The operator's policy, if there is one.
    pub policy: Option<Question<'a>>,
}

impl DecisionInput<'_> {
    /// Whatever the token is good for: which of two tools a call would run nobody can know.
    fn refuse_doubled(&self, tool: &str) -> Result<(), Refusal> {
        match self.doubled.is_some_and(|names| names.contains(tool)) {
            true => Err(Refusal::Tool(tool.to_owned(), NotAllowed::Doubled)),
            false => Ok(()),
        }
    }

    fn current(&self, tool: &str) -> ToolState {
        let found = self.tool_states.iter().find(|(name, _)| name == tool);
        found.map_or(ToolState::Unknown, |(_, current)| *current)
    }
}

/// What the operator's policy is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The policy.
    pub rules: &'a Rules,
    /// Who asks, where and when.
    pub around: Surroundings<'a>,
    /// What the called tools say about their effects; asked for only where the policy asks.
    /// `None`: the backend could not be asked.
    pub labels: Option<&'a [(String, Labels)]>,
    /// What a request without a message is for.
    pub without_message: Asked<'a>,
}

impl Question<'_> {
    fn judge(&self, token: &AccessToken, call: Option<&Call>) -> Result<Decision, Refusal> {
        let Some(call) = call else {
            return Ok(self.ask(token, &self.without_message));
        };
        let labels = match (call.tool(), self.labels) {
            // What the tool may say could change what the policy says.
            (Some(tool), None) if self.rules.asks_for_labels() => {
                return Err(Refusal::Tool(tool.to_owned(), NotAllowed::Unknown));
            }
            (Some(tool), Some(labels)) => labels.iter().find(|(name, _)| name == tool),
            _ => None,
        };
        let labels = labels.map_or_else(Labels::default, |(_, labels)| *labels);
        let asked = Asked::of(call, labels);
        let mut decision = None;
        // Each resource that it names for itself: what covers one covers no other.
        for uri in &call.resources {
            let name = Some(uri.as_str());
            let about = self.ask(token, &Asked { name, ..asked });
            if !about.is_allowed() {
                return Ok(about);
            }
            decision = Some(about);
        }
        Ok(decision.unwrap_or_else(|| self.ask(token, &asked)))
    }

    fn ask(&self, token: &AccessToken, asked: &Asked<'_>) -> Decision {
        self.rules.judge_for(token.last_id(), &self.around, asked)
    }
}

/// Why a call is refused although the token counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token's scope does not cover this; this one would.
    #[error("the scope does not cover this, {0} would")]
    Scope(Scope),
    /// No scope of the configuration covers this tool.
    #[error("no scope covers the tool")]
    Unscoped(String),
    /// The person did not allow this tool, or not as it is now.
    #[error("{1}")]
    Tool(String, NotAllowed),
    /// A token for chosen tools does not cover this method.
    #[error("the method is not allowed")]
    Method(String),
    /// The backend has asked nothing that this answers.
    #[error("an answer that nobody asked for")]
    Answer,
    /// Whoever narrowed the token left this out.
    #[error("the token was narrowed: {0}")]
    Narrowed(FailedCheck),
    /// The tool needs an approval.
    #[error("the tool needs an approval")]
    Approval(String),
    /// The operator's policy does not allow this method, or could not be asked.
    #[error("the policy: {}", described(.1))]
    Policy(String, Box<Decision>),
}

/// What a policy decided, for the log.
fn described(decision: &Decision) -> String {
    match (&decision.effect, decision.failed.first(), &decision.by) {
        (Effect::Failed(failure), ..) => failure.to_string(),
        (_, Some(check), _) => format!("{check} does not hold"),
        (_, None, Some(rule)) => format!("{rule} denies it"),
        (_, None, None) => "nothing allows it".to_owned(),
    }
}

impl Refusal {
    /// For the log.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Scope(_) => Reason::ScopeInsufficient,
            Self::Unscoped(_) => Reason::ToolInNoScope,
            Self::Tool(_, why) => why.reason(),
            Self::Method(_) => Reason::RpcMethodNotAllowed,
            Self::Answer => Reason::AnswerUnasked,
            Self::Narrowed(_) => Reason::TokenNarrowed,
            Self::Approval(_) => Reason::ApprovalMissing,
            Self::Policy(_, decision) => match &decision.effect {
                Effect::Failed(Failure::Arguments | Failure::Name) => {
                    Reason::PolicyArgumentsUnclear
                }
                Effect::Failed(_) => Reason::PolicyFailed,
                Effect::Allowed | Effect::Denied => Reason::PolicyDenied,
            },
        }
    }

    /// The statement of the operator's policy that it rests on.
    pub fn rule(&self) -> Option<&Statement> {
        match self {
            Self::Policy(_, decision) => decision.place(),
            _ => None,
        }
    }
}

/// A refusal, and what was asked: an answer needs the ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// The calls of the request.
    pub calls: Vec<Call>,
}

impl Refused {
    /// The right to tell the backend that what it has asked will not be answered, because the answers
    /// are in a request that is refused for good. Nothing else goes there with it, and nothing in the
    /// client's words: of its calls it has the refused answers alone.
    ///
    /// `None` where the client may come again with the same and be let through.
    pub fn decline(&self, token: AccessToken) -> Option<Permit> {
        let is_for_good = !matches!(
            self.refusal,
            Refusal::Scope(_) | Refusal::Tool(_, NotAllowed::Unknown)
        );
        let answers = self.calls.iter().filter(|call| call.is_asked_for());
        is_for_good.then(|| Permit {
            token,
            calls: answers.cloned().collect(),
            rules: Vec::new(),
        })
    }
}

/// The right to one exchange with one backend. Made by [`decide`], and for a refused answer by
/// [`Refused::decline`].
#[derive(Debug)]
pub struct Permit {
    token: AccessToken,
    calls: Vec<Call>,
    rules: Vec<Option<Statement>>,
}

impl Permit {
    /// On whose behalf.
    pub const fn token(&self) -> &AccessToken {
        &self.token
    }

    /// What for. Empty for a stream, a session's end, or a response of the client's.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The statement of the operator's policy that allowed each call, in their order; one where
    /// there is no call.
    pub fn rule(&self, call: usize) -> Option<&Statement> {
        self.rules.get(call)?.as_ref()
    }

    /// Whether the exchange may be repeated after a broken connection.
    pub fn is_read_only(&self) -> bool {
        self.calls.iter().all(Call::is_read_only)
    }
}

/// Decides about the calls of one request. A batch passes as a whole or not at all. If all that it
/// lacks is scope, the refusal names the scope that all its calls together need.
pub fn decide(
    token: AccessToken,
    calls: Vec<Call>,
    input: DecisionInput<'_>,
) -> Result<Permit, Refused> {
    let mut refusal = covered(&token, Operation::Session).err();
    for call in &calls {
        match (judge(&token, call, input), &mut refusal) {
            (Ok(()), _) => {}
            (Err(Refusal::Scope(needed)), Some(Refusal::Scope(more))) => {
                *more = more.union(&needed);
            }
            (Err(lacks @ Refusal::Scope(_)), none) => *none = Some(lacks),
            // More scope would not help.
            (Err(other), _) => {
                refusal = Some(other);
                break;
            }
        }
    }
    if let Some(refusal) = refusal {
        return Err(Refused { refusal, calls });
    }
    match ask_policy(&token, &calls, input.policy) {
        Ok(rules) => Ok(Permit {
            token,
            calls,
            rules,
        }),
        Err(refusal) => Err(Refused { refusal, calls }),
    }
}

/// What the operator's policy says about each call, or about a request without any. It is asked
/// last: it can only take away.
fn ask_policy(
    token: &AccessToken,
    calls: &[Call],
    question: Option<Question<'_>>,
) -> Result<Vec<Option<Statement>>, Refusal> {
    let Some(question) = question else {
        return Ok(Vec::new());
    };
    let judge = |call: Option<&Call>| {
        let decision = question.judge(token, call)?;
        match decision.is_allowed() {
            true => Ok(decision.by),
            false => {
                let method = call.map_or_else(String::new, |call| call.method.clone());
                Err(Refusal::Policy(method, Box::new(decision)))
            }
        }
    };
    match calls {
        [] => judge(None).map(|rule| vec![rule]),
        calls => calls.iter().map(|call| judge(Some(call))).collect(),
    }
}

fn judge(token: &AccessToken, call: &Call, input: DecisionInput<'_>) -> Result<(), Refusal> {
    match call.tool() {
        Some(tool) => {
            let decide = |reads_only| decide_tool(token, call, tool, reads_only, input);
            let decided = match input.read_only_tools {
                Some(read_only) => decide(read_only.contains(tool)),
                // What the tool says is not known: what it may say must not matter.
                None => match (decide(false), decide(true)) {
                    (one, other) if one == other => one,
                    _ => Err(Refusal::Tool(tool.to_owned(), NotAllowed::Unknown)),
                },
            };
            match decided {
                // To its pin a tool that is not offered is one that changed.
                Ok(()) | Err(Refusal::Tool(_, NotAllowed::Changed)) => {
                    input.refuse_doubled(tool)?;
                }
                Err(_) => {}
            }
            decided
        }
        None => decide_method(token, call).or_else(|refusal| match &call.belongs_to {
            Some(Belonging::Tool(tool)) if concerns_allowed(token, tool, input) => Ok(()),
            _ => Err(refusal),
        }),
    }
}

/// Whether a tool is one that the token may call, for what belongs to it: its tasks and its user
/// interface. Arguments and approvals were asked for when it was called.
fn concerns_allowed(token: &AccessToken, tool: &str, input: DecisionInput<'_>) -> bool {
    let is_allowed = |reads_only| {
        let operation = Operation::Tool {
            name: tool,
            reads_only,
        };
        covered(token, operation).is_ok()
            && token.attenuation().allows_tool(tool, reads_only)
            && token.admit(tool, || input.current(tool)).is_ok()
    };
    match input.read_only_tools {
        Some(read_only) => is_allowed(read_only.contains(tool)),
        None => is_allowed(false) && is_allowed(true),
    }
}

fn covered(token: &AccessToken, operation: Operation<'_>) -> Result<(), Refusal> {
    match (token.coverage(operation), operation) {
        (Coverage::Covered, _) => Ok(()),
        (Coverage::Needs(scope), _) => Err(Refusal::Scope(scope)),
        (Coverage::Never, Operation::Tool { name, .. }) => Err(Refusal::Unscoped(name.to_owned())),
        (Coverage::Never, Operation::Method(method)) => Err(Refusal::Method(method.to_owned())),
        (Coverage::Never, Operation::Session) => Err(Refusal::Method(String::new())),
    }
}

fn decide_tool(
    token: &AccessToken,
    call: &Call,
    tool: &str,
    reads_only: bool,
    input: DecisionInput<'_>,
) -> Result<(), Refusal> {
    let operation = Operation::Tool {
        name: tool,
        reads_only,
    };
    match covered(token, operation) {
        // Nobody narrowed a token in order that its holder asks for another.
        Err(Refusal::Scope(_)) if !token.attenuation().allows_tool(tool, reads_only) => {
            return Err(Refusal::Narrowed(FailedCheck("tool")));
        }
        covered => covered?,
    }
    token
        .admit(tool, || input.current(tool))
        .map_err(|why| Refusal::Tool(tool.to_owned(), why))?;
    let asked = ToolCall {
        tool,
        read_only: reads_only,
        arguments: call.arguments.as_ref(),
    };
    token
        .attenuation()
        .allows_call(&asked)
        .map_err(Refusal::Narrowed)?;
    let needs_approval = needs_approval(input.approval_required, tool);
    if needs_approval && !token.is_approved(tool, input.now) {
        return Err(Refusal::Approval(tool.to_owned()));
    }
    Ok(())
}

/// Whether a tool is among those that need an approval, or one that a backend may take for one of
/// them.
pub fn needs_approval(required: &BTreeSet<String>, tool: &str) -> bool {
    if required.is_empty() {
        return false;
    }
    let called = lenient::folded(tool);
    let mut required = required.iter();
    required.any(|required| required == tool || lenient::folded(required) == called)
}

fn decide_method(token: &AccessToken, call: &Call) -> Result<(), Refusal> {
    if call.is_response() && token.is_restricted() {
        return match call.is_asked_for() {
            true => covered(token, Operation::Session),
            false => Err(Refusal::Answer),
        };
    }
    let is_harmless = is_harmless(call);
    let operation = match is_harmless {
        true => Operation::Session,
        false => Operation::Method(&call.method),
    };
    let is_left = token
        .attenuation()
        .allows_method(is_harmless, call.is_read_only());
    match covered(token, operation) {
        Err(Refusal::Scope(_)) if !is_left => {}
        // Nobody is told of it, so nobody could ask for more.
        Err(Refusal::Scope(_)) if call.is_unanswered() => {
            return Err(Refusal::Method(call.method.clone()));
        }
        covered => covered?,
    }
    if !token.claims().tools.is_all() && !is_harmless {
        return Err(Refusal::Method(call.method.clone()));
    }
    match is_left {
        true => Ok(()),
        false => Err(Refusal::Narrowed(FailedCheck("method"))),
    }
}

/// What a token for chosen tools may do beside calling them: what a session needs, and nothing that
/// reads or runs anything else. Everything else is refused, also what is not known here:
///
/// | allowed | refused |
/// |---|---|
/// | `initialize`, `server/discover` (both answered without what is refused), `ping`, `tools/list` (cut to the chosen tools), `logging/setLevel` | `resources/*`, `prompts/*`, `completion/complete`, `tasks/*`, any other method; lists among them are answered empty |
/// | `subscriptions/listen` for changes of the list of tools | for anything else |
/// | `tasks/*` and `resources/read` for the task or the user interface of a chosen tool ([`Belonging`]) | |
/// | `notifications/initialized`, `…/cancelled`, `…/progress`, `…/roots/list_changed` | any other notification: it is taken and goes no further |
/// | a response to what the backend asked in this session | any other response: it is taken and goes no further |
/// | the event stream (GET) and the end of a session (DELETE) | |
fn is_harmless(call: &Call) -> bool {
    match call.method.as_str() {
        "" => call.is_asked_for() || !call.carries_result,
        "subscriptions/listen" => call.belongs_to == Some(Belonging::ToolChanges),
        method => matches!(
            method,
            "initialize"
                | "logging/setLevel"
                | "notifications/cancelled"
                | "notifications/initialized"
                | "notifications/progress"
                | "notifications/roots/list_changed"
                | "ping"
                | "server/discover"
                | "tools/list"
        ),
    }
}

#[cfg(test)]
mod tests;
