//! The folder of documents: which files in it may be read, and reading one of them.
//!
//! The only module that opens files. Hidden files, what `.gitignore`, `.ignore` and `.mcpignore`
//! name, unknown types, files that are too big, and links that lead out of the folder are left out.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ignore::WalkBuilder;

use crate::format::Format;

/// A bigger file is left out (bytes).
pub const LARGEST_FILE: u64 = 8 * 1024 * 1024;
/// Files beyond this many are left out.
pub const MOST_FILES: usize = 20_000;
/// Folders nested deeper are left out.
const DEEPEST: usize = 32;

/// A folder that exists.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

/// A file that may be read.
#[derive(Debug, Clone)]
pub struct FolderEntry {
    /// Path below the folder, with `/` between its parts.
    pub source: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it promises to be.
    pub format: Format,
    /// Changes when the file does.
    pub stamp: Stamp,
}

/// What the file system says about a file's state, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
}

/// A file that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeftOut {
    /// Path as far as it is known.
    pub source: String,
    /// One sentence.
    pub why: String,
}

impl LeftOut {
    /// A file, and why it is left out.
    pub fn new(source: &str, why: impl ToString) -> Self {
        Self {
            source: source.to_owned(),
            why: why.to_string(),
        }
    }
}

/// What the folder holds now.
#[derive(Debug, Default)]
pub struct Listing {
    /// In the order of their paths.
    pub files: Vec<FolderEntry>,
    /// What a person might miss. Hidden, ignored and unknown files are not named.
    pub left_out: Vec<LeftOut>,
}

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the folder {path:?} cannot be read: {error}")]
pub struct FolderError {
    path: PathBuf,
    error: io::Error,
}

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Its real place is outside the folder.
    #[error("it is a link that leads out of the folder")]
    Outside,
    /// It is a pipe, a device or the like, or was exchanged while it was opened.
    #[error("it is not a regular file")]
    NotRegular,
    /// It is larger than [`LARGEST_FILE`].
    #[error("it is larger than {} MiB", LARGEST_FILE / 1024 / 1024)]
    TooLarge,
}

impl Folder {
    /// Opens a folder.
    ///
    /// # Errors
    /// It does not exist, is no folder, or may not be read.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |error| FolderError {
            path: path.to_owned(),
            error,
        };
        let root = fs::canonicalize(path).map_err(failed)?;
        fs::read_dir(&root).map_err(failed)?;
        Ok(Self { root })
    }

    /// The folder's real path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Lists the files that may be read.
    ///
    /// # Errors
    /// The folder itself is gone or may no longer be read.
    pub fn list(&self) -> Result<Listing, FolderError> {
        fs::read_dir(&self.root).map_err(|error| FolderError {
            path: self.root.clone(),
            error,
        })?;
        let refused = Arc::new(Mutex::new(Vec::new()));
        let mut listing = Listing::default();
        for entry in self.walk(&refused) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    listing.left_out.push(LeftOut::new("", error));
                    continue;
                }
            };
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            let Some(format) = entry.file_name().to_str().and_then(Format::from_name) else {
                continue;
            };
            match self.judge(entry.path(), format, listing.files.len()) {
                Ok(listed) => listing.files.push(listed),
                Err(left_out) => listing.left_out.push(left_out),
            }
        }
        let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
        listing.left_out.append(&mut refused);
        Ok(listing)
    }

    /// Reads a listed file.
    ///
    /// # Errors
    /// It has changed into something that may not be read.
    pub fn read(&self, listed: &FolderEntry) -> Result<Vec<u8>, ReadError> {
        let real = fs::canonicalize(&listed.path)?;
        if !self.may_be_read(&real) {
            return Err(ReadError::Outside);
        }
        let judged = fs::symlink_metadata(&real)?;
        if !judged.is_file() {
            return Err(ReadError::NotRegular);
        }
        let file = File::open(&real)?;
        let opened = file.metadata()?;
        // A link put in place between the two steps would open another file.
        if (opened.dev(), opened.ino()) != (judged.dev(), judged.ino()) {
            return Err(ReadError::NotRegular);
        }
        let mut bytes = Vec::new();
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(ReadError::TooLarge);
        }
        Ok(bytes)
    }

    fn walk(&self, refused: &Arc<Mutex<Vec<LeftOut>>>) -> ignore::Walk {
        let folder = self.clone();
        let refused = Arc::clone(refused);
        WalkBuilder::new(&self.root)
            .follow_links(true)
            .max_depth(Some(DEEPEST))
            .sort_by_file_name(Ord::cmp)
            // Only rules inside the folder count: it may itself lie in an ignored place.
            .parents(false)
            .git_global(false)
            .git_exclude(false)
            .require_git(false)
            .add_custom_ignore_filename(".mcpignore")
            .filter_entry(move |entry| {
                if !entry.path_is_symlink() || entry.depth() == 0 {
                    return true;
                }
                let inside =
                    fs::canonicalize(entry.path()).is_ok_and(|real| folder.may_be_read(&real));
                if !inside {
                    let source = folder.source_of(entry.path()).unwrap_or_default();
                    let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
                    refused.push(LeftOut::new(&source, ReadError::Outside));
                }
                inside
            })
            .build()
    }

    fn judge(&self, path: &Path, format: Format, listed: usize) -> Result<FolderEntry, LeftOut> {
        let Some(source) = self.source_of(path) else {
            return Err(LeftOut::new(
                &path.to_string_lossy(),
                "its name is not UTF-8",
            ));
        };
        if listed >= MOST_FILES {
            let why = format!("the folder has more than {MOST_FILES} files");
            return Err(LeftOut::new(&source, why));
        }
        let metadata =
            fs::metadata(path).map_err(|error| LeftOut::new(&source, ReadError::Io(error)))?;
        if metadata.len() > LARGEST_FILE {
            return Err(LeftOut::new(&source, ReadError::TooLarge));
        }
        Ok(FolderEntry {
            path: path.to_owned(),
            format,
            stamp: Stamp::from_metadata(&metadata),
            source,
        })
    }

    /// Whether a real path (without links) lies in the folder and is not hidden there.
    fn may_be_read(&self, real: &Path) -> bool {
        real.strip_prefix(&self.root).is_ok_and(|below| {
            below.components().all(|part| match part {
                Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
                _ => false,
            })
        })
    }

    fn source_of(&self, path: &Path) -> Option<String> {
        let parts: Option<Vec<&str>> = path
            .strip_prefix(&self.root)
            .ok()?
            .components()
            .map(|part| part.as_os_str().to_str())
            .collect();
        Some(parts?.join("/"))
    }
}

