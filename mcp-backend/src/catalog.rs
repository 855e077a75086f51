//! What can be found and fetched at one moment: entries by id, with a view of the index beside them.
//!
//! A catalog never changes; [`Library`] holds the newest one and swaps it as a whole, so that an
//! answer never mixes two states of the folder.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::document::DocumentId;
use crate::entry::{Entry, Page};
use crate::index::{IndexError, Searcher};
use crate::query::Query;

/// Results of a search at most.
pub const MOST_RESULTS: usize = 10;
/// Results from one document at most, so that one long document does not hide the others.
const MOST_OF_A_DOCUMENT: usize = 3;
/// Hits looked at to find them.
const HITS: usize = 60;

/// Whoever asks waits this long for the first reading of the folder.
pub const FIRST_READING: Duration = Duration::from_secs(3);

/// Holds the newest catalog.
pub struct Library {
    current: RwLock<Arc<Catalog>>,
    /// Whether the folder has been read once.
    whole: watch::Sender<bool>,
}

/// All entries at one moment.
pub struct Catalog {
    entries: HashMap<DocumentId, Entry>,
    searcher: Searcher,
}

/// One result of a search.
#[derive(Debug)]
pub struct Found {
    /// Fetches it.
    pub id: DocumentId,
    /// What it is.
    pub entry: Entry,
    /// The words around the match.
    pub snippet: String,
}

impl Library {
    /// A library whose first catalog is this.
    pub fn new(catalog: Catalog) -> Self {
        Self {
            current: RwLock::new(Arc::new(catalog)),
            whole: watch::Sender::new(false),
        }
    }

    /// The newest catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says that the whole folder has been read once.
    pub fn is_read(&self) {
        self.whole.send_replace(true);
    }

    /// Whether the whole folder has been read once.
    pub fn is_whole(&self) -> bool {
        *self.whole.borrow()
    }

    /// Waits until the whole folder has been read once, at most this long.
    pub async fn whole_within(&self, patience: Duration) {
        let mut whole = self.whole.subscribe();
        // Nobody says so any more: what is there is all there will be.
        let _ = tokio::time::timeout(patience, whole.wait_for(|whole| *whole)).await;
    }

    /// Puts a newer catalog in place.
    pub fn publish(&self, catalog: Catalog) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }
}

impl Catalog {
    /// A catalog of these entries, found through this view of the index.
    pub fn new(entries: HashMap<DocumentId, Entry>, searcher: Searcher) -> Self {
        Self { entries, searcher }
    }

    /// The entries that fit best, best first; none for a query without words.
    ///
    /// # Errors
    /// The index is damaged.
    pub fn search(&self, query: &Query) -> Result<Vec<Found>, IndexError> {
        let mut shown: HashMap<DocumentId, Vec<String>> = HashMap::new();
        let mut results = Vec::new();
        for id in self.searcher.search(query, HITS)? {
            let Some(entry) = self.entries.get(&id) else {
                continue;
            };
            let of_this_document = shown.entry(entry.document().id()).or_default();
            if of_this_document.len() == MOST_OF_A_DOCUMENT {
                continue;
            }
            let snippet = entry.snippet(query);
            // A document and its section often match by the same words: once is enough.
            if of_this_document.contains(&snippet) {
                continue;
            }
            of_this_document.push(snippet.clone());
            results.push(Found {
                entry: entry.clone(),
                snippet,
                id,
            });
            if results.len() == MOST_RESULTS {
                break;
            }
        }
        Ok(results)
    }

    /// The text under an id.
    pub fn fetch(&self, id: &DocumentId) -> Option<Page> {
        self.entries.get(id).map(Entry::page)
    }

    /// How many entries there are, sections and whole documents.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// There is nothing to find.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::index::{Index, IndexEntry};

    fn catalog(files: &[(&str, &str)]) -> Catalog {
        let mut index = Index::new().unwrap();
        let mut entries = HashMap::new();
        for (source, text) in files {
            let parsed = Format::from_name(source)
                .unwrap()
                .parse(source, text.as_bytes())
                .unwrap();
            for document in parsed.documents {
                for (id, entry) in Entry::all(&Arc::new(document)) {
                    let indexed = IndexEntry {
                        id: &id,
                        title: &entry.title(),
                        headings: &entry.headings(),
                        body: &entry.body(),
                    };
                    index.add(source, &indexed).unwrap();
                    entries.insert(id, entry);
                }
            }
        }
        let searcher = index.commit().unwrap();
        Catalog::new(entries, searcher)
    }

