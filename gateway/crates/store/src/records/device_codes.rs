//! Requests of apps without a browser, by the hash of their device code, and the way there from the code
//! that a person types.

use super::access::{Records, SingleUse};
use super::encoding::{Record, encode, encode_value};
use super::grants::GrantsOf;
use super::page::{Listed, Readable};
use crate::error::StoreError;
use crate::key::{CountKey, Key, KeyKind};
use gateway_core::clock::Timestamp;
use gateway_core::grants::device::{Answer, DeviceAuthorization, UserCode};
use gateway_core::secret::SecretHash;

/// A request as it was read, so that what is answered replaces exactly that.
#[derive(Clone, Debug)]
pub struct KeptDevice {
    /// It.
    pub asked: DeviceAuthorization,
    /// The hash of its device code.
    pub code: SecretHash,
    seen: Vec<u8>,
}

/// What the names of requests begin with, in the table that they share.
const DEVICE: &str = "device:";

/// What the names of the ways to them begin with.
const USER_CODE: &str = "user_code:";

impl Record for DeviceAuthorization {}

impl Key {
    /// Of a request, by the hash of its device code.
    fn device(code: &SecretHash) -> Self {
        Self::new(KeyKind::Device, format!("{DEVICE}{}", code.as_str()))
    }

    /// Of the way to a request from its user code.
    fn user_code(code: &UserCode) -> Self {
        let hash = code.hash();
        Self::new(KeyKind::UserCode, format!("{USER_CODE}{}", hash.as_str()))
    }
}

impl CountKey {
    /// Of requests of apps without a browser, from a network.
    pub fn device_requests(network: &str) -> Self {
        Self::new(format!("device/{network}"))
    }

    /// Of user codes that were typed, from a network.
    pub fn user_codes(network: &str) -> Self {
        Self::new(format!("user-codes/{network}"))
    }

    /// Of all device authorization requests.
    pub fn all_device_requests() -> Self {
        Self::new("device-requests")
    }

    /// Of questions for one answer.
    pub fn device_polls(code: &SecretHash) -> Self {
        Self::new(format!("device-poll/{}", code.as_str()))
    }
}

impl Records {
    /// Keeps a request until its time. `false` if its user code stands for another one.
    pub async fn add_device(
        &self,
        code: &SecretHash,
        asked: &DeviceAuthorization,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let until = asked.expires;
        let (key, way) = (Key::user_code(&asked.user_code), encode_value(code));
        if !self.add(&key, &way, Some(until), now).await? {
            return Ok(false);
        }
        self.keep(&Key::device(code), asked, until).await?;
        Ok(true)
    }

    /// A request by its device code.
    pub async fn device(
        &self,
        code: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<KeptDevice>, StoreError> {
        let found = self.load_seen(&Key::device(code), now).await?;
        Ok(found.map(|(asked, seen)| KeptDevice {
            asked,
            code: code.clone(),
            seen,
        }))
    }

    /// A request by the code that a person typed.
    pub async fn device_of_user_code(
        &self,
        code: &UserCode,
        now: Timestamp,
    ) -> Result<Option<KeptDevice>, StoreError> {
        match self.load_value(&Key::user_code(code), now).await? {
            Some(code) => self.device(&code, now).await,
            None => Ok(None),
        }
    }

    /// Keeps what a person said, if nothing was said since; [`StoreError::Conflict`] else.
    pub async fn answer_device(
        &self,
        kept: &KeptDevice,
        answered: &DeviceAuthorization,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (key, value) = (Key::device(&kept.code), encode(answered));
        let until = Some(answered.expires);
        let replaced = self.store.replace(&key, &kept.seen, &value, until, now);
        replaced.await
    }

    /// What was allowed to apps that have not come for it, or are coming at this moment.
    pub async fn answered_devices(
        &self,
        of: GrantsOf<'_>,
        now: Timestamp,
    ) -> Result<Readable<DeviceAuthorization>, StoreError> {
        let includes = |asked: &DeviceAuthorization| match &asked.answer {
            Some(Answer::Allowed(allowed)) => of.includes(&allowed.user, &asked.client),
            Some(Answer::Denied) | None => false,
        };
        let all = Listed::under(KeyKind::Device, DEVICE);
        self.readable(&all, now, includes).await
    }

    /// Takes an answer: exactly one caller ever gets it fresh.
    pub async fn take_device(
        &self,
        code: &SecretHash,
        now: Timestamp,
    ) -> Result<SingleUse<DeviceAuthorization>, StoreError> {
        self.take(&Key::device(code), now).await
    }
}
