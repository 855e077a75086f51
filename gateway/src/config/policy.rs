//! `[policy]`, `[[group]]`, `[[network]]` and `approvers`: the policy file, and the names that it may
//! speak of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::backends::ConfiguredBackend;
use crate::config::layers::{Origin, Problem};
use crate::config::reader::Reader;
use crate::config::settings::{Pairs, settings};
use crate::config::values;
use gateway_core::access_token::{self, Approver};
use gateway_core::client::Client;
use gateway_core::policy::rules::{GroupMembers, PolicyEnvironment, Rules};

/// A policy is read by people; one that is larger is some other file.
const LARGEST: usize = 256 * 1024;

settings! {
    /// A key outside of any table.
    pub(super) struct ApproverKeys in "" {
        /// Whose approvals of tools count: names and the public keys that `gateway token approver-key`
        /// prints.
        approvers: Pairs, values::text;
    }
}

settings! {
    /// `[policy]`
    pub(super) struct PolicyKeys in "policy." {
        /// The policy: a file of Biscuit Datalog that decides about every call. Read again, with groups
        /// and networks, on SIGHUP. Default: none; what a token grants is allowed.
        file: Option<String>, values::file;
        /// How far local time is ahead of UTC, for the policy's `hour` and `weekday`: `+02:00`,
        /// `-05:30`.
        utc_offset: i64 = "+00:00", utc_offset;
    }
}

settings! {
    /// `[[group]]`
    pub(super) struct GroupKeys in "group[]." {
        /// A group of people that the policy speaks of.
        name: Option<String>, values::text;
        /// Their login names.
        users: Vec<String>, values::login_name;
        /// Groups of identity providers whose people are in it, too, such as `corp:engineering`: the
        /// name of a `[[login]]`, and what that provider calls the group. What the provider says holds
        /// for as long as `login[].groups_max_age`.
        from: Vec<String>, group_source;
    }
}

settings! {
    /// `[[network]]`
    pub(super) struct NetworkKeys in "network[]." {
        /// A network that the policy speaks of.
        name: Option<String>, values::text;
        /// Its addresses or networks, such as `192.0.2.0/24`.
        addresses: Vec<IpNet>, values::network;
    }
}

/// Whose approvals count.
pub(super) fn approvers(reader: &mut Reader<'_>, keys: ApproverKeys) -> Vec<Approver> {
    let Some(pairs) = keys.approvers.0 else {
        reader.wrong("approvers", "is a table of names and public keys");
        return Vec::new();
    };
    let mut approvers: Vec<Approver> = Vec::new();
    for (name, text) in pairs {
        match access_token::approver_key(&text) {
            Some(key) if approvers.iter().any(|other| other.key == key) => {
                reader.wrong("approvers", format!("`{name}` has the key of another one"));
            }
            Some(key) => approvers.push(Approver { name, key }),
            None => {
                let sentence = format!(
                    "`{name}` is no Ed25519 public key, which gateway token approver-key prints"
                );
                reader.wrong("approvers", sentence);
            }
        }
    }
    approvers
}

/// The policy, with all that it may speak of; `None` where there is none, or a problem was noted.
pub(super) fn policy(
    reader: &mut Reader<'_>,
    backends: &[ConfiguredBackend],
    clients: &[Client],
    approvers: &[Approver],
    groups: BTreeMap<String, GroupMembers>,
) -> Option<Arc<Rules>> {
    let keys = PolicyKeys::read(reader, "policy");
    let clients = clients.iter().map(|client| client.id.as_str().to_owned());
    let environment = PolicyEnvironment {
        groups,
        networks: networks(reader),
        backends: backends.iter().map(|it| it.name().to_owned()).collect(),
        approvers: approvers.iter().map(|it| it.name.clone()).collect(),
        clients: clients.collect(),
        utc_offset: keys.utc_offset,
    };
    let file = keys.file?;
    let text = reader.file("policy.file", &file)?;
    if text.len() > LARGEST {
        reader.wrong("policy.file", "is larger than 256 KiB");
        return None;
    }
    match Rules::read(&file, &text, environment) {
        Ok(rules) => Some(Arc::new(rules)),
        Err(faults) => {
            let problems = faults.into_iter().map(|fault| Problem {
                origin: Origin::File {
                    path: PathBuf::from(&file),
                    line: fault.line,
                    column: Some(fault.column),
                },
                sentence: fault.sentence,
            });
            reader.problems.extend(problems);
            None
        }
    }
}

/// A group that a provider's people are in.
#[derive(Clone, Debug)]
pub(super) struct GroupSource {
    /// The key that names it.
    pub(super) key: String,
    /// The name of the provider.
    pub(super) provider: String,
    /// The group, as the provider calls it.
    pub(super) group: String,
}

/// `[[group]]`, and the groups of providers that they take people from.
pub(super) fn groups(
    reader: &mut Reader<'_>,
) -> (BTreeMap<String, GroupMembers>, Vec<GroupSource>) {
    let mut groups = BTreeMap::new();
    let mut sources = Vec::new();
    for table in reader.tables("group") {
        let GroupKeys { name, users, from } = GroupKeys::read(reader, &table);
        sources.extend(from.iter().filter_map(|text| {
            let (provider, group) = text.split_once(':')?;
            Some(GroupSource {
                key: format!("{table}.from"),
                provider: provider.to_owned(),
                group: group.to_owned(),
            })
        }));
        let members = GroupMembers {
            users: users.into_iter().collect(),
            from: from.into_iter().collect(),
        };
        insert(reader, &mut groups, &table, name, members);
    }
    (groups, sources)
}

fn group_source(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((provider, group)) if !provider.is_empty() && !group.is_empty() => Ok(text.to_owned()),
        _ => Err("is written as `corp:engineering`: a [[login]] and its group".to_owned()),
    }
}

fn networks(reader: &mut Reader<'_>) -> BTreeMap<String, Vec<IpNet>> {
    let mut networks = BTreeMap::new();
    for table in reader.tables("network") {
        let NetworkKeys { name, addresses } = NetworkKeys::read(reader, &table);
        insert(reader, &mut networks, &table, name, addresses);
    }
    networks
}

/// Puts a table under its name, which it must have for itself.
fn insert<T>(
    reader: &mut Reader<'_>,
    tables: &mut BTreeMap<String, T>,
    table: &str,
    name: Option<String>,
    value: T,
) {
    let key = format!("{table}.name");
    match name {
        None => reader.conflict(&key, "is missing"),
        Some(name) if tables.contains_key(&name) => {
            reader.wrong(&key, format!("`{name}` is the name of two"));
        }
        Some(name) => {
            tables.insert(name, value);
        }
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
