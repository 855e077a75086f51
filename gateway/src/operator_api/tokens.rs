//! Tokens: one that is revoked, and one that is made for a person.

use serde::{Deserialize, Serialize};

use super::GrantView;

/// The token, or the revocation id of the block to begin with. Never printed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum TokenToRevoke {
    /// The token itself.
    Token(String),
    /// A revocation id in hexadecimal.
    Id(String),
}

/// What a personal token is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenToCreate {
    /// In whose name: a login name.
    pub user: String,
    /// What it is for.
    pub name: String,
    /// The backend; `None`: the only one.
    pub backend: Option<String>,
    /// With which tools.
    pub tools: ToolsToGrant,
    /// How long it counts.
    pub seconds: u64,
}

/// Which tools a personal token allows, each as it is at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolsToGrant {
    /// Those that say that they change nothing.
    ReadOnly,
    /// All of today.
    Today,
    /// Everything, also what comes later.
    Everything,
    /// These.
    Named(Vec<String>),
}

/// A personal token that was made. Never printed twice.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedToken {
    /// The token itself.
    pub token: String,
    /// What it stands for.
    pub grant: GrantView,
}

/// The token that was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedToken {
    /// The revocation id of its last block.
    pub revoked: String,
    /// The grant that ended with it, if it was a personal token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}
