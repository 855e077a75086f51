//! Tells the indexer when to look again: at once when the system reports a change, and from time
//! to time anyway, for folders on which the system reports nothing.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use crate::indexer::{ForcedFiles, Indexer};

/// Without reports the folder is read again this often.
const RESCAN: Duration = Duration::from_secs(30);
/// Changes that come together are taken together: until this long nothing more comes …
const QUIET: Duration = Duration::from_millis(150);
/// … but not longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Reads the folder and follows it on a thread of its own, until the program ends.
///
/// # Errors
/// The thread cannot be started.
pub fn follow(indexer: Indexer) -> std::io::Result<()> {
    thread::Builder::new()
        .name("folder".to_owned())
        .spawn(move || run(indexer))
        .map(drop)
}

fn run(mut indexer: Indexer) {
    let (sender, changes) = mpsc::channel();
    // The watcher reports only while it lives; without one, the rescan does all.
    let _watcher = match watcher(indexer.folder().root(), sender.clone()) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            log::warn!(event = "folder_unwatched"; "changes are seen every {} s only: {error}", RESCAN.as_secs());
            None
        }
    };
    let started = Instant::now();
    refresh(&mut indexer, &ForcedFiles::default());
    if indexer.library().is_whole() {
        log::info!(
            event = "folder_read", folder = indexer.folder().root().display().to_string().as_str(),
            entries = indexer.library().catalog().len(), milliseconds = started.elapsed().as_millis();
            "the documents are ready"
        );
    }
    loop {
        let Some(touched) = next_changes(&changes) else {
            return;
        };
        refresh(&mut indexer, &touched);
    }
}

fn watcher(root: &Path, changes: mpsc::Sender<Vec<PathBuf>>) -> notify::Result<RecommendedWatcher> {
    let mut watcher =
        notify::recommended_watcher(move |event: notify::Result<Event>| match event {
            Ok(event) if !is_change(&event.kind) && !event.need_rescan() => {}
            Ok(event) => drop(changes.send(event.paths)),
            Err(error) => {
                log::debug!(event = "folder_watch"; "{error}");
                drop(changes.send(Vec::new()));
            }
        })?;
    watcher.watch(root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Our own reading is reported as well, and must not make us read again.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

/// Waits for the next changes, or for the time to look anyway; `None` when nobody reports any more.
fn next_changes(changes: &Receiver<Vec<PathBuf>>) -> Option<ForcedFiles> {
    let mut touched = HashSet::new();
    match changes.recv_timeout(RESCAN) {
        Ok(paths) => touched.extend(paths),
        Err(RecvTimeoutError::Timeout) => return Some(ForcedFiles::default()),
        Err(RecvTimeoutError::Disconnected) => return None,
    }
    let start = Instant::now();
    while start.elapsed() < LONGEST_WAIT {
        match changes.recv_timeout(QUIET) {
            Ok(paths) => touched.extend(paths),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    Some(ForcedFiles(touched))
}

fn refresh(indexer: &mut Indexer, touched: &ForcedFiles) {
    match indexer.refresh(touched) {
        Ok(changes) if changes.indexed + changes.removed > 0 => log::info!(
            event = "folder_changed", files = changes.files, entries = changes.entries,
            indexed = changes.indexed, removed = changes.removed;
            "the documents are up to date"
        ),
        Ok(_) => {}
        Err(error) => {
            log::warn!(event = "refresh_failed"; "the documents stay as they were: {error}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_a_file_is_no_change_and_writing_is() {
        assert!(!is_change(&EventKind::Access(AccessKind::Open(
            AccessMode::Read
        ))));
        assert!(!is_change(&EventKind::Access(AccessKind::Close(
            AccessMode::Read
        ))));
        assert!(is_change(&EventKind::Access(AccessKind::Close(
            AccessMode::Write
        ))));
        assert!(is_change(&EventKind::Create(
            notify::event::CreateKind::File
        )));
    }

    #[test]
    fn changes_that_come_together_are_taken_together() {
        let (sender, changes) = mpsc::channel();
        sender.send(vec![PathBuf::from("a")]).unwrap();
        sender.send(vec![PathBuf::from("b")]).unwrap();
        let touched = next_changes(&changes).unwrap();
        assert_eq!(touched.0.len(), 2);
        drop(sender);
        assert!(next_changes(&changes).is_none());
    }
}
