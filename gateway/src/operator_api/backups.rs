//! Backups: what is asked and answered.

use serde::{Deserialize, Serialize};

use gateway_core::clock::Timestamp;
use gateway_store::{BackupHead, BackupRow};

/// A snapshot that is held for half a minute after each page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupBegun {
    /// Its id.
    pub backup: String,
    /// What is said before the rows.
    pub head: BackupHead,
    /// Of what was given before this moment, nothing is missing.
    pub complete_until: Timestamp,
}

/// A page of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupPage {
    /// What comes next; nothing after the last.
    pub rows: Vec<BackupRow>,
}
