//! The facts that rules join: those that the gateway states about a call, and the policy's own.

use std::collections::BTreeMap;

use biscuit_auth::builder::{Fact, Rule};

use crate::policy::rules::value::{Constant, Value};
use crate::policy::rules::vocabulary::{self, StatedFact};

/// The facts of one name and number of terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Stated(StatedFact),
    /// The number of one of the policy's own.
    Own(usize),
}

/// Facts of the policy's own.
#[derive(Debug, Default)]
pub(super) struct OwnRelation {
    /// How many terms each has.
    pub(super) arity: usize,
    /// Those that the policy writes out, one after the other.
    pub(super) written: Vec<Constant>,
}

/// What a term of a fact has to be.
#[derive(Debug)]
pub(super) enum Pattern {
    Is(Constant),
    /// Anything, and it is kept in this slot.
    Bind(usize),
    /// What is in this slot.
    Same(usize),
}

/// What a rule asks for: facts of one relation that match.
#[derive(Debug)]
pub(super) struct Atom {
    pub(super) relation: Relation,
    pub(super) terms: Vec<Pattern>,
}

impl Atom {
    /// The text that the first term has to be, if it has to.
    pub(super) fn first(&self) -> Option<&str> {
        match self.terms.first() {
            Some(Pattern::Is(Constant::Text(text))) => Some(text),
            _ => None,
        }
    }

    /// Whether a fact matches; what it binds is then in the slots.
    pub(super) fn matches<'f>(
        &self,
        fact: impl Iterator<Item = Value<'f>>,
        slots: &mut [Value<'f>],
    ) -> bool {
        self.terms
            .iter()
            .zip(fact)
            .all(|(pattern, value)| match pattern {
                Pattern::Is(constant) => Value::from(constant).is(&value),
                Pattern::Same(slot) => slots[*slot].is(&value),
                Pattern::Bind(slot) => {
                    slots[*slot] = value;
                    true
                }
            })
    }
}

/// Every relation of a policy, by name and number of terms.
#[derive(Debug, Default)]
pub(super) struct Relations {
    numbers: BTreeMap<(String, usize), usize>,
    pub(super) own: Vec<OwnRelation>,
}

impl Relations {
    /// `Err`: the number of a fact in which there is a variable.
    pub(super) fn new(facts: &[Fact], rules: &[Rule]) -> Result<Self, usize> {
        let mut relations = Self::default();
        for (at, fact) in facts.iter().enumerate() {
            let terms = &fact.predicate.terms;
            let number = relations.number(&fact.predicate.name, terms.len());
            for term in terms {
                let constant = Constant::from_term(term).ok_or(at)?;
                relations.own[number].written.push(constant);
            }
        }
        for rule in rules {
            relations.number(&rule.head.name, rule.head.terms.len());
        }
        Ok(relations)
    }

    fn number(&mut self, name: &str, arity: usize) -> usize {
        let next = self.own.len();
        let number = *self.numbers.entry((name.to_owned(), arity)).or_insert(next);
        if number == next {
            self.own.push(OwnRelation {
                arity,
                written: Vec::new(),
            });
        }
        number
    }

    /// The relation that a rule asks for by this name.
    pub(super) fn named(&self, name: &str, arity: usize) -> Option<Relation> {
        let own = self.own_named(name, arity);
        let stated = || vocabulary::stated(name).filter(|row| row.terms.len() == arity);
        own.map(Relation::Own)
            .or_else(|| stated().map(|row| Relation::Stated(row.fact)))
    }

    /// The number of the policy's own relation of this name.
    pub(super) fn own_named(&self, name: &str, arity: usize) -> Option<usize> {
        self.numbers.get(&(name.to_owned(), arity)).copied()
    }

    /// How many facts the policy writes out, counting one for those without terms.
    pub(super) fn written(&self) -> usize {
        let facts = |own: &OwnRelation| own.written.len().checked_div(own.arity).unwrap_or(1);
        self.own.iter().map(facts).sum()
    }
}
