//! Markdown: the text stays as written, headings make sections, and the words a person reads are
//! kept apart for searching.

use std::collections::BTreeMap;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::Draft;
use crate::outline::Heading;

/// Lists and quotes nested deeper than this, in one line or by columns of indentation, are nobody's
/// writing, and to read them costs the square of their number: such a text is read as plain text.
const MOST_NESTED: usize = 64;
const WIDEST: usize = 256;

/// So much of what a person reads is kept in one piece (bytes).
const PIECE: usize = 512;

pub(super) fn parse(text: String) -> Draft {
    if text.lines().any(nests_deeply) {
        return Draft {
            text,
            ..Draft::default()
        };
    }
    let mut reading = Reading::default();
    for (event, range) in Parser::new_ext(&text, options()).into_offset_iter() {
        reading.take(event, range);
    }
    let mut metadata = front_matter(&reading.front_matter);
    Draft {
        title: metadata.remove("title"),
        metadata,
        headings: reading.headings,
        plain: Some(reading.plain),
        text,
    }
}

/// Whether a line begins with more markers of quotes and lists than anybody writes.
fn nests_deeply(line: &str) -> bool {
    let (mut markers, mut blanks) = (0, 0);
    let mut rest = line.as_bytes();
    loop {
        rest = match rest {
            [b' ' | b'\t', after @ ..] => {
                blanks += if rest[0] == b'\t' { 4 } else { 1 };
                after
            }
            [b'>', after @ ..] => {
                markers += 1;
                after
            }
            [b'-' | b'*' | b'+', b' ' | b'\t', after @ ..] => {
                markers += 1;
                after
            }
            _ => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                match rest.get(digits..) {
                    Some([b'.' | b')', b' ' | b'\t', after @ ..]) if (1..=9).contains(&digits) => {
                        markers += 1;
                        after
                    }
                    _ => return markers > MOST_NESTED || (markers > 0 && blanks > WIDEST),
                }
            }
        };
        if markers > MOST_NESTED {
            return true;
        }
    }
}

fn options() -> Options {
    Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
}

#[derive(Default)]
struct Reading {
    headings: Vec<Heading>,
    plain: Vec<(usize, String)>,
    front_matter: String,
    in_heading: bool,
    in_front_matter: bool,
}

impl Reading {
    fn take(&mut self, event: Event<'_>, range: std::ops::Range<usize>) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                self.in_heading = true;
                self.headings.push(Heading {
                    level: level as u8,
                    text: String::new(),
                    range,
                });
            }
            Event::End(TagEnd::Heading(_)) => self.in_heading = false,
            Event::Start(Tag::MetadataBlock(_)) => self.in_front_matter = true,
            Event::End(TagEnd::MetadataBlock(_)) => self.in_front_matter = false,
            Event::End(
                TagEnd::Paragraph
                | TagEnd::Item
                | TagEnd::CodeBlock
                | TagEnd::TableCell
                | TagEnd::TableRow
                | TagEnd::TableHead
                | TagEnd::HtmlBlock,
            ) => self.words(range.end.saturating_sub(1), "\n"),
            Event::SoftBreak | Event::HardBreak => self.words(range.start, "\n"),
            Event::Text(words) | Event::Code(words) => self.words(range.start, &words),
            Event::Html(markup) | Event::InlineHtml(markup) => {
                self.words(range.start, &without_tags(&markup));
            }
            _ => {}
        }
    }

    fn words(&mut self, at: usize, words: &str) {
        if self.in_front_matter {
            self.front_matter.push_str(words);
        } else if let (true, Some(heading)) = (self.in_heading, self.headings.last_mut()) {
            heading.text.push_str(words);
        } else {
            match self.plain.last_mut() {
                // Sections begin at headings: across one, pieces stay apart.
                Some((start, piece))
                    if piece.len() + words.len() <= PIECE
                        && self
                            .headings
                            .last()
                            .is_none_or(|heading| heading.range.start < *start) =>
                {
                    piece.push_str(words);
                }
                _ => self.plain.push((at, words.to_owned())),
            }
        }
    }
}

/// The simple part of YAML that front matter mostly is: `key: value`, one a line.
fn front_matter(block: &str) -> BTreeMap<String, String> {
    block
        .lines()
        .filter(|line| !line.starts_with([' ', '\t', '#', '-']))
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim().to_lowercase(), unquoted(value.trim()).to_owned()))
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .collect()
}

