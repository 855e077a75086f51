//! Authorization codes.

use std::time::Duration;

use super::access::Records;
use super::encoding::{Record, decode, encode};
use super::grants::GrantsOf;
use super::page::Readable;
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use crate::store::TakeOutcome;
use gateway_core::clock::Timestamp;
use gateway_core::grants::authorization_code::AuthorizationCode;
use gateway_core::secret::SecretHash;

/// How long a request may take to redeem a code that was in time, with clocks that differ.
const IN_FLIGHT: Duration = Duration::from_secs(120);

/// What taking an authorization code met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenCode {
    /// This request redeems it.
    Fresh(AuthorizationCode),
    /// It was redeemed before.
    Replayed(AuthorizationCode),
    /// There is no such code.
    Unknown,
}

impl Record for AuthorizationCode {}

impl Key {
    /// Of a code's record.
    pub fn code(hash: &SecretHash) -> Self {
        Self::new(KeyKind::Code, hash.as_str())
    }
}

impl Records {
    /// Looks at a code without taking it.
    pub async fn code(
        &self,
        hash: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<AuthorizationCode>, StoreError> {
        self.load(&Key::code(hash), now).await
    }

    /// Takes a code: exactly one caller ever gets it fresh.
    pub async fn take_code(
        &self,
        hash: &SecretHash,
        now: Timestamp,
    ) -> Result<TakenCode, StoreError> {
        let key = Key::code(hash);
        match self.store.take(&key, now).await? {
            TakeOutcome::Fresh(bytes) => Ok(TakenCode::Fresh(decode(key.kind(), &bytes)?)),
            TakeOutcome::Again(bytes) => Ok(TakenCode::Replayed(decode(key.kind(), &bytes)?)),
            TakeOutcome::Unknown => Ok(TakenCode::Unknown),
        }
    }

    /// Keeps a code under its hash, unless one is there; `false` then. It stays known after its 60
    /// seconds, so that a late replay is recognised for as long as the tokens live that it gave.
    pub async fn add_code(
        &self,
        hash: &SecretHash,
        code: &AuthorizationCode,
        keep_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let key = Key::code(hash).owned_by(&code.user, &code.client);
        self.add(&key, &encode(code), Some(keep_until), now).await
    }

    /// The codes that may be redeemed, or are being redeemed at this moment.
    pub async fn open_codes(
        &self,
        of: GrantsOf<'_>,
        now: Timestamp,
    ) -> Result<Readable<AuthorizationCode>, StoreError> {
        let open = |code: &AuthorizationCode| {
            of.includes(&code.user, &code.client) && now < code.expires + IN_FLIGHT
        };
        let theirs = self.listed(KeyKind::Code, of, now).await?;
        self.readable(&theirs, now, open).await
    }
}
