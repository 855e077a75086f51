//! Reads a policy file. What would be a silent hole is a fault here: a fact that the gateway never
//! states, a group that is not configured, a text where a number stands, a variable that nothing
//! binds. So is what would make an evaluation expensive for whoever sends many arguments.
//!
//! Owns: all faults with their places. Not: Datalog's grammar (`biscuit-parser`), what the facts
//! mean (`vocabulary`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use biscuit_auth::builder::{Binary, Check, Fact, Op, Policy, Predicate, Rule, Term, Unary};
use biscuit_auth::{error, parser};
use biscuit_parser::error::LanguageError;
use quick_cache::sync::Cache;

use super::vocabulary::{self, Holds, STATED, nearest};
use super::{
    ALONE, AskedArguments, Ground, Place, REMEMBERED, Rules, STARTS_WITH, Statement, listing,
};

/// Something that is wrong with a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// What, and what to do.
    pub sentence: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.sentence)
    }
}

/// A statement as it was parsed. `at`: where it begins in the file, in bytes.
struct Written<'t, T> {
    at: usize,
    text: &'t str,
    is: T,
}

/// All statements of a file, those of each kind in their order.
struct File<'t> {
    facts: Vec<Written<'t, Fact>>,
    rules: Vec<Written<'t, Rule>>,
    checks: Vec<Written<'t, Check>>,
    policies: Vec<Written<'t, Policy>>,
}

pub(super) fn read(name: &str, text: &str, ground: Ground) -> Result<Rules, Vec<Fault>> {
    let source = Source { text };
    let file = source.parse()?;
    let mut judge = Judge::new(&source, &file, &ground);
    judge.file(&file);
    let (uses, paths, mut faults) = (judge.uses, judge.paths, judge.faults);
    if !faults.is_empty() {
        faults.sort_by_key(|fault| (fault.line, fault.column));
        return Err(faults);
    }
    let rules: Vec<Rule> = each(file.rules.iter(), |rule| safe(rule.is.clone()));
    let checks: Vec<Check> = each(file.checks.iter(), |check| Check {
        queries: each(check.is.queries.iter(), |query| safe(query.clone())),
        kind: check.is.kind.clone(),
    });
    let policies: Vec<Policy> = each(file.policies.iter(), |policy| Policy {
        queries: each(policy.is.queries.iter(), |query| safe(query.clone())),
        kind: policy.is.kind.clone(),
    });
    let facts: Vec<Fact> = each(file.facts.iter(), |fact| fact.is.clone());
    let place = |at: usize, text: &str| {
        Statement(Arc::new(Place {
            file: name.to_owned(),
            line: source.position(at).0,
            text: text.to_owned(),
        }))
    };
    let unusable = |error: error::Token| vec![source.fault(0, format!("can't be used: {error}"))];
    let check_places = each(file.checks.iter(), |check| place(check.at, check.text));
    let policy_places = each(file.policies.iter(), |policy| place(policy.at, policy.text));
    let program = listing::Program {
        rules,
        checks,
        policies,
    };
    let alone = program
        .alone()
        .zip(check_places.iter().chain(&policy_places))
        .filter_map(|(alone, statement)| Some((alone?, statement.clone())))
        .take(ALONE)
        .map(|(alone, statement)| Ok((alone.builder(&facts)?, statement)))
        .collect::<Result<_, _>>()
        .map_err(unusable)?;
    Ok(Rules {
        alone,
        general: program.relaxed().builder(&facts).map_err(unusable)?,
        prepared: program.builder(&facts).map_err(unusable)?,
        checks: check_places,
        policies: policy_places,
        uses_in_general: uses
            .iter()
            .copied()
            .filter(|name| vocabulary::stated(name).is_some_and(|stated| !stated.varies))
            .collect(),
        uses,
        arguments: match paths {
            Some(paths) => AskedArguments::At(paths.into_iter().collect()),
            None => AskedArguments::All,
        },
        ground,
        remembered: Cache::new(REMEMBERED),
    })
}

