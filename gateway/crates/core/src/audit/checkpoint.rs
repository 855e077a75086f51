//! Signatures over a chain: Ed25519 (RFC 8032).

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::chain::{ChainId, Hash};

/// Says what a signature is over, so that it can stand for nothing else.
const CONTEXT: &str = "cupcake-gateway audit checkpoint v1";

/// Signs checkpoints.
pub struct CheckpointKey(Ed25519KeyPair);

impl CheckpointKey {
    /// The key whose seed is `seed`: 256 secret bits.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        Self(pair.expect("a seed of 32 bytes is always a key"))
    }

    /// What verifies its signatures.
    pub fn public(&self) -> PublicKey {
        let bytes = self.0.public_key().as_ref();
        PublicKey(
            bytes
                .try_into()
                .expect("an Ed25519 public key has 32 bytes"),
        )
    }

    pub(super) fn sign(&self, chain: &ChainId, seq: u64, prev: &Hash) -> String {
        hex(self.0.sign(message(chain, seq, prev).as_bytes()).as_ref())
    }
}

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckpointKey(…)")
    }
}

/// Verifies checkpoints. In text: 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(unhex(text)?.try_into().ok()?))
    }

    pub(super) fn verifies(&self, chain: &ChainId, seq: u64, prev: &Hash, signature: &str) -> bool {
        unhex(signature).is_some_and(|signature| {
            UnparsedPublicKey::new(&ED25519, &self.0)
                .verify(message(chain, seq, prev).as_bytes(), &signature)
                .is_ok()
        })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

fn message(chain: &ChainId, seq: u64, prev: &Hash) -> String {
    format!("{CONTEXT}\n{}\n{seq}\n{prev}", chain.as_str())
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_hex || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_stands_for_one_place_in_one_chain() {
        let key = CheckpointKey::from_seed(&[7; 32]);
        let (chain, prev) = (ChainId::new("a_1"), Hash::digest(b"x"));
        let signature = key.sign(&chain, 5, &prev);
        let public = PublicKey::parse(&key.public().to_string()).unwrap();
        assert!(public.verifies(&chain, 5, &prev, &signature));
        assert!(!public.verifies(&chain, 6, &prev, &signature));
        assert!(!public.verifies(&ChainId::new("a_2"), 5, &prev, &signature));
        assert!(!public.verifies(&chain, 5, &Hash::digest(b"y"), &signature));
        let other = CheckpointKey::from_seed(&[8; 32]).public();
        assert!(!other.verifies(&chain, 5, &prev, &signature));
        assert!(!public.verifies(&chain, 5, &prev, "zz"));
    }
}
