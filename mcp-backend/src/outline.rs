//! From the headings of a text to its sections, pure.
//!
//! Sections are what a search finds: small enough to be an answer, named by their headings so that
//! the name survives edits elsewhere in the text.

use std::collections::HashMap;
use std::ops::Range;

use crate::document::Section;
use crate::text::{floor_boundary, one_line};

/// A heading as a format found it.
#[derive(Debug, Clone, PartialEq)]
pub struct Heading {
    /// 1 for the outermost.
    pub level: u8,
    /// Its words.
    pub text: String,
    /// Its bytes in the text.
    pub range: Range<usize>,
}

/// Characters of a heading that are kept.
pub const LONGEST_HEADING: usize = 160;
/// A longer section is cut into parts (bytes).
const LONGEST_SECTION: usize = 50_000;
/// Slug of what comes before the first heading; no heading has it.
const PREAMBLE: &str = ".top";
/// Headings beyond this many do not start a section of their own.
const MOST_SECTIONS: usize = 2_000;

/// The sections of `text`, in order, covering all of it; never empty.
///
/// `headings` are in the order of the text. A heading with nothing below it joins the next section.
pub fn sections(text: &str, headings: &[Heading]) -> Vec<Section> {
    let mut slugs = Slugs::default();
    let mut trail: Vec<(u8, String)> = Vec::new();
    let mut sections: Vec<Section> = Vec::new();

    let first = headings
        .first()
        .map_or(text.len(), |heading| heading.range.start);
    let mut start = 0;
    if headings.is_empty() || !text[..first].trim().is_empty() {
        cut(
            text,
            Vec::new(),
            slugs.unique(PREAMBLE.to_owned()),
            0..first,
            0..first,
            &mut sections,
        );
        start = first;
    }

    let headings = &headings[..headings.len().min(MOST_SECTIONS)];
    for (index, heading) in headings.iter().enumerate() {
        let end = headings
            .get(index + 1)
            .map_or(text.len(), |next| next.range.start);
        let body = heading.range.end.min(end)..end;
        while trail
            .last()
            .is_some_and(|(level, _)| *level >= heading.level)
        {
            trail.pop();
        }
        trail.push((heading.level, one_line(&heading.text, LONGEST_HEADING)));

        let is_last = index + 1 == headings.len();
        if !is_last && text[body.clone()].trim().is_empty() {
            continue;
        }
        let names: Vec<String> = trail.iter().map(|(_, name)| name.clone()).collect();
        let slug: Vec<String> = names.iter().map(|name| slug(name)).collect();
        cut(
            text,
            names,
            slugs.unique(slug.join("/")),
            start..end,
            body,
            &mut sections,
        );
        start = end;
    }
    sections
}

/// A heading in the form that anchors have: letters, digits, `-` and `_`, in lower case.
pub fn slug(heading: &str) -> String {
    let slug: String = heading
        .trim()
        .chars()
        .flat_map(char::to_lowercase)
        .filter_map(|c| match c {
            _ if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ if c.is_whitespace() => Some('-'),
            _ => None,
        })
        .collect();
    if slug.is_empty() {
        "section".to_owned()
    } else {
        slug
    }
}

/// Adds one section, in parts if it is too long to be read at once.
fn cut(
    text: &str,
    headings: Vec<String>,
    slug: String,
    range: Range<usize>,
    body: Range<usize>,
    sections: &mut Vec<Section>,
) {
    let mut start = range.start;
    for part in 1.. {
        let is_last = range.end - start <= LONGEST_SECTION;
        let end = if is_last {
            range.end
        } else {
            start + cut_point(&text[start..range.end])
        };
        sections.push(Section {
            slug: part_slug(&slug, part),
            headings: headings.clone(),
            range: start..end,
            body: body.start.clamp(start, end)..end,
            plain: None,
        });
        if is_last {
            return;
        }
        start = end;
    }
}

