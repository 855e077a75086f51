//! A document as the folder holds it, its sections, and the ids both are known by.
//!
//! How a file becomes documents is told in [`crate::format`]; what is searched, in [`crate::index`].

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use sha2::{Digest, Sha256};
use url::Url;

/// One document: a file, or one record of a JSON file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Path below the folder, with `/` between its parts.
    pub source: String,
    /// The record's own id, if the document is a record.
    pub record: Option<String>,
    /// Title on one line.
    pub title: String,
    /// The address the document names for itself.
    pub url: Option<Url>,
    /// What the document says about itself, such as front matter.
    pub metadata: BTreeMap<String, String>,
    /// The cleaned text.
    pub text: String,
    /// The sections in order; together they cover the text. Never empty.
    pub sections: Vec<Section>,
}

/// A part of a document under one heading.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Names the section within its document: the headings above it, as in `setup/docker`.
    pub slug: String,
    /// The headings from the outermost to its own.
    pub headings: Vec<String>,
    /// The bytes of the document's text that belong to it, heading included.
    pub range: Range<usize>,
    /// The same without the heading.
    pub body: Range<usize>,
    /// The body as a person reads it, where the text is marked up.
    pub plain: Option<String>,
}

impl Document {
    /// The section's text, heading included.
    pub fn text_of(&self, section: &Section) -> &str {
        &self.text[section.range.clone()]
    }

    /// The section's body as a person reads it.
    pub fn plain_of<'a>(&'a self, section: &'a Section) -> &'a str {
        section
            .plain
            .as_deref()
            .unwrap_or(&self.text[section.body.clone()])
    }

    /// The id of the whole document.
    pub fn id(&self) -> DocumentId {
        DocumentId::new(&self.source, self.record.as_deref(), None)
    }

    /// The id of one of its sections.
    pub fn id_of(&self, section: &Section) -> DocumentId {
        DocumentId::new(&self.source, self.record.as_deref(), Some(&section.slug))
    }
}

/// The id by which a client fetches a document or a section of it.
///
/// It is a digest of where the text stands, not of what it says: it stays the same over edits,
/// restarts and machines, it tells nothing about the path, and only ids in the catalog lead to
/// text, so no id can name a file outside the folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId(String);

impl DocumentId {
    /// Letters of an id: 80 bits in hexadecimal.
    pub const LENGTH: usize = 20;

    /// The id of a document, of a record in it, or of a section.
    pub fn new(source: &str, record: Option<&str>, section: Option<&str>) -> Self {
        let mut digest = Sha256::new();
        for part in [Some(source), record, section] {
            // Presence and length go in first, so that no two different places spell the same.
            digest.update([u8::from(part.is_some())]);
            let part = part.unwrap_or_default();
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let digest = digest.finalize();
        let bytes = digest.iter().take(Self::LENGTH / 2);
        Self(bytes.map(|byte| format!("{byte:02x}")).collect())
    }

    /// Reads an id as a client sent it; `None` if no document can have it.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let well_formed = text.len() == Self::LENGTH && text.bytes().all(is_digit);
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The id as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_on_every_machine() {
        assert_eq!(
            DocumentId::new("guide/setup.md", None, Some("docker")).as_str(),
            "a7000b4bb20b27793202"
        );
    }

    #[test]
    fn different_places_have_different_ids() {
        let ids = [
            DocumentId::new("a", None, None),
            DocumentId::new("a", Some("b"), None),
            DocumentId::new("a", None, Some("b")),
            DocumentId::new("a", Some(""), Some("b")),
            DocumentId::new("ab", None, None),
        ];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn only_what_this_server_writes_is_read_as_an_id() {
        let id = DocumentId::new("a", None, None);
        assert_eq!(DocumentId::parse(&format!(" {id}\n")), Some(id));
        for hostile in [
            "",
            "../../etc/passwd",
            "%2e%2e%2f",
            "0123456789ABCDEF0123",
            "0123456789abcdef012",
            "ééééééééééé",
            "0123456789abcdef012\0",
        ] {
            assert_eq!(DocumentId::parse(hostile), None, "{hostile:?}");
        }
    }
}
