//! Lists of tools that were read, to be known again: a backend says the same list to all, again and
//! again, and reading one takes longer than everything else about an answer. What is remembered is
//! what a text says, which nothing can change; what of it a token may see is decided each time anew.
//!
//! Each client of a person has a few at each resource: whatever one of them makes a backend say takes
//! nothing from another. Two of them that are told the same have it once.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, OptionsBuilder, Weighter};

use gateway_core::access_token::Claims;
use gateway_core::grants::{Pin, PinKey};
use gateway_upstream::doubled;
use mcp_protocol::tool_definition::{Definition, Unfit};
use mcp_protocol::tool_list::{Frame, KnownMessage, ToolLists, Unreadable};

/// What all remembered lists take at most, in bytes; what several have counts for each.
const ROOM: u64 = 32 * 1024 * 1024;

/// About so many clients have some.
const CLIENTS: usize = 1024;

/// What those of one client take at most, and how many they are: pages of a list, mostly.
const ROOM_EACH: usize = 1024 * 1024;
const LISTS_EACH: usize = 4;

/// A longer text is not remembered.
const LONGEST: usize = 512 * 1024;

/// What a definition takes beside its text: digests and keys of a few members, and its pin.
const DEFINITION: usize = 1024;

/// From so many on, it is looked for lists that nobody has any more.
const CROWDED: usize = 256;

/// A message or batch that was read, and what is computed of it once.
#[derive(Debug)]
pub(super) struct ReadList {
    listed: ToolLists,
    /// Of each definition.
    pins: Vec<Pin>,
    /// Names that stand there twice, not for the same.
    doubled: BTreeSet<String>,
    /// `None`: it is nothing that could be known again.
    message: Option<KnownMessage>,
}

impl ReadList {
    pub(super) fn read(text: &str, pins: &PinKey) -> Result<Self, Unreadable> {
        let listed = ToolLists::read(text)?;
        let pins: Vec<Pin> = listed
            .definitions()
            .iter()
            .map(|one| pins.pin(one))
            .collect();
        // A batch may hold one list twice: of two that are the same it does not matter which is run.
        let names = listed.definitions().iter().map(Definition::name);
        let different: BTreeSet<(&str, Pin)> = names.zip(pins.iter().copied()).collect();
        let unfit = listed.unfit().iter().filter_map(Unfit::name);
        let doubled = doubled(different.iter().map(|(name, _)| *name).chain(unfit));
        Ok(Self {
            listed,
            pins,
            doubled,
            message: None,
        })
    }

    /// The definitions, each with its pin.
    pub(super) fn definitions(&self) -> impl ExactSizeIterator<Item = (&Definition, Pin)> {
        self.listed
            .definitions()
            .iter()
            .zip(self.pins.iter().copied())
    }

    pub(super) fn unfit(&self) -> &[Unfit] {
        self.listed.unfit()
    }

    pub(super) const fn doubled(&self) -> &BTreeSet<String> {
        &self.doubled
    }

    /// The text that was read, or one that says the same, without the tools that are not kept. `None`:
    /// it stays as it is.
    pub(super) fn cut(&self, text: &[u8], keep: impl Fn(usize) -> bool) -> Option<Vec<u8>> {
        match &self.message {
            Some(message) => message.cut(&self.listed, text, keep),
            None => self.listed.cut(text, keep),
        }
    }

    fn is_said_by(&self, text: &[u8]) -> bool {
        let message = self.message.as_ref();
        message.is_some_and(|message| message.is_said_by(text))
    }

    fn size(&self) -> usize {
        let text = self.message.as_ref().map_or(0, KnownMessage::size);
        text + self.pins.len() * DEFINITION
    }
}

/// Of whom a list is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client<T> {
    user: T,
    client: T,
    resource: T,
}

impl Client<&str> {
    fn into_owned(self) -> Client<String> {
        Client {
            user: self.user.to_owned(),
            client: self.client.to_owned(),
            resource: self.resource.to_owned(),
        }
    }
}

impl<'a> From<&'a Claims> for Client<&'a str> {
    fn from(claims: &'a Claims) -> Self {
        Self {
            user: claims.user.as_str(),
            client: claims.client.as_str(),
            resource: claims.resource.as_str(),
        }
    }
}

