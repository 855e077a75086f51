//! The public keys with which a client signs its assertions: JWK Sets (RFC 7517, RFC 7518 §6) and
//! signatures by RS256 and ES256 (RFC 7518 §3).
//!
//! Owns: which keys of a set are used, and whether one of them made a signature. Not: what was
//! signed (`assertion`), where a set comes from (`oauth::client_assertion`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// More keys than any client publishes; also how many signatures an assertion without a key id is
/// tried against at most.
pub const MAX_KEYS: usize = 32;

/// The members that make a key a secret one (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const SECRET_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// How an assertion is signed. Symmetric algorithms and `none` are not served: whoever verifies
/// could sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// All that are served, as metadata names them.
    pub const NAMES: [&'static str; 2] = ["RS256", "ES256"];

    /// By its registered name, in its exact case.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}

/// A public key, as its JWK. Its type decides the one algorithm that it is used with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty")]
enum Key {
    #[serde(rename = "RSA")]
    Rsa {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kid: Option<String>,
        n: String,
        e: String,
    },
    #[serde(rename = "EC")]
    P256 {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kid: Option<String>,
        crv: String,
        x: String,
        y: String,
    },
}

/// The keys of a client that may have signed an assertion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// Where a client's keys are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// Here (RFC 7591 §2, `jwks`).
    Jwks(KeySet),
    /// At an https URL, fetched when they are needed (`jwks_uri`).
    JwksUri(String),
}

/// Why a key set can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// No JSON object with a list `keys` of objects.
    #[error("is no JWK Set")]
    Form,
    /// More than [`MAX_KEYS`].
    #[error("has more than {MAX_KEYS} keys")]
    TooMany,
    /// A key in it is symmetric or has its private part: what everybody can read proves nothing.
    #[error("has a key that must be secret")]
    Secret,
    /// None of the keys is for a signature by RS256 or ES256.
    #[error("has no key for RS256 (2048 bits or more) or ES256")]
    NoKeys,
}

/// What came of verifying a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// One of the keys made it.
    Yes,
    /// No key of that type and id is in the set; a newer set may have it.
    UnknownKey,
    /// None of the keys made it.
    No,
}

impl KeySet {
    /// Reads a set. Keys of other types and for other uses are left out (RFC 7517 §5).
    pub fn parse(set: &Value) -> Result<Self, KeySetError> {
        let keys = set
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeySetError::Form)?;
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut usable = Vec::new();
        for key in keys {
            let key = key.as_object().ok_or(KeySetError::Form)?;
            if SECRET_MEMBERS.iter().any(|name| key.contains_key(*name)) {
                return Err(KeySetError::Secret);
            }
            usable.extend(read(key));
        }
        if usable.is_empty() {
            return Err(KeySetError::NoKeys);
        }
        Ok(Self { keys: usable })
    }

    /// Whether a key of this set made `signature` over `message`: the one with `kid`, or any where
    /// the header or the key has no id.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Verified {
        let mut candidates = self
            .keys
            .iter()
            .filter(|key| key.algorithm() == algorithm)
            .filter(|key| kid.is_none() || key.kid().is_none() || key.kid() == kid)
            .peekable();
        if candidates.peek().is_none() {
            return Verified::UnknownKey;
        }
        if candidates.any(|key| key.made(message, signature).is_some()) {
            Verified::Yes
        } else {
            Verified::No
        }
    }
}

impl Key {
    const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256 { .. } => Algorithm::Es256,
        }
    }

    fn kid(&self) -> Option<&str> {
        match self {
            Self::Rsa { kid, .. } | Self::P256 { kid, .. } => kid.as_deref(),
        }
    }

    /// `None`: it did not.
    fn made(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        match self {
            Self::Rsa { n, e, .. } => {
                let (n, e) = (number(n)?, number(e)?);
                RsaPublicKeyComponents { n: &n, e: &e }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                    .ok()
            }
            Self::P256 { x, y, .. } => {
                // SEC 1 §2.3.3, uncompressed.
                let mut point = vec![4];
                point.extend(coordinate(x)?);
                point.extend(coordinate(y)?);
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, signature)
                    .ok()
            }
        }
    }
}

/// `None` for a key that is not for what is served.
fn read(key: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let is_or_absent = |name: &str, value: &str| key.get(name).is_none_or(|found| found == value);
    if !is_or_absent("use", "sig") {
        return None;
    }
    if let Some(operations) = key.get("key_ops") {
        operations.as_array()?.iter().find(|op| *op == "verify")?;
    }
    let kid = match key.get("kid") {
        None => None,
        Some(kid) => Some(kid.as_str()?.to_owned()),
    };
    match text("kty")? {
        "RSA" if is_or_absent("alg", "RS256") => {
            let (n, e) = (text("n")?, text("e")?);
            let modulus = number(n)?;
            let exponent = number(e)?;
            let sound = (256..=1024).contains(&modulus.len())
                && modulus[modulus.len() - 1] & 1 == 1
                && exponent.len() <= 4
                && exponent[exponent.len() - 1] & 1 == 1
                && *exponent != [1];
            sound.then(|| Key::Rsa {
                kid,
                n: n.to_owned(),
                e: e.to_owned(),
            })
        }
        "EC" if is_or_absent("alg", "ES256") && text("crv") == Some("P-256") => {
            let (x, y) = (text("x")?, text("y")?);
            coordinate(x)?;
            coordinate(y)?;
            Some(Key::P256 {
                kid,
                crv: "P-256".to_owned(),
                x: x.to_owned(),
                y: y.to_owned(),
            })
        }
        _ => None,
    }
}

/// A Base64urlUInt (RFC 7518 §2), without the zeros that some libraries put first. Not zero.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let first = bytes.iter().position(|&byte| byte != 0)?;
    Some(bytes[first..].to_vec())
}

