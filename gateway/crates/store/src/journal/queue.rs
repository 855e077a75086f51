//! What waits for a log's writer. Owns: how many may wait, and when the writer looks. Not: what is
//! done with them (`writer`).
//!
//! To wake a thread costs more than to write a line. So the writer is woken by the first record that
//! finds it asleep, lets others gather for [`GATHER`], and takes them all; whoever waits until its
//! record is durable wakes it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use gateway_core::audit::EncodedRecord;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::neighbour::Neighbour;

/// How long records gather that nobody waits for.
const GATHER: Duration = Duration::from_millis(4);

/// So many do not gather for longer.
const BATCH: usize = 1_024;

/// What the queue holds.
#[derive(Debug)]
pub(super) enum Entry {
    /// A record, and who waits until it is durable.
    Record(EncodedRecord, Option<oneshot::Sender<bool>>),
    /// The end.
    Close(Sender<()>),
    /// The file is closed, and who has it from then on comes afterwards; nobody: it is opened again.
    Leave(Sender<()>, mpsc::Receiver<Neighbour>),
}

impl Entry {
    /// Whether somebody waits for it.
    const fn is_awaited(&self) -> bool {
        !matches!(self, Self::Record(_, None))
    }
}

/// The queue of one log; every handle is one end of it.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    most: usize,
    gather: Duration,
    /// Whether there is no writer any more.
    is_abandoned: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// Whether an entry is awaited.
    is_awaited: bool,
    /// Whether the writer sleeps until something comes.
    is_asleep: bool,
}

/// An entry was not taken: too many wait, or nobody writes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// The writer's end. Without it nothing is taken any more.
#[derive(Debug)]
pub(super) struct Receiver(Arc<Queue>);

impl Queue {
    /// A queue of at most so many entries.
    pub(super) fn new(most: usize) -> (Arc<Self>, Receiver) {
        Self::gathering(GATHER, most)
    }

    fn gathering(gather: Duration, most: usize) -> (Arc<Self>, Receiver) {
        let queue = Arc::new(Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            most,
            gather,
            is_abandoned: AtomicBool::new(false),
        });
        (Arc::clone(&queue), Receiver(queue))
    }

    /// Whether there is no writer any more: what is entered from now on is written nowhere.
    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }

    /// How many entries wait.
    pub(super) fn length(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Puts an entry at the end.
    pub(super) fn push(&self, entry: Entry) -> Result<(), Refused> {
        let mut state = self.state.lock();
        let is_full = state.entries.len() >= self.most
            && !matches!(entry, Entry::Close(_) | Entry::Leave(..));
        if is_full || self.is_abandoned() {
            return Err(Refused);
        }
        let is_awaited = entry.is_awaited();
        state.entries.push(entry);
        let wakes =
            state.is_asleep || (is_awaited && !state.is_awaited) || state.entries.len() == BATCH;
        state.is_awaited |= is_awaited;
        state.is_asleep = false;
        drop(state);
        if wakes {
            self.wake.notify_one();
        }
        Ok(())
    }
}

impl Receiver {
    /// Everything that waits, in order; nothing after `patience` without an entry.
    pub(super) fn take(&self, patience: Duration) -> Vec<Entry> {
        let Self(queue) = self;
        let mut state = queue.state.lock();
        if state.entries.is_empty() {
            state.is_asleep = true;
            queue.wake.wait_for(&mut state, patience);
            state.is_asleep = false;
        }
        if !state.entries.is_empty() {
            let gathers = |state: &mut State| !state.is_awaited && state.entries.len() < BATCH;
            queue.wake.wait_while_for(&mut state, gathers, queue.gather);
        }
        state.is_awaited = false;
        std::mem::take(&mut state.entries)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        self.0.is_abandoned.store(true, Ordering::Release);
        // Whoever waits for one of them learns that it is not written.
        state.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::audit::{Event, Record};

    /// Longer than any test: who gathers for so long takes nothing.
    const FOR_EVER: Duration = Duration::from_secs(3600);
    /// What a thread may need to get its turn, on a machine that is busy with something else.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn record() -> Entry {
        numbered(0)
    }

