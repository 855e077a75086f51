use std::collections::BTreeMap;

use super::*;
use crate::access_token::Approval;
use crate::clock::Timestamp;
use mcp_protocol::calls::Call;
use mcp_protocol::jsonrpc::{Keep, judge_and_keep, judge_arguments};
use mcp_protocol::tool_definition::Labels;

/// Tuesday, 2026-11-24, 12:00:00 UTC.
const NOON: Timestamp = Timestamp::from_secs(1_795_521_600);

const READS: Labels = Labels {
    read_only: Some(true),
    destructive: None,
};
const CHANGES: Labels = Labels {
    read_only: Some(false),
    destructive: None,
};
const SILENT: Labels = Labels {
    read_only: None,
    destructive: None,
};

fn environment() -> PolicyEnvironment {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let staff = GroupMembers {
        from: names(&["corp:engineering"]),
        ..GroupMembers::from(["alice"])
    };
    let office = [
        "192.0.2.0/24".parse().unwrap(),
        "2001:db8::/32".parse().unwrap(),
    ];
    PolicyEnvironment {
        groups: BTreeMap::from([("staff".to_owned(), staff)]),
        networks: BTreeMap::from([("office".to_owned(), office.to_vec())]),
        backends: names(&["notes"]),
        approvers: names(&["ops"]),
        clients: names(&["our-editor"]),
        utc_offset: 0,
    }
}

fn rules(text: &str) -> Rules {
    Rules::read("p", text, environment()).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
}

fn faults(text: &str) -> Vec<String> {
    let faults = Rules::read("p", text, environment())
        .err()
        .unwrap_or_default();
    faults.iter().map(ToString::to_string).collect()
}

fn around() -> Surroundings<'static> {
    Surroundings {
        user: "alice",
        is_service: false,
        groups: &[],
        client: "c_1",
        grant: "g_1",
        scopes: &["mcp"],
        backend: "notes",
        resource: "https://mcp.example.com/mcp",
        approvals: &[],
        address: Some("192.0.2.7".parse().unwrap()),
        protocol_version: Some("2025-11-25"),
        now: NOON,
    }
}

/// How the call of a tool with these arguments is judged.
fn ruled(rules: &Rules, tool: &str, labels: Labels, arguments: &str) -> Decision {
    let arguments = judge_arguments(arguments).unwrap();
    let asked = RequestedAction::tool(tool, labels, Some(&arguments));
    let decision = rules.judge(&around(), &asked);
    let by_reference = rules.judge_by(None, &around(), &asked);
    // The reference alone has a limit of time, which a busy machine reaches.
    let is_late = matches!(by_reference.effect, Effect::Failed(Failure::Limit(_)));
    if !is_late {
        assert_eq!(decision, by_reference, "{rules:?} {asked:?}");
    }
    decision
}

fn allows(rules: &Rules, tool: &str, arguments: &str) -> bool {
    ruled(rules, tool, SILENT, arguments).is_allowed()
}

/// How a message without arguments is judged.
fn sent(rules: &Rules, message: &str) -> bool {
    let mut body = judge_and_keep(&message.to_owned().into(), false, Keep::Arguments).unwrap();
    let call = Call::from_message(&mut body.messages_mut()[0]);
    rules
        .judge(&around(), &RequestedAction::from_call(&call, SILENT))
        .is_allowed()
}

fn request(method: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"a","uri":"file:///docs/a"}}}}"#
    )
}

#[test]
fn the_first_that_matches_decides_and_without_one_the_answer_is_no() {
    let rules = rules(
        "allow if tool(\"a\");\n\ndeny if tool(\"a\");\ndeny if tool(\"b\");\nallow if tool(\"b\");\n",
    );
    let place = |tool: &str| {
        let decision = ruled(&rules, tool, SILENT, "{}");
        (decision.is_allowed(), decision.by.map(|by| by.to_string()))
    };
    assert_eq!(place("a"), (true, Some("p:1".to_owned())));
    assert_eq!(place("b"), (false, Some("p:4".to_owned())));
    assert_eq!(place("c"), (false, None));
}

