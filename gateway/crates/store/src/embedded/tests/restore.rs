//! Putting a backup back: what was used once, taken back or revoked since does not come back, as far as
//! somebody wants that.

use super::*;
use crate::backup::{BackupEntry, BackupHead, BackupRow, BackupValue};
use crate::epoch::StoreEpoch;
use crate::records::{Account, LoginSubject, Records};
use crate::revocation::Revoked;
use gateway_core::account::AccountId;
use gateway_core::grants::{GrantId, UserId};

const HOUR: Duration = Duration::from_secs(3600);

fn account(user: &str, now: Timestamp) -> Account {
    Account {
        id: AccountId::draw(&mut rand::rngs::OsRng),
        user: UserId::new(user),
        user_name: user.to_owned(),
        backend: "notes".to_owned(),
        origin: "https://notes.example".to_owned(),
        connected: now,
        renewed: None,
        expires: None,
        renew_at: None,
        scopes: Vec::new(),
        wanted: Vec::new(),
        called: None,
        subject: None,
        version: 1,
        lapsed: None,
        sealed: "1.x".to_owned(),
    }
}

fn records_in(folder: &Folder) -> Records {
    Records::new(Arc::new(Embedded::open(&folder.0).unwrap()))
}

async fn revoke_key(records: &Records, number: u32, now: Timestamp) {
    let revocation = Revocation {
        id: Revoked::SigningKey(number).to_string(),
        expires: now + HOUR,
    };
    records.store().revoke(&revocation, now).await.unwrap();
}

async fn backed_up(records: &Records) -> (BackupHead, Vec<BackupRow>) {
    let mut backup = records.store().backup().await.unwrap().unwrap();
    let (head, mut rows) = (backup.head().clone(), Vec::new());
    loop {
        let page = backup.next().await.unwrap();
        if page.is_empty() {
            return (head, rows);
        }
        rows.extend(page);
    }
}

/// What is made of a backup, with `connections` of the store in `present`.
fn restored(
    backup: &(BackupHead, Vec<BackupRow>),
    present: &Folder,
    connections: impl FnOnce(PresentStore) -> Connections,
    now: Timestamp,
) -> (Folder, Records) {
    let place = StorePlace::take(&present.0).unwrap();
    let present = PresentStore::open(&place).unwrap().unwrap();
    let until = now + Duration::from_secs(1);
    restored_as_of(backup, connections(present), (now, until), now)
}

/// The same, where what was given within a time is unknown.
fn restored_as_of(
    (head, rows): &(BackupHead, Vec<BackupRow>),
    connections: Connections,
    (since, until): (Timestamp, Timestamp),
    now: Timestamp,
) -> (Folder, Records) {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    let file = Embedded::file_in(&folder.0);
    let store = RestoredStore::create(&file, connections, now).unwrap();
    store.add(rows).unwrap();
    store
        .finish(head, since, until, until + HOUR * 100)
        .unwrap();
    let records = records_in(&folder);
    (folder, records)
}

async fn revoked(records: &Records, now: Timestamp) -> Vec<Revoked> {
    let read = records.store().revocations(Cursor::default(), now).await;
    let (revocations, _) = read.unwrap();
    revocations
        .iter()
        .map(|entry| Revoked::parse(&entry.id))
        .collect()
}

/// The version of somebody's account.
async fn version(records: &Records, user: &str, now: Timestamp) -> Option<u64> {
    let kept = records.account(&UserId::new(user), "notes", now).await;
    kept.unwrap().map(|kept| kept.account.version)
}

/// Whether a mark is there.
async fn is_marked(records: &Records, key: &Key, now: Timestamp) -> bool {
    !records.once(key, now + HOUR, now).await.unwrap()
}

