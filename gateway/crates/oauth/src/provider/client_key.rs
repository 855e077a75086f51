//! The key by which the gateway shows a provider who it is (`private_key_jwt`, RFC 7523 §2.2), and its
//! public half. It follows from the installation's own key, so that replicas have the same one and
//! nothing has to be kept.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use rand::RngCore;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use gateway_core::clock::Timestamp;
use gateway_core::secret::{TagKey, identifier};

/// How long an assertion is good: for one request.
const LIFETIME: Duration = Duration::from_secs(60);

/// A key for ES256.
pub(super) struct ClientKey(SigningKey);

impl ClientKey {
    /// The key for a provider, so that none can be told by it to be the client of another.
    pub(super) fn new(tags: &TagKey, provider: &str) -> Self {
        let key = tags.derive("key at a provider");
        let tries =
            (0_u32..).map(|number| key.bytes(&[provider.as_bytes(), &number.to_be_bytes()]));
        // Of 2^32 seeds one is no scalar of the curve.
        let found = tries
            .filter_map(|seed| SigningKey::from_slice(&seed).ok())
            .next();
        Self(found.expect("an endless row of seeds has a good one"))
    }

    /// The public half, as a JWK.
    pub(super) fn public(&self) -> Value {
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
    pub(super) fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: Timestamp,
        random: &mut dyn RngCore,
    ) -> String {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": self.public()["kid"] });
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "jti": identifier("", random),
            "iat": now.secs(),
            "exp": (now + LIFETIME).secs(),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature: Signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::client::ClientId;
    use gateway_core::client::assertion::Assertion;
    use gateway_core::client::keys::KeySet;
    use rand::rngs::OsRng;

    #[test]
    fn an_assertion_is_one_that_this_gateway_would_take_itself() {
        let tags = TagKey::new([7; 32]);
        let key = ClientKey::new(&tags, "corp");
        let now = Timestamp::from_secs(1_000_000);
        let audience = "https://login.example.com/token";
        let text = key.assertion("gateway", audience, now, &mut OsRng);
        let keys = KeySet::parse(&json!({ "keys": [key.public()] })).unwrap();
        let assertion = Assertion::parse(&text).unwrap();
        let client = ClientId::new("gateway");
        let judged = assertion.verify(&client, &keys, &[audience.to_owned()], now);
        assert!(judged.is_ok(), "{judged:?}");
        let again = ClientKey::new(&tags, "corp");
        assert_eq!(again.public(), key.public());
        assert_ne!(ClientKey::new(&tags, "other").public(), key.public());
    }
}
