//! `[policy]`, `[[group]]` and `[[network]]`: the policy file, and the names that it may speak of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::ConfiguredBackend;
use crate::config::layers::{Origin, Problem};
use crate::config::{reader::Reader, values};
use gateway_core::access_token::Approver;
use gateway_core::client::Client;
use gateway_core::policy::rules::{PolicyEnvironment, Rules};

/// A policy is read by people; one that is larger is some other file.
const LARGEST: usize = 256 * 1024;

impl Reader<'_> {
    /// The policy; `None` where there is none, or a problem was noted.
    pub(super) fn policy(
        &mut self,
        backends: &[ConfiguredBackend],
        clients: &[Client],
        approvers: &[Approver],
    ) -> Option<Arc<Rules>> {
        let environment = PolicyEnvironment {
            groups: self.groups(),
            networks: self.networks(),
            backends: backends
                .iter()
                .map(|configured| configured.backend.mount.name.clone())
                .collect(),
            approvers: approvers
                .iter()
                .map(|approver| approver.name.clone())
                .collect(),
            clients: clients
                .iter()
                .map(|client| client.id.as_str().to_owned())
                .collect(),
            utc_offset: self.parsed("policy.utc_offset", utc_offset)?,
        };
        let path = self.file("policy.file").map(PathBuf::from)?;
        let text = match values::read_text(&path) {
            Ok(text) if text.len() <= LARGEST => text,
            Ok(_) => {
                self.wrong("policy.file", "is larger than 256 KiB");
                return None;
            }
            Err(sentence) => {
                self.wrong(
                    "policy.file",
                    &format!("{sentence}; it is `{}`", path.display()),
                );
                return None;
            }
        };
        match Rules::read(&path.display().to_string(), &text, environment) {
            Ok(rules) => Some(Arc::new(rules)),
            Err(faults) => {
                self.problems
                    .extend(faults.into_iter().map(|fault| Problem {
                        origin: Origin::Place {
                            path: path.clone(),
                            line: fault.line,
                            column: fault.column,
                        },
                        sentence: fault.sentence,
                    }));
                None
            }
        }
    }

    fn groups(&mut self) -> BTreeMap<String, BTreeSet<String>> {
        self.named("group", "users", values::person)
    }

    fn networks(&mut self) -> BTreeMap<String, Vec<IpNet>> {
        self.named("network", "addresses", values::network)
    }

    /// The tables of a list, by their names.
    fn named<T, C: FromIterator<T>>(
        &mut self,
        list: &str,
        members: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> BTreeMap<String, C> {
        let mut tables = BTreeMap::new();
        for index in 0..self.layers.count(list) {
            let key = format!("{list}.{index}.{members}");
            let values: C = self.list(&key, &parse).into_iter().collect();
            let key = format!("{list}.{index}.name");
            match self.text(&key) {
                None => self.wrong(&key, "is missing"),
                Some(name) if tables.contains_key(&name) => {
                    self.wrong(&key, &format!("`{name}` is the name of two"));
                }
                Some(name) => {
                    tables.insert(name, values);
                }
            }
        }
        tables
    }
}

/// `+02:00` in seconds.
fn utc_offset(text: &str) -> Result<i64, String> {
    let wrong = || "must be written as +02:00 or -05:30".to_owned();
    let (sign, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(wrong()),
    };
    let (hours, minutes) = rest.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str, most: i64| {
        let is_plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        let number: Option<i64> = text.parse().ok().filter(|_| is_plain);
        number.filter(|number| *number <= most).ok_or_else(wrong)
    };
    Ok(sign * (number(hours, 14)? * 3600 + number(minutes, 59)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_written_as_in_a_date() {
        assert_eq!(utc_offset("+00:00"), Ok(0));
        assert_eq!(utc_offset("+02:00"), Ok(7200));
        assert_eq!(utc_offset("-05:30"), Ok(-19_800));
        for wrong in [
            "", "2", "+2:00", "+02", "02:00", "+15:00", "+02:60", "+-1:00", "é",
        ] {
            assert!(utc_offset(wrong).is_err(), "{wrong}");
        }
    }
}
