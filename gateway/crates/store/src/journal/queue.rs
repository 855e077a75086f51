//! What waits for a log's writer. Owns: how many may wait, and when the writer looks. Not: what is
//! done with them (`writer`).
//!
//! To wake a thread costs more than to write a line. So the writer is woken by the first record that
//! finds it asleep, lets others gather for [`GATHER`], and takes them all; whoever waits until its
//! record is durable wakes it at once.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use gateway_core::audit::Record;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// How long records gather that nobody waits for.
const GATHER: Duration = Duration::from_millis(4);

/// So many do not gather for longer.
const BATCH: usize = 1_024;

/// What the queue holds.
#[derive(Debug)]
pub(super) enum Entry {
    /// A record, and who waits until it is durable.
    Record(Box<Record>, Option<oneshot::Sender<bool>>),
    /// The end.
    Close(Sender<()>),
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
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// Whether an entry is awaited.
    is_awaited: bool,
    /// Whether the writer sleeps until something comes.
    is_asleep: bool,
    /// Whether there is no writer any more.
    is_abandoned: bool,
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
        let queue = Arc::new(Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            most,
        });
        (Arc::clone(&queue), Receiver(queue))
    }

    /// Puts an entry at the end.
    pub(super) fn push(&self, entry: Entry) -> Result<(), Refused> {
        let mut state = self.state.lock();
        let is_full = state.entries.len() >= self.most && !matches!(entry, Entry::Close(_));
        if is_full || state.is_abandoned {
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
            queue.wake.wait_while_for(&mut state, gathers, GATHER);
        }
        state.is_awaited = false;
        std::mem::take(&mut state.entries)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_abandoned = true;
        // Whoever waits for one of them learns that it is not written.
        state.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use gateway_core::audit::Event;

    fn record() -> Entry {
        Entry::Record(Box::new(Record::of(Event::Call)), None)
    }

    #[test]
    fn what_comes_together_is_taken_together_and_in_order() {
        let (queue, receiver) = Queue::new(100);
        let writer = std::thread::spawn(move || {
            let mut taken = vec![receiver.take(Duration::from_secs(5))];
            taken.push(receiver.take(Duration::from_millis(50)));
            taken
        });
        for number in 0..20 {
            let mut record = Record::of(Event::Call);
            record.detail = Some(number.to_string());
            queue
                .push(Entry::Record(Box::new(record), None))
                .expect("there is room");
        }
        let taken = writer.join().expect("it does not panic");
        assert!(taken.len() == 2 && !taken[0].is_empty());
        let details = taken.into_iter().flatten().map(|entry| match entry {
            Entry::Record(record, _) => record.detail.unwrap_or_default(),
            Entry::Close(_) => String::new(),
        });
        let expected = (0..20).map(|number| number.to_string());
        assert!(details.eq(expected));
    }

    #[test]
    fn whoever_waits_for_a_record_does_not_wait_for_others_to_gather() {
        let (queue, receiver) = Queue::new(100);
        queue.push(record()).expect("there is room");
        let (told, _durable) = oneshot::channel();
        let awaited = Entry::Record(Box::new(Record::of(Event::Token)), Some(told));
        queue.push(awaited).expect("there is room");
        let start = Instant::now();
        assert_eq!(receiver.take(Duration::from_secs(5)).len(), 2);
        assert!(start.elapsed() < GATHER);
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
        let awaited = Entry::Record(Box::new(Record::of(Event::Token)), Some(told));
        assert_eq!(queue.push(awaited), Ok(()));
        drop(receiver);
        assert!(durable.try_recv().is_err());
        assert_eq!(queue.push(record()), Err(Refused));
    }
}
