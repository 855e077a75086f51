//! Open files, of which the system grants so many: what they are enough for.
//!
//! A client's connection takes up to two, because a backend's may belong to it. So no more are let
//! in than there are files for, and nobody meets a gateway that can't reach its backend.

use std::io;

use crate::reason::Reason;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections to backends that one pool keeps for the next request, at most.
const KEPT: usize = 512;

/// How many pools of them there are: the lane's and the other road's.
const POOLS: u64 = 2;

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
        log::warn!(event = "open_files_limited", error = error.to_string().as_str(); "the limit of open files stays");
    }
}

/// How many files this process may open once it serves; absent: any number. Raised only then,
/// because programs that are started before inherit the limit.
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// How many connections to backends each pool keeps for the next request.
pub fn kept(limit: Option<u64>) -> usize {
    limit.map_or(KEPT, |limit| {
        let share = usize::try_from(limit / 8 / POOLS);
        share.unwrap_or(KEPT).min(KEPT)
    })
}

/// How many connections of clients the files are enough for, each with one to a backend; but never
/// none.
pub fn connections(limit: Option<u64>) -> usize {
    let Some(limit) = limit else {
        return usize::MAX;
    };
    let left = limit.saturating_sub(OWN + POOLS * kept(Some(limit)) as u64);
    usize::try_from(left / 2).unwrap_or(usize::MAX).max(1)
}

/// The name of the limit that an error says is met, if it is about files: that of this process, or
/// that of the whole machine.
pub fn limit_met(error: &io::Error) -> Option<&'static str> {
    use rustix::io::Errno;
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some("open files of the process"),
        Errno::NFILE => Some("open files of the machine"),
        _ => None,
    }
}

/// An error in words that name the limit and what to do where it is about files; else in its own.
pub fn named(error: &io::Error) -> String {
    match limit_met(error) {
        Some(limit) => {
            let reason = Reason::OpenFilesExhausted;
            format!("{} ({limit}) {}", reason.sentence(), reason.remedy())
        }
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_two_files_and_the_gateway_its_own() {
        for limit in [128, 256, 1024, 4096, 65_536, 1_048_576] {
            let most = connections(Some(limit)) as u64;
            assert!(
                2 * most + POOLS * kept(Some(limit)) as u64 + OWN <= limit.max(130),
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
        let named = |code| named(&io::Error::from_raw_os_error(code));
        assert!(named(24).contains("of the process") && named(24).contains("LimitNOFILE"));
        assert!(named(23).contains("of the machine") && named(23).contains("fs.file-max"));
        assert!(named(111).contains("refused"));
    }
}
