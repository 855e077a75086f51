//! Reads a policy file into what is evaluated, or tells every fault of it.
//!
//! Owns: the order of the steps, and what a statement becomes. Not: Datalog's grammar and places
//! (`source`), what a policy may say (`lint`).

use std::sync::Arc;

use biscuit_auth::builder::{Check, Fact, Policy, Rule};
use biscuit_auth::error;
use quick_cache::sync::Cache;

use super::asked_arguments::AskedArguments;
use super::decision::{SourceLine, Statement};
use super::environment::PolicyEnvironment;
use super::lint::Linter;
use super::names::Names;
use super::remembered::REMEMBERED;
use super::source::{Fault, File, Source, each};
use super::{Rules, compiled, listing, patterns};
use compiled::NotCompiled;

/// How many statements are tried to find the one that fails: a client can make them fail.
const ALONE: usize = 32;

impl Rules {
    /// Reads a policy. `file_name` is what it is called in faults, logs and records. All faults at once.
    pub fn read(
        file_name: &str,
        text: &str,
        environment: PolicyEnvironment,
    ) -> Result<Self, Vec<Fault>> {
        let source = Source { text };
        let file = source.parse()?;
        let mut judge = Linter::new(&source, &file, &environment);
        judge.file(&file);
        let (uses, paths, texts) = (judge.uses, judge.paths, judge.texts);
        let mut faults = judge.faults;
        if !faults.is_empty() {
            faults.sort_by_key(|fault| (fault.line, fault.column));
            return Err(faults);
        }
        let program = program(&file);
        let facts: Vec<Fact> = each(file.facts.iter(), |fact| fact.is.clone());
        let place = |at: usize, text: &str| {
            Statement(Arc::new(SourceLine {
                file: file_name.to_owned(),
                line: source.position(at).0,
                text: text.to_owned(),
            }))
        };
        let unusable =
            |error: error::Token| vec![source.fault(0, format!("can't be used: {error}"))];
        let check_places = each(file.checks.iter(), |check| place(check.at, check.text));
        let policy_places = each(file.policies.iter(), |policy| place(policy.at, policy.text));
        let (compiled, not_compiled) = match compiled::compile(&facts, &program) {
            Ok(compiled) => (Some(compiled), Vec::new()),
            Err(left) => (
                None,
                each(left.into_iter(), |left| {
                    let (at, text, why) = written(&file, left);
                    (place(at, text), why)
                }),
            ),
        };
        let alone = program
            .alone()
            .zip(check_places.iter().chain(&policy_places))
            .filter_map(|(alone, statement)| Some((alone?, statement.clone())))
            .take(ALONE)
            .map(|(alone, statement)| Ok((alone.builder(&facts)?, statement)))
            .collect::<Result<_, _>>()
            .map_err(unusable)?;
        Ok(Self {
            alone,
            general: program.relaxed().builder(&facts).map_err(unusable)?,
            prepared: program.clone().builder(&facts).map_err(unusable)?,
            program,
            facts,
            checks: check_places,
            policies: policy_places,
            uses_in_general: uses.steady(),
            uses,
            arguments: match paths {
                Some(paths) => AskedArguments::At(paths.into_iter().collect()),
                None => AskedArguments::All,
            },
            names: Names::new(texts),
            compiled,
            not_compiled,
            environment,
            remembered: Cache::new(REMEMBERED),
        })
    }
}

/// What is evaluated of a file, beside its facts.
fn program(file: &File<'_>) -> listing::Program {
    let holding = patterns::holding_names(file.rules.iter().map(|rule| &rule.is));
    let meant = |rule: &Rule| patterns::as_meant(rule.clone(), &holding);
    listing::Program {
        rules: each(file.rules.iter(), |rule| meant(&rule.is)),
        checks: each(file.checks.iter(), |check| Check {
            queries: each(check.is.queries.iter(), meant),
            kind: check.is.kind.clone(),
        }),
        policies: each(file.policies.iter(), |policy| Policy {
            queries: each(policy.is.queries.iter(), meant),
            kind: policy.is.kind.clone(),
        }),
    }
}

/// Where a statement that is not compiled stands, its text, and why it is not.
fn written<'t>(file: &File<'t>, left: NotCompiled) -> (usize, &'t str, &'static str) {
    match left {
        NotCompiled::Rule(at, why) => (file.rules[at].at, file.rules[at].text, why),
        NotCompiled::Check(at, why) => (file.checks[at].at, file.checks[at].text, why),
        NotCompiled::Policy(at, why) => (file.policies[at].at, file.policies[at].text, why),
        NotCompiled::Fact(at, why) => (file.facts[at].at, file.facts[at].text, why),
    }
}
