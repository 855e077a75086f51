//! Keys of clients, and the assertions that they sign (RFC 7523).

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

/// `client_assertion_type`
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A key pair of a client.
pub enum Signer {
    /// RS256, with this key id.
    Rsa(Box<RsaKeyPair>, String),
    /// ES256, with this key id.
    Ec(Box<EcdsaKeyPair>, String),
}

impl Signer {
    /// A new key for RS256.
    pub fn rsa(kid: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("key.der");
        let said = Command::new("openssl")
            .args(["genpkey", "-algorithm", "RSA", "-outform", "DER"])
            .args(["-pkeyopt", "rsa_keygen_bits:2048", "-out"])
            .arg(&file)
            .output()
            .context("no openssl: install it (apt-get install openssl) or run tests/run")?;
        ensure!(said.status.success(), "openssl genpkey: {said:?}");
        // One version of openssl writes PKCS#8, another PKCS#1.
        let key = std::fs::read(file)?;
        let pair = RsaKeyPair::from_pkcs8(&key)
            .or_else(|_| RsaKeyPair::from_der(&key))
            .map_err(|error| anyhow!("{error}"))?;
        Ok(Signer::Rsa(Box::new(pair), kid.into()))
    }

    /// A new key for ES256.
    pub fn ec(kid: &str) -> Result<Self> {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|e| anyhow!("{e}"))?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random)
            .map_err(|error| anyhow!("{error}"))?;
        Ok(Signer::Ec(Box::new(pair), kid.into()))
    }

    /// Its public key as a JWK.
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Signer::Rsa(pair, kid) => {
                let PublicKeyComponents { n, e } =
                    PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({
                    "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
                    "n": text(&n), "e": text(&e),
                })
            }
            Signer::Ec(pair, kid) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": text(x), "y": text(y) })
            }
        }
    }

    /// A JWK Set of it alone.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk()] })
    }

    /// The header that goes with it.
    pub fn header(&self) -> Value {
        match self {
            Signer::Rsa(_, kid) => json!({ "alg": "RS256", "kid": kid, "typ": "JWT" }),
            Signer::Ec(_, kid) => json!({ "alg": "ES256", "kid": kid, "typ": "JWT" }),
        }
    }

    /// Sign these claims under this header.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let [header, claims] =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let random = SystemRandom::new();
        let signature = match self {
            Signer::Rsa(pair, _) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    signed.as_bytes(),
                    &mut signature,
                )
                .expect("a buffer of the modulus' size is enough");
                signature
            }
            Signer::Ec(pair, _) => pair
                .sign(&random, signed.as_bytes())
                .expect("the system has randomness")
                .as_ref()
                .to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A good assertion of this client for this audience.
    pub fn assertion(&self, client: &str, audience: &str) -> String {
        self.sign(&self.header(), &claims(client, audience))
    }
}

/// Claims of a good assertion, with an id of its own.
pub fn claims(client: &str, audience: &str) -> Value {
    let mut id = [0; 16];
    rand::thread_rng().fill_bytes(&mut id);
    let now = now().as_secs();
    json!({
        "iss": client, "sub": client, "aud": audience,
        "iat": now, "exp": now + 60, "jti": URL_SAFE_NO_PAD.encode(id),
    })
}

/// The time since the epoch.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The fields that carry an assertion.
pub fn assertion_fields(assertion: &str) -> [(String, String); 2] {
    [
        ("client_assertion_type".into(), ASSERTION_TYPE.into()),
        ("client_assertion".into(), assertion.into()),
    ]
}
