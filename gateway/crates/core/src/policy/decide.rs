//! The decision: the order of the questions, and the permit that only it makes.

mod delegation;

use std::collections::BTreeSet;

pub use self::delegation::Delegation;

use super::confirmed_token::AccessToken;
use super::harmless::is_harmless;
use super::input::{DecisionInput, Question, SUBSCRIBE};
use super::refusal::Refusal;
use super::rules::Statement;
use super::scopes::{Coverage, Operation};
use crate::access_token::{FailedCheck, ToolCall};
use crate::grants::NotAllowed;
use crate::limits::is_counted;
use mcp_protocol::calls::{Belonging, Call};
use mcp_protocol::lenient;

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
/// [`Refused::decline`]; one that [`let_members_decide`] made is good for no backend.
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

/// The right to ask several backends that are offered together: none of them for anything. What reaches a
/// member has a permit of its own, for that member's own names, by [`decide`].
pub fn let_members_decide(token: AccessToken, calls: Vec<Call>) -> Permit {
    Permit {
        token,
        calls,
        rules: Vec::new(),
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
    let judge = |question: Question<'_>, call: Option<&Call>| {
        let decision = question.judge(token, call)?;
        if decision.is_allowed() {
            Ok(decision.by)
        } else {
            let method = call.map_or_else(String::new, |call| call.method.clone());
            Err(Refusal::Policy(method, Box::new(decision)))
        }
    };
    if calls.is_empty() {
        return judge(question, None).map(|rule| vec![rule]);
    }
    let mut question = question;
    let mut rules = Vec::with_capacity(calls.len());
    for call in calls {
        rules.push(judge(question, Some(call))?);
        // To the next one of a batch it was made already.
        if is_counted(call) {
            let before = &mut question.around.calls_today;
            *before = before.map(|calls| calls + 1);
        }
    }
    Ok(rules)
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
        None => decide_methods(token, call).or_else(|refusal| match &call.belongs_to {
            Some(Belonging::Tool(tool)) if concerns_allowed(token, tool, input) => Ok(()),
            _ => Err(refusal),
        }),
    }
}

/// Whether the token covers a call as its own method, and as what older revisions say for the resources
/// that it names.
fn decide_methods(token: &AccessToken, call: &Call) -> Result<(), Refusal> {
    let own = decide_method(token, call);
    if call.resources.is_empty() {
        return own;
    }
    let older = decide_method(token, &Call::named(SUBSCRIBE));
    match (own, older) {
        (Err(Refusal::Scope(needed)), Err(Refusal::Scope(more))) => {
            Err(Refusal::Scope(needed.union(&more)))
        }
        // The answer is to what the client has asked.
        (Ok(()) | Err(Refusal::Scope(_)), Err(Refusal::Method(_))) => {
            Err(Refusal::Method(call.method.clone()))
        }
        (Ok(()), older) => older,
        (own, _) => own,
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
        return if call.is_asked_for() {
            covered(token, Operation::Session)
        } else {
            Err(Refusal::Answer)
        };
    }
    let is_harmless = is_harmless(call);
    let operation = if is_harmless {
        Operation::Session
    } else {
        Operation::Method(&call.method)
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
    if is_left {
        Ok(())
    } else {
        Err(Refusal::Narrowed(FailedCheck("method")))
    }
}

impl AccessToken {
    /// Whether it is good for a method as it is.
    pub fn is_good_for(&self, method: &str) -> bool {
        decide_method(self, &Call::named(method)).is_ok()
    }

    /// Whether a method is left to it, or to one with more scope: what is not is not announced to
    /// its holder either.
    pub fn may_use(&self, method: &str) -> bool {
        matches!(
            decide_method(self, &Call::named(method)),
            Ok(()) | Err(Refusal::Scope(_))
        )
    }
}
