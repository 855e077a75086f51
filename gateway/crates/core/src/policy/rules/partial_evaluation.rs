//! What a policy says about a call of which not all is known, as of one in an audit log: a decision
//! that what is missing can't change, or none. Nothing is guessed.
//!
//! Two programs are asked. One lets pass whatever could pass with some values of what is missing; what
//! it refuses is refused. The other refuses as soon as any statement that asks for what is missing
//! could apply, with its conditions left out; what it allows is allowed.

use std::collections::BTreeSet;

use biscuit_auth::builder::{Fact, Policy, PolicyKind, Rule};
use biscuit_auth::error::Token;

use super::facts::facts;
use super::listing::{Names, Program, with_condition};
use super::vocabulary::stated;
use super::{Decision, Effect, RequestedAction, Rules, Surroundings};

impl Rules {
    /// The decision about a call if the facts with the names in `unknown` are not known; `None`
    /// where they could change it. That arguments can be read in one way only is taken to be so.
    pub fn judge_without(
        &self,
        unknown: &BTreeSet<&str>,
        around: &Surroundings<'_>,
        asked: &RequestedAction<'_>,
    ) -> Option<Decision> {
        let missing = self.asks_for(unknown).into_iter().map(str::to_owned);
        let missing: BTreeSet<String> = missing.collect();
        if missing.is_empty() {
            return Some(self.judge(around, asked));
        }
        let known: Vec<Fact> = facts(self.uses, &self.call(around, asked))
            .into_iter()
            .filter(|fact| !missing.contains(&fact.predicate.name))
            .collect();
        let lenient = self.program.without(missing.clone());
        let strict = without_touched(&self.program, missing);
        let effect = if !self.passes(lenient, &known)? {
            Effect::Denied
        } else if self.passes(strict, &known)? {
            Effect::Allowed
        } else {
            return None;
        };
        Some(Decision::without_statement(effect))
    }

    /// The names of `unknown` that this policy asks for.
    pub fn asks_for<'n>(&self, unknown: &BTreeSet<&'n str>) -> Vec<&'n str> {
        let asks = |name: &&&str| stated(name).is_some_and(|row| self.uses.has(row.fact));
        unknown.iter().filter(asks).copied().collect()
    }

    /// `None`: it could not be evaluated, which says nothing about the whole policy.
    fn passes(&self, program: Program, known: &[Fact]) -> Option<bool> {
        let facts: Vec<Fact> = self.facts.iter().chain(known).cloned().collect();
        let decided = program
            .builder(&facts)
            .and_then(|builder| builder.build_unauthenticated())
            .and_then(|mut authorizer| authorizer.authorize());
        match decided {
            Ok(_) => Some(true),
            Err(Token::FailedLogic(_)) => Some(false),
            Err(_) => None,
        }
    }
}

/// What is left if no statement that asks for what is missing applies, after a refusal of whatever
/// such a statement could apply to.
fn without_touched(program: &Program, missing: BTreeSet<String>) -> Program {
    let names = Names::new(&program.rules, missing);
    let queries = program
        .checks
        .iter()
        .flat_map(|check| &check.queries)
        .chain(program.policies.iter().flat_map(|policy| &policy.queries))
        .chain(&program.rules);
    let touched: Vec<Rule> = queries
        .filter(|query| !names.is_steady(query))
        .map(|query| could_apply(&names, query))
        .collect();
    let steady = |queries: &[Rule]| queries.iter().all(|query| names.is_steady(query));
    let mut policies = Vec::new();
    if !touched.is_empty() {
        policies.push(Policy {
            queries: touched,
            kind: PolicyKind::Deny,
        });
    }
    let kept = program
        .policies
        .iter()
        .filter(|policy| steady(&policy.queries));
    policies.extend(kept.cloned());
    let checks = program.checks.iter().filter(|check| steady(&check.queries));
    Program {
        checks: checks.cloned().collect(),
        policies,
        rules: names.left_of(&program.rules),
    }
}

