//! `[audit]`: where the audit log is, and what it may cost.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::units;
use gateway_store::StoreUrl;
use gateway_store::journal::{ArgumentsMode, OnFailure, Settings};

/// A file below this would hold hardly more than its own first and last lines.
const SMALLEST: usize = 64 * 1024;

impl Reader<'_> {
    /// The audit log; `None` where there is none, or a problem was noted.
    pub(super) fn audit(&mut self, store: Option<&StoreUrl>) -> Option<Settings> {
        let file = self.audit_file(store);
        let max_size = self.parsed("audit.max_size", |text| match units::size(text)? {
            size if size < SMALLEST => Err("must be at least 64KiB".to_owned()),
            size => Ok(size as u64),
        });
        let keep = self.parsed("audit.keep", |text| match text.parse() {
            Ok(keep) if keep > 0 => Ok(keep),
            _ => Err("must be a whole number from 1 on".to_owned()),
        });
        let arguments = self.parsed("audit.arguments", |text| match text {
            "hash" => Ok(ArgumentsMode::Hash),
            "none" => Ok(ArgumentsMode::None),
            "full" => Ok(ArgumentsMode::Full),
            _ => Err("must be `hash`, `none` or `full`".to_owned()),
        });
        let checkpoint_every =
            self.parsed("audit.checkpoint_every", |text| {
                match units::duration(text)? {
                    every if every < Duration::from_secs(1) => {
                        Err("must be at least 1s".to_owned())
                    }
                    every => Ok(every),
                }
            });
        let on_failure = self.parsed("audit.on_failure", |text| match text {
            "refuse" => Ok(OnFailure::Refuse),
            "continue" => Ok(OnFailure::Continue),
            _ => Err("must be `refuse` or `continue`".to_owned()),
        });
        Some(Settings {
            file: file?,
            max_size: max_size?,
            keep: keep?,
            arguments: arguments?,
            checkpoint_every: checkpoint_every?,
            on_failure: on_failure?,
        })
    }

    fn audit_file(&mut self, store: Option<&StoreUrl>) -> Option<PathBuf> {
        match self.file("audit.file") {
            Some(off) if off.eq_ignore_ascii_case("off") => None,
            // Files of these names would be meant by nobody.
            Some(off) if ["none", "no", "false", "disabled"].contains(&off.as_str()) => {
                self.wrong(
                    "audit.file",
                    &format!("is `{off}`; write `off` to have none"),
                );
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
