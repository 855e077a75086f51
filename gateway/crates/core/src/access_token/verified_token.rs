//! What an access token says, once it is verified.

use std::time::Duration;

use super::attenuation::Attenuation;
use super::third_party_block::Approval;
use crate::client::ClientId;
use crate::clock::Timestamp;
use crate::grants::{GrantId, Tools, UserId};
use crate::protocol::resource::Resource;
use crate::protocol::scope::Scope;

/// Clocks of replicas may differ by this much.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The resource owner.
    pub user: UserId,
    /// The resource owner's login name, for the backend.
    pub user_name: String,
    /// The groups of identity providers that the resource owner was in then: `corp:engineering`.
    pub groups: Vec<String>,
    /// The client it was issued to.
    pub client: ClientId,
    /// The grant it is part of: what revocation names.
    pub grant: GrantId,
    /// The audience.
    pub resource: Resource,
    /// The granted scope.
    pub scope: Scope,
    /// The granted tools.
    pub tools: Tools,
    /// When it was minted.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// A token that this installation signed and that says what a token must say, narrowed as its
/// holders wanted. It may have expired since, and its grant or one of its blocks may be revoked:
/// both are asked at every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    pub(super) ids: Vec<String>,
    pub(super) claims: Claims,
    pub(super) attenuation: Attenuation,
    pub(super) approvals: Vec<Approval>,
    pub(super) is_stand_in: bool,
    pub(super) signing_key: Option<u32>,
}

impl VerifiedToken {
    /// The revocation id of its authority block: its name in logs.
    pub fn id(&self) -> &str {
        self.ids.first().map(String::as_str).unwrap_or_default()
    }

    /// The revocation ids of all its blocks, the authority block's first. Revoking one revokes
    /// every token that was narrowed from there.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// The number of the key that signed it; `None` for what stands in for a personal token, which nothing
    /// signed.
    pub const fn signing_key(&self) -> Option<u32> {
        self.signing_key
    }

    /// What it says.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What its holders appended.
    pub const fn attenuation(&self) -> &Attenuation {
        &self.attenuation
    }

    /// What third parties approved, also what is over.
    pub fn approvals(&self) -> &[Approval] {
        &self.approvals
    }

    /// Whether it allows a tool: granted, and not narrowed away. `read_only`: whether the backend
    /// says that the tool changes nothing.
    pub fn allows_tool(&self, name: &str, read_only: bool) -> bool {
        self.claims.tools.contains(name) && self.attenuation.allows_tool(name, read_only)
    }

    /// The moment from which it counts no more: what was minted has [`LEEWAY`] for the clocks of
    /// replicas, what a holder wrote counts as written.
    pub fn ends(&self) -> Timestamp {
        let minted = self.longest_ends();
        let ends = self.attenuation.ends();
        ends.map_or(minted, |ends| ends.min(minted))
    }

    /// The moment from which no token counts any more that has the same authority block, whatever its
    /// holders appended.
    pub fn longest_ends(&self) -> Timestamp {
        self.claims.expires + LEEWAY + Duration::from_millis(1)
    }

    /// Whether it stands in for a personal token.
    pub const fn is_stand_in(&self) -> bool {
        self.is_stand_in
    }

    /// Whether it stands in for a personal token and is to be made anew of the grant, which may be good
    /// for longer.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.is_stand_in && now >= self.claims.expires
    }

    /// Whether its lifetime is over; see [`VerifiedToken::ends`].
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.ends()
    }
}