fn each<T, U>(items: impl Iterator<Item = T>, make: impl FnMut(T) -> U) -> Vec<U> {
    items.map(make).collect()
}

/// The rule with `starts_with` as it is meant here.
fn safe(mut rule: Rule) -> Rule {
    fn rewrite(ops: &mut [Op]) {
        for op in ops {
            match op {
                Op::Binary(binary) if *binary == Binary::Prefix => {
                    *binary = Binary::Ffi(STARTS_WITH.to_owned());
                }
                Op::Closure(_, ops) => rewrite(ops),
                _ => {}
            }
        }
    }
    for expression in &mut rule.expressions {
        rewrite(&mut expression.ops);
    }
    rule
}

struct Source<'t> {
    text: &'t str,
}

impl<'t> Source<'t> {
    fn parse(&self) -> Result<File<'t>, Vec<Fault>> {
        if self.text.trim().is_empty() {
            return Err(vec![self.fault(0, NOTHING.to_owned())]);
        }
        let parsed = parser::parse_source(self.text).map_err(|errors| {
            // After a fault the parser stumbles over white space at the end of the file.
            let (empty, real): (Vec<_>, Vec<_>) = errors
                .into_iter()
                .partition(|error| self.text[self.offset(error.input)..].trim().is_empty());
            let errors = if real.is_empty() { empty } else { real };
            each(errors.into_iter(), |error| self.syntax(&error))
        })?;
        // Keys are of no use here, and turning a malformed one into a rule is a panic.
        let mut faults = Vec::new();
        let mut trusts = |source: &str, trusts: bool| {
            if trusts {
                let sentence = "`trusting` has no use here: a policy sees the gateway's facts only";
                faults.push(self.fault(self.offset(source), sentence.to_owned()));
            }
        };
        for (source, rule) in &parsed.rules {
            trusts(source, !rule.scopes.is_empty());
        }
        for (source, check) in &parsed.checks {
            trusts(
                source,
                check.queries.iter().any(|query| !query.scopes.is_empty()),
            );
        }
        for (source, policy) in &parsed.policies {
            trusts(
                source,
                policy.queries.iter().any(|query| !query.scopes.is_empty()),
            );
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(File {
            facts: each(parsed.facts.into_iter(), |(text, is)| {
                self.written(text, is.into())
            }),
            rules: each(parsed.rules.into_iter(), |(text, is)| {
                self.written(text, is.into())
            }),
            checks: each(parsed.checks.into_iter(), |(text, is)| {
                self.written(text, is.into())
            }),
            policies: each(parsed.policies.into_iter(), |(text, is)| {
                self.written(text, is.into())
            }),
        })
    }