#[tokio::test]
async fn what_happened_since_a_backup_is_not_forgotten() {
    let (folder, now) = (Folder::new(), Clock.now());
    let early = Key::used_assertion("assertion:early");
    let late = Key::used_assertion("assertion:late");
    let ended = Key::ended_grant(&GrantId::new("g_9"));
    let records = records_in(&folder);
    let alice = records
        .keep_account(None, account("alice", now), now)
        .await
        .unwrap();
    let bob = records
        .keep_account(None, account("bob", now), now)
        .await
        .unwrap();
    assert!(records.note_signing_key(1, "one", now).await.unwrap());
    assert!(!is_marked(&records, &early, now).await);
    // A lock that is over when the backup is put back, and another one of the same name since.
    let guessed = LoginSubject::user_codes("192.0.2.0");
    let over = now + HOUR / 6;
    records.lock_logins(&guessed, over, now).await.unwrap();
    let backup = backed_up(&records).await;
    let put_back = over + HOUR / 6;
    records
        .lock_logins(&guessed, put_back + HOUR / 6, put_back)
        .await
        .unwrap();

    let renewed = Account {
        version: 2,
        ..alice.account.clone()
    };
    records
        .keep_account(Some(&alice), renewed, now)
        .await
        .unwrap();
    records.remove_account(&bob, now).await.unwrap();
    assert!(records.note_signing_key(2, "two", now).await.unwrap());
    for number in [1, 2] {
        revoke_key(&records, number, now).await;
    }
    assert!(!is_marked(&records, &late, now).await);
    assert!(!is_marked(&records, &ended, now).await);
    drop(records);

    type Choice = fn(PresentStore) -> Connections;
    let since: Choice = Connections::Since;
    let kept: Choice = |present| Connections::Kept(Some(present));
    let all_ended: Choice = |present| Connections::Ended(Some(present));
    for (choice, accounts, is_end_known) in [
        (since, [Some(2), None], true),
        (kept, [Some(1), Some(1)], false),
        (all_ended, [None, None], true),
    ] {
        let (_late, records) = restored(&backup, &folder, choice, put_back);
        let locked = records.logins_locked_for(&guessed, put_back).await;
        assert_eq!(locked.unwrap(), Some(HOUR / 6));
        drop(records);
        let (_folder, records) = restored(&backup, &folder, choice, now);
        let revoked = revoked(&records, now).await;
        for number in [1, 2] {
            let key = Revoked::SigningKey(number);
            assert!(revoked.contains(&key), "{number}: {revoked:?}");
        }
        assert_eq!(records.last_signing_key(now).await.unwrap(), 2);
        assert!(is_marked(&records, &early, now).await);
        assert!(is_marked(&records, &late, now).await);
        assert_eq!(is_marked(&records, &ended, now).await, is_end_known);
        let found = [
            version(&records, "alice", now).await,
            version(&records, "bob", now).await,
        ];
        assert_eq!(found, accounts);
    }

    // A store with other keys says nothing of these.
    let other = Folder::new();
    let records = records_in(&other);
    assert!(records.note_signing_key(1, "other", now).await.unwrap());
    revoke_key(&records, 1, now).await;
    drop(records);
    let (_folder, records) = restored(&backup, &other, kept, now);
    let revoked = revoked(&records, now).await;
    assert!(!revoked.contains(&Revoked::SigningKey(1)), "{revoked:?}");
}

#[tokio::test]
async fn a_store_that_was_put_back_to_before_a_backup_does_not_know_what_ended_since_that() {
    // Backups are made at whole seconds.
    let (folder, now) = (Folder::new(), Timestamp::from_secs(Clock.now().secs()));
    let at = |hours: u32| now + HOUR * hours;
    let records = records_in(&folder);
    let epoch = StoreEpoch {
        id: "b_1".to_owned(),
        at: now,
    };
    records.store().epoch(&epoch).await.unwrap();
    let early = backed_up(&records).await;
    let alice = account("alice", now);
    records.keep_account(None, alice, now).await.unwrap();
    revoke_key(&records, 1, now).await;
    let late = backed_up(&records).await;
    drop(records);
    let continues = |folder: &Folder, (head, _): &(BackupHead, _), made| {
        let place = StorePlace::take(&folder.0).unwrap();
        let present = PresentStore::open(&place).unwrap().unwrap();
        present.continues(head, made).unwrap()
    };
    assert!(continues(&folder, &early, at(1)) && continues(&folder, &late, at(2)));

    let put_back = |to: &_, present: &Folder, made, now| {
        let place = StorePlace::take(&present.0).unwrap();
        let connections = Connections::Since(PresentStore::open(&place).unwrap().unwrap());
        restored_as_of(to, connections, (made, now), now)
    };
    let (folder, records) = put_back(&early, &folder, at(1), at(3));
    drop(records);
    assert!(!continues(&folder, &late, at(2)), "it lacks that hour");
    assert!(continues(&folder, &early, at(1)), "it goes on from there");
    // Where somebody has decided, what the late one has is there.
    let kept = |present| Connections::Kept(Some(present));
    let (_kept, records) = restored(&late, &folder, kept, now);
    assert_eq!(version(&records, "alice", now).await, Some(1));
    drop(records);

    // What is backed up of it from then on, it knows.
    let records = records_in(&folder);
    let anew = backed_up(&records).await;
    drop(records);
    assert!(continues(&folder, &anew, at(4)));
    // And one that is put back to that still knows what ended since the first.
    let (folder, records) = put_back(&anew, &folder, at(4), at(5));
    drop(records);
    assert!(continues(&folder, &early, at(1)));
    assert!(!continues(&folder, &late, at(2)));
}

#[test]
fn in_a_place_that_is_taken_no_store_is_opened_or_made() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    let place = StorePlace::take(&folder.0).unwrap();
    assert!(PresentStore::open(&place).unwrap().is_none());
    let refused = Embedded::open(&folder.0).unwrap_err();
    assert!(matches!(refused, OpenError::InUse(_)), "{refused}");
    assert!(!Embedded::is_in(&folder.0));
    drop(place);
    let store = Embedded::open(&folder.0).unwrap();
    let refused = StorePlace::take(&folder.0).unwrap_err();
    assert!(matches!(refused, OpenError::InUse(_)), "{refused}");
    drop(store);
    let place = StorePlace::take(&folder.0).unwrap();
    assert!(PresentStore::open(&place).unwrap().is_some());
}

#[test]
fn a_row_of_a_later_version_is_named_before_anything_is_made() {
    let row = |table: &str| {
        BackupRow::Entry(BackupEntry {
            table: table.to_owned(),
            key: "x".to_owned(),
            used: false,
            expires: None,
            indexes: Vec::new(),
            value: BackupValue::new(b"{}"),
        })
    };
    RestoredStore::can_take(&row("grant")).unwrap();
    let refused = RestoredStore::can_take(&row("of later")).unwrap_err();
    assert!(refused.to_string().contains("`of later`"), "{refused}");
}
