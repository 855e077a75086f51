//! From the `Authorization` header to a token that counts now: its form and signature, its revocation,
//! its audience and times.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::mounted_backend::MountedBackend;
use super::rejection::Rejection;
use gateway_core::access_token::VerifiedToken;
use gateway_core::clock::Timestamp;
use gateway_core::policy::{AccessToken, Audience, TokenRejection};
use gateway_core::protocol::bearer::{BearerPresentation, BearerToken};
use gateway_metrics::{Counter, Metrics};
use gateway_oauth::{AuthorizationServer, with_kept_tools};
use gateway_store::RevocationView;

/// How many verified tokens are remembered, so that a token's signature is checked once.
const TOKENS: usize = 16_384;

/// What a bearer token is confirmed against.
pub(super) struct TokenConfirmation {
    /// By SHA-256 of the token's text.
    verified_tokens: Cache<[u8; 32], Arc<VerifiedToken>>,
    revocations: Arc<RevocationView>,
    server: Arc<AuthorizationServer>,
    hits: Counter,
    misses: Counter,
}

impl TokenConfirmation {
    pub(super) fn new(
        revocations: Arc<RevocationView>,
        server: Arc<AuthorizationServer>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            hits: metrics.cache.with(["access_token", "hit"]),
            misses: metrics.cache.with(["access_token", "miss"]),
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
        last: &mut LastToken,
    ) -> Result<AccessToken, Rejection> {
        let token = match last.presented_again(headers, now) {
            Some(token) => {
                self.hits.increment();
                token
            }
            None => {
                let bearer = presented(headers)?;
                let key: [u8; 32] = Sha256::digest(bearer.as_str()).into();
                let token = match self.verified_tokens.get(&key) {
                    Some(token) if !token.is_stale(now) => {
                        self.hits.increment();
                        token
                    }
                    known => {
                        self.misses.increment();
                        // Boxed: it happens once for each token, and then hardly ever.
                        Box::pin(self.read(key, &bearer, known, now)).await?
                    }
                };
                last.remember(headers, &token);
                token
            }
        };
        let status = self.revocations.status(&token, now);
        let audience = Audience {
            resource: &mounted.resource,
            backend: &mounted.backend.mount.name,
            members: mounted.backend.members(),
            scopes: &mounted.scopes,
        };
        let amended = self.revocations.amended(&token.claims().grant);
        let token = AccessToken::confirm(token, audience, status, now)?.amended(amended);
        Ok(with_kept_tools(&self.server.records, token, now).await?)
    }

    /// What a token says that is not remembered, or not any more: `known` is what it said last. Once for
    /// a crowd. While the store does not answer, what was known goes on for the leeway of clocks.
    async fn read(
        &self,
        key: [u8; 32],
        bearer: &BearerToken,
        known: Option<Arc<VerifiedToken>>,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken>, TokenRejection> {
        let read = async { self.server.verified(bearer, now).await.map(Arc::new) };
        let Some(known) = known else {
            return self.verified_tokens.get_or_insert_async(&key, read).await;
        };
        match read.await {
            Ok(token) => {
                self.verified_tokens.insert(key, Arc::clone(&token));
                Ok(token)
            }
            Err(TokenRejection::Unknown(_)) if !known.is_expired(now) => Ok(known),
            Err(rejection) => Err(rejection),
        }
    }
}

/// The token that the headers present.
fn presented(headers: &HeaderMap) -> Result<BearerToken, Rejection> {
    let lines = headers.get_all(AUTHORIZATION).iter();
    match BearerPresentation::read(lines.map(HeaderValue::as_bytes)) {
        BearerPresentation::Nothing => Err(Rejection::NoToken),
        BearerPresentation::Malformed => Err(Rejection::MalformedToken),
        BearerPresentation::Repeated => Err(Rejection::Ambiguous("two Authorization headers")),
        BearerPresentation::Token(bearer) => Ok(bearer),
    }
}

/// The token that one connection presented last, known again by its line: its signature and form are good
/// whenever they were, and what stands in for a personal token until it is stale. Whether it counts is asked each time.
#[derive(Default)]
pub(super) struct LastToken(Option<(Box<[u8]>, Arc<VerifiedToken>)>);

impl LastToken {
    fn presented_again(&self, headers: &HeaderMap, now: Timestamp) -> Option<Arc<VerifiedToken>> {
        let (line, token) = self.0.as_ref()?;
        let is_same = is_same(line, single_line(headers)?) && !token.is_stale(now);
        is_same.then(|| Arc::clone(token))
    }

    /// Only what was verified is remembered, and one at a time.
    fn remember(&mut self, headers: &HeaderMap, token: &Arc<VerifiedToken>) {
        let line = single_line(headers);
        self.0 = line.map(|line| (line.into(), Arc::clone(token)));
    }
}

fn single_line(headers: &HeaderMap) -> Option<&[u8]> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let line = lines.next()?;
    lines.next().is_none().then(|| line.as_bytes())
}

/// Whether two lines are the same, in a time that tells nothing of where they differ: behind a proxy
/// several clients share one connection. In words: byte by byte it is a twentieth of a call.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (words, rest) = one.as_chunks::<16>();
    let (other_words, other_rest) = other.as_chunks::<16>();
    let is_same = words
        .iter()
        .zip(other_words)
        .map(|(word, other)| u128::from_ne_bytes(*word).ct_eq(&u128::from_ne_bytes(*other)))
        .fold(rest.ct_eq(other_rest), |all, word| all & word);
    one.len() == other.len() && bool::from(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_in_every_byte_and_their_length() {
        let long = "x".repeat(33);
        for (one, other, expected) in [
            ("Bearer ab", "Bearer ab", true),
            ("Bearer ab", "Bearer ac", false),
            ("Bearer ab", "Bearer abc", false),
            ("", "", true),
            (&long, &long, true),
            (&long, &long[1..], false),
            (&long, &long[..16], false),
            (&long[..16], &long[..32], false),
            (&long, &long.replacen("xx", "xy", 1), false),
            (&long, &format!("{}y", &long[..32]), false),
        ] {
            let is_same = is_same(one.as_bytes(), other.as_bytes());
            assert_eq!(is_same, expected, "{one} {other}");
        }
    }

    #[test]
    fn two_lines_are_never_the_one_that_is_remembered() {
        let mut headers = HeaderMap::new();
        assert_eq!(single_line(&headers), None);
        let line = HeaderValue::from_static("Bearer ab");
        headers.append(AUTHORIZATION, line.clone());
        assert_eq!(single_line(&headers), Some(&b"Bearer ab"[..]));
        headers.append(AUTHORIZATION, line);
        assert_eq!(single_line(&headers), None);
    }
}
