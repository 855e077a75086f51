//! The hash slots of Redis Cluster, and which server has which.

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};

/// How many there are.
pub(super) const SLOTS: u16 = 16_384;

/// Host and port.
pub(super) type Address = (String, u16);

/// An address in words.
pub(super) fn host_and_port((host, port): &Address) -> String {
    format!("{host}:{port}")
}

/// CRC16 as Redis Cluster counts it (XMODEM: polynomial 0x1021, from 0).
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let carry = crc & 0x8000 != 0;
            let doubled = crc << 1;
            if carry { doubled ^ 0x1021 } else { doubled }
        })
    })
}

/// The slot of all keys whose names have this between their first braces.
pub(super) fn slot_of(tag: &str) -> u16 {
    crc16(tag.as_bytes()) % SLOTS
}

/// Whether a server refuses because what is asked for is on its way to another one: all of it, or a part
/// that only a script finds out about.
pub(super) fn is_moving(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, TryAgain};
    matches!(error.kind(), ErrorKind::Server(Ask | TryAgain))
        || error.to_string().contains("non local key")
}

/// Which master has which slots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct SlotMap(Vec<Range>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Range {
    first: u16,
    last: u16,
    master: Address,
}

impl SlotMap {
    /// Reads the answer of `CLUSTER SLOTS` that a server at `asked` gave. A master without a name is the
    /// server itself.
    pub(super) fn read(answer: &Value, asked: &str) -> Option<Self> {
        let Value::Array(rows) = answer else {
            return None;
        };
        let mut ranges = rows
            .iter()
            .map(|row| Range::read(row, asked))
            .collect::<Option<Vec<_>>>()?;
        ranges.sort();
        Some(Self(ranges))
    }

    /// Whether nobody has any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who has a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&Address> {
        let range = self
            .0
            .iter()
            .find(|it| it.first <= slot && slot <= it.last)?;
        Some(&range.master)
    }

    /// All masters, each once.
    pub(super) fn masters(&self) -> Vec<&Address> {
        let mut masters: Vec<&Address> = self.0.iter().map(|range| &range.master).collect();
        masters.sort();
        masters.dedup();
        masters
    }
}

impl Range {
    fn read(row: &Value, asked: &str) -> Option<Self> {
        let Value::Array(row) = row else {
            return None;
        };
        let [first, last, Value::Array(master), ..] = row.as_slice() else {
            return None;
        };
        let [host, port, ..] = master.as_slice() else {
            return None;
        };
        let host = match host {
            Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
            Value::SimpleString(host) => host.clone(),
            _ => String::new(),
        };
        let host = named_host(&host, asked).to_owned();
        Some(Self {
            first: number(first)?,
            last: number(last)?,
            master: (host, number(port)?),
        })
    }
}

/// The host that a server at `said_by` names: its own where it names none (Redis Cluster specification,
/// "MOVED redirection"), or says that it does not know it.
pub(super) fn named_host<'a>(host: &'a str, said_by: &'a str) -> &'a str {
    match host {
        "" | "?" => said_by,
        host => host,
    }
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(
            crc16(b"123456789"),
            0x31c3,
            "the specification's own example"
        );
        assert_eq!(slot_of("foo"), 12_182);
        assert_eq!(slot_of(""), 0);
    }

    #[test]
    fn a_map_says_who_has_a_slot() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let row = |first, last, host, port| {
            let master = vec![host, Value::Int(port), bulk("id"), Value::Map(Vec::new())];
            let replica = vec![bulk("r"), Value::Int(1), bulk("id2")];
            Value::Array(vec![
                Value::Int(first),
                Value::Int(last),
                Value::Array(master),
                Value::Array(replica),
            ])
        };
        let answer = Value::Array(vec![
            row(100, 16_383, bulk("b"), 7001),
            row(0, 99, Value::Nil, 7000),
        ]);
        let map = SlotMap::read(&answer, "a").unwrap();
        let at = |host: &str, port| (host.to_owned(), port);
        assert_eq!(map.owner(99), Some(&at("a", 7000)));
        assert_eq!(map.owner(100), Some(&at("b", 7001)));
        assert_eq!(map.masters(), [&at("a", 7000), &at("b", 7001)]);
        let part = Value::Array(vec![row(0, 1, bulk("?"), 7000)]);
        let map = SlotMap::read(&part, "a").unwrap();
        assert_eq!((map.owner(0), map.owner(2)), (Some(&at("a", 7000)), None));
        assert_eq!(SlotMap::read(&Value::Nil, "a"), None);
        assert_eq!(SlotMap::read(&Value::Array(vec![Value::Int(1)]), "a"), None);
    }
}
