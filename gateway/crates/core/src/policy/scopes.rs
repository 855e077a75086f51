//! What scopes there are and what each covers: the tables `[scope.NAME]` of the configuration.
//!
//! Where there is none, the one scope is `mcp`, and it covers everything. Where there are some, they
//! are the whole vocabulary of new grants: `mcp` is among them only as `[scope.mcp]`. A token that
//! already carries `mcp` keeps meaning everything until its grant ends, so that a table can be
//! written into a running installation without disconnecting anybody.
//!
//! Owns: what a request is granted, what an operation needs, whether a token's scope covers it. Not:
//! what a scope is on the wire (`protocol::scope`), which tools the user chose (`grants`).

mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use self::faults::ScopeFault;

use self::faults::{closure, faults};

use crate::protocol::scope::{MCP, NarrowError, OFFLINE_ACCESS, Scope, ScopeMalformed};

/// The words for `mcp` where no table says others.
const WORDS_FOR_MCP: &str = "Use everything that it has: tools, resources and prompts";

/// A name in which `*` stands for any characters, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// The longest that is taken, in bytes.
    pub const LONGEST: usize = 128;

    /// `None` for an empty one, one that is too long, and one with control characters.
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = (1..=Self::LONGEST).contains(&text.len()) && !text.contains(char::is_control);
        is_one.then(|| Self(text.to_owned()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names one name only.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether a name is meant. Names are compared byte for byte.
    pub fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return self.0 == name;
        };
        let Some(mut name) = name.strip_prefix(first) else {
            return false;
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in middle.split('*') {
            match name.find(part) {
                Some(at) => name = &name[at + part.len()..],
                None => return false,
            }
        }
        name.ends_with(last)
    }
}

/// The tools that a scope covers by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopedTools {
    /// None; it covers methods, or only what it includes.
    None,
    /// Those that say that they change nothing.
    ReadOnly,
    /// Those with such names.
    Named(Vec<Pattern>),
}

/// One table `[scope.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRule {
    /// The scope token. `mcp` covers everything, whatever else is written.
    pub name: String,
    /// What the user is told that it allows.
    pub words: String,
    /// The tools that it covers.
    pub tools: ScopedTools,
    /// The methods of MCP that it covers, beyond those that every session needs. Only a pattern that
    /// matches everything covers the client's answers to requests of the backend.
    pub methods: Vec<Pattern>,
    /// The scopes that it covers along.
    pub includes: BTreeSet<String>,
    /// Whether a client that asks for nothing gets it.
    pub is_default: bool,
    /// The backends that have it; all, where there is none.
    pub backends: BTreeSet<String>,
}

impl ScopeRule {
    /// One that covers nothing yet, at every backend.
    pub fn named(name: &str, words: &str) -> Self {
        Self {
            name: name.to_owned(),
            words: words.to_owned(),
            tools: ScopedTools::None,
            methods: Vec::new(),
            includes: BTreeSet::new(),
            is_default: false,
            backends: BTreeSet::new(),
        }
    }

    /// How widely it covers an operation by itself: the less, the closer it fits. `None`: it does not.
    fn breadth(&self, operation: Operation<'_>) -> Option<u8> {
        if self.name == MCP {
            return Some(3);
        }
        let by_name = |patterns: &[Pattern], name: &str| {
            let matching = patterns.iter().filter(|pattern| pattern.matches(name));
            matching.map(|p| if p.is_exact() { 0 } else { 2 }).min()
        };
        match operation {
            Operation::Session => Some(0),
            Operation::Method(method) => by_name(&self.methods, method),
            Operation::Tool { name, reads_only } => match &self.tools {
                ScopedTools::None => None,
                ScopedTools::ReadOnly => reads_only.then_some(1),
                ScopedTools::Named(patterns) => by_name(patterns, name),
            },
        }
    }
}

/// Something that a scope has to cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// A call of a tool.
    Tool {
        /// The tool.
        name: &'a str,
        /// Whether the backend says that it changes nothing.
        reads_only: bool,
    },
    /// A method that reads, runs or answers something; empty for an answer of the client's.
    Method(&'a str),
    /// What a session needs, which every scope covers.
    Session,
}

/// How an operation stands to the scope of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// It is covered.
    Covered,
    /// It would be with this scope, which has what the token carries already, too: a client that
    /// asks for it loses nothing.
    Needs(Scope),
    /// No scope of this backend covers it.
    Never,
}

/// The scopes of every backend.
#[derive(Clone, Debug, Default)]
pub struct ScopeTable {
    backends: BTreeMap<String, Arc<Scopes>>,
    /// By the name of several together, and that of one of them.
    members: BTreeMap<(String, String), Arc<Scopes>>,
    default: Arc<Scopes>,
}

