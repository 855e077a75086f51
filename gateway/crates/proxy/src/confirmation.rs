//! From the `Authorization` header to a token that counts now: its form and signature, its revocation,
//! its audience and times.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::mounted_backend::MountedBackend;
use super::rejection::Rejection;
use gateway_core::access_token::{self, Keys, VerifiedToken};
use gateway_core::clock::Timestamp;
use gateway_core::policy::{AccessToken, Audience, TokenRejection};
use gateway_core::protocol::bearer::{BearerToken, Presented};
use gateway_oauth::AuthorizationServer;
use gateway_store::RevocationView;

/// How many verified tokens are remembered, so that a token's signature is checked once.
const TOKENS: usize = 16_384;

/// What a bearer token is confirmed against.
pub(super) struct TokenConfirmation {
    keys: Arc<Keys>,
    /// By SHA-256 of the token's text.
    verified_tokens: Cache<[u8; 32], Arc<VerifiedToken>>,
    revocations: Arc<RevocationView>,
    server: Arc<AuthorizationServer>,
}

impl TokenConfirmation {
    pub(super) fn new(
        keys: Arc<Keys>,
        revocations: Arc<RevocationView>,
        server: Arc<AuthorizationServer>,
    ) -> Self {
        Self {
            keys,
            verified_tokens: Cache::new(TOKENS),
            revocations,
            server,
        }
    }

    /// The token of a request for `mounted`, if it counts now.
    pub(super) async fn confirm(
        &self,
        headers: &HeaderMap,
        mounted: &MountedBackend,
        now: Timestamp,
    ) -> Result<AccessToken, Rejection> {
        let lines = headers
            .get_all(AUTHORIZATION)
            .iter()
            .map(|line| line.as_bytes());
        let bearer = match Presented::read(lines) {
            Presented::Nothing => return Err(Rejection::NoToken),
            Presented::Malformed => return Err(Rejection::MalformedToken),
            Presented::Repeated => return Err(Rejection::Ambiguous("two Authorization headers")),
            Presented::Token(bearer) => bearer,
        };
        let token = self.verified(&bearer)?;
        let status = self.revocations.status(&token, now);
        let audience = Audience {
            resource: &mounted.resource,
            backend: &mounted.backend.mount.name,
            scopes: &mounted.scopes,
        };
        let amended = self.revocations.amended(&token.claims().grant);
        let token = AccessToken::confirm(token, audience, status, now)?.amended(amended);
        Ok(self.server.with_kept_tools(token, now).await?)
    }

    /// Signature and form, once for each token: afterwards the hash of its text is enough.
    fn verified(&self, bearer: &BearerToken) -> Result<Arc<VerifiedToken>, Rejection> {
        let key: [u8; 32] = Sha256::digest(bearer.as_str()).into();
        if let Some(token) = self.verified_tokens.get(&key) {
            return Ok(token);
        }
        let token = access_token::verify(bearer, &self.keys)
            .map_err(|error| Rejection::Token(TokenRejection::Invalid(error.reason())))?;
        let token = Arc::new(token);
        self.verified_tokens.insert(key, Arc::clone(&token));
        Ok(token)
    }
}
