//! What is remembered of several backends that are offered together. It may be lost.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Instant;

use mcp_protocol::members::Uris;
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::watch;

use super::known_lists::in_one_piece;

/// For how many tokens it is remembered whose resources are whose, about.
const TOKENS: usize = 1024;

/// How much memory that may take, in bytes.
const ROOM: u64 = 32 * 1024 * 1024;

/// So many looks at the members go on at once for one grant: a look goes on without whoever asked for it, and
/// the holder of a token makes any number of narrower ones.
const LOOKS_OF_A_GRANT: usize = 8;

/// By the last id of a token, and the name of all together.
type Key = (String, String);

/// A look at the members that goes on: whoever waits for it is told what it found so far.
pub(super) type Look = watch::Sender<Looked>;

/// What a look at the members has found.
pub(super) enum Looked {
    /// This so far.
    SoFar(Box<Uris>),
    /// This, and it finds no more.
    All(Arc<KnownUris>),
}

impl Looked {
    pub(super) fn uris(&self) -> &Uris {
        match self {
            Self::SoFar(uris) => uris,
            Self::All(known) => &known.uris,
        }
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::All(_))
    }
}

/// A list of a member: the name of all together, its own, and the method that lists it.
type ListKey = (String, String, String);

/// Why a list of a member is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// Nobody reaches the member: any answer of it ends that.
    Unreachable,
    /// This list was too late: an answer to this one ends that.
    Late,
}

/// What is remembered between requests.
pub(super) struct Aggregates {
    /// Whose resources are whose, as one token sees them: as all members say, and as some do.
    pub(super) uris: Cache<(Key, bool), Arc<KnownUris>, Weight>,
    /// Those that go on, each with its grant.
    looks: Mutex<HashMap<Key, (String, Weak<Look>)>>,
    /// The members that do not answer, by the name of all together and their own; and to what.
    away: Mutex<HashMap<(String, String), HashMap<String, Absence>>>,
    /// The lists of them that are looked at once more.
    looked_at: Arc<Mutex<HashSet<ListKey>>>,
}

