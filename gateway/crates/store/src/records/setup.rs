//! The setup code: offered, or claimed. Not: what a code is and who may claim it (`gateway-oauth`,
//! `identity::setup`).

use serde::{Deserialize, Serialize};

use super::access::Records;
use super::encoding::{Record, decode, encode};
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use gateway_core::clock::Timestamp;
use gateway_core::secret::SecretHash;

/// A setup code that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupOffer {
    /// Of the code.
    pub hash: SecretHash,
    /// When it is open no more.
    pub expires: Timestamp,
    /// How many wrong codes were tried.
    pub wrong: u32,
}

/// What became of the setup code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupState {
    /// It is open, or was until its time.
    Offered(SetupOffer),
    /// Somebody became the owner with the code whose hash has this text.
    Claimed(String),
}

/// The state as it was read, so that what is decided about it replaces exactly that.
#[derive(Debug)]
pub struct KeptSetup {
    /// How far it has come.
    pub state: SetupState,
    seen: Vec<u8>,
}

impl Record for SetupOffer {}

impl Key {
    /// Of the setup code.
    pub fn setup() -> Self {
        Self::new(KeyKind::Setup, "setup")
    }
}

/// What stands before the hash of a code that was claimed.
const CLAIMED: &str = "claimed:";

impl SetupState {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Offered(offer) => encode(offer),
            Self::Claimed(hash) => format!("{CLAIMED}{hash}").into_bytes(),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        if let Some(hash) = bytes.strip_prefix(CLAIMED.as_bytes()) {
            return Ok(Self::Claimed(String::from_utf8_lossy(hash).into_owned()));
        }
        decode(KeyKind::Setup, bytes).map(Self::Offered)
    }
}

impl Records {
    /// Opens a code and closes the one before.
    pub async fn offer_setup(&self, offer: &SetupOffer, now: Timestamp) -> Result<(), StoreError> {
        self.overwrite(&Key::setup(), offer, Some(offer.expires), now)
            .await
    }

    /// What became of the code that was offered last, within its time.
    pub async fn setup(&self, now: Timestamp) -> Result<Option<KeptSetup>, StoreError> {
        let seen = self.store.get(&Key::setup(), now).await?;
        seen.map(|seen| {
            let state = SetupState::decode(&seen)?;
            Ok(KeptSetup { state, seen })
        })
        .transpose()
    }

    /// Sets the state if it still is what was read; [`StoreError::Conflict`] if somebody changed it
    /// since.
    pub async fn replace_setup(
        &self,
        kept: &KeptSetup,
        state: &SetupState,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let value = state.encode();
        self.store
            .replace(&Key::setup(), &kept.seen, &value, Some(expires), now)
            .await
    }
}
