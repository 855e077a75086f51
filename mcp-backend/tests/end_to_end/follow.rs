//! The folder while it changes.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::backend::{Backend, Documents, eventually};
use crate::mcp::{Client, StatelessClient};

fn titles(backend: &Backend, query: &str) -> Vec<String> {
    let results = StatelessClient {
        address: backend.address,
    }
    .search(query);
    results
        .iter()
        .map(|found| found["title"].as_str().expect("a title").to_owned())
        .collect()
}

#[test]
fn files_that_are_added_changed_moved_and_removed_are_noticed() {
    let documents = Documents::new(&[("a.md", "# First\n\nflour\n")]);
    let backend = Backend::start(documents.path());
    assert_eq!(titles(&backend, "flour"), ["First"]);

    documents.write("new/folder/b.md", "# Second\n\nflour\n");
    eventually("the new file", || {
        (titles(&backend, "flour").len() == 2).then_some(())
    });

    documents.write("a.md", "# First\n\nsugar\n");
    eventually("the changed file", || {
        (titles(&backend, "sugar") == ["First"]).then_some(())
    });
    assert_eq!(titles(&backend, "flour"), ["Second"]);

    fs::rename(documents.file("new"), documents.file("old")).unwrap();
    eventually("the moved file", || {
        let results = StatelessClient {
            address: backend.address,
        }
        .search("flour");
        let fetched = StatelessClient {
            address: backend.address,
        }
        .call("fetch", json!({ "id": results.first()?["id"] }));
        (fetched["structuredContent"]["metadata"]["source"] == "old/folder/b.md").then_some(())
    });

    fs::remove_file(documents.file("old/folder/b.md")).unwrap();
    eventually("the removed file", || {
        titles(&backend, "flour").is_empty().then_some(())
    });
}

#[test]
fn a_removed_document_cannot_be_fetched_any_more() {
    let documents = Documents::new(&[("a.md", "# First\n\nflour\n")]);
    let backend = Backend::start(documents.path());
    let mut client = StatelessClient {
        address: backend.address,
    };
    let id = client.search("flour")[0]["id"].clone();
    fs::remove_file(documents.file("a.md")).unwrap();
    let result = eventually("the removal", || {
        let result = client.call("fetch", json!({ "id": id }));
        (result["isError"] == true).then_some(result)
    });
    assert!(!result.to_string().contains("flour"));
}

#[test]
fn ids_stay_over_edits_and_restarts() {
    let documents = Documents::new(&[("a.md", "# Cakes\n\n## One\n\nflour\n\n## Two\n\nsugar\n")]);
    let id = {
        let backend = Backend::start(documents.path());
        StatelessClient {
            address: backend.address,
        }
        .search("sugar")[0]["id"]
            .clone()
    };
    documents.write(
        "a.md",
        "# Cakes\n\nmore\n\n## New\n\nmilk\n\n## Two\n\nsugar and salt\n",
    );
    let backend = Backend::start(documents.path());
    let result = StatelessClient {
        address: backend.address,
    }
    .call("fetch", json!({ "id": id }));
    assert_eq!(result["structuredContent"]["title"], "Cakes — Two");
}

#[test]
fn nothing_outside_the_folder_is_ever_served() {
    let outside = Documents::new(&[
        ("secret.md", "# Secret\n\nplutonium\n"),
        ("folder/more.md", "# More\n\nplutonium\n"),
    ]);
    let documents = Documents::new(&[("a.md", "# First\n\nflour\n")]);
    symlink(outside.file("secret.md"), documents.file("before.md")).unwrap();
    let backend = Backend::start(documents.path());
    assert!(titles(&backend, "plutonium").is_empty());

    symlink(outside.file("secret.md"), documents.file("after.md")).unwrap();
    symlink(outside.path(), documents.file("linked")).unwrap();
    fs::remove_file(documents.file("a.md")).unwrap();
    symlink(outside.file("secret.md"), documents.file("a.md")).unwrap();
    // Written last, so that when it is found the links have been looked at.
    documents.write("z.md", "# Last\n\nyeast\n");
    eventually("the last file", || {
        (titles(&backend, "yeast").len() == 1).then_some(())
    });
    assert!(titles(&backend, "plutonium").is_empty());
}

#[test]
fn ignored_and_hidden_files_are_not_served() {
    let documents = Documents::new(&[
        (".gitignore", "drafts/\n"),
        ("drafts/d.md", "# Draft\n\nflour\n"),
        (".hidden.md", "# Hidden\n\nflour\n"),
        ("a.md", "# Shown\n\nflour\n"),
    ]);
    let backend = Backend::start(documents.path());
    assert_eq!(titles(&backend, "flour"), ["Shown"]);
    documents.write(".gitignore", "a.md\n");
    eventually("the new rules", || {
        (titles(&backend, "flour") == ["Draft"]).then_some(())
    });
}

#[test]
fn a_broken_file_does_not_stop_the_others() {
    let documents = Documents::new(&[("broken.json", "[{"), ("a.md", "# Good\n\nflour\n")]);
    fs::write(documents.file("binary.md"), [0xff, 0xfe, 0x00]).unwrap();
    let backend = Backend::start(documents.path());
    assert_eq!(titles(&backend, "flour"), ["Good"]);
    documents.write(
        "broken.json",
        r#"[{"id":"1","title":"Mended","text":"flour"}]"#,
    );
    let found = eventually("the mended file", || {
        let found: Vec<Value> = StatelessClient {
            address: backend.address,
        }
        .search("mended");
        found.into_iter().next()
    });
    assert_eq!(found["title"], "Mended");
}
