//! What a statement may ask about arguments.

use super::*;

#[test]
fn arguments_have_their_types() {
    let rules = rules(
        "allow if tool(\"number\"), argument(\"n\", 5);\nallow if tool(\"text\"), argument(\"n\", \"5\");\nallow if tool(\"bool\"), argument(\"n\", true);\n\
         allow if tool(\"null\"), argument(\"n\", null);\nallow if tool(\"deep\"), argument(\"a.b[1]\", 5);\nallow if tool(\"most\"), argument(\"n\", $n), $n <= 5;",
    );
    for (tool, arguments) in [
        ("number", r#"{"n":5}"#),
        ("number", r#"{"n":5.0}"#),
        ("number", r#"{"n":0.5e1}"#),
        ("text", r#"{"n":"5"}"#),
        ("text", r#"{"n":"\u0035"}"#),
        ("bool", r#"{"n":true}"#),
        ("null", r#"{"n":null}"#),
        ("deep", r#"{"a":{"b":[1,5]}}"#),
        ("most", r#"{"n":-7}"#),
    ] {
        assert!(allows(&rules, tool, arguments), "{tool} {arguments}");
    }
    for (tool, arguments) in [
        ("number", r#"{"n":"5"}"#),
        ("number", r#"{"n":[5]}"#),
        ("number", r#"{"n":{"n":5}}"#),
        ("number", r#"{"n":true}"#),
        ("number", r#"{"n":5.5}"#),
        ("number", r#"{"a":{"n":5}}"#),
        ("number", r#"{"N":5}"#),
        ("number", r#"{"n":5,"N":9}"#),
        ("number", r#"{"n":5,"a":1,"\u004e":9}"#),
        ("number", "{}"),
        ("number", "null"),
        ("text", r#"{"n":5}"#),
        ("text", r#"{"n":"５"}"#),
        ("bool", r#"{"n":"true"}"#),
        ("bool", r#"{"n":1}"#),
        ("null", r#"{"n":"null"}"#),
        ("null", "{}"),
        ("deep", r#"{"a.b[1]":5}"#),
        ("deep", r#"{"a":{"b":{"1":5}}}"#),
        ("most", r#"{"n":6}"#),
        ("most", r#"{"n":"4"}"#),
        ("most", r#"{"n":4.5}"#),
        ("most", r#"{"n":18446744073709551615}"#),
        ("most", r#"{"n":[4]}"#),
        ("most", r#"{"n":null}"#),
    ] {
        assert!(!allows(&rules, tool, arguments), "{tool} {arguments}");
    }
}

#[test]
fn a_value_of_another_kind_is_no_way_around_a_deny() {
    let rules = rules("deny if argument(\"n\", $n), $n > 5;\nallow if true;");
    assert!(allows(&rules, "a", r#"{"n":5}"#));
    assert!(allows(&rules, "a", "{}"));
    let denied = ruled(&rules, "a", SILENT, r#"{"n":6}"#);
    assert_eq!(denied.effect, Effect::Denied);
    for arguments in [
        r#"{"n":"6"}"#,
        r#"{"n":6.5}"#,
        r#"{"n":[6]}"#,
        r#"{"n":{}}"#,
        r#"{"n":null}"#,
        r#"{"n":1e300}"#,
    ] {
        let decision = ruled(&rules, "a", SILENT, arguments);
        assert!(
            matches!(decision.effect, Effect::Failed(Failure::Evaluation(_))),
            "{arguments}: {decision:?}"
        );
    }
    let decision = ruled(&rules, "a", SILENT, r#"{"n":"6"}"#);
    assert_eq!(decision.place().map(Statement::line), Some(1));
    for arguments in [r#"{"N":6}"#, r#"{"n":1,"N":6}"#] {
        let decision = ruled(&rules, "a", SILENT, arguments);
        assert_eq!(
            decision.effect,
            Effect::Failed(Failure::Arguments),
            "{arguments}"
        );
    }
}

#[test]
fn more_arguments_than_are_kept_are_refused_where_arguments_are_asked_about() {
    let many: Vec<String> = (0..600).map(|n| format!("\"a{n}\":1")).collect();
    let many = format!("{{{}}}", many.join(","));
    let asks = rules("deny if argument(\"n\", 6);\nallow if true;");
    assert_eq!(
        ruled(&asks, "a", SILENT, &many).effect,
        Effect::Failed(Failure::Arguments)
    );
    assert!(allows(&rules("allow if true;"), "a", &many));
    // Nobody kept them: not to know is no reason to allow.
    let decision = asks.judge(&around(), &RequestedAction::tool("a", SILENT, None));
    assert_eq!(decision.effect, Effect::Failed(Failure::Arguments));
}

/// Read as the edge reads it: with what the policy asks for, and nothing else.
fn read_for(rules: &Rules, arguments: &str) -> Decision {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","arguments":{arguments}}}}}"#
    );
    let mut body = judge_and_keep(&body.to_owned().into(), false, rules.keep()).unwrap();
    let call = Call::from_message(&mut body.messages_mut()[0]);
    rules.judge(&around(), &RequestedAction::from_call(&call, SILENT))
}

#[test]
fn what_nobody_asks_about_may_be_large() {
    let rules = rules(
        "allow if argument(\"path\", $p), $p.starts_with(\"/public/\");\nallow if argument(\"tags\", $t), $t.contains(\"x\");",
    );
    let large = "x".repeat(300_000);
    let many = vec!["1"; 2000].join(",");
    let with = |more: &str| {
        format!(r#"{{"content":"{large}","rows":[{many}],"pathology":"{large}",{more}}}"#)
    };
    assert!(read_for(&rules, &with(r#""path":"/public/a""#)).is_allowed());
    assert!(read_for(&rules, &with(r#""tags":["y","x"]"#)).is_allowed());
    assert_eq!(
        read_for(&rules, &with(r#""path":"/secret""#)).effect,
        Effect::Denied
    );
    for twin in ["Path", "PATH", "p\\u0061TH"] {
        let twins = with(&format!(r#""path":"/public/a","{twin}":"/secret""#));
        assert_eq!(
            read_for(&rules, &twins).effect,
            Effect::Failed(Failure::Arguments),
            "{twin}"
        );
    }
    // What is asked about is bounded.
    let long = with(&format!(r#""path":"/public/{large}""#));
    assert_eq!(
        read_for(&rules, &long).effect,
        Effect::Failed(Failure::Arguments)
    );
    let wide = with(&format!(r#""tags":[{many}]"#));
    assert_eq!(
        read_for(&rules, &wide).effect,
        Effect::Failed(Failure::Arguments)
    );
    // A letter that only folding makes one of the path's.
    let rules = self::rules("deny if argument(\"k\", 1);\nallow if true;");
    assert_eq!(
        read_for(&rules, r#"{"\u212a":1}"#).effect,
        Effect::Failed(Failure::Arguments)
    );
    assert!(read_for(&rules, r#"{"\u017f":1,"kk":1}"#).is_allowed());
}

#[test]
fn a_folder_is_not_left_by_a_path_that_steps_out_of_it() {
    let allow = rules("allow if argument(\"path\", $p), $p.starts_with(\"/public/\");");
    let deny =
        rules("deny if argument(\"path\", $p), $p.starts_with(\"/secret/\");\nallow if true;");
    let of = |path: &str| serde_json::json!({ "path": path }).to_string();
    for path in ["/public/a", "/public/b/c.txt", "/public/..a"] {
        assert!(
            allows(&allow, "a", &of(path)) && allows(&deny, "a", &of(path)),
            "{path}"
        );
    }
    for path in [
        "/public/../secret/a",
        "/public/%2e%2e/secret",
        "/public\\..\\secret",
        "/public//secret/a",
        "/public/a\u{0}",
        "/x/../secret/a",
    ] {
        assert!(
            !allows(&allow, "a", &of(path)) && !allows(&deny, "a", &of(path)),
            "{path}"
        );
    }
    for path in ["/publicity", "/Public/a", "public/a", ""] {
        assert!(!allows(&allow, "a", &of(path)), "{path}");
    }
    // A prefix that is no folder is compared as text.
    let words = rules("allow if argument(\"q\", $q), $q.starts_with(\"SELECT \");");
    assert!(allows(&words, "a", r#"{"q":"SELECT a\nFROM b -- ../"}"#));
}

#[test]
fn arrays_and_objects_are_asked_as_a_whole_and_by_their_parts() {
    let rules = rules(
        "allow if tool(\"mail\"), argument(\"to\", $to), $to.all($one -> $one.ends_with(\"@example.com\"));\n\
         allow if tool(\"tag\"), argument(\"tags\", $tags), $tags.contains(\"public\");\n\
         allow if tool(\"one\"), argument(\"tags[0]\", \"public\");\n\
         allow if tool(\"map\"), argument(\"where\", $w), $w.get(\"a.b\") == 1, $w.get(\"c\").get(\"d\") == 2;",
    );
    for (tool, arguments) in [
        ("mail", r#"{"to":["a@example.com","b@example.com"]}"#),
        ("tag", r#"{"tags":["x","public"]}"#),
        ("one", r#"{"tags":["public","x"]}"#),
        ("map", r#"{"where":{"a.b":1,"c":{"d":2}}}"#),
    ] {
        assert!(allows(&rules, tool, arguments), "{tool} {arguments}");
    }
    for (tool, arguments) in [
        ("mail", r#"{"to":["a@example.com","b@evil.example"]}"#),
        ("mail", r#"{"to":"a@example.com"}"#),
        ("mail", r#"{"to":[["a@example.com"]]}"#),
        ("tag", r#"{"tags":[["public"]]}"#),
        (
            "tag",
            r#"{"tags":"public"}"#.replace("public", "x").as_str(),
        ),
        ("one", r#"{"tags":["x","public"]}"#),
        ("map", r#"{"where":{"a":{"b":1},"c":{"d":2}}}"#),
    ] {
        assert!(!allows(&rules, tool, arguments), "{tool} {arguments}");
    }
}
