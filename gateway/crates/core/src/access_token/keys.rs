//! The keys that sign and verify access tokens.

use std::collections::BTreeMap;

use biscuit_auth::{KeyPair, PublicKey, error};

use super::third_party_block::Approver;

/// The signing keys of this installation: the active one and those that still verify.
#[derive(Debug)]
pub struct Keys {
    pub(super) active: u32,
    pairs: BTreeMap<u32, KeyPair>,
    pub(super) approvers: Vec<Approver>,
}

impl Keys {
    /// Keys by their `root_key_id`; the highest id signs. `None` if there is none.
    pub fn new(pairs: BTreeMap<u32, KeyPair>) -> Option<Self> {
        let active = *pairs.keys().next_back()?;
        Some(Self {
            active,
            pairs,
            approvers: Vec::new(),
        })
    }

    /// The same keys, and those whose approvals count.
    pub fn with_approvers(self, approvers: Vec<Approver>) -> Self {
        Self { approvers, ..self }
    }

    /// Every public key that verifies, by its `root_key_id`.
    pub fn public_keys(&self) -> impl Iterator<Item = (u32, PublicKey)> {
        self.pairs.iter().map(|(id, pair)| (*id, pair.public()))
    }

    /// The id that new tokens carry.
    pub const fn active_id(&self) -> u32 {
        self.active
    }

    /// The public key that verifies new tokens.
    pub fn active_public(&self) -> PublicKey {
        self.signing().public()
    }

    pub(super) fn signing(&self) -> &KeyPair {
        self.pairs
            .get(&self.active)
            .expect("`new` took the active id from this map")
    }

    pub(super) fn public(&self, id: Option<u32>) -> Result<PublicKey, error::Format> {
        id.and_then(|id| self.pairs.get(&id))
            .map(KeyPair::public)
            .ok_or(error::Format::UnknownPublicKey)
    }
}
