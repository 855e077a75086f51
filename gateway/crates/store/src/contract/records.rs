//! What every store must do for the records on it: a conflict is told as one, and what can't be read
//! is neither an outage nor nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::moments;
use super::people;
use crate::error::{Corrupt, StoreError};
use crate::key::{Key, KeyKind};
use crate::records::{GrantsOf, Identity, Records, User};
use crate::store::Store;
use crate::{FormPage, SetupOffer, TakenCode};
use gateway_core::client::{Allowed, Client, ClientId};
use gateway_core::clock::Timestamp;
use gateway_core::grants::{Grant, GrantId, UserId};
use gateway_core::reason::Reason;
use gateway_core::secret::Secret;

pub(super) async fn all<F: Future<Output = Arc<dyn Store>>>(open: &impl Fn() -> F) {
    a_user_who_is_changed_by_many_keeps_every_change(&open().await).await;
    a_conflict_that_never_ends_is_told_as_one(&open().await).await;
    an_account_at_a_provider_is_one_persons(&open().await).await;
    people::all(open).await;
    what_cannot_be_read_is_told_as_corrupt(&open().await).await;
    what_cannot_be_read_costs_a_list_nothing_else(&open().await).await;
    what_a_later_version_wrote_is_refused_and_stays(&open().await).await;
    what_a_later_version_writes_at_the_same_moment_stays(&open().await).await;
    what_earlier_versions_wrote_is_read(&open().await).await;
}

async fn an_account_at_a_provider_is_one_persons(store: &Arc<dyn Store>) {
    let (records, now) = (Records::new(Arc::clone(store)), moments()(0));
    let account = Identity {
        provider: "corp".into(),
        issuer: "https://login.example.com".into(),
        subject: "s".into(),
        address: None,
        name: None,
        groups: Vec::new(),
        confirmed: now,
        refresh: None,
    };
    let [alice, bob] = [("alice", "u_1"), ("bob", "u_2")].map(|(name, id)| User {
        id: UserId::new(id),
        ..user(name, now).with_identity(account.clone())
    });
    let of = async || {
        let of = records
            .user_of_identity(&account.issuer, &account.subject, now)
            .await;
        of.unwrap().map(|user| user.name)
    };
    assert!(records.add_user(&alice, now).await.unwrap());
    assert_eq!(of().await, None);
    assert!(records.add_identity(&account, &alice, now).await.unwrap());
    assert!(records.add_identity(&account, &alice, now).await.unwrap());
    assert!(records.add_user(&bob, now).await.unwrap());
    assert!(!records.add_identity(&account, &bob, now).await.unwrap());
    assert_eq!(of().await.as_deref(), Some("alice"));
    // Once it is taken off her record it is free.
    let without = |user: User| user.without_identity(&account.issuer, &account.subject);
    records.change_user("alice", now, without).await.unwrap();
    assert_eq!(of().await, None);
    assert!(records.add_identity(&account, &bob, now).await.unwrap());
    assert_eq!(of().await.as_deref(), Some("bob"));
}

fn user(name: &str, now: Timestamp) -> User {
    User::new(UserId::new("u_1"), name, "$argon2id$", now)
}

/// Somebody comes between reading and writing, and is not overwritten.
async fn a_user_who_is_changed_by_many_keeps_every_change(store: &Arc<dyn Store>) {
    let now = moments()(0);
    let records = Records::new(Arc::clone(store));
    assert!(records.add_user(&user("Alice", now), now).await.unwrap());
    let mut changes = tokio::task::JoinSet::new();
    for number in 0..4 {
        let records = records.clone();
        changes.spawn(async move {
            let change = |user: User| User {
                sessions: format!("{}{number}", user.sessions),
                ..user
            };
            records.change_user("alice", now, change).await
        });
    }
    for changed in changes.join_all().await {
        changed.unwrap().expect("alice is there");
    }
    let changed = records.user("ALICE", now).await.unwrap().unwrap();
    assert_eq!(changed.sessions.len(), 4, "{:?}", changed.sessions);
}

