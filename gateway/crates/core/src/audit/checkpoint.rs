//! Signatures over a chain: Ed25519 (RFC 8032).

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::chain::{ChainId, Hash};
use crate::hex;
use crate::text_type::hidden;

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
        hex::encode(self.0.sign(message(chain, seq, prev).as_bytes()))
    }
}

hidden!(CheckpointKey);

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
        f.write_str(&hex::encode(self.0))
    }
}

fn message(chain: &ChainId, seq: u64, prev: &Hash) -> String {
    format!("{CONTEXT}\n{chain}\n{seq}\n{prev}")
}

/// In small letters alone, so that a line has one spelling.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let has_capitals = text.bytes().any(|byte| byte.is_ascii_uppercase());
    hex::decode(text).filter(|_| !has_capitals)
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
