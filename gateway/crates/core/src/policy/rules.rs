//! The operator's policy: one file of Biscuit Datalog, read once, asked about every call.
//!
//! ```text
//! check if …;     every one of them must hold, whatever else is said
//! allow if …;     the first `allow` or `deny` in the file that matches decides;
//! deny if …;      if none does, the call is denied
//! head(…) <- …;   facts and rules of the policy's own, for the others to use
//! ```
//!
//! It is evaluated over the facts of `vocabulary` and nothing else: no block of any token is in it, so
//! nobody but the operator can state a fact. What a token grants stays the upper bound; a policy only
//! takes away. An evaluation that fails (the limits, an operation on values of other types) is a
//! refusal.
//!
//! There are two roads to a decision about a call. Biscuit's authorizer, built anew for each, is the
//! reference; `compiled` decides the same without it, and leaves to it what it can't.
//!
//! Owns: what a policy says about a call. Not: who asks it ([`super::decide`], `gateway explain`),
//! where the file is and when it is read again (`config`, `cli`).

mod asked_arguments;
mod authorizer;
mod compiled;
mod decision;
#[cfg(test)]
mod differential;
mod environment;
mod facts;
mod lint;
mod listing;
mod names;
mod partial_evaluation;
mod patterns;
mod reader;
mod remembered;
mod source;
mod stated;
#[cfg(test)]
mod tests;
mod value;
mod vocabulary;

use std::fmt;

use biscuit_auth::builder::{AuthorizerBuilder, Fact};
use biscuit_auth::error::{FailedCheck, Logic, MatchedPolicy, Token};
use quick_cache::sync::Cache;

use mcp_protocol::jsonrpc::Keep;

use self::asked_arguments::AskedArguments;
use self::authorizer::authorize;
use self::compiled::{Compiled, Verdict};
use self::remembered::{LONGEST_REMEMBERED, Remembered};
use self::stated::Call;
use self::vocabulary::{FactSet, StatedFact};

pub use self::decision::{Decision, Effect, Failure, Statement};
pub use self::environment::{GroupMembers, PolicyEnvironment};
pub use self::facts::{Message, RequestedAction, Surroundings};
pub use self::source::Fault;
pub use self::vocabulary::reference;

/// A policy that was read and found good.
pub struct Rules {
    environment: PolicyEnvironment,
    /// Everything but the facts of a call.
    prepared: AuthorizerBuilder,
    /// The same, for what holds of a tool whatever its arguments are.
    general: AuthorizerBuilder,
    /// What both were made from.
    program: listing::Program,
    facts: Vec<Fact>,
    checks: Vec<Statement>,
    policies: Vec<Statement>,
    /// Statements that can fail, each alone.
    alone: Vec<(AuthorizerBuilder, Statement)>,
    /// The facts that are asked for.
    uses: FactSet,
    /// Those of them that are the same for every call of a tool.
    uses_in_general: FactSet,
    arguments: AskedArguments,
    names: names::Names,
    /// `None`: the reference decides about everything.
    compiled: Option<Compiled>,
    not_compiled: Vec<(Statement, &'static str)>,
    remembered: Cache<Remembered<String>, Decision>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("checks", &self.checks)
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}

impl Rules {
    /// How many statements it has that decide: `check`, `allow` and `deny`.
    pub fn len(&self) -> usize {
        self.checks.len() + self.policies.len()
    }

    /// Never: a policy without a statement is refused when it is read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which arguments the judge of messages must keep for it.
    pub fn keep(&self) -> Keep<'_> {
        match (&self.arguments, self.asks_for_arguments()) {
            (_, false) => Keep::Nothing,
            (AskedArguments::At(paths), true) => Keep::At(paths),
            (AskedArguments::All, true) => Keep::Arguments,
        }
    }

    /// Whether it asks about arguments.
    pub fn asks_for_arguments(&self) -> bool {
        self.uses.has(StatedFact::Argument) || self.uses.has(StatedFact::ArgumentType)
    }

    /// Whether it may matter to it which resources a subscription names: it asks about resources, or about
    /// the methods that each is judged under.
    pub fn asks_for_resources(&self) -> bool {
        self.uses.has(StatedFact::Uri) || self.uses.has(StatedFact::Method)
    }