    fn written<T>(&self, text: &'t str, is: T) -> Written<'t, T> {
        let text = text.trim();
        Written {
            at: self.offset(text),
            text,
            is,
        }
    }

    /// Where a part of the text begins.
    fn offset(&self, part: &str) -> usize {
        let at = part.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        at.min(self.text.len())
    }

    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    fn fault(&self, at: usize, sentence: String) -> Fault {
        let (line, column) = self.position(at);
        Fault {
            line,
            column,
            sentence,
        }
    }

    /// What the parser met. It tries every kind of statement in turn and tells of the last, so the
    /// kind that was probably meant is asked once more.
    fn syntax(&self, error: &parser::Error<'t>) -> Fault {
        let at = self.offset(error.input);
        if let Some(message) = &error.message {
            return self.fault(at, first_line(message));
        }
        let start = at + (self.text[at..].len() - self.text[at..].trim_start().len());
        let rest = &self.text[start..];
        let statement = rest.split(';').next().unwrap_or_default();
        let words: Vec<&str> = statement.split_whitespace().take(2).collect();
        let begins = words.join(" ").to_ascii_lowercase();
        let detail = match begins.as_str() {
            "allow if" | "deny if" => Policy::try_from(statement).err(),
            "check if" | "check all" | "reject if" => Check::try_from(statement).err(),
            _ if statement.contains("<-") => Rule::try_from(statement).err(),
            _ => {
                let keyword = nearest(&begins, KEYWORDS).filter(|_| words.len() == 2);
                if let Some(keyword) = keyword {
                    let sentence = format!(
                        "`{}` begins no statement; did you mean `{keyword}`?",
                        words.join(" ")
                    );
                    return self.fault(start, sentence);
                }
                Fact::try_from(statement).err()
            }
        };
        let Some(error::Token::Language(LanguageError::ParseError(errors))) = detail else {
            return self.fault(start, UNREADABLE.to_owned());
        };
        let Some(first) = errors.errors.first() else {
            return self.fault(start, UNREADABLE.to_owned());
        };
        let at = match first.input.is_empty() {
            true => statement.len(),
            false => statement.find(&first.input).unwrap_or(0),
        };
        let sentence = match &first.message {
            Some(message) => first_line(message),
            None => UNREADABLE.to_owned(),
        };
        self.fault(start + at, sentence)
    }
}

const KEYWORDS: [&str; 5] = ["allow if", "deny if", "check if", "check all", "reject if"];

const UNREADABLE: &str = "this can't be read: a statement is a fact, a rule (`head(…) <- …`), `check if`, \
     `allow if` or `deny if`, ends with `;`, and has no remark within";

const NOTHING: &str = "there is no `allow if` and no `deny if`: nothing would ever be allowed";

fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    // What was met instead is quoted whole, over lines.
    match line.contains(": '") || line.contains("got '") {
        true if !line.ends_with('\'') => format!("{line}…'"),
        _ => line.to_owned(),
    }
}

/// Looks for what would never be as it is written.
struct Judge<'a> {
    source: &'a Source<'a>,
    ground: &'a Ground,
    /// The policy's own facts and rules: name, and the numbers of their terms.
    own: BTreeMap<&'a str, BTreeSet<usize>>,
    uses: BTreeSet<&'static str>,
    /// The paths of the arguments that are asked about; `None`: any.
    paths: Option<BTreeSet<String>>,
    faults: Vec<Fault>,
}

impl<'a> Judge<'a> {
    fn new(source: &'a Source<'a>, file: &'a File<'_>, ground: &'a Ground) -> Self {
        let mut own: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        let facts = file.facts.iter().map(|fact| &fact.is.predicate);
        for head in facts.chain(file.rules.iter().map(|rule| &rule.is.head)) {
            own.entry(&head.name).or_default().insert(head.terms.len());
        }
        Self {
            source,
            ground,
            own,
            uses: BTreeSet::new(),
            paths: Some(BTreeSet::new()),
            faults: Vec::new(),
        }
    }

    fn file(&mut self, file: &File<'_>) {
        for fact in &file.facts {
            self.head(fact, &fact.is.predicate);
        }
        for rule in &file.rules {
            self.head(rule, &rule.is.head);
            self.query(rule, &rule.is);
        }
        for check in &file.checks {
            check
                .is
                .queries
                .iter()
                .for_each(|query| self.query(check, query));
        }
        for policy in &file.policies {
            policy
                .is
                .queries
                .iter()
                .for_each(|query| self.query(policy, query));
        }
        if file.policies.is_empty() {
            self.faults.push(self.source.fault(0, NOTHING.to_owned()));
        }
    }

    /// `part`: what of the statement it is about, for the column.
    fn wrong<T>(&mut self, statement: &Written<'_, T>, part: &str, sentence: String) {
        let within = statement.text.find(part).unwrap_or_default();
        self.faults
            .push(self.source.fault(statement.at + within, sentence));
    }

    /// What the policy states itself must not be what the gateway states.
    fn head<T>(&mut self, statement: &Written<'_, T>, head: &Predicate) {
        if vocabulary::stated(&head.name).is_some() {
            let sentence = format!(
                "`{}` is stated by the gateway; give what the policy states another name",
                head.name
            );
            self.wrong(statement, &head.name, sentence);
        }
        for term in &head.terms {
            self.term(statement, term);
        }
    }

