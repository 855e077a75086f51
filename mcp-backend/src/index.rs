//! The full-text index: BM25 in memory, one entry for each section and each whole document.
//!
//! Knows words and ids only; texts stay in [`crate::catalog`].

use std::collections::BTreeSet;

use tantivy::collector::TopDocs;
use tantivy::query::{
    BooleanQuery, BoostQuery, DisjunctionMaxQuery, Occur, PhraseQuery, Query as IndexQuery,
    TermQuery,
};
use tantivy::schema::{
    Field, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions, Value,
};
use tantivy::tokenizer::TokenizerManager;
use tantivy::{DocAddress, IndexReader, IndexWriter, ReloadPolicy, TantivyDocument, Term};

use crate::document::DocumentId;
use crate::query::Query;
use crate::words;

/// The index failed; a fault of ours, not of the query.
#[derive(Debug, thiserror::Error)]
#[error("the search index failed: {0}")]
pub struct IndexError(#[from] tantivy::TantivyError);

/// Weight of a word in the title, in the headings and in the body.
const TITLE: f32 = 3.0;
const HEADINGS: f32 = 2.0;
const BODY: f32 = 1.0;
/// Weight of a word that only starts like the one asked for.
const PREFIX: f32 = 0.4;
/// Weight of the words standing together, as asked.
const PHRASE: f32 = 2.0;
/// Shorter words are not taken for the beginning of others (characters).
const SHORTEST_PREFIX: usize = 3;
/// Words a prefix may stand for.
const MOST_EXPANSIONS: usize = 12;
/// Terms looked at for them, for each field and segment.
const MOST_TERMS: usize = 256;
/// Memory of the writer (bytes); the smallest that tantivy takes.
const WRITER_MEMORY: usize = 15_000_000;

/// The index and its only writer.
pub struct Index {
    writer: IndexWriter,
    reader: IndexReader,
    fields: Fields,
}

/// A fixed view of the index.
#[derive(Clone)]
pub struct Searcher {
    searcher: tantivy::Searcher,
    fields: Fields,
}

/// What is indexed of one section or document.
#[derive(Debug)]
pub struct IndexEntry<'a> {
    /// Found under this id.
    pub id: &'a DocumentId,
    /// Title of the document.
    pub title: &'a str,
    /// Headings above the text.
    pub headings: &'a str,
    /// The text.
    pub body: &'a str,
}

#[derive(Clone, Copy)]
struct Fields {
    id: Field,
    source: Field,
    title: Field,
    headings: Field,
    body: Field,
}

impl Index {
    /// An empty index in memory.
    ///
    /// # Errors
    /// The writer's thread cannot be started.
    pub fn new() -> Result<Self, IndexError> {
        let mut schema = Schema::builder();
        let text = TextOptions::default().set_indexing_options(
            TextFieldIndexing::default()
                .set_tokenizer(words::ANALYZER)
                .set_index_option(IndexRecordOption::WithFreqsAndPositions),
        );
        let fields = Fields {
            id: schema.add_text_field("id", STRING | STORED),
            source: schema.add_text_field("source", STRING),
            title: schema.add_text_field("title", text.clone()),
            headings: schema.add_text_field("headings", text.clone()),
            body: schema.add_text_field("body", text),
        };
        let tokenizers = TokenizerManager::new();
        tokenizers.register(words::ANALYZER, words::analyzer());
        tokenizers.register("raw", tantivy::tokenizer::RawTokenizer::default());
        let index = tantivy::Index::builder()
            .schema(schema.build())
            .tokenizers(tokenizers)
            .create_in_ram()?;
        let writer = index.writer_with_num_threads(1, WRITER_MEMORY)?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()?;
        Ok(Self {
            writer,
            reader,
            fields,
        })
    }

    /// Adds an entry that came from the file `source`.
    ///
    /// # Errors
    /// The writer has died.
    pub fn add(&self, source: &str, entry: &IndexEntry<'_>) -> Result<(), IndexError> {
        let mut document = TantivyDocument::default();
        document.add_text(self.fields.id, entry.id.as_str());
        document.add_text(self.fields.source, source);
        document.add_text(self.fields.title, entry.title);
        document.add_text(self.fields.headings, entry.headings);
        document.add_text(self.fields.body, entry.body);
        self.writer.add_document(document)?;
        Ok(())
    }

    /// Takes out all that came from the file `source` so far.
    pub fn remove(&self, source: &str) {
        self.writer
            .delete_term(Term::from_field_text(self.fields.source, source));
    }

    /// Makes what was added and removed visible, all at once.
    ///
    /// # Errors
    /// The writer has died.
    pub fn commit(&mut self) -> Result<Searcher, IndexError> {
        self.writer.commit()?;
        self.reader.reload()?;
        Ok(Searcher {
            searcher: self.reader.searcher(),
            fields: self.fields,
        })
    }
}

impl Searcher {
    /// The ids that fit best, best first.
    ///
    /// Any of the words is enough; all of them count double, and standing together more.
    ///
    /// # Errors
    /// The index is damaged.
    pub fn search(&self, query: &Query, limit: usize) -> Result<Vec<DocumentId>, IndexError> {
        if query.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let query = self.build(query)?;
        let found = self
            .searcher
            .search(&query, &TopDocs::with_limit(limit).order_by_score())?;
        found
            .into_iter()
            .filter_map(|(_, address)| self.id_at(address).transpose())
            .collect()
    }

