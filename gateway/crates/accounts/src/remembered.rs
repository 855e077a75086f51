//! Credentials in memory, so that a call asks nobody. Bounded; what was forgotten is read again.
//!
//! There is one handle for each connection as long as anybody holds it, whether or not it is still
//! remembered: what ends it reaches all who use it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use gateway_core::account::AccountId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_store::Lapse;
use gateway_upstream::Account as Handle;
use http::HeaderValue;
use parking_lot::Mutex;
use quick_cache::sync::Cache;

/// How many people's credentials are remembered for each backend.
const CAPACITY: usize = 10_000;

/// How long it is believed that there is none, or none that can be used.
const NONE: Duration = Duration::from_secs(1);

/// After which time a credential is read again beside the calls that it serves: what ends it is told of
/// otherwise, and this is the second net.
const AGEING: Duration = Duration::from_secs(300);

/// What was looked after so short a time ago is let be: one whose renewal fails, or that nobody can renew,
/// costs each call nothing.
const LOOKED: Duration = Duration::from_secs(1);

/// A credential as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// What calls use.
    pub(crate) handle: Arc<Handle>,
    /// Which of its credentials: raised with each renewal.
    pub(crate) version: u64,
    /// From when on it is to be renewed.
    pub(crate) renew_at: Option<Timestamp>,
    /// From when on it is not good any more.
    pub(crate) expires: Option<Timestamp>,
}

/// What is known of a person's account.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// It can be used.
    Usable(Held),
    /// It is to be connected again.
    Lapsed(Lapse),
    /// There is none.
    Absent,
}

#[derive(Clone, Debug)]
struct Entry {
    known: Known,
    read: Instant,
    /// When it was looked after last.
    looked: Instant,
}

/// What a call finds.
#[derive(Debug)]
pub(crate) enum Found {
    /// This, at once.
    Now(Known),
    /// This, and it is time to look after it beside the call.
    Ageing(Held),
    /// Nothing: it has to be read, and renewed first if it is over.
    Nothing,
}

/// What is remembered of the accounts at one backend.
#[derive(Debug)]
pub(crate) struct Remembered {
    entries: Cache<UserId, Entry>,
    /// Those that somebody holds.
    handles: Mutex<HashMap<AccountId, Weak<Handle>>>,
    /// Whose accounts are being looked after at this moment.
    flights: Mutex<HashMap<UserId, Weak<Flight>>>,
    /// Those that could not be renewed of late: when next, and after which pause.
    failed: Cache<AccountId, (Instant, Duration)>,
}

/// One looks after an account at a time here.
type Flight = tokio::sync::Mutex<()>;

/// Held by whoever does.
pub(crate) type FlightGuard = tokio::sync::OwnedMutexGuard<()>;

/// The pause after the first renewal that failed: it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

impl Remembered {
    pub(crate) fn new() -> Self {
        Self {
            entries: Cache::new(CAPACITY),
            handles: Mutex::default(),
            flights: Mutex::default(),
            failed: Cache::new(CAPACITY),
        }
    }

    /// What is known of a person's account.
    pub(crate) fn find(&self, user: &UserId, now: Timestamp) -> Found {
        let Some(entry) = self.entries.get(user) else {
            return Found::Nothing;
        };
        let age = entry.read.elapsed();
        match entry.known {
            Known::Usable(held) => {
                let is_past = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
                if held.handle.is_over() || is_past(held.expires) {
                    Found::Nothing
                } else if entry.looked.elapsed() >= LOOKED
                    && (age > AGEING || is_past(held.renew_at))
                    && self.pause(held.handle.id()).is_none()
                {
                    Found::Ageing(held)
                } else {
                    Found::Now(Known::Usable(held))
                }
            }
            known if age <= NONE => Found::Now(known),
            _ => Found::Nothing,
        }
    }