    fn query<T>(&mut self, statement: &Written<'_, T>, query: &Rule) {
        let mut bound = BTreeSet::new();
        let mut open_arguments = 0;
        for predicate in &query.body {
            self.predicate(statement, predicate);
            bound.extend(predicate.terms.iter().filter_map(variable));
            let is_argument = matches!(predicate.name.as_str(), "argument" | "argument_type");
            if is_argument && !matches!(predicate.terms.first(), Some(Term::Str(_))) {
                open_arguments += 1;
            }
        }
        if open_arguments > 1 {
            let sentence = "every argument would be compared with every other one; name the path of all but one";
            self.wrong(statement, "argument", sentence.to_owned());
        }
        for name in query.head.terms.iter().filter_map(variable) {
            self.bound(statement, name, &bound);
        }
        for expression in &query.expressions {
            self.operations(statement, &expression.ops, &bound);
        }
    }

    fn bound<T>(&mut self, statement: &Written<'_, T>, name: &str, bound: &BTreeSet<&str>) {
        if !bound.contains(name) {
            let sentence = format!("`${name}` is bound by no fact of this statement");
            self.wrong(statement, &format!("${name}"), sentence);
        }
    }

    fn operations<T>(&mut self, statement: &Written<'_, T>, ops: &[Op], bound: &BTreeSet<&str>) {
        for (at, op) in ops.iter().enumerate() {
            match op {
                Op::Value(Term::Variable(name)) => self.bound(statement, name, bound),
                Op::Value(term) => self.term(statement, term),
                Op::Closure(parameters, ops) => {
                    let mut bound = bound.clone();
                    bound.extend(parameters.iter().map(String::as_str));
                    self.operations(statement, ops, &bound);
                }
                Op::Unary(Unary::Ffi(name)) | Op::Binary(Binary::Ffi(name)) => {
                    let sentence = format!("there is no function `extern::{name}` here");
                    self.wrong(statement, "extern::", sentence);
                }
                Op::Binary(Binary::Regex) => self.pattern(statement, ops.get(at.wrapping_sub(1))),
                Op::Unary(_) | Op::Binary(_) => {}
            }
        }
    }

    /// A pattern that is none would match nothing, and one from an argument could be any.
    fn pattern<T>(&mut self, statement: &Written<'_, T>, pattern: Option<&Op>) {
        let sentence = match pattern {
            Some(Op::Value(Term::Str(pattern))) => match regex::Regex::new(pattern) {
                Ok(_) => return,
                Err(_) => format!("`{pattern}` is no regular expression"),
            },
            _ => "`matches` takes a pattern that is written out".to_owned(),
        };
        self.wrong(statement, "matches", sentence);
    }

    fn predicate<T>(&mut self, statement: &Written<'_, T>, predicate: &Predicate) {
        let (name, count) = (predicate.name.as_str(), predicate.terms.len());
        for term in &predicate.terms {
            self.term(statement, term);
        }
        let Some(stated) = vocabulary::stated(name) else {
            self.own_predicate(statement, predicate);
            return;
        };
        self.uses.insert(stated.name);
        if count != stated.terms.len() {
            let sentence = format!("`{name}` is written `{}`", stated.form());
            self.wrong(statement, name, sentence);
            return;
        }
        for (holds, term) in stated.terms.iter().zip(&predicate.terms) {
            if let Some(problem) = self.never(*holds, term) {
                let sentence = format!("`{predicate}` is never stated: {problem}");
                self.wrong(statement, &format!("{name}("), sentence);
            }
        }
        if matches!(name, "argument" | "argument_type") {
            match (predicate.terms.first(), &mut self.paths) {
                (Some(Term::Str(path)), Some(paths)) => {
                    paths.insert(path.clone());
                }
                _ => self.paths = None,
            }
        }
    }

