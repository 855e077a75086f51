//! Keeps the catalog true to the folder: reads what is new or changed, forgets what is gone.
//!
//! A file whose stamp is the same is not opened; one whose content is the same is not indexed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::catalog::{Catalog, Library};
use crate::document::{Document, DocumentId};
use crate::entry::Entry;
use crate::folder::{Folder, FolderEntry, FolderError, LeftOut, Stamp};
use crate::index::{Index, IndexEntry, IndexError};

/// Text held in memory at most (bytes of files).
const MOST_TEXT: u64 = 256 * 1024 * 1024;
/// During the first reading what was found is shown this often.
const BETWEEN: Duration = Duration::from_secs(2);

/// The one writer of a library.
pub struct Indexer {
    folder: Folder,
    index: Index,
    files: BTreeMap<String, IndexedFile>,
    entries: HashMap<DocumentId, Entry>,
    library: Arc<Library>,
    held: u64,
    reported: HashSet<LeftOut>,
}

/// Which files to open although their stamp says that they are the same.
#[derive(Debug, Default)]
pub struct ForcedFiles(pub HashSet<PathBuf>);

/// What a refresh did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Files now known.
    pub files: usize,
    /// Entries now known, sections and whole documents.
    pub entries: usize,
    /// Files that were read and indexed.
    pub indexed: usize,
    /// Files that are gone.
    pub removed: usize,
}

/// A refresh failed; the catalog stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The folder is gone.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
}

struct IndexedFile {
    stamp: Stamp,
    digest: [u8; 32],
    length: u64,
    ids: Vec<DocumentId>,
}

impl Indexer {
    #[cfg(test)]
    pub(crate) fn start(folder: Folder) -> Result<(Self, Changes), RefreshError> {
        let mut indexer = Self::new(folder)?;
        let changes = indexer.refresh(&ForcedFiles::default())?;
        Ok((indexer, changes))
    }

    /// An indexer that has read nothing yet.
    ///
    /// # Errors
    /// The index cannot be used.
    pub fn new(folder: Folder) -> Result<Self, RefreshError> {
        let mut index = Index::new()?;
        let empty = Catalog::new(HashMap::new(), index.commit()?);
        Ok(Self {
            folder,
            index,
            files: BTreeMap::new(),
            entries: HashMap::new(),
            library: Arc::new(Library::new(empty)),
            held: 0,
            reported: HashSet::new(),
        })
    }

    /// What readers read from.
    pub fn library(&self) -> Arc<Library> {
        Arc::clone(&self.library)
    }

    /// The folder that is read.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Brings the catalog up to date with the folder.
    ///
    /// # Errors
    /// The folder is gone or the index failed.
    pub fn refresh(&mut self, touched: &ForcedFiles) -> Result<Changes, RefreshError> {
        let listing = self.folder.list()?;
        let mut left_out = listing.left_out;
        let mut changes = Changes::default();

        let present = listing.files.iter().map(|file| file.source.as_str());
        let present: HashSet<&str> = present.collect();
        let known = self.files.keys();
        let gone = known.filter(|source| !present.contains(source.as_str()));
        for source in gone.cloned().collect::<Vec<String>>() {
            self.forget(&source);
            changes.removed += 1;
        }
        let mut published = Instant::now();
        for file in &listing.files {
            // What a long first reading has found so far can be found.
            if !self.library.is_whole() && published.elapsed() > BETWEEN {
                self.publish()?;
                published = Instant::now();
            }
            match self.take(file, touched, &mut left_out) {
                Ok(true) => changes.indexed += 1,
                Ok(false) => {}
                Err(Fault::Index(error)) => return Err(error.into()),
                Err(Fault::File(why)) => {
                    changes.removed += usize::from(self.forget(&file.source));
                    left_out.push(LeftOut::new(&file.source, why));
                }
            }
        }

        if changes.indexed + changes.removed > 0 {
            self.publish()?;
        }
        self.library.is_read();
        self.report(left_out);
        changes.files = self.files.len();
        changes.entries = self.entries.len();
        Ok(changes)
    }

    fn publish(&mut self) -> Result<(), IndexError> {
        let searcher = self.index.commit()?;
        self.library
            .publish(Catalog::new(self.entries.clone(), searcher));
        Ok(())
    }

    /// Takes in one file; `true` if it was indexed anew.
    fn take(
        &mut self,
        file: &FolderEntry,
        touched: &ForcedFiles,
        left_out: &mut Vec<LeftOut>,
    ) -> Result<bool, Fault> {
        let known = self.files.get(&file.source);
        if known.is_some_and(|known| known.stamp == file.stamp) && !touched.0.contains(&file.path) {
            return Ok(false);
        }
        let held_by_others = self.held - known.map_or(0, |known| known.length);
        if held_by_others + file.stamp.length() > MOST_TEXT {
            let limit = MOST_TEXT / 1024 / 1024;
            return Err(Fault::File(format!(
                "the documents are larger than {limit} MiB together"
            )));
        }
        let bytes = self.folder.read(file);
        let bytes = bytes.map_err(|error| Fault::File(error.to_string()))?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let known = self.files.get_mut(&file.source);
        if let Some(known) = known.filter(|known| known.digest == digest) {
            known.stamp = file.stamp;
            return Ok(false);
        }

        self.forget(&file.source);
        let mut known = IndexedFile {
            stamp: file.stamp,
            digest,
            length: bytes.len() as u64,
            ids: Vec::new(),
        };
        match file.format.parse(&file.source, &bytes) {
            Ok(parsed) => {
                let faults = parsed.faults.into_iter();
                left_out.extend(faults.map(|why| LeftOut::new(&file.source, why)));
                for document in parsed.documents {
                    self.add(&mut known, &Arc::new(document))?;
                }
            }
            Err(error) => left_out.push(LeftOut::new(&file.source, error)),
        }
        self.held += known.length;
        self.files.insert(file.source.clone(), known);
        Ok(true)
    }

