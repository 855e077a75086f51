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
        /// The age at which a new file begins, such as `1d`, if it has not reached its size before. Default: only
        /// by size.
        max_age: Option<Duration>, |text| units::at_least(text, Duration::from_secs(60));
        /// How long a numbered file is kept after its last line, such as `90d`. Default: as long as
        /// `audit.keep` lets it.
        keep_for: Option<Duration>, |text| units::at_least(text, Duration::from_secs(3600));
        /// How the arguments of a call are written: `hash` (keyed), `none` or `full`.
        arguments: ArgumentsMode = "hash", arguments;
        /// The longest time from a line to the signature over it.
        checkpoint_every: Duration = "60s", |text| units::at_least(text, Duration::from_secs(1));
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
    values::one_of(
        text,
        &[
            ("hash", ArgumentsMode::Hash),
            ("none", ArgumentsMode::None),
            ("full", ArgumentsMode::Full),
        ],
    )
}

fn on_failure(text: &str) -> Result<OnFailure, String> {
    use OnFailure::{Continue, Refuse};
    values::one_of(text, &[("refuse", Refuse), ("continue", Continue)])
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
            max_age: self.max_age,
            keep_for: self.keep_for,
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
                reader.wrong("audit.file", sentence);
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
