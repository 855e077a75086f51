//! `/admin/policy`: what would be decided about a call, by which rule, and why.

use askama::Template;

use super::super::page::{Forms, Frame, Page};
use super::super::text::exact;
use super::frame::{AdminFrame, shown};

/// The longest statement that is shown, in bytes.
const LONGEST_LINE: usize = 2000;

/// A call, as somebody typed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The person's login name.
    pub user: String,
    /// The client id; empty: one that registered itself.
    pub client: String,
    /// The backend's name.
    pub backend: String,
    /// The tool.
    pub tool: String,
    /// The arguments, as a JSON object.
    pub arguments: String,
    /// From where; empty: from nowhere in particular.
    pub address: String,
}

/// What would be decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it would be let through.
    pub is_allowed: bool,
    /// Why not: reason, sentence, check, remedy.
    pub refusal: Vec<(&'static str, String)>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// What was known.
    pub facts: Vec<String>,
    /// What was not known, and taken to be so.
    pub assumed: Vec<String>,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "admin_policy.html")]
pub struct PolicyPage<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// Around it, as one of the owner's.
    pub admin: AdminFrame<'a>,
    /// Whether there is a policy.
    pub has_policy: bool,
    /// The names of the backends.
    pub backends: Vec<&'a str>,
    /// What was asked last.
    pub question: Question,
    /// What would be decided about it.
    pub explanation: Option<Explanation>,
    /// Proves that the question comes from this page.
    pub seal: String,
}

impl PolicyPage<'_> {
    /// Renders it.
    pub fn page(mut self) -> Page {
        if let Some(it) = &mut self.explanation {
            let refusal = it.refusal.iter_mut().map(|(_, text)| text);
            let facts = it.facts.iter_mut().chain(&mut it.assumed);
            for text in refusal.chain(&mut it.rule).chain(facts) {
                *text = exact(text, LONGEST_LINE).unwrap_or_else(|| shown(text));
            }
        }
        Page::render(&self, Forms::Here)
    }
}
