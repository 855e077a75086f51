//! The file of the embedded store. Owns: where it is, its rights, opening it, telling a full disk
//! from a broken one. Not: what is in it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};

use super::tables;
use crate::error::OpenError;

/// Its name in the state folder.
pub(super) const FILE: &str = "gateway.redb";

/// Memory for pages of the file. What the gateway keeps is small and mostly read once.
const CACHE: usize = 16 * 1024 * 1024;

type Open = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// A state folder that nobody else opens a store in, whether or not there is one: the folder itself is locked,
/// because a file that is about to be replaced can't keep anybody away from the one that follows.
#[derive(Debug)]
pub struct StorePlace {
    folder: PathBuf,
    /// Locked for as long as it is open.
    _locked: File,
}

impl StorePlace {
    /// Takes this folder, which must be there.
    ///
    /// # Errors
    ///
    /// Somebody has it, or it can't be read.
    pub fn take(folder: &Path) -> Result<Self, OpenError> {
        let locked = File::open(folder).map_err(OpenError::of_folder(folder))?;
        match locked.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(folder.to_owned())),
            // Some file systems lock files only (NFS). There the file's own lock has to do.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        Ok(Self {
            folder: folder.to_owned(),
            _locked: locked,
        })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Opens the file, as often as it takes.
pub(super) struct Opener {
    folder: PathBuf,
    open: Open,
    /// Held until the file is closed for good, where it was not taken by whoever opens it.
    _place: Option<StorePlace>,
}

impl Opener {
    /// For the store in `folder`, which is made if it is missing.
    pub(super) fn file(folder: &Path) -> Result<Self, OpenError> {
        let fail = OpenError::of_folder(folder);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(&fail)?;
        let rights = std::fs::metadata(folder)
            .map_err(fail)?
            .permissions()
            .mode();
        if rights & 0o022 != 0 {
            log::warn!(
                event = "state_folder_open",
                hint = "chmod 700";
                "others may write to the state folder {}", folder.display()
            );
        }
        let place = StorePlace::take(folder)?;
        Ok(Self {
            _place: Some(place),
            ..Self::in_place(folder)
        })
    }

    /// For the store in a folder that is taken.
    pub(super) fn in_place(folder: &Path) -> Self {
        let path = folder.join(FILE);
        Self::over(folder, move || {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            builder().create_with_backend(FileBackend::new(file)?)
        })
    }

    /// For a store that `open` opens.
    pub(super) fn over(
        folder: &Path,
        open: impl Fn() -> Result<Database, DatabaseError> + Send + 'static,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            open: Box::new(open),
            _place: None,
        }
    }

    /// Where the file is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Opens it, verifying it first if it was not closed properly, and makes its tables.
    pub(super) fn open(&self) -> Result<Database, OpenError> {
        let database = (self.open)().map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(self.folder.clone()),
            DatabaseError::Storage(redb::StorageError::Io(cause)) => {
                OpenError::of_folder(&self.folder)(cause)
            }
            other => self.unreadable(other.to_string()),
        })?;
        tables::prepare(&database).map_err(|cause| self.unreadable(cause))?;
        Ok(database)
    }

    fn unreadable(&self, cause: String) -> OpenError {
        OpenError::Unreadable {
            folder: self.folder.clone(),
            cause,
        }
    }
}

/// How every file is opened.
pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

/// Whether a write failed for a reason that passes without harm to what was written before.
pub(super) fn is_full(fault: &redb::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let redb::Error::Io(error) = fault else {
        return false;
    };
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | FileTooLarge | ReadOnlyFilesystem
    )
}
