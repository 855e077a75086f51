//! What scopes cover, what they ask for, and what a table changes for tokens that are older.

use super::*;

impl ScopeTable {
    /// One for backends of which none is several together.
    pub(crate) fn new<'a>(
        rules: &[ScopeRule],
        backends: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Vec<ScopeFault>> {
        Self::with_members(rules, backends.into_iter().map(|name| (name, &[][..])))
    }
}

const READ: Operation<'static> = Operation::Tool {
    name: "search",
    reads_only: true,
};
const WRITE: Operation<'static> = Operation::Tool {
    name: "create_note",
    reads_only: false,
};
const DEPLOY: Operation<'static> = Operation::Tool {
    name: "deploy",
    reads_only: false,
};
const RESOURCE: Operation<'static> = Operation::Method("resources/read");

fn named(name: &str, tools: &[&str], includes: &[&str]) -> ScopeRule {
    let patterns: Vec<_> = tools.iter().filter_map(|p| Pattern::parse(p)).collect();
    ScopeRule {
        tools: if patterns.is_empty() {
            ScopedTools::None
        } else {
            ScopedTools::Named(patterns)
        },
        includes: includes.iter().map(|name| (*name).to_owned()).collect(),
        ..ScopeRule::named(name, "…")
    }
}

/// `read` (the default), `write`, which includes it, `files` for resources; nothing for `deploy`.
fn scopes() -> Arc<Scopes> {
    let read = ScopeRule {
        tools: ScopedTools::ReadOnly,
        is_default: true,
        ..ScopeRule::named("read", "…")
    };
    let files = ScopeRule {
        methods: vec![Pattern::parse("resources/*").unwrap()],
        ..ScopeRule::named("files", "…")
    };
    let rules = [read, files, named("write", &["create_*"], &["read"])];
    let table = ScopeTable::new(&rules, ["notes"]).unwrap();
    Arc::clone(table.at("notes"))
}

fn needs(scopes: &Scopes, granted: &str, operation: Operation<'_>) -> String {
    match scopes.coverage(&Scope::parse(granted), operation) {
        Coverage::Covered => "covered".to_owned(),
        Coverage::Needs(scope) => scope.to_string(),
        Coverage::Never => "never".to_owned(),
    }
}

#[test]
fn a_pattern_means_the_names_that_it_says() {
    for (pattern, yes, no) in [
        ("search", &["search"][..], &["Search", "search2", ""][..]),
        ("get_*", &["get_", "get_note"], &["get", "forget_note"]),
        ("*_note", &["_note", "get_note"], &["get_note2"]),
        (
            "a*b*c",
            &["abc", "a1b2c", "abbcc"],
            &["ac", "acb", "ab", "bc"],
        ),
        ("ab*ba", &["abba", "ab-ba"], &["aba", "ab"]),
        ("a**b", &["ab", "axb"], &["a"]),
        ("*", &["", "x"], &[]),
    ] {
        let pattern = Pattern::parse(pattern).unwrap();
        for name in yes {
            assert!(pattern.matches(name), "{pattern:?} {name}");
        }
        for name in no {
            assert!(!pattern.matches(name), "{pattern:?} {name}");
        }
    }
    for none in ["", "a\n", &"x".repeat(129)] {
        assert_eq!(Pattern::parse(none), None);
    }
}

#[test]
fn without_a_table_mcp_is_all_there_is_and_covers_everything() {
    let scopes = Scopes::default();
    assert!(!scopes.are_configured());
    assert_eq!(scopes.supported().to_string(), "mcp");
    for requested in [
        None,
        Some(""),
        Some("mcp"),
        Some("openid mcp  email"),
        Some("admin"),
        Some("offline_access"),
    ] {
        let granted = scopes.grantable(requested, false).unwrap();
        assert_eq!(granted.to_string(), "mcp", "{requested:?}");
    }
    for operation in [READ, WRITE, DEPLOY, RESOURCE, Operation::Session] {
        assert_eq!(needs(&scopes, "mcp", operation), "covered");
        assert_eq!(needs(&scopes, "", operation), "mcp");
        assert_eq!(needs(&scopes, "MCP mcp2 read", operation), "mcp");
    }
}