/// RFC 7518 §6.2.1.2: always as long as the curve's numbers.
fn coordinate(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .filter(|bytes| bytes.len() == 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// RFC 7515 appendix A.2.
    const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    const RSA_SIGNED: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const RSA_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    /// RFC 7515 appendix A.3.
    const EC_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const EC_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    const EC_SIGNED: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const EC_SIGNATURE: &str =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    fn rsa() -> Value {
        json!({ "kty": "RSA", "kid": "r", "n": RSA_N, "e": "AQAB" })
    }

    fn ec() -> Value {
        json!({ "kty": "EC", "kid": "e", "crv": "P-256", "x": EC_X, "y": EC_Y })
    }

    fn parsed(keys: Value) -> Result<KeySet, KeySetError> {
        KeySet::parse(&json!({ "keys": keys }))
    }

    fn verify(set: &KeySet, kid: Option<&str>) -> [Verified; 2] {
        [
            (Algorithm::Rs256, RSA_SIGNED, RSA_SIGNATURE),
            (Algorithm::Es256, EC_SIGNED, EC_SIGNATURE),
        ]
        .map(|(algorithm, message, signature)| {
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            set.verify(algorithm, kid, message.as_bytes(), &signature)
        })
    }

    #[test]
    fn the_vectors_of_rfc_7515_verify_under_their_own_key_alone() {
        use Verified::{No, UnknownKey, Yes};
        let both = parsed(json!([rsa(), ec()])).unwrap();
        assert_eq!(verify(&both, None), [Yes, Yes]);
        assert_eq!(verify(&both, Some("r")), [Yes, UnknownKey]);
        assert_eq!(verify(&both, Some("e")), [UnknownKey, Yes]);
        assert_eq!(verify(&both, Some("x")), [UnknownKey, UnknownKey]);
        // The type of the key must match the algorithm.
        assert_eq!(
            verify(&parsed(json!([rsa()])).unwrap(), None),
            [Yes, UnknownKey]
        );
        let mut nameless = rsa();
        nameless.as_object_mut().unwrap().remove("kid");
        let nameless = parsed(json!([nameless])).unwrap();
        assert_eq!(verify(&nameless, Some("x")), [Yes, UnknownKey]);
        let signature = URL_SAFE_NO_PAD.decode(RSA_SIGNATURE).unwrap();
        for at in [0, 100, 255] {
            let mut spoiled = signature.clone();
            spoiled[at] ^= 1;
            let verified = both.verify(Algorithm::Rs256, None, RSA_SIGNED.as_bytes(), &spoiled);
            assert_eq!(verified, No);
        }
        // A point that is not on the curve is a key that made nothing.
        let off = json!({ "kty": "EC", "crv": "P-256", "x": EC_Y, "y": EC_X });
        assert_eq!(
            verify(&parsed(json!([off])).unwrap(), None),
            [UnknownKey, No]
        );
    }

    #[test]
    fn a_set_with_a_secret_in_it_is_refused_whole() {
        for (member, value) in [("d", "AQ"), ("k", "AQ"), ("p", "AQ")] {
            let mut key = rsa();
            key[member] = value.into();
            assert_eq!(parsed(json!([ec(), key])), Err(KeySetError::Secret));
        }
        let symmetric = json!({ "kty": "oct", "k": "c2VjcmV0" });
        assert_eq!(parsed(json!([rsa(), symmetric])), Err(KeySetError::Secret));
    }

    #[test]
    fn keys_for_something_else_are_left_out() {
        let with = |mut key: Value, member: &str, value: Value| {
            key[member] = value;
            key
        };
        for unusable in [
            with(rsa(), "use", json!("enc")),
            with(rsa(), "alg", json!("PS256")),
            with(rsa(), "alg", json!("HS256")),
            with(rsa(), "key_ops", json!(["encrypt"])),
            with(rsa(), "e", json!("AQ")),
            with(rsa(), "n", json!(&RSA_N[..300])),
            with(rsa(), "n", json!("not base64!")),
            with(rsa(), "kid", json!(7)),
            with(ec(), "crv", json!("P-384")),
            with(ec(), "crv", json!("secp256k1")),
            with(ec(), "x", json!("AQ")),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": EC_X }),
            json!({}),
        ] {
            assert_eq!(parsed(json!([unusable])), Err(KeySetError::NoKeys));
            assert!(parsed(json!([unusable, ec()])).is_ok(), "{unusable}");
        }
        let verifying = with(rsa(), "key_ops", json!(["verify"]));
        assert!(parsed(json!([with(verifying, "use", json!("sig"))])).is_ok());
    }

    #[test]
    fn what_is_no_key_set_is_told_apart() {
        for bad in [
            json!([]),
            json!({ "keys": {} }),
            json!({ "keys": [1] }),
            json!(7),
        ] {
            assert_eq!(KeySet::parse(&bad), Err(KeySetError::Form), "{bad}");
        }
        assert_eq!(parsed(json!([])), Err(KeySetError::NoKeys));
        assert_eq!(
            parsed(vec![rsa(); MAX_KEYS + 1].into()),
            Err(KeySetError::TooMany)
        );
    }

    #[test]
    fn a_set_is_kept_and_echoed_as_the_set_that_was_read() {
        let mut key = rsa();
        key["x5c"] = json!(["ignored"]);
        let set = parsed(json!([key, ec()])).unwrap();
        let kept = serde_json::to_value(&set).unwrap();
        assert_eq!(kept, json!({ "keys": [rsa(), ec()] }));
        assert_eq!(serde_json::from_value::<KeySet>(kept).unwrap(), set);
    }
}
