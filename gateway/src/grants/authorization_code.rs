//! Authorization codes: what is kept behind one, and how it is redeemed (OAuth 2.1 §4.1.3).

use serde::{Deserialize, Serialize};

use crate::client::ClientId;
use crate::clock::Timestamp;
use crate::grants::{GrantId, UserId};
use crate::protocol::resource::Resource;
use crate::protocol::scope::Scope;

/// What the store keeps under the hash of a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationCode {
    /// The grant that redeeming it makes; a replay revokes it.
    pub grant: GrantId,
    /// The client it was given to.
    pub client: ClientId,
    /// The redirect URI of the authorization request, byte for byte.
    pub redirect_uri: String,
    /// The S256 challenge (RFC 7636).
    pub code_challenge: String,
    /// The consented resource.
    pub resource: Resource,
    /// The consented scope.
    pub scope: Scope,
    /// Who consented.
    pub user: UserId,
    /// That person's name.
    pub user_name: String,
    /// When consent was given.
    pub issued: Timestamp,
    /// 60 seconds later.
    pub expires: Timestamp,
}
