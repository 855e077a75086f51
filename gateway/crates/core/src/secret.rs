//! Values that must not be guessed, compared in variable time, or printed.
//!
//! Owns: drawing random secrets, hashing them for storage, keyed tags. Not: keys on disk (`keys`),
//! passwords (`identity`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use rand::RngCore;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::hex;
use crate::text_type::{hidden, is_alphanumeric_or};

/// A random value of 256 bits that its holder presents again: an authorization code, a session id.
/// Only its [`SecretHash`] is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Draws 256 bits from `random` and spells them in base64url (43 characters).
    pub fn draw(random: &mut dyn RngCore) -> Self {
        let mut bytes = [0; 32];
        random.fill_bytes(&mut bytes);
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What somebody presented: any text.
    pub fn presented(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text to hand out. Never log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What may be stored and used as a key.
    pub fn hash(&self) -> SecretHash {
        SecretHash(URL_SAFE_NO_PAD.encode(Sha256::digest(self.0.as_bytes())))
    }
}

/// SHA-256 of a [`Secret`], in base64url. A secret of 256 random bits needs no salt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SecretHash(String);

impl SecretHash {
    /// A hash that was made elsewhere: 64 hexadecimal digits, as `sha256sum` prints them.
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes: [u8; 32] = hex::decode(text)?.try_into().ok()?;
        Some(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// One of ours that somebody presents: 43 characters of base64url.
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = text.len() == 43 && is_alphanumeric_or(text, b"-_");
        is_one.then(|| Self(text.to_owned()))
    }

    /// The text form, a store key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `presented` is the secret that was hashed, in constant time.
    pub fn matches(&self, presented: &Secret) -> bool {
        self.0
            .as_bytes()
            .ct_eq(presented.hash().0.as_bytes())
            .into()
    }
}

/// A key of this installation for tags that only this installation can make.
#[derive(Clone)]
pub struct TagKey {
    bytes: [u8; 32],
    /// After the key went in, which is half the work of a short tag.
    keyed: Hmac<Sha256>,
}

impl TagKey {
    /// A key from 256 random bits.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self {
            bytes,
            keyed: Hmac::new_from_slice(&bytes).expect("HMAC takes a key of any length"),
        }
    }

    /// A key for one purpose, so that a tag made for another never verifies.
    pub fn derive(&self, purpose: &str) -> Self {
        Self::new(self.bytes(&[b"derive", purpose.as_bytes()]))
    }

    /// The key itself, as the seed of a key of another kind. Derive it for that purpose first.
    pub const fn seed(&self) -> [u8; 32] {
        self.bytes
    }

    /// The tag over `parts` (HMAC-SHA-256 cut to 128 bits, base64url, 22 characters). Each part is
    /// preceded by its length, so that no two lists of parts are the same message.
    pub fn tag(&self, parts: &[&[u8]]) -> String {
        URL_SAFE_NO_PAD.encode(&self.bytes(parts)[..16])
    }

    /// A secret of 256 bits that whoever has this key can derive from `parts` again, and nobody
    /// else. Parts as for [`TagKey::tag`].
    pub fn secret(&self, parts: &[&[u8]]) -> Secret {
        Secret(URL_SAFE_NO_PAD.encode(self.bytes(parts)))
    }

    /// Encrypts what this installation alone can read again, where `context` is the same
    /// (ChaCha20-Poly1305, RFC 8439).
    pub fn encrypt(&self, secret: &Secret, context: &[u8], random: &mut dyn RngCore) -> String {
        seal(&self.cipher(), secret.0.as_bytes(), context, random)
    }

    /// Decrypts it. `None` for what was encrypted elsewhere, in another context, or changed since.
    pub fn decrypt(&self, encrypted: &str, context: &[u8]) -> Option<Secret> {
        let text = open(&self.cipher(), encrypted, context)?;
        Some(Secret(String::from_utf8(text.to_vec()).ok()?))
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.bytes);
        LessSafeKey::new(key.expect("the key has the 256 bits of this cipher"))
    }

    /// Whether `tag` is the tag over `parts`, in constant time.
    pub fn verify(&self, parts: &[&[u8]], tag: &str) -> bool {
        self.tag(parts).as_bytes().ct_eq(tag.as_bytes()).into()
    }

    /// A tag before it is cut and spelled.
    pub fn bytes(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

hidden!(Secret, TagKey);

/// Seals a text under a nonce that is drawn for it and stands before it, in base64url.
pub(crate) fn seal(
    key: &LessSafeKey,
    text: &[u8],
    context: &[u8],
    random: &mut dyn RngCore,
) -> String {
    let mut nonce = [0; NONCE_LEN];
    random.fill_bytes(&mut nonce);
    // Large enough: what is not sealed yet is never left behind by a move.
    let mut sealed = Vec::with_capacity(text.len() + key.algorithm().tag_len());
    sealed.extend_from_slice(text);
    let with = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(with, Aad::from(context), &mut sealed)
        .expect("only a text of 64 GiB and more can't be sealed");
    URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
}

/// Opens what [`seal`] has sealed. `None` for anything else, and in another context.
pub(crate) fn open(key: &LessSafeKey, sealed: &str, context: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(sealed).ok()?);
    let (nonce, text) = bytes.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = Zeroizing::new(text.to_vec());
    let opened = key.open_in_place(nonce, Aad::from(context), &mut text);
    let length = opened.ok()?.len();
    text.truncate(length);
    Some(text)
}