    fn add(&mut self, known: &mut IndexedFile, document: &Arc<Document>) -> Result<(), Fault> {
        for (id, entry) in Entry::all(document) {
            let indexed = IndexEntry {
                id: &id,
                title: &entry.title(),
                headings: &entry.headings(),
                body: &entry.body(),
            };
            self.index
                .add(&document.source, &indexed)
                .map_err(Fault::Index)?;
            known.ids.push(id.clone());
            self.entries.insert(id, entry);
        }
        Ok(())
    }

    fn forget(&mut self, source: &str) -> bool {
        let Some(known) = self.files.remove(source) else {
            return false;
        };
        self.held -= known.length;
        self.index.remove(source);
        for id in known.ids {
            self.entries.remove(&id);
        }
        true
    }

    /// Logs what is left out, each fact once.
    fn report(&mut self, left_out: Vec<LeftOut>) {
        for fact in &left_out {
            if !self.reported.contains(fact) {
                log::warn!(event = "file_left_out", file = fact.source.as_str(); "{}", fact.why);
            }
        }
        self.reported = left_out.into_iter().collect();
    }
}

enum Fault {
    File(String),
    Index(IndexError),
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::query::Query;

    fn titles(library: &Library, query: &str) -> Vec<String> {
        let found = library.catalog().search(&Query::parse(query)).unwrap();
        found.iter().map(|found| found.entry.title()).collect()
    }

    #[test]
    fn new_changed_and_removed_files_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.md"), "# A\n\nflour\n").unwrap();
        let (mut indexer, changes) = Indexer::start(Folder::open(folder.path()).unwrap()).unwrap();
        let library = indexer.library();
        assert_eq!(
            changes,
            Changes {
                files: 1,
                entries: 1,
                indexed: 1,
                removed: 0
            }
        );
        assert_eq!(titles(&library, "flour"), ["A"]);

        fs::write(folder.path().join("a.md"), "# A\n\nsugar\n").unwrap();
        fs::write(folder.path().join("b.txt"), "flour").unwrap();
        let changes = indexer.refresh(&ForcedFiles::default()).unwrap();
        assert_eq!((changes.indexed, changes.removed), (2, 0));
        assert_eq!(titles(&library, "flour"), ["b"]);
        assert_eq!(titles(&library, "sugar"), ["A"]);

        fs::remove_file(folder.path().join("a.md")).unwrap();
        assert_eq!(indexer.refresh(&ForcedFiles::default()).unwrap().removed, 1);
        assert!(titles(&library, "sugar").is_empty());
    }

    #[test]
    fn an_unchanged_file_is_not_indexed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.md");
        fs::write(&path, "# A\n\nflour\n").unwrap();
        let (mut indexer, _) = Indexer::start(Folder::open(folder.path()).unwrap()).unwrap();
        assert_eq!(indexer.refresh(&ForcedFiles::default()).unwrap().indexed, 0);

        fs::write(&path, "# A\n\nflour\n").unwrap();
        let real = fs::canonicalize(&path).unwrap();
        assert_eq!(
            indexer
                .refresh(&ForcedFiles([real].into()))
                .unwrap()
                .indexed,
            0
        );
    }

    #[test]
    fn ids_stay_over_edits_and_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.md");
        fs::write(&path, "# A\n\n## One\n\nflour\n\n## Two\n\nsugar\n").unwrap();
        let (indexer, _) = Indexer::start(Folder::open(folder.path()).unwrap()).unwrap();
        let id = indexer
            .library()
            .catalog()
            .search(&Query::parse("sugar"))
            .unwrap()[0]
            .id
            .clone();

        fs::write(&path, "# A\n\n## New\n\nmilk\n\n## Two\n\nsugar, changed\n").unwrap();
        let (indexer, _) = Indexer::start(Folder::open(folder.path()).unwrap()).unwrap();
        assert!(
            indexer
                .library()
                .catalog()
                .fetch(&id)
                .unwrap()
                .text
                .contains("sugar, changed")
        );
    }

    #[test]
    fn a_file_that_breaks_leaves_nothing_of_it_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        fs::write(&path, r#"[{"id":"1","title":"Order","text":"cake"}]"#).unwrap();
        let (mut indexer, _) = Indexer::start(Folder::open(folder.path()).unwrap()).unwrap();
        let library = indexer.library();
        fs::write(&path, "[{").unwrap();
        indexer.refresh(&ForcedFiles::default()).unwrap();
        assert!(titles(&library, "cake").is_empty());
        fs::write(&path, r#"[{"id":"1","title":"Order","text":"cake again"}]"#).unwrap();
        indexer.refresh(&ForcedFiles::default()).unwrap();
        assert_eq!(titles(&library, "cake"), ["Order"]);
    }

    #[test]
    fn a_folder_that_goes_away_leaves_the_catalog_as_it_was() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("docs");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a.md"), "# A\n\nflour\n").unwrap();
        let (mut indexer, _) = Indexer::start(Folder::open(&root).unwrap()).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(matches!(
            indexer.refresh(&ForcedFiles::default()),
            Err(RefreshError::Folder(_))
        ));
        assert_eq!(titles(&indexer.library(), "flour"), ["A"]);
    }
}