    /// Whether it asks what tools say about their effects.
    pub fn asks_for_labels(&self) -> bool {
        use StatedFact::{Destructive, ReadOnly, Unlabelled};
        [ReadOnly, Destructive, Unlabelled]
            .into_iter()
            .any(|fact| self.uses.has(fact))
    }

    /// Whether it asks about the scopes of tokens.
    pub fn asks_for_scopes(&self) -> bool {
        self.uses.has(StatedFact::Scope)
    }

    /// Whether it asks how many calls the person has made today.
    pub fn asks_for_calls_today(&self) -> bool {
        self.uses.has(StatedFact::CallsToday)
    }

    /// The statements for whose sake the reference decides about every call, and why each of them is
    /// not compiled.
    pub fn not_compiled(&self) -> &[(Statement, &'static str)] {
        &self.not_compiled
    }

    /// Decides about one call. Pure, and evaluated each time.
    pub fn judge(&self, around: &Surroundings<'_>, asked: &RequestedAction<'_>) -> Decision {
        self.judge_by(self.compiled.as_ref(), around, asked)
    }

    /// `compiled`: the road that is tried first.
    fn judge_by(
        &self,
        compiled: Option<&Compiled>,
        around: &Surroundings<'_>,
        asked: &RequestedAction<'_>,
    ) -> Decision {
        if self.asks_for_arguments()
            && (asked.method == "tools/call" || asked.method == "prompts/get")
            && !asked
                .arguments
                .is_some_and(|arguments| self.arguments.are_clear(arguments))
        {
            return Decision::failed(Failure::Arguments);
        }
        if self.is_unclear(asked) {
            return Decision::failed(Failure::Name);
        }
        let verdict = compiled.and_then(|compiled| compiled.decide(&self.call(around, asked)));
        match verdict {
            Some(verdict) => self.decided(verdict),
            None => self.evaluate(around, asked, false),
        }
    }

    fn call<'c>(
        &'c self,
        around: &'c Surroundings<'c>,
        asked: &'c RequestedAction<'c>,
    ) -> Call<'c> {
        Call::new(&self.environment, &self.arguments, around, asked)
    }

    /// What was decided, in the words of the file.
    fn decided(&self, verdict: Verdict) -> Decision {
        let failed = verdict.failed.iter().filter_map(|at| self.checks.get(*at));
        let failed: Vec<Statement> = failed.cloned().collect();
        let is_allowed = matches!(verdict.by, Some((_, true))) && failed.is_empty();
        Decision {
            effect: if is_allowed {
                Effect::Allowed
            } else {
                Effect::Denied
            },
            by: verdict
                .by
                .and_then(|(at, _)| self.policies.get(at))
                .cloned(),
            failed,
        }
    }

    /// Whether a backend may take what is named for something else that the policy names.
    fn is_unclear(&self, asked: &RequestedAction<'_>) -> bool {
        let mut named = asked.name.into_iter().chain([asked.method]);
        named.any(|name| self.names.are_mistakable_for(name))
    }

    /// As [`Self::judge`]. Decisions that rest on nothing that differs between two calls of one
    /// tool with one token are remembered by the token's id.
    pub fn judge_for(
        &self,
        token: &str,
        around: &Surroundings<'_>,
        asked: &RequestedAction<'_>,
    ) -> Decision {
        // Nothing that varies is asked for: the answer holds for every call of the tool with the token.
        let is_steady = self.uses == self.uses_in_general;
        self.remember(token, around, asked, false, is_steady, || {
            self.judge(around, asked)
        })
    }

    /// Whether a tool can be called at all: with some arguments, at some time, with some approval.
    /// A list shows those tools, and those of which it can't be told. What is said here is no
    /// permission.
    pub fn may_call(
        &self,
        token: &str,
        around: &Surroundings<'_>,
        asked: &RequestedAction<'_>,
    ) -> bool {
        if self.is_unclear(asked) {
            return false;
        }
        let decision = self.remember(token, around, asked, true, true, || {
            self.evaluate(around, asked, true)
        });
        !matches!(
            decision.effect,
            Effect::Denied | Effect::Failed(Failure::Name)
        )
    }

    /// The facts that [`Self::judge`] goes by, as Datalog: those that the policy asks for.
    pub fn stated(&self, around: &Surroundings<'_>, asked: &RequestedAction<'_>) -> Vec<String> {
        let facts = facts::facts(self.uses, &self.call(around, asked));
        facts.iter().map(ToString::to_string).collect()
    }

    fn remember(
        &self,
        token: &str,
        around: &Surroundings<'_>,
        asked: &RequestedAction<'_>,
        general: bool,
        is_steady: bool,
        decision: impl FnOnce() -> Decision,
    ) -> Decision {
        let length = asked.method.len() + asked.name.map_or(0, str::len);
        if !is_steady || length > LONGEST_REMEMBERED {
            return decision();
        }
        let asks_for_address =
            self.uses.has(StatedFact::Address) || self.uses.has(StatedFact::Network);
        let key = Remembered {
            token,
            backend: around.backend,
            general,
            message: asked.message,
            method: asked.method,
            name: asked.name,
            labels: asked.labels,
            harmless: asked.harmless,
            address: around.address.filter(|_| asks_for_address),
            protocol_version: around
                .protocol_version
                .filter(|_| self.uses.has(StatedFact::ProtocolVersion)),
        };
        if let Some(decision) = self.remembered.get(&key) {
            return decision;
        }
        let decision = decision();
        // A limit that was reached says more about the moment than about the call.
        if !matches!(decision.effect, Effect::Failed(_)) {
            self.remembered.insert(key.into_owned(), decision.clone());
        }
        decision
    }

    /// `general`: without what differs between two calls of one tool.
    fn evaluate(
        &self,
        around: &Surroundings<'_>,
        asked: &RequestedAction<'_>,
        general: bool,
    ) -> Decision {
        let (prepared, uses) = if general {
            (&self.general, self.uses_in_general)
        } else {
            (&self.prepared, self.uses)
        };
        let facts = facts::facts(uses, &self.call(around, asked));
        let decision = self.decision(authorize(prepared, &facts), general);
        match decision.effect {
            Effect::Failed(Failure::Evaluation(_) | Failure::Name) => Decision {
                by: self.failing(&facts),
                ..decision
            },
            _ => decision,
        }
    }

    /// The statement that fails over these facts. The authorizer does not tell.
    fn failing(&self, facts: &[Fact]) -> Option<Statement> {
        let fails = |(alone, _): &&(AuthorizerBuilder, Statement)| {
            matches!(authorize(alone, facts), Err(Token::Execution(_)))
        };
        let found = self.alone.iter().find(fails);
        found.map(|(_, statement)| statement.clone())
    }

    /// What the authorizer said. The numbers of statements are those of the file only where
    /// everything is evaluated, and in general nobody asks for places.
    fn decision(&self, decided: Result<usize, Token>, general: bool) -> Decision {
        let policy = |index| self.policies.get(index).filter(|_| !general).cloned();
        let failed = |check| match check {
            FailedCheck::Authorizer(check) if !general => {
                let at = usize::try_from(check.check_id).ok()?;
                self.checks.get(at).cloned()
            }
            _ => None,
        };
        let denied = |by, checks: Vec<FailedCheck>| Decision {
            effect: Effect::Denied,
            by,
            failed: checks.into_iter().filter_map(failed).collect(),
        };
        match decided {
            Ok(index) => Decision {
                effect: Effect::Allowed,
                by: policy(index),
                failed: Vec::new(),
            },
            Err(Token::FailedLogic(Logic::Unauthorized {
                policy: MatchedPolicy::Allow(index) | MatchedPolicy::Deny(index),
                checks,
            })) => denied(policy(index), checks),
            Err(Token::FailedLogic(Logic::NoMatchingPolicy { checks })) => denied(None, checks),
            Err(Token::RunLimit(limit)) => Decision::failed(Failure::Limit(limit.to_string())),
            Err(Token::Execution(error)) => Decision::failed(match error.to_string() {
                text if text.contains(patterns::UNCLEAR) => Failure::Name,
                text => Failure::Evaluation(text),
            }),
            Err(error) => Decision::failed(Failure::Evaluation(error.to_string())),
        }
    }
}
