//! Why the store did not do what was asked. Three cases that nobody may mix up: an outage passes, a
//! conflict is no fault of anybody's, and what can't be read stays so until somebody mends it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::key::KeyKind;
use crate::program::PROGRAM;
use gateway_core::protocol::oauth::OAuthError;
use gateway_core::reason::Reason;

/// Why the store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached, is slow, read-only or full. Nothing was acknowledged; whether it happened
    /// is unknown. Waiting helps.
    #[error("the store did not answer: {0}")]
    Away(String),
    /// Somebody else changed or removed what was read before it could be replaced. Nothing was
    /// written. Reading anew and deciding anew helps; it is never an outage.
    #[error("somebody else changed the {0} record meanwhile")]
    Conflict(KeyKind),
    /// The store answered, and what it holds can't be read. Waiting does not help.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// What is kept and can't be read. Of a record only the kind of its key is named: a key can be the
/// hash of a secret, and a record can hold one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Corrupt {
    /// A record is not of its form.
    #[error("a record in the store can't be read: {kind}, {fault}")]
    Record {
        /// What it is the record of.
        kind: KeyKind,
        /// What is wrong and where, without what stands there.
        fault: String,
    },
    /// A later version wrote it, in a format that this one does not know.
    #[error(
        "a record in the store was written by a later version: {kind}, format {format}, written by \
         {written_by}; this is {}, which reads formats up to {known}",
        PROGRAM
    )]
    Newer {
        /// What it is the record of.
        kind: KeyKind,
        /// The format of the record.
        format: u32,
        /// The latest format that this version knows.
        known: u32,
        /// The program that wrote it, with its version.
        written_by: String,
    },
    /// What the store keeps beside the records.
    #[error("the store holds what the gateway did not write: {0}")]
    Store(String),
}

impl StoreError {
    pub(crate) fn away(why: impl Into<String>) -> Self {
        Self::Away(why.into())
    }

    /// The reason to answer and to log: the one place where that is decided.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Away(_) => Reason::StoreUnavailable,
            Self::Conflict(_) => Reason::Overloaded,
            Self::Corrupt(_) => Reason::RecordUnreadable,
        }
    }

    /// Whether waiting can't help.
    pub const fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt(_))
    }

    /// Whether one record can't be read, and the store goes on without it.
    pub const fn concerns_one_record(&self) -> bool {
        matches!(
            self,
            Self::Corrupt(Corrupt::Record { .. } | Corrupt::Newer { .. })
        )
    }

    /// The same, where it is known which record could not be read.
    pub(crate) fn of_record(self, kind: KeyKind) -> Self {
        match self {
            Self::Corrupt(Corrupt::Store(fault)) => Corrupt::Record { kind, fault }.into(),
            other => other,
        }
    }
}

/// The fault that an OAuth endpoint answers. A conflict that outlived its retries is told as such, and
/// never as an outage.
impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        Self::fault(error.reason(), error)
    }
}

/// `None` where somebody else was faster, for a caller that has a meaning for that.
pub fn unless_conflict<T>(outcome: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(StoreError::Conflict(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state folder has its gateway.
    #[error(
        "another gateway is using the state folder {}: stop it, give this one a folder of its own, \
         or let both share a Redis", .0.display()
    )]
    InUse(PathBuf),
    /// The state folder or the file in it can't be made or opened.
    #[error("the state folder {} can't be used: {cause}", folder.display())]
    Folder {
        /// Where the state is.
        folder: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// There is a file, and it is not a sound store of this version.
    #[error("the store in {} can't be read: {cause}", folder.display())]
    Unreadable {
        /// Where the state is.
        folder: PathBuf,
        /// What the database said.
        cause: String,
    },
    /// The Redis client refuses its settings.
    #[error("the Redis client can't be set up: {0}")]
    Redis(String),
}

impl OpenError {
    pub(crate) fn of_folder(folder: &Path) -> impl Fn(io::Error) -> Self {
        |cause| Self::Folder {
            folder: folder.to_owned(),
            cause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_outage_says_that_the_store_is_away() {
        let conflict = StoreError::Conflict(KeyKind::User);
        let corrupt = StoreError::from(Corrupt::Store("x".to_owned()));
        let away = StoreError::Away("x".to_owned());
        assert_eq!(away.reason(), Reason::StoreUnavailable);
        for error in [conflict, corrupt] {
            assert_ne!(error.reason(), Reason::StoreUnavailable);
            assert!(!error.to_string().contains("did not answer"), "{error}");
        }
    }
}