impl Stamp {
    /// The file's length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn from_metadata(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn sources(folder: &Folder) -> Vec<String> {
        folder
            .list()
            .unwrap()
            .files
            .into_iter()
            .map(|file| file.source)
            .collect()
    }

    fn written(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn hidden_ignored_and_unknown_files_are_left_out() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        for name in [
            "b.md",
            "a/c.txt",
            ".hidden.md",
            ".git/x.md",
            "draft.md",
            "drafts/y.md",
            "z.png",
            "n.html",
            "q.md",
        ] {
            written(root, name, "text");
        }
        written(root, ".gitignore", "draft.md\n/drafts/\n");
        written(root, ".mcpignore", "q.md\n");
        assert_eq!(
            sources(&Folder::open(root).unwrap()),
            ["a/c.txt", "b.md", "n.html"]
        );
    }

    #[test]
    fn a_link_that_leads_out_is_refused_and_one_that_stays_is_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let (root, outside) = (
            temporary.path().join("root"),
            temporary.path().join("outside"),
        );
        written(&root, "a.md", "text");
        written(&root, ".secret/s.md", "secret");
        written(&outside, "o.md", "outside");
        symlink(outside.join("o.md"), root.join("file.md")).unwrap();
        symlink("../outside", root.join("folder")).unwrap();
        symlink(".secret/s.md", root.join("hidden.md")).unwrap();
        symlink("nowhere.md", root.join("broken.md")).unwrap();
        symlink("a.md", root.join("inside.md")).unwrap();
        symlink(".", root.join("loop")).unwrap();

        let folder = Folder::open(&root).unwrap();
        assert_eq!(sources(&folder), ["a.md", "inside.md"]);
        let listing = folder.list().unwrap();
        let left_out: Vec<_> = listing
            .left_out
            .iter()
            .map(|left_out| left_out.source.as_str())
            .collect();
        for name in ["file.md", "folder", "hidden.md"] {
            assert!(left_out.contains(&name), "{name} in {left_out:?}");
        }
    }

    #[test]
    fn a_file_exchanged_for_a_link_after_listing_is_not_read() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("root");
        written(&root, "a.md", "text");
        written(temporary.path(), "outside.md", "secret");
        let folder = Folder::open(&root).unwrap();
        let listed = folder.list().unwrap().files.remove(0);
        assert_eq!(folder.read(&listed).unwrap(), b"text");

        fs::remove_file(root.join("a.md")).unwrap();
        symlink(temporary.path().join("outside.md"), root.join("a.md")).unwrap();
        assert!(matches!(folder.read(&listed), Err(ReadError::Outside)));
    }

    #[test]
    fn a_file_that_is_too_large_is_left_out_by_name() {
        let temporary = tempfile::tempdir().unwrap();
        let file = File::create(temporary.path().join("big.txt")).unwrap();
        file.set_len(LARGEST_FILE + 1).unwrap();
        let listing = Folder::open(temporary.path()).unwrap().list().unwrap();
        assert!(listing.files.is_empty());
        assert_eq!(listing.left_out[0].source, "big.txt");
    }

    #[test]
    fn a_folder_inside_an_ignored_place_is_read() {
        let temporary = tempfile::tempdir().unwrap();
        written(temporary.path(), ".gitignore", "*\n");
        written(temporary.path(), "docs/a.md", "text");
        assert_eq!(
            sources(&Folder::open(&temporary.path().join("docs")).unwrap()),
            ["a.md"]
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_with_its_name() {
        let error = Folder::open(Path::new("/no/such/folder")).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder"));
    }
}