async fn a_conflict_that_never_ends_is_told_as_one(store: &Arc<dyn Store>) {
    let now = moments()(0);
    let records = Records::new(Arc::clone(store));
    records.add_user(&user("bob", now), now).await.unwrap();
    let attempts = AtomicUsize::new(0);
    let (runtime, other) = (tokio::runtime::Handle::current(), records.clone());
    let change = |user: User| {
        // Somebody else is faster each time.
        let number = attempts.fetch_add(1, Ordering::Relaxed);
        let (other, sessions) = (other.clone(), format!("other {number}"));
        tokio::task::block_in_place(|| {
            runtime.block_on(async move {
                let key = Key::user("bob");
                let seen = other.store().get(&key, now).await.unwrap().unwrap();
                let text = String::from_utf8(seen.clone()).unwrap();
                let before = match number {
                    0 => "\"sessions\":\"\"".to_owned(),
                    number => format!("\"sessions\":\"other {}\"", number - 1),
                };
                let next = text.replace(&before, &format!("\"sessions\":\"{sessions}\""));
                assert_ne!(next, text);
                let replaced = other
                    .store()
                    .replace(&key, &seen, next.as_bytes(), None, now);
                replaced.await.unwrap();
            });
        });
        User {
            sessions: "mine".to_owned(),
            ..user
        }
    };
    let error = records.change_user("bob", now, change).await.unwrap_err();
    assert_eq!(error, StoreError::Conflict(KeyKind::User));
    assert_eq!(error.reason(), Reason::Overloaded);
    assert!(attempts.load(Ordering::Relaxed) > 1, "it is tried again");
    let kept = records.user("bob", now).await.unwrap().unwrap();
    assert!(kept.sessions.starts_with("other"), "nobody is overwritten");
}

/// The kind of the key, and nothing of the key or of what stands there.
fn assert_corrupt<T>(outcome: Result<T, StoreError>, kind: KeyKind) {
    let error = outcome.err().expect("it can't be read");
    assert_eq!(error.reason(), Reason::RecordUnreadable, "{error}");
    let named =
        matches!(&error, StoreError::Corrupt(Corrupt::Record { kind: of, .. }) if *of == kind);
    assert!(named, "{error:?}");
    let said = format!("{error} {error:?}");
    assert!(said.contains(&kind.to_string()), "{said}");
    assert!(!said.contains("5ecret"), "{said}");
}

async fn what_cannot_be_read_is_told_as_corrupt(store: &Arc<dyn Store>) {
    let now = moments()(0);
    let records = Records::new(Arc::clone(store));
    let hash = Secret::presented("5ecret").hash();
    let (client, grant) = (ClientId::new("c_5ecret"), GrantId::new("g_5ecret"));
    for bytes in [
        "5ecret".as_bytes(),
        b"{\"id\":\"5ecret\"",
        b"{\"id\":{\"5ecret\":1}}",
        b"{\"5ecret\":\"5ecret\"}",
        b"\"5ecret\"",
        b"\xff5ecret",
        b"",
    ] {
        let keys = [
            Key::client(&client),
            Key::user("alice5ecret"),
            Key::grant(&grant),
            Key::code(&hash),
            Key::session(&hash),
            Key::last_use(&grant),
            Key::setup(),
        ];
        for key in &keys {
            store.put(key, bytes, None).await.unwrap();
        }
        assert_corrupt(records.client(&client, now).await, KeyKind::Client);
        let listed = records.clients(None, 1, now).await.unwrap();
        assert_eq!((listed.entries, listed.next), (Vec::new(), None));
        assert_corrupt(records.user("Alice5ecret", now).await, KeyKind::User);
        let changed = records.change_user("alice5ecret", now, |user| user);
        assert_corrupt(changed.await, KeyKind::User);
        assert_corrupt(records.grant(&grant, now).await, KeyKind::Grant);
        assert_corrupt(records.kept_grant(&grant, now).await, KeyKind::Grant);
        let listed = records.grants(GrantsOf::default(), None, 1, now);
        assert_eq!(listed.await.unwrap().entries, Vec::new());
        assert_eq!(records.any_user(now).await.unwrap(), None);
        assert!(
            records.has_users(now).await.unwrap(),
            "nobody sets it up anew"
        );
        let all = records.all_grants(GrantsOf::default(), now).await.unwrap();
        assert_corrupt(all.unreadable.map_or(Ok(()), Err), KeyKind::Grant);
        let all = records.open_codes(GrantsOf::default(), now).await.unwrap();
        assert_corrupt(all.unreadable.map_or(Ok(()), Err), KeyKind::Code);
        let all = records.all_users(now).await.unwrap();
        assert_corrupt(all.unreadable.map_or(Ok(()), Err), KeyKind::User);
        assert_corrupt(records.code(&hash, now).await, KeyKind::Code);
        assert_corrupt(records.take_code(&hash, now).await, KeyKind::Code);
        assert_corrupt(records.session(&hash, now).await, KeyKind::Session);
        assert_corrupt(records.last_use(&grant, now).await, KeyKind::LastUse);
        assert_corrupt(records.setup(now).await, KeyKind::Setup);
        // Reading it left everything where it was.
        for key in &keys {
            let kept = store.get(key, now).await.unwrap();
            assert_eq!(kept.as_deref(), Some(bytes), "{key:?}");
        }
    }
    // What can't be read can still be taken away.
    records.end_session(&hash).await.unwrap();
    assert!(records.session(&hash, now).await.unwrap().is_none());
    records.revoke_grant(&grant, now, now).await.unwrap();
    assert!(records.grant(&grant, now).await.unwrap().is_none());
    store.remove(&Key::code(&hash)).await.unwrap();
    let taken = records.take_code(&hash, now).await.unwrap();
    assert_eq!(taken, TakenCode::Unknown);
    assert!(records.remove_client(&client).await.unwrap());
    let alice = user("Alice5ecret", now);
    // Nobody gets a name by damage to a record; the operator's word stands above it.
    assert!(!records.add_user(&alice, now).await.unwrap());
    assert!(records.add_user_anew(&alice, now).await.unwrap());
    assert_eq!(
        records.user("alice5ecret", now).await.unwrap(),
        Some(alice.clone())
    );
    assert!(!records.add_user_anew(&alice, now).await.unwrap());
}

