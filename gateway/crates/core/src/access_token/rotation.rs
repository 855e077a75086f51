//! Which signing key signs, which verify, and until when: a new one takes over while tokens of the one
//! before are still good.
//!
//! Owns: the decision, by what is known of each key. Not: where keys are, or how a replica learns of one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;

/// How long things take when a key takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationTimes {
    /// From when a key was first seen until it signs: by then every replica verifies by it.
    pub delay: Duration,
    /// From then until the key before verifies no more: by then the last token that it signed is over.
    pub overlap: Duration,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// When the first replica saw it.
    pub first_seen: Timestamp,
    /// Whether all that it signed is refused.
    pub is_revoked: bool,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It signs what is given now, and verifies.
    Signs,
    /// It verifies, and signs from this moment on.
    Waits(Timestamp),
    /// Another took over: it verifies until this moment.
    Verifies(Timestamp),
    /// All that it signed is over, and it verifies nothing.
    Over,
    /// All that it signed is refused.
    Revoked,
}

impl KeyState {
    /// Whether tokens that it signed may count.
    pub const fn verifies(self) -> bool {
        matches!(self, Self::Signs | Self::Waits(_) | Self::Verifies(_))
    }

    /// Its name, for people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signs => "signs",
            Self::Waits(_) => "waits",
            Self::Verifies(_) => "verifies",
            Self::Over => "over",
            Self::Revoked => "revoked",
        }
    }

    /// When it changes by itself.
    pub const fn changes(self) -> Option<Timestamp> {
        match self {
            Self::Waits(at) | Self::Verifies(at) => Some(at),
            Self::Signs | Self::Over | Self::Revoked => None,
        }
    }
}

/// What each key does at this moment. The highest number signs that was seen long enough ago; where none
/// was, the lowest. None signs where all are revoked.
pub fn key_states(
    keys: &BTreeMap<u32, KeyFacts>,
    times: RotationTimes,
    now: Timestamp,
) -> BTreeMap<u32, KeyState> {
    let good = || keys.iter().filter(|(_, facts)| !facts.is_revoked);
    let has_waited = |facts: &KeyFacts| facts.first_seen + times.delay <= now;
    let signs = good()
        .rfind(|(_, facts)| has_waited(facts))
        .or_else(|| good().next())
        .map(|(number, _)| *number);
    let state = |(number, facts): (&u32, &KeyFacts)| {
        let state = match signs {
            _ if facts.is_revoked => KeyState::Revoked,
            Some(signs) if *number == signs => KeyState::Signs,
            Some(signs) if *number > signs => KeyState::Waits(facts.first_seen + times.delay),
            // The first one after it took over from it.
            _ => {
                let after = good().find(|(other, _)| *other > number);
                let until = after.map(|(_, facts)| facts.first_seen + times.delay + times.overlap);
                match until {
                    Some(until) if now < until => KeyState::Verifies(until),
                    _ => KeyState::Over,
                }
            }
        };
        (*number, state)
    };
    keys.iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: RotationTimes = RotationTimes {
        delay: Duration::from_secs(300),
        overlap: Duration::from_secs(1000),
    };

    /// When each was first seen, in seconds; `r`: it is revoked.
    fn states(keys: &[(u32, u64, bool)], now: u64) -> Vec<KeyState> {
        let facts = |(number, first_seen, is_revoked): &(u32, u64, bool)| {
            let facts = KeyFacts {
                first_seen: Timestamp::from_secs(*first_seen),
                is_revoked: *is_revoked,
            };
            (*number, facts)
        };
        let keys = keys.iter().map(facts).collect();
        key_states(&keys, TIMES, Timestamp::from_secs(now))
            .into_values()
            .collect()
    }

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn the_only_key_signs_at_once_and_for_good() {
        for now in [0, 10, 1_000_000] {
            assert_eq!(states(&[(1, 10, false)], now), [KeyState::Signs]);
        }
    }

    #[test]
    fn a_new_key_verifies_then_signs_and_the_one_before_ends_with_its_last_token() {
        let keys = [(1, 0, false), (2, 10_000, false)];
        use KeyState::{Over, Signs, Verifies, Waits};
        for (now, expected) in [
            (10_000, [Signs, Waits(at(10_300))]),
            (10_299, [Signs, Waits(at(10_300))]),
            (10_300, [Verifies(at(11_300)), Signs]),
            (11_299, [Verifies(at(11_300)), Signs]),
            (11_300, [Over, Signs]),
        ] {
            assert_eq!(states(&keys, now), expected, "{now}");
        }
    }

    #[test]
    fn what_is_revoked_does_nothing_and_a_new_key_does_not_wait_then() {
        use KeyState::{Revoked, Signs};
        let keys = [(1, 0, true), (2, 10_000, false)];
        assert_eq!(states(&keys, 10_000), [Revoked, Signs]);
        // A new key that is stolen gives its place back.
        let keys = [(1, 0, false), (2, 10_000, true)];
        assert_eq!(states(&keys, 99_000), [Signs, Revoked]);
        assert_eq!(states(&[(1, 0, true)], 10), [Revoked]);
    }

    #[test]
    fn each_key_ends_by_the_one_that_took_over_from_it() {
        let keys = [(1, 0, false), (2, 10_000, false), (3, 10_500, false)];
        assert_eq!(
            states(&keys, 11_400),
            [
                KeyState::Over,
                KeyState::Verifies(at(11_800)),
                KeyState::Signs
            ]
        );
    }

    #[test]
    fn a_clock_that_jumps_back_leaves_the_old_key_signing() {
        let keys = [(1, 9_000, false), (2, 10_000, false)];
        assert_eq!(
            states(&keys, 5_000),
            [KeyState::Signs, KeyState::Waits(at(10_300))]
        );
    }
}
