//! How a command fails: its exit code, and a sentence.

use http::StatusCode;

use super::table::cell;
use crate::cli::exit::{UNAVAILABLE, USAGE};
use crate::operator_api::Refusal;

/// `EX_NOPERM` of sysexits.h.
const FORBIDDEN: u8 = 77;

/// Why a command did nothing: its exit code, and a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub(in crate::cli) struct Failed {
    pub(super) code: u8,
    pub(super) sentence: String,
}

impl Failed {
    pub(in crate::cli) fn usage(sentence: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            sentence: sentence.into(),
        }
    }

    pub(in crate::cli) fn unavailable(sentence: impl Into<String>) -> Self {
        Self {
            code: UNAVAILABLE,
            sentence: sentence.into(),
        }
    }

    pub(super) fn forbidden(sentence: impl Into<String>) -> Self {
        Self {
            code: FORBIDDEN,
            sentence: sentence.into(),
        }
    }

    /// There is no such thing.
    pub(in crate::cli) fn unknown(sentence: impl Into<String>) -> Self {
        Self {
            code: 1,
            sentence: sentence.into(),
        }
    }

    /// Whether there is no such thing.
    pub(in crate::cli) const fn is_unknown(&self) -> bool {
        self.code == 1
    }

    /// What the gateway answered instead of doing it.
    pub(super) fn answered(status: StatusCode, refusal: &Refusal) -> Self {
        let message = cell(&refusal.message, 300);
        let remedy = refusal.remedy.as_deref().map(|remedy| cell(remedy, 300));
        let remedy = remedy.map_or_else(String::new, |remedy| format!("\n  {remedy}"));
        let code = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FORBIDDEN,
            status if status.is_server_error() => UNAVAILABLE,
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::METHOD_NOT_ALLOWED => USAGE,
            _ => 1,
        };
        Self {
            code,
            sentence: format!("{message}{remedy}"),
        }
    }
}
