//! Apps write to the log with every call, and strangers with every request that is refused. So that
//! nobody can push what matters out of a log of bounded size, only so many records of one grant, one
//! person, one address, and of all strangers together are written one by one in an hour. The others
//! are counted by what they were, and the counts are written. The first of each kind is written
//! whatever was written before.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use super::bounded::{FIELD, bounded};
use super::record::{Event, Outcome, Record};
use crate::clock::Timestamp;
use crate::reason::Reason;

/// How many refusals of strangers are written one by one in a [`WINDOW`], and how many of whatever else
/// they did.
const STRANGERS: u32 = 600;
const WINDOW: Duration = Duration::from_secs(3600);
/// How often counts are written.
const TELL: Duration = Duration::from_secs(600);
/// How many kinds of records are told apart for one grant, and for all together.
const KINDS_OF_ONE: u32 = 32;
const KINDS: usize = 2048;
/// How many grants, persons and addresses are told apart; those beyond share what one may write.
const WRITERS: usize = 100_000;

/// How many records are written one by one in a window.
#[derive(Clone, Copy)]
struct Budget {
    grant: u32,
    person: u32,
    address: u32,
}

/// Of calls, streams and introspections.
const CALLS: Budget = Budget {
    grant: 6_000,
    person: 12_000,
    address: 24_000,
};
/// Of each event that gives access, and of each other one.
const GIVEN: Budget = Budget {
    grant: 300,
    person: 600,
    address: 2_400,
};
/// Of revocations: an app can ask for the same one again and again, a person or the operator can't
/// be kept from having theirs written.
const REVOCATIONS: Budget = Budget {
    grant: 300,
    person: u32::MAX,
    address: u32::MAX,
};

impl Budget {
    /// `None` for what only the gateway and its operator do.
    const fn from_event(event: Event) -> Option<Self> {
        match event {
            Event::Call | Event::Stream | Event::BackendPage | Event::Introspection => Some(CALLS),
            Event::Login
            | Event::Logout
            | Event::Registration
            | Event::Authorization
            | Event::Consent
            | Event::Token
            | Event::Account
            | Event::Page => Some(GIVEN),
            Event::Revocation => Some(REVOCATIONS),
            Event::OwnerSet
            | Event::Operator
            | Event::Unwritten
            | Event::Opened
            | Event::Closed
            | Event::Rotated
            | Event::Recovered => None,
        }
    }
}

/// Who writes, within one event. Hashed with a key of this process, so that nobody chooses whose
/// budget is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Writer {
    Grant(Event, u64),
    Person(Event, u64),
    Address(Event, u64),
    Stranger { refused: bool },
}

/// Records that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    event: Event,
    outcome: Outcome,
    reason: Option<Reason>,
    user: Option<String>,
    client: Option<String>,
    grant: Option<String>,
    backend: Option<String>,
    method: Option<String>,
    name: Option<String>,
}

/// The counts of one log.
#[derive(Debug)]
pub struct Flood {
    since: Timestamp,
    told: Timestamp,
    hasher: RandomState,
    written: HashMap<Writer, u32>,
    kinds: HashMap<u64, u32>,
    counts: HashMap<Kind, u64>,
}

