//! The ES256 tokens (RFC 7519, RFC 7518 section 3.4) that HAProxy verifies, and spoilt
//! ones that show that it does.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use serde_json::json;

/// Whom the tokens are for.
pub(crate) const AUDIENCE: &str = "https://mcp.example.com/mcp";

/// Signs tokens.
pub(crate) struct Issuer {
    key: SigningKey,
    now: u64,
}

impl Issuer {
    /// With a new key; `now` in seconds since 1970.
    pub(crate) fn new(now: u64) -> Self {
        Issuer {
            key: SigningKey::random(&mut rand::thread_rng()),
            now,
        }
    }

    /// The public key as PEM.
    pub(crate) fn public_key(&self) -> Result<String> {
        Ok(self.key.verifying_key().to_public_key_pem(LineEnding::LF)?)
    }

    /// Valid for a day.
    pub(crate) fn token(&self) -> String {
        self.sign(AUDIENCE, self.now + 86_400)
    }

    /// Each must be refused: wrong signature, expired, for somebody else.
    pub(crate) fn spoilt(&self) -> [(&'static str, String); 3] {
        let other_key = Issuer::new(self.now);
        [
            ("signed with another key", other_key.token()),
            ("expired", self.sign(AUDIENCE, self.now - 60)),
            (
                "for another audience",
                self.sign("https://other.example.com/mcp", self.now + 86_400),
            ),
        ]
    }

    fn sign(&self, audience: &str, expires: u64) -> String {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "benchmark"});
        let payload = json!({
            "iss": "https://mcp.example.com",
            "sub": "alice",
            "aud": audience,
            "client_id": "benchmark",
            "scope": "mcp",
            "iat": self.now,
            "exp": expires,
        });
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(payload.to_string())
        );
        let signature: Signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}
