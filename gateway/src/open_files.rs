//! Open files, of which the system grants so many: what they are enough for.
//!
//! A client's connection takes up to two, because a backend's may belong to it. So no more are let
//! in than there are files for, and nobody meets a gateway that can't reach its backend.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections to backends that are kept for the next request, at most.
const KEPT: usize = 1024;

/// What the gateway needs for itself: its store, logs, listeners, children, and the answers to
/// those whom it does not let in.
const OWN: u64 = 96;

/// Allows as many open files as the system permits: the usual 1,024 are meant for programs that
/// hold few.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!(event = "open_files_limited", error = error.to_string(); "the limit of open files stays");
    }
}

/// How many files this process may open once it serves; absent: any number. Raised only then,
/// because programs that are started before inherit the limit.
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// How many connections to backends are kept for the next request.
pub fn kept(limit: Option<u64>) -> usize {
    limit.map_or(KEPT, |limit| {
        usize::try_from(limit / 8).unwrap_or(KEPT).min(KEPT)
    })
}

/// How many connections of clients the files are enough for, each with one to a backend; but never
/// none.
pub fn connections(limit: Option<u64>) -> usize {
    let Some(limit) = limit else {
        return usize::MAX;
    };
    let left = limit.saturating_sub(OWN + kept(Some(limit)) as u64);
    usize::try_from(left / 2).unwrap_or(usize::MAX).max(1)
}

/// Whether an error says that no more files can be opened, by this process or by the machine.
pub fn are_exhausted(error: &io::Error) -> bool {
    let codes = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    codes
        .iter()
        .any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_two_files_and_the_gateway_its_own() {
        for limit in [128, 256, 1024, 4096, 65_536, 1_048_576] {
            let most = connections(Some(limit)) as u64;
            assert!(
                2 * most + kept(Some(limit)) as u64 + OWN <= limit.max(130),
                "{limit}"
            );
        }
        assert_eq!(connections(Some(1024)), 400);
        assert!(connections(Some(65_536)) > 20_000);
        assert_eq!(connections(Some(0)), 1);
        assert_eq!(connections(None), usize::MAX);
    }

    #[test]
    fn only_a_lack_of_files_is_one() {
        assert!(are_exhausted(&io::Error::from_raw_os_error(24)));
        assert!(are_exhausted(&io::Error::from_raw_os_error(23)));
        assert!(!are_exhausted(&io::Error::from_raw_os_error(111)));
    }
}
