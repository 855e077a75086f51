//! The limits that the system sets for this program.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows as many open files as the system permits: each stream is one, and the usual 1,024 are
/// meant for programs that hold few.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!(event = "open_files_limited"; "the limit of open files stays at {:?}: {error}", limit.current);
    }
}
