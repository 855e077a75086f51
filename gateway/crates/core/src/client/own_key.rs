//! The key by which the gateway shows a provider who it is (`private_key_jwt`, RFC 7523 §2.2), or a backend's
//! authorization server who calls (RFC 8693), and its public half. It follows from the installation's own
//! key, so that replicas have the same one and nothing has to be kept.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use rand::RngCore;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::secret::{TagKey, identifier};
use crate::text_type::hidden;

/// How long an assertion is good: for one request.
const LIFETIME: Duration = Duration::from_secs(60);

/// A key for ES256.
pub struct OwnKey(SigningKey);

hidden!(OwnKey);

impl OwnKey {
    /// The key for a provider, so that none can be told by it to be the client of another.
    pub fn at_provider(tags: &TagKey, provider: &str) -> Self {
        Self::derived(&tags.derive("key at a provider"), provider)
    }

    /// The key for what is said of who calls to the authorization servers of backends.
    pub fn for_exchange(tags: &TagKey) -> Self {
        Self::derived(&tags.derive("key for exchange"), "")
    }

    fn derived(key: &TagKey, name: &str) -> Self {
        let mut seeds =
            (0_u32..).map(|number| key.bytes(&[name.as_bytes(), &number.to_be_bytes()]));
        // Of 2^32 seeds one is no scalar of the curve.
        let found = seeds.find_map(|seed| SigningKey::from_slice(&seed).ok());
        Self(found.expect("an endless row of seeds has a good one"))
    }

    /// The public half, as a JWK.
    pub fn public(&self) -> Value {
        let point = self.0.verifying_key().to_encoded_point(false);
        let number = |bytes: Option<&[u8]>| URL_SAFE_NO_PAD.encode(bytes.unwrap_or_default());
        let (x, y) = (
            number(point.x().map(AsRef::as_ref)),
            number(point.y().map(AsRef::as_ref)),
        );
        // RFC 7638 §3: these members, in this order.
        let named = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(named));
        json!({
            "kty": "EC", "crv": "P-256", "x": x, "y": y,
            "kid": kid, "alg": "ES256", "use": "sig",
        })
    }

    /// An assertion for one request.
    pub fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: Timestamp,
        random: &mut dyn RngCore,
    ) -> String {
        let claims = json!({ "iss": client_id, "sub": client_id, "aud": audience });
        self.sign(claims, now, random)
    }

    /// What says, for one request to `audience`, that the gateway `issuer` speaks for a person: the subject
    /// token of an exchange (RFC 8693 §2.1).
    pub fn subject_token(
        &self,
        issuer: &str,
        (user, user_name): (&str, &str),
        audience: &str,
        now: Timestamp,
        random: &mut dyn RngCore,
    ) -> String {
        let claims = json!({
            "iss": issuer, "sub": user, "preferred_username": user_name, "aud": audience,
        });
        self.sign(claims, now, random)
    }

    fn sign(&self, mut claims: Value, now: Timestamp, random: &mut dyn RngCore) -> String {
        claims["jti"] = identifier("", random).into();
        claims["iat"] = now.secs().into();
        claims["exp"] = (now + LIFETIME).secs().into();
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": self.public()["kid"] });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature: Signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientId;
    use crate::client::assertion::Assertion;
    use crate::client::keys::KeySet;
    use rand::rngs::OsRng;

    #[test]
    fn an_assertion_is_one_that_this_gateway_would_take_itself() {
        let tags = TagKey::new([7; 32]);
        let key = OwnKey::at_provider(&tags, "corp");
        let now = Timestamp::from_secs(1_000_000);
        let audience = "https://login.example.com/token";
        let text = key.assertion("gateway", audience, now, &mut OsRng);
        let keys = KeySet::parse(&json!({ "keys": [key.public()] })).unwrap();
        let assertion = Assertion::parse(&text).unwrap();
        let client = ClientId::new("gateway");
        let judged = assertion.verify(&client, &keys, &[audience.to_owned()], now);
        assert!(judged.is_ok(), "{judged:?}");
        let again = OwnKey::at_provider(&tags, "corp");
        assert_eq!(again.public(), key.public());
        assert_ne!(OwnKey::at_provider(&tags, "other").public(), key.public());
    }
}
