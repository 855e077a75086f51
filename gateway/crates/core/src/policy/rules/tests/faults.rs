//! Faults of a file, and where they are.

use super::*;

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

/// What people mistype is told, and never a panic; what is taken can be evaluated.
#[test]
fn a_file_with_slips_is_read_or_faulted() {
    let texts = [
        include_str!("../../../../../../../conf/policies/approval.biscuit"),
        include_str!("../../../../../../../conf/policies/arguments.biscuit"),
        include_str!("../../../../../../../conf/policies/not-at-night.biscuit"),
        include_str!("../../../../../../../conf/policies/one-folder.biscuit"),
        include_str!("../../../../../../../conf/policies/staff.biscuit"),
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