impl Equivalent<Client<String>> for Client<&str> {
    fn equivalent(&self, owned: &Client<String>) -> bool {
        self.user == owned.user && self.client == owned.client && self.resource == owned.resource
    }
}

/// The last one first.
type Lists = Arc<[Arc<ReadList>]>;

#[derive(Clone)]
struct Weight;

impl Weighter<Client<String>, Lists> for Weight {
    fn weight(&self, of: &Client<String>, lists: &Lists) -> u64 {
        let names = of.user.len() + of.client.len() + of.resource.len();
        let lists = lists.iter().map(|list| list.size()).sum::<usize>();
        (names + lists) as u64
    }
}

/// What is remembered.
pub(super) struct KnownLists {
    by_client: Cache<Client<String>, Lists, Weight>,
    /// What anybody has, by the hash of its frame, with a key that nobody knows.
    shared: Mutex<HashMap<u64, Weak<ReadList>>>,
    hasher: RandomState,
}

/// A cache for about so many items, of so much weight in all. In one piece, so that an item of the largest size
/// has room whatever the number of processors.
pub(super) fn in_one_piece<K: Eq + Hash, V: Clone, W: Weighter<K, V> + Clone>(
    items: usize,
    room: u64,
    weighter: W,
) -> Cache<K, V, W> {
    let options = OptionsBuilder::new()
        .shards(1)
        .estimated_items_capacity(items)
        .weight_capacity(room)
        .build()
        .expect("both capacities are given");
    Cache::with_options(options, weighter, Default::default(), Default::default())
}

impl Default for KnownLists {
    fn default() -> Self {
        Self {
            by_client: in_one_piece(CLIENTS, ROOM, Weight),
            shared: Mutex::default(),
            hasher: RandomState::new(),
        }
    }
}

impl fmt::Debug for KnownLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KnownLists({})", self.by_client.len())
    }
}

impl KnownLists {
    /// The list that this client was told last in these bytes, but for the id of the answer.
    pub(super) fn find(&self, claims: &Claims, text: &[u8]) -> Option<Arc<ReadList>> {
        let lists = self.by_client.get(&Client::from(claims))?;
        let found = lists.iter().find(|list| list.is_said_by(text))?;
        Some(Arc::clone(found))
    }

    /// Reads an answer that a client is told, and remembers it if it can be known again.
    pub(super) fn read(
        &self,
        claims: &Claims,
        text: &str,
        pins: &PinKey,
    ) -> Result<Arc<ReadList>, Unreadable> {
        let frame = Frame::of(text).filter(|_| text.len() <= LONGEST);
        let Some(frame) = frame else {
            return ReadList::read(text, pins).map(Arc::new);
        };
        let hash = self.hasher.hash_one(frame);
        let shared = self.shared.lock().get(&hash).and_then(Weak::upgrade);
        let list = match shared.filter(|list| list.is_said_by(text.as_bytes())) {
            Some(list) => list,
            None => {
                let list = Arc::new(ReadList {
                    message: Some(frame.into()),
                    ..ReadList::read(text, pins)?
                });
                self.share(hash, &list);
                list
            }
        };
        self.remember(claims, &list);
        Ok(list)
    }

    fn share(&self, hash: u64, list: &Arc<ReadList>) {
        let mut shared = self.shared.lock();
        if shared.len() >= CROWDED && shared.len() == shared.capacity() {
            shared.retain(|_, list| list.strong_count() > 0);
        }
        shared.insert(hash, Arc::downgrade(list));
    }

