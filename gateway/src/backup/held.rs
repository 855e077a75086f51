//! The snapshot that a running gateway holds while somebody fetches a backup of it. One at a time, and not
//! for long: as long as it is held, the file of the store keeps what was removed since.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::OsRng;

use gateway_core::secret;
use gateway_store::{BackupRow, StoreBackup, StoreError};

/// How long after the last page it is held.
const IDLE: Duration = Duration::from_secs(30);

/// Where it is held. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct HeldBackups(Arc<Mutex<Option<Held>>>);

#[derive(Debug)]
struct Held {
    id: String,
    /// The number of the next page; the rest while nobody reads one.
    next: u64,
    rest: Option<StoreBackup>,
    used: Instant,
}

/// Why there is no page.
#[derive(Debug)]
pub enum PageError {
    /// This backup is not held, or not any more, or its next page is another.
    Unknown,
    /// The store can't be read.
    Store(StoreError),
}

impl HeldBackups {
    /// Holds a backup in place of the one before, and lets go of it when nobody fetches it. Its id.
    pub fn hold(&self, backup: StoreBackup) -> String {
        let id = secret::identifier("backup_", &mut OsRng);
        *self.0.lock() = Some(Held {
            id: id.clone(),
            next: 0,
            rest: Some(backup),
            used: Instant::now(),
        });
        let (held, of) = (Arc::downgrade(&self.0), id.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(IDLE / 3).await;
                let Some(held) = held.upgrade() else { return };
                let mut held = held.lock();
                match held.as_ref() {
                    Some(present) if present.id == of && present.used.elapsed() < IDLE => {}
                    Some(present) if present.id == of => return *held = None,
                    _ => return,
                }
            }
        });
        id
    }

    /// Holds nothing any more: the store is closed. Whoever fetches it begins again.
    pub fn give_up(&self) {
        *self.0.lock() = None;
    }

    /// The page of this number, which must be the next; an empty one is the last.
    pub async fn page(&self, id: &str, number: u64) -> Result<Vec<BackupRow>, PageError> {
        let mut rest = {
            let mut held = self.0.lock();
            let present = held
                .as_mut()
                .filter(|held| held.id == id && held.next == number);
            let present = present.ok_or(PageError::Unknown)?;
            present.used = Instant::now();
            present.rest.take().ok_or(PageError::Unknown)?
        };
        let rows = rest.next().await;
        let mut held = self.0.lock();
        let is_over = rows.as_ref().map_or(true, Vec::is_empty);
        match held.as_mut().filter(|held| held.id == id) {
            Some(_) if is_over => *held = None,
            Some(present) => {
                present.rest = Some(rest);
                present.next = number + 1;
                present.used = Instant::now();
            }
            // Another backup was begun meanwhile.
            None => return Err(PageError::Unknown),
        }
        rows.map_err(PageError::Store)
    }
}
