//! The text of a policy taken apart into statements, each with its place. Tells what can't be read,
//! and what was probably meant.
//!
//! Not: the grammar itself (`biscuit-parser`), what statements mean (`lint`).

use biscuit_auth::builder::{Check, Fact, Policy, Rule};
use biscuit_auth::{error, parser};
use biscuit_parser::builder::Rule as ParsedRule;
use biscuit_parser::error::LanguageError;

use super::vocabulary::nearest;

/// Something that is wrong with a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {sentence}")]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// What, and what to do.
    pub sentence: String,
}

/// A statement as it was parsed. `at`: where it begins in the file, in bytes.
pub(super) struct Written<'t, T> {
    pub(super) at: usize,
    pub(super) text: &'t str,
    pub(super) is: T,
}

/// All statements of a file, those of each kind in their order.
pub(super) struct File<'t> {
    pub(super) facts: Vec<Written<'t, Fact>>,
    pub(super) rules: Vec<Written<'t, Rule>>,
    pub(super) checks: Vec<Written<'t, Check>>,
    pub(super) policies: Vec<Written<'t, Policy>>,
}

/// The text of a policy, and the places in it.
pub(super) struct Source<'t> {
    pub(super) text: &'t str,
}

impl<'t> Source<'t> {
    /// All statements, or all faults of the grammar.
    pub(super) fn parse(&self) -> Result<File<'t>, Vec<Fault>> {
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
        let any = |queries: &[ParsedRule]| queries.iter().any(|query| !query.scopes.is_empty());
        for (source, rule) in &parsed.rules {
            trusts(source, !rule.scopes.is_empty());
        }
        for (source, check) in &parsed.checks {
            trusts(source, any(&check.queries));
        }
        for (source, policy) in &parsed.policies {
            trusts(source, any(&policy.queries));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(File {
            facts: self.all_written(parsed.facts),
            rules: self.all_written(parsed.rules),
            checks: self.all_written(parsed.checks),
            policies: self.all_written(parsed.policies),
        })
    }

    fn all_written<P, T: From<P>>(&self, parsed: Vec<(&'t str, P)>) -> Vec<Written<'t, T>> {
        each(parsed.into_iter(), |(text, is)| {
            let text = text.trim();
            Written {
                at: self.offset(text),
                text,
                is: is.into(),
            }
        })
    }

    /// Where a part of the text begins.
    fn offset(&self, part: &str) -> usize {
        let at = part.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        at.min(self.text.len())
    }

    /// Line and column, from 1.
    pub(super) fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    pub(super) fn fault(&self, at: usize, sentence: String) -> Fault {
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
        let first = match &detail {
            Some(error::Token::Language(LanguageError::ParseError(errors))) => {
                errors.errors.first()
            }
            _ => None,
        };
        let Some(first) = first else {
            return self.fault(start, UNREADABLE.to_owned());
        };
        let at = if first.input.is_empty() {
            statement.len()
        } else {
            statement.find(&first.input).unwrap_or(0)
        };
        let message = first.message.as_deref();
        let sentence = message.map_or_else(|| UNREADABLE.to_owned(), first_line);
        self.fault(start + at, sentence)
    }
}

const KEYWORDS: [&str; 5] = ["allow if", "deny if", "check if", "check all", "reject if"];

const UNREADABLE: &str = "this can't be read: a statement is a fact, a rule (`head(…) <- …`), `check if`, \
     `allow if` or `deny if`, ends with `;`, and has no remark within";

pub(super) const NOTHING: &str =
    "there is no `allow if` and no `deny if`: nothing would ever be allowed";

fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    // What was met instead is quoted whole, over lines.
    let is_quoted = line.contains(": '") || line.contains("got '");
    if is_quoted && !line.ends_with('\'') {
        format!("{line}…'")
    } else {
        line.to_owned()
    }
}

pub(super) fn each<T, U>(items: impl Iterator<Item = T>, make: impl FnMut(T) -> U) -> Vec<U> {
    items.map(make).collect()
}
