//! One value in one step: running `values.lua`.

use super::scripts::VALUES;
use super::spaces::{in_expiry, index_names};
use super::{BACKSTOP, FAR, Redis, millis, strange};
use crate::error::StoreError;
use crate::key::Key;
use gateway_core::clock::Timestamp;

/// An operation of `values.lua`, with all that it needs.
pub(super) struct Operation<'a> {
    name: &'static str,
    now: Option<Timestamp>,
    value: &'a [u8],
    expires: Option<Timestamp>,
    seen: &'a [u8],
}

impl<'a> Operation<'a> {
    pub(super) const fn new(name: &'static str, now: Option<Timestamp>) -> Self {
        Self {
            name,
            now,
            value: b"",
            expires: None,
            seen: b"",
        }
    }

    /// The same, of what is set.
    pub(super) const fn setting(self, value: &'a [u8], expires: Option<Timestamp>) -> Self {
        Self {
            value,
            expires,
            ..self
        }
    }

    /// The same, where this is there.
    pub(super) const fn instead_of(self, seen: &'a [u8]) -> Self {
        Self { seen, ..self }
    }
}

impl Redis {
    /// Runs `values.lua`: one word of outcome, and for some outcomes a value.
    pub(super) async fn value(
        &self,
        key: &Key,
        operation: Operation<'_>,
    ) -> Result<Outcome, StoreError> {
        let expires = operation
            .expires
            .map(Timestamp::millis)
            .filter(|millis| *millis < FAR);
        let backstop = expires.unwrap_or_default() + millis(BACKSTOP);
        let space = self.spaces.of(key);
        let indexes = space.indexes_of(key.table());
        let mut script = VALUES.prepare_invoke();
        script
            .key(space.record(key))
            .key(space.keys_of(key.table()))
            .key(space.name("expiry"));
        for name in key.indexes() {
            script.key(format!("{indexes}{name}"));
        }
        script
            .arg(operation.name)
            .arg(key.name())
            .arg(in_expiry(key))
            .arg(operation.now.map_or(0, Timestamp::millis))
            .arg(operation.value)
            .arg(expires.map_or_else(String::new, |millis| millis.to_string()))
            .arg(backstop)
            .arg(operation.seen)
            .arg(indexes)
            .arg(index_names(key));
        let answer = self.write(space, script).await;
        let mut answer: Vec<Vec<u8>> = answer.map_err(|error| error.of_record(key.kind()))?;
        let value = (answer.len() > 1).then(|| answer.swap_remove(1));
        match (answer.first().map(Vec::as_slice), value) {
            (Some(b"done" | b"new"), None) => Ok(Outcome::Done),
            (Some(b"unknown" | b"other"), None) => Ok(Outcome::Missed),
            (Some(b"fresh"), Some(value)) => Ok(Outcome::Fresh(value)),
            (Some(b"exists" | b"again"), Some(value)) => Ok(Outcome::Present(value)),
            _ => Err(strange()),
        }
    }

    /// Whether it did what it does; it gives back no value.
    pub(super) async fn is_done(
        &self,
        key: &Key,
        operation: Operation<'_>,
    ) -> Result<bool, StoreError> {
        match self.value(key, operation).await? {
            Outcome::Done => Ok(true),
            Outcome::Missed => Ok(false),
            Outcome::Fresh(_) | Outcome::Present(_) => Err(strange()),
        }
    }
}

/// What `values.lua` met.
pub(super) enum Outcome {
    Done,
    Missed,
    Fresh(Vec<u8>),
    Present(Vec<u8>),
}