fn unquoted(value: &str) -> &str {
    let quoted = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    quoted('"').or_else(|| quoted('\'')).unwrap_or(value)
}

fn without_tags(markup: &str) -> String {
    let mut words = String::new();
    let mut in_tag = false;
    for character in markup.chars() {
        match character {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                words.push(' ');
            }
            _ if !in_tag => words.push(character),
            _ => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use crate::document::Document;
    use crate::format::Format;

    fn document(text: &str) -> Document {
        let parsed = Format::Markdown
            .parse("guide/a.md", text.as_bytes())
            .unwrap();
        parsed.documents.into_iter().next().unwrap()
    }

    #[test]
    fn headings_make_sections_and_the_source_text_is_kept() {
        let text = "# Cakes\n\nAll *about* [cakes](https://example.com/x).\n\n## Icing\n\n- sugar\n- `butter`\n";
        let document = document(text);
        assert_eq!(document.title, "Cakes");
        assert_eq!(document.text, text);
        let slugs: Vec<_> = document.sections.iter().map(|s| s.slug.as_str()).collect();
        assert_eq!(slugs, ["cakes", "cakes/icing"]);
        assert_eq!(
            document.plain_of(&document.sections[0]).trim(),
            "All about cakes."
        );
        assert_eq!(
            document.plain_of(&document.sections[1]).trim(),
            "sugar\nbutter"
        );
    }

    #[test]
    fn a_heading_inside_a_code_block_is_no_heading() {
        let document = document("# A\n```sh\n# not a heading\n```\n");
        assert_eq!(document.sections.len(), 1);
        assert!(
            document
                .plain_of(&document.sections[0])
                .contains("not a heading")
        );
    }

    #[test]
    fn front_matter_gives_title_and_metadata() {
        let document = document(
            "---\ntitle: \"Small cakes\"\nauthor: the bakery\nlist:\n  - x\n---\n# Other\ntext\n",
        );
        assert_eq!(document.title, "Small cakes");
        assert_eq!(document.metadata["author"], "the bakery");
        assert_eq!(document.metadata.len(), 1);
        assert!(
            !document
                .sections
                .iter()
                .any(|s| document.plain_of(s).contains("bakery"))
        );
    }

    #[test]
    fn any_text_is_read_in_time_that_grows_with_its_length() {
        let flood = |part: &str| part.repeat(1_000_000 / part.len());
        let texts = [
            "- ",
            "> ",
            ">",
            "1. ",
            "* - + ",
            "[",
            "![",
            "](",
            "[a](",
            "*",
            "**a ",
            "_a",
            "`",
            "`a``b",
            "<",
            "<a ",
            "<!--",
            "# a\n",
            "- a\n",
            "> a\n",
            "|a",
            "|a|\n|-|\n",
            "~~a",
            "[^a]",
            "[^a]: b\n",
            "[a]: b\n",
            "\\",
            "&a;",
            "---\n",
            "```\n",
            "\t",
            "$",
            "a\n\n",
            "<div>\n",
            "[x]: <",
            "\n- ",
            "\n  - a",
            "![[a]",
        ];
        for part in texts {
            for text in [
                flood(part),
                format!("{}{}", flood(part), "\n".repeat(200_000)),
            ] {
                let started = std::time::Instant::now();
                let read = document(&text);
                assert!(
                    started.elapsed().as_secs() < 30,
                    "{part:?}: {:?}",
                    started.elapsed()
                );
                assert!(read.sections.len() <= 2_100, "{part:?}");
            }
        }
        // A staircase, and blank lines that every step of it has to look at.
        let mut stairs = String::new();
        for step in 0..1_000 {
            stairs.push_str(&format!("{}- a\n", "  ".repeat(step)));
        }
        let started = std::time::Instant::now();
        document(&(stairs + &"\n".repeat(500_000)));
        assert!(started.elapsed().as_secs() < 30);
    }

    #[test]
    fn words_inside_html_are_searchable_and_its_tags_are_not() {
        let document = document("# A\n<details onclick=evil()>\nhidden <b>words</b>\n</details>\n");
        let plain = document.plain_of(&document.sections[0]);
        assert!(plain.contains("hidden"), "{plain}");
        assert!(!plain.contains("evil"), "{plain}");
    }
}
