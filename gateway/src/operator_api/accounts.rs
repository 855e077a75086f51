//! What the operations about people's accounts at backends are asked and answer. No credential is among it.

use clap::Args;
use serde::{Deserialize, Serialize};

/// A page of accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElsewherePage {
    /// A person's stand together.
    pub accounts: Vec<ElsewhereView>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// A person's account at a backend, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElsewhereView {
    /// The login name.
    pub user: String,
    /// The backend's name.
    pub backend: String,
    /// What the account is called there, if that was said.
    pub called: Option<String>,
    /// When it was connected, in RFC 3339.
    pub connected: String,
    /// When it was renewed last, in RFC 3339.
    pub renewed: Option<String>,
    /// What it is for, in the words of the other side.
    pub scopes: Vec<String>,
    /// `connected`, or why it is to be connected again.
    pub state: String,
}

/// An account to be removed.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElsewhereToRemove {
    /// Whose, by login name
    pub user: String,
    /// At which backend
    pub backend: String,
}

/// What came of removing one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedElsewhere {
    /// Whether it was revoked at the other side, too, in words.
    pub removed: String,
}
