//! Backends that are several others together: `members`.

use crate::config::backends::{BackendKeys, ConfiguredBackend};
use crate::config::reader::Reader;
use crate::config::schema::Key;
use gateway_upstream::Aggregate;
use mcp_protocol::members::{Members, NotMembers, OWN_TOOLS};

/// The keys of a table that has members; all others are of each member.
const ITS_OWN: [&str; 6] = [
    "name",
    "path",
    "members",
    "separator",
    "list_timeout",
    "compact",
];

/// What is of all together, and of no single one.
const OF_AN_AGGREGATE: [&str; 3] = ["separator", "list_timeout", "compact"];

/// Whether a table is of several backends together. What only such a one has is refused in any other.
pub(super) fn is_one(reader: &mut Reader<'_>, table: &str) -> bool {
    if reader.is_written(&format!("{table}.members")) {
        return true;
    }
    reader.refuse(table, OF_AN_AGGREGATE, "is for members, which is missing");
    false
}

/// Which they are, by a table that has `members`; `None` with a problem noted.
pub(super) fn aggregate(
    reader: &mut Reader<'_>,
    table: &str,
    keys: &BackendKeys,
) -> Option<Aggregate> {
    let keys_of_a_member = BackendKeys::KEYS
        .iter()
        .map(Key::name)
        .filter(|key| !ITS_OWN.contains(key))
        .chain(["account.kind"]);
    let sentence = "stands beside members: it is said of each member, in its own [[backend]]";
    reader.refuse(table, keys_of_a_member, sentence);
    match Members::new(keys.members.clone(), &keys.separator) {
        Ok(members) => {
            let mut taken = OWN_TOOLS.iter().filter(|name| members.find(name).is_some());
            if keys.compact.is_some()
                && let Some(name) = taken.next()
            {
                let sentence =
                    format!("can't go with a member whose tool could be called `{name}`");
                reader.wrong(&format!("{table}.compact"), sentence);
            }
            Some(Aggregate {
                members,
                list_timeout: keys.list_timeout,
                compact: keys.compact,
            })
        }
        Err(why) => {
            let key = match why {
                NotMembers::Separator => "separator",
                _ => "members",
            };
            reader.wrong(&format!("{table}.{key}"), why);
            None
        }
    }
}

/// Notes what members are not: other backends, each a server of its own. An answer of all together may take
/// as long as that of the slowest member.
pub(super) fn join(reader: &mut Reader<'_>, backends: &mut [ConfiguredBackend]) {
    check(reader, backends);
    for at in 0..backends.len() {
        let members = backends[at].backend.members();
        let others = backends.iter();
        let of_members = others
            .filter(|other| members.iter().any(|member| member == other.name()))
            .map(|member| member.backend.response_timeout);
        if let Some(longest) = of_members.max() {
            backends[at].backend.response_timeout = longest;
        }
    }
}

fn check(reader: &mut Reader<'_>, backends: &[ConfiguredBackend]) {
    for (at, configured) in backends.iter().enumerate() {
        for member in configured.backend.members() {
            let mut others = backends.iter();
            let found = others.find(|other| other.name() == member);
            let sentence = match found {
                None => format!("`{member}` is no [[backend]]"),
                Some(found) if found.backend.aggregate.is_some() => {
                    format!("`{member}` has members itself: name them here")
                }
                Some(_) => continue,
            };
            reader.wrong(&format!("backend.{at}.members"), sentence);
        }
    }
}