/// A short random identifier that is no secret: `prefix` and 128 bits in base64url.
pub fn identifier(prefix: &str, random: &mut dyn RngCore) -> String {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_verifies_only_for_its_parts_and_its_purpose() {
        let key = TagKey::new([7; 32]);
        let tag = key.tag(&[b"ab", b"c"]);
        assert!(key.verify(&[b"ab", b"c"], &tag));
        assert!(!key.verify(&[b"a", b"bc"], &tag));
        assert!(!key.derive("other").verify(&[b"ab", b"c"], &tag));
        assert_eq!(tag.len(), 22);
    }

    #[test]
    fn what_is_encrypted_is_read_by_the_same_key_in_the_same_context_alone() {
        let random = &mut rand::rngs::OsRng;
        let (key, secret) = (TagKey::new([7; 32]), Secret::presented("a refresh token"));
        let encrypted = key.encrypt(&secret, b"alice", random);
        assert_eq!(key.decrypt(&encrypted, b"alice"), Some(secret.clone()));
        assert_ne!(key.encrypt(&secret, b"alice", random), encrypted);
        assert_eq!(key.decrypt(&encrypted, b"bob"), None);
        assert_eq!(key.derive("other").decrypt(&encrypted, b"alice"), None);
        for at in 0..encrypted.len() {
            let mut changed = encrypted.clone();
            let other = if &changed[at..=at] == "A" { "B" } else { "A" };
            changed.replace_range(at..=at, other);
            assert_eq!(key.decrypt(&changed, b"alice"), None, "{at}");
        }
        for text in ["", "AAAA", "!"] {
            assert_eq!(key.decrypt(text, b"alice"), None);
        }
    }

    #[test]
    fn a_hash_that_a_tool_made_is_the_hash_that_we_make() {
        // `printf %s secret | sha256sum`
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        for hash in [hash.to_owned(), hash.to_uppercase()] {
            let hash = SecretHash::from_hex(&hash).unwrap();
            assert!(hash.matches(&Secret::presented("secret")));
        }
        for bad in [
            "",
            "2bb8",
            &hash[1..],
            &hash.replace('2', "g"),
            &hash.replace('2', "é"),
        ] {
            assert_eq!(SecretHash::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::draw(&mut rand::rngs::OsRng);
        assert!(!format!("{secret:?}").contains(secret.reveal()));
        assert!(secret.hash().matches(&secret));
        assert!(!secret.hash().matches(&Secret::presented("x")));
    }
}
