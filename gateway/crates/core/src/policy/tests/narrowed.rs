//! Tokens that were narrowed.

use super::*;

#[test]
fn a_token_that_was_narrowed_elsewhere_or_to_an_earlier_end_does_not_count() {
    let confirm = |blocks: &[&str], now| {
        AccessToken::confirm(narrowed(blocks), at(&resource()), GOOD, now).err()
    };
    let invalid = |reason| Some(TokenRejection::Invalid(reason));
    assert_eq!(confirm(&["check if backend(\"notes\")"], ISSUED), None);
    assert_eq!(
        confirm(&["check if backend(\"files\")"], ISSUED),
        invalid(Reason::TokenWrongAudience)
    );
    // 15_000 seconds after the epoch.
    let early = ["check if time($t), $t < 1970-01-01T04:10:00Z"];
    let end = Timestamp::from_secs(15_000);
    assert_eq!(confirm(&early, end - Duration::from_millis(1)), None);
    assert_eq!(confirm(&early, end), invalid(Reason::TokenExpired));
}

#[test]
fn a_token_narrowed_in_its_operations_can_use_no_method_of_unknown_effect() {
    let tools = || confirmed(narrowed(&["check if tool(\"search\")"]));
    let reads = || confirmed(narrowed(&["check if read_only(true)"]));
    let place = || confirmed(narrowed(&["check if backend(\"notes\")"]));
    for method in [
        "initialize",
        "ping",
        "tools/list",
        "notifications/cancelled",
    ] {
        for token in [tools(), reads(), place()] {
            assert!(decide(token, vec![call(method, None)]).is_ok(), "{method}");
        }
    }
    for method in ["resources/read", "prompts/get", "completion/complete"] {
        let refused = decide(tools(), vec![call(method, Some("x"))]).err();
        assert_eq!(
            refused,
            Some(Refusal::Narrowed(FailedCheck("method"))),
            "{method}"
        );
        assert!(decide(reads(), vec![call(method, Some("x"))]).is_ok());
        assert!(decide(place(), vec![call(method, Some("x"))]).is_ok());
    }
    for method in [
        "",
        "tasks/result",
        "subscriptions/listen",
        "tools/call_many",
    ] {
        let asked = Call {
            carries_result: true,
            ..call(method, None)
        };
        for token in [tools(), reads()] {
            assert!(decide(token, vec![asked.clone()]).is_err(), "{method}");
        }
    }
}

#[test]
fn what_a_subscription_names_must_be_covered_in_the_words_of_every_revision() {
    let rule = |name: &str, method: &str| ScopeRule {
        methods: vec![Pattern::parse(method).unwrap()],
        ..ScopeRule::named(name, name)
    };
    let rules = [
        rule("listen", "subscriptions/listen"),
        rule("subscribe", "resources/subscribe"),
        rule("prompt", "prompts/get"),
    ];
    let table = ScopeTable::new(&rules, ["notes"]).unwrap();
    let resource = resource();
    let audience = Audience {
        scopes: table.at("notes"),
        ..at(&resource)
    };
    let decided = |scope: &str, resources: &[&str]| {
        let token = verified(scope, Tools::All);
        let token = AccessToken::confirm(token, audience, GOOD, ISSUED).unwrap();
        let listen = Call {
            resources: resources.iter().map(|&uri| uri.to_owned()).collect(),
            ..Call::named("subscriptions/listen")
        };
        decide(token, vec![listen]).map(|_| ())
    };
    assert_eq!(decided("listen", &[]), Ok(()));
    // One challenge names all that it needs.
    let needed = Err(Refusal::Scope(Scope::parse("listen subscribe")));
    assert_eq!(decided("listen", &["file:///a"]), needed);
    assert_eq!(decided("subscribe", &["file:///a"]), needed);
    let needed = Err(Refusal::Scope(Scope::parse("listen prompt subscribe")));
    assert_eq!(decided("prompt", &["file:///a"]), needed);
    assert_eq!(decided("listen subscribe", &["file:///a"]), Ok(()));
}
