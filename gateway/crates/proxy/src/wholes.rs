//! What is remembered of several backends that are offered together. It may be lost.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use mcp_protocol::members::Uris;
use parking_lot::Mutex;
use quick_cache::sync::Cache;

/// For how many grants it is remembered whose resources are whose.
const GRANTS: usize = 1024;

/// What is remembered between requests.
pub(super) struct Wholes {
    /// Whose resources are whose, as one grant sees them: by grant and name of all together.
    pub(super) uris: Cache<(String, String), Arc<KnownUris>>,
    /// The members that do not answer, by the name of all together and their own.
    away: Mutex<HashSet<(String, String)>>,
    /// Those of them that are looked at once more.
    looked_at: Mutex<HashSet<(String, String)>>,
}

impl Default for Wholes {
    fn default() -> Self {
        Self {
            uris: Cache::new(GRANTS),
            away: Mutex::default(),
            looked_at: Mutex::default(),
        }
    }
}

/// Whose resources are whose, at some moment.
pub(super) struct KnownUris {
    pub(super) at: Instant,
    pub(super) uris: Uris,
}

impl Wholes {
    /// A member does not answer. Whether that is new.
    pub(super) fn goes(&self, whole: &str, member: &str) -> bool {
        let key = (whole.to_owned(), member.to_owned());
        self.away.lock().insert(key)
    }

    /// A member answers. Whether that is new.
    pub(super) fn is_back(&self, whole: &str, member: &str) -> bool {
        let key = (whole.to_owned(), member.to_owned());
        self.away.lock().remove(&key)
    }

    /// Whether a member did not answer when it was asked last.
    pub(super) fn is_away(&self, whole: &str, member: &str) -> bool {
        let key = (whole.to_owned(), member.to_owned());
        self.away.lock().contains(&key)
    }

    /// Whether the caller is to look at a member once more; nobody else is until it has.
    pub(super) fn begin_look(&self, whole: &str, member: &str) -> bool {
        let key = (whole.to_owned(), member.to_owned());
        self.looked_at.lock().insert(key)
    }

    /// It has looked.
    pub(super) fn end_look(&self, whole: &str, member: &str) {
        let key = (whole.to_owned(), member.to_owned());
        self.looked_at.lock().remove(&key);
    }
}
