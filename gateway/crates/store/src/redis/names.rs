//! How things are named in Redis. These names never change.

use super::Redis;
use crate::key::{Key, Table};

impl Redis {
    /// The name in Redis of something that the store has once.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// The name in Redis of a record.
    pub(super) fn record(&self, key: &Key) -> String {
        self.name(&in_expiry(key))
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
