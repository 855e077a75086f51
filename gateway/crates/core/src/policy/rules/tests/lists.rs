//! What lists show.

use super::*;

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
fn a_tool_of_which_it_can_not_be_told_is_shown() {
    let policy = "allow if argument(\"x\", true), tool($t), $t > 5;\nallow if tool(\"a\");";
    let rules = rules(policy);
    let asked = RequestedAction::tool("a", SILENT, None);
    assert!(rules.may_call("t", &around(), &asked));
    assert!(allows(&rules, "a", "{}"));
}
