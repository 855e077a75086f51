//! Lines on standard error, many at once. A write for each line costs as much as the line itself; so
//! lines of everyday gather for a moment. A warning takes all before it along at once, and so does the
//! end of the process: what is read after a fault is complete.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long lines gather.
const GATHER: Duration = Duration::from_millis(4);

/// With so many bytes nobody waits for the thread: whoever logs writes them. A slow reader of standard
/// error slows the process down as it would without us, and makes it keep nothing.
const MOST: usize = 256 * 1024;

thread_local! {
    /// Whether the next line of this thread goes out at once.
    static IS_URGENT: Cell<bool> = const { Cell::new(false) };
}

/// Where lines gather. Every handle is the same place.
#[derive(Clone)]
pub(super) struct Batched(Arc<Shared>);

struct Shared {
    lines: Mutex<Lines>,
    wake: Condvar,
}

struct Lines {
    out: Box<dyn Write + Send>,
    bytes: Vec<u8>,
    /// What was written last, kept for its room.
    spare: Vec<u8>,
    is_asleep: bool,
    /// Whether a thread writes what gathers.
    has_writer: bool,
}

impl Batched {
    /// Starts the thread that writes to standard error.
    pub(super) fn start() -> Self {
        let batched = Self::new(Box::new(io::stderr()));
        let of_thread = Arc::clone(&batched.0);
        let run = move || of_thread.run();
        let started = thread::Builder::new().name("log".to_owned()).spawn(run);
        // Without it every line is written where it is made.
        batched.0.lines.lock().has_writer = started.is_ok();
        batched
    }

    fn new(out: Box<dyn Write + Send>) -> Self {
        let lines = Lines {
            out,
            bytes: Vec::new(),
            spare: Vec::new(),
            is_asleep: false,
            has_writer: false,
        };
        Self(Arc::new(Shared {
            lines: Mutex::new(lines),
            wake: Condvar::new(),
        }))
    }

    /// The line that comes next on this thread goes out at once.
    pub(super) fn urgent() {
        IS_URGENT.set(true);
    }

    /// Writes what has gathered.
    pub(super) fn flush(&self) {
        Shared::write(&mut self.0.lines.lock());
    }
}

impl Write for Batched {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Self(shared) = self;
        let mut lines = shared.lines.lock();
        lines.bytes.extend_from_slice(line);
        let is_urgent = IS_URGENT.replace(false);
        if is_urgent || lines.bytes.len() >= MOST || !lines.has_writer {
            Shared::write(&mut lines);
        } else if std::mem::take(&mut lines.is_asleep) {
            drop(lines);
            shared.wake.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn run(&self) {
        loop {
            {
                let mut lines = self.lines.lock();
                while lines.bytes.is_empty() {
                    lines.is_asleep = true;
                    self.wake.wait(&mut lines);
                }
                lines.is_asleep = false;
            }
            thread::sleep(GATHER);
            Self::write(&mut self.lines.lock());
        }
    }

    /// Under the lock, so that lines stay in order. Standard error may be closed: there is nobody to
    /// tell then.
    fn write(lines: &mut Lines) {
        let Lines {
            out, bytes, spare, ..
        } = lines;
        std::mem::swap(bytes, spare);
        let _ = out.write_all(spare);
        spare.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Out {
        fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.lock()).into_owned()
        }
    }

    #[test]
    fn lines_gather_until_one_is_urgent_or_they_are_many() {
        let out = Out::default();
        let mut batched = Batched::new(Box::new(out.clone()));
        batched.0.lines.lock().has_writer = true;
        batched.write_all(b"a\n").unwrap();
        assert_eq!(out.text(), "");
        Batched::urgent();
        batched.write_all(b"b\n").unwrap();
        assert_eq!(out.text(), "a\nb\n");
        batched.write_all(b"c\n").unwrap();
        assert_eq!(out.text(), "a\nb\n");
        batched.flush();
        assert_eq!(out.text(), "a\nb\nc\n");
        batched.write_all(&vec![b'd'; MOST]).unwrap();
        assert_eq!(out.text().len(), 6 + MOST);
    }

    #[test]
    fn without_a_thread_every_line_goes_out_at_once() {
        let out = Out::default();
        let mut batched = Batched::new(Box::new(out.clone()));
        batched.write_all(b"a\n").unwrap();
        assert_eq!(out.text(), "a\n");
    }
}