    fn long_document() -> String {
        (1..=6)
            .map(|number| {
                format!(
                    "## Part {number}\n\n{} marker{number}\n\n",
                    "word ".repeat(5_000)
                )
            })
            .collect()
    }

    #[test]
    fn the_section_that_answers_is_found_by_itself() {
        let catalog = catalog(&[(
            "a.md",
            "# Guide\n\nIntro.\n\n## Revoke\n\nPress the red button.\n\n## Other\n\nNothing.\n",
        )]);
        let results = catalog.search(&Query::parse("red button")).unwrap();
        assert_eq!(results[0].entry.title(), "Guide — Revoke");
        assert_eq!(results[0].snippet, "Press the red button.");
    }

    #[test]
    fn words_spread_over_sections_find_the_whole_document() {
        let catalog = catalog(&[
            ("a.md", "# Guide\n\n## One\n\nsalt\n\n## Two\n\npepper\n"),
            ("b.md", "# B\n\nother\n"),
        ]);
        let results = catalog.search(&Query::parse("salt pepper")).unwrap();
        assert!(results[0].entry.section().is_none());
        assert_eq!(results[0].entry.title(), "Guide");
    }

    #[test]
    fn one_document_does_not_fill_the_results() {
        let many: String = (0..20)
            .map(|number| format!("## Many {number}\n\ncake {number}\n\n"))
            .collect();
        let catalog = catalog(&[
            ("many.md", &many),
            (
                "one.md",
                "# One\n\ncake and a lot of other words beside it\n",
            ),
        ]);
        let results = catalog.search(&Query::parse("cake")).unwrap();
        let titles: Vec<_> = results.iter().map(|found| found.entry.title()).collect();
        assert_eq!(
            titles
                .iter()
                .filter(|title| title.starts_with("Many"))
                .count(),
            3,
            "{titles:?}"
        );
        assert!(titles.contains(&"One".to_owned()), "{titles:?}");
    }

    #[test]
    fn the_same_words_are_shown_once() {
        let catalog = catalog(&[("a.md", "# Guide\n\nRed button.\n\n## Other\n\nNothing.\n")]);
        assert_eq!(
            catalog.search(&Query::parse("red button")).unwrap().len(),
            1
        );
    }

    #[test]
    fn what_the_metadata_says_can_be_found() {
        let record = r#"[{"id":"1","title":"Order","text":"Twelve cakes.","metadata":{"payment":"unpaid"}}]"#;
        let catalog = catalog(&[("r.json", record)]);
        assert_eq!(
            catalog
                .search(&Query::parse("unpaid orders"))
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn every_id_that_is_found_can_be_fetched() {
        let catalog = catalog(&[("a.md", &long_document())]);
        for found in catalog.search(&Query::parse("word marker3")).unwrap() {
            assert!(catalog.fetch(&found.id).is_some());
        }
    }

    #[test]
    fn a_short_document_is_fetched_whole_from_any_of_its_ids() {
        let text = "# Guide\n\nIntro.\n\n## Revoke\n\nPress.\n";
        let catalog = catalog(&[("a.md", text)]);
        let page = catalog
            .fetch(&DocumentId::new("a.md", None, Some("guide/revoke")))
            .unwrap();
        assert_eq!(page.text, text);
        assert_eq!(page.metadata["section"], "Guide › Revoke");
        assert_eq!(page.metadata["source"], "a.md");
        assert!(!page.metadata.contains_key("next"));
    }

    #[test]
    fn a_long_document_is_read_through_by_following_next() {
        let text = long_document();
        let catalog = catalog(&[("a.md", &text)]);
        let mut page = catalog.fetch(&DocumentId::new("a.md", None, None)).unwrap();
        assert!(!page.metadata.contains_key("previous"));
        let mut read = page.text.clone();
        while let Some(next) = page.metadata.get("next") {
            page = catalog.fetch(&DocumentId::parse(next).unwrap()).unwrap();
            assert!(page.metadata.contains_key("previous"));
            read.push_str(&page.text);
        }
        assert_eq!(read, text);
        assert_eq!(page.metadata["part"], "6 of 6");
    }
}
