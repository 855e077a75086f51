//! When a credential is renewed, as a pure decision.

use std::time::Duration;

use crate::clock::Timestamp;

/// A credential is renewed when this part of its life is over, in percent.
const PART: u32 = 80;

/// What says that it lasts longer is taken for this: no refresh is planned further ahead.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The life of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// From when on it is to be renewed.
    pub renew_at: Timestamp,
    /// From when on it is not good any more.
    pub expires: Timestamp,
}

/// The life of a credential that was given at `given` for a time; `None` for one without an end.
pub fn life(given: Timestamp, lasts: Option<Duration>) -> Option<Life> {
    let lasts = lasts?.min(LONGEST);
    Some(Life {
        renew_at: given + lasts * PART / 100,
        expires: given + lasts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_fifths_of_a_life_are_lived_before_it_is_renewed() {
        let given = Timestamp::from_secs(1000);
        let lived = life(given, Some(Duration::from_secs(100))).unwrap();
        assert_eq!(lived.renew_at, Timestamp::from_secs(1080));
        assert_eq!(lived.expires, Timestamp::from_secs(1100));
        assert_eq!(life(given, None), None);
        // No answer makes this overflow.
        assert!(life(given, Some(Duration::MAX)).unwrap().expires > given);
        let none = life(given, Some(Duration::ZERO)).unwrap();
        assert_eq!(none.renew_at, given);
    }
}