/// Matches whenever the query could, whatever its conditions say: one that can't be evaluated
/// refuses the call, too.
fn could_apply(names: &Names, query: &Rule) -> Rule {
    let mut rule = names.without_varying(query);
    rule.expressions.clear();
    with_condition(rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::policy::rules::{GroupMembers, PolicyEnvironment};
    use mcp_protocol::jsonrpc::judge_arguments;
    use mcp_protocol::tool_definition::Labels;

    fn around() -> Surroundings<'static> {
        Surroundings {
            user: "alice",
            is_service: false,
            groups: &[],
            client: "c_1",
            grant: "g_1",
            scopes: &["mcp"],
            backend: "notes",
            resource: "https://mcp.example.com/mcp",
            approvals: &[],
            address: None,
            protocol_version: None,
            calls_today: None,
            now: Timestamp::from_secs(1_800_000_000),
        }
    }

    fn decided(policy: &str, tool: &str, unknown: &[&str]) -> Option<bool> {
        let rules = Rules::read("p", policy, PolicyEnvironment::default()).unwrap();
        let unknown = unknown.iter().copied().collect();
        let asked = RequestedAction::tool(tool, Labels::default(), None);
        let decision = rules.judge_without(&unknown, &around(), &asked);
        decision.map(|decision| decision.is_allowed())
    }

    const ARGUMENTS: &[&str] = &["argument", "argument_type"];

    #[test]
    fn what_can_change_nothing_is_not_missed() {
        let policy = "deny if tool(\"erase\"), argument(\"all\", true); allow if tool(\"erase\"); \
                      allow if tool(\"search\");";
        assert_eq!(decided(policy, "search", ARGUMENTS), Some(true));
        assert_eq!(decided(policy, "other", ARGUMENTS), Some(false));
        assert_eq!(decided(policy, "erase", ARGUMENTS), None);
        let policy = "allow if tool(\"pay\"), argument(\"n\", $n), $n < 5; deny if tool(\"pay\"); allow if true;";
        assert_eq!(decided(policy, "pay", ARGUMENTS), None);
        assert_eq!(decided(policy, "search", ARGUMENTS), Some(true));
        let policy = "small($t) <- tool($t), argument(\"n\", $n), $n < 5; check if small($t); allow if true;";
        assert_eq!(decided(policy, "pay", ARGUMENTS), None);
        // A condition that fails to be evaluated would refuse the call.
        let policy = "deny if user($u), $u == \"bob\", argument(\"n\", $n), $n < 5; allow if true;";
        assert_eq!(decided(policy, "pay", ARGUMENTS), None);
    }

    /// What is left of a statement may fail where the whole one does not apply.
    #[test]
    fn what_can_not_be_evaluated_without_what_is_missing_is_not_decided() {
        let policy = "allow if argument(\"x\", true), tool($t), $t > 5; allow if tool(\"a\");";
        assert_eq!(decided(policy, "a", ARGUMENTS), None);
        let rules = Rules::read("p", policy, PolicyEnvironment::default()).unwrap();
        let arguments = judge_arguments(r#"{"x":false}"#).unwrap();
        let asked = RequestedAction::tool("a", Labels::default(), Some(&arguments));
        assert!(rules.judge(&around(), &asked).is_allowed());
    }

    #[test]
    fn other_facts_may_be_missing_alike() {
        let policy = "deny if group(\"staff\"); allow if true;";
        let rules = |unknown: &[&str]| {
            let environment = PolicyEnvironment {
                groups: [("staff".to_owned(), GroupMembers::default())].into(),
                ..PolicyEnvironment::default()
            };
            let rules = Rules::read("p", policy, environment).unwrap();
            let unknown = unknown.iter().copied().collect();
            let asked = RequestedAction::tool("x", Labels::default(), None);
            let decision = rules.judge_without(&unknown, &around(), &asked);
            decision.map(|decision| decision.is_allowed())
        };
        assert_eq!(rules(&[]), Some(true));
        assert_eq!(rules(&["user"]), Some(true));
        assert_eq!(rules(&["user", "group"]), None);
        let labels = &["read_only", "destructive", "unlabelled"];
        let policy =
            "allow if read_only(true), tool(\"a\"); deny if tool(\"b\"); allow if tool(\"c\");";
        assert_eq!(decided(policy, "a", labels), None);
        assert_eq!(decided(policy, "b", labels), Some(false));
        assert_eq!(decided(policy, "c", labels), Some(true));
    }

    /// Whatever is decided without the arguments is decided so with any of them.
    #[test]
    fn no_arguments_contradict_what_was_decided_without_them() {
        const PARTS: &[&str] = &[
            "allow if tool(\"a\"), argument(\"x\", true);",
            "deny if tool(\"a\"), argument(\"x\", $x), $x == 1;",
            "allow if argument(\"y\", $y), $y.starts_with(\"p\");",
            "check if argument_type(\"x\", \"number\") or tool(\"b\");",
            "check all argument(\"x\", $x), $x > 0;",
            "deny if tool(\"b\");",
            "allow if tool($t), seen($t);",
            "seen($t) <- tool($t), argument(\"x\", $x);",
            "allow if user(\"alice\"), tool(\"c\");",
            "allow if true;",
        ];
        const CALLS: &[&str] = &[
            "{}",
            r#"{"x":1}"#,
            r#"{"x":true}"#,
            r#"{"x":"t"}"#,
            r#"{"y":"pq"}"#,
            r#"{"y":3,"x":-1}"#,
        ];
        let mut decisions = 0;
        for set in 1_u32..1 << PARTS.len() {
            let chosen = |(at, _): &(usize, &&str)| set & (1 << at) != 0;
            let parts = PARTS.iter().enumerate().filter(chosen);
            let policy: String = parts.map(|(_, part)| *part).collect();
            // A policy that can't be read is nobody's.
            let Ok(rules) = Rules::read("p", &policy, PolicyEnvironment::default()) else {
                continue;
            };
            for tool in ["a", "b", "c"] {
                let unknown = ARGUMENTS.iter().copied().collect();
                let hidden = RequestedAction::tool(tool, Labels::default(), None);
                let Some(decided) = rules.judge_without(&unknown, &around(), &hidden) else {
                    continue;
                };
                for call in CALLS {
                    let arguments = judge_arguments(call).unwrap();
                    let asked = RequestedAction::tool(tool, Labels::default(), Some(&arguments));
                    let decision = rules.judge(&around(), &asked);
                    assert_eq!(
                        decision.is_allowed(),
                        decided.is_allowed(),
                        "{policy} {tool} {call}: {decision:?}"
                    );
                    decisions += 1;
                }
            }
        }
        assert!(decisions > 2000, "{decisions}");
    }
}
