//! What is remembered of several backends that are offered together. It may be lost.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Instant;

use mcp_protocol::members::Uris;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};
use tokio::sync::OnceCell;

/// For how many tokens it is remembered whose resources are whose, about.
const TOKENS: usize = 1024;

/// How much memory that may take, in bytes.
const ROOM: u64 = 32 * 1024 * 1024;

/// By the last id of a token, and the name of all together.
type Key = (String, String);

/// A look at the members that goes on: what it found, and whether all of them answered.
pub(super) type Look = OnceCell<(Arc<KnownUris>, bool)>;

/// What is remembered between requests.
pub(super) struct Wholes {
    /// Whose resources are whose, as one token sees them.
    pub(super) uris: Cache<Key, Arc<KnownUris>, Weight>,
    looks: Mutex<HashMap<Key, Weak<Look>>>,
    /// The members that do not answer, by the name of all together and their own.
    away: Mutex<HashSet<(String, String)>>,
    /// Those of them that are looked at once more.
    looked_at: Arc<Mutex<HashSet<(String, String)>>>,
}

impl Default for Wholes {
    fn default() -> Self {
        // In one piece, so that what is known of many members has room whatever the number of processors.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(TOKENS)
            .weight_capacity(ROOM)
            .build()
            .expect("both capacities are given");
        Self {
            uris: Cache::with_options(
                options,
                Weight,
                quick_cache::DefaultHashBuilder::default(),
                quick_cache::sync::DefaultLifecycle::default(),
            ),
            looks: Mutex::default(),
            away: Mutex::default(),
            looked_at: Arc::default(),
        }
    }
}

/// Whose resources are whose, at some moment.
#[derive(Debug)]
pub(super) struct KnownUris {
    pub(super) at: Instant,
    pub(super) uris: Uris,
}

#[derive(Clone)]
pub(super) struct Weight;

impl Weighter<Key, Arc<KnownUris>> for Weight {
    fn weight(&self, (token, whole): &Key, known: &Arc<KnownUris>) -> u64 {
        let names = token.len() + whole.len() + size_of::<KnownUris>();
        (names + known.uris.size()) as u64
    }
}

/// A member is looked at once more, for as long as this lives.
pub(super) struct Looking {
    all: Arc<Mutex<HashSet<(String, String)>>>,
    key: (String, String),
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.all.lock().remove(&self.key);
    }
}

impl Wholes {
    /// The look that goes on for this token, or one that begins. It is forgotten with the last that waits
    /// for it.
    pub(super) fn look(&self, key: &Key) -> Arc<Look> {
        let mut looks = self.looks.lock();
        if let Some(look) = looks.get(key).and_then(Weak::upgrade) {
            return look;
        }
        looks.retain(|_, look| look.strong_count() > 0);
        let look = Arc::new(Look::new());
        looks.insert(key.clone(), Arc::downgrade(&look));
        look
    }

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

    /// The right to look at a member once more; nobody else has it meanwhile.
    pub(super) fn begin_look(&self, whole: &str, member: &str) -> Option<Looking> {
        let key = (whole.to_owned(), member.to_owned());
        let is_new = self.looked_at.lock().insert(key.clone());
        is_new.then(|| Looking {
            all: Arc::clone(&self.looked_at),
            key,
        })
    }
}

#[cfg(test)]
mod tests {
    use mcp_protocol::Object;
    use mcp_protocol::members::{Listed, Page};

    use super::*;

    fn known(length: usize) -> Arc<KnownUris> {
        let mut uris = Uris::default();
        for at in 0..1000 {
            let entry = format!(
                r#"{{"resources":[{{"uri":"{at}:{}"}}]}}"#,
                "x".repeat(length)
            );
            let result = Object::parse(&entry).unwrap();
            uris.add(Listed::Resources, &Page { member: 0, result });
        }
        let at = Instant::now();
        Arc::new(KnownUris { at, uris })
    }

    #[test]
    fn what_is_remembered_is_bounded_by_its_bytes() {
        let wholes = Wholes::default();
        let known = known(1000);
        for at in 0..100 {
            wholes
                .uris
                .insert((at.to_string(), "all".to_owned()), Arc::clone(&known));
        }
        assert!(wholes.uris.weight() <= ROOM);
        let count = wholes.uris.len();
        assert!((10..50).contains(&count), "{count}");
    }

    #[test]
    fn a_look_is_one_for_all_that_wait_and_forgotten_with_the_last() {
        let wholes = Wholes::default();
        let key = ("t".to_owned(), "all".to_owned());
        let first = wholes.look(&key);
        assert!(Arc::ptr_eq(&first, &wholes.look(&key)));
        drop(first);
        drop(wholes.look(&("u".to_owned(), "all".to_owned())));
        assert!(wholes.looks.lock().len() <= 1);
        let looking = wholes.begin_look("all", "notes").unwrap();
        assert!(wholes.begin_look("all", "notes").is_none());
        drop(looking);
        assert!(wholes.begin_look("all", "notes").is_some());
    }
}
