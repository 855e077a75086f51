//! What is remembered, of whom, and how long.

use super::*;
use crate::tool::Tool;
use gateway_core::grants::PinKey;
use gateway_core::secret::TagKey;

fn tool(json: &str) -> Tool {
    let pins = PinKey::new(&TagKey::new([1; 32]));
    Tool::read(json, &pins).unwrap()
}

fn listing(tools: &[&str]) -> Arc<ToolListing> {
    Arc::new(ToolListing {
        tools: tools.iter().map(|json| tool(json)).collect(),
        ..ToolListing::default()
    })
}

const fn without(user: &str) -> Caller<'_> {
    let account = None;
    Caller { user, account }
}

fn with<'a>(user: &'a str, account: &'a Account) -> Caller<'a> {
    let account = Some(account.id());
    Caller { user, account }
}

const ALICE: Caller<'static> = without("alice");

const A: &str = r#"{"name":"a","description":"x"}"#;
const CHANGED: &str = r#"{"name":"a","description":"y"}"#;

#[tokio::test(start_paused = true)]
async fn what_is_known_ages_and_is_forgotten() {
    let known = Arc::new(ToolCache::default());
    assert_eq!(known.state("notes", ALICE, "a"), CachedState::Nothing);
    known.learn("notes", Some("alice"), None, listing(&[A]));
    let defined = ToolState::Defined(tool(A).pin);
    assert_eq!(
        known.state("notes", ALICE, "a"),
        CachedState::Fresh(defined)
    );
    assert_eq!(
        known.state("notes", ALICE, "b"),
        CachedState::Fresh(ToolState::Gone)
    );
    assert_eq!(
        known.state("notes", without("bob"), "a"),
        CachedState::Nothing
    );
    assert_eq!(known.state("files", ALICE, "a"), CachedState::Nothing);
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(
        known.state("notes", ALICE, "a"),
        CachedState::Ageing(defined)
    );
    assert!(known.begin_refresh("notes", "alice"));
    assert!(!known.begin_refresh("notes", "alice"));
    tokio::time::advance(Duration::from_secs(90)).await;
    assert_eq!(known.state("notes", ALICE, "a"), CachedState::Nothing);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_passes_by_counts_from_then_on() {
    let known = Arc::new(ToolCache::default());
    known.learn("notes", Some("alice"), None, listing(&[A]));
    tokio::time::advance(Duration::from_secs(1)).await;
    let changed = tool(CHANGED).pin;
    known.record("notes", ALICE, [("a", changed)]);
    assert_eq!(
        known.state("notes", ALICE, "a"),
        CachedState::Fresh(ToolState::Defined(changed))
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    known.learn("notes", Some("alice"), None, listing(&[A]));
    assert_eq!(
        known.state("notes", ALICE, "a"),
        CachedState::Fresh(ToolState::Defined(tool(A).pin))
    );
    known.invalidate("notes");
    assert_eq!(known.state("notes", ALICE, "a"), CachedState::Nothing);
}

fn account(id: &str) -> Arc<Account> {
    let value = http::HeaderValue::from_static("Bearer x");
    Arc::new(Account::new(AccountId::new(id), value))
}

/// What one account was shown is nothing once another is connected, and forgotten with the first.
#[tokio::test(start_paused = true)]
async fn what_an_account_was_shown_ends_with_it() {
    let known = Arc::new(ToolCache::default());
    let (first, second) = (account("a_1"), account("a_2"));
    let state = |account: &Account| known.state("notes", with("alice", account), "a");
    let listing_of = |caller: Caller<'_>| known.listing("notes", Some(caller), AGEING);
    known.learn("notes", Some("alice"), Some(&first), listing(&[A]));
    let defined = ToolState::Defined(tool(A).pin);
    assert_eq!(state(&first), CachedState::Fresh(defined));
    tokio::time::advance(Duration::from_secs(1)).await;
    let changed = tool(CHANGED).pin;
    for other in [ALICE, with("alice", &second)] {
        known.record("notes", other, [("a", changed)]);
        assert_eq!(state(&first), CachedState::Fresh(defined), "{other:?}");
    }
    known.record("notes", with("alice", &first), [("a", changed)]);
    let seen = ToolState::Defined(changed);
    assert_eq!(state(&first), CachedState::Fresh(seen));
    known.learn("notes", Some("bob"), Some(&second), listing(&[A]));
    first.end();
    assert_eq!(state(&first), CachedState::Nothing);
    assert!(listing_of(with("alice", &first)).is_none());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(known.persons.lock()["notes"].len(), 1);
    assert_eq!(known.followed.lock().len(), 1);
    assert!(listing_of(with("bob", &second)).is_some());
    // Whoever held it last ends it, too.
    let id = second.id().clone();
    drop(second);
    let account = Some(&id);
    let gone = Caller {
        user: "bob",
        account,
    };
    assert!(listing_of(gone).is_none());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(known.persons.lock()["notes"].is_empty());
    assert!(known.followed.lock().is_empty());
}

/// A list that nobody in particular was shown is none of an account that is connected since, and that
/// of an account is not its successor's, nor whose person calls without one.
#[tokio::test]
async fn what_was_shown_counts_for_the_same_account_alone() {
    let twice = || {
        Arc::new(ToolListing {
            tools: vec![tool(A)],
            doubled: ["a".to_owned()].into(),
            ..ToolListing::default()
        })
    };
    let known = Arc::new(ToolCache::default());
    let (first, second) = (account("a_1"), account("a_2"));
    let callers = [ALICE, with("alice", &first), with("alice", &second)];
    let definition = tool(A).definition;
    for (at, shown_to) in [None, Some(&first), Some(&second)].into_iter().enumerate() {
        known.learn("notes", Some("alice"), shown_to, twice());
        for (asks, caller) in callers.into_iter().enumerate() {
            let is_theirs = asks == at;
            let state = known.state("notes", caller, "a");
            assert_eq!(state != CachedState::Nothing, is_theirs, "{caller:?}");
            let listing = known.listing("notes", Some(caller), AGEING);
            assert_eq!(listing.is_some(), is_theirs, "{caller:?}");
            assert_eq!(known.doubled("notes", caller).is_some(), is_theirs);
            let pin = tool(A).pin;
            let part = known.is_part_of_pinned("notes", caller, &definition, pin);
            assert_eq!(part.is_some(), is_theirs, "{caller:?}");
        }
        assert!(known.last("notes", Some("alice"), AGEING).is_some());
    }
}

#[test]
fn a_shorter_form_counts_if_the_whole_one_is_pinned() {
    let known = Arc::new(ToolCache::default());
    let short = tool(r#"{"name":"a"}"#).definition;
    let is_part =
        |definition: &Definition, pin| known.is_part_of_pinned("notes", ALICE, definition, pin);
    assert_eq!(is_part(&short, tool(A).pin), None);
    known.learn("notes", Some("alice"), None, listing(&[A]));
    assert_eq!(is_part(&short, tool(A).pin), Some(true));
    assert_eq!(is_part(&short, tool(CHANGED).pin), Some(false));
    assert_eq!(is_part(&tool(CHANGED).definition, tool(A).pin), Some(false));
    assert_eq!(
        is_part(&tool(r#"{"name":"b"}"#).definition, tool(A).pin),
        Some(false)
    );
}
