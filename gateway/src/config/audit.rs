//! `[audit]`: where the audit log is, and what it may cost.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::settings::settings;
use crate::config::{units, values};
use gateway_store::StoreUrl;
use gateway_store::journal::{ArgumentsMode, OnFailure, Settings};

/// A file below this would hold hardly more than its own first and last lines.
const SMALLEST: usize = 64 * 1024;

settings! {
    /// `[audit]`
    pub(super) struct AuditKeys in "audit." {
        /// The audit log: what gives or takes access; calls are beside it, in `audit-calls.jsonl`.
        /// Default: `audit/audit.jsonl` in the state folder, none with a store that has no folder.
        /// `off`: none.
        file: Option<String>, values::file;
        /// The size at which a new file begins; the old one gets a number.
        max_size: u64 = "32MiB", max_size;
        /// How many numbered files are kept, of each of the two.
        keep: usize = "16", keep;
        /// How the arguments of a call are written: `hash` (keyed), `none` or `full`.
        arguments: ArgumentsMode = "hash", arguments;
        /// The longest time from a line to the signature over it.
        checkpoint_every: Duration = "60s", checkpoint_every;
        /// While the log can't be written: `refuse` logins, tokens and calls with 503, or `continue`
        /// without.
        on_failure: OnFailure = "refuse", on_failure;
    }
}

fn max_size(text: &str) -> Result<u64, String> {
    match units::size(text)? {
        size if size < SMALLEST => Err("must be at least 64KiB".to_owned()),
        size => Ok(size as u64),
    }
}

fn keep(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(keep) if keep > 0 => Ok(keep),
        _ => Err("must be a whole number from 1 on".to_owned()),
    }
}

fn arguments(text: &str) -> Result<ArgumentsMode, String> {
    match text {
        "hash" => Ok(ArgumentsMode::Hash),
        "none" => Ok(ArgumentsMode::None),
        "full" => Ok(ArgumentsMode::Full),
        _ => Err("must be `hash`, `none` or `full`".to_owned()),
    }
}

fn checkpoint_every(text: &str) -> Result<Duration, String> {
    match units::duration(text)? {
        every if every < Duration::from_secs(1) => Err("must be at least 1s".to_owned()),
        every => Ok(every),
    }
}

fn on_failure(text: &str) -> Result<OnFailure, String> {
    match text {
        "refuse" => Ok(OnFailure::Refuse),
        "continue" => Ok(OnFailure::Continue),
        _ => Err("must be `refuse` or `continue`".to_owned()),
    }
}

impl AuditKeys {
    /// The audit log; `None` where there is none, or a problem was noted.
    pub(super) fn settings(
        self,
        store: Option<&StoreUrl>,
        reader: &mut Reader<'_>,
    ) -> Option<Settings> {
        Some(Settings {
            file: self.file(store, reader)?,
            max_size: self.max_size,
            keep: self.keep,
            arguments: self.arguments,
            checkpoint_every: self.checkpoint_every,
            on_failure: self.on_failure,
        })
    }

    fn file(&self, store: Option<&StoreUrl>, reader: &mut Reader<'_>) -> Option<PathBuf> {
        match &self.file {
            Some(off) if off.eq_ignore_ascii_case("off") => None,
            // Files of these names would be meant by nobody.
            Some(off) if ["none", "no", "false", "disabled"].contains(&off.as_str()) => {
                let sentence = format!("is `{off}`; write `off` to have none");
                reader.wrong("audit.file", &sentence);
                None
            }
            Some(file) => Some(PathBuf::from(file)),
            None => match store? {
                StoreUrl::Folder(folder) => Some(folder.join("audit").join("audit.jsonl")),
                _ => None,
            },
        }
    }
}
