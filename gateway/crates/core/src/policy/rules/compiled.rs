//! A policy compiled to a decision over typed facts, once, when its file is read.
//!
//! Variables are numbered slots, names of facts are relations, conditions are trees, patterns and
//! constants are ready. A decision joins the facts of the call in nested loops, and borrows from it.
//! No authorizer is built and no text is interned.
//!
//! **The reference stays Biscuit's authorizer**, and this can't contradict it:
//!
//! - The facts are the same: both take them from `stated`, and the patterns from `patterns`.
//! - Biscuit goes through the facts of a relation in an order that differs from call to call. Here it is
//!   one of these orders, and the loops are nested as there. So what is decided here is what Biscuit
//!   decides in that order; where the order matters to it, it has no other word.
//! - Whatever is no plain decision is the reference's: [`Compiled::decide`] says nothing where something
//!   can't be evaluated, where the order of a set would matter, where facts come near the limit of
//!   their number, and after [`MOST_STEPS`]. The call is then decided anew by the reference, which knows
//!   the kind of the failure, its text and the statement that failed. Time is what the limits bound
//!   beside; what needs less of it than Biscuit is decided where Biscuit might have given up.
//!
//! What is compiled: every `check`, `allow` and `deny` over stated facts, own facts and rules; joins,
//! closures, collections, patterns. What is not, each with its reason ([`compile`]): rules that go by
//! themselves, more than [`frame::SLOTS`] variables in a statement, what is nested deeper than 64, chains of
//! rules that could reach the limit of iterations, and facts or operations that are not known here. A
//! policy with such a statement is the reference's as a whole. So are questions about calls of which not
//! all is known (`listing`, `partial_evaluation`).
//!
//! `differential` compares both over random policies and calls.

mod derivation;
mod expression;
mod frame;
mod lower;
mod operators;
mod relation;

use std::ops::ControlFlow;

use biscuit_auth::builder::{CheckKind, Fact, PolicyKind, Rule};

use self::derivation::Derivation;
use self::expression::Expression;
use self::frame::{EvaluationError, Frame};
pub(super) use self::lower::NotCompiled;
use self::lower::{Query, Uncovered};
use self::relation::{Atom, Pattern, Relation, Relations};
use super::authorizer::LIMITS;
use super::listing::Program;
use super::stated::{Call, Flow};
use super::value::Value;

/// So many facts and members are looked at, then the reference decides.
const MOST_STEPS: u32 = 100_000;

/// So many facts that a rule made are looked through for another one that is equal.
const LOOKED_THROUGH: usize = 64;

/// A policy that is compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    relations: Relations,
    /// Each after those that it goes by.
    rules: Vec<Derivation>,
    checks: Vec<(Vec<Query>, CheckKind)>,
    policies: Vec<(Vec<Query>, PolicyKind)>,
    /// So many slots have a use in some statement.
    slots: usize,
}

/// What was decided, by the numbers of statements.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The first policy that matched, and whether it allows.
    pub(super) by: Option<(usize, bool)>,
    /// The checks that did not hold.
    pub(super) failed: Vec<usize>,
}

/// Whether and how a search ended early.
enum End {
    Holds,
    HoldsNot,
    Stopped(EvaluationError),
}

impl From<EvaluationError> for End {
    fn from(error: EvaluationError) -> Self {
        Self::Stopped(error)
    }
}

