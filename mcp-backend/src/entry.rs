//! What is found and fetched: a document or a section of it, and what each shows of itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::{Document, DocumentId, Section};
use crate::query::Query;
use crate::snippet;

/// A longer document is fetched section by section (bytes).
const LONG_DOCUMENT: usize = 100_000;

/// A document or a section of it, as it is found.
#[derive(Debug, Clone)]
pub struct Entry {
    document: Arc<Document>,
    section: Option<usize>,
}

/// One fetched document.
#[derive(Debug)]
pub struct Page {
    /// What it is.
    pub entry: Entry,
    /// Its text.
    pub text: String,
    /// What is known about it.
    pub metadata: BTreeMap<String, String>,
}

impl Entry {
    /// The entries of a document: itself, and its sections if it has several.
    pub fn all(document: &Arc<Document>) -> Vec<(DocumentId, Self)> {
        let entry = |section| Self {
            document: Arc::clone(document),
            section,
        };
        let mut entries = vec![(document.id(), entry(None))];
        if document.sections.len() > 1 {
            let sections = document.sections.iter().enumerate();
            entries
                .extend(sections.map(|(at, section)| (document.id_of(section), entry(Some(at)))));
        }
        entries
    }

    /// The document it is, or is part of.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The section it is; `None` for a whole document.
    pub fn section(&self) -> Option<&Section> {
        self.document.sections.get(self.section?)
    }

    /// The document's title, and the section's own heading.
    pub fn title(&self) -> String {
        let title = &self.document.title;
        match self.section().and_then(|section| section.headings.last()) {
            Some(heading) if heading != title => format!("{title} — {heading}"),
            _ => title.clone(),
        }
    }

    /// The words around the text: the headings above a section; for a whole document those in it,
    /// and what its metadata says.
    pub fn headings(&self) -> String {
        match self.section() {
            Some(section) => section.headings.join(" "),
            None => {
                let sections = self.document.sections.iter();
                let own = sections.filter_map(|section| section.headings.last());
                let words = own.chain(self.document.metadata.values());
                words.map(String::as_str).collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// The text that is searched.
    pub fn body(&self) -> String {
        match self.section() {
            Some(section) => self.document.plain_of(section).to_owned(),
            None => {
                let sections = self.document.sections.iter();
                let bodies = sections.map(|section| self.document.plain_of(section));
                bodies.collect::<Vec<_>>().join("\n")
            }
        }
    }

    /// The words that show why the query found it.
    pub fn snippet(&self, query: &Query) -> String {
        let words = query.words();
        let section = self.section().or_else(|| self.section_with_most(words));
        let snippet = section.map(|it| snippet::snippet(self.document.plain_of(it), words));
        snippet.unwrap_or_default()
    }

    /// The first section that no other has more of the words than.
    fn section_with_most(&self, words: &[String]) -> Option<&Section> {
        let mut best = None;
        let mut most = 0;
        for section in &self.document.sections {
            let matched = snippet::matched(self.document.plain_of(section), words);
            if matched > most || best.is_none() {
                most = matched;
                best = Some(section);
            }
            if most == words.len() {
                break;
            }
        }
        best
    }

    /// What is fetched: of a short document all, whichever of its ids is asked for; of a long one
    /// the section.
    pub fn page(&self) -> Page {
        let document = &self.document;
        let mut metadata = document.metadata.clone();
        metadata.insert("source".to_owned(), document.source.clone());
        if let Some(record) = &document.record {
            metadata.insert("record".to_owned(), record.clone());
        }
        let section = self.section();
        if let Some(section) = section.filter(|section| !section.headings.is_empty()) {
            metadata.insert("section".to_owned(), section.headings.join(" › "));
        }
        if document.text.len() <= LONG_DOCUMENT {
            return Page {
                entry: self.clone(),
                text: document.text.clone(),
                metadata,
            };
        }

        let index = self.section.unwrap_or(0);
        let mut link = |name: &str, index: Option<usize>| {
            if let Some(section) = index.and_then(|index| document.sections.get(index)) {
                metadata.insert(name.to_owned(), document.id_of(section).to_string());
            }
        };
        link("previous", index.checked_sub(1));
        link("next", Some(index + 1));
        let part = format!("{} of {}", index + 1, document.sections.len());
        metadata.insert("part".to_owned(), part);
        let section = document.sections.get(index);
        let text = section.map(|section| document.text_of(section).to_owned());
        let text = text.unwrap_or_default();
        Page {
            entry: self.clone(),
            text,
            metadata,
        }
    }
}
