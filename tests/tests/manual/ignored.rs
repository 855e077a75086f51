//! The table of CONTRIBUTING lists the tests that are ignored, each with its package and what it needs, as the
//! source says it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tests::program::workspace;

/// Folders in which no test of ours is.
const PASSED_OVER: [&str; 4] = ["target", "node_modules", ".work", "libz-ng-sys"];

/// A test that is ignored: its name, its package, and why.
type Ignored = (String, String, String);

/// Those of a source file, whose package this is.
fn in_source(text: &str, package: &str) -> Result<Vec<Ignored>> {
    let mut found = Vec::new();
    // What the pieces begin with is written apart here: this file has no such test.
    for piece in text.split(concat!("#[", "ignore")).skip(1) {
        let reason = piece
            .strip_prefix(" = \"")
            .context("one without a reason")?;
        let (reason, rest) = reason.split_once("\"]").context("one without an end")?;
        let (_, name) = rest.split_once("fn ").context("one without a test")?;
        let (name, _) = name.split_once('(').context("a test without a name")?;
        found.push((name.to_owned(), package.to_owned(), reason.to_owned()));
    }
    Ok(found)
}

/// What a file belongs to.
fn package_of(file: &Path) -> Result<String> {
    let folders = file.ancestors().skip(1);
    let mut manifests = folders.map(|folder| folder.join("Cargo.toml"));
    let manifest = manifests.find(|manifest| manifest.is_file());
    let manifest = std::fs::read_to_string(manifest.context("no manifest")?)?;
    let named = manifest
        .lines()
        .find_map(|line| line.strip_prefix("name = \""));
    let named = named.and_then(|rest| rest.strip_suffix('"'));
    Ok(named.context("no name in a manifest")?.to_owned())
}

fn in_folder(folder: &Path, found: &mut BTreeSet<Ignored>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let (path, name) = entry.map(|it| (it.path(), it.file_name()))?;
        let name = name.to_string_lossy();
        if path.is_dir() && !path.is_symlink() && !PASSED_OVER.contains(&name.as_ref()) {
            in_folder(&path, found)?;
        } else if name.ends_with(".rs") && path.is_file() {
            let text = std::fs::read_to_string(&path)?;
            let here = in_source(&text, &package_of(&path)?);
            found.extend(here.with_context(|| path.display().to_string())?);
        }
    }
    Ok(())
}

/// The rows of the table.
fn in_table(page: &str) -> BTreeSet<Ignored> {
    let (_, after) = page.split_once("| ignored test |").unwrap_or_default();
    let rows = after
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`')));
    cells
        .filter_map(|mut cells| {
            let mut next = || cells.next().map(str::to_owned);
            next()?;
            Some((next()?, next()?, next()?))
        })
        .collect()
}

#[test]
fn the_table_of_ignored_tests_is_the_one_of_the_source() -> Result<()> {
    let mut found = BTreeSet::new();
    for folder in ["gateway", "mcp-backend", "tests"] {
        in_folder(&workspace().join(folder), &mut found)?;
    }
    ensure!(found.len() > 5, "only {found:?}");
    let page = std::fs::read_to_string(workspace().join(".github/CONTRIBUTING.md"))?;
    let told = in_table(&page);
    let missing: Vec<_> = found.difference(&told).collect();
    let gone: Vec<_> = told.difference(&found).collect();
    ensure!(
        missing.is_empty() && gone.is_empty(),
        ".github/CONTRIBUTING.md lacks {missing:#?} and lists {gone:#?}"
    );
    Ok(())
}

#[test]
fn one_without_a_reason_is_noticed() {
    let attribute = concat!("#[", "ignore");
    let text = format!("{attribute} = \"why\"]\nasync fn it() {{}}\n");
    let row = ["it", "p", "why"].map(str::to_owned);
    assert_eq!(in_source(&text, "p").ok(), Some(vec![row.into()]));
    assert!(in_source(&format!("{attribute}]\nfn it() {{}}\n"), "p").is_err());
    let page = "x\n| ignored test | package | needs |\n|---|---|---|\n| `it` | `p` | why |\n\n| not | this |\n";
    assert_eq!(in_table(page).len(), 1);
}
