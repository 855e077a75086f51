//! Credentials at rest: AES-256-GCM under a key of the keys folder, bound to the person and the backend.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore;
use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::secret;

/// What a sealed credential is bound to: opened for anything else, it is none.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// The person's identifier.
    pub user: &'a str,
    /// The backend's name.
    pub backend: &'a str,
    /// Where the backend is: a credential goes nowhere else.
    pub origin: &'a str,
}

impl Bound<'_> {
    /// Each part is preceded by its length, so that no two are the same bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut all = b"account".to_vec();
        for part in [self.user, self.backend, self.origin] {
            all.extend_from_slice(&(part.len() as u64).to_be_bytes());
            all.extend_from_slice(part.as_bytes());
        }
        all
    }
}

/// Why a sealed credential can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key that it was sealed with is not here.
    #[error("it is sealed with key {0} of accounts-N.key, which is not in keys_dir")]
    KeyMissing(u32),
    /// It was changed, is another person's or another backend's, or was sealed with another key of that
    /// number.
    #[error("it can't be opened with the keys in keys_dir for this person and this backend")]
    Broken,
}

/// The keys that seal credentials: the one with the highest number seals, all of them open.
#[derive(Clone)]
pub struct SealKeys {
    keys: BTreeMap<u32, LessSafeKey>,
    active: u32,
    fingerprints: BTreeMap<u32, String>,
}

impl SealKeys {
    /// Keys of 256 random bits by number; `None` if there is none.
    pub fn new(keys: BTreeMap<u32, Zeroizing<[u8; 32]>>) -> Option<Self> {
        let active = *keys.last_key_value()?.0;
        let fingerprint = |key: &[u8; 32]| {
            let digest = Sha256::digest([b"account key".as_slice(), key].concat());
            URL_SAFE_NO_PAD.encode(&digest[..16])
        };
        let cipher = |key: &[u8; 32]| {
            let key = UnboundKey::new(&AES_256_GCM, key);
            LessSafeKey::new(key.expect("the key has the 256 bits of this cipher"))
        };
        let all = keys.iter();
        Some(Self {
            active,
            fingerprints: all
                .clone()
                .map(|(id, key)| (*id, fingerprint(key)))
                .collect(),
            keys: all.map(|(id, key)| (*id, cipher(key))).collect(),
        })
    }

    /// None but one that is made for this process and kept nowhere: for a gateway that seals nothing.
    pub fn none(random: &mut dyn RngCore) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        random.fill_bytes(&mut *key);
        Self::new(BTreeMap::from([(0, key)])).expect("there is one")
    }

    /// The number of the key that seals.
    pub const fn active(&self) -> u32 {
        self.active
    }

    /// What tells each key from another of the same number, and says nothing of it.
    pub fn fingerprints(&self) -> impl Iterator<Item = (u32, &str)> {
        self.fingerprints.iter().map(|(id, text)| (*id, &**text))
    }

    /// Seals a text for one person at one backend.
    pub fn seal(&self, text: &[u8], bound: Bound<'_>, random: &mut dyn RngCore) -> String {
        let key = &self.keys[&self.active];
        let sealed = secret::seal(key, text, &bound.bytes(), random);
        format!("{}.{sealed}", self.active)
    }

    /// Opens it again.
    ///
    /// # Errors
    ///
    /// [`SealError::KeyMissing`] where a key has to be restored, else [`SealError::Broken`].
    pub fn open(&self, sealed: &str, bound: Bound<'_>) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (id, sealed) = sealed.split_once('.').ok_or(SealError::Broken)?;
        let id = id.parse().map_err(|_| SealError::Broken)?;
        let key = self.keys.get(&id).ok_or(SealError::KeyMissing(id))?;
        secret::open(key, sealed, &bound.bytes()).ok_or(SealError::Broken)
    }
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKeys")
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ids: &[(u32, u8)]) -> SealKeys {
        let keys = ids
            .iter()
            .map(|(id, byte)| (*id, Zeroizing::new([*byte; 32])));
        SealKeys::new(keys.collect()).unwrap()
    }

    const ALICE: Bound<'_> = Bound {
        user: "u_alice",
        backend: "notes",
        origin: "https://notes.example",
    };

    #[test]
    fn what_is_sealed_for_one_person_at_one_backend_is_opened_for_nobody_else() {
        let random = &mut rand::rngs::OsRng;
        let keys = keys(&[(1, 7)]);
        let sealed = keys.seal(b"token", ALICE, random);
        assert_eq!(&**keys.open(&sealed, ALICE).unwrap(), b"token");
        assert_ne!(keys.seal(b"token", ALICE, random), sealed);
        for other in [
            Bound {
                user: "u_bob",
                ..ALICE
            },
            Bound {
                backend: "mail",
                ..ALICE
            },
            Bound {
                origin: "https://evil.example",
                ..ALICE
            },
            Bound {
                user: "u_alicen",
                backend: "otes",
                ..ALICE
            },
        ] {
            assert_eq!(keys.open(&sealed, other), Err(SealError::Broken));
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            let other = if &changed[at..=at] == "A" { "B" } else { "A" };
            changed.replace_range(at..=at, other);
            assert!(keys.open(&changed, ALICE).is_err(), "{at}");
        }
        for text in ["", "1", "1.", "1.AAAA", ".", "x.y"] {
            assert!(keys.open(text, ALICE).is_err(), "{text}");
        }
    }

    #[test]
    fn after_a_rotation_the_new_key_seals_and_the_old_one_still_opens() {
        let random = &mut rand::rngs::OsRng;
        let old = keys(&[(1, 7)]);
        let sealed = old.seal(b"token", ALICE, random);
        let both = keys(&[(1, 7), (2, 8)]);
        assert_eq!(&**both.open(&sealed, ALICE).unwrap(), b"token");
        let sealed = both.seal(b"token", ALICE, random);
        assert!(sealed.starts_with("2."));
        assert_eq!(old.open(&sealed, ALICE), Err(SealError::KeyMissing(2)));
        let another = keys(&[(2, 9)]);
        assert_eq!(another.open(&sealed, ALICE), Err(SealError::Broken));
    }
}
