//! A disk in memory that forgets what was not synced when its power is cut, and fails on demand.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng;
use redb::StorageBackend;

use super::super::disk::{Opener, builder};
use super::Embedded;

#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What outlives a power cut for certain.
    durable: Vec<u8>,
    /// What was written since the last sync, in order.
    pending: Vec<Write>,
    capacity: Option<usize>,
    read_only: bool,
    sync_fault: bool,
}

#[derive(Clone, Debug)]
enum Write {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl Disk {
    pub(super) fn open(&self) -> Embedded {
        let disk = self.clone();
        let opener = Opener::over(Path::new("a disk in memory"), move || {
            builder().create_with_backend(disk.clone())
        });
        Embedded::open_with(opener).unwrap()
    }

    /// The disk as it is when the power comes back: of what was not synced, any part in any order
    /// may have arrived. The old one goes on in the dark.
    pub(super) fn cut_power(&self, random: &mut impl Rng) -> Self {
        let state = self.0.lock();
        let mut kept = state.durable.clone();
        for write in &state.pending {
            match write {
                Write::Length(length) => {
                    if *length > kept.len() || random.gen_bool(0.5) {
                        kept.resize(*length, 0);
                    }
                }
                Write::Bytes(offset, bytes) if random.gen_bool(0.5) => {
                    let arrived = if random.gen_bool(0.3) {
                        random.gen_range(0..=bytes.len())
                    } else {
                        bytes.len()
                    };
                    put(&mut kept, *offset, &bytes[..arrived]);
                }
                Write::Bytes(..) => {}
            }
        }
        Self(Arc::new(Mutex::new(State {
            seen: kept.clone(),
            durable: kept,
            ..State::default()
        })))
    }

    /// No more than this fits; what is there can be written over.
    pub(super) fn limit(&self, capacity: Option<usize>) {
        self.0.lock().capacity = capacity;
    }

    pub(super) fn set_read_only(&self, read_only: bool) {
        self.0.lock().read_only = read_only;
    }

    pub(super) fn fail_syncs(&self, fail: bool) {
        self.0.lock().sync_fault = fail;
    }
}

fn put(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl State {
    fn may_write(&self, end: usize) -> io::Result<()> {
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if self.capacity.is_some_and(|capacity| end > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock();
        let from = at(offset);
        let bytes = state.seen.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        state.may_write(at(len))?;
        state.seen.resize(at(len), 0);
        state.pending.push(Write::Length(at(len)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.sync_fault {
            return Err(io::Error::other("the disk is broken"));
        }
        for write in std::mem::take(&mut state.pending) {
            match write {
                Write::Length(length) => state.durable.resize(length, 0),
                Write::Bytes(offset, bytes) => put(&mut state.durable, offset, &bytes),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        state.may_write(at(offset) + data.len())?;
        put(&mut state.seen, at(offset), data);
        let write = Write::Bytes(at(offset), data.to_vec());
        state.pending.push(write);
        Ok(())
    }
}
