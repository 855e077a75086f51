//! Names of tools, prompts and methods that a policy matches by a pattern: `starts_with`, `ends_with`,
//! `contains` and `matches`. A backend may ignore case, or drop what nobody sees, so a name has as
//! many readings as such a backend could take it for. Where a pattern holds of one reading and not of
//! another, the name is no answer: neither an `allow` nor a `deny` may go by it, and the call is refused.
//!
//! Owns: which variables of a policy hold such names, and what its patterns then mean. Not: names that
//! a policy writes out (`names`), arguments (`super::starts_with`).

use std::collections::BTreeSet;
use std::sync::Arc;

use biscuit_auth::builder::{AuthorizerBuilder, Binary, MapKey, Op, Predicate, Rule, Term};
use biscuit_auth::datalog::ExternFunc;
use regex::{Regex, RegexBuilder};

use super::STARTS_WITH;
use mcp_protocol::lenient::folded;

/// What an evaluation ends with where readings of a name differ. No value of a call can bring it
/// about otherwise: errors show no values.
pub(super) const UNCLEAR: &str = "a name that can be read as another one";

const NAME_STARTS_WITH: &str = "name_starts_with";
const NAME_ENDS_WITH: &str = "name_ends_with";
const NAME_CONTAINS: &str = "name_contains";
const NAME_MATCHES: &str = "name_matches";

/// The facts of the gateway in which a name stands.
const STATED: [&str; 3] = ["tool", "prompt", "method"];

/// Where names stand: a fact, and which of its terms.
pub(super) type Places = BTreeSet<(String, usize)>;

/// Where names stand in what the gateway states and in what these rules make of it.
pub(super) fn holding_names<'r>(rules: impl Iterator<Item = &'r Rule> + Clone) -> Places {
    let mut places: Places = STATED.iter().map(|name| ((*name).to_owned(), 0)).collect();
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

/// Makes every pattern over a name one over all its readings.
pub(super) fn read_leniently(rule: &mut Rule, places: &Places) {
    let names = variables(&rule.body, places);
    for expression in &mut rule.expressions {
        rewrite(&mut expression.ops, &names);
    }
}

fn variables(body: &[Predicate], places: &Places) -> BTreeSet<String> {
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
                let lenient = match binary {
                    Binary::Prefix => NAME_STARTS_WITH,
                    Binary::Suffix => NAME_ENDS_WITH,
                    Binary::Contains => NAME_CONTAINS,
                    Binary::Regex => NAME_MATCHES,
                    _ => "",
                };
                if is_name && !lenient.is_empty() {
                    *binary = Binary::Ffi(lenient.to_owned());
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
    type Pattern = fn(Term, Option<Term>) -> Result<Term, String>;
    let patterns: [(&str, Pattern); 4] = [
        (NAME_STARTS_WITH, starts_with),
        (NAME_ENDS_WITH, ends_with),
        (NAME_CONTAINS, contains),
        (NAME_MATCHES, matches),
    ];
    patterns
        .into_iter()
        .fold(builder, |builder, (name, pattern)| {
            builder.register_extern_func(name.to_owned(), ExternFunc::new(Arc::new(pattern)))
        })
}

/// What holds of a name as it is and as a lenient reader takes it.
fn of_every_reading(as_it_is: bool, leniently: bool) -> Result<Term, String> {
    match as_it_is == leniently {
        true => Ok(Term::Bool(as_it_is)),
        false => Err(UNCLEAR.to_owned()),
    }
}

fn starts_with(name: Term, prefix: Option<Term>) -> Result<Term, String> {
    // A name can be that of a place, too.
    super::starts_with(name.clone(), prefix.clone())?;
    match (name, prefix) {
        (Term::Str(name), Some(Term::Str(prefix))) => of_every_reading(
            name.starts_with(&prefix),
            folded(&name).starts_with(&folded(&prefix)),
        ),
        _ => Err(format!("{STARTS_WITH} takes two texts")),
    }
}

fn ends_with(name: Term, suffix: Option<Term>) -> Result<Term, String> {
    match (name, suffix) {
        (Term::Str(name), Some(Term::Str(suffix))) => of_every_reading(
            name.ends_with(&suffix),
            folded(&name).ends_with(&folded(&suffix)),
        ),
        _ => Err("ends_with takes two texts".to_owned()),
    }
}

/// Of a collection the names that it has: those are written out, and `names` sees to their readings.
fn contains(whole: Term, part: Option<Term>) -> Result<Term, String> {
    let part = part.ok_or("contains takes two values")?;
    let found = match (whole, &part) {
        (Term::Str(whole), Term::Str(part)) => {
            return of_every_reading(
                whole.contains(part.as_str()),
                folded(&whole).contains(&folded(part)),
            );
        }
        (Term::Set(whole), Term::Set(part)) => whole.is_superset(part),
        (Term::Set(whole), part) => whole.contains(part),
        (Term::Array(whole), part) => whole.contains(part),
        (Term::Map(whole), Term::Str(part)) => whole.contains_key(&MapKey::Str(part.clone())),
        _ => return Err("contains takes two texts, or a collection and a value".to_owned()),
    };
    Ok(Term::Bool(found))
}

fn matches(name: Term, pattern: Option<Term>) -> Result<Term, String> {
    let (Term::Str(name), Some(Term::Str(pattern))) = (name, pattern) else {
        return Err("matches takes two texts".to_owned());
    };
    // One that is none was refused when the policy was read.
    let as_it_is = Regex::new(&pattern).is_ok_and(|pattern| pattern.is_match(&name));
    let leniently = RegexBuilder::new(&pattern)
        .case_insensitive(true)
        .build()
        .is_ok_and(|pattern| pattern.is_match(&folded(&name)));
    of_every_reading(as_it_is, leniently)
}