impl ScopeTable {
    /// From the tables of the configuration, and the names of the backends, with those of their members
    /// where they are several together: each has the scopes of its members, too. All faults at once. A
    /// backend that no scope is for keeps `mcp`.
    pub fn with_members<'a>(
        rules: &[ScopeRule],
        backends: impl IntoIterator<Item = (&'a str, &'a [String])>,
    ) -> Result<Self, Vec<ScopeFault>> {
        let faults = faults(rules);
        if !faults.is_empty() {
            return Err(faults);
        }
        let of = |names: &[&str]| {
            let has = |rule: &&ScopeRule| {
                rule.backends.is_empty() || names.iter().any(|name| rule.backends.contains(*name))
            };
            let rules: Vec<ScopeRule> = rules.iter().filter(has).cloned().collect();
            Arc::new(Scopes::new(rules))
        };
        let mut table = Self::default();
        for (backend, members) in backends {
            let with: Vec<&str> = members
                .iter()
                .map(String::as_str)
                .chain([backend])
                .collect();
            table.backends.insert(backend.to_owned(), of(&with));
            for member in members {
                let key = (backend.to_owned(), member.clone());
                table.members.insert(key, of(&[backend, member]));
            }
        }
        Ok(table)
    }

    /// The scopes of a backend.
    pub fn at(&self, backend: &str) -> &Arc<Scopes> {
        self.backends.get(backend).unwrap_or(&self.default)
    }

    /// What a token for several backends together is judged by at one of them: the scopes of both.
    pub fn at_member(&self, aggregate: &str, member: &str) -> &Arc<Scopes> {
        let key = (aggregate.to_owned(), member.to_owned());
        self.members.get(&key).unwrap_or(&self.default)
    }

    /// Those of all backends.
    pub fn supported(&self) -> Scope {
        if self.backends.is_empty() {
            self.default.supported()
        } else {
            self.backends
                .values()
                .fold(Scope::default(), |all, scopes| {
                    all.union(&scopes.supported())
                })
        }
    }

    /// The same, and what clients ask for that want refresh tokens, where there are some.
    pub fn advertised(&self, refresh: bool) -> Scope {
        advertised(self.supported(), refresh)
    }
}

fn advertised(supported: Scope, refresh: bool) -> Scope {
    if refresh {
        supported.union(&Scope::from_iter([OFFLINE_ACCESS]))
    } else {
        supported
    }
}

/// The scopes of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes {
    rules: BTreeMap<String, ScopeEntry>,
    is_configured: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ScopeEntry {
    rule: ScopeRule,
    /// Itself and all that it includes.
    with: BTreeSet<String>,
}

/// `mcp`, which covers everything.
impl Default for Scopes {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Scopes {
    fn new(mut rules: Vec<ScopeRule>) -> Self {
        let is_configured = !rules.is_empty();
        if !is_configured {
            rules.push(ScopeRule::named(MCP, WORDS_FOR_MCP));
        }
        let known = |rule: &ScopeRule| {
            let with = closure(&rules, &rule.name);
            let with = with.into_iter().map(str::to_owned).collect();
            let rule = rule.clone();
            (rule.name.clone(), ScopeEntry { rule, with })
        };
        Self {
            rules: rules.iter().map(known).collect(),
            is_configured,
        }
    }

    /// Whether the configuration speaks of them, so that people are told in its words.
    pub const fn are_configured(&self) -> bool {
        self.is_configured
    }

    /// The rules, by name.
    pub fn rules(&self) -> impl Iterator<Item = &ScopeRule> {
        self.rules.values().map(|known| &known.rule)
    }

    /// What a scope of them allows, in words. `None`: it is none of them.
    pub fn words(&self, scope: &str) -> Option<&str> {
        Some(self.rules.get(scope)?.rule.words.as_str())
    }

    /// All of them.
    pub fn supported(&self) -> Scope {
        self.rules.keys().cloned().collect()
    }

    /// What a client gets that asks for nothing in particular, and what the first challenge names:
    /// those that say so, or all where none does.
    pub fn defaults(&self) -> Scope {
        let said = self.rules().filter(|rule| rule.is_default);
        let said: Scope = said.map(|rule| rule.name.clone()).collect();
        if said.is_empty() {
            self.supported()
        } else {
            said
        }
    }

    /// What a request may be granted: the known part of what it asks for, or the defaults where that
    /// leaves nothing for a resource. Clients ask for what they know from elsewhere (`openid`, or
    /// `offline_access` where nothing can be refreshed); the answer says what was granted
    /// (RFC 6749 §3.3).
    pub fn grantable(
        &self,
        requested: Option<&str>,
        refresh: bool,
    ) -> Result<Scope, ScopeMalformed> {
        let requested = Scope::strictly(requested.unwrap_or_default())?;
        let granted = requested.intersection(&advertised(self.supported(), refresh));
        Ok(if granted.for_resource().is_empty() {
            granted.union(&self.defaults())
        } else {
            granted
        })
    }

