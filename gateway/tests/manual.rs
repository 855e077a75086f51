//! What the manual says of keys, reasons and facts is what the program says. To bring it up to date:
//! `UPDATE_MANUAL=1 cargo test -p gateway --test manual`.

// Helpers of tests, outside of the test functions that the lint knows.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use gateway::config::layers::Layers;
use gateway::config::{self, SCHEMA};
use gateway_core::policy::rules;
use gateway_core::reason;
use gateway_metrics::Metrics;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text between the two marks of a section of this page must be `expected`.
fn section(page: &str, name: &str, expected: &str) {
    let path = root().join("conf/documents").join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
    let (before, rest) = text.split_once(&open).expect("the section's opening mark");
    let (inside, after) = rest.split_once(&close).expect("the section's closing mark");
    if std::env::var_os("UPDATE_MANUAL").is_some() && inside != expected {
        fs::write(&path, format!("{before}{open}{expected}{close}{after}")).unwrap();
        return;
    }
    assert_eq!(inside, expected, "{page}: `{name}` is out of date");
}

// One test, so that two updates never write a file at once.
#[test]
fn the_tables_of_the_manual_are_the_programs_own() {
    section(
        "troubleshooting.md",
        "troubleshooting",
        &reason::troubleshooting(),
    );
    section("reasons.md", "reasons", &reason::reference());
    section("metrics.md", "metrics", &Metrics::reference());
    section("configuration.md", "keys", &SCHEMA.reference());
    section("policy.md", "facts", &rules::reference());
}

#[test]
fn every_file_in_conf_is_a_working_configuration() {
    // Files that a configuration names are found from where the gateway is started.
    std::env::set_current_dir(root()).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("conf")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let mut layers = Layers::new(&SCHEMA);
        layers.file(&path, &fs::read_to_string(&path).unwrap());
        if let Err(problems) = config::resolve(&layers) {
            panic!("{}: {problems:?}", path.display());
        }
        seen += 1;
    }
    assert!(seen >= 2);
}

#[test]
fn every_policy_in_conf_is_a_working_policy() {
    std::env::set_current_dir(root()).unwrap();
    let path = root().join("conf/policy.toml");
    let configuration = fs::read_to_string(&path).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("conf/policies")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let mut layers = Layers::new(&SCHEMA);
        layers.file(&path, &configuration);
        layers.flag("policy.file", "--policy", &format!("conf/policies/{name}"));
        match config::resolve(&layers) {
            Ok(config) => assert!(config.policy.is_some(), "{name}"),
            Err(problems) => panic!("{name}: {problems:?}"),
        }
        seen += 1;
    }
    assert!(seen >= 5);
}
