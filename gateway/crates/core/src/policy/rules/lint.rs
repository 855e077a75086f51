//! Judges what a policy says before it is in force. What would be a silent hole is a fault: a fact
//! that the gateway never states, a group that is not configured, a text where a number stands, a
//! variable that nothing binds. So is what would make an evaluation expensive for whoever sends many
//! arguments.

use std::collections::{BTreeMap, BTreeSet};

use biscuit_auth::builder::{Binary, Op, Predicate, Rule, Term, Unary};

use super::environment::PolicyEnvironment;
use super::listing::variable;
use super::source::{Fault, File, NOTHING, Source, Written};
use super::vocabulary::{self, FactSet, Holds, STATED, nearest};

/// Looks for what would never be as it is written.
pub(super) struct Linter<'a> {
    source: &'a Source<'a>,
    environment: &'a PolicyEnvironment,
    /// The policy's own facts and rules: name, and the numbers of their terms.
    own: BTreeMap<&'a str, BTreeSet<usize>>,
    /// Those of them that may hold as much as a call has arguments.
    open: BTreeSet<&'a str>,
    pub(super) uses: FactSet,
    /// The paths of the arguments that are asked about; `None`: any.
    pub(super) paths: Option<BTreeSet<String>>,
    /// Every text that is written out.
    pub(super) texts: BTreeSet<String>,
    pub(super) faults: Vec<Fault>,
}

impl<'a> Linter<'a> {
    pub(super) fn new(
        source: &'a Source<'a>,
        file: &'a File<'_>,
        environment: &'a PolicyEnvironment,
    ) -> Self {
        let mut own: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        let facts = file.facts.iter().map(|fact| &fact.is.predicate);
        for head in facts.chain(file.rules.iter().map(|rule| &rule.is.head)) {
            own.entry(&head.name).or_default().insert(head.terms.len());
        }
        Self {
            source,
            environment,
            own,
            open: open_names(file),
            uses: FactSet::default(),
            paths: Some(BTreeSet::new()),
            texts: BTreeSet::new(),
            faults: Vec::new(),
        }
    }

    /// Looks at every statement.
    pub(super) fn file(&mut self, file: &File<'_>) {
        for fact in &file.facts {
            self.head(fact, &fact.is.predicate);
        }
        for rule in &file.rules {
            self.head(rule, &rule.is.head);
            self.query(rule, &rule.is);
        }
        for check in &file.checks {
            let queries = check.is.queries.iter();
            queries.for_each(|query| self.query(check, query));
        }
        for policy in &file.policies {
            let queries = policy.is.queries.iter();
            queries.for_each(|query| self.query(policy, query));
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
        let mut open = Vec::new();
        for predicate in &query.body {
            self.predicate(statement, predicate);
            bound.extend(predicate.terms.iter().filter_map(variable));
            if is_open(&self.open, predicate) {
                open.push(predicate.name.as_str());
            }
        }
        if let [first, _, ..] = open[..] {
            let sentence = "every argument would be compared with every other one; name the path of all but one";
            let own = open.iter().find(|name| self.own.contains_key(**name));
            let sentence = match own {
                Some(name) => format!("{sentence} (`{name}` is made from every argument)"),
                None => sentence.to_owned(),
            };
            self.wrong(statement, first, sentence);
        }
        for name in query.head.terms.iter().filter_map(variable) {
            self.bound(statement, name, &bound);
        }
        for expression in &query.expressions {
            self.operations(statement, &expression.ops, &bound);
            self.names(statement, query, &expression.ops);
        }
    }

    /// A login name that is compared with a text in which capitals stand.
    fn names<T>(&mut self, statement: &Written<'_, T>, query: &Rule, ops: &[Op]) {
        let users = query.body.iter().filter(|one| one.name == "user");
        let users: BTreeSet<&str> = users
            .flat_map(|one| &one.terms)
            .filter_map(variable)
            .collect();
        for three in ops.windows(3) {
            let [Op::Value(one), Op::Value(other), Op::Binary(_)] = three else {
                continue;
            };
            for (name, constant) in [(one, other), (other, one)] {
                if variable(name).is_some_and(|name| users.contains(name))
                    && let Some(problem) = capitals(constant)
                {
                    self.wrong(statement, "user(", problem);
                }
            }
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
        self.uses.insert(stated.fact);
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
                            .map_or_else(|| meant.to_owned(), vocabulary::FactDefinition::form);
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
        let environment = self.environment;
        let names = |set: &'a BTreeSet<String>| set.iter().map(String::as_str).collect();
        match (holds, term) {
            (Holds::Any, _)
            | (Holds::Text(_), Term::Str(_))
            | (Holds::Integer(_), Term::Integer(_))
            | (Holds::Bool, Term::Bool(_))
            | (Holds::Date, Term::Date(_))
            | (Holds::True, Term::Bool(true)) => None,
            (Holds::User, Term::Str(text)) => in_capitals(text),
            (Holds::OneOf(known), Term::Str(text)) => one_of("known values", text, known.to_vec()),
            (Holds::Group, Term::Str(text)) => {
                let groups = environment.groups.keys().map(String::as_str);
                one_of("configured groups", text, groups.collect())
            }
            (Holds::Network, Term::Str(text)) => {
                let networks = environment.networks.keys().map(String::as_str);
                one_of("configured networks", text, networks.collect())
            }
            (Holds::Backend, Term::Str(text)) => {
                one_of("backends", text, names(&environment.backends))
            }
            (Holds::Approver, Term::Str(text)) => {
                one_of("approvers", text, names(&environment.approvers))
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
            Term::Str(text) => {
                self.texts.insert(text.clone());
            }
            Term::Set(terms) => terms.iter().for_each(|term| self.term(statement, term)),
            Term::Array(terms) => terms.iter().for_each(|term| self.term(statement, term)),
            Term::Map(terms) => terms.values().for_each(|term| self.term(statement, term)),
            _ => {}
        }
    }
}

/// The same for texts alone and in a collection.
fn capitals(term: &Term) -> Option<String> {
    match term {
        Term::Str(text) => in_capitals(text),
        Term::Set(terms) => terms.iter().find_map(capitals),
        Term::Array(terms) => terms.iter().find_map(capitals),
        _ => None,
    }
}

/// Why a login name never stands so.
fn in_capitals(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    (lower != name).then(|| format!("login names are in lower case here: \"{lower}\""))
}

/// Whether it can match as often as a call has arguments.
fn is_open(open: &BTreeSet<&str>, predicate: &Predicate) -> bool {
    match predicate.name.as_str() {
        "argument" | "argument_type" => !matches!(predicate.terms.first(), Some(Term::Str(_))),
        name => open.contains(name),
    }
}

/// The policy's own names that a rule makes from every argument: some variable of the head comes
/// from nowhere else.
fn open_names<'a>(file: &'a File<'_>) -> BTreeSet<&'a str> {
    let mut open = BTreeSet::new();
    // Each round adds a name or is the last.
    loop {
        let before = open.len();
        for rule in file.rules.iter().map(|rule| &rule.is) {
            let (many, few): (Vec<_>, Vec<_>) =
                rule.body.iter().partition(|one| is_open(&open, one));
            let of = |predicates: &[&'a Predicate], name: &str| {
                let mut terms = predicates.iter().flat_map(|one| &one.terms);
                terms.any(|term| variable(term) == Some(name))
            };
            let mut head = rule.head.terms.iter().filter_map(variable);
            if head.any(|name| of(&many, name) && !of(&few, name)) {
                open.insert(rule.head.name.as_str());
            }
        }
        if before == open.len() {
            return open;
        }
    }
}
