//! Facts of a block: made of values, and read as they stand. No Datalog is run to learn what a token
//! says.

use biscuit_auth::builder::{Fact, boolean, int, string};
use biscuit_auth::format::schema::{Predicate, Term, term::Content};

use super::envelope::Block;
use crate::clock::Timestamp;

impl Block {
    /// The terms of every fact of a name.
    pub(super) fn facts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [Term]> {
        self.content
            .facts
            .iter()
            .map(|fact| &fact.predicate)
            .filter(move |predicate| self.name_of(predicate) == Some(name))
            .map(|predicate| predicate.terms.as_slice())
    }

    pub(super) fn name_of(&self, predicate: &Predicate) -> Option<&str> {
        self.text(predicate.name)
    }

    /// The text that a term is.
    pub(super) fn text_of(&self, term: &Term) -> Option<&str> {
        match term.content {
            Some(Content::String(symbol)) => self.text(symbol),
            _ => None,
        }
    }

    /// The texts of every `name("…")`. `None` if one has another form.
    pub(super) fn texts(&self, name: &str) -> Option<Vec<String>> {
        self.facts(name)
            .map(|terms| match terms {
                [term] => self.text_of(term).map(str::to_owned),
                _ => None,
            })
            .collect()
    }

    /// The text of the one `name("…")`.
    pub(super) fn only_text(&self, name: &str) -> Option<String> {
        exactly_one(self.texts(name)?)
    }

    /// The moment of the one `name(seconds)`.
    pub(super) fn only_moment(&self, name: &str) -> Option<Timestamp> {
        match contents(exactly_one(self.facts(name))?)?[..] {
            [Content::Integer(secs)] => u64::try_from(*secs).ok().map(Timestamp::from_secs),
            _ => None,
        }
    }

    /// Whether `name(true)` stands there.
    pub(super) fn is_so(&self, name: &str) -> bool {
        let mut facts = self.facts(name).filter_map(contents);
        facts.any(|values| matches!(values[..], [Content::Bool(true)]))
    }
}

/// What terms hold, if each holds something.
pub(super) fn contents(terms: &[Term]) -> Option<Vec<&Content>> {
    terms.iter().map(|term| term.content.as_ref()).collect()
}

fn exactly_one<T>(rows: impl IntoIterator<Item = T>) -> Option<T> {
    let mut rows = rows.into_iter();
    let first = rows.next()?;
    rows.next().is_none().then_some(first)
}

/// `name("value")`.
pub(super) fn fact(name: &str, value: &str) -> Fact {
    Fact::new(name.to_owned(), vec![string(value)])
}

/// `name(true)`.
pub(super) fn holds(name: &str) -> Fact {
    Fact::new(name.to_owned(), vec![boolean(true)])
}

/// `name(seconds)`, since the epoch, as an integer: it prints as what it is and orders as it should.
pub(super) fn moment(name: &str, at: Timestamp) -> Fact {
    Fact::new(
        name.to_owned(),
        vec![int(i64::try_from(at.secs()).unwrap_or(i64::MAX))],
    )
}
