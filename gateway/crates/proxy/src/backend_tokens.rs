//! The tokens that tell backends who calls.

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::mounted_backend::MountedBackend;
use super::rejection::Rejection;
use gateway_core::access_token::{self, BackendToken, KeysHandle};
use gateway_core::clock::Timestamp;
use gateway_core::policy::Permit;

/// How many are remembered.
const TOKENS: usize = 16_384;

/// Mints tokens for backends, and remembers them.
pub(super) struct BackendTokens {
    keys: KeysHandle,
    /// By the last revocation id of the token that it stands for, and the backend: one token may be for
    /// several together.
    minted: Cache<(String, String), Arc<BackendToken>>,
}

impl BackendTokens {
    pub(super) fn new(keys: KeysHandle) -> Self {
        Self {
            keys,
            minted: Cache::new(TOKENS),
        }
    }

    /// The token that tells the backend who calls, where it is to have one. Minted once in minutes
    /// for each of a client's tokens.
    pub(super) fn get(
        &self,
        mounted: &MountedBackend,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<Option<Arc<BackendToken>>, Rejection> {
        if mounted.backend.token_header.is_none() {
            return Ok(None);
        }
        let token = permit.token().verified();
        let Some(id) = token.ids().last() else {
            return Err(Rejection::Unspeakable);
        };
        let key = (id.clone(), mounted.backend.mount.name.clone());
        let keys = self.keys.current();
        if keys.active_id().is_none() {
            return Err(Rejection::NoSigningKey);
        }
        if let Some(backend_token) = self.minted.get(&key)
            && !backend_token.is_stale(token, &keys, now)
        {
            return Ok(Some(backend_token));
        }
        let backend_token =
            access_token::mint_backend_token(token, &mounted.backend.mount.name, &keys, now)
                .map_err(|_| Rejection::Unspeakable)?;
        let backend_token = Arc::new(backend_token);
        self.minted.insert(key, Arc::clone(&backend_token));
        Ok(Some(backend_token))
    }
}
