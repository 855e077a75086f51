//! `[[limit]]`: how often and how much somebody may call.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::backends::ConfiguredBackend;
use crate::config::reader::Reader;
use crate::config::settings::settings;
use crate::config::{units, values};
use gateway_core::access_token::Budget;
use gateway_core::client::ClientId;
use gateway_core::limits::{Limit, Meter, Per, Quota, Rate, Unit};
use gateway_core::policy::Pattern;
use gateway_core::policy::rules::GroupMembers;

settings! {
    /// `[[limit]]`
    pub(super) struct LimitKeys in "limit[]." {
        /// What the limit is called in refusals, metrics and on pages.
        name: Option<String>, name;
        /// Whose calls count together: `person`, `app`, `grant` (an app on behalf of a person), `tool`,
        /// `backend` or `group` (all people of a `[[group]]` together). Read again on SIGHUP, as all of
        /// this.
        per: Option<Per>, per;
        /// Only calls of this backend, by name.
        backend: Option<String>, values::text;
        /// Only calls of these tools: a name, in which `*` stands for any characters.
        tool: Option<Pattern>, values::pattern;
        /// Only calls of people in this `[[group]]`.
        group: Option<String>, values::text;
        /// Only calls of this app, by client id.
        app: Option<String>, values::text;
        /// How many calls in a time: `100/minute`; or `second`, `hour`, `day`.
        rate: Option<(u64, Duration)>, rate;
        /// How many of them at once. Default: a fifth of the rate's number.
        burst: Option<u64>, at_least_one;
        /// How many calls in a day of UTC.
        calls_per_day: Option<u64>, at_least_one;
        /// How many bytes of their requests and answers in a day of UTC, such as `50MB`.
        bytes_per_day: Option<u64>, bytes;
    }
}

/// The limits, each of which has a name of its own.
pub(super) fn limits(
    reader: &mut Reader<'_>,
    backends: &[ConfiguredBackend],
    groups: &BTreeMap<String, GroupMembers>,
) -> Vec<Limit> {
    let mut names = BTreeSet::new();
    let mut limits = Vec::new();
    for table in reader.tables("limit") {
        let keys = LimitKeys::read(reader, &table);
        if let Some(name) = &keys.name {
            reader.unique(&mut names, &table, name);
        }
        limits.extend(limit(reader, &table, keys, backends, groups));
    }
    limits
}

/// One limit; `None` if it can't be used, which is noted.
fn limit(
    reader: &mut Reader<'_>,
    table: &str,
    keys: LimitKeys,
    backends: &[ConfiguredBackend],
    groups: &BTreeMap<String, GroupMembers>,
) -> Option<Limit> {
    let at = |key: &str| format!("{table}.{key}");
    reader.require(&at("name"), "is missing");
    let which = "is missing; it is person, app, grant, tool, backend or group";
    reader.require(&at("per"), which);
    if let Some(name) = &keys.backend {
        match backends.iter().find(|it| it.name() == name) {
            None => {
                let sentence = format!("is the name of no backend; it is `{name}`");
                reader.wrong(&at("backend"), sentence);
            }
            Some(found) if found.backend.aggregate.is_some() => {
                let sentence = format!(
                    "is `{name}`, which has members: a call counts at the member that it goes to; name that one"
                );
                reader.wrong(&at("backend"), sentence);
            }
            Some(_) => {}
        }
    }
    if let Some(name) = &keys.group
        && !groups.contains_key(name)
    {
        let sentence = format!("is the name of no [[group]]; it is `{name}`");
        reader.wrong(&at("group"), sentence);
    }
    if keys.per == Some(Per::Group) && groups.is_empty() {
        reader.wrong(&at("per"), "counts by group, and no [[group]] is there");
    }
    let meters = meters(reader, table, &keys);
    Some(Limit {
        name: keys.name?,
        per: keys.per?,
        backend: keys.backend,
        tool: keys.tool,
        group: keys.group,
        app: keys.app.map(ClientId::new),
        meters,
        groups: groups.clone(),
    })
}

fn meters(reader: &mut Reader<'_>, table: &str, keys: &LimitKeys) -> Vec<Meter> {
    let at = |key: &str| format!("{table}.{key}");
    let meter = |unit, quota| Meter { unit, quota };
    let mut meters = Vec::new();
    if let Some((count, period)) = keys.rate {
        let burst = keys.burst.unwrap_or((count / 5).max(1));
        match Rate::new(count, period, burst) {
            Some(rate) => meters.push(meter(Unit::Calls, Quota::Rate(rate))),
            None => reader.wrong(&at("burst"), "is more than 1000000"),
        }
    } else if keys.burst.is_some() {
        reader.wrong(&at("burst"), "stands without `rate`, of which it is a part");
    }
    let calls = keys.calls_per_day.map(Quota::Day);
    meters.extend(calls.map(|quota| meter(Unit::Calls, quota)));
    let bytes = keys.bytes_per_day.map(Quota::Day);
    meters.extend(bytes.map(|quota| meter(Unit::Bytes, quota)));
    let is_wrong = ["rate", "burst", "calls_per_day", "bytes_per_day"]
        .iter()
        .any(|key| reader.is_wrong(&at(key)));
    if meters.is_empty() && !is_wrong {
        let sentence = "must be given, or calls_per_day or bytes_per_day: it limits nothing";
        reader.conflict(&at("rate"), sentence);
    }
    meters
}