#[test]
fn every_check_must_hold_whatever_allows() {
    let rules = rules(
        "allow if true;\ncheck if user(\"alice\");\ncheck if user(\"bob\")\n  or user(\"carol\");\ncheck if backend(\"notes\");",
    );
    let decision = ruled(&rules, "a", SILENT, "{}");
    assert_eq!(decision.effect, Effect::Denied);
    assert_eq!(decision.by.as_ref().unwrap().line(), 1);
    assert_eq!(decision.failed.len(), 1);
    assert_eq!(decision.place().unwrap().to_string(), "p:3");
    assert!(
        decision
            .place()
            .unwrap()
            .text()
            .starts_with("check if user(\"bob\")")
    );
}

#[test]
fn what_is_known_of_a_call_can_be_asked() {
    let approvals = [
        Approval {
            tool: "deploy".to_owned(),
            approver: "ops".to_owned(),
            until: Timestamp::from_secs(NOON.secs() + 1),
        },
        Approval {
            tool: "erase".to_owned(),
            approver: "ops".to_owned(),
            until: NOON,
        },
    ];
    let holds = |condition: &str| {
        let rules = rules(&format!("allow if {condition};"));
        let arguments = judge_arguments(r#"{"a":1}"#).unwrap();
        let around = Surroundings {
            approvals: &approvals,
            ..around()
        };
        let decision = rules.judge(
            &around,
            &RequestedAction::tool("deploy", CHANGES, Some(&arguments)),
        );
        assert!(
            !matches!(decision.effect, Effect::Failed(_)),
            "{condition}: {decision:?}"
        );
        decision.is_allowed()
    };
    for condition in [
        "user(\"alice\")",
        "group(\"staff\")",
        "client(\"c_1\")",
        "client_kind(\"self_registered\")",
        "grant(\"g_1\")",
        "scope(\"mcp\")",
        "backend(\"notes\")",
        "resource(\"https://mcp.example.com/mcp\")",
        "message(\"request\")",
        "method(\"tools/call\")",
        "tool(\"deploy\")",
        "read_only(false)",
        "destructive(true)",
        "argument(\"a\", 1)",
        "argument_type(\"a\", \"number\")",
        "approved(\"deploy\", \"ops\")",
        "time($t), $t > 2026-11-24T11:59:59Z, $t < 2026-11-24T12:00:01Z",
        "hour(12)",
        "weekday(\"tuesday\")",
        "address(\"192.0.2.7\")",
        "network(\"office\")",
        "protocol_version(\"2025-11-25\")",
    ] {
        assert!(holds(condition), "{condition}");
    }
    for condition in [
        "user(\"carol\")",
        "scope(\"admin\")",
        "method(\"tools/list\")",
        "harmless(true)",
        "read_only(true)",
        "unlabelled(true)",
        "client_host($h)",
        "prompt($p)",
        "uri($u)",
        "approved(\"erase\", \"ops\")",
        "hour(13)",
    ] {
        assert!(!holds(condition), "{condition}");
    }
}

#[test]
fn a_client_is_known_as_it_came() {
    let rules = rules(
        "allow if client_kind(\"document\"), client_host(\"chatgpt.com\");\nallow if client_kind(\"pre_registered\");",
    );
    let allows = |client| {
        let around = Surroundings { client, ..around() };
        rules
            .judge(&around, &RequestedAction::stream())
            .is_allowed()
    };
    assert!(allows("https://chatgpt.com/oauth/x.json"));
    assert!(allows("our-editor"));
    for other in [
        "c_1",
        "https://chatgpt.com.evil.example/x",
        "chatgpt.com",
        "http://chatgpt.com/x",
        "https://evil@other.example/chatgpt.com",
    ] {
        assert!(!allows(other), "{other}");
    }
}

#[test]
fn local_time_is_ahead_of_utc_by_the_configured_offset() {
    let at = |utc_offset, condition: &str| {
        let environment = PolicyEnvironment {
            utc_offset,
            ..environment()
        };
        let rules = Rules::read("p", &format!("allow if {condition};"), environment).unwrap();
        rules
            .judge(&around(), &RequestedAction::stream())
            .is_allowed()
    };
    assert!(at(12 * 3600, "hour(0), weekday(\"wednesday\")"));
    assert!(at(-12 * 3600 - 60, "hour(23), weekday(\"monday\")"));
}

#[test]
fn methods_are_judged_by_what_they_do_and_unknown_ones_are_denied() {
    let rules =
        rules("allow if harmless(true);\nallow if uri($u), $u.starts_with(\"file:///docs/\");");
    for method in [
        "initialize",
        "ping",
        "tools/list",
        "server/discover",
        "logging/setLevel",
        "resources/read",
    ] {
        assert!(sent(&rules, &request(method)), "{method}");
    }
    for method in [
        "resources/list",
        "prompts/get",
        "completion/complete",
        "tasks/result",
        "subscriptions/listen",
        "tools/List",
        "tools/call",
        "stream",
        "response",
        "x",
    ] {
        assert!(!sent(&rules, &request(method)), "{method}");
    }
    assert!(sent(
        &rules,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#
    ));
    assert!(!sent(
        &rules,
        r#"{"jsonrpc":"2.0","method":"notifications/anything"}"#
    ));
    assert!(sent(&rules, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#));
    assert!(!sent(
        &rules,
        r#"{"jsonrpc":"2.0","id":1,"result":{"role":"assistant"}}"#
    ));
    assert!(
        rules
            .judge(&around(), &RequestedAction::stream())
            .is_allowed()
    );
    assert!(rules.judge(&around(), &RequestedAction::end()).is_allowed());
}

#[test]
fn what_a_method_is_called_makes_it_no_other_message() {
    let rules = rules(
        "allow if message(\"response\");\nallow if message(\"stream\");\nallow if message(\"end\");",
    );
    for method in ["response", "stream", "end", "GET", "DELETE"] {
        assert!(!sent(&rules, &request(method)), "{method}");
    }
    assert!(sent(
        &rules,
        r#"{"jsonrpc":"2.0","id":1,"result":{"role":"assistant"}}"#
    ));
}

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

#[test]
fn nobody_but_the_operator_states_anything() {
    // What a client sends enters as a value, whatever it looks like.
    let rules = rules("allow if group(\"staff\"), argument(\"q\", \"x\");");
    let around = Surroundings {
        user: "mallory\"); group(\"staff",
        groups: &[],
        client: "group(\"staff\")",
        scopes: &["mcp", "group(\"staff\")"],
        ..around()
    };
    let arguments =
        judge_arguments(r#"{"q":"x","group":"staff","x\"); group(\"staff":1}"#).unwrap();
    let asked = RequestedAction::tool("group(\"staff\");", SILENT, Some(&arguments));
    assert_eq!(rules.judge(&around, &asked).effect, Effect::Denied);
}

#[test]
fn a_list_shows_what_could_be_called_with_some_arguments_at_some_time() {
    let shows = |policy: &str, tool: &str, labels: Labels| {
        rules(policy).may_call("t", &around(), &RequestedAction::tool(tool, labels, None))
    };
    // Decided without arguments.
    assert!(shows("allow if tool(\"a\");", "a", SILENT));
    assert!(!shows("allow if tool(\"a\");", "b", SILENT));
    assert!(!shows("deny if tool(\"a\");\nallow if true;", "a", SILENT));
    assert!(shows("allow if read_only(true);", "a", READS));
    assert!(!shows("allow if read_only(true);", "a", CHANGES));
    assert!(!shows(
        "check if user(\"bob\");\nallow if true;",
        "a",
        SILENT
    ));
    assert!(!shows(
        "reject if tool(\"a\");\nallow if true;",
        "a",
        SILENT
    ));
    // Arguments, time and approvals may allow it.
    for condition in [
        "tool(\"a\"), argument(\"n\", 1)",
        "tool(\"a\"), argument(\"n\", $n), $n > 5",
        "tool(\"a\"), argument($p, $v), $p.starts_with(\"x\")",
        "tool(\"a\"), hour($h), $h < 3",
        "tool(\"a\"), approved(\"a\", \"ops\")",
        "may(\"a\")",
        "far($t), tool($t)",
    ] {
        let own = "may($t) <- tool($t), argument(\"n\", 1);\nfar($v) <- argument(\"n\", $v);\n";
        let policy = format!("{own}allow if {condition};");
        assert!(shows(&policy, "a", SILENT), "{condition}");
        let hidden = shows(&policy, "b", SILENT);
        assert_eq!(hidden, condition.starts_with("far"), "{condition}");
        let check = format!("{own}check if {condition};\nallow if true;");
        assert!(shows(&check, "a", SILENT), "{condition}");
    }
    // And they may not deny it.
    for condition in [
        "argument(\"n\", 1)",
        "tool(\"a\"), hour($h), $h > 3",
        "may($t)",
    ] {
        let policy = format!(
            "may($t) <- tool($t), argument(\"n\", 1);\ndeny if {condition};\nallow if true;"
        );
        assert!(shows(&policy, "a", SILENT), "{condition}");
    }
    assert!(!shows(
        "deny if argument(\"n\", 1) or tool(\"a\");\nallow if true;",
        "a",
        SILENT
    ));
    assert!(!shows(
        "allow if group(\"staff\"), tool(\"b\"), argument(\"n\", 1);",
        "a",
        SILENT
    ));
}

/// Whatever a call is allowed with, the list shows its tool.
#[test]
fn no_list_hides_a_tool_that_can_be_called() {
    let conditions = [
        "tool(\"a\")",
        "tool(\"b\")",
        "read_only(true)",
        "argument(\"n\", 1)",
        "argument(\"n\", $n), $n > 0",
        "hour(12)",
        "hour(3)",
        "group(\"staff\")",
        "user(\"bob\")",
        "d($x)",
        "e(\"a\")",
        "harmless(true)",
    ];
    let own = "d($t) <- tool($t), argument(\"n\", 1);\ne($t) <- d($t);\ne(\"b\");\n";
    let mut state = 7_u64;
    let mut draw = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut allowed = 0;
    for _ in 0..400 {
        let mut policy = own.to_owned();
        for _ in 0..=draw(4) {
            let kind = [
                "allow if",
                "allow if",
                "deny if",
                "check if",
                "reject if",
                "check all",
            ][draw(6)];
            let (one, other) = (
                conditions[draw(conditions.len())],
                conditions[draw(conditions.len())],
            );
            policy += &match draw(3) {
                0 => format!("{kind} {one};\n"),
                1 if !(one.contains("$n") && other.contains("$n")) => {
                    format!("{kind} {one}, {other};\n")
                }
                _ => format!("{kind} {one} or {other};\n"),
            };
        }
        let Ok(rules) = Rules::read("p", &policy, environment()) else {
            continue;
        };
        for tool in ["a", "b", "c"] {
            for labels in [READS, CHANGES, SILENT] {
                for arguments in ["{}", r#"{"n":1}"#, r#"{"n":2}"#] {
                    if ruled(&rules, tool, labels, arguments).is_allowed() {
                        allowed += 1;
                        assert!(
                            rules.may_call(
                                "t",
                                &around(),
                                &RequestedAction::tool(tool, labels, None)
                            ),
                            "{policy} {tool} {arguments}"
                        );
                    }
                }
            }
        }
    }
    assert!(allowed > 500, "{allowed}");
}

#[test]
fn decisions_are_remembered_only_where_nothing_else_could_change_them() {
    let asked = |tool| RequestedAction::tool(tool, SILENT, None);
    let steady = rules("allow if tool(\"a\"), user(\"alice\"), network(\"office\");");
    assert!(steady.judge_for("t", &around(), &asked("a")).is_allowed());
    assert!(steady.judge_for("t", &around(), &asked("a")).is_allowed());
    assert!(!steady.judge_for("t", &around(), &asked("b")).is_allowed());
    let elsewhere = Surroundings {
        address: Some("198.51.100.1".parse().unwrap()),
        ..around()
    };
    assert!(!steady.judge_for("t", &elsewhere, &asked("a")).is_allowed());
    let bob = Surroundings {
        user: "bob",
        ..around()
    };
    assert!(!steady.judge_for("another", &bob, &asked("a")).is_allowed());
    assert_eq!(steady.remembered.len(), 4);
    let timed = rules("allow if hour(12);");
    let later = Surroundings {
        now: Timestamp::from_secs(NOON.secs() + 3600),
        ..around()
    };
    assert!(timed.judge_for("t", &around(), &asked("a")).is_allowed());
    assert!(!timed.judge_for("t", &later, &asked("a")).is_allowed());
    let argued = rules("allow if argument(\"n\", 1);");
    for (n, allowed) in [(1, true), (2, false)] {
        let arguments = judge_arguments(&format!("{{\"n\":{n}}}")).unwrap();
        let asked = RequestedAction::tool("a", SILENT, Some(&arguments));
        assert_eq!(
            argued.judge_for("t", &around(), &asked).is_allowed(),
            allowed
        );
    }
    assert_eq!(timed.remembered.len() + argued.remembered.len(), 0);
}

#[test]
fn an_evaluation_without_end_is_refused() {
    let numbers: Vec<String> = (0..70).map(|n| format!("n({n});")).collect();
    let text = format!(
        "{}\nm($x, $y) <- n($x), n($y);\nallow if true;",
        numbers.join("\n")
    );
    let decision = ruled(&rules(&text), "a", SILENT, "{}");
    assert!(
        matches!(decision.effect, Effect::Failed(Failure::Limit(_))),
        "{decision:?}"
    );
}

#[test]
fn faults_name_their_place_and_what_was_probably_meant() {
    for (text, expected) in [
        (
            "\n  alow if tool(\"a\");",
            "2:3: `alow if` begins no statement; did you mean `allow if`?",
        ),
        (
            "allow if tol(\"a\");",
            "1:10: nothing states `tol`; did you mean `tool(NAME)`?",
        ),
        (
            "allow if true;\nallow if user(\"a\"), tool(\"a\", 1);",
            "2:21: `tool` is written `tool(NAME)`",
        ),
        ("allow if zzzz(1);", "1:10: nothing states `zzzz`"),
        (
            "staf(\"a\");\nallow if staff(\"a\");",
            "2:10: nothing states `staff`; did you mean `staf`?",
        ),
        (
            "staff(\"a\");\nallow if staff(\"a\", 1);",
            "2:10: `staff` is stated with 1 terms, not 2",
        ),
        (
            "allow if group(\"staf\");",
            "1:10: `group(\"staf\")` is never stated: \"staf\" is none of the configured groups; did you mean \"staff\"?",
        ),
        (
            "allow if network(\"home\");",
            "1:10: `network(\"home\")` is never stated: \"home\" is none of the configured networks, which are office",
        ),
        (
            "allow if backend(\"note\");",
            "1:10: `backend(\"note\")` is never stated: \"note\" is none of the backends; did you mean \"notes\"?",
        ),
        (
            "allow if weekday(\"Monday\");",
            "1:10: `weekday(\"Monday\")` is never stated: \"Monday\" is none of the known values; did you mean \"monday\"?",
        ),
        (
            "allow if hour(\"7\");",
            "1:10: `hour(\"7\")` is never stated: a number stands there",
        ),
        (
            "allow if harmless(false);",
            "1:10: `harmless(false)` is never stated: it is stated with `true`, or not at all",
        ),
        (
            "allow if tool(7);",
            "1:10: `tool(7)` is never stated: a text stands there",
        ),
        (
            "user(\"root\");\nallow if true;",
            "1:1: `user` is stated by the gateway; give what the policy states another name",
        ),
        (
            "user($x) <- group($x);\nallow if true;",
            "1:1: `user` is stated by the gateway; give what the policy states another name",
        ),
        (
            "allow if tool($t), $x > 1;",
            "1:20: `$x` is bound by no fact of this statement",
        ),
        (
            "allow if tool($t), {who} == $t;",
            "1:20: nothing fills in `{who}`",
        ),
        (
            "allow if tool($t), $t.matches(\"(\");",
            "1:23: `(` is no regular expression",
        ),
        (
            "allow if tool($t), argument(\"p\", $p), $t.matches($p);",
            "1:42: `matches` takes a pattern that is written out",
        ),
        (
            "allow if tool($t), $t.extern::f();",
            "1:23: there is no function `extern::f` here",
        ),
        (
            "allow if tool($t) trusting authority;",
            "1:1: `trusting` has no use here: a policy sees the gateway's facts only",
        ),
        (
            "allow if tool($t) trusting ed25519/00;",
            "1:1: `trusting` has no use here: a policy sees the gateway's facts only",
        ),
        (
            "allow if argument($p, $v), argument($q, $v);",
            "1:10: every argument would be compared with every other one; name the path of all but one",
        ),
        (
            "x($p, $v) <- argument($p, $v);\nallow if x($a, $b), x($c, $d), x($e, $f);",
            "2:10: every argument would be compared with every other one; name the path of all but one (`x` is made from every argument)",
        ),
        (
            "x($v) <- argument($p, $v);\ny($v) <- x($v);\nallow if argument($p, $v), y($w), $v == $w;",
            "3:10: every argument would be compared with every other one; name the path of all but one (`y` is made from every argument)",
        ),
        (
            "allow if user(\"Bob\");",
            "1:10: `user(\"Bob\")` is never stated: login names are in lower case here: \"bob\"",
        ),
        (
            "deny if user($u), [\"alice\", \"Bob\"].contains($u);",
            "1:9: login names are in lower case here: \"bob\"",
        ),
        (
            "check if true;",
            "1:1: there is no `allow if` and no `deny if`: nothing would ever be allowed",
        ),
        (
            " \n",
            "1:1: there is no `allow if` and no `deny if`: nothing would ever be allowed",
        ),
    ] {
        assert_eq!(faults(text), [expected], "{text}");
    }
}

/// What holds no more than one fact for all arguments may be used freely.
#[test]
fn what_is_made_of_few_facts_is_compared_with_itself() {
    for text in [
        "big(true) <- argument($p, $v), $v == 1; allow if big($a), big($b);",
        "big($t) <- tool($t), argument($p, $v), $v == 1; allow if big($a), big($b), argument($p, $v);",
        "one($v) <- argument(\"x\", $v); allow if one($a), one($b);",
        "allow if user($u), tool($t), $u == \"bob\", $t == \"Erase\";",
    ] {
        assert_eq!(faults(text), [""; 0], "{text}");
    }
}

#[test]
fn a_person_is_in_a_group_by_what_the_token_says_of_the_provider() {
    let is_staff = |user: &'static str, groups: &[&str]| {
        let groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
        let around = Surroundings {
            user,
            groups: &groups,
            ..around()
        };
        let policy = rules("allow if group(\"staff\");");
        policy
            .judge(&around, &RequestedAction::stream())
            .is_allowed()
    };
    assert!(is_staff("bob", &["corp:sales", "corp:engineering"]));
    assert!(is_staff("alice", &["corp:sales"]));
    for groups in [
        &[][..],
        &["engineering"],
        &["other:engineering"],
        &["staff"],
    ] {
        assert!(!is_staff("bob", groups), "{groups:?}");
    }
}

#[test]
fn a_person_is_known_by_name_in_any_case() {
    let named = |user: &'static str, policy: &str| {
        let around = Surroundings { user, ..around() };
        let asked = RequestedAction::tool("a", SILENT, None);
        rules(policy).judge(&around, &asked).is_allowed()
    };
    for user in ["alice", "Alice", "ALICE"] {
        assert!(named(user, "allow if group(\"staff\");"), "{user}");
        assert!(!named(user, "deny if group(\"staff\"); allow if true;"));
        assert!(named(user, "allow if user(\"alice\");"), "{user}");
    }
    assert!(!named("bob", "allow if group(\"staff\");"));
}

#[test]
fn a_machine_is_known_by_its_id_and_not_by_its_name() {
    for is_service in [true, false] {
        let around = Surroundings {
            user: "robot",
            is_service,
            ..around()
        };
        let asked = RequestedAction::tool("a", SILENT, None);
        let rules = rules("allow if machine(true);");
        assert_eq!(rules.judge(&around, &asked).is_allowed(), is_service);
    }
}

#[test]
fn a_tool_of_which_it_can_not_be_told_is_shown() {
    let policy = "allow if argument(\"x\", true), tool($t), $t > 5;\nallow if tool(\"a\");";
    let rules = rules(policy);
    let asked = RequestedAction::tool("a", SILENT, None);
    assert!(rules.may_call("t", &around(), &asked));
    assert!(allows(&rules, "a", "{}"));
}

#[test]
fn a_statement_that_can_not_be_read_is_a_fault_at_its_line() {
    for (text, line) in [
        ("allow if true;\nallow if tool(\"a\"\nallow if true;\n", 2),
        (
            "allow if true;\n\nallow if tool(\"a\")\nallow if tool(\"b\");",
            3,
        ),
        ("allow if true;\nallow if ;", 2),
        ("allow if true;\nallow tool(\"a\");", 2),
        ("allow if true;\nuser(", 2),
        ("allow if true;\nx(1) <- ;", 2),
        ("allow if true;\n/* never closed", 2),
        ("x(1);\nfar($y) <- x($x);\nallow if true;", 2),
        ("allow if true;\n\"é\" ü;", 2),
        ("\u{feff}allow if true;", 1),
    ] {
        let faults = Rules::read("p", text, environment())
            .err()
            .unwrap_or_default();
        assert!(!faults.is_empty(), "{text}");
        assert!(
            (line..line + 2).contains(&faults[0].line),
            "{text}: {faults:?}"
        );
        assert!(
            faults[0].column >= 1 && !faults[0].sentence.is_empty(),
            "{text}: {faults:?}"
        );
    }
}

#[test]
fn every_fault_is_told_at_once() {
    let faults = faults("allow if tol(\"a\");\nallow if group(\"x\");\ncheck if usr(\"b\");");
    assert_eq!(faults.len(), 3, "{faults:?}");
    let faults = self::faults("alow if tool(\"a\");\nallow if true;\ndenny if tool(\"b\");\n\n");
    assert_eq!(faults.len(), 2, "{faults:?}");
}

#[test]
fn the_facts_of_a_decision_can_be_shown() {
    let rules = rules("allow if user($u), tool($t), argument(\"n\", $n), $n > 1;");
    let arguments = judge_arguments(r#"{"n":5,"secret":"x"}"#).unwrap();
    let stated = rules.stated(
        &around(),
        &RequestedAction::tool("a", SILENT, Some(&arguments)),
    );
    assert_eq!(
        stated,
        ["user(\"alice\")", "tool(\"a\")", "argument(\"n\", 5)"]
    );
}

/// What people mistype is told, and never a panic; what is taken can be evaluated.
#[test]
fn a_file_with_slips_is_read_or_faulted() {
    let texts = [
        include_str!("../../../../../../conf/policies/approval.biscuit"),
        include_str!("../../../../../../conf/policies/arguments.biscuit"),
        include_str!("../../../../../../conf/policies/not-at-night.biscuit"),
        include_str!("../../../../../../conf/policies/one-folder.biscuit"),
        include_str!("../../../../../../conf/policies/staff.biscuit"),
    ];
    let bits = [
        ";",
        "(",
        ")",
        "\"",
        "$",
        "<-",
        "or ",
        "{",
        "}",
        "[",
        "//",
        "/*",
        "\\",
        ",",
        "\0",
        "é",
        "š",
        "hex:",
        "ed25519/0",
        "trusting ",
        "allow if ",
        "1e9",
        "-",
        "2026-11-24T00:00:00Z",
        ".",
        "!",
        "&&",
        "\u{feff}",
        "\r\n",
    ];
    let mut state = 11_u64;
    let mut draw = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let (mut taken, mut faulted) = (0, 0);
    for round in 0..1500 {
        let mut text = texts[round % texts.len()].to_owned();
        for _ in 0..=draw(3) {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let at = places[draw(places.len())];
            match draw(3) {
                0 => text.truncate(at.max(1)),
                1 => drop(text.remove(at)),
                _ => text.insert_str(at, bits[draw(bits.len())]),
            }
            if text.is_empty() {
                text.push(' ');
            }
        }
        match Rules::read("p", &text, environment()) {
            Ok(rules) => {
                taken += 1;
                ruled(
                    &rules,
                    "deploy",
                    CHANGES,
                    r#"{"path":"/public/a","to":["b"],"amount":1}"#,
                );
            }
            Err(faults) => {
                faulted += 1;
                assert!(!faults.is_empty());
                let lines = text.matches('\n').count() + 1;
                assert!(
                    faults.iter().all(|fault| (1..=lines).contains(&fault.line)),
                    "{faults:?}"
                );
            }
        }
    }
    assert!(taken > 100 && faulted > 500, "{taken} {faulted}");
}
