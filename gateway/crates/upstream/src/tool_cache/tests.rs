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

const A: &str = r#"{"name":"a","description":"x"}"#;
const CHANGED: &str = r#"{"name":"a","description":"y"}"#;

#[tokio::test(start_paused = true)]
async fn what_is_known_ages_and_is_forgotten() {
    let known = Arc::new(ToolCache::default());
    assert_eq!(known.state("notes", "alice", "a"), CachedState::Nothing);
    known.learn("notes", Some("alice"), None, listing(&[A]));
    let defined = ToolState::Defined(tool(A).pin);
    assert_eq!(
        known.state("notes", "alice", "a"),
        CachedState::Fresh(defined)
    );
    assert_eq!(
        known.state("notes", "alice", "b"),
        CachedState::Fresh(ToolState::Gone)
    );
    assert_eq!(known.state("notes", "bob", "a"), CachedState::Nothing);
    assert_eq!(known.state("files", "alice", "a"), CachedState::Nothing);
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(
        known.state("notes", "alice", "a"),
        CachedState::Ageing(defined)
    );
    assert!(known.begin_refresh("notes", "alice"));
    assert!(!known.begin_refresh("notes", "alice"));
    tokio::time::advance(Duration::from_secs(90)).await;
    assert_eq!(known.state("notes", "alice", "a"), CachedState::Nothing);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_passes_by_counts_from_then_on() {
    let known = Arc::new(ToolCache::default());
    known.learn("notes", Some("alice"), None, listing(&[A]));
    tokio::time::advance(Duration::from_secs(1)).await;
    let changed = tool(CHANGED).pin;
    known.record("notes", ("alice", None), [("a", changed)]);
    assert_eq!(
        known.state("notes", "alice", "a"),
        CachedState::Fresh(ToolState::Defined(changed))
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    known.learn("notes", Some("alice"), None, listing(&[A]));
    assert_eq!(
        known.state("notes", "alice", "a"),
        CachedState::Fresh(ToolState::Defined(tool(A).pin))
    );
    known.invalidate("notes");
    assert_eq!(known.state("notes", "alice", "a"), CachedState::Nothing);
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
    let state = || known.state("notes", "alice", "a");
    known.learn("notes", Some("alice"), Some(&first), listing(&[A]));
    let defined = ToolState::Defined(tool(A).pin);
    assert_eq!(state(), CachedState::Fresh(defined));
    tokio::time::advance(Duration::from_secs(1)).await;
    let changed = tool(CHANGED).pin;
    for other in [None, Some(second.id())] {
        known.record("notes", ("alice", other), [("a", changed)]);
        assert_eq!(state(), CachedState::Fresh(defined), "{other:?}");
    }
    known.record("notes", ("alice", Some(first.id())), [("a", changed)]);
    let seen = ToolState::Defined(changed);
    assert_eq!(state(), CachedState::Fresh(seen));
    known.learn("notes", Some("bob"), Some(&second), listing(&[A]));
    first.end();
    assert_eq!(state(), CachedState::Nothing);
    assert!(known.listing("notes", Some("alice"), AGEING).is_none());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(known.persons.lock()["notes"].len(), 1);
    assert_eq!(known.followed.lock().len(), 1);
    assert!(known.listing("notes", Some("bob"), AGEING).is_some());
    // Whoever held it last ends it, too.
    drop(second);
    assert!(known.listing("notes", Some("bob"), AGEING).is_none());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(known.persons.lock()["notes"].is_empty());
    assert!(known.followed.lock().is_empty());
}

#[test]
fn a_shorter_form_counts_if_the_whole_one_is_pinned() {
    let known = Arc::new(ToolCache::default());
    let short = tool(r#"{"name":"a"}"#).definition;
    let is_part =
        |definition: &Definition, pin| known.is_part_of_pinned("notes", "alice", definition, pin);
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