    fn remember(&self, claims: &Claims, list: &Arc<ReadList>) {
        let of = Client::from(claims);
        let others = self.by_client.get(&of);
        let others = others.iter().flat_map(|lists| lists.iter());
        let mut room = ROOM_EACH;
        let lists: Lists = std::iter::once(list)
            .chain(others.filter(|other| !Arc::ptr_eq(other, list)))
            .take(LISTS_EACH)
            .take_while(|list| {
                let left = room.checked_sub(list.size());
                room = left.unwrap_or(0);
                left.is_some()
            })
            .cloned()
            .collect();
        if !lists.is_empty() {
            self.by_client.insert(of.into_owned(), lists);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::access_token::Tools;
    use gateway_core::client::ClientId;
    use gateway_core::clock::Timestamp;
    use gateway_core::grants::{GrantId, UserId};
    use gateway_core::protocol::resource::Resource;
    use gateway_core::protocol::scope::Scope;
    use gateway_core::secret::TagKey;

    fn claims(client: &str) -> Claims {
        Claims {
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            groups: Vec::new(),
            client: ClientId::new(client),
            grant: GrantId::new("g_1"),
            resource: Resource::from_token("https://mcp.example.com/mcp"),
            scope: Scope::parse("mcp"),
            tools: Tools::All,
            issued: Timestamp::from_secs(1),
            expires: Timestamp::from_secs(2),
        }
    }

    fn pins() -> PinKey {
        PinKey::new(&TagKey::new([1; 32]))
    }

    fn list(id: usize, tool: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{{"name":"{tool}"}}]}}}}"#)
    }

    fn names(list: &ReadList) -> Vec<&str> {
        list.definitions().map(|(one, _)| one.name()).collect()
    }

    #[test]
    fn a_list_is_read_once_for_all_who_are_told_it() {
        let (lists, pins) = (KnownLists::default(), pins());
        let (one, other) = (claims("c_1"), claims("c_2"));
        let read = lists.read(&one, &list(1, "a"), &pins).unwrap();
        assert_eq!(names(&read), ["a"]);
        let found = lists.find(&one, list(22, "a").as_bytes()).unwrap();
        assert!(Arc::ptr_eq(&read, &found));
        assert!(lists.find(&one, list(1, "b").as_bytes()).is_none());
        assert!(lists.find(&other, list(1, "a").as_bytes()).is_none());
        let again = lists.read(&other, &list(3, "a"), &pins).unwrap();
        assert!(Arc::ptr_eq(&read, &again));
        assert!(lists.find(&other, list(4, "a").as_bytes()).is_some());
        // A batch is read, and not remembered.
        let batch = format!("[{}]", list(1, "z"));
        assert_eq!(names(&lists.read(&one, &batch, &pins).unwrap()), ["z"]);
        assert!(lists.find(&one, batch.as_bytes()).is_none());
        let doubled = r#"{"id":1,"result":{"tools":[],"tools":[{"name":"a"}]}}"#;
        assert!(lists.read(&one, doubled, &pins).is_err());
    }

    #[test]
    fn each_client_has_a_few_and_takes_none_from_another() {
        let (lists, pins) = (KnownLists::default(), pins());
        let (quiet, busy) = (claims("c_quiet"), claims("c_busy"));
        lists.read(&quiet, &list(1, "a"), &pins).unwrap();
        for n in 0..3000 {
            lists
                .read(&busy, &list(1, &format!("t{n}")), &pins)
                .unwrap();
        }
        assert!(lists.find(&quiet, list(1, "a").as_bytes()).is_some());
        let known = |n: usize| lists.find(&busy, list(1, &format!("t{n}")).as_bytes());
        assert!((2996..3000).all(|n| known(n).is_some()));
        assert!((0..2996).all(|n| known(n).is_none()));
        // Nor does what nobody has any more stay.
        assert!(lists.shared.lock().len() < 1024);
        let large = |n: usize| list(1, &format!("{n}{}", "x".repeat(400 * 1024)));
        for n in 0..4 {
            lists.read(&busy, &large(n), &pins).unwrap();
        }
        let known = (0..4).filter(|n| lists.find(&busy, large(*n).as_bytes()).is_some());
        assert_eq!(known.count(), 2);
        let too_large = list(1, &"x".repeat(LONGEST));
        lists.read(&busy, &too_large, &pins).unwrap();
        assert!(lists.find(&busy, too_large.as_bytes()).is_none());
    }

    #[test]
    fn all_of_them_together_have_their_room() {
        let (lists, pins) = (KnownLists::default(), pins());
        for n in 0..200 {
            let large = list(1, &format!("{n}{}", "x".repeat(400 * 1024)));
            lists
                .read(&claims(&format!("c_{n}")), &large, &pins)
                .unwrap();
        }
        assert!(lists.by_client.weight() <= ROOM);
        assert!(lists.by_client.len() > 30);
    }
}