#[test]
fn offline_access_is_granted_where_refresh_is() {
    let scopes = Scopes::default();
    for (requested, granted) in [
        ("offline_access", "mcp offline_access"),
        ("mcp offline_access", "mcp offline_access"),
        ("openid offline_access", "mcp offline_access"),
        ("mcp", "mcp"),
    ] {
        let scope = scopes.grantable(Some(requested), true).unwrap();
        assert_eq!(scope.to_string(), granted, "{requested}");
    }
    let malformed = scopes.grantable(Some("mcp\""), true);
    assert_eq!(malformed, Err(ScopeMalformed));
}

#[test]
fn whoever_connects_again_asks_for_what_it_has() {
    let scopes = scopes();
    for (held, asks) in [
        ("write files", "files write"),
        ("write gone", "write"),
        ("gone", "read"),
        ("", "read"),
    ] {
        let scope = scopes.to_ask_for(&Scope::parse(held));
        assert_eq!(scope.to_string(), asks, "{held}");
    }
}

#[test]
fn a_request_is_granted_the_known_part_of_what_it_asks_for_or_the_defaults() {
    let scopes = scopes();
    for (requested, granted) in [
        (None, "read"),
        (Some("openid"), "read"),
        (Some("write"), "write"),
        (Some("files read unknown"), "files read"),
        (Some("offline_access"), "offline_access read"),
        // A name of before is no longer one of the vocabulary.
        (Some("mcp"), "read"),
        (Some("mcp files"), "files"),
    ] {
        let scope = scopes.grantable(requested, true).unwrap();
        assert_eq!(scope.to_string(), granted, "{requested:?}");
    }
}

#[test]
fn where_no_scope_is_a_default_all_are() {
    let rules = [named("a", &["a"], &[]), named("b", &["b"], &[])];
    let table = ScopeTable::new(&rules, ["notes"]).unwrap();
    assert_eq!(table.at("notes").defaults().to_string(), "a b");
}

#[test]
fn a_challenge_names_what_is_needed_and_all_that_is_held() {
    let scopes = scopes();
    assert_eq!(needs(&scopes, "read", READ), "covered");
    assert_eq!(needs(&scopes, "write", READ), "covered");
    assert_eq!(needs(&scopes, "write", WRITE), "covered");
    assert_eq!(needs(&scopes, "read", WRITE), "read write");
    assert_eq!(needs(&scopes, "files", READ), "files read");
    assert_eq!(needs(&scopes, "read", RESOURCE), "files read");
    assert_eq!(needs(&scopes, "files", RESOURCE), "covered");
    assert_eq!(needs(&scopes, "read write", DEPLOY), "never");
    assert_eq!(
        needs(&scopes, "read", Operation::Method("tasks/get")),
        "never"
    );
    assert_eq!(needs(&scopes, "read", Operation::Method("")), "never");
    // What the configuration no longer knows gives nothing and is not asked for again.
    assert_eq!(needs(&scopes, "gone", READ), "read");
    assert_eq!(needs(&scopes, "gone", Operation::Session), "read");
    assert_eq!(needs(&scopes, "files", Operation::Session), "covered");
}

#[test]
fn of_several_scopes_the_one_that_covers_least_is_asked_for() {
    let read = ScopeRule {
        tools: ScopedTools::ReadOnly,
        ..ScopeRule::named("read", "…")
    };
    let rules = [
        read,
        named("any", &["*"], &[]),
        named("one", &["search"], &[]),
        named("above", &[], &["one"]),
        named("also", &["search"], &["one"]),
        ScopeRule::named("mcp", "…"),
    ];
    let table = ScopeTable::new(&rules, ["notes"]).unwrap();
    let scopes = table.at("notes");
    assert_eq!(needs(scopes, "", READ), "one");
    assert_eq!(
        needs(
            scopes,
            "",
            Operation::Tool {
                name: "other",
                reads_only: true
            }
        ),
        "read"
    );
    assert_eq!(needs(scopes, "", WRITE), "any");
    assert_eq!(needs(scopes, "read", RESOURCE), "mcp read");
    assert_eq!(needs(scopes, "above", READ), "covered");
}