impl Flood {
    /// Nothing counted yet.
    pub fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            told: now,
            hasher: RandomState::new(),
            written: HashMap::new(),
            kinds: HashMap::new(),
            counts: HashMap::new(),
        }
    }

    /// Whether the record of something that nobody known did is written. It is counted otherwise.
    pub fn take_anonymous<T>(&mut self, record: &Record<T>, now: Timestamp) -> bool {
        self.begin(now);
        let refused = record.reason.is_some();
        let writer = Writer::Stranger { refused };
        if self.spend([Some((writer, STRANGERS)), None, None]) {
            return true;
        }
        let kind = Kind {
            event: if refused { Event::Call } else { record.event },
            outcome: record.outcome,
            reason: record.reason,
            user: None,
            client: None,
            grant: None,
            backend: None,
            method: None,
            name: None,
        };
        *self.counts.entry(kind).or_default() += 1;
        false
    }

    /// Whether the record of something that a known person stands behind is written. It is counted
    /// otherwise.
    pub fn take<T: AsRef<str>>(&mut self, record: &Record<T>, now: Timestamp) -> bool {
        self.begin(now);
        let Some(budget) = Budget::from_event(record.event) else {
            return true;
        };
        let event = record.event;
        let hash = |text: &T| self.hasher.hash_one(text.as_ref());
        let grant = record.grant.as_ref().map(hash);
        let person = record.user.as_ref().map(hash);
        let address = record.peer.map(|peer| self.hasher.hash_one(network(peer)));
        let writers = [
            grant.map(|grant| (Writer::Grant(event, grant), budget.grant)),
            person.map(|person| (Writer::Person(event, person), budget.person)),
            address.map(|address| (Writer::Address(event, address), budget.address)),
        ];
        self.spend(writers) || self.is_first(record)
    }

    /// The counts since they were last asked for, if it is time to write them; `last` asks at once.
    pub fn tell(&mut self, now: Timestamp, last: bool) -> Vec<(Event, Record)> {
        if self.counts.is_empty() || (!last && now.since(self.told) < TELL) {
            return Vec::new();
        }
        self.told = now;
        self.kinds.clear();
        let counts = std::mem::take(&mut self.counts).into_iter();
        let told = counts.filter(|(_, count)| *count > 0);
        told.map(|(kind, count)| (kind.event, kind.told(count)))
            .collect()
    }

    fn begin(&mut self, now: Timestamp) {
        if now.since(self.since) >= WINDOW || now < self.since {
            self.since = now;
            self.written.clear();
        }
    }

    /// Whether one more may be written by all of these.
    fn spend(&mut self, writers: [Option<(Writer, u32)>; 3]) -> bool {
        let mut spent = [None; 3];
        for (at, (writer, most)) in writers.into_iter().flatten().enumerate() {
            let writer = self.known(writer);
            let written = self.written.entry(writer).or_default();
            if *written >= most {
                // What the others spent is theirs again.
                for writer in spent.into_iter().flatten() {
                    self.written
                        .entry(writer)
                        .and_modify(|written| *written -= 1);
                }
                return false;
            }
            *written += 1;
            spent[at] = Some(writer);
        }
        true
    }

    /// Whose account it is: beyond a number of them all share one of their kind.
    fn known(&self, writer: Writer) -> Writer {
        if self.written.len() < WRITERS || self.written.contains_key(&writer) {
            return writer;
        }
        match writer {
            Writer::Grant(event, _) => Writer::Grant(event, 0),
            Writer::Person(event, _) => Writer::Person(event, 0),
            Writer::Address(event, _) => Writer::Address(event, 0),
            Writer::Stranger { .. } => writer,
        }
    }

    /// Whether no record of its kind was counted since counts were last written. Counts it.
    fn is_first<T: AsRef<str>>(&mut self, record: &Record<T>) -> bool {
        let mut kind = Kind::from_record(record);
        if let Some(count) = self.counts.get_mut(&kind) {
            *count += 1;
            return false;
        }
        let one = self.hasher.hash_one((&kind.grant, &kind.user));
        let kinds = self.kinds.entry(one).or_default();
        if *kinds < KINDS_OF_ONE && self.counts.len() < KINDS {
            *kinds += 1;
            self.counts.insert(kind, 0);
            return true;
        }
        (kind.method, kind.name) = (None, None);
        if self.counts.len() >= KINDS && !self.counts.contains_key(&kind) {
            (kind.user, kind.client, kind.grant) = (None, None, None);
        }
        *self.counts.entry(kind).or_default() += 1;
        false
    }
}

/// Whoever has one address of IPv6 has 2⁶⁴ of them.
const fn network(peer: IpAddr) -> u64 {
    match peer {
        IpAddr::V4(address) => address.to_bits() as u64,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.to_bits() as u64,
            None => (address.to_bits() >> 64) as u64,
        },
    }
}

impl Kind {
    fn from_record<T: AsRef<str>>(record: &Record<T>) -> Self {
        let short = |text: &Option<T>| {
            let text = text.as_ref().map(AsRef::as_ref);
            text.map(|text| bounded(text, FIELD).into_owned())
        };
        Self {
            event: record.event,
            outcome: record.outcome,
            reason: record.reason,
            user: short(&record.user),
            client: short(&record.client),
            grant: short(&record.grant),
            backend: short(&record.backend),
            method: short(&record.method),
            name: short(&record.name),
        }
    }

