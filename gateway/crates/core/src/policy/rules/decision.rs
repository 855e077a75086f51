//! What a policy decided, and what that rests on.

use std::fmt;
use std::sync::Arc;

/// A statement of the policy, and where it stands.
#[derive(Clone, PartialEq, Eq)]
pub struct Statement(pub(super) Arc<SourceLine>);

#[derive(PartialEq, Eq)]
pub(super) struct SourceLine {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) text: String,
}

impl Statement {
    /// Its first line, from 1.
    pub fn line(&self) -> usize {
        self.0.line
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

/// `FILE:LINE`.
impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.file, self.0.line)
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} {}", self.text())
    }
}

/// Why a policy could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It took too long, or made too many facts: nobody's fault but the policy's or the machine's.
    #[error("{0}")]
    Limit(String),
    /// A rule did something with a value that can't be done with it.
    #[error("{0}")]
    Evaluation(String),
    /// It asks about arguments that can't be known in full, or read in one way only.
    #[error("the arguments are too many, or can be read in more than one way")]
    Arguments,
    /// What is called differs from something that it names in case only, or in what nobody sees.
    #[error("the name can be taken for another one that the policy names")]
    Name,
}

/// How a policy decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It allows the call.
    Allowed,
    /// It does not.
    Denied,
    /// It could not be asked, so the call is refused.
    Failed(Failure),
}

/// A policy's decision about one call, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The decision.
    pub effect: Effect,
    /// The `allow` or `deny` that matched first; of a failure, the statement that failed, where it
    /// is known. `None`: nothing matched.
    pub by: Option<Statement>,
    /// Every `check` that did not hold.
    pub failed: Vec<Statement>,
}

impl Decision {
    /// One for which no statement is named.
    pub(super) const fn without_statement(effect: Effect) -> Self {
        Self {
            effect,
            by: None,
            failed: Vec::new(),
        }
    }

    pub(super) const fn failed(failure: Failure) -> Self {
        Self::without_statement(Effect::Failed(failure))
    }

    /// Whether there is no decision: it could not be asked, or what it would go by is not clear.
    pub const fn is_failed(&self) -> bool {
        matches!(self.effect, Effect::Failed(_))
    }

    /// Whether the call may go on.
    pub fn is_allowed(&self) -> bool {
        self.effect == Effect::Allowed
    }

    /// The statement to look at: the first check that did not hold, else what decided.
    pub fn place(&self) -> Option<&Statement> {
        self.failed.first().or(self.by.as_ref())
    }
}
