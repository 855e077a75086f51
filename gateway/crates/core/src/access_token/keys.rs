//! The keys that sign and verify access tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use biscuit_auth::{KeyPair, PublicKey, error};

use super::rotation::KeyState;
use super::third_party_block::Approver;
use crate::handle::Handle;

/// The signing keys of this installation: the active one and those that still verify.
#[derive(Debug)]
pub struct Keys {
    /// `None`: all are revoked, and nothing can be signed.
    active: Option<u32>,
    pairs: BTreeMap<u32, KeyPair>,
    pub(super) approvers: Vec<Approver>,
}

impl Keys {
    /// Keys by their `root_key_id`; the highest id signs. `None` if there is none.
    pub fn new(pairs: BTreeMap<u32, KeyPair>) -> Option<Self> {
        let active = *pairs.keys().next_back()?;
        Some(Self {
            active: Some(active),
            pairs,
            approvers: Vec::new(),
        })
    }

    /// Those of the keys that do something by these states.
    pub fn in_states(mut pairs: BTreeMap<u32, KeyPair>, states: &BTreeMap<u32, KeyState>) -> Self {
        pairs.retain(|id, _| states.get(id).is_some_and(|state| state.verifies()));
        let signs = |(_, state): &(&u32, &KeyState)| **state == KeyState::Signs;
        Self {
            active: states.iter().find(signs).map(|(id, _)| *id),
            pairs,
            approvers: Vec::new(),
        }
    }

    /// The same keys, and those whose approvals count.
    pub fn with_approvers(self, approvers: Vec<Approver>) -> Self {
        Self { approvers, ..self }
    }

    /// Every public key that verifies, by its `root_key_id`.
    pub fn public_keys(&self) -> impl Iterator<Item = (u32, PublicKey)> {
        self.pairs.iter().map(|(id, pair)| (*id, pair.public()))
    }

    /// The id that new tokens carry, if any can be signed.
    pub const fn active_id(&self) -> Option<u32> {
        self.active
    }

    /// The id of the key that signs, and the key.
    pub(super) fn signing(&self) -> Result<(u32, &KeyPair), error::Token> {
        self.active
            .and_then(|id| Some((id, self.pairs.get(&id)?)))
            .ok_or(error::Token::InternalError)
    }

    pub(super) fn public(&self, id: Option<u32>) -> Result<PublicKey, error::Format> {
        id.and_then(|id| self.pairs.get(&id))
            .map(KeyPair::public)
            .ok_or(error::Format::UnknownPublicKey)
    }
}

/// Where the keys stand from which everybody takes them; they are replaced as a whole.
pub type KeysHandle = Handle<Arc<Keys>>;
