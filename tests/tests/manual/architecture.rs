//! The walks of ARCHITECTURE.md lead through functions that exist. A step is written as
//! `` `path/file.rs` `function` ``: the path from the top of the repository, then what is in it.

use anyhow::{Context, Result};
use tests::program::workspace;

use crate::pages;

/// The steps on a page: file and function.
fn steps(text: &str) -> Vec<(&str, &str)> {
    let pieces: Vec<&str> = text.split('`').collect();
    let file = |piece: &str| piece.ends_with(".rs") && piece.contains('/');
    let name = |piece: &str| {
        !piece.is_empty() && piece.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    pieces
        .windows(3)
        .filter(|three| file(three[0]) && three[1].trim().is_empty() && name(three[2]))
        .map(|three| (three[0], three[2]))
        .collect()
}

/// What is wrong with a step, if anything is.
fn fault(file: &str, name: &str) -> Option<String> {
    let Ok(source) = std::fs::read_to_string(workspace().join(file)) else {
        return Some(format!("{file} is not there"));
    };
    let defined = ["fn ", "struct ", "enum ", "trait ", "type ", "const "]
        .iter()
        .any(|kind| {
            let definition = format!("{kind}{name}");
            source.match_indices(&definition).any(|(at, _)| {
                let after = source[at + definition.len()..].chars().next();
                after.is_none_or(|c| !c.is_alphanumeric() && c != '_')
            })
        });
    (!defined).then(|| format!("{file} has no `{name}`"))
}

#[test]
fn the_walks_lead_through_functions_that_exist() -> Result<()> {
    let page = pages::architecture()?;
    let steps = steps(&page.text);
    let faults: Vec<String> = steps
        .iter()
        .filter_map(|(file, name)| fault(file, name))
        .collect();
    assert!(
        faults.is_empty(),
        "gateway/ARCHITECTURE.md:\n{}",
        faults.join("\n")
    );
    for walk in ["A tool call", "From /authorize to /token", "A revocation"] {
        let (_, after) = page
            .text
            .split_once(&format!("## {walk}"))
            .with_context(|| walk.to_owned())?;
        let (section, _) = after.split_once("\n## ").unwrap_or((after, ""));
        let length = self::steps(section).len();
        assert!(length >= 5, "{walk}: only {length} steps");
    }
    Ok(())
}

#[test]
fn a_step_that_leads_nowhere_is_noticed() {
    let text = "1. `tests/src/program.rs` `binary`: x\n2. `tests/src/program.rs` `bina`\n3. `tests/src/nowhere.rs` `binary` and `other`";
    let found = steps(text);
    assert_eq!(found.len(), 3);
    let faults: Vec<bool> = found
        .iter()
        .map(|(file, name)| fault(file, name).is_some())
        .collect();
    assert_eq!(faults, [false, true, true]);
}
