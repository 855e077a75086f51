//! The keys that seal people's accounts at backends: `accounts-N.key` in the keys folder. The one with the
//! highest number seals, all of them open; whoever rotates adds one, and the earlier ones stay as long as
//! anything is sealed with them.

mod peers;

use std::collections::BTreeMap;
use std::path::Path;

use rand::{CryptoRng, RngCore};
use zeroize::Zeroizing;

use self::peers::PeerKeys;
use crate::keys::{self, KeysError};
use gateway_core::account::seal::SealKeys;
use gateway_core::clock::Clock;
use gateway_store::{Records, StoreError};
use tokio::runtime::Handle;

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
        keys::create_bytes(&folder.join(format!("{NAME}-1.key")), random)?;
    }
    let mut found = BTreeMap::new();
    for (id, path) in keys::numbered(folder, NAME)? {
        found.insert(id, Zeroizing::new(keys::read_bytes(&path)?));
    }
    SealKeys::new(found).ok_or_else(|| KeysError::Broken(folder.to_owned()))
}

/// Why the keys can't be used with this store.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// A replica that serves has another key of this number: what one seals the other can't open.
    #[error("accounts-{0}.key is another one than that of the replicas that serve")]
    Other(u32),
    /// The store did not do what was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Notes what tells the keys from others. Where one is another than it was, or is gone, what is sealed with the
/// one before can't be opened any more: that is said, and those people connect their accounts again. Where
/// another replica serves with the one before, nothing is lost: this one has the wrong folder.
///
/// # Errors
///
/// That, and those of the store.
pub async fn note(
    keys: &SealKeys,
    records: &Records,
    clock: Clock,
    runtime: &Handle,
) -> Result<(), NoteError> {
    if !records.store().is_shared() {
        return note_beside(keys, records, None, clock).await;
    }
    let peers = PeerKeys::new(keys, records);
    // First, so that nobody notes a key of whom the others can't ask.
    let following = peers.follow(clock, runtime);
    let noted = note_beside(keys, records, Some(&peers), clock).await;
    if let (Err(_), Some(following)) = (&noted, following) {
        following.abort();
    }
    noted
}

async fn note_beside(
    keys: &SealKeys,
    records: &Records,
    peers: Option<&PeerKeys>,
    clock: Clock,
) -> Result<(), NoteError> {
    let now = clock.now();
    let mut lost = Vec::new();
    for (id, fingerprint) in keys.fingerprints() {
        if !records.note_account_key(id, fingerprint, now).await? {
            lost.push((id, Some(fingerprint)));
        }
    }
    for id in keys.active() + 1..=keys.active() + LOST {
        if records.has_account_key(id, now).await? {
            lost.push((id, None));
        }
    }
    if !lost.is_empty()
        && let Some(peers) = peers
        && let Some(id) = peers.other(clock).await?
    {
        return Err(NoteError::Other(id));
    }
    for (id, fingerprint) in lost {
        if let Some(fingerprint) = fingerprint {
            warn(id, "is another one than it was");
            records.replace_account_key(id, fingerprint).await?;
        } else {
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
    use gateway_store::{Memory, RevocationView, Store};
    use rand::rngs::OsRng;
    use std::sync::Arc;
    use std::time::Duration;

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
        keys::create_bytes(&folder.join("accounts-2.key"), &mut OsRng).unwrap();
        let rotated = open(&folder, &mut OsRng).unwrap();
        assert_eq!(rotated.active(), 2);
        assert_eq!(&**rotated.open(&sealed, ALICE).unwrap(), b"token");

        // What is noted of them tells that one is lost, once.
        let records = Records::new(Arc::new(Memory::new()));
        let (clock, runtime) = (Clock, Handle::current());
        let now = clock.now();
        note(&rotated, &records, clock, &runtime).await.unwrap();
        assert!(records.has_account_key(2, now).await.unwrap());
        std::fs::remove_file(folder.join("accounts-2.key")).unwrap();
        let left = open(&folder, &mut OsRng).unwrap();
        note(&left, &records, clock, &runtime).await.unwrap();
        assert!(!records.has_account_key(2, now).await.unwrap());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_key_that_a_replica_serves_with_is_not_lost_and_one_that_nobody_has_is() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let (clock, runtime) = (Clock, Handle::current());
        let records = || {
            let view = RevocationView::follow(Arc::clone(&store), clock, &runtime);
            Records::new(Arc::clone(&store)).with_view(view)
        };
        let keys = |ids: &[(u32, u8)]| {
            let keys = ids.iter();
            let keys = keys.map(|(id, byte)| (*id, Zeroizing::new([*byte; 32])));
            SealKeys::new(keys.collect()).unwrap()
        };
        let note = async |keys: &SealKeys, records: &Records| {
            while records.view().unwrap().epoch().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let peers = PeerKeys::new(keys, records);
            let following = peers.follow(clock, &runtime).unwrap();
            let noted = note_beside(keys, records, Some(&peers), clock).await;
            if noted.is_err() {
                following.abort();
            }
            noted
        };
        let (serves, starts) = (records(), records());
        note(&keys(&[(1, 7), (2, 8)]), &serves).await.unwrap();
        // The same ones, and a further one, as in a rotation.
        note(&keys(&[(1, 7), (2, 8)]), &records()).await.unwrap();
        for (other, id) in [
            (keys(&[(1, 9), (2, 8)]), 1),
            (keys(&[(1, 7)]), 2),
            (keys(&[(1, 7), (2, 9), (3, 1)]), 2),
        ] {
            let refused = note(&other, &starts).await.unwrap_err();
            assert!(
                matches!(refused, NoteError::Other(found) if found == id),
                "{refused}"
            );
        }
        assert!(starts.has_account_key(2, clock.now()).await.unwrap());
    }
}