/// Compiles a policy, or says what of it is not compiled.
pub(super) fn compile(facts: &[Fact], program: &Program) -> Result<Compiled, Vec<NotCompiled>> {
    let relations = Relations::new(facts, &program.rules)
        .map_err(|at| vec![NotCompiled::Fact(at, lower::VARIABLE_WITHIN)])?;
    let mut left = Vec::new();
    let mut take = |lowered: Result<_, Uncovered>, left_out: &dyn Fn(Uncovered) -> NotCompiled| {
        lowered.map_err(|why| left.push(left_out(why))).ok()
    };
    let queries = |rules: &[Rule]| -> Result<Vec<Query>, Uncovered> {
        let query = |rule| lower::query(rule, &relations).map(|(query, _)| query);
        rules.iter().map(query).collect()
    };
    let mut checks = Vec::new();
    for (at, check) in program.checks.iter().enumerate() {
        let lowered = take(queries(&check.queries), &|why| NotCompiled::Check(at, why));
        checks.extend(lowered.map(|queries| (queries, check.kind.clone())));
    }
    let mut policies = Vec::new();
    for (at, policy) in program.policies.iter().enumerate() {
        let lowered = take(queries(&policy.queries), &|why| {
            NotCompiled::Policy(at, why)
        });
        policies.extend(lowered.map(|queries| (queries, policy.kind.clone())));
    }
    let rules = derivation::derivations(&program.rules, &relations);
    left.extend(rules.as_ref().err().into_iter().flatten());
    match (rules, left.is_empty()) {
        (Ok(rules), true) => {
            let of_rules = rules.iter().map(|rule| &rule.query);
            let of_checks = checks.iter().flat_map(|(queries, _)| queries);
            let of_policies = policies.iter().flat_map(|(queries, _)| queries);
            let slots = of_rules.chain(of_checks).chain(of_policies);
            Ok(Compiled {
                slots: slots.map(|query| query.slots).max().unwrap_or(0),
                relations,
                rules,
                checks,
                policies,
            })
        }
        _ => Err(left),
    }
}

impl Compiled {
    /// What is decided about a call. `None`: the reference has to be asked.
    pub(super) fn decide(&self, call: &Call<'_>) -> Option<Verdict> {
        let mut frame = Frame {
            slots: vec![Value::Null; self.slots],
            steps: MOST_STEPS,
        };
        let mut facts = Facts {
            compiled: self,
            call,
            derived: Vec::new(),
        };
        facts.derive(&mut frame).ok()?;
        let mut failed = Vec::new();
        for (at, (queries, kind)) in self.checks.iter().enumerate() {
            if !facts.check(queries, kind, &mut frame).ok()? {
                failed.push(at);
            }
        }
        for (at, (queries, kind)) in self.policies.iter().enumerate() {
            for query in queries {
                if facts.matches(query, &mut frame).ok()? {
                    let by = Some((at, *kind == PolicyKind::Allow));
                    return Some(Verdict { by, failed });
                }
            }
        }
        Some(Verdict { by: None, failed })
    }
}

/// The facts of one call.
struct Facts<'f> {
    compiled: &'f Compiled,
    call: &'f Call<'f>,
    /// What rules made, by relation, one fact after the other.
    derived: Vec<Vec<Value<'f>>>,
}

impl<'f> Facts<'f> {
    /// Every fact that the rules make. All are evaluated: one that can't be refuses the call, whoever
    /// goes by what it makes.
    fn derive(&mut self, frame: &mut Frame<'f>) -> Result<(), EvaluationError> {
        if self.compiled.rules.is_empty() {
            return Ok(());
        }
        let compiled = self.compiled;
        let mut count = compiled.relations.written() + self.call.most_facts();
        let most = usize::try_from(LIMITS.max_facts).unwrap_or(usize::MAX);
        self.derived = vec![Vec::new(); compiled.relations.own.len()];
        for rule in &compiled.rules {
            let mut made = Vec::new();
            let ended = self.join(&rule.query.body, frame, &mut |frame| {
                if holds(&rule.query.conditions, frame)? {
                    count += 1;
                    if count >= most {
                        return Flow::Break(EvaluationError::Unsure.into());
                    }
                    add(&mut made, &rule.head, frame);
                }
                Flow::Continue(())
            });
            match ended {
                Flow::Continue(()) => self.derived[rule.of].append(&mut made),
                Flow::Break(End::Stopped(error)) => return Err(error),
                // Nothing else ends it.
                Flow::Break(_) => return Err(EvaluationError::Unsure),
            }
        }
        Ok(())
    }

