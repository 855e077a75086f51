//! What every store must do for indexes: they name what is there and nothing else, whatever happened to
//! it, and what was written without them is found before they count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::moments;
use super::records::{CODE, GRANT};
use crate::key::{Index, Key, Table};
use crate::records::{GrantsOf, Records};
use crate::store::{Inserted, Listing, Store};
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::authorization_code::AuthorizationCode;
use gateway_core::grants::{Grant, GrantId, UserId};
use gateway_core::secret::Secret;

pub(super) async fn all<F: Future<Output = Arc<dyn Store>>>(open: &impl Fn() -> F) {
    an_index_names_what_is_there(open().await.as_ref()).await;
    an_index_comes_in_pages(open().await.as_ref()).await;
    lists_from_indexes_agree_with_the_tables(&open().await).await;
    what_was_written_without_an_index_is_found(&open().await).await;
    a_record_that_may_be_anybodys_keeps_lists_at_the_tables(&open().await).await;
}

const TABLE: Table = Table::Grant;

fn index(name: &str) -> Index {
    Index::new(TABLE, name)
}

fn key(name: &str, indexes: &[&str]) -> Key {
    let indexes = indexes.iter().map(|name| index(name));
    Key::in_table(TABLE, name).indexed(indexes)
}

async fn named(store: &dyn Store, name: &str, now: Timestamp) -> Vec<String> {
    let found = store.list(Listing::by(&index(name), None, 1000), now).await;
    found.unwrap().into_iter().map(|(key, _)| key).collect()
}

async fn an_index_names_what_is_there(store: &dyn Store) {
    let at = moments();
    let now = at(0);
    let both = ["user:a", "client:\u{fc}\"\n/x"];
    let until = |seconds| Some(at(seconds));
    store.put(&key("1", &both), b"1", until(10)).await.unwrap();
    store.put(&key("2", &both), b"2", until(20)).await.unwrap();
    store.put(&key("3", &["user:b"]), b"3", None).await.unwrap();
    for name in both {
        assert_eq!(named(store, name, now).await, ["1", "2"], "{name}");
    }
    let found = store
        .list(Listing::by(&index("user:b"), None, 9), now)
        .await;
    assert_eq!(found.unwrap(), [("3".to_owned(), b"3".to_vec())]);
    assert!(named(store, "user:nobody", now).await.is_empty());
    // Of another table.
    let of_codes = Index::new(Table::Code, "user:a");
    let found = store
        .list(Listing::by(&of_codes, None, 9), now)
        .await
        .unwrap();
    assert!(found.is_empty());

    // A write without indexes leaves it where it is, one with others moves it.
    let replaced = store
        .replace(&key("1", &[]), b"1", b"one", until(10), now)
        .await;
    replaced.unwrap();
    assert_eq!(named(store, "user:a", now).await, ["1", "2"]);
    let moved = key("1", &["user:b"]);
    let replaced = store.replace(&moved, b"one", b"1", until(10), now).await;
    replaced.unwrap();
    assert_eq!(named(store, "user:a", now).await, ["2"]);
    assert_eq!(named(store, "user:b", now).await, ["1", "3"]);
    store.put(&key("1", &[]), b"1", until(10)).await.unwrap();
    assert_eq!(named(store, "user:b", now).await, ["3"]);
    let other = key("2", &["user:c"]);
    let refused = store.replace(&other, b"no", b"", None, now).await;
    refused.unwrap_err();
    let present = store.insert(&other, b"x", None, now).await;
    assert_eq!(present.unwrap(), Inserted::Exists(b"2".to_vec()));
    assert!(named(store, "user:c", now).await.is_empty());

    // It can be entered later, once, and only if it is there.
    let keys = [key("1", &both), key("2", &both), key("missing", &both)];
    assert_eq!(store.enter(&keys).await.unwrap(), 1);
    assert_eq!(store.enter(&keys).await.unwrap(), 0);
    assert_eq!(named(store, "user:a", now).await, ["1", "2"]);
    assert_eq!(store.get(&keys[0], now).await.unwrap(), Some(b"1".to_vec()));

    // Past its time it is not named, swept or not; in its stead something else may stand.
    assert_eq!(named(store, "user:a", at(10)).await, ["2"]);
    let other = key("1", &["user:c"]);
    let inserted = store.insert(&other, b"1", until(40), at(10)).await;
    assert_eq!(inserted.unwrap(), Inserted::New);
    assert_eq!(named(store, both[1], at(10)).await, ["2"]);
    assert_eq!(named(store, "user:c", at(10)).await, ["1"]);
    store.extend(&key("2", &[]), at(30), at(10)).await.unwrap();
    store.sweep(at(20)).await.unwrap();
    assert_eq!(named(store, "user:a", at(20)).await, ["2"]);
    store.sweep(at(30)).await.unwrap();
    // Nothing of it is left, for whatever clock.
    assert!(named(store, "user:a", now).await.is_empty());
    assert!(store.remove(&key("3", &[])).await.unwrap());
    assert!(named(store, "user:b", now).await.is_empty());
    store.put(&key("3", &[]), b"3", None).await.unwrap();
    assert!(named(store, "user:b", now).await.is_empty());
    let sizes = store.sizes().await.unwrap();
    let size = Table::ALL.into_iter().zip(sizes.tables);
    let of_grants: Vec<usize> = size
        .filter(|(table, _)| *table == TABLE)
        .map(|(_, size)| size)
        .collect();
    assert_eq!(of_grants, [2]);
}

