//! Every link, anchor, picture and named file is there.

use std::collections::BTreeSet;

use anyhow::Result;
use tests::program::workspace;

use crate::pages::{self, Page};

/// What is wrong with a link of this page, if anything is.
fn fault(page: &Page, all: &[Page], target: &str) -> Option<String> {
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    let file = if path.is_empty() {
        workspace().join(&page.path)
    } else {
        page.folder().join(path)
    };
    let Ok(file) = file.canonicalize() else {
        return Some(format!("{}: {target} is not there", page.path));
    };
    let anchor = anchor?;
    let linked = all.iter().find(|other| {
        let other = workspace().join(&other.path).canonicalize();
        other.is_ok_and(|other| other == file)
    });
    let anchors = linked.map(Page::anchors).unwrap_or_default();
    (!anchors.iter().any(|known| known == anchor))
        .then(|| format!("{}: {target} has no such heading", page.path))
}

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    let all = pages::all()?;
    let mut faults = Vec::new();
    let mut links = 0;
    for page in &all {
        for target in page.targets() {
            if target.starts_with("https://")
                || target.starts_with("http://")
                || target.starts_with("mailto:")
            {
                continue;
            }
            links += 1;
            faults.extend(fault(page, &all, &target));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(links > 50, "only {links} links were found");
    Ok(())
}

#[test]
fn a_link_that_leads_nowhere_is_noticed() -> Result<()> {
    let all = pages::all()?;
    let readme = pages::readme()?;
    for wrong in [
        "nowhere.md",
        "conf/documents/limits.md#no-such-heading",
        "#no-such-heading",
    ] {
        assert!(fault(&readme, &all, wrong).is_some(), "{wrong}");
    }
    assert_eq!(fault(&readme, &all, "conf/documents/limits.md"), None);
    Ok(())
}

/// The folders whose files pages name in code spans.
const FOLDERS: [&str; 6] = [
    "conf/",
    "gateway/",
    "mcp-backend/",
    "tests/",
    ".github/",
    ".ci/",
];

#[test]
fn every_file_that_a_page_names_is_there() -> Result<()> {
    let mut missing = Vec::new();
    for page in pages::all()? {
        for span in page.code_spans() {
            let path = span.split_whitespace().next().unwrap_or_default();
            let named = FOLDERS.iter().any(|folder| path.starts_with(folder));
            // `…/NAME` and `…/*` stand for many.
            let many = path.chars().any(|c| matches!(c, '*' | '…' | '{')) || path.contains("NAME");
            if named && !many && !workspace().join(path).exists() {
                missing.push(format!("{}: {path}", page.path));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    Ok(())
}

#[test]
fn every_page_of_the_manual_is_linked_from_its_first_and_from_the_readme() -> Result<()> {
    let manual = pages::manual()?;
    let first = manual
        .iter()
        .find(|page| page.path.ends_with("/what-it-is.md"));
    let first: BTreeSet<String> = first
        .map(Page::targets)
        .unwrap_or_default()
        .into_iter()
        .collect();
    let readme: BTreeSet<String> = pages::readme()?.targets().into_iter().collect();
    for page in &manual {
        let name = page.path.trim_start_matches("conf/documents/");
        if name == "what-it-is.md" {
            continue;
        }
        assert!(first.contains(name), "what-it-is.md does not link {name}");
        assert!(
            readme.contains(&page.path),
            "README.md does not link {}",
            page.path
        );
    }
    Ok(())
}

#[test]
fn the_readme_is_short() -> Result<()> {
    let words = pages::readme()?.text.split_whitespace().count();
    println!("README.md has {words} words");
    assert!(
        words <= 1_500,
        "README.md has {words} words; the rest belongs into the manual"
    );
    Ok(())
}

#[test]
fn the_readme_counts_the_clients_and_servers_of_the_tables() -> Result<()> {
    let manual = pages::manual()?;
    let rows = |page: &str, mark: &str| -> Vec<String> {
        let text = manual
            .iter()
            .find(|found| found.path.ends_with(page))
            .map_or("", |found| found.text.as_str());
        let (_, table) = text
            .split_once(&format!("<!-- {mark} -->"))
            .unwrap_or_default();
        let (table, _) = table
            .split_once(&format!("<!-- /{mark} -->"))
            .unwrap_or_default();
        let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
        rows.filter_map(|row| Some(row.split('|').nth(1)?.trim().to_owned()))
            .collect()
    };
    let clients: BTreeSet<String> = rows("/clients.md", "clients").into_iter().collect();
    let servers = rows("/servers.md", "servers");
    let says = format!(
        "The tests drive {} clients and {} servers",
        clients.len(),
        servers.len()
    );
    assert!(
        pages::readme()?.text.contains(&says),
        "README.md does not say: {says}"
    );
    Ok(())
}
