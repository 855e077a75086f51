//! Names of tools, prompts and methods that a policy matches by a pattern: `starts_with`, `ends_with`,
//! `contains` and `matches`. A backend may ignore case, or drop what nobody sees, so a name has as
//! many readings as such a backend could take it for. Where a pattern holds of one reading and not of
//! another, the name is no answer: neither an `allow` nor a `deny` may go by it, and the call is refused.
//!
//! Owns: which variables of a policy hold such names, what its patterns then mean, and `starts_with` of
//! any text. Not: names that a policy writes out (`names`).

use std::collections::BTreeSet;
use std::sync::Arc;

use biscuit_auth::builder::{AuthorizerBuilder, Binary, MapKey, Op, Predicate, Rule, Term};
use biscuit_auth::datalog::ExternFunc;
use regex::{Regex, RegexBuilder};

use mcp_protocol::lenient::fold;
use mcp_protocol::path_prefix;

/// The name under which `starts_with` of a policy is evaluated.
pub(super) const STARTS_WITH: &str = "starts_with";

/// What an evaluation ends with where readings of a name differ. No value of a call can bring it
/// about otherwise: errors show no values.
pub(super) const UNCLEAR: &str = "a name that can be read as another one";

pub(super) const NAME_STARTS_WITH: &str = "name_starts_with";
pub(super) const NAME_ENDS_WITH: &str = "name_ends_with";
pub(super) const NAME_CONTAINS: &str = "name_contains";
pub(super) const NAME_MATCHES: &str = "name_matches";

/// The facts of the gateway in which a name stands.
const STATED: [&str; 3] = ["tool", "prompt", "method"];

/// Where names stand: a fact, and which of its terms.
pub(super) type PatternPositions = BTreeSet<(String, usize)>;

/// Where names stand in what the gateway states and in what these rules make of it.
pub(super) fn holding_names<'r>(rules: impl Iterator<Item = &'r Rule> + Clone) -> PatternPositions {
    let mut places: PatternPositions = STATED.iter().map(|name| ((*name).to_owned(), 0)).collect();
    // Each round adds a place or is the last.
    loop {
        let before = places.len();
        for rule in rules.clone() {
            let names = variables(&rule.body, &places);
            let terms = rule.head.terms.iter().enumerate();
            let holding = terms.filter(|(_, term)| is_among(term, &names));
            let found: Vec<_> = holding
                .map(|(at, _)| (rule.head.name.clone(), at))
                .collect();
            places.extend(found);
        }
        if before == places.len() {
            return places;
        }
    }
}

/// The rule with patterns as they are meant here: over a name each is one over all its readings.
pub(super) fn as_meant(mut rule: Rule, places: &PatternPositions) -> Rule {
    let names = variables(&rule.body, places);
    for expression in &mut rule.expressions {
        rewrite(&mut expression.ops, &names);
    }
    rule
}

fn variables(body: &[Predicate], places: &PatternPositions) -> BTreeSet<String> {
    let terms = body.iter().flat_map(|predicate| {
        let terms = predicate.terms.iter().enumerate();
        terms.map(|(at, term)| (predicate.name.clone(), at, term))
    });
    terms
        .filter_map(|(name, at, term)| match term {
            Term::Variable(variable) if places.contains(&(name, at)) => Some(variable.clone()),
            _ => None,
        })
        .collect()
}

fn is_among(term: &Term, names: &BTreeSet<String>) -> bool {
    matches!(term, Term::Variable(variable) if names.contains(variable))
}

/// Follows the operations as they are evaluated, each operand with whether a name is in it.
fn rewrite(ops: &mut [Op], names: &BTreeSet<String>) {
    let mut operands = Vec::new();
    for op in ops {
        match op {
            Op::Value(term) => operands.push(is_among(term, names)),
            Op::Unary(_) => {}
            Op::Binary(binary) => {
                let right = operands.pop().unwrap_or_default();
                let left = operands.pop().unwrap_or_default();
                let is_name = left || right;
                let meant = match (&*binary, is_name) {
                    (Binary::Prefix, true) => Some(NAME_STARTS_WITH),
                    (Binary::Prefix, false) => Some(STARTS_WITH),
                    (Binary::Suffix, true) => Some(NAME_ENDS_WITH),
                    (Binary::Contains, true) => Some(NAME_CONTAINS),
                    (Binary::Regex, true) => Some(NAME_MATCHES),
                    _ => None,
                };
                if let Some(meant) = meant {
                    *binary = Binary::Ffi(meant.to_owned());
                }
                operands.push(is_name);
            }
            Op::Closure(parameters, ops) => {
                let mut names = names.clone();
                names.retain(|name| !parameters.contains(name));
                rewrite(ops, &names);
                operands.push(false);
            }
        }
    }
}