    /// The scope of an access token that a refresh request asks for: never more than `granted`, and
    /// all of it where nothing is asked for that is known here (RFC 6749 §6). A scope that a granted
    /// one includes is no more.
    pub fn narrowed(&self, granted: &Scope, requested: Option<&str>) -> Result<Scope, NarrowError> {
        let known = advertised(self.supported(), true).union(granted);
        let known = Scope::strictly(requested.unwrap_or_default())?.intersection(&known);
        let for_resource = known.for_resource();
        if !for_resource
            .iter()
            .all(|scope| self.implies(granted, scope))
        {
            return Err(NarrowError::Wider);
        }
        if for_resource.is_empty() {
            return Ok(granted.clone());
        }
        let offline = Scope::from_iter([OFFLINE_ACCESS]);
        let offline = known.intersection(granted).intersection(&offline);
        Ok(for_resource.union(&offline))
    }

    /// What both sets come to, by the known names that stand in either.
    #[must_use]
    pub fn in_common(&self, one: &Scope, other: &Scope) -> Scope {
        let all = one.union(other);
        let known = all.iter().filter(|scope| self.rules.contains_key(*scope));
        let in_both = |scope: &&str| self.implies(one, scope) && self.implies(other, scope);
        known.filter(in_both).collect()
    }

    fn implies(&self, granted: &Scope, scope: &str) -> bool {
        granted.contains(MCP) || granted.contains(scope) || self.effective(granted).contains(scope)
    }

    /// What a token's scope comes to: the known scopes in it, and those that they include.
    fn effective<'a>(&'a self, granted: &'a Scope) -> BTreeSet<&'a str> {
        let known = granted.iter().filter_map(|scope| self.rules.get(scope));
        known
            .flat_map(|known| known.with.iter().map(String::as_str))
            .collect()
    }

    /// What a token's scope comes to: its own, also those that are not known here, and those that
    /// they include.
    pub fn all<'a>(&'a self, granted: &'a Scope) -> Vec<&'a str> {
        let mut all = self.effective(granted);
        all.extend(granted.iter());
        all.into_iter().collect()
    }

    /// Whether a scope covers everything that the backend has or will have.
    pub fn is_everything(&self, granted: &Scope) -> bool {
        granted.contains(MCP) || self.effective(granted).contains(MCP)
    }

    /// Whether what tools say of their effects decides about a token of this scope.
    pub fn ask_for_effects(&self, granted: &Scope) -> bool {
        let mut rules = self.rules();
        !self.is_everything(granted) && rules.any(|rule| rule.tools == ScopedTools::ReadOnly)
    }

    /// Whether a token's scope covers an operation, and if not, which would.
    pub fn coverage(&self, granted: &Scope, operation: Operation<'_>) -> Coverage {
        if self.is_everything(granted) {
            return Coverage::Covered;
        }
        let effective = self.effective(granted);
        let mut rules = effective.iter().filter_map(|scope| self.rules.get(*scope));
        if rules.any(|known| known.rule.breadth(operation).is_some()) {
            return Coverage::Covered;
        }
        let needed = match operation {
            Operation::Session => self.defaults(),
            _ => match self.least(operation) {
                Some(scope) => Scope::from_iter([scope]),
                None => return Coverage::Never,
            },
        };
        Coverage::Needs(self.held(granted).union(&needed))
    }

    /// What a client is to ask for that connects again: the scope that it has, or the defaults
    /// where it has none of this backend.
    pub fn to_ask_for(&self, granted: &Scope) -> Scope {
        let held = self.held(granted);
        if held.is_empty() {
            self.defaults()
        } else {
            held
        }
    }

    /// What is not known any more can't be asked for again.
    fn held(&self, granted: &Scope) -> Scope {
        granted.intersection(&self.supported())
    }

    /// The scope that covers an operation and as little else as possible: one that others include
    /// comes before those; then a tool's own name before read-only tools, these before a pattern,
    /// and `mcp` last.
    fn least(&self, operation: Operation<'_>) -> Option<&str> {
        let covering = self.rules.values().filter_map(|known| {
            let breadth = known.rule.breadth(operation)?;
            Some((breadth, known))
        });
        let covering: Vec<(u8, &ScopeEntry)> = covering.collect();
        let is_least = |known: &ScopeEntry| {
            let mut others = covering.iter().map(|(_, other)| &other.rule.name);
            !others.any(|other| *other != known.rule.name && known.with.contains(other))
        };
        let least = covering.iter().filter(|(_, known)| is_least(known));
        least
            .min_by_key(|(breadth, known)| (*breadth, !known.rule.is_default, &known.rule.name))
            .map(|(_, known)| known.rule.name.as_str())
    }
}

#[cfg(test)]
mod tests;