    fn own_predicate<T>(&mut self, statement: &Written<'_, T>, predicate: &Predicate) {
        let (name, count) = (predicate.name.as_str(), predicate.terms.len());
        let sentence = match self.own.get(name) {
            Some(counts) if counts.contains(&count) => return,
            Some(counts) => {
                let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
                format!(
                    "`{name}` is stated with {} terms, not {count}",
                    counts.join(" or ")
                )
            }
            None => {
                let known = STATED.iter().map(|stated| stated.name);
                let meant = nearest(name, known.chain(self.own.keys().copied()));
                match meant {
                    Some(meant) => {
                        let form = vocabulary::stated(meant)
                            .map_or_else(|| meant.to_owned(), vocabulary::Stated::form);
                        format!("nothing states `{name}`; did you mean `{form}`?")
                    }
                    None => format!("nothing states `{name}`"),
                }
            }
        };
        self.wrong(statement, &format!("{name}("), sentence);
    }

    /// Why a constant never stands there. Variables stand for anything.
    fn never(&self, holds: Holds, term: &Term) -> Option<String> {
        if matches!(term, Term::Variable(_) | Term::Parameter(_)) {
            return None;
        }
        let one_of = |what: &str, text: &str, known: Vec<&str>| {
            if known.contains(&text) {
                return None;
            }
            let hint = match nearest(text, known.iter().copied()) {
                Some(meant) => format!("; did you mean \"{meant}\"?"),
                None if known.is_empty() => String::new(),
                None => format!(", which are {}", known.join(", ")),
            };
            Some(format!("\"{text}\" is none of the {what}{hint}"))
        };
        let names = |set: &'a BTreeSet<String>| set.iter().map(String::as_str).collect();
        match (holds, term) {
            (Holds::Any, _)
            | (Holds::Text(_), Term::Str(_))
            | (Holds::Integer(_), Term::Integer(_))
            | (Holds::Bool, Term::Bool(_))
            | (Holds::Date, Term::Date(_))
            | (Holds::True, Term::Bool(true)) => None,
            (Holds::OneOf(known), Term::Str(text)) => one_of("known values", text, known.to_vec()),
            (Holds::Group, Term::Str(text)) => {
                let groups = self.ground.groups.keys().map(String::as_str).collect();
                one_of("configured groups", text, groups)
            }
            (Holds::Network, Term::Str(text)) => {
                let networks = self.ground.networks.keys().map(String::as_str).collect();
                one_of("configured networks", text, networks)
            }
            (Holds::Backend, Term::Str(text)) => {
                one_of("backends", text, names(&self.ground.backends))
            }
            (Holds::Approver, Term::Str(text)) => {
                one_of("approvers", text, names(&self.ground.approvers))
            }
            (Holds::True, _) => Some("it is stated with `true`, or not at all".to_owned()),
            (Holds::Bool, _) => Some("`true` or `false` stands there".to_owned()),
            (Holds::Integer(_), _) => Some("a number stands there".to_owned()),
            (Holds::Date, _) => {
                Some("a date stands there, such as 2030-01-31T00:00:00Z".to_owned())
            }
            _ => Some("a text stands there".to_owned()),
        }
    }

    fn term<T>(&mut self, statement: &Written<'_, T>, term: &Term) {
        match term {
            Term::Parameter(name) => {
                let sentence = format!("nothing fills in `{{{name}}}`");
                self.wrong(statement, &format!("{{{name}}}"), sentence);
            }
            Term::Set(terms) => terms.iter().for_each(|term| self.term(statement, term)),
            Term::Array(terms) => terms.iter().for_each(|term| self.term(statement, term)),
            Term::Map(terms) => terms.values().for_each(|term| self.term(statement, term)),
            _ => {}
        }
    }
}

fn variable(term: &Term) -> Option<&str> {
    match term {
        Term::Variable(name) => Some(name),
        _ => None,
    }
}
