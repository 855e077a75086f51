//! Proof Key for Code Exchange: RFC 7636, with S256 as the only method.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::text_type::{hidden, is_alphanumeric_or};

/// The one `code_challenge_method`. `plain` protects nothing that TLS does not (RFC 9700 §2.1.1).
pub const S256: &str = "S256";

/// A `code_challenge` of the method S256: 43 characters of base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeChallenge(String);

impl CodeChallenge {
    /// Takes the base64url form of exactly 32 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let digest = URL_SAFE_NO_PAD.decode(text).ok()?;
        (digest.len() == 32).then(|| Self(text.to_owned()))
    }

    /// Whether `verifier` is the one that this challenge was made from (RFC 7636 §4.6), in
    /// constant time.
    pub fn is_met_by(&self, verifier: &CodeVerifier) -> bool {
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.0.as_bytes()));
        self.0.as_bytes().ct_eq(digest.as_bytes()).into()
    }
}

/// A `code_verifier`: 43 to 128 unreserved characters (RFC 7636 §4.1).
#[derive(Clone, PartialEq, Eq)]
pub struct CodeVerifier(String);

impl CodeVerifier {
    /// Checks length and characters.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = (43..=128).contains(&text.len()) && is_alphanumeric_or(text, b"-._~");
        valid.then(|| Self(text.to_owned()))
    }
}

hidden!(CodeVerifier);

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_rfc_7636_verifies() {
        let challenge = CodeChallenge::parse(CHALLENGE).unwrap();
        assert!(challenge.is_met_by(&CodeVerifier::parse(VERIFIER).unwrap()));
    }

    #[test]
    fn no_other_verifier_meets_a_challenge() {
        let challenge = CodeChallenge::parse(CHALLENGE).unwrap();
        assert!(!challenge.is_met_by(&CodeVerifier::parse(CHALLENGE).unwrap()));
        for at in 0..VERIFIER.len() {
            let mut changed = VERIFIER.as_bytes().to_vec();
            changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(!challenge.is_met_by(&CodeVerifier::parse(&changed).unwrap()));
        }
    }

    #[test]
    fn a_verifier_has_43_to_128_unreserved_characters() {
        assert!(CodeVerifier::parse(&"a".repeat(42)).is_none());
        assert!(CodeVerifier::parse(&"a".repeat(43)).is_some());
        assert!(CodeVerifier::parse(&"~".repeat(128)).is_some());
        assert!(CodeVerifier::parse(&"a".repeat(129)).is_none());
        for bad in ['+', '/', '=', ' ', '\0', 'é', '%'] {
            assert!(CodeVerifier::parse(&format!("{VERIFIER}{bad}")).is_none());
        }
    }

    #[test]
    fn a_challenge_is_the_base64url_of_32_bytes_and_nothing_else() {
        for bad in [
            "",
            "short",
            &CHALLENGE[..42],
            &format!("{CHALLENGE}="),
            &format!("{CHALLENGE}A"),
            &CHALLENGE.replace('-', "+"),
            // The last character carries two bits that must be zero: one spelling a value.
            &format!("{}N", &CHALLENGE[..42]),
        ] {
            assert!(CodeChallenge::parse(bad).is_none(), "{bad}");
        }
    }
}