/// Metrics, logs and keys of the store have it.
fn name(text: &str) -> Result<String, String> {
    if text == Budget::NAME {
        Err("is what the budgets of narrowed tokens are called".to_owned())
    } else if (1..=64).contains(&text.len()) && values::is_plain(text, b"-_") {
        Ok(text.to_owned())
    } else {
        Err("is no name of at most 64 letters, digits, `-` and `_`".to_owned())
    }
}

fn per(text: &str) -> Result<Per, String> {
    let found = Per::ALL.into_iter().find(|per| per.name() == text);
    found.ok_or_else(|| "must be person, app, grant, tool, backend or group".to_owned())
}

fn at_least_one(text: &str) -> Result<u64, String> {
    match values::count(text)? {
        0 => Err("must be at least 1".to_owned()),
        number if number > Quota::MOST => Err("is too large".to_owned()),
        number => Ok(number),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    match u64::try_from(units::size(text)?) {
        Ok(0) => Err("must be at least 1B".to_owned()),
        Ok(bytes) if bytes <= Quota::MOST => Ok(bytes),
        _ => Err("is too large".to_owned()),
    }
}

/// `100/minute`.
fn rate(text: &str) -> Result<(u64, Duration), String> {
    let wrong = || "must be written as 100/minute; or second, hour, day".to_owned();
    let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
    let seconds = match unit.trim() {
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        _ => return Err(wrong()),
    };
    match count.trim().parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) if count <= Rate::MOST => Ok((count, Duration::from_secs(seconds))),
        Ok(_) => Err("is more than 1000000".to_owned()),
        Err(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::layers::Layers;
    use crate::config::{SCHEMA, resolve};

    fn read(limits: &str) -> Result<Vec<Limit>, String> {
        let mut layers = Layers::new(&SCHEMA);
        let text = format!(
            "[[backend]]\nname = \"notes\"\nurl = \"http://127.0.0.1:9000\"\n\
             [[backend]]\nname = \"all\"\npath = \"/all\"\nmembers = [\"notes\"]\n\
             [[group]]\nname = \"staff\"\nusers = [\"alice\"]\n{limits}"
        );
        layers.file(Path::new("gateway.toml"), &text);
        let config = resolve(&layers).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        });
        config.map(|config| config.call_limits)
    }

    #[test]
    fn a_table_is_a_limit() {
        let limits = read(
            "[[limit]]\nname = \"calls\"\nper = \"person\"\nbackend = \"notes\"\ntool = \"delete_*\"\n\
             group = \"staff\"\napp = \"c_1\"\nrate = \"100/minute\"\ncalls_per_day = 5000\n\
             bytes_per_day = \"50MB\"\n[[limit]]\nname = \"few\"\nper = \"tool\"\nrate = \"3/hour\"\nburst = 3\n",
        )
        .unwrap();
        let words: Vec<_> = limits[0].meters.iter().map(Meter::words).collect();
        assert_eq!(
            words,
            ["100 calls a minute", "5000 calls a day", "50 MB a day"]
        );
        let rate = |limit: &Limit| match limit.meters[0].quota {
            Quota::Rate(rate) => (rate.count(), rate.burst()),
            _ => (0, 0),
        };
        assert_eq!(rate(&limits[0]), (100, 20));
        assert_eq!(rate(&limits[1]), (3, 3));
        assert!(limits[0].groups.contains_key("staff"));
    }

    #[test]
    fn what_is_wrong_with_a_limit_is_said() {
        for (limit, expected) in [
            (
                "per = \"person\"\nrate = \"1/second\"",
                "`limit.0.name` is missing",
            ),
            (
                "name = \"a\"\nrate = \"1/second\"",
                "`limit.0.per` is missing",
            ),
            (
                "name = \"a\"\nper = \"user\"\nrate = \"1/second\"",
                "must be person",
            ),
            (
                "name = \"token\"\nper = \"app\"\nrate = \"1/second\"",
                "is what the budgets of narrowed tokens are called",
            ),
            (
                "name = \"a b\"\nper = \"app\"\nrate = \"1/second\"",
                "is no name of at most",
            ),
            (
                "name = \"a\"\nper = \"app\"",
                "`limit.0.rate` must be given",
            ),
            (
                "name = \"a\"\nper = \"app\"\nburst = 2\ncalls_per_day = 1",
                "without `rate`",
            ),
            (
                "name = \"a\"\nper = \"app\"\nrate = \"1/fortnight\"",
                "must be written as",
            ),
            (
                "name = \"a\"\nper = \"app\"\nrate = \"0/second\"",
                "must be at least 1",
            ),
            (
                "name = \"a\"\nper = \"app\"\ncalls_per_day = 0",
                "must be at least 1",
            ),
            (
                "name = \"a\"\nper = \"app\"\nbytes_per_day = \"50\"",
                "a number with a unit",
            ),
            (
                "name = \"a\"\nper = \"app\"\nrate = \"1/second\"\nbackend = \"mail\"",
                "is the name of no backend; it is `mail`",
            ),
            (
                "name = \"a\"\nper = \"app\"\nrate = \"1/second\"\nbackend = \"all\"",
                "is `all`, which has members",
            ),
            (
                "name = \"a\"\nper = \"app\"\nrate = \"1/second\"\ngroup = \"board\"",
                "is the name of no [[group]]; it is `board`",
            ),
            (
                "name = \"a\"\nper = \"app\"\nrate = \"1/second\"\n[[limit]]\nname = \"a\"\nper = \"app\"\nrate = \"1/second\"",
                "`a` is the name of two",
            ),
        ] {
            let problems = read(&format!("[[limit]]\n{limit}\n")).unwrap_err();
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
    }
}
