//! What the manual says of keys, reasons and facts is what the program says. To bring it up to date:
//! `UPDATE_MANUAL=1 cargo test -p gateway --test manual`. And what the files of `conf` name is there.

// Helpers of tests, outside of the test functions that the lint knows.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    let folders = ["conf", "conf/systemd"];
    let files = folders.map(|folder| fs::read_dir(root().join(folder)).unwrap());
    for entry in files.into_iter().flatten() {
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
    assert!(seen >= 4);
}

/// What `conf/vector` reads are the files of the log, and nothing changes their lines on the way.
#[test]
fn the_example_for_vector_ships_both_logs_as_they_are() {
    let text = fs::read_to_string(root().join("conf/vector/audit.toml")).unwrap();
    let vector: toml::Table = text.parse().unwrap();
    let table = |name: &str| vector[name].as_table().unwrap().clone();
    let (sources, sinks) = (table("sources"), table("sinks"));
    assert_eq!((sources.len(), sinks.len()), (2, 2));
    for (name, log) in [("access", "audit"), ("calls", "audit-calls")] {
        let included = sources[name]["include"].as_array().unwrap();
        let folder = "/var/lib/cupcake-gateway/audit";
        let expected = ["", ".*"].map(|end| format!("{folder}/{log}.jsonl{end}"));
        let included: Vec<_> = included.iter().filter_map(|path| path.as_str()).collect();
        assert_eq!(included, expected);
        let sink = &sinks[name];
        assert_eq!(sink["inputs"].as_array().unwrap()[0].as_str(), Some(name));
        assert_eq!(sink["encoding"]["codec"].as_str(), Some("text"));
        assert_eq!(
            sink["framing"]["method"].as_str(),
            Some("newline_delimited")
        );
    }
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

/// What the Debian package installs, as pairs of file and place.
fn packaged() -> Vec<(String, String)> {
    let manifest = fs::read_to_string(root().join("gateway/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let package = &manifest["package"]["metadata"]["deb"];
    let assets = package["assets"].as_array().unwrap().iter();
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let pairs = assets.map(|asset| (text(&asset[0]), text(&asset[1])));
    let mut pairs: Vec<_> = pairs.collect();
    for script in ["postinst", "prerm", "postrm"] {
        let folder = text(&package["maintainer-scripts"]);
        pairs.push((format!("{folder}/{script}"), "DEBIAN/".to_owned()));
    }
    pairs.push((text(&package["license-file"][0]), String::new()));
    pairs
}

#[test]
fn every_file_of_the_debian_package_is_there() {
    let packaged = packaged();
    assert!(packaged.len() > 10);
    for (file, _) in &packaged {
        // What is compiled is there when the package is made.
        if file.starts_with("target/release/") {
            continue;
        }
        let path = root().join("gateway").join(file);
        let found = match file.split_once('*') {
            None => path.is_file(),
            Some((_, ending)) => {
                let entries = fs::read_dir(path.parent().unwrap()).unwrap();
                let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
                names.into_iter().any(|name| name.ends_with(ending))
            }
        };
        assert!(found, "{file} is not there");
    }
}

#[test]
fn what_unit_and_configuration_name_is_installed_by_the_package() {
    let read = |name: &str| fs::read_to_string(root().join("conf/systemd").join(name)).unwrap();
    let texts = read("cupcake-gateway.service") + &read("gateway.toml");
    let places: Vec<String> = packaged()
        .into_iter()
        .map(|(file, place)| match place.strip_suffix('/') {
            Some(folder) if !file.ends_with('*') => {
                format!("/{folder}/{}", file.rsplit('/').next().unwrap())
            }
            Some(folder) => format!("/{folder}"),
            None => format!("/{place}"),
        })
        .collect();
    let ends = |c: char| c.is_whitespace() || "\"':,;".contains(c);
    let named = texts
        .split(ends)
        .map(|word| word.trim_start_matches("file://"));
    let named: Vec<&str> = named
        .filter(|word| word.starts_with("/usr/") || word.starts_with("/etc/"))
        // Where the unit itself may stand, and a page of the documents.
        .filter(|word| !word.ends_with(".service"))
        .collect();
    assert!(named.len() >= 3, "{named:?}");
    for name in named {
        let is_placed = |place: &String| name == place || name.starts_with(&format!("{place}/"));
        assert!(
            places.iter().any(is_placed),
            "{name} is in no package: {places:?}"
        );
    }
}

#[test]
fn with_every_store_the_service_has_keys_and_audit_log_where_the_commands_look() {
    let path = root().join("conf/systemd/gateway.toml");
    let text = fs::read_to_string(&path).unwrap();
    for store in ["file:/var/lib/cupcake-gateway", "redis://127.0.0.1:6379/0"] {
        let mut layers = Layers::new(&SCHEMA);
        layers.file(&path, &text);
        layers.flag("store.url", "--store", store);
        let config = config::resolve(&layers).unwrap();
        // What `gateway grants ls --store file:/var/lib/cupcake-gateway` goes by.
        let keys = Path::new("/var/lib/cupcake-gateway/keys");
        assert_eq!(config.keys_dir, keys, "{store}");
        let log = config.audit.unwrap().file;
        let expected = Path::new("/var/lib/cupcake-gateway/audit/audit.jsonl");
        assert_eq!(log, expected, "{store}");
    }
}

/// What the package's script asks of systemd where no reload succeeds, and whether it succeeds itself.
fn asked_where_reload_fails(state: &Path) -> (Vec<String>, bool) {
    let work = tempfile::tempdir().unwrap();
    let (script, asked) = (work.path().join("postinst"), work.path().join("asked"));
    let text = fs::read_to_string(root().join("conf/systemd/debian/postinst")).unwrap();
    let text = text.replace("/run/systemd/system", &work.path().display().to_string());
    let text = text.replace("/var/lib/cupcake-gateway", &state.display().to_string());
    fs::write(&script, text).unwrap();
    let systemctl = format!(
        "#!/bin/sh\necho \"$1\" >>{}\ncase $1 in reload | try-restart) exit 1 ;; esac\n",
        asked.display()
    );
    for (name, text) in [
        ("systemctl", &*systemctl),
        ("systemd-sysusers", "#!/bin/sh\n"),
    ] {
        let program = work.path().join(name);
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", work.path().display());
    let ended = Command::new("sh")
        .arg(&script)
        .args(["configure", "0.0.9"])
        .env("PATH", path)
        .status();
    let asked = fs::read_to_string(asked).unwrap();
    let asked = asked.lines().map(str::to_owned).collect();
    (asked, ended.unwrap().success())
}

#[test]
fn a_package_stops_no_gateway_that_could_hand_over_and_is_installed_all_the_same() {
    for folder in [".", "state"] {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        let before = asked_where_reload_fails(state.path());
        let _listener = UnixListener::bind(folder.join("upgrade.sock")).unwrap();
        let after = asked_where_reload_fails(state.path());
        let words = |asked: &[&str]| asked.iter().map(|&word| word.to_owned()).collect();
        let restarted = ["daemon-reload", "--quiet", "reload", "try-restart"];
        assert_eq!(before, (words(&restarted), true));
        assert_eq!(after, (words(&restarted[..3]), true));
    }
}
