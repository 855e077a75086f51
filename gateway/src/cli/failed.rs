//! How a command fails: its exit code, after sysexits.h, and what it says on stderr.

use std::fmt;
use std::process::ExitCode;

use crate::config::layers::Problem;

/// What the command line says, or the configuration, is wrong (`EX_USAGE`).
pub(in crate::cli) const USAGE: u8 = 64;
/// Something that the gateway needs is not there (`EX_UNAVAILABLE`).
pub(in crate::cli) const UNAVAILABLE: u8 = 69;
/// `EX_NOPERM`.
pub(in crate::cli) const FORBIDDEN: u8 = 77;
/// There is no such thing.
pub(in crate::cli) const UNKNOWN: u8 = 1;

/// Why a command did nothing: its exit code, and sentences.
#[derive(Debug)]
pub(in crate::cli) struct Failed {
    pub(in crate::cli) code: u8,
    pub(in crate::cli) sentences: Vec<String>,
}

impl Failed {
    pub(in crate::cli) fn new(code: u8, sentence: impl fmt::Display) -> Self {
        Self {
            code,
            sentences: vec![sentence.to_string()],
        }
    }

    pub(in crate::cli) fn usage(sentence: impl fmt::Display) -> Self {
        Self::new(USAGE, sentence)
    }

    pub(in crate::cli) fn unavailable(sentence: impl fmt::Display) -> Self {
        Self::new(UNAVAILABLE, sentence)
    }

    pub(in crate::cli) fn unknown(sentence: impl fmt::Display) -> Self {
        Self::new(UNKNOWN, sentence)
    }

    /// The exit code, once all was said.
    pub(in crate::cli) fn tell(self) -> ExitCode {
        for sentence in self.sentences {
            eprintln!("error: {sentence}");
        }
        ExitCode::from(self.code)
    }
}

impl From<Vec<Problem>> for Failed {
    fn from(problems: Vec<Problem>) -> Self {
        Self {
            code: USAGE,
            sentences: problems.iter().map(ToString::to_string).collect(),
        }
    }
}
