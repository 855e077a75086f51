//! The names that a policy writes out. A backend may take another name for one of them, because it
//! ignores case or drops what nobody sees; so such a name is no answer, neither to an `allow` nor to
//! a `deny`.

use std::collections::{BTreeMap, BTreeSet};

use mcp_protocol::lenient::{fold, folded};

/// Texts of a policy, by what a lenient reader takes them for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names(BTreeMap<String, BTreeSet<String>>);

impl Names {
    pub(super) fn new(texts: BTreeSet<String>) -> Self {
        let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for text in texts {
            names.entry(folded(&text)).or_default().insert(text);
        }
        names.remove("");
        Self(names)
    }

    /// Whether some reader takes a name for one of these, and it is none of them.
    pub(super) fn are_mistakable_for(&self, name: &str) -> bool {
        let alike = self.0.get(&*fold(name));
        alike.is_some_and(|alike| !alike.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_written_out_is_itself_and_one_like_it_is_unclear() {
        let texts = ["deploy", "Search", "search"].map(str::to_owned);
        let names = Names::new(texts.into());
        for name in ["Deploy", "DEPLOY", "ｄeploy", "de\u{ad}ploy", "SEARCH"] {
            assert!(names.are_mistakable_for(name), "{name}");
        }
        for name in ["deploy", "search", "Search", "deploys", "", "other"] {
            assert!(!names.are_mistakable_for(name), "{name}");
        }
    }
}