    /// What is known from now on. Where it is another connection than before, that one is over for whoever
    /// holds it here, also if nobody has told this replica of its end.
    pub(crate) fn learn(&self, user: &UserId, known: Known) -> Known {
        let before = self.entries.get(user).map(|entry| entry.known);
        if let (Some(Known::Usable(before)), Known::Usable(held)) = (before, &known)
            && before.handle.id() != held.handle.id()
        {
            self.end(before.handle.id());
        }
        let read = Instant::now();
        let entry = Entry {
            known: known.clone(),
            read,
            looked: read,
        };
        self.entries.insert(user.clone(), entry);
        known
    }

    /// Somebody looks after it now. An entry that is put back over a newer one is of a connection that is
    /// over, and found no more.
    pub(crate) fn note_look(&self, user: &UserId) {
        if let Some(entry) = self.entries.get(user) {
            let looked = Instant::now();
            self.entries.insert(user.clone(), Entry { looked, ..entry });
        }
    }

    pub(crate) fn forget(&self, user: &UserId) {
        self.entries.remove(user);
    }

    /// The one handle of a connection, with this credential from now on; and whether it is new.
    pub(crate) fn handle(&self, id: &AccountId, value: HeaderValue) -> (Arc<Handle>, bool) {
        let mut handles = self.handles.lock();
        if let Some(handle) = handles.get(id).and_then(Weak::upgrade) {
            drop(handles);
            if handle.value() != value {
                handle.renew(value);
            }
            return (handle, false);
        }
        // Those that nobody holds any more: looked for no more often than they can have doubled.
        if handles.len() >= handles.capacity() {
            handles.retain(|_, handle| handle.strong_count() > 0);
        }
        let handle = Arc::new(Handle::new(id.clone(), value));
        handles.insert(id.clone(), Arc::downgrade(&handle));
        (handle, true)
    }