/// Those before and after it are listed, in whatever pages.
async fn what_cannot_be_read_costs_a_list_nothing_else(store: &Arc<dyn Store>) {
    let now = moments()(0);
    let until = now + Duration::from_secs(60);
    let records = Records::new(Arc::clone(store));
    let template = client_of_an_earlier_version();
    let grant: Grant = serde_json::from_str(GRANT).unwrap();
    for (number, readable) in [true, false, false, true, false, true]
        .into_iter()
        .enumerate()
    {
        let (name, id) = (format!("person{number}"), format!("{number}"));
        let client = Client {
            id: ClientId::new(format!("c_{number}")),
            ..template.clone()
        };
        let grant = Grant {
            id: GrantId::new(format!("g_{number}")),
            ..grant.clone()
        };
        let user = User {
            id: UserId::new(id),
            ..user(&name, now)
        };
        records.register_client(&client, until, now).await.unwrap();
        records.put_grant(&grant).await.unwrap();
        assert!(records.add_user(&user, now).await.unwrap());
        let bytes: &[u8] = if number == 1 { b"{" } else { LATER };
        for key in [
            Key::client(&client.id),
            Key::grant(&grant.id),
            Key::user(&name),
        ] {
            if !readable {
                store.put(&key, bytes, Some(until)).await.unwrap();
            }
        }
    }
    for limit in [1, 2, 100] {
        let (mut clients, mut users, mut grants) = (Vec::new(), Vec::new(), Vec::new());
        let mut after = None;
        loop {
            let page = records.clients(after.as_deref(), limit, now).await.unwrap();
            clients.extend(page.entries.iter().map(|client| client.id.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = records.users(after.as_deref(), limit, now).await.unwrap();
            users.extend(page.entries.iter().map(|user| user.name.clone()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = records.grants(GrantsOf::default(), after.as_deref(), limit, now);
            let page = page.await.unwrap();
            grants.extend(page.entries.iter().map(|grant| grant.id.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(clients, ["c_0", "c_3", "c_5"], "{limit}");
        assert_eq!(users, ["person0", "person3", "person5"], "{limit}");
        assert_eq!(grants, ["g_0", "g_3", "g_5"], "{limit}");
    }
    let all = records.all_grants(GrantsOf::default(), now).await.unwrap();
    assert_eq!(all.entries.len(), 3);
    assert!(all.unreadable.is_some());
    // One that stands beside another in a list is not there.
    let key = Key::client(&ClientId::new("c_1"));
    let read = records.client(&ClientId::new("c_1"), now).await;
    assert_eq!(records.unless_unreadable(&key, read).unwrap(), None);
    let away = Err::<Option<Client>, _>(StoreError::Away("x".to_owned()));
    assert!(records.unless_unreadable(&key, away).is_err());
}

const LATER: &[u8] = br#"{"id":["5ecret"],"format":2,"written_by":"gateway 9.0.0"}"#;

/// Which program wrote it, in which format, and nothing of the record.
fn assert_later<T>(outcome: Result<T, StoreError>, kind: KeyKind) {
    let error = outcome.err().expect("it is of a later format");
    assert_eq!(error.reason(), Reason::RecordUnreadable, "{error}");
    let newer = Corrupt::Newer {
        kind,
        format: 2,
        known: 1,
        written_by: "gateway 9.0.0".to_owned(),
    };
    assert_eq!(error, StoreError::Corrupt(newer));
    assert!(error.to_string().contains("gateway 9.0.0"), "{error}");
}

async fn what_a_later_version_wrote_is_refused_and_stays(store: &Arc<dyn Store>) {
    let now = moments()(0);
    let until = now + Duration::from_secs(60);
    let records = Records::new(Arc::clone(store));
    let hash = Secret::presented("5ecret").hash();
    let client = client_of_an_earlier_version();
    let (alice, grant) = (UserId::new("u_1"), GrantId::new("g_1"));
    let form = Key::form_answer(FormPage::Consent, "n");
    let keys = [
        Key::client(&client.id),
        Key::allowed(&alice, &client.id),
        Key::user("alice"),
        Key::grant(&grant),
        Key::code(&hash),
        Key::session(&hash),
        form.clone(),
        Key::setup(),
    ];
    for key in &keys {
        store.put(key, LATER, Some(until)).await.unwrap();
    }
    assert_later(records.client(&client.id, now).await, KeyKind::Client);
    let listed = records.clients(None, 9, now).await.unwrap();
    assert_eq!(listed.entries, Vec::new());
    let registered = records.register_client(&client, until, now);
    assert_later(registered.await, KeyKind::Client);
    let kept = records.keep_client(&client, until, now);
    assert_later(kept.await, KeyKind::Client);
    let allowed = records.allowed(&alice, &client.id, now);
    assert_later(allowed.await, KeyKind::Allowed);
    let allows: Allowed = serde_json::from_str(ALLOWED).unwrap();
    let allowed = records.put_allowed(&alice, &client.id, &allows, until, now);
    assert_later(allowed.await, KeyKind::Allowed);
    assert_later(records.user("alice", now).await, KeyKind::User);
    let changed = records.change_user("alice", now, |user| user);
    assert_later(changed.await, KeyKind::User);
    assert!(!records.add_user(&user("alice", now), now).await.unwrap());
    let anew = records.add_user_anew(&user("alice", now), now).await;
    assert!(
        !anew.unwrap(),
        "it counts again when that version runs again"
    );
    assert_later(records.grant(&grant, now).await, KeyKind::Grant);
    assert_later(records.kept_grant(&grant, now).await, KeyKind::Grant);
    assert_later(records.code(&hash, now).await, KeyKind::Code);
    assert_later(records.session(&hash, now).await, KeyKind::Session);
    let pressed = records.press(&form, "allow", until, now);
    assert_later(pressed.await, KeyKind::FormAnswer);
    assert_later(records.setup(now).await, KeyKind::Setup);
    let offer = SetupOffer {
        hash: hash.clone(),
        expires: until,
        wrong: 0,
    };
    assert_later(records.offer_setup(&offer, now).await, KeyKind::Setup);
    // It is kept for longer as it is.
    let extended = records.extend_client(&client.id, until, now);
    extended.await.unwrap();
    for key in &keys {
        let kept = store.get(key, now).await.unwrap();
        assert_eq!(kept.as_deref(), Some(LATER), "{key:?}");
    }
    // Taking away needs no reading.
    records.revoke_grant(&grant, until, now).await.unwrap();
    assert!(records.grant(&grant, now).await.unwrap().is_none());
    assert!(records.remove_client(&client.id).await.unwrap());
}

/// A replica of a later version writes while this one does.
async fn what_a_later_version_writes_at_the_same_moment_stays(store: &Arc<dyn Store>) {
    let now = moments()(0);
    let until = now + Duration::from_secs(60);
    let records = Records::new(Arc::clone(store));
    let client = client_of_an_earlier_version();
    let key = Key::client(&client.id);
    for round in 0..50 {
        records.remove_client(&client.id).await.unwrap();
        if round % 2 == 0 {
            records.register_client(&client, until, now).await.unwrap();
        }
        let later = {
            let (store, key) = (Arc::clone(store), key.clone());
            tokio::spawn(async move { store.put(&key, LATER, Some(until)).await })
        };
        let ours = {
            let (records, client) = (records.clone(), client.clone());
            tokio::spawn(async move { records.keep_client(&client, until, now).await })
        };
        later.await.unwrap().unwrap();
        let _may_be_refused = ours.await.unwrap();
        let kept = store.get(&key, now).await.unwrap();
        assert_eq!(kept.as_deref(), Some(LATER), "{round}");
    }
}

/// As the gateway wrote it before records had formats.
const CLIENT: &str = r#"{"id":"c_1","name":"App","redirect_uris":["http://127.0.0.1:53680/callback"],"authentication":{"method":"none"},"registration":"self_registered","registered":1795923856795,"may_refresh":true,"echoed":{}}"#;
const USER: &str = r#"{"id":"u_1","name":"alice","password_hash":"$argon2id$","created":1795923851539,"configured":true,"sessions":""}"#;
pub(super) const GRANT: &str = r#"{"id":"g_1","user":"u_1","user_name":"alice","client":"c_1","client_fingerprint":null,"resource":"http://127.77.0.2:18471/mcp","scope":["mcp"],"tools":{"pinned":{"fetch":"4ee0c2c12441b29a"}},"created":1795923857099,"redeemed":1795923857115,"expires":4950387857115,"refresh":{"seed":"CvMeA8AXCNyPyi2H0AtxDhL7HuanIYjQJFwFeai68Qg","given":1795923857115,"state":{"state":"unused"}}}"#;
pub(super) const CODE: &str = r#"{"grant":"g_1","client":"c_1","client_fingerprint":null,"redirect_uri":"http://127.0.0.1:53680/callback","code_challenge":"UUSJiEIJEWK83GVDQdKj0GRZsr89hjvk7alv3qFxbKU","resource":"http://127.77.0.2:18471/mcp","scope":["mcp"],"tools":"all","user":"u_1","user_name":"alice","issued":1795923856911,"expires":1795923916911}"#;
const ALLOWED: &str = r#"{"name":"App","fingerprint":{"redirect_uris":"KeuHk","authentication":"q8Zxw"},"at":1795923856795}"#;

fn client_of_an_earlier_version() -> Client {
    serde_json::from_str(CLIENT).unwrap()
}

/// Without `format`; and what this version writes, read by one that knows no formats.
async fn what_earlier_versions_wrote_is_read(store: &Arc<dyn Store>) {
    let now = moments()(0);
    let until = now + Duration::from_secs(60);
    let records = Records::new(Arc::clone(store));
    let hash = Secret::presented("code").hash();
    let client = client_of_an_earlier_version();
    let grant: Grant = serde_json::from_str(GRANT).unwrap();
    for (key, text) in [
        (Key::client(&client.id), CLIENT),
        (Key::user("alice"), USER),
        (Key::grant(&grant.id), GRANT),
        (Key::code(&hash), CODE),
    ] {
        store.put(&key, text.as_bytes(), Some(until)).await.unwrap();
    }
    let read = records.client(&client.id, now).await.unwrap();
    assert_eq!(read, Some(client.clone()));
    let alice = records.user("alice", now).await.unwrap().unwrap();
    assert!(alice.configured && alice.disabled.is_none());
    let kept = records.kept_grant(&grant.id, now).await.unwrap().unwrap();
    assert_eq!(kept.grant, grant);
    let taken = records.take_code(&hash, now).await.unwrap();
    assert!(matches!(taken, TakenCode::Fresh(code) if code.grant == grant.id));

    // Written again, each says its format, and the version before reads it all the same.
    records.keep_client(&client, until, now).await.unwrap();
    records.replace_grant(&kept, &grant, now).await.unwrap();
    let changed = records.change_user("alice", now, |user| user);
    assert_eq!(changed.await.unwrap().as_ref(), Some(&alice));
    let bytes = async |key: Key| store.get(&key, now).await.unwrap().unwrap();
    let written = bytes(Key::client(&client.id)).await;
    assert_eq!(serde_json::from_slice::<Client>(&written).unwrap(), client);
    assert!(String::from_utf8(written).unwrap().contains("\"format\":1"));
    let written = bytes(Key::grant(&grant.id)).await;
    assert_eq!(serde_json::from_slice::<Grant>(&written).unwrap(), grant);
    assert!(String::from_utf8(written).unwrap().contains("\"format\":1"));
    let written = bytes(Key::user("alice")).await;
    assert_eq!(serde_json::from_slice::<User>(&written).unwrap(), alice);
    let says = String::from_utf8(written).unwrap();
    assert!(says.contains("\"written_by\":\"gateway "), "{says}");
}
