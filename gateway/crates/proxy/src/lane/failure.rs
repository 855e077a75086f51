//! What the lane's transport says went wrong, in the words of the rest.

use std::io;

use gateway_core::open_files;
use gateway_lane::Failed;
use gateway_upstream::Failure;

use crate::exchange::TOO_LARGE;
use crate::in_flight::Full;
use crate::lifetime::End;
use crate::rejection::{Rejection, rejected_by};

/// The failure of a backend that this is; `None` where the backend did nothing wrong.
pub(super) fn failure(why: &Failed) -> Option<Failure> {
    match why {
        Failed::Unreachable(what, code) => {
            let error = code.map(io::Error::from_raw_os_error);
            Some(match error.as_ref().and_then(open_files::limit_met) {
                Some(limit) => Failure::NoFiles(limit),
                None => Failure::Unreachable(what.clone()),
            })
        }
        Failed::TimedOut(what) => Some(Failure::TimedOut(what)),
        Failed::NotSent(kind) => Some(Failure::NotSent(kind.to_string())),
        Failed::NoAnswer(kind) => Some(Failure::NoAnswer(kind.to_string())),
        Failed::Broken(what) => Some(Failure::Broken(what.clone())),
        Failed::TooLarge => Some(Failure::Broken(TOO_LARGE.to_owned())),
        Failed::Ended(_)
        | Failed::SlowBody
        | Failed::Redirected
        | Failed::Unspeakable
        | Failed::Full => None,
    }
}

/// What is answered where the backend did nothing wrong; `full`: why no more may be held.
pub(super) fn blameless(why: &Failed, full: Option<Full>) -> Rejection {
    match why {
        Failed::Ended(end) => rejected_by(End::named(end.cause)),
        Failed::SlowBody => Rejection::TooSlow,
        Failed::Redirected => Rejection::UpstreamRedirects,
        Failed::Full => full.unwrap_or(Full::All).into(),
        _ => Rejection::Unspeakable,
    }
}