#[test]
fn a_token_of_before_the_table_keeps_meaning_everything() {
    let scopes = scopes();
    for operation in [READ, WRITE, DEPLOY, RESOURCE, Operation::Session] {
        assert_eq!(needs(&scopes, "mcp", operation), "covered");
    }
    assert!(scopes.is_everything(&Scope::parse("mcp")));
    assert!(!scopes.is_everything(&Scope::parse("read write files")));
    let narrowed = |requested| scopes.narrowed(&Scope::parse("mcp offline_access"), requested);
    assert_eq!(narrowed(None).unwrap().to_string(), "mcp offline_access");
    assert_eq!(narrowed(Some("mcp")).unwrap().to_string(), "mcp");
    assert_eq!(narrowed(Some("read")).unwrap().to_string(), "read");
}

#[test]
fn a_scope_narrows_and_never_widens() {
    let scopes = scopes();
    for (granted, requested, narrowed) in [
        ("write offline_access", None, Ok("offline_access write")),
        ("write offline_access", Some(""), Ok("offline_access write")),
        ("write", Some("openid email"), Ok("write")),
        ("write", Some("offline_access"), Ok("write")),
        ("write", Some("write offline_access openid"), Ok("write")),
        (
            "write offline_access",
            Some("write offline_access"),
            Ok("offline_access write"),
        ),
        // Included in what was granted.
        ("write", Some("read"), Ok("read")),
        ("read", Some("write"), Err(NarrowError::Wider)),
        ("read write", Some("read files"), Err(NarrowError::Wider)),
        ("gone", Some("read"), Err(NarrowError::Wider)),
        ("gone", Some("gone"), Ok("gone")),
        (
            "read",
            Some("m\""),
            Err(NarrowError::Malformed(ScopeMalformed)),
        ),
    ] {
        let scope = scopes.narrowed(&Scope::parse(granted), requested);
        let scope = scope.map(|scope| scope.to_string());
        assert_eq!(
            scope,
            narrowed.map(str::to_owned),
            "{granted} {requested:?}"
        );
    }
    // Before there was a table.
    let scope = Scopes::default().narrowed(&Scope::parse("other"), Some("mcp"));
    assert_eq!(scope, Err(NarrowError::Wider));
}

#[test]
fn a_scope_is_for_the_backends_that_it_names() {
    let only = ScopeRule {
        backends: BTreeSet::from(["ops".to_owned()]),
        ..named("deploy", &["deploy"], &[])
    };
    let table = ScopeTable::new(std::slice::from_ref(&only), ["notes", "ops"]).unwrap();
    assert_eq!(table.at("ops").supported().to_string(), "deploy");
    assert_eq!(table.at("notes").supported().to_string(), "mcp");
    assert_eq!(table.supported().to_string(), "deploy mcp");
    let both = [only, named("read", &["search"], &[])];
    let table = ScopeTable::new(&both, ["notes", "ops"]).unwrap();
    assert_eq!(table.at("notes").supported().to_string(), "read");
    assert_eq!(needs(table.at("notes"), "read deploy", DEPLOY), "never");
    assert_eq!(table.at("ops").supported().to_string(), "deploy read");
    assert_eq!(table.supported().to_string(), "deploy read");
    assert_eq!(
        table.advertised(true).to_string(),
        "deploy offline_access read"
    );
}

#[test]
fn sets_have_in_common_what_either_names_and_both_come_to() {
    let scopes = scopes();
    for (one, other, common) in [
        ("read write files", "read", "read"),
        ("write", "read", "read"),
        ("read", "write", "read"),
        ("mcp", "write files", "files write"),
        ("files", "write", ""),
        ("read openid gone", "read openid gone", "read"),
        ("", "read", ""),
    ] {
        let (one, other) = (Scope::parse(one), Scope::parse(other));
        for both in [
            scopes.in_common(&one, &other),
            scopes.in_common(&other, &one),
        ] {
            assert_eq!(both.to_string(), common, "{one} {other}");
        }
    }
    let all = Scopes::default();
    let mcp = Scope::parse("mcp");
    assert_eq!(all.in_common(&mcp, &mcp), mcp);
}
