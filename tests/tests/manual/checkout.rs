//! What a checkout on another system needs: scripts keep the ends of their lines, and pages that build say
//! where that can be done.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use tests::program::workspace;

use crate::pages;

/// What git prints, in pieces that end in NUL.
fn git(arguments: &[&str]) -> Result<Vec<String>> {
    let asked = Command::new("git")
        .current_dir(workspace())
        .args(arguments)
        .output();
    let output = asked?;
    ensure!(output.status.success(), "git {arguments:?} failed");
    let pieces = String::from_utf8(output.stdout)?;
    let pieces = pieces.split('\0').filter(|piece| !piece.is_empty());
    Ok(pieces.map(str::to_owned).collect())
}

#[test]
fn every_script_has_the_line_ends_of_linux_wherever_it_is_checked_out() -> Result<()> {
    if !workspace().join(".git").exists() {
        println!("not judged: the source is no clone");
        return Ok(());
    }
    let is_script = |path: &String| {
        let begins = std::fs::read(workspace().join(path)).ok();
        begins.is_some_and(|text| text.starts_with(b"#!"))
    };
    let mut scripts: Vec<String> = git(&["ls-files", "-z"])?;
    // What docker compose reads variables from: each would end in `\r`.
    scripts.retain(|path| is_script(path) || path.ends_with(".env"));
    ensure!(scripts.len() > 5, "{scripts:?}");
    let mut arguments = vec!["check-attr", "-z", "eol", "--"];
    arguments.extend(scripts.iter().map(String::as_str));
    let answered = git(&arguments)?;
    let wrong: Vec<&String> = answered
        .chunks_exact(3)
        .filter(|answer| answer[2] != "lf")
        .map(|answer| &answer[0])
        .collect();
    assert_eq!(answered.len(), scripts.len() * 3);
    assert!(wrong.is_empty(), "without eol=lf: {wrong:?}");
    Ok(())
}

#[test]
fn a_page_whose_first_command_builds_says_that_it_is_for_linux() -> Result<()> {
    let mut seen = 0;
    for page in pages::all()? {
        for (at, _) in page.text.match_indices("cargo build --release &&") {
            // The sentence before the block.
            let before = page.text[..at].trim_end().trim_end_matches("```sh");
            let sentence = before.trim_end().lines().last();
            let sentence = sentence.with_context(|| page.path.clone())?;
            assert!(sentence.contains("Linux"), "{}: {sentence}", page.path);
            seen += 1;
        }
    }
    assert!(seen >= 2, "{seen}");
    Ok(())
}
