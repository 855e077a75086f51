//! Imports point down only: the map in `lib.rs` is held against every `use crate::` line.

// Helpers of tests, outside of the test functions that the lint knows.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Module to floor, as the table of `lib.rs` says.
fn floors() -> BTreeMap<String, u8> {
    let map = fs::read_to_string(source().join("lib.rs")).unwrap();
    let mut floors = BTreeMap::new();
    for line in map.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let Some(floor) = line.split(' ').next().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let modules = line.split('|').nth(1).unwrap();
        for module in modules.split('`').skip(1).step_by(2) {
            floors.insert(module.to_owned(), floor);
        }
    }
    floors
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The top-level modules that each module names with `crate::`.
fn imports() -> BTreeMap<String, BTreeSet<(String, PathBuf)>> {
    let mut found = Vec::new();
    files(&source(), &mut found);
    let mut imports: BTreeMap<String, BTreeSet<(String, PathBuf)>> = BTreeMap::new();
    for path in found {
        let inside = path.strip_prefix(source()).unwrap();
        let module = inside
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let own = text.split("#[cfg(test)]").next().unwrap_or_default();
        for part in own.split("crate::").skip(1) {
            let name: String = part
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            if !name.is_empty() && name != module {
                imports
                    .entry(module.clone())
                    .or_default()
                    .insert((name, path.clone()));
            }
        }
    }
    imports
}

#[test]
fn every_module_has_a_floor() {
    let floors = floors();
    for entry in fs::read_dir(source()).unwrap() {
        let name = entry.unwrap().file_name();
        let module = name.to_str().unwrap().trim_end_matches(".rs").to_owned();
        assert!(
            module == "lib" || floors.contains_key(&module),
            "{module} is missing in the map of lib.rs"
        );
    }
}

#[test]
fn no_import_points_up() {
    let floors = floors();
    let mut wrong = Vec::new();
    for (module, names) in imports() {
        for (name, path) in names {
            match (floors.get(&module), floors.get(&name)) {
                (Some(here), Some(there)) if there > here => {
                    wrong.push(format!(
                        "{}: {module} ({here}) imports {name} ({there})",
                        path.display()
                    ));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_two_modules_import_each_other() {
    let imports: BTreeMap<String, BTreeSet<String>> = imports()
        .into_iter()
        .filter(|(module, _)| module != "lib" && module != "main")
        .map(|(module, names)| (module, names.into_iter().map(|(name, _)| name).collect()))
        .collect();
    // What can be reached from a module must not reach back.
    for start in imports.keys() {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&String> = imports[start].iter().collect();
        while let Some(module) = open.pop() {
            assert!(module != start, "{start} is part of a cycle");
            if seen.insert(module) {
                open.extend(imports.get(module).into_iter().flatten());
            }
        }
    }
}

#[test]
fn the_decision_floors_do_no_io_and_read_no_clock() {
    let floors = floors();
    let mut found = Vec::new();
    files(&source(), &mut found);
    for path in found {
        let inside = path.strip_prefix(source()).unwrap();
        let module = inside
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let module = module.trim_end_matches(".rs");
        if floors.get(module).is_none_or(|floor| *floor > 2) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let own = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in [
            "async fn",
            "tokio::",
            "std::fs",
            "std::net::Tcp",
            "pingora",
            "redis::",
            "Clock.now",
        ] {
            let allowed = module == "clock" && word == "Clock.now";
            assert!(
                allowed || !own.contains(word),
                "{} says {word}",
                path.display()
            );
        }
    }
}