    /// The one way to look after a person's account.
    pub(crate) fn flight(&self, user: &UserId) -> Arc<Flight> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(user).and_then(Weak::upgrade) {
            return flight;
        }
        if flights.len() >= flights.capacity() {
            flights.retain(|_, flight| flight.strong_count() > 0);
        }
        let flight = Arc::new(Flight::default());
        flights.insert(user.clone(), Arc::downgrade(&flight));
        flight
    }

    /// How long nobody asks for a renewal any more that failed just now.
    pub(crate) fn pause(&self, id: &AccountId) -> Option<Duration> {
        let (next, _) = self.failed.get(id)?;
        let pause = next.saturating_duration_since(Instant::now());
        (!pause.is_zero()).then_some(pause)
    }

    /// A renewal failed; the pause until the next one.
    pub(crate) fn failed(&self, id: &AccountId) -> Duration {
        let before = self.failed.get(id).map(|(_, pause)| pause);
        let pause = before.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LAST_PAUSE));
        self.failed
            .insert(id.clone(), (Instant::now() + pause, pause));
        pause
    }

    /// A renewal went well.
    pub(crate) fn calm(&self, id: &AccountId) {
        self.failed.remove(id);
    }

    /// Ends a connection for whoever holds it here.
    pub(crate) fn end(&self, id: &AccountId) {
        let handle = self.handles.lock().remove(id);
        if let Some(handle) = handle.and_then(|handle| handle.upgrade()) {
            handle.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1000);

    fn held(remembered: &Remembered, renew_at: u64, expires: u64) -> Held {
        let value = HeaderValue::from_static("Bearer x");
        Held {
            handle: remembered.handle(&AccountId::new("a_1"), value).0,
            version: 1,
            renew_at: Some(Timestamp::from_secs(renew_at)),
            expires: Some(Timestamp::from_secs(expires)),
        }
    }

    #[test]
    fn a_credential_serves_until_its_end_or_its_connection_is_over() {
        let (remembered, user) = (Remembered::new(), UserId::new("u_1"));
        let find = || remembered.find(&user, NOW);
        let learn = |held| remembered.learn(&user, Known::Usable(held));
        assert!(matches!(find(), Found::Nothing));
        learn(held(&remembered, 1001, 1002));
        assert!(matches!(find(), Found::Now(Known::Usable(_))));
        // Its time has come: it is looked after, now and then.
        learn(held(&remembered, 1000, 1002));
        assert!(matches!(find(), Found::Now(Known::Usable(_))));
        let earlier = |by: Duration| {
            let mut entry = remembered.entries.get(&user).unwrap();
            entry.looked -= by;
            remembered.entries.insert(user.clone(), entry);
        };
        earlier(LOOKED);
        assert!(matches!(find(), Found::Ageing(_)));
        remembered.note_look(&user);
        assert!(matches!(find(), Found::Now(Known::Usable(_))));
        earlier(LOOKED);
        let id = AccountId::new("a_1");
        remembered.failed(&id);
        assert!(matches!(find(), Found::Now(Known::Usable(_))));
        remembered.calm(&id);
        assert!(matches!(find(), Found::Ageing(_)));
        learn(held(&remembered, 999, 1000));
        assert!(matches!(find(), Found::Nothing));
        remembered.learn(&user, Known::Absent);
        assert!(matches!(find(), Found::Now(Known::Absent)));
        remembered.forget(&user);
        assert!(matches!(find(), Found::Nothing));
        learn(held(&remembered, 1001, 1002));
        let other = UserId::new("u_2");
        assert!(matches!(remembered.find(&other, NOW), Found::Nothing));
        remembered.end(&AccountId::new("a_1"));
        assert!(matches!(find(), Found::Nothing));
    }

    #[test]
    fn what_can_not_be_renewed_is_asked_for_ever_more_rarely() {
        let (remembered, id) = (Remembered::new(), AccountId::new("a_1"));
        assert_eq!(remembered.pause(&id), None);
        let pauses: Vec<u64> = (0..7).map(|_| remembered.failed(&id).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert!(remembered.pause(&id).is_some());
        remembered.calm(&id);
        assert_eq!(remembered.pause(&id), None);
    }

    #[test]
    fn another_connection_ends_the_one_before_for_whoever_holds_it_here() {
        let (remembered, user) = (Remembered::new(), UserId::new("u_1"));
        let first = held(&remembered, 1001, 1002);
        let value = HeaderValue::from_static("Bearer y");
        let second = Held {
            handle: remembered.handle(&AccountId::new("a_2"), value).0,
            ..first.clone()
        };
        remembered.learn(&user, Known::Usable(first.clone()));
        remembered.learn(&user, Known::Usable(first.clone()));
        assert!(!first.handle.is_over());
        remembered.learn(&user, Known::Usable(second.clone()));
        assert!(first.handle.is_over() && !second.handle.is_over());
    }

    #[test]
    fn one_at_a_time_looks_after_an_account() {
        let remembered = Remembered::new();
        let (alice, bob) = (UserId::new("u_1"), UserId::new("u_2"));
        let one = remembered.flight(&alice);
        assert!(Arc::ptr_eq(&one, &remembered.flight(&alice)));
        assert!(!Arc::ptr_eq(&one, &remembered.flight(&bob)));
        for number in 0..10_000 {
            drop(remembered.flight(&UserId::new(format!("u_{number}"))));
        }
        assert!(remembered.flights.lock().len() < 1000);
    }

    #[test]
    fn all_who_hold_a_connection_hold_the_same_also_after_it_was_forgotten() {
        let remembered = Remembered::new();
        let id = AccountId::new("a_1");
        let value = |text| HeaderValue::from_static(text);
        let (first, is_new) = remembered.handle(&id, value("Bearer 1"));
        assert!(is_new);
        let (second, is_new) = remembered.handle(&id, value("Bearer 2"));
        assert!(!is_new && Arc::ptr_eq(&first, &second));
        assert_eq!(first.value(), "Bearer 2");
        remembered.end(&id);
        assert!(first.is_over());
        // Of those that nobody holds nothing is left.
        for number in 0..10_000 {
            let id = AccountId::new(&format!("a_{number}"));
            drop(remembered.handle(&id, value("Bearer 1")));
        }
        assert!(remembered.handles.lock().len() < 1000);
    }
}