    fn check(
        &self,
        queries: &'f [Query],
        kind: &CheckKind,
        frame: &mut Frame<'f>,
    ) -> Result<bool, EvaluationError> {
        for query in queries {
            let is_met = match kind {
                CheckKind::One => self.matches(query, frame)?,
                CheckKind::All => self.matches_all(query, frame)?,
                CheckKind::Reject => !self.matches(query, frame)?,
            };
            if is_met {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the conditions hold of some facts.
    fn matches(&self, query: &'f Query, frame: &mut Frame<'f>) -> Result<bool, EvaluationError> {
        let ended = self.join(&query.body, frame, &mut |frame| {
            if holds(&query.conditions, frame)? {
                Flow::Break(End::Holds)
            } else {
                Flow::Continue(())
            }
        });
        result(ended, false)
    }

    /// Whether there are facts, and the conditions hold of all.
    fn matches_all(
        &self,
        query: &'f Query,
        frame: &mut Frame<'f>,
    ) -> Result<bool, EvaluationError> {
        let mut found = false;
        let ended = self.join(&query.body, frame, &mut |frame| {
            found = true;
            if holds(&query.conditions, frame)? {
                Flow::Continue(())
            } else {
                Flow::Break(End::HoldsNot)
            }
        });
        result(ended, found)
    }

    /// Each way to match the body, one atom after the other as the reference goes through them.
    fn join(
        &self,
        body: &'f [Atom],
        frame: &mut Frame<'f>,
        each: &mut dyn FnMut(&mut Frame<'f>) -> Flow<End>,
    ) -> Flow<End> {
        let Some((atom, rest)) = body.split_first() else {
            return each(frame);
        };
        match atom.relation {
            Relation::Stated(fact) => self.call.each(fact, atom.first(), &mut |terms| {
                looked_at(frame)?;
                if atom.matches(terms.iter().cloned(), &mut frame.slots) {
                    self.join(rest, frame, each)
                } else {
                    Flow::Continue(())
                }
            }),
            Relation::Own(number) => {
                let own = &self.compiled.relations.own[number];
                for fact in own.written.chunks_exact(own.arity.max(1)) {
                    looked_at(frame)?;
                    if atom.matches(fact.iter().map(Value::from), &mut frame.slots) {
                        self.join(rest, frame, each)?;
                    }
                }
                let derived = self.derived.get(number).map_or(&[][..], Vec::as_slice);
                for fact in derived.chunks_exact(own.arity.max(1)) {
                    looked_at(frame)?;
                    if atom.matches(fact.iter().cloned(), &mut frame.slots) {
                        self.join(rest, frame, each)?;
                    }
                }
                Flow::Continue(())
            }
        }
    }
}

/// Another fact was looked at.
fn looked_at(frame: &mut Frame<'_>) -> Flow<End> {
    frame.step().map_or_else(stopped, Flow::Continue)
}

fn stopped<B>(error: EvaluationError) -> ControlFlow<End, B> {
    ControlFlow::Break(error.into())
}

/// Whether all conditions hold, one after the other.
fn holds<'f>(conditions: &'f [Expression], frame: &mut Frame<'f>) -> Flow<End, bool> {
    for condition in conditions {
        match condition.holds(frame) {
            Ok(true) => {}
            Ok(false) => return Flow::Continue(false),
            Err(error) => return stopped(error),
        }
    }
    Flow::Continue(true)
}

/// `otherwise`: the result of a search that went through everything.
fn result(ended: Flow<End>, otherwise: bool) -> Result<bool, EvaluationError> {
    match ended {
        Flow::Continue(()) => Ok(otherwise),
        Flow::Break(End::Holds) => Ok(true),
        Flow::Break(End::HoldsNot) => Ok(false),
        Flow::Break(End::Stopped(error)) => Err(error),
    }
}

/// Adds the fact that a rule makes. One that is there again does no harm, but is more to look through.
fn add<'f>(made: &mut Vec<Value<'f>>, head: &'f [Pattern], frame: &Frame<'f>) {
    let fact = head.iter().map(|term| match term {
        Pattern::Is(constant) => Value::from(constant),
        Pattern::Bind(slot) | Pattern::Same(slot) => frame.slots[*slot].clone(),
    });
    let before = made.len();
    made.extend(fact);
    let (old, new) = made.split_at(before);
    let mut old = old.chunks_exact(head.len().max(1)).take(LOOKED_THROUGH);
    if old.any(|fact| fact.iter().zip(new).all(|(one, other)| one.is(other))) {
        made.truncate(before);
    }
}