async fn an_index_comes_in_pages(store: &dyn Store) {
    let at = moments();
    // Beside others, whose names begin alike.
    for number in (0..250).rev() {
        let expires = (number % 5 == 0).then(|| at(5));
        let name = format!("k{number:03}");
        for of in ["user:a", "user:ab", "user:"] {
            let name = format!("{name}/{of}");
            let key = key(&name, &[of]);
            store.put(&key, name.as_bytes(), expires).await.unwrap();
        }
    }
    let expected: Vec<String> = (0..250)
        .filter(|number| number % 5 != 0)
        .map(|number| format!("k{number:03}/user:a"))
        .collect();
    for size in [1, 7, 100, 200, 201] {
        let mut seen = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = store
                .list(Listing::by(&index("user:a"), after.as_deref(), size), at(5))
                .await
                .unwrap();
            assert!(page.len() <= size);
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            assert!(page.iter().all(|(key, value)| key.as_bytes() == value));
            seen.extend(page.into_iter().map(|(key, _)| key));
        }
        assert_eq!(seen, expected, "{size}");
    }
}

fn grant(id: &str, owners: (usize, usize), ends: Timestamp) -> Grant {
    Grant {
        id: GrantId::new(id),
        user: UserId::new(format!("u_{}", owners.0)),
        client: ClientId::new(format!("c_{}", owners.1)),
        created: ends,
        redeemed: None,
        expires: ends,
        refresh: None,
        ..serde_json::from_str(GRANT).unwrap()
    }
}

fn code(id: &str, owners: (usize, usize), ends: Timestamp) -> AuthorizationCode {
    AuthorizationCode {
        grant: GrantId::new(id),
        user: UserId::new(format!("u_{}", owners.0)),
        client: ClientId::new(format!("c_{}", owners.1)),
        expires: ends,
        ..serde_json::from_str(CODE).unwrap()
    }
}

/// Lets time pass until lists are read from indexes, as from `from` on; the time that it is then.
async fn indexed(records: &Records, from: Timestamp) -> Timestamp {
    let mut now = from;
    for _ in 0..20 {
        if records.index_now(now).await.is_some() {
            return now;
        }
        assert!(!records.has_complete_indexes(now).await.unwrap());
        now = now + Duration::from_secs(300);
    }
    panic!("no walk is ever due");
}

