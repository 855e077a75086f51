//! Which keys share a slot. Owns: how things are named in Redis; these names never change.
//!
//! On one server everything is in one space. In a cluster what there is once (revocations, the epoch) is in
//! the space `{prefix}`, and records and counts are spread over [`BUCKETS`] others by their own names: a
//! record is in one slot with all that changes in the same step, the keys of its table, its indexes and what
//! expires. So an index of a person or a client is in as many pieces as there are buckets, and lists merge
//! them (`merge`): that costs a list of few some round trips at the same time, and needs nobody to know
//! whose a record is before it is read.

use super::slots::{crc16, slot_of};
use crate::key::{CountKey, Key, Table};

/// The buckets of a cluster: no more servers than this share the records. It never changes.
pub(super) const BUCKETS: u16 = 64;
/// Slots for each bucket. Theirs are spread evenly, so that servers with the same number of slots, next to
/// each other as `redis-cli --cluster create` deals them out, have the same number of buckets.
const SLOTS_EACH: u16 = super::slots::SLOTS / BUCKETS;

/// Keys that may be asked for together. Two of them may share a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// What all names begin with.
    prefix: String,
    /// Where they are, in a cluster.
    slot: Option<u16>,
}

/// All spaces of a store.
#[derive(Debug)]
pub(super) struct Spaces {
    common: Space,
    /// Where records are.
    buckets: Vec<Space>,
}

impl Spaces {
    /// One of everything.
    pub(super) fn one(prefix: &str) -> Self {
        let space = Space {
            prefix: prefix.to_owned(),
            slot: None,
        };
        Self {
            common: space.clone(),
            buckets: vec![space],
        }
    }

    /// Those of a cluster. The prefix has no braces.
    pub(super) fn of_cluster(prefix: &str) -> Self {
        Self {
            common: Space::tagged(prefix.to_owned()),
            buckets: (0..BUCKETS)
                .map(|number| Space::bucket(prefix, number))
                .collect(),
        }
    }

    /// Of what there is once.
    pub(super) const fn common(&self) -> &Space {
        &self.common
    }

    /// Of a record.
    pub(super) fn of(&self, key: &Key) -> &Space {
        self.by_name(&in_expiry(key))
    }

    /// Of a count.
    pub(super) fn of_count(&self, key: &CountKey) -> &Space {
        self.by_name(key.name())
    }

    fn by_name(&self, name: &str) -> &Space {
        let at = usize::from(crc16(name.as_bytes())) % self.buckets.len();
        &self.buckets[at]
    }

    /// All that hold records, each with its number.
    pub(super) fn buckets(&self) -> &[Space] {
        &self.buckets
    }
}

impl Space {
    fn tagged(tag: String) -> Self {
        Self {
            slot: Some(slot_of(&tag)),
            prefix: format!("{{{tag}}}"),
        }
    }

    /// The first of its names that falls into its share of the slots.
    fn bucket(prefix: &str, number: u16) -> Self {
        (0_u32..)
            .map(|attempt| format!("{prefix}.{number:02}.{attempt}"))
            .find(|tag| slot_of(tag) / SLOTS_EACH == number)
            .map(Self::tagged)
            .expect("names of all slots come sooner or later")
    }

    /// Where it is, in a cluster.
    pub(super) const fn slot(&self) -> Option<u16> {
        self.slot
    }

    /// What all names in it begin with, before a colon.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name in Redis of something that it has once.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// The name in Redis of a record.
    pub(super) fn record(&self, key: &Key) -> String {
        self.name(&in_expiry(key))
    }

    /// The name in Redis of a count.
    pub(super) fn count(&self, key: &CountKey) -> String {
        self.name(&format!("count:{}", key.name()))
    }

    /// The name in Redis of the sorted set of a table's keys.
    pub(super) fn keys_of(&self, table: Table) -> String {
        self.name(&format!("keys:{}", table.name()))
    }

    /// What the names in Redis of a table's indexes begin with.
    pub(super) fn indexes_of(&self, table: Table) -> String {
        self.name(&format!("index:{}:", table.name()))
    }
}

/// The names of a key's indexes as its record has them.
pub(super) fn index_names(key: &Key) -> String {
    if key.indexes().is_empty() {
        return String::new();
    }
    serde_json::to_string(key.indexes()).expect("texts serialise")
}

/// How a record is named among what expires.
pub(super) fn in_expiry(key: &Key) -> String {
    format!("{}:{}", key.table().name(), key.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_change() {
        let one = Spaces::one("gateway");
        let key = Key::in_table(Table::Grant, "g_1");
        assert_eq!(one.of(&key).record(&key), "gateway:grant:g_1");
        assert_eq!(one.common().name("birth"), "gateway:birth");
        let cluster = Spaces::of_cluster("gateway");
        assert_eq!(cluster.common().name("birth"), "{gateway}:birth");
        assert_eq!(cluster.of(&key).record(&key), "{gateway.46.60}:grant:g_1");
        let count = CountKey::new("login:a");
        assert_eq!(
            cluster.of_count(&count).count(&count),
            "{gateway.52.169}:count:login:a"
        );
    }

    #[test]
    fn buckets_are_spread_evenly_over_slots_and_records_over_buckets() {
        let cluster = Spaces::of_cluster("gateway");
        for (number, bucket) in cluster.buckets().iter().enumerate() {
            let slot = bucket.slot().unwrap();
            assert_eq!(usize::from(slot / SLOTS_EACH), number);
            let tag = bucket.prefix().trim_matches(['{', '}']);
            assert_eq!(slot, slot_of(tag));
        }
        let mut counts = vec![0; cluster.buckets().len()];
        for number in 0..64_000 {
            let key = Key::in_table(Table::Grant, format!("g_{number}"));
            let slot = cluster.of(&key).slot().unwrap();
            counts[usize::from(slot / SLOTS_EACH)] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }
}