    fn told(self, count: u64) -> Record {
        let detail = match &self.user {
            None if self.grant.is_none() => format!("{count} requests of strangers"),
            _ => format!("{count} more records like this"),
        };
        Record {
            outcome: self.outcome,
            reason: self.reason,
            user: self.user,
            client: self.client,
            grant: self.grant,
            backend: self.backend,
            method: self.method,
            name: self.name,
            detail: Some(detail),
            ..Record::new(Event::Unwritten)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_000_000);

    fn call(grant: &str, user: &str, peer: [u8; 4], name: &str) -> Record {
        Record {
            grant: Some(grant.to_owned()),
            user: Some(user.to_owned()),
            peer: Some(IpAddr::from(peer)),
            method: Some("tools/call".to_owned()),
            name: Some(name.to_owned()),
            ..Record::new(Event::Call)
        }
    }

    fn is_written(flood: &mut Flood, record: Record) -> bool {
        flood.take(&record, START)
    }

    fn written(flood: &mut Flood, count: u32, record: impl Fn(u32) -> Record) -> u32 {
        let each = (0..count).map(|at| u32::from(is_written(flood, record(at))));
        each.sum()
    }

    #[test]
    fn strangers_fill_no_log_and_none_of_them_is_lost_from_the_count() {
        let mut flood = Flood::new(START);
        let refusal = || <Record>::refused(Event::Call, Reason::TokenMissing, false);
        let mut written = 0;
        for at in 0..100_000_u64 {
            let now = START + Duration::from_millis(at);
            if flood.take_anonymous(&refusal(), now) {
                written += 1;
            }
        }
        assert_eq!(written, STRANGERS);
        assert_eq!(flood.tell(START + Duration::from_secs(100), false), vec![]);
        let told = flood.tell(START + TELL, false);
        assert_eq!(told.len(), 1);
        let detail = told[0].1.detail.as_deref();
        assert_eq!(detail, Some("99400 requests of strangers"));
        assert_eq!(flood.tell(START + TELL, true), vec![]);
        let later = START + WINDOW;
        assert!(flood.take_anonymous(&refusal(), later));
    }

    #[test]
    fn a_grant_a_person_and_an_address_fill_no_log() {
        let mut flood = Flood::new(START);
        let one = |_| call("g_1", "u_1", [1, 1, 1, 1], "a");
        // The first that is counted is written, too: it is the first of its kind.
        assert_eq!(written(&mut flood, 50_000, one), CALLS.grant + 1);
        let told = flood.tell(START, true);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, Event::Call);
        assert_eq!(told[0].1.grant.as_deref(), Some("g_1"));
        let detail = told[0].1.detail.as_deref();
        assert_eq!(detail, Some("43999 more records like this"));

        let mut flood = Flood::new(START);
        let many_grants = |at| call(&format!("g_{}", at % 4), "u_1", [1, 1, 1, 1], "a");
        assert_eq!(written(&mut flood, 50_000, many_grants), CALLS.person + 4);

        let mut flood = Flood::new(START);
        let many_people = |at| {
            let (grant, user) = (format!("g_{}", at % 40), format!("u_{}", at % 40));
            call(&grant, &user, [1, 1, 1, 1], "a")
        };
        assert_eq!(written(&mut flood, 90_000, many_people), CALLS.address + 40);
    }

    #[test]
    fn what_one_does_hides_nothing_of_another_nor_another_kind_of_its_own() {
        let mut flood = Flood::new(START);
        written(&mut flood, 20_000, |_| {
            call("g_1", "u_1", [1, 1, 1, 1], "a")
        });
        assert!(is_written(
            &mut flood,
            call("g_2", "u_2", [1, 1, 1, 1], "a")
        ));
        // Of the same grant: another tool, another outcome.
        assert!(is_written(
            &mut flood,
            call("g_1", "u_1", [1, 1, 1, 1], "b")
        ));
        let refused = Record {
            reason: Some(Reason::PolicyDenied),
            outcome: Outcome::Refused,
            ..call("g_1", "u_1", [1, 1, 1, 1], "a")
        };
        assert!(is_written(&mut flood, refused));
        // A consent, a token, a revocation, what the operator does.
        for event in [Event::Consent, Event::Token, Event::Revocation] {
            let record = Record {
                event,
                ..call("g_1", "u_1", [1, 1, 1, 1], "a")
            };
            assert!(is_written(&mut flood, record), "{event:?}");
        }
        let by_operator = |_| Record::new(Event::Operator);
        assert_eq!(written(&mut flood, 50_000, by_operator), 50_000);
    }

    #[test]
    fn names_that_somebody_invents_are_not_each_a_kind() {
        let mut flood = Flood::new(START);
        let invented = |at: u32| call("g_1", "u_1", [1, 1, 1, 1], &format!("tool {at}"));
        let count = written(&mut flood, 100_000, invented);
        assert_eq!(count, CALLS.grant + KINDS_OF_ONE);
        assert!(flood.tell(START, true).len() <= 1 + KINDS_OF_ONE as usize);
        let everybody = |at: u32| call(&format!("g_{at}"), "u_1", [1, 1, 1, 1], "x");
        let count = written(&mut flood, 300_000, everybody);
        assert!(count <= CALLS.address + u32::try_from(KINDS).unwrap());
        assert!(flood.written.len() <= WRITERS + 3 && flood.counts.len() <= KINDS + 2);
        let counted: usize = flood.tell(START, true).len();
        assert!(counted <= KINDS + 2, "{counted}");
    }
}
