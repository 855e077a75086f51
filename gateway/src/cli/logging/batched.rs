//! Lines on standard error, many at once. A write for each line costs as much as the line itself; so
//! lines of everyday gather for a moment. A warning takes all before it along at once, and so does the
//! end of the process: what is read after a fault is complete. Lines that standard error does not take are
//! counted, and the first line that it takes again says how many there were.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::lost_line;

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
    /// Lines that are missing after what was written last.
    lost: u64,
    /// Whether what was written last ends within a line.
    is_torn: bool,
}

impl Batched {
    /// Starts the thread that writes to standard error.
    pub(super) fn start() -> Self {
        Self::start_on(Box::new(io::stderr()))
    }

    fn start_on(out: Box<dyn Write + Send>) -> Self {
        let batched = Self::new(out);
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
            lost: 0,
            is_torn: false,
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

    /// The same where that takes no time: whoever panics may be the one who writes.
    pub(super) fn flush_if_free(&self) {
        if let Some(mut lines) = self.0.lines.try_lock_for(GATHER) {
            Shared::write(&mut lines);
        }
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

    /// Under the lock, so that lines stay in order.
    fn write(lines: &mut Lines) {
        let mut gathered = std::mem::replace(&mut lines.bytes, std::mem::take(&mut lines.spare));
        if !gathered.is_empty() {
            lines.write(&gathered);
        }
        gathered.clear();
        lines.spare = gathered;
    }
}

impl Lines {
    fn write(&mut self, gathered: &[u8]) {
        if self.lost > 0 {
            let mut notice = lost_line(self.lost);
            if self.is_torn {
                notice.insert(0, b'\n');
            }
            if self.put(&notice) < notice.len() {
                self.lost += count_lines(gathered);
                return;
            }
            self.lost = 0;
        }
        let written = self.put(gathered);
        self.lost = count_lines(&gathered[written..]);
    }

    /// How many of the bytes are out. It may be closed, full, or not ready to take any: whoever reads it
    /// is told later, if at all.
    fn put(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.out.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if let Some(last) = bytes[..written].last() {
            self.is_torn = *last != b'\n';
        }
        written
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
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

    fn until(condition: impl Fn() -> bool) {
        let started = std::time::Instant::now();
        while !condition() {
            assert!(started.elapsed() < Duration::from_secs(60), "it never is");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_thread_is_woken_by_each_line_that_finds_it_asleep() {
        let out = Out::default();
        let mut batched = Batched::start_on(Box::new(out.clone()));
        let mut expected = String::new();
        for line in ["a\n", "b\n", "c\n"] {
            until(|| batched.0.lines.lock().is_asleep);
            batched.write_all(line.as_bytes()).unwrap();
            expected.push_str(line);
            until(|| out.text() == expected);
        }
    }

    /// Takes so many bytes, then none until it is given more room.
    #[derive(Clone, Default)]
    struct Narrow {
        out: Out,
        room: Arc<Mutex<usize>>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut room = self.room.lock();
            let taken = bytes.len().min(*room);
            *room -= taken;
            match taken {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                _ => self.out.write(&bytes[..taken]),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_were_not_taken_are_counted_and_the_next_ones_stand_alone() {
        let narrow = Narrow::default();
        let (out, room) = (narrow.out.clone(), Arc::clone(&narrow.room));
        let mut batched = Batched::new(Box::new(narrow));
        batched.0.lines.lock().has_writer = true;
        *room.lock() = 3;
        batched.write_all(b"a\nbb\nc\n").unwrap();
        batched.flush();
        assert_eq!(out.text(), "a\nb");
        batched.write_all(b"d\n").unwrap();
        batched.flush();
        // Of the notice, too, only a part is taken.
        *room.lock() = 4;
        batched.write_all(b"e\n").unwrap();
        batched.flush();
        *room.lock() = MOST;
        batched.write_all(b"f\n").unwrap();
        batched.flush();
        batched.write_all(b"g\n").unwrap();
        batched.flush();
        let text = out.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert_eq!(
            [lines[0], lines[1], lines[4], lines[5]],
            ["a", "b", "f", "g"]
        );
        let notice: serde_json::Value = serde_json::from_str(lines[3]).unwrap();
        assert_eq!(notice["event"], "log_lines_lost");
        assert_eq!(notice["lines"], 4, "bb, c, d and e");
    }

    #[test]
    fn whoever_panics_while_it_writes_does_not_wait_for_itself() {
        let out = Out::default();
        let mut batched = Batched::new(Box::new(out.clone()));
        batched.0.lines.lock().has_writer = true;
        batched.write_all(b"a\n").unwrap();
        let writing = batched.0.lines.lock();
        batched.flush_if_free();
        drop(writing);
        assert_eq!(out.text(), "");
        batched.flush_if_free();
        assert_eq!(out.text(), "a\n");
    }

    #[test]
    fn without_a_thread_every_line_goes_out_at_once() {
        let out = Out::default();
        let mut batched = Batched::new(Box::new(out.clone()));
        batched.write_all(b"a\n").unwrap();
        assert_eq!(out.text(), "a\n");
    }
}
