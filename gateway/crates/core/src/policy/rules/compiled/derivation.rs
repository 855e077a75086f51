//! Rules that make facts, in an order in which each is evaluated once.

use biscuit_auth::builder::Rule;

use super::lower::{self, NotCompiled, Query, Uncovered};
use super::relation::{Pattern, Relations};
use crate::policy::rules::authorizer::LIMITS;

const RECURSIVE: Uncovered = "it goes by what it makes itself, or by a rule that does";
const LONG_CHAIN: Uncovered = "too many rules go by one another";

/// A rule that makes facts.
#[derive(Debug)]
pub(super) struct Derivation {
    pub(super) query: Query,
    pub(super) head: Vec<Pattern>,
    /// The number of the relation that it makes facts of.
    pub(super) of: usize,
}

/// All rules, each after those that it goes by.
pub(super) fn derivations(
    rules: &[Rule],
    relations: &Relations,
) -> Result<Vec<Derivation>, Vec<NotCompiled>> {
    let levels = levels(rules, relations);
    let last = relations.own.len();
    let most = usize::try_from(LIMITS.max_iterations).unwrap_or(usize::MAX);
    let (mut made, mut left) = (Vec::new(), Vec::new());
    for (at, rule) in rules.iter().enumerate() {
        let Some(of) = head(rule, relations) else {
            continue;
        };
        let lowered = match levels[of] {
            level if level > last => Err(RECURSIVE),
            // The reference goes through all rules once for each level, and once more.
            level if level + 1 >= most => Err(LONG_CHAIN),
            _ => lower::query(rule, relations),
        };
        match lowered {
            Ok((query, head)) => made.push(Derivation { query, head, of }),
            Err(why) => left.push(NotCompiled::Rule(at, why)),
        }
    }
    made.sort_by_key(|rule| levels[rule.of]);
    if left.is_empty() { Ok(made) } else { Err(left) }
}

/// How many rules, one by the other, lead to each of the policy's own relations; of one that goes by
/// itself more than there are relations.
fn levels(rules: &[Rule], relations: &Relations) -> Vec<usize> {
    let last = relations.own.len();
    let mut levels = vec![0; last];
    // Each round raises a level, and none goes further than one above the last.
    loop {
        let before = levels.clone();
        for rule in rules {
            let below = rule.body.iter().filter_map(|atom| {
                let own = relations.own_named(&atom.name, atom.terms.len())?;
                Some(levels[own])
            });
            let level = (below.max().unwrap_or(0) + 1).min(last + 1);
            if let Some(of) = head(rule, relations) {
                levels[of] = levels[of].max(level);
            }
        }
        if before == levels {
            return levels;
        }
    }
}

/// The relation that a rule makes facts of.
fn head(rule: &Rule, relations: &Relations) -> Option<usize> {
    relations.own_named(&rule.head.name, rule.head.terms.len())
}
