//! What holds of a tool whatever its arguments are: the policy with everything left out that
//! differs between two calls of one tool (arguments, the time, approvals).
//!
//! An `allow` or `check` that asks for such a fact becomes the part of it that does not: a condition
//! that the whole one implies. A `deny` that asks for one is left out: it may not match. So what is
//! refused here is refused whatever the arguments are, and a list that shows the rest hides no tool
//! that could be called. (The time counts as varying because clients keep a list for longer than a
//! moment.)

use std::collections::BTreeSet;

use biscuit_auth::builder::{
    AuthorizerBuilder, Check, CheckKind, Expression, Fact, Op, Policy, PolicyKind, Rule, Term,
    boolean,
};
use biscuit_auth::error;

use super::authorizer::builder;
use super::vocabulary;

/// Rules, checks and policies, in order.
#[derive(Clone)]
pub(super) struct Program {
    pub(super) rules: Vec<Rule>,
    pub(super) checks: Vec<Check>,
    pub(super) policies: Vec<Policy>,
}

impl Program {
    /// A builder that holds them and these facts.
    pub(super) fn builder(self, facts: &[Fact]) -> Result<AuthorizerBuilder, error::Token> {
        let mut builder = builder();
        for fact in facts {
            builder = builder.fact(fact.clone())?;
        }
        for rule in self.rules {
            builder = builder.rule(rule)?;
        }
        for check in self.checks {
            builder = builder.check(check)?;
        }
        for policy in self.policies {
            builder = builder.policy(policy)?;
        }
        Ok(builder)
    }

    /// Each check and policy, in order, as a program of its own with the rules; `None` for one that
    /// can't fail, because it computes nothing.
    pub(super) fn alone(&self) -> impl Iterator<Item = Option<Self>> {
        let computes = |queries: &[Rule]| queries.iter().any(|query| !query.expressions.is_empty());
        let with = |checks, policies| Self {
            rules: self.rules.clone(),
            checks,
            policies,
        };
        let checks = self.checks.iter().map(move |check| {
            computes(&check.queries).then(|| with(vec![check.clone()], Vec::new()))
        });
        let policies = self.policies.iter().map(move |policy| {
            computes(&policy.queries).then(|| with(Vec::new(), vec![policy.clone()]))
        });
        checks.chain(policies)
    }

    /// The program without what varies.
    pub(super) fn relaxed(&self) -> Self {
        let varying = vocabulary::STATED.iter().filter(|stated| stated.varies);
        self.without(varying.map(|stated| stated.name.to_owned()).collect())
    }

    /// The same where the facts with these names are those that vary.
    pub(super) fn without(&self, varying: BTreeSet<String>) -> Self {
        let names = Names::new(&self.rules, varying);
        let relaxed = |queries: &[Rule]| -> Vec<Rule> {
            queries
                .iter()
                .map(|query| names.without_varying(query))
                .collect()
        };
        let checks = self.checks.iter().filter_map(|check| match check.kind {
            CheckKind::One => Some(Check {
                queries: relaxed(&check.queries),
                kind: CheckKind::One,
            }),
            CheckKind::All | CheckKind::Reject => {
                let is_steady = check.queries.iter().all(|query| names.is_steady(query));
                is_steady.then(|| check.clone())
            }
        });
        let policies = self.policies.iter().filter_map(|policy| match policy.kind {
            PolicyKind::Allow => Some(Policy {
                queries: relaxed(&policy.queries),
                kind: PolicyKind::Allow,
            }),
            PolicyKind::Deny => {
                let steady = policy.queries.iter().filter(|query| names.is_steady(query));
                let queries: Vec<Rule> = steady.cloned().collect();
                (!queries.is_empty()).then_some(Policy {
                    queries,
                    kind: PolicyKind::Deny,
                })
            }
        });
        Self {
            checks: checks.collect(),
            policies: policies.collect(),
            rules: names.left_of(&self.rules),
        }
    }
}

/// What is known of names.
pub(super) struct Names {
    /// Stated by the gateway, and varying.
    varying: BTreeSet<String>,
    /// Derived from what varies, by some rule.
    derived: BTreeSet<String>,
    /// Those of them that no rule states any more once what varies is left out: their variables
    /// come from there.
    lost: BTreeSet<String>,
}

impl Names {
    pub(super) fn new(rules: &[Rule], varying: BTreeSet<String>) -> Self {
        let mut names = Self {
            varying,
            derived: BTreeSet::new(),
            lost: BTreeSet::new(),
        };
        // Each round adds a name or is the last.
        loop {
            let before = (names.derived.len(), names.lost.len());
            for rule in rules {
                if !names.is_steady(rule) {
                    names.derived.insert(rule.head.name.clone());
                }
                let bound = variables(&names.without_varying(rule));
                let head = rule.head.terms.iter().filter_map(variable);
                if !head.into_iter().all(|name| bound.contains(name)) {
                    names.lost.insert(rule.head.name.clone());
                }
            }
            if before == (names.derived.len(), names.lost.len()) {
                return names;
            }
        }
    }

    /// Whether nothing in it depends on what varies.
    pub(super) fn is_steady(&self, query: &Rule) -> bool {
        let mut names = query.body.iter().map(|predicate| &predicate.name);
        !names.any(|name| self.varying.contains(name) || self.derived.contains(name))
    }

    /// The rules that still state something once what varies is left out, as far as they do.
    pub(super) fn left_of(&self, rules: &[Rule]) -> Vec<Rule> {
        let left = rules
            .iter()
            .filter(|rule| !self.lost.contains(&rule.head.name));
        left.map(|rule| self.without_varying(rule)).collect()
    }

    /// What it implies without what varies.
    pub(super) fn without_varying(&self, query: &Rule) -> Rule {
        let body: Vec<_> = query
            .body
            .iter()
            .filter(|predicate| {
                !self.varying.contains(&predicate.name) && !self.lost.contains(&predicate.name)
            })
            .cloned()
            .collect();
        let mut rule = Rule::new(query.head.clone(), body, Vec::new(), Vec::new());
        let bound = variables(&rule);
        let is_bound = |expression: &&Expression| uses_only(&expression.ops, &bound);
        let expressions = query.expressions.iter().filter(is_bound);
        rule.expressions = expressions.cloned().collect();
        with_condition(rule)
    }
}

/// A rule without facts and conditions has `true` for one: it can't be written otherwise.
pub(super) fn with_condition(mut rule: Rule) -> Rule {
    if rule.body.is_empty() && rule.expressions.is_empty() {
        let ops = vec![Op::Value(boolean(true))];
        rule.expressions.push(Expression { ops });
    }
    rule
}

fn variables(rule: &Rule) -> BTreeSet<String> {
    let terms = rule.body.iter().flat_map(|predicate| &predicate.terms);
    terms.filter_map(variable).map(str::to_owned).collect()
}

pub(super) fn variable(term: &Term) -> Option<&str> {
    match term {
        Term::Variable(name) => Some(name),
        _ => None,
    }
}

fn uses_only(ops: &[Op], bound: &BTreeSet<String>) -> bool {
    ops.iter().all(|op| match op {
        Op::Value(Term::Variable(name)) => bound.contains(name),
        Op::Closure(parameters, ops) => {
            let mut bound = bound.clone();
            bound.extend(parameters.iter().cloned());
            uses_only(ops, &bound)
        }
        _ => true,
    })
}
