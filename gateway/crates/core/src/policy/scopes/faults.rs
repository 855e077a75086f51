//! What one scope includes, and why scopes can't stand together.

use std::collections::BTreeSet;

use super::ScopeRule;

/// Why scopes can't stand together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeFault {
    /// One includes another that is not there.
    #[error("includes `{1}`, which is no scope")]
    UnknownInclude(String, String),
    /// One includes itself, maybe through others.
    #[error("includes itself through `{1}`")]
    Cycle(String, String),
}

impl ScopeFault {
    /// The scope whose `includes` is wrong.
    pub fn scope(&self) -> &str {
        match self {
            Self::UnknownInclude(scope, _) | Self::Cycle(scope, _) => scope,
        }
    }
}

pub(super) fn faults(rules: &[ScopeRule]) -> Vec<ScopeFault> {
    let mut faults = Vec::new();
    for rule in rules {
        for include in &rule.includes {
            if !rules.iter().any(|rule| rule.name == *include) {
                let fault = ScopeFault::UnknownInclude(rule.name.clone(), include.clone());
                faults.push(fault);
            } else if closure(rules, include).contains(rule.name.as_str()) {
                faults.push(ScopeFault::Cycle(rule.name.clone(), include.clone()));
            }
        }
    }
    faults
}

/// A scope and all that it includes.
pub(super) fn closure<'a>(rules: &'a [ScopeRule], name: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![name];
    while let Some(name) = open.pop() {
        if let Some(rule) = rules.iter().find(|rule| rule.name == name)
            && found.insert(rule.name.as_str())
        {
            open.extend(rule.includes.iter().map(String::as_str));
        }
    }
    found
}
