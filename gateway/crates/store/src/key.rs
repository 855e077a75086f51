//! Under which names things are kept. Owns: tables, the kinds of keys, keys, indexes. The constructors
//! of a [`Key`] stand beside the record that it is for (`records`).

mod names;

use std::fmt;

use serde::{Deserialize, Serialize};

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
}

/// What a key is for. It names a record in errors and logs, where the key itself must not stand: it
/// can be the hash of a secret, or what a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// A registered client.
    Client,
    /// A user.
    User,
    /// A grant.
    Grant,
    /// An authorization code.
    Code,
    /// A browser session.
    Session,
    /// What a form was answered with first.
    FormAnswer,
    /// A client assertion that was used.
    UsedAssertion,
    /// A grant that was ended and has no record.
    EndedGrant,
    /// An address, account or browser that has to wait before the next login.
    LoginLock,
    /// A login that was begun at an identity provider.
    ProviderLogin,
    /// A link by which a person sets themselves up.
    RescueLink,
    /// A request of an app on another machine.
    Device,
    /// The way to it from the code that a person types.
    UserCode,
    /// The grant that gives a service its tokens.
    ServiceGrant,
    /// The setup code.
    Setup,
    /// Whose an account at an identity provider is.
    Identity,
    /// Whose a passkey is.
    Passkey,
    /// The public half of a signing key.
    SigningKey,
    /// When a signing key was first seen.
    SigningKeySeen,
    /// When a grant was used last.
    LastUse,
    /// Where a grant was used from.
    LastAddress,
    /// What a user allowed a client last.
    Allowed,
    /// The tools of a grant before it was amended.
    EarlierTools,
    /// The account at an ACME server.
    AcmeAccount,
    /// A certificate that was ordered, with its key.
    Certificate,
    /// Orders of certificates that failed.
    FailedOrders,
    /// Whose order a certificate is.
    OrderLease,
    /// The answer to a challenge of an ACME server.
    AcmeChallenge,
    /// Since when indexes are kept, and when they were last compared with the tables.
    IndexMark,
    /// Whose turn it is to compare them.
    IndexWalk,
    /// A person's account at a backend.
    Account,
    /// Whose turn it is to renew one.
    AccountRenewal,
    /// A connection to one that was begun.
    AccountLogin,
    /// The link of a call to connect one.
    AccountLink,
    /// What tells a key that seals accounts from others.
    AccountKey,
    /// What the gateway is registered as at a backend's authorization server.
    AccountClient,
    /// Whose turn it is to remove what has expired.
    Sweep,
    /// What a replica answered another one.
    PeerAnswer,
}

impl KeyKind {
    /// Every kind.
    pub(crate) const ALL: [Self; 38] = [
        Self::Client,
        Self::User,
        Self::Grant,
        Self::Code,
        Self::Session,
        Self::FormAnswer,
        Self::UsedAssertion,
        Self::EndedGrant,
        Self::LoginLock,
        Self::ProviderLogin,
        Self::RescueLink,
        Self::Device,
        Self::UserCode,
        Self::ServiceGrant,
        Self::Setup,
        Self::Identity,
        Self::Passkey,
        Self::SigningKey,
        Self::SigningKeySeen,
        Self::LastUse,
        Self::LastAddress,
        Self::Allowed,
        Self::EarlierTools,
        Self::AcmeAccount,
        Self::Certificate,
        Self::FailedOrders,
        Self::OrderLease,
        Self::AcmeChallenge,
        Self::IndexMark,
        Self::IndexWalk,
        Self::Account,
        Self::AccountRenewal,
        Self::AccountLogin,
        Self::AccountLink,
        Self::AccountKey,
        Self::AccountClient,
        Self::Sweep,
        Self::PeerAnswer,
    ];

    /// Where keys of this kind stand.
    pub const fn table(self) -> Table {
        match self {
            Self::Client => Table::Client,
            Self::User => Table::User,
            Self::Grant => Table::Grant,
            Self::Code => Table::Code,
            Self::Session => Table::Session,
            Self::FormAnswer
            | Self::UsedAssertion
            | Self::EndedGrant
            | Self::LoginLock
            | Self::ProviderLogin
            | Self::RescueLink
            | Self::Device
            | Self::UserCode
            | Self::ServiceGrant
            | Self::OrderLease
            | Self::AcmeChallenge
            | Self::IndexWalk
            | Self::AccountRenewal
            | Self::AccountLogin
            | Self::AccountLink
            | Self::Sweep
            | Self::PeerAnswer => Table::Once,
            Self::Setup
            | Self::IndexMark
            | Self::Identity
            | Self::Passkey
            | Self::SigningKey
            | Self::SigningKeySeen
            | Self::LastUse
            | Self::LastAddress
            | Self::Allowed
            | Self::EarlierTools
            | Self::AcmeAccount
            | Self::Certificate
            | Self::FailedOrders
            | Self::Account
            | Self::AccountKey
            | Self::AccountClient => Table::Setting,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::User => "user",
            Self::Grant => "grant",
            Self::Code => "authorization code",
            Self::Session => "session",
            Self::FormAnswer => "form answer",
            Self::UsedAssertion => "used assertion",
            Self::EndedGrant => "ended grant",
            Self::LoginLock => "login lock",
            Self::ProviderLogin => "login at a provider",
            Self::RescueLink => "rescue link",
            Self::Device => "device authorization",
            Self::UserCode => "user code",
            Self::ServiceGrant => "service's grant",
            Self::Setup => "setup code",
            Self::Identity => "account at a provider",
            Self::Passkey => "passkey",
            Self::SigningKey => "signing key",
            Self::SigningKeySeen => "first sight of a signing key",
            Self::LastUse => "last use",
            Self::LastAddress => "last address",
            Self::Allowed => "allowed client",
            Self::EarlierTools => "earlier tools",
            Self::AcmeAccount => "account at an ACME server",
            Self::Certificate => "certificate",
            Self::FailedOrders => "failed orders of a certificate",
            Self::OrderLease => "order of a certificate",
            Self::AcmeChallenge => "answer to an ACME server",
            Self::IndexMark => "mark of the indexes",
            Self::IndexWalk => "walk of the indexes",
            Self::Account => "account at a backend",
            Self::AccountRenewal => "renewal of an account",
            Self::AccountLogin => "connection to an account",
            Self::AccountLink => "link to connect an account",
            Self::AccountKey => "key of accounts",
            Self::AccountClient => "client at a backend's authorization server",
            Self::Sweep => "turn to sweep",
            Self::PeerAnswer => "answer of a replica",
        })
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
