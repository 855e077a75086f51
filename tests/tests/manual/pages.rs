//! The pages, and the pieces of Markdown that the tests look at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tests::program::workspace;

/// One page.
pub(crate) struct Page {
    /// Its path from the top of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Page {
    fn read(path: &str) -> Result<Self> {
        let text =
            std::fs::read_to_string(workspace().join(path)).with_context(|| path.to_owned())?;
        Ok(Page {
            path: path.to_owned(),
            text,
        })
    }

    /// The folder that its relative links start from.
    pub(crate) fn folder(&self) -> PathBuf {
        let path = workspace().join(&self.path);
        path.parent().map(Path::to_path_buf).unwrap_or_default()
    }

    /// Its lines outside of fenced code, and the blocks of fenced code with their language.
    pub(crate) fn split(&self) -> (Vec<&str>, Vec<(&str, String)>) {
        let (mut prose, mut blocks) = (Vec::new(), Vec::new());
        let mut open: Option<(&str, String)> = None;
        for line in self.text.lines() {
            match (&mut open, line.trim_start().strip_prefix("```")) {
                (None, Some(language)) => open = Some((language.trim(), String::new())),
                (None, None) => prose.push(line),
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some((_, block)), None) => {
                    block.push_str(line);
                    block.push('\n');
                }
            }
        }
        (prose, blocks)
    }

    /// What stands between single backticks outside of fenced code.
    pub(crate) fn code_spans(&self) -> Vec<&str> {
        let (prose, _) = self.split();
        let spans = |line: &'_ str| -> Vec<(usize, usize)> {
            let ticks: Vec<usize> = line.match_indices('`').map(|(at, _)| at).collect();
            ticks
                .chunks_exact(2)
                .map(|pair| (pair[0] + 1, pair[1]))
                .collect()
        };
        prose
            .into_iter()
            .flat_map(|line| {
                spans(line)
                    .into_iter()
                    .map(move |(from, to)| &line[from..to])
            })
            .collect()
    }

    /// The targets of its links and pictures.
    pub(crate) fn targets(&self) -> Vec<String> {
        let (prose, _) = self.split();
        let mut targets = Vec::new();
        for line in prose {
            for (at, _) in line.match_indices("](") {
                let rest = &line[at + 2..];
                targets.extend(rest.split_once(')').map(|(target, _)| target.to_owned()));
            }
            for attribute in ["src=\"", "srcset=\"", "href=\""] {
                for (at, _) in line.match_indices(attribute) {
                    let rest = &line[at + attribute.len()..];
                    targets.extend(rest.split_once('"').map(|(target, _)| target.to_owned()));
                }
            }
        }
        targets
    }

    /// The anchors of its headings, as GitHub makes them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let (prose, _) = self.split();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let headings = prose.into_iter().filter_map(|line| {
            let words = line.trim_start_matches('#');
            (words.len() < line.len())
                .then(|| words.strip_prefix(' '))
                .flatten()
        });
        headings
            .map(|heading| {
                let slug: String = heading
                    .trim()
                    .to_lowercase()
                    .chars()
                    .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                    .map(|c| if c == ' ' { '-' } else { c })
                    .collect();
                let before = seen.entry(slug.clone()).or_default();
                *before += 1;
                if *before == 1 {
                    slug
                } else {
                    format!("{slug}-{}", *before - 1)
                }
            })
            .collect()
    }
}

/// The files with this ending in a folder, as paths from the top.
fn in_folder(folder: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(workspace().join(folder)).with_context(|| folder.to_owned())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            found.push(format!("{folder}/{name}"));
        }
    }
    found.sort();
    Ok(found)
}

/// The manual alone.
pub(crate) fn manual() -> Result<Vec<Page>> {
    in_folder("conf/documents")?
        .iter()
        .map(|path| Page::read(path))
        .collect()
}

pub(crate) fn readme() -> Result<Page> {
    Page::read("README.md")
}

pub(crate) fn architecture() -> Result<Page> {
    Page::read("gateway/ARCHITECTURE.md")
}

/// All that people read.
pub(crate) fn all() -> Result<Vec<Page>> {
    let mut pages = vec![readme()?, architecture()?];
    pages.extend(manual()?);
    for path in in_folder(".github")? {
        pages.push(Page::read(&path)?);
    }
    Ok(pages)
}

#[test]
fn anchors_are_those_of_github() {
    let page = |text: &str| Page {
        path: "x.md".into(),
        text: text.into(),
    };
    let text =
        "# What \"it\" is: `a_b`, c-d\n## Twice\n```\n# no heading\n```\n## Twice\n#hashtag\n";
    assert_eq!(
        page(text).anchors(),
        ["what-it-is-a_b-c-d", "twice", "twice-1"]
    );
    let text = "See [this](a.md#b), ![that](c.png) and `x`, `y z`.\n```sh\n[no](link.md)\n```\n<img src=\"d.png\">\n";
    assert_eq!(page(text).targets(), ["a.md#b", "c.png", "d.png"]);
    assert_eq!(page(text).code_spans(), ["x", "y z"]);
}