fn part_slug(slug: &str, part: usize) -> String {
    if part == 1 {
        slug.to_owned()
    } else {
        format!("{slug}~{part}")
    }
}

/// Where to cut a text that is too long: after a paragraph, else a line, else a character.
fn cut_point(text: &str) -> usize {
    let limit = floor_boundary(text, LONGEST_SECTION);
    let head = &text[..limit];
    let after = |separator: &str| {
        head.rfind(separator)
            .map(|at| at + separator.len())
            .filter(|at| *at > limit / 2)
    };
    after("\n\n")
        .or_else(|| after("\n"))
        .or_else(|| after(" "))
        .unwrap_or(limit)
}

/// Keeps slugs apart within one document by counting the repeated ones.
#[derive(Default)]
struct Slugs {
    seen: HashMap<String, usize>,
}

impl Slugs {
    fn unique(&mut self, slug: String) -> String {
        let count = self.seen.entry(slug.clone()).or_insert(0);
        *count += 1;
        match *count {
            1 => slug,
            // `.` is in no slug, so a counted name never meets one that a heading spells.
            again => format!("{slug}.{again}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(text: &str) -> Vec<Section> {
        let mut headings = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let level = line.bytes().take_while(|byte| *byte == b'#').count();
            if level > 0 {
                let text = line[level..].trim().to_owned();
                headings.push(Heading {
                    level: level as u8,
                    text,
                    range: start..start + line.len(),
                });
            }
            start += line.len();
        }
        sections(text, &headings)
    }

    fn slugs(text: &str) -> Vec<String> {
        outline(text)
            .into_iter()
            .map(|section| section.slug)
            .collect()
    }

    #[test]
    fn sections_are_named_by_their_headings_and_cover_the_text() {
        let text = "intro\n# A\nx\n## B c\ny\n# D\nz\n";
        assert_eq!(slugs(text), [".top", "a", "a/b-c", "d"]);
        let joined: String = outline(text)
            .iter()
            .map(|s| &text[s.range.clone()])
            .collect();
        assert_eq!(joined, text);
    }

    #[test]
    fn a_heading_with_nothing_below_it_joins_the_next_section() {
        let text = "# A\n\n## B\ny\n## C\n";
        let sections = outline(text);
        assert_eq!(sections[0].slug, "a/b");
        assert_eq!(&text[sections[0].range.clone()], "# A\n\n## B\ny\n");
        assert_eq!(&text[sections[0].body.clone()], "y\n");
        assert_eq!(sections[1].slug, "a/c");
    }

    #[test]
    fn repeated_headings_stay_apart() {
        assert_eq!(slugs("# A\nx\n# A\ny\n# A\nz\n"), ["a", "a.2", "a.3"]);
        assert_eq!(slugs("# ?\nx\n# !\ny\n"), ["section", "section.2"]);
    }

    #[test]
    fn an_edit_elsewhere_leaves_the_names_alone() {
        let before = slugs("# A\nx\n# B\ny\n");
        let after = slugs("# A\nx\n# New\nn\n# B\ny changed\n");
        assert!(before.iter().all(|slug| after.contains(slug)));
    }

    #[test]
    fn a_long_section_is_cut_into_parts_that_cover_it() {
        let text = format!("# A\n{}", "word ".repeat(30_000));
        let sections = outline(&text);
        assert!(sections.len() >= 3);
        assert_eq!(sections[1].slug, "a~2");
        assert!(
            sections
                .iter()
                .all(|section| section.range.len() <= LONGEST_SECTION)
        );
        let joined: String = sections.iter().map(|s| &text[s.range.clone()]).collect();
        assert_eq!(joined, text);
    }

    #[test]
    fn a_text_without_headings_is_one_section_even_if_empty() {
        assert_eq!(slugs(""), [".top"]);
        assert_eq!(slugs("x"), [".top"]);
    }

    #[test]
    fn a_flood_of_headings_is_bounded() {
        assert!(slugs(&"# a\nx\n".repeat(5_000)).len() <= MOST_SECTIONS);
    }
}