    fn numbered(number: usize) -> Entry {
        let record = Record {
            detail: Some(number.to_string()),
            ..Record::new(Event::Call)
        };
        Entry::Record(record.encode(), None)
    }

    fn awaited() -> Entry {
        let (told, _) = oneshot::channel();
        let record: Record = Record::new(Event::Token);
        Entry::Record(record.encode(), Some(told))
    }

    /// What a writer takes, batch for batch, in a thread of its own.
    fn batches(receiver: Receiver) -> mpsc::Receiver<Vec<Entry>> {
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || while tell.send(receiver.take(FOR_EVER)).is_ok() {});
        told
    }

    #[test]
    fn what_comes_together_is_taken_together_and_in_order() {
        let (queue, receiver) = Queue::gathering(FOR_EVER, 100);
        let batches = batches(receiver);
        for number in 0..20 {
            queue.push(numbered(number)).expect("there is room");
        }
        // All of them gather, whenever the thread was woken, until somebody waits.
        queue.push(awaited()).expect("there is room");
        let taken = batches.recv_timeout(PATIENCE).expect("nobody gathers on");
        assert_eq!(taken.len(), 21);
        for (number, entry) in taken.into_iter().take(20).enumerate() {
            let is_it = |record: &EncodedRecord| {
                let members = String::from_utf8_lossy(record.members());
                members.ends_with(&format!(r#""detail":"{number}""#))
            };
            assert!(matches!(&entry, Entry::Record(record, _) if is_it(record)));
        }
    }

    #[test]
    fn whoever_waits_for_a_record_does_not_wait_for_others_to_gather() {
        let (queue, receiver) = Queue::gathering(FOR_EVER, 100);
        // Also the first one, and one that comes while the writer sleeps.
        queue.push(awaited()).expect("there is room");
        let batches = batches(receiver);
        for _ in 0..3 {
            let taken = batches.recv_timeout(PATIENCE).expect("nobody gathers on");
            assert_eq!(taken.len(), 1);
            queue.push(awaited()).expect("there is room");
        }
    }

    #[test]
    fn many_records_do_not_gather_for_longer() {
        let (queue, receiver) = Queue::gathering(FOR_EVER, 2 * BATCH);
        let batches = batches(receiver);
        for number in 0..BATCH {
            queue.push(numbered(number)).expect("there is room");
        }
        let taken = batches.recv_timeout(PATIENCE).expect("nobody gathers on");
        assert_eq!(taken.len(), BATCH);
    }

    #[test]
    fn a_record_that_nobody_waits_for_is_taken_all_the_same() {
        let (queue, receiver) = Queue::new(100);
        let batches = batches(receiver);
        queue.push(record()).expect("there is room");
        let taken = batches.recv_timeout(PATIENCE).expect("it is taken");
        assert_eq!(taken.len(), 1);
    }

    #[test]
    fn a_full_queue_takes_only_the_end_and_one_without_a_writer_nothing() {
        let (queue, receiver) = Queue::new(2);
        assert_eq!(queue.push(record()), Ok(()));
        assert_eq!(queue.push(record()), Ok(()));
        assert_eq!(queue.push(record()), Err(Refused));
        let (closed, _) = std::sync::mpsc::channel();
        assert_eq!(queue.push(Entry::Close(closed)), Ok(()));
        let (told, mut durable) = oneshot::channel();
        assert_eq!(receiver.take(Duration::ZERO).len(), 3);
        let token: Record = Record::new(Event::Token);
        let awaited = Entry::Record(token.encode(), Some(told));
        assert_eq!(queue.push(awaited), Ok(()));
        assert!(!queue.is_abandoned());
        drop(receiver);
        assert!(durable.try_recv().is_err());
        assert!(queue.is_abandoned());
        assert_eq!(queue.push(record()), Err(Refused));
    }
}
