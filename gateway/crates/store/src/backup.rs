//! What a backup of a store consists of: rows that a later version, or a file of another layout, can take
//! in again.
//!
//! Owns: what a row is and how it is written (one JSON object). Not: reading them from a file and putting
//! them back ([`crate::embedded`]), where they are kept meanwhile.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::epoch::StoreEpoch;
use crate::error::StoreError;
use crate::key::Table;
use gateway_core::clock::Timestamp;

/// What is said of a store before its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHead {
    /// When the store was first used.
    pub epoch: Option<StoreEpoch>,
    /// The number of the last revocation.
    pub last_revocation: u64,
    /// Tables of the file that this version does not know, and whose rows are not among those that follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// Something that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupRow {
    /// A record.
    Entry(BackupEntry),
    /// A revocation.
    Revocation {
        /// Its number.
        number: u64,
        /// What is revoked.
        id: String,
        /// When to forget it.
        expires: Timestamp,
    },
}

/// A record with what is kept beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupEntry {
    /// The name of its table.
    pub table: String,
    /// Its key there.
    pub key: String,
    /// Whether it was taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub used: bool,
    /// When to forget it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The indexes of its table that name it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<String>,
    /// What is kept.
    pub value: BackupValue,
}

/// A value: nearly all are texts, which stay legible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BackupValue {
    /// Of UTF-8.
    Text(String),
    /// Of anything else.
    Bytes(Vec<u8>),
}

impl BackupValue {
    /// Of a value as it is kept.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        std::str::from_utf8(bytes).map_or_else(
            |_| Self::Bytes(bytes.to_vec()),
            |text| Self::Text(text.to_owned()),
        )
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl BackupRow {
    /// About how much memory it takes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Entry(entry) => entry.key.len() + entry.value.bytes().len() + 100,
            Self::Revocation { id, .. } => id.len() + 60,
        }
    }
}

/// What a page waits for the disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads the next rows, on a thread that may wait for the disk.
type Pages = Box<dyn FnMut() -> Result<Vec<BackupRow>, StoreError> + Send>;

/// All that a store kept at one moment.
pub struct StoreBackup {
    head: BackupHead,
    /// `None` after a fault.
    pages: Option<Pages>,
}

impl fmt::Debug for StoreBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreBackup")
    }
}

impl StoreBackup {
    pub(crate) fn new(
        head: BackupHead,
        pages: impl FnMut() -> Result<Vec<BackupRow>, StoreError> + Send + 'static,
    ) -> Self {
        Self {
            head,
            pages: Some(Box::new(pages)),
        }
    }

    /// What is said before the rows.
    pub const fn head(&self) -> &BackupHead {
        &self.head
    }

    /// The next rows; none after the last. After an error there is nothing more.
    pub async fn next(&mut self) -> Result<Vec<BackupRow>, StoreError> {
        let mut pages = self
            .pages
            .take()
            .ok_or_else(|| StoreError::away("a backup was cut short"))?;
        let reading = tokio::task::spawn_blocking(move || {
            let rows = pages()?;
            Ok::<_, StoreError>((rows, pages))
        });
        let (rows, pages) = tokio::time::timeout(PATIENCE, reading)
            .await
            .map_err(|_| StoreError::away("the disk is too slow"))?
            .map_err(|_| StoreError::away("a read was cut short"))??;
        self.pages = Some(pages);
        Ok(rows)
    }
}

/// How many records and revocations there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupCounts {
    /// People.
    pub users: u64,
    /// Apps that registered themselves.
    pub clients: u64,
    /// Grants.
    pub grants: u64,
    /// Revocations.
    pub revocations: u64,
    /// Rows of all kinds.
    pub rows: u64,
}

impl BackupCounts {
    /// Counts one more.
    pub fn count(&mut self, row: &BackupRow) {
        self.rows += 1;
        match row {
            BackupRow::Revocation { .. } => self.revocations += 1,
            BackupRow::Entry(entry) if entry.table == Table::User.name() => self.users += 1,
            BackupRow::Entry(entry) if entry.table == Table::Client.name() => self.clients += 1,
            BackupRow::Entry(entry) if entry.table == Table::Grant.name() => self.grants += 1,
            BackupRow::Entry(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_line_of_json_that_says_all_of_it() {
        let entry = |value: &[u8]| {
            BackupRow::Entry(BackupEntry {
                table: "grant".to_owned(),
                key: "g_1\n".to_owned(),
                used: true,
                expires: Some(Timestamp::from_secs(7)),
                indexes: vec!["user:u".to_owned()],
                value: BackupValue::new(value),
            })
        };
        let revocation = BackupRow::Revocation {
            number: 3,
            id: "g_1".to_owned(),
            expires: Timestamp::from_secs(8),
        };
        for row in [
            entry(b"{\"a\":1}"),
            entry(b""),
            entry(&[0xff, 0]),
            revocation,
        ] {
            let line = serde_json::to_string(&row).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<BackupRow>(&line).unwrap(), row);
        }
    }
}