/// Lists of users, of clients and of both are as the whole list is, cut to them.
async fn assert_lists_agree(records: &Records, owners: usize, now: Timestamp) {
    let everything = GrantsOf::default();
    let all = records.all_grants(everything, now).await.unwrap().entries;
    let live = records.grants(everything, None, usize::MAX - 1, now);
    let live = live.await.unwrap().entries;
    let codes = records.open_codes(everything, now).await.unwrap().entries;
    let users: Vec<_> = (0..owners).map(|n| UserId::new(format!("u_{n}"))).collect();
    let clients: Vec<_> = (0..owners)
        .map(|n| ClientId::new(format!("c_{n}")))
        .collect();
    let nobody = [None];
    let users = users.iter().map(Some).chain(nobody);
    for user in users {
        for client in clients.iter().map(Some).chain([None]) {
            let of = GrantsOf { user, client };
            let is_of = |of_user: &UserId, of_client: &ClientId| {
                user.is_none_or(|user| user == of_user)
                    && client.is_none_or(|client| client == of_client)
            };
            let ids = |grants: &[Grant]| {
                let grants = grants.iter().filter(|it| is_of(&it.user, &it.client));
                grants.map(|it| it.id.clone()).collect::<Vec<_>>()
            };
            let found = records.all_grants(of, now).await.unwrap().entries;
            assert_eq!(ids(&found).len(), found.len());
            assert_eq!(ids(&found), ids(&all), "{of:?}");
            let mut paged = Vec::new();
            let mut after = None;
            loop {
                let page = records.grants(of, after.as_deref(), 3, now).await.unwrap();
                paged.extend(page.entries);
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            assert_eq!(ids(&paged).len(), paged.len());
            assert_eq!(ids(&paged), ids(&live), "{of:?}");
            let found = records.open_codes(of, now).await.unwrap().entries;
            let mut found: Vec<_> = found.iter().map(|code| &code.grant).collect();
            let expected = codes.iter().filter(|code| is_of(&code.user, &code.client));
            let mut expected: Vec<_> = expected.map(|code| &code.grant).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{of:?}");
        }
    }
}

/// After any operations in any order.
async fn lists_from_indexes_agree_with_the_tables(store: &Arc<dyn Store>) {
    const OWNERS: usize = 4;
    let records = Records::new(Arc::clone(store));
    let mut now = indexed(&records, moments()(0)).await;
    assert!(records.has_complete_indexes(now).await.unwrap());
    let mut random = StdRng::seed_from_u64(7);
    let mut owners_of: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for step in 0..600 {
        let id = format!("g_{:03}", random.gen_range(0..60));
        let pair = (random.gen_range(0..OWNERS), random.gen_range(0..OWNERS));
        let owners = *owners_of.entry(id.clone()).or_insert(pair);
        let ends = now + Duration::from_secs(random.gen_range(0..600));
        let grant = grant(&id, owners, ends);
        match random.gen_range(0..9) {
            0 | 1 => records.put_grant(&grant).await.unwrap(),
            2 => drop(records.add_grant(&grant, now).await.unwrap()),
            3 => {
                if let Some(kept) = records.kept_grant(&grant.id, now).await.unwrap() {
                    records.replace_grant(&kept, &grant, now).await.unwrap();
                }
            }
            4 => records.revoke_grant(&grant.id, now, now).await.unwrap(),
            5 => {
                let hash = Secret::presented(format!("{step}")).hash();
                let code = code(&id, owners, ends);
                let until = ends + Duration::from_secs(300);
                records.add_code(&hash, &code, until, now).await.unwrap();
                if step % 2 == 0 {
                    records.take_code(&hash, now).await.unwrap();
                }
            }
            6 => store.sweep(now).await.unwrap(),
            7 => now = now + Duration::from_secs(random.gen_range(0..60)),
            _ => drop(records.index_now(now).await),
        }
        if step % 30 == 0 {
            assert!(records.has_complete_indexes(now).await.unwrap(), "{step}");
            assert_lists_agree(&records, OWNERS, now).await;
        }
    }
    assert_lists_agree(&records, OWNERS, now).await;
    // Nothing is left in an index of what has ended.
    now = now + Duration::from_secs(3600);
    store.sweep(now).await.unwrap();
    for owner in 0..OWNERS {
        for table in [Table::Grant, Table::Code] {
            for of in ["user:u", "client:c"] {
                let index = Index::new(table, format!("{of}_{owner}"));
                let found = store.list(Listing::by(&index, None, 9), Timestamp::from_secs(1));
                assert_eq!(found.await.unwrap(), [], "{index:?}");
            }
        }
    }
}

/// As a version writes it that knows no indexes.
async fn put_without(store: &dyn Store, grant: &Grant) {
    let value = serde_json::to_vec(grant).unwrap();
    let until = Some(grant.expires + Duration::from_secs(600));
    store
        .put(&Key::grant(&grant.id), &value, until)
        .await
        .unwrap();
}

async fn what_was_written_without_an_index_is_found(store: &Arc<dyn Store>) {
    let records = Records::new(Arc::clone(store));
    let begin = moments()(0);
    let ends = begin + Duration::from_secs(7 * 86_400);
    // More than one step of a walk.
    for number in 0..1100 {
        let grant = grant(&format!("g_{number:04}"), (number % 3, number % 2), ends);
        put_without(store.as_ref(), &grant).await;
    }
    let alice = UserId::new("u_0");
    let hers = GrantsOf {
        user: Some(&alice),
        client: None,
    };
    let count = async |now| records.all_grants(hers, now).await.unwrap().entries.len();
    assert_eq!(count(begin).await, 367, "the table is read");
    // A walk that is cut short says nothing, and the next begins anew.
    if !store.is_shared() {
        let cut = Records::new(Arc::clone(store));
        let mut walk = cut.begin_index_walk(begin).await.unwrap().unwrap();
        assert!(cut.walk_on(&mut walk, begin).await.unwrap());
        assert_eq!(walk.entered, 200);
        assert!(!cut.has_complete_indexes(begin).await.unwrap());
    }
    let now = indexed(&records, begin).await;
    assert!(records.has_complete_indexes(now).await.unwrap());
    assert_eq!(count(now).await, 367);
    assert_lists_agree(&records, 3, now).await;
    assert!(records.index_now(now).await.is_none(), "once is enough");

    // One more such writer: seen again with the next refresh, or the next walk.
    let [refreshed, waiting] = ["g_late0", "g_late1"].map(|id| grant(id, (0, 0), ends));
    for late in [&refreshed, &waiting] {
        put_without(store.as_ref(), late).await;
    }
    let kept = records.kept_grant(&refreshed.id, now).await.unwrap();
    let kept = kept.unwrap();
    records.replace_grant(&kept, &refreshed, now).await.unwrap();
    assert_eq!(count(now).await, 368);
    let mut later = now;
    while later.since(now) < Duration::from_secs(86_400) {
        later = later + Duration::from_secs(300);
        let walk = records.index_now(later).await;
        let is_due = later.since(now) >= Duration::from_secs(86_400);
        assert_eq!(walk.map(|walk| walk.entered), is_due.then_some(1));
    }
    assert_eq!(count(later).await, 369);

    // After a time without a gateway of this version everything may have happened.
    let mut after = later + Duration::from_secs(3600);
    let records = Records::new(Arc::clone(store));
    assert!(!records.has_complete_indexes(after).await.unwrap());
    put_without(store.as_ref(), &grant("g_late2", (0, 0), ends)).await;
    let found = records.all_grants(hers, after).await.unwrap().entries;
    assert_eq!(found.len(), 370);
    after = indexed(&records, after).await;
    let found = records.all_grants(hers, after).await.unwrap().entries;
    assert_eq!(found.len(), 370);
    // A shared store's mark counts for every replica.
    let other = Records::new(Arc::clone(store));
    let counts = other.has_complete_indexes(after).await.unwrap();
    assert_eq!(counts, store.is_shared());
}

async fn a_record_that_may_be_anybodys_keeps_lists_at_the_tables(store: &Arc<dyn Store>) {
    let records = Records::new(Arc::clone(store));
    let begin = moments()(0);
    let ends = begin + Duration::from_secs(7 * 86_400);
    let key = Key::grant(&GrantId::new("g_damaged"));
    store.put(&key, b"{\"id\":", Some(ends)).await.unwrap();
    records
        .put_grant(&grant("g_1", (1, 1), ends))
        .await
        .unwrap();
    let mut now = indexed(&records, begin).await;
    assert!(!records.has_complete_indexes(now).await.unwrap());
    let user = UserId::new("u_1");
    let of = GrantsOf {
        user: Some(&user),
        client: None,
    };
    let found = records.all_grants(of, now).await.unwrap();
    assert_eq!(found.entries.len(), 1);
    assert!(found.unreadable.is_some(), "it may be hers");

    store.remove(&key).await.unwrap();
    let walked = now;
    while records.index_now(now).await.is_none() {
        now = now + Duration::from_secs(300);
        assert!(now.since(walked) <= Duration::from_secs(3600));
    }
    assert!(records.has_complete_indexes(now).await.unwrap());
    let found = records.all_grants(of, now).await.unwrap();
    assert_eq!((found.entries.len(), found.unreadable), (1, None));
    // One that says whose it is and is damaged otherwise is told to those whose it is.
    let damaged = Key::grant(&GrantId::new("g_1"));
    let found = store.get(&damaged, now).await.unwrap().unwrap();
    let text = String::from_utf8(found.clone()).unwrap();
    let text = text.replace("\"scope\":[\"mcp\"]", "\"scope\":7");
    let replaced = store.replace(&damaged, &found, text.as_bytes(), Some(ends), now);
    replaced.await.unwrap();
    let of_user = records.all_grants(of, now).await.unwrap();
    assert!(of_user.unreadable.is_some());
}
