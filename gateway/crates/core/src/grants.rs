//! Grants: what a person allowed a client to do. A grant is the thing that is revoked; every token
//! and code names its grant.

pub mod amendment;
pub mod authorization_code;
pub mod consented_tools;
pub mod device;
pub mod personal;
mod pin;
pub mod refresh_token;
mod tools;

use rand::RngCore;
use serde::{Deserialize, Serialize};

pub use self::pin::{Pin, PinKey};
pub use self::tools::{DigestedTools, NotAllowed, SetDigest, ToolState, Tools};

use crate::client::{ClientId, Fingerprint};
use crate::clock::Timestamp;
use crate::grants::personal::Personal;
use crate::grants::refresh_token::RefreshTokens;
use crate::protocol::resource::Resource;
use crate::protocol::scope::Scope;
use crate::secret;
use crate::text_type::shown_as_text;

/// Names a grant in tokens, logs and revocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(String);

impl GrantId {
    /// A new one.
    pub fn draw(random: &mut dyn RngCore) -> Self {
        Self(secret::identifier("g_", random))
    }

    /// One that a token or the store names.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Names a person. Never equal to a client identifier (RFC 9700 §4.15): the prefixes differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(String);

impl UserId {
    /// A new one.
    pub fn draw(random: &mut dyn RngCore) -> Self {
        Self(secret::identifier("u_", random))
    }

    /// Whether a text may be one: those that are drawn begin so.
    pub fn looks_like(text: &str) -> bool {
        text.starts_with("u_")
    }

    /// One that a token or the store names.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

shown_as_text!(GrantId, UserId);

/// What one person allowed one client at one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its name.
    pub id: GrantId,
    /// Who allowed it.
    pub user: UserId,
    /// The person's name, for the backend and the log.
    pub user_name: String,
    /// Who may use it.
    pub client: ClientId,
    /// What that client was when it was allowed, if it can change. One that is something else now
    /// must not use the grant (`client::fingerprint`).
    #[serde(default)]
    pub client_fingerprint: Option<Fingerprint>,
    /// Where it may be used.
    pub resource: Resource,
    /// For what.
    pub scope: Scope,
    /// With which tools.
    pub tools: Tools,
    /// The name of the identity provider by whose word it was made, where no person was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_by: Option<String>,
    /// When consent was given.
    pub created: Timestamp,
    /// When its code was redeemed; `None` for what an earlier version kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeemed: Option<Timestamp>,
    /// When the last token that it gave ends.
    pub expires: Timestamp,
    /// What is kept of its refresh tokens, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<RefreshTokens>,
    /// What is kept of its personal token, if it is the grant of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<Personal>,
}
