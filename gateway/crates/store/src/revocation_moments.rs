//! What a moment takes back of what was given before it. Owns: which of two moments counts, and what it
//! concerns. Not: whose it is ([`crate::RevocationView`]).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use gateway_core::clock::Timestamp;

/// What was given before a moment is revoked.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotBefore {
    pub(super) before: Timestamp,
    /// When to forget it.
    pub(super) until: Timestamp,
}

impl NotBefore {
    /// In whole seconds, as tokens tell their time: what was given within the same second counts,
    /// for whoever revokes and connects again at once. What a moment misses by that, and by clocks that
    /// differ, is revoked by name (`oauth::revoke_all`).
    pub(super) const fn concerns(self, given: Timestamp) -> bool {
        given.secs() < self.before.secs()
    }
}

/// `true` if more is revoked than before.
pub(super) fn add_not_before<K: Eq + Hash>(
    moments: &mut HashMap<K, NotBefore>,
    whose: K,
    before: Timestamp,
    until: Timestamp,
) -> bool {
    match moments.entry(whose) {
        Entry::Vacant(entry) => {
            entry.insert(NotBefore { before, until });
            true
        }
        Entry::Occupied(mut entry) => {
            let known = entry.get_mut();
            let news = known.before < before;
            known.before = known.before.max(before);
            known.until = known.until.max(until);
            news
        }
    }
}