/// A builder that knows these patterns.
pub(super) fn registered(builder: AuthorizerBuilder) -> AuthorizerBuilder {
    type Pattern = fn(Term, Option<Term>) -> Extern;
    let patterns: [(&str, Pattern); 5] = [
        (STARTS_WITH, |value, prefix| match (value, prefix) {
            (Term::Array(array), Some(Term::Array(prefix))) => {
                Ok(Term::Bool(array.starts_with(&prefix)))
            }
            (value, prefix) => of_texts("starts_with", starts_with, value, prefix),
        }),
        (NAME_STARTS_WITH, |name, prefix| {
            of_texts("starts_with", name_starts_with, name, prefix)
        }),
        (NAME_ENDS_WITH, |name, suffix| {
            of_texts("ends_with", name_ends_with, name, suffix)
        }),
        (NAME_CONTAINS, name_contains_term),
        (NAME_MATCHES, |name, pattern| {
            of_texts("matches", name_matches, name, pattern)
        }),
    ];
    patterns
        .into_iter()
        .fold(builder, |builder, (name, pattern)| {
            builder.register_extern_func(name.to_owned(), ExternFunc::new(Arc::new(pattern)))
        })
}

/// A prefix with a `/` is that of a folder or URL. Whether a text that steps up or aside lies below
/// it depends on who reads it, so such a text is no answer: neither an `allow` nor a `deny` may go
/// by it. No more may they go by one that some reader takes for one below it though it is written
/// otherwise.
pub(super) fn starts_with(text: &str, prefix: &str) -> Result<bool, &'static str> {
    let is_place = prefix.contains(['/', '\\']);
    if is_place && (!path_prefix::stays_below(text, prefix) || path_prefix::resembles(text, prefix))
    {
        Err("a text that can be read as another path")
    } else {
        Ok(text.starts_with(prefix))
    }
}

/// What holds of a name as it is and as a lenient reader takes it.
fn of_every_reading(as_it_is: bool, leniently: bool) -> Result<bool, &'static str> {
    if as_it_is == leniently {
        Ok(as_it_is)
    } else {
        Err(UNCLEAR)
    }
}

pub(super) fn name_starts_with(name: &str, prefix: &str) -> Result<bool, &'static str> {
    // A name can be that of a place, too.
    starts_with(name, prefix)?;
    let leniently = fold(name).starts_with(&*fold(prefix));
    of_every_reading(name.starts_with(prefix), leniently)
}

pub(super) fn name_ends_with(name: &str, suffix: &str) -> Result<bool, &'static str> {
    let leniently = fold(name).ends_with(&*fold(suffix));
    of_every_reading(name.ends_with(suffix), leniently)
}

pub(super) fn name_contains(name: &str, part: &str) -> Result<bool, &'static str> {
    of_every_reading(name.contains(part), fold(name).contains(&*fold(part)))
}

/// A pattern that names are matched with. One that is none was refused when the policy was read.
#[derive(Debug)]
pub(super) struct NamePattern {
    as_it_is: Option<Regex>,
    leniently: Option<Regex>,
}

impl NamePattern {
    pub(super) fn new(pattern: &str) -> Self {
        let mut leniently = RegexBuilder::new(pattern);
        Self {
            as_it_is: Regex::new(pattern).ok(),
            leniently: leniently.case_insensitive(true).build().ok(),
        }
    }

    pub(super) fn matches(&self, name: &str) -> Result<bool, &'static str> {
        let matches = |pattern: &Option<Regex>, name: &str| {
            pattern
                .as_ref()
                .is_some_and(|pattern| pattern.is_match(name))
        };
        let as_it_is = matches(&self.as_it_is, name);
        of_every_reading(as_it_is, matches(&self.leniently, &fold(name)))
    }
}

/// How Biscuit's evaluator asks: with terms.
type Extern = Result<Term, String>;

/// An operation on two texts, by the name that a policy has for it.
fn of_texts(
    operation: &str,
    test: fn(&str, &str) -> Result<bool, &'static str>,
    one: Term,
    other: Option<Term>,
) -> Extern {
    match (one, other) {
        (Term::Str(one), Some(Term::Str(other))) => told(test(&one, &other)),
        _ => Err(format!("{operation} takes two texts")),
    }
}

fn name_matches(name: &str, pattern: &str) -> Result<bool, &'static str> {
    NamePattern::new(pattern).matches(name)
}

/// Of a collection the names that it has: those are written out, and `names` sees to their readings.
fn name_contains_term(whole: Term, part: Option<Term>) -> Extern {
    let part = part.ok_or("contains takes two values")?;
    let found = match (whole, &part) {
        (Term::Str(whole), Term::Str(part)) => return told(name_contains(&whole, part)),
        (Term::Set(whole), Term::Set(part)) => whole.is_superset(part),
        (Term::Set(whole), part) => whole.contains(part),
        (Term::Array(whole), part) => whole.contains(part),
        (Term::Map(whole), Term::Str(part)) => whole.contains_key(&MapKey::Str(part.clone())),
        _ => return Err("contains takes two texts, or a collection and a value".to_owned()),
    };
    Ok(Term::Bool(found))
}

fn told(result: Result<bool, &'static str>) -> Extern {
    result.map(Term::Bool).map_err(str::to_owned)
}
