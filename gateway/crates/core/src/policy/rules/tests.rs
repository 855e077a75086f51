mod arguments;
mod faults;
mod lists;

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
        calls_today: Some(7),
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
        "calls_today(7)",
        "calls_today($n), $n < 8",
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
    // One token may be for several backends.
    let here = rules("allow if backend(\"notes\");");
    let moved = Surroundings {
        backend: "elsewhere",
        ..around()
    };
    assert!(here.judge_for("t", &around(), &asked("a")).is_allowed());
    assert!(!here.judge_for("t", &moved, &asked("a")).is_allowed());
    assert!(here.may_call("t", &around(), &asked("a")));
    assert!(!here.may_call("t", &moved, &asked("a")));
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
