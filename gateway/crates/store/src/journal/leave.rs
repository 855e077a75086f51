//! The audit log moves to another process while this one still enters records: its files are closed here
//! and opened there, and what is entered here from then on is written there. Records that come meanwhile
//! wait in the queues.

use std::sync::mpsc;
use std::time::Duration;

use gateway_core::audit::EncodedRecord;
use tokio::sync::oneshot;

use super::queue::Entry;
use super::{Journal, LogName, Unwritable};
use crate::neighbour::Neighbour;

/// How long a writer may take to close its file.
const CLOSING: Duration = Duration::from_secs(5);

/// The log is open nowhere. Dropped, it is opened here again.
#[derive(Debug, Default)]
pub struct Leaving {
    writers: Vec<mpsc::Sender<Neighbour>>,
}

impl Leaving {
    /// The process that has it now.
    pub fn moved(self, to: &Neighbour) {
        for writer in self.writers {
            // Without its writer nothing is entered any more, which is known and told elsewhere.
            let _ = writer.send(to.clone());
        }
    }
}

impl Journal {
    /// Signs and closes the files, to be opened by another process. Blocks until that is done.
    ///
    /// # Errors
    ///
    /// A writer did not close its file in time: they stay here.
    pub fn leave(&self) -> Result<Leaving, Unwritable> {
        let mut leaving = Leaving::default();
        let Some(shared) = &self.shared else {
            return Ok(leaving);
        };
        for pen in [&shared.access, &shared.calls] {
            let (tell, told) = mpsc::channel();
            let (writer, next) = mpsc::channel();
            let pushed = pen.queue.push(Entry::Leave(tell, next));
            if pushed.is_err() || told.recv_timeout(CLOSING).is_err() {
                return Err(Unwritable);
            }
            leaving.writers.push(writer);
        }
        Ok(leaving)
    }

    /// Enters what another process decided about and counted. With `durable` it waits until that is
    /// durable.
    ///
    /// # Errors
    ///
    /// The log can't be written, whatever was decided for that case: it is for the other process to say
    /// what follows.
    pub(crate) async fn enter(
        &self,
        log: LogName,
        records: Vec<EncodedRecord>,
        durable: bool,
    ) -> Result<(), Unwritable> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let pen = match log {
            LogName::Access => &shared.access,
            LogName::Calls => &shared.calls,
        };
        // Whoever brings none asks whether some would be taken.
        if records.is_empty() && pen.is_failing() {
            return Err(Unwritable);
        }
        let last = records.len().saturating_sub(1);
        let mut waiting = None;
        for (at, record) in records.into_iter().enumerate() {
            let told = (durable && at == last).then(|| {
                let (told, durable) = oneshot::channel();
                waiting = Some(durable);
                told
            });
            let entered = pen.queue.push(Entry::Record(record, told));
            entered.map_err(|_| Unwritable)?;
        }
        match waiting {
            Some(durable) => match durable.await {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(Unwritable),
            },
            None => Ok(()),
        }
    }
}
