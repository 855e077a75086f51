//! From the bytes of a file to documents: which types are read, and what each makes of them.
//!
//! Pure. What a file may be read at all is decided in [`crate::folder`].

mod html;
mod markdown;
mod records;

use std::collections::BTreeMap;

use crate::document::Document;
use crate::outline::{self, Heading};
use crate::text::{clean, one_line};

/// Characters of a title that are kept.
const LONGEST_TITLE: usize = 200;

/// A type of file that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Markdown, with optional front matter.
    Markdown,
    /// Plain text.
    Text,
    /// HTML, of which the text is kept.
    Html,
    /// JSON: a list of records, each a document.
    Records,
}

/// Why a file gave no documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes are not UTF-8.
    #[error("the file is not UTF-8 text")]
    Encoding,
    /// The JSON is broken; where, and how.
    #[error("the file is not valid JSON: {0}")]
    Syntax(String),
    /// The JSON is something else than records.
    #[error("the JSON is neither a list of records nor an object with a list \"records\"")]
    Shape,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq)]
pub struct Parsed {
    /// The documents in it.
    pub documents: Vec<Document>,
    /// One sentence for each record that was left out.
    pub faults: Vec<String>,
}

impl Format {
    /// The format that a file's name promises; `None` if such files are not read.
    pub fn from_name(name: &str) -> Option<Self> {
        let (stem, extension) = name.rsplit_once('.')?;
        if stem.is_empty() {
            return None;
        }
        match extension.to_ascii_lowercase().as_str() {
            "md" | "markdown" => Some(Self::Markdown),
            "txt" | "text" => Some(Self::Text),
            "html" | "htm" => Some(Self::Html),
            "json" => Some(Self::Records),
            _ => None,
        }
    }

    /// Reads the documents of a file; `source` is its path below the folder.
    ///
    /// # Errors
    /// The bytes are not what the format asks for.
    pub fn parse(self, source: &str, bytes: &[u8]) -> Result<Parsed, FormatError> {
        let text = std::str::from_utf8(bytes).map_err(|_| FormatError::Encoding)?;
        let draft = match self {
            Self::Records => return records::parse(source, text),
            Self::Markdown => markdown::parse(clean(text)),
            Self::Html => html::parse(text),
            Self::Text => Draft {
                text: clean(text),
                ..Draft::default()
            },
        };
        Ok(Parsed {
            documents: vec![draft.finish(source)],
            faults: Vec::new(),
        })
    }
}

/// What a format found in one text.
#[derive(Default)]
struct Draft {
    title: Option<String>,
    metadata: BTreeMap<String, String>,
    text: String,
    headings: Vec<Heading>,
    /// Readable words and where they stand, if the text is marked up.
    plain: Option<Vec<(usize, String)>>,
}

impl Draft {
    fn finish(self, source: &str) -> Document {
        let mut sections = outline::sections(&self.text, &self.headings);
        if let Some(pieces) = self.plain {
            let mut pieces = pieces.into_iter().peekable();
            for section in &mut sections {
                let mut plain = String::new();
                while let Some((at, piece)) = pieces.next_if(|(at, _)| *at < section.range.end) {
                    if at >= section.body.start {
                        plain.push_str(&piece);
                    }
                }
                section.plain = Some(plain);
            }
        }
        let main_heading = || {
            self.headings
                .iter()
                .find(|heading| heading.level == 1)
                .or(self.headings.first())
                .map(|heading| heading.text.clone())
        };
        let title = self
            .title
            .or_else(main_heading)
            .map(|title| one_line(&title, LONGEST_TITLE));
        Document {
            source: source.to_owned(),
            record: None,
            title: title
                .filter(|title| !title.is_empty())
                .unwrap_or_else(|| title_of_file(source)),
            url: None,
            metadata: self.metadata,
            text: self.text,
            sections,
        }
    }
}

/// A title for a text that has none: the file's name without its extension.
fn title_of_file(source: &str) -> String {
    let name = source.rsplit('/').next().unwrap_or(source);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    one_line(&clean(&stem.replace(['-', '_'], " ")), LONGEST_TITLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_decides_and_unknown_types_are_not_read() {
        assert_eq!(Format::from_name("a.MD"), Some(Format::Markdown));
        assert_eq!(Format::from_name("a.b.htm"), Some(Format::Html));
        for name in ["a", "a.pdf", "a.png", ".md", "json", "a.md.swp", "a.md~"] {
            assert_eq!(Format::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_text_is_titled_by_its_file() {
        let parsed = Format::Text
            .parse("notes/cup_cake-list.txt", b"flour\0, eggs")
            .unwrap();
        let document = &parsed.documents[0];
        assert_eq!(document.title, "cup cake list");
        assert_eq!(document.text, "flour, eggs");
        assert_eq!(document.sections.len(), 1);
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        assert_eq!(
            Format::Text.parse("a.txt", &[0xff, 0xfe, 0x41]),
            Err(FormatError::Encoding)
        );
    }
}
