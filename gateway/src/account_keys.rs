//! The keys that seal people's accounts at backends: `accounts-N.key` in the keys folder. The one with the
//! highest number seals, all of them open; whoever rotates adds one, and the earlier ones stay as long as
//! anything is sealed with them.

use std::collections::BTreeMap;
use std::path::Path;

use rand::{CryptoRng, RngCore};
use zeroize::Zeroizing;

use crate::keys::{self, KeysError};
use gateway_core::account::seal::SealKeys;
use gateway_core::clock::Timestamp;
use gateway_store::{Records, StoreError};

const NAME: &str = "accounts";

/// How many numbers beyond the own ones are looked for in the store: keys that were there once.
const LOST: u32 = 3;

/// Reads the keys; makes the first one where there is none.
///
/// # Errors
///
/// Those of the keys folder.
pub fn open(folder: &Path, random: &mut (impl RngCore + CryptoRng)) -> Result<SealKeys, KeysError> {
    if keys::numbered(folder, NAME)?.is_empty() {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill_bytes(&mut *bytes);
        let path = folder.join(format!("{NAME}-1.key"));
        keys::create_bytes(&path, &bytes)?;
    }
    let mut found = BTreeMap::new();
    for (id, path) in keys::numbered(folder, NAME)? {
        found.insert(id, Zeroizing::new(keys::read_bytes(&path)?));
    }
    SealKeys::new(found).ok_or_else(|| KeysError::Broken(folder.to_owned()))
}

/// Says so where a key is another one than it was, or is gone: what is sealed with the one before can't be
/// opened any more, and those people connect their accounts again.
///
/// # Errors
///
/// Those of the store.
pub async fn note(keys: &SealKeys, records: &Records, now: Timestamp) -> Result<(), StoreError> {
    for (id, fingerprint) in keys.fingerprints() {
        if !records.note_account_key(id, fingerprint, now).await? {
            warn(id, "is another one than it was");
            records.replace_account_key(id, fingerprint).await?;
        }
    }
    for id in keys.active() + 1..=keys.active() + LOST {
        if records.has_account_key(id, now).await? {
            warn(id, "was there and is gone");
            records.forget_account_key(id).await?;
        }
    }
    Ok(())
}

fn warn(id: u32, what: &str) {
    log::warn!(
        event = "account_key_lost", key = id,
        hint = "restore keys_dir from a backup and restart; else those people connect their accounts again";
        "accounts-{id}.key {what}: accounts at backends that were sealed with it can't be used any more"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::account::seal::Bound;
    use gateway_store::Memory;
    use rand::rngs::OsRng;
    use std::sync::Arc;

    const ALICE: Bound<'_> = Bound {
        user: "u_1",
        backend: "notes",
        origin: "https://notes.example",
    };

    #[tokio::test]
    async fn a_key_is_made_once_and_one_that_is_added_seals_while_the_earlier_one_still_opens() {
        let folder =
            std::env::temp_dir().join(format!("gateway-account-keys-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let first = open(&folder, &mut OsRng).unwrap();
        let sealed = first.seal(b"token", ALICE, &mut OsRng);
        let again = open(&folder, &mut OsRng).unwrap();
        assert_eq!(&**again.open(&sealed, ALICE).unwrap(), b"token");
        keys::create_bytes(&folder.join("accounts-2.key"), &[9; 32]).unwrap();
        let rotated = open(&folder, &mut OsRng).unwrap();
        assert_eq!(rotated.active(), 2);
        assert_eq!(&**rotated.open(&sealed, ALICE).unwrap(), b"token");

        // What is noted of them tells that one is lost, once.
        let records = Records::new(Arc::new(Memory::new()));
        let now = Timestamp::from_secs(1000);
        note(&rotated, &records, now).await.unwrap();
        assert!(records.has_account_key(2, now).await.unwrap());
        std::fs::remove_file(folder.join("accounts-2.key")).unwrap();
        let left = open(&folder, &mut OsRng).unwrap();
        note(&left, &records, now).await.unwrap();
        assert!(!records.has_account_key(2, now).await.unwrap());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
