//! Under which names things are kept. Owns: tables, the kinds of keys, keys, indexes. The constructors
//! of a [`Key`] stand beside the record that it is for (`records`).

mod kinds;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::kinds::KeyKind;

/// What kinds of things are kept. Each has its own key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Registered clients, by client id.
    Client,
    /// Users, by lower-case login name.
    User,
    /// Grants, by id.
    Grant,
    /// Authorization codes, by hash.
    Code,
    /// Browser sessions, by hash.
    Session,
    /// Marks of things that may happen once, such as a consent form.
    Once,
    /// Single values: the setup code, the certificate, fingerprints of keys, what a user allowed a client last,
    /// when a grant was used, what it allowed before it was amended, whose an account at an identity
    /// provider or a passkey is, accounts at backends.
    Setting,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 7] = [
        Self::Client,
        Self::User,
        Self::Grant,
        Self::Code,
        Self::Session,
        Self::Once,
        Self::Setting,
    ];

    /// Its name in the keys of Redis and in the embedded store's file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::User => "user",
            Self::Grant => "grant",
            Self::Code => "code",
            Self::Session => "session",
            Self::Once => "once",
            Self::Setting => "setting",
        }
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }
}

/// Which records of a table belong to somebody: their keys, in order, kept beside the table so that
/// finding them costs what is found. What is written to disk and to Redis is made of its table and its
/// name, which therefore never change.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Index {
    table: Table,
    name: String,
}

impl Index {
    pub(crate) fn new(table: Table, name: impl Into<String>) -> Self {
        Self {
            table,
            name: name.into(),
        }
    }

    /// Whose records it names.
    pub const fn table(&self) -> Table {
        self.table
    }

    /// Its name among the indexes of its table.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The table alone.
impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({})", self.table.name())
    }
}

/// The key of one record. What is written to disk and to Redis is made of its table and its name,
/// which therefore never change.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    kind: KeyKind,
    name: String,
    indexes: Vec<String>,
}

impl Key {
    pub(crate) fn new(kind: KeyKind, name: impl Into<String>) -> Self {
        let key = Self {
            kind,
            name: name.into(),
            indexes: Vec::new(),
        };
        debug_assert_eq!(KeyKind::of(kind.table(), &key.name), Some(kind));
        key
    }

    /// The same key, whose record is entered in these indexes of its table with every write.
    #[must_use]
    pub(crate) fn indexed(mut self, indexes: impl IntoIterator<Item = Index>) -> Self {
        let indexes = indexes.into_iter();
        self.indexes = indexes.map(|index| index.name).collect();
        self
    }

    /// A key of any text, for tests of the promises.
    #[cfg(test)]
    pub(crate) fn in_table(table: Table, name: impl Into<String>) -> Self {
        let kind = match table {
            Table::Client => KeyKind::Client,
            Table::User => KeyKind::User,
            Table::Grant => KeyKind::Grant,
            Table::Code => KeyKind::Code,
            Table::Session => KeyKind::Session,
            Table::Once => KeyKind::FormAnswer,
            Table::Setting => KeyKind::Setup,
        };
        Self {
            kind,
            name: name.into(),
            indexes: Vec::new(),
        }
    }

    /// What it is for.
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Where it stands.
    pub const fn table(&self) -> Table {
        self.kind.table()
    }

    /// Its name in its table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of the indexes of its table in which a write enters its record.
    pub fn indexes(&self) -> &[String] {
        &self.indexes
    }
}

/// The kind alone.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.kind)
    }
}

/// Under what something is counted, such as wrong passwords.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CountKey(String);

impl CountKey {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Its name among the counts.
    pub fn name(&self) -> &str {
        &self.0
    }
}