    fn build(&self, query: &Query) -> Result<BooleanQuery, IndexError> {
        let words: Vec<Box<dyn IndexQuery>> = query
            .words()
            .iter()
            .map(|word| self.word(word))
            .collect::<Result<_, _>>()?;
        let mut clauses: Vec<(Occur, Box<dyn IndexQuery>)> = words
            .iter()
            .map(|word| (Occur::Should, word.box_clone()))
            .collect();
        if words.len() > 1 {
            let all = words.into_iter().map(|word| (Occur::Must, word)).collect();
            clauses.push((Occur::Should, Box::new(BooleanQuery::new(all))));
            clauses.push((Occur::Should, self.phrase(query)));
        }
        Ok(BooleanQuery::new(clauses))
    }

    /// One word in any field, or words that start with it.
    fn word(&self, word: &str) -> Result<Box<dyn IndexQuery>, IndexError> {
        let Fields {
            title,
            headings,
            body,
            ..
        } = self.fields;
        let mut choices = Vec::new();
        for (field, weight) in [(title, TITLE), (headings, HEADINGS), (body, BODY)] {
            choices.push(boosted_term(field, word, weight));
            for longer in self.words_starting_with(field, word)? {
                choices.push(boosted_term(field, &longer, weight * PREFIX));
            }
        }
        Ok(Box::new(DisjunctionMaxQuery::with_tie_breaker(
            choices, 0.3,
        )))
    }

    fn phrase(&self, query: &Query) -> Box<dyn IndexQuery> {
        let terms = query
            .words()
            .iter()
            .map(|word| Term::from_field_text(self.fields.body, word))
            .collect();
        let mut phrase = PhraseQuery::new(terms);
        phrase.set_slop(2);
        Box::new(BoostQuery::new(Box::new(phrase), PHRASE))
    }

    /// The shortest words of a field that go on from `prefix`.
    fn words_starting_with(&self, field: Field, prefix: &str) -> Result<Vec<String>, IndexError> {
        if prefix.chars().count() < SHORTEST_PREFIX {
            return Ok(Vec::new());
        }
        let mut found = BTreeSet::new();
        for segment in self.searcher.segment_readers() {
            let inverted = segment.inverted_index(field)?;
            let mut terms = inverted
                .terms()
                .range()
                .ge(prefix)
                .into_stream()
                .map_err(tantivy::TantivyError::from)?;
            for _ in 0..MOST_TERMS {
                if !terms.advance() || !terms.key().starts_with(prefix.as_bytes()) {
                    break;
                }
                if let Ok(word) = std::str::from_utf8(terms.key())
                    && word != prefix
                {
                    found.insert((word.len(), word.to_owned()));
                }
            }
        }
        Ok(found
            .into_iter()
            .take(MOST_EXPANSIONS)
            .map(|(_, word)| word)
            .collect())
    }

    fn id_at(&self, address: DocAddress) -> Result<Option<DocumentId>, IndexError> {
        let document: TantivyDocument = self.searcher.doc(address)?;
        let id = document
            .get_first(self.fields.id)
            .and_then(|value| value.as_str().and_then(DocumentId::parse));
        Ok(id)
    }
}

fn boosted_term(field: Field, word: &str, weight: f32) -> Box<dyn IndexQuery> {
    let term = TermQuery::new(
        Term::from_field_text(field, word),
        IndexRecordOption::WithFreqs,
    );
    Box::new(BoostQuery::new(Box::new(term), weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> DocumentId {
        DocumentId::new(name, None, None)
    }

    fn index(entries: &[(&str, &str, &str)]) -> Index {
        let index = Index::new().unwrap();
        for (name, title, body) in entries {
            index
                .add(
                    name,
                    &IndexEntry {
                        id: &id(name),
                        title,
                        headings: "",
                        body,
                    },
                )
                .unwrap();
        }
        index
    }

    fn found(searcher: &Searcher, query: &str) -> Vec<DocumentId> {
        searcher.search(&Query::parse(query), 10).unwrap()
    }

    #[test]
    fn all_words_come_before_some_and_the_title_before_the_text() {
        let mut index = index(&[
            (
                "some",
                "Tea",
                "a token and nothing else, a token again, and token",
            ),
            (
                "all",
                "Tea",
                "some words, then the token that was revoked among many other words of a longer text",
            ),
            ("title", "Milk", "cupcake"),
            ("titled", "Cupcake", "milk"),
            ("none", "Tea", "nothing"),
        ]);
        let searcher = index.commit().unwrap();
        assert_eq!(found(&searcher, "revoked token"), [id("all"), id("some")]);
        assert_eq!(found(&searcher, "cupcake"), [id("titled"), id("title")]);
    }

    #[test]
    fn the_beginning_of_a_word_finds_it_after_the_word_itself() {
        let mut index = index(&[
            ("a", "x", "revocation of things"),
            ("b", "x", "the revoc word"),
            ("c", "x", "other"),
        ]);
        let searcher = index.commit().unwrap();
        assert_eq!(found(&searcher, "revoc"), [id("b"), id("a")]);
        assert_eq!(found(&searcher, "revocat"), [id("a")]);
        assert!(found(&searcher, "re").is_empty());
    }

    #[test]
    fn a_removed_file_is_found_no_more_and_an_old_view_stays_whole() {
        let mut index = index(&[("a", "x", "cake"), ("b", "x", "cake")]);
        let before = index.commit().unwrap();
        index.remove("a");
        let after = index.commit().unwrap();
        assert_eq!(found(&after, "cake"), [id("b")]);
        assert_eq!(found(&before, "cake").len(), 2);
    }

    #[test]
    fn no_text_is_an_error() {
        let mut index = index(&[("a", "x", "cake")]);
        let searcher = index.commit().unwrap();
        for text in [
            "",
            "\"",
            "a:b:c",
            "((((",
            "* AND OR",
            "[1 TO",
            "cake\0cake",
            "🧁",
            "\u{202e}",
            &"x".repeat(10_000),
        ] {
            let _ = found(&searcher, text);
        }
        assert_eq!(found(&searcher, "cake AND"), [id("a")]);
    }
}