impl Default for Aggregates {
    fn default() -> Self {
        Self {
            uris: in_one_piece(TOKENS, ROOM, Weight),
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

impl Weighter<(Key, bool), Arc<KnownUris>> for Weight {
    fn weight(&self, ((token, aggregate), _): &(Key, bool), known: &Arc<KnownUris>) -> u64 {
        let names = token.len() + aggregate.len() + size_of::<KnownUris>();
        (names + known.uris.size()) as u64
    }
}

/// A list of a member is looked at once more, for as long as this lives.
pub(super) struct Looking {
    all: Arc<Mutex<HashSet<ListKey>>>,
    key: ListKey,
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.all.lock().remove(&self.key);
    }
}

impl Aggregates {
    /// What the look that goes on for this token finds; and, if that is a new one, the right to carry it out
    /// for so many members. It is forgotten with whoever does. `None` where too many go on for the grant.
    pub(super) fn look(
        &self,
        key: &Key,
        grant: &str,
        members: usize,
    ) -> Option<(watch::Receiver<Looked>, Option<Arc<Look>>)> {
        let mut looks = self.looks.lock();
        if let Some(look) = looks.get(key).and_then(|(_, look)| look.upgrade()) {
            return Some((look.subscribe(), None));
        }
        looks.retain(|_, (_, look)| look.strong_count() > 0);
        let of_grant = looks.values().filter(|(whose, _)| whose == grant);
        if of_grant.count() >= LOOKS_OF_A_GRANT {
            return None;
        }
        let look = Arc::new(Look::new(Looked::SoFar(Box::new(Uris::of_members(
            members,
        )))));
        looks.insert(key.clone(), (grant.to_owned(), Arc::downgrade(&look)));
        Some((look.subscribe(), Some(look)))
    }

    /// A member does not answer to `method`. Whether that is the first that it does not answer to.
    pub(super) fn goes(&self, aggregate: &str, member: &str, method: &str, why: Absence) -> bool {
        let key = (aggregate.to_owned(), member.to_owned());
        let mut away = self.away.lock();
        let lists = away.entry(key).or_default();
        let is_new = lists.is_empty();
        lists.insert(method.to_owned(), why);
        is_new
    }

    /// A member answers to `method`. Whether it was away, and nothing is left that it does not answer to.
    pub(super) fn is_back(&self, aggregate: &str, member: &str, method: &str) -> bool {
        let key = (aggregate.to_owned(), member.to_owned());
        let mut away = self.away.lock();
        let Some(lists) = away.get_mut(&key) else {
            return false;
        };
        lists.retain(|list, why| list != method && *why == Absence::Late);
        let is_back = lists.is_empty();
        if is_back {
            away.remove(&key);
        }
        is_back
    }

    /// Whether a member did not answer when it was asked for this last.
    pub(super) fn is_away(&self, aggregate: &str, member: &str, method: &str) -> bool {
        let key = (aggregate.to_owned(), member.to_owned());
        let away = self.away.lock();
        away.get(&key)
            .is_some_and(|lists| lists.contains_key(method))
    }

    /// The right to look at a list of a member once more; nobody else has it meanwhile.
    pub(super) fn begin_look(
        &self,
        aggregate: &str,
        member: &str,
        method: &str,
    ) -> Option<Looking> {
        let key = (aggregate.to_owned(), member.to_owned(), method.to_owned());
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
        let aggregates = Aggregates::default();
        let known = known(1000);
        for at in 0..100 {
            let key = ((at.to_string(), "all".to_owned()), true);
            aggregates.uris.insert(key, Arc::clone(&known));
        }
        assert!(aggregates.uris.weight() <= ROOM);
        let count = aggregates.uris.len();
        assert!((10..50).contains(&count), "{count}");
    }

    #[test]
    fn a_look_is_one_for_all_that_wait_and_forgotten_with_whoever_looks() {
        let aggregates = Aggregates::default();
        let key = ("t".to_owned(), "all".to_owned());
        let (mut first, look) = aggregates.look(&key, "g", 1).unwrap();
        let look = look.expect("it is the first");
        let (second, other) = aggregates.look(&key, "g", 1).unwrap();
        assert!(other.is_none() && second.same_channel(&first));
        look.send_modify(|looked| *looked = Looked::All(known(1)));
        assert!(first.borrow_and_update().is_over());
        drop(look);
        assert!(first.has_changed().is_err(), "nobody looks any more");
        assert!(aggregates.look(&key, "g", 1).unwrap().1.is_some());
        drop(aggregates.look(&("u".to_owned(), "all".to_owned()), "g", 1));
        assert!(aggregates.looks.lock().len() <= 1);
        let looking = aggregates.begin_look("all", "notes", "tools/list").unwrap();
        assert!(
            aggregates
                .begin_look("all", "notes", "tools/list")
                .is_none()
        );
        assert!(
            aggregates
                .begin_look("all", "notes", "prompts/list")
                .is_some()
        );
        drop(looking);
        assert!(
            aggregates
                .begin_look("all", "notes", "tools/list")
                .is_some()
        );
    }

    /// Narrower tokens of one grant, however many, look at the members no more often; those of another do.
    #[test]
    fn looks_of_one_grant_are_bounded_and_take_no_place_of_others() {
        let aggregates = Aggregates::default();
        let look = |token: usize, grant: &str| {
            let key = (token.to_string(), "all".to_owned());
            aggregates.look(&key, grant, 1)
        };
        let mut going: Vec<_> = (0..LOOKS_OF_A_GRANT).map(|at| look(at, "g")).collect();
        assert!(going.iter().all(Option::is_some));
        assert!(look(100, "g").is_none());
        assert!(look(0, "g").is_some(), "one that goes on is for all");
        assert!(look(101, "h").is_some());
        going.pop();
        assert!(look(100, "g").is_some());
    }

    /// A member with one slow list does not come and go with each of the others.
    #[test]
    fn a_member_is_away_from_the_first_list_that_fails_to_the_last_that_is_answered() {
        let aggregates = Aggregates::default();
        let goes = |method: &str, why| aggregates.goes("all", "notes", method, why);
        let is_back = |method: &str| aggregates.is_back("all", "notes", method);
        let is_away = |method: &str| aggregates.is_away("all", "notes", method);
        let (tools, resources) = ("tools/list", "resources/list");
        assert!(!is_back(tools));
        assert!(goes(resources, Absence::Late));
        assert!(!goes(resources, Absence::Late));
        assert!(!is_back(tools), "its resources are late still");
        assert!(is_away(resources) && !is_away(tools));
        assert!(!goes(tools, Absence::Unreachable));
        assert!(!is_back("prompts/list"), "it is reached, and late");
        assert!(!is_away(tools) && is_away(resources));
        assert!(is_back(resources));
        assert!(!is_back(resources));
        assert!(goes(tools, Absence::Unreachable));
        assert!(is_back("prompts/list"), "it is reached");
    }
}
