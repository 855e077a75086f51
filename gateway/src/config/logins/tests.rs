use std::path::Path;

use super::*;
use crate::config::layers::Layers;
use crate::config::{Config, SCHEMA, resolve};

fn read(tables: &str) -> Result<Config, String> {
    let mut layers = Layers::new(&SCHEMA);
    let text = format!("{tables}\n[[backend]]\nurl = \"http://127.0.0.1:9000\"\n");
    layers.file(Path::new("gateway.toml"), &text);
    resolve(&layers).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

fn login(lines: &str) -> String {
    format!("[[login]]\nname = \"corp\"\nclient_id = \"c\"\nclient_secret = \"s\"\n{lines}\n")
}

#[test]
fn a_preset_says_all_that_is_always_the_same() {
    let issuer = |lines: &str| {
        let config = read(&login(lines)).unwrap();
        let provider = &config.providers[0];
        (provider.issuer().to_owned(), provider.words.clone())
    };
    for (lines, expected, words) in [
        (
            "preset = \"google\"",
            "https://accounts.google.com",
            "Google",
        ),
        ("preset = \"github\"", "https://github.com/", "GitHub"),
        (
            "preset = \"entra\"\ntenant = \"T-1\"",
            "https://login.microsoftonline.com/t-1/v2.0",
            "Microsoft",
        ),
        (
            "issuer = \"https://a.example/\"",
            "https://a.example/",
            "corp",
        ),
    ] {
        let expected = (expected.to_owned(), words.to_owned());
        assert_eq!(issuer(lines), expected, "{lines}");
    }
}

#[test]
fn groups_hold_for_a_day_where_anything_goes_by_them() {
    let of = |lines: &str, more: &str| {
        let lines = format!("issuer = \"https://a.example\"\n{lines}");
        let config = read(&(login(&lines) + more)).unwrap();
        let provider = config.providers[0].clone();
        (provider.max_age, provider.known_groups)
    };
    let group = "[[group]]\nname = \"staff\"\nfrom = [\"corp:a b:c\"]\n";
    let (age, groups) = of("", group);
    assert_eq!((age, groups.len()), (Some(GROUPS_HOLD), 1));
    assert!(groups.contains("a b:c"));
    let rule = "groups_claim = \"groups\"\nallow = [\"group:x\", \"a@example.com\"]";
    assert_eq!(of(rule, "").0, Some(GROUPS_HOLD));
    assert_eq!(of("allow = [\"a@example.com\"]", "").0, None);
    let said = of("groups_max_age = \"2h\"", "").0;
    assert_eq!(said, Some(Duration::from_secs(7200)));
}

#[test]
fn everybody_may_come_in_where_the_provider_has_people_of_its_own() {
    for lines in [
        "issuer = \"https://login.example.com\"",
        "preset = \"entra\"\ntenant = \"t-1\"",
        "preset = \"github\"\nissuer = \"https://github.example.com\"",
    ] {
        let tables = login(&format!("{lines}\nallow = [\"*\"]"));
        read(&tables).unwrap_or_else(|problems| panic!("{lines}: {problems}"));
    }
}

#[test]
fn what_can_never_hold_or_lets_the_world_in_is_refused_and_no_secret_is_told() {
    for (tables, expected) in [
        (login(""), "`login.0.issuer` is missing, and so is a preset"),
        (
            login("preset = \"okta\""),
            "`login.0.preset` must be `google`",
        ),
        (
            login("issuer = \"http://a.example\""),
            "`login.0.issuer` must be https",
        ),
        (
            login("issuer = \"https://a.example/.well-known/openid-configuration\""),
            "is the discovery document",
        ),
        (login("preset = \"entra\""), "`login.0.tenant` is missing"),
        (
            login("preset = \"google\"\nallow = [\"*\"]"),
            "`login.0.allow` has `*`, which lets everybody in",
        ),
        (
            login("issuer = \"https://accounts.google.com\""),
            "write `preset = \"google\"` instead",
        ),
        (
            login("issuer = \"https://ACCOUNTS.google.com./\"\nallow = [\"*\"]"),
            "has `*`, which lets everybody in",
        ),
        (
            login("issuer = \"https://login.microsoftonline.com/t/v2.0\""),
            "write `preset = \"entra\"` instead",
        ),
        (
            login("preset = \"google\"\nissuer = \"https://github.com\""),
            "write `preset = \"github\"` instead",
        ),
        (
            login("preset = \"github\"\nissuer = \"https://github.com/\"\nallow = [\"*\"]"),
            "has `*`, which lets everybody in",
        ),
        (
            login("preset = \"entra\"\ntenant = \"Common\"\nallow = [\"*\"]"),
            "has `*`, which lets everybody in",
        ),
        (
            login(
                "preset = \"entra\"\nallow = [\"*\"]\n\
                 issuer = \"https://login.microsoftonline.com/organizations/v2.0\"",
            ),
            "has `*`, which lets everybody in",
        ),
        (
            login(
                "preset = \"entra\"\nallow = [\"*\"]\n\
                 tenant = \"9188040d-6c67-4c5b-b112-36a304b66dad\"",
            ),
            "has `*`, which lets everybody in",
        ),
        (
            login("preset = \"google\"\nallow = [\"group:a\"]"),
            "`groups_claim` does not say where groups stand",
        ),
        (
            login("preset = \"google\"\nallow = [\"example.com\"]"),
            "must be an address",
        ),
        (
            login("preset = \"google\"\nprivate_key_jwt = true"),
            "stands beside a secret",
        ),
        (
            login("preset = \"google\"\ngroups_max_age = \"0s\""),
            "must be a second at least",
        ),
        (
            login("preset = \"google\"").repeat(2),
            "`corp` is the name of two",
        ),
        (
            login("issuer = \"https://a.example\"")
                + &login("issuer = \"https://a.example/\"").replace("corp", "other"),
            "`login.1.issuer` is configured twice",
        ),
        (
            login("preset = \"google\"") + &login("preset = \"google\"").replace("corp", "b"),
            "`login.1.preset` is configured twice",
        ),
        (
            login("preset = \"google\"").replace("corp", "Corp/x"),
            "must have 1 to 32 lower-case letters",
        ),
        (
            login("preset = \"google\"").replace("client_secret = \"s\"", ""),
            "`login.0.client_secret_file` is missing",
        ),
        (
            "[[group]]\nname = \"a\"\nfrom = [\"corp:x\"]\n".to_owned(),
            "names `corp`, and no [[login]] has that name",
        ),
        (
            "[[group]]\nname = \"a\"\nfrom = [\"x\"]\n".to_owned(),
            "is written as `corp:engineering`",
        ),
        (
            "password_login = false".to_owned(),
            "leaves nobody a way in",
        ),
    ] {
        let tables = tables.replace("\"s\"", "\"hunter2\"");
        let problems = read(&tables).expect_err(&tables);
        assert!(problems.contains(expected), "{expected}\n{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}
