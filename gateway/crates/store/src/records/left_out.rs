//! Which records were left out of lists because they can't be read. Each is told of once in the life of
//! the process, by name where its name is no secret, so that the operator can take it away.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::error::StoreError;
use crate::key::KeyKind;

/// So many are told of. Where a whole store is of a later version, more lines would say no more.
const MOST: usize = 200;

/// What was told of.
#[derive(Debug, Default)]
pub(super) struct LeftOut(Mutex<HashSet<(KeyKind, String)>>);

impl LeftOut {
    /// Says in the log that a record is left out, unless it was said before.
    pub(super) fn tell(&self, kind: KeyKind, name: &str, error: &StoreError) {
        if !self.is_news(kind, name) {
            return;
        }
        let (reason, name) = (error.reason(), public_name(kind, name));
        log::error!(
            event = "record_left_out", reason = reason, hint = reason.remedy(),
            kind:% = kind, record = name, cause:% = error;
            "a record that can't be read is left out of lists"
        );
    }

    fn is_news(&self, kind: KeyKind, name: &str) -> bool {
        let mut told = self.0.lock();
        told.len() < MOST && told.insert((kind, name.to_owned()))
    }
}

/// The name that an operator knows the record by. Other names are hashes of secrets, or hold parts of
/// several names.
fn public_name(kind: KeyKind, name: &str) -> Option<&str> {
    matches!(kind, KeyKind::Client | KeyKind::User | KeyKind::Grant).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_told_of_once_and_of_many_some() {
        let told = LeftOut::default();
        assert!(told.is_news(KeyKind::Grant, "g_1"));
        assert!(!told.is_news(KeyKind::Grant, "g_1"));
        assert!(told.is_news(KeyKind::Client, "g_1"));
        let news = (0..2 * MOST).filter(|number| told.is_news(KeyKind::User, &number.to_string()));
        assert_eq!(news.count(), MOST - 2);
    }

    #[test]
    fn the_name_of_a_secret_is_not_told() {
        assert_eq!(public_name(KeyKind::Grant, "g_1"), Some("g_1"));
        for kind in [KeyKind::Code, KeyKind::Session, KeyKind::FormAnswer] {
            assert_eq!(public_name(kind, "5ecret"), None);
        }
    }
}
