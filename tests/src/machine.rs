//! What tests of all crates take of the machine that they share: ports of the loopback, and a folder in memory.

use std::fs;
use std::net::TcpListener;
use std::ops::Range;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::{Mutex, OnceLock};

/// Below the range that outgoing connections use, in blocks of a hundred.
const BLOCKS: Range<u16> = 100..320;
const IN_BLOCK: u16 = 100;

/// So much must be free in memory, in KiB.
const ROOM: u64 = 64 * 1024;

/// A port that was free a moment ago, below the range that outgoing connections use, and given to nobody
/// else, in this process or in another one with tests: it stays its test's own while what listens there
/// restarts.
pub fn free_port() -> u16 {
    static OURS: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut ours = OURS.lock().expect("no holder of this lock panics");
    loop {
        match ours.pop() {
            None => ours.extend(block()),
            Some(port) if TcpListener::bind(("127.0.0.1", port)).is_ok() => return port,
            Some(_) => {}
        }
    }
}

/// Ports that are this process's until it ends: as long it holds a name that one process can have.
fn block() -> Range<u16> {
    let first = process::id() as usize % BLOCKS.len();
    for block in BLOCKS.cycle().skip(first).take(BLOCKS.len()) {
        let name = format!("gateway-test-ports-{block}");
        let name = SocketAddr::from_abstract_name(name).expect("it is short");
        if let Ok(held) = UnixListener::bind_addr(&name) {
            std::mem::forget(held);
            return block * IN_BLOCK..(block + 1) * IN_BLOCK;
        }
    }
    panic!("no free port between 10000 and 32000");
}

/// Where a server has its folder that syncs its files: in memory, where that has room. A disk that others
/// keep busy takes a second for it now and then, which is longer than the gateway waits for its store; and
/// what a process wrote there outlives it, too.
pub fn synced_folder() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let found = || in_memory().unwrap_or_else(std::env::temp_dir);
    FOLDER.get_or_init(found).clone()
}

fn in_memory() -> Option<PathBuf> {
    let folder = PathBuf::from("/dev/shm");
    let mut asked = Command::new("df");
    let said = asked.arg("--output=avail").arg(&folder).output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let free: u64 = said.lines().last()?.trim().parse().ok()?;
    let probe = folder.join(format!("gateway-test-{}", process::id()));
    fs::create_dir(&probe)
        .and_then(|()| fs::remove_dir(&probe))
        .ok()?;
    (free > ROOM).then_some(folder)
}
