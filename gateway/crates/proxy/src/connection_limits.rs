//! How many connections there are, and from where; what is said to those for which there is no
//! place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::metered;
use super::peer::network;
use super::settings::Bound;
use gateway_core::reason::Reason;
use gateway_metrics::{Counter, CounterFamily, Metrics};

/// How many connections without a place are answered at once; each takes a file meanwhile.
const FAREWELLS: usize = 32;

/// How long each of them may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How many connections there are, and from where.
#[derive(Debug)]
pub(super) struct ConnectionLimits {
    taken: Mutex<OpenConnections>,
    farewells: Arc<Semaphore>,
    said: Mutex<LogThrottle>,
    accepted: Counter,
    reached: CounterFamily<1>,
}

/// When the log last said that something happened, and how often it has since.
#[derive(Debug, Default)]
pub(super) struct LogThrottle {
    said: Option<Instant>,
    unsaid: u64,
}

impl LogThrottle {
    /// Counts one more. The count, when the log is to say it: once in a period.
    pub(super) fn count(&mut self, now: Instant, period: Duration) -> Option<u64> {
        self.unsaid += 1;
        if self
            .said
            .is_some_and(|said| now.duration_since(said) < period)
        {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[derive(Debug, Default)]
struct OpenConnections {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Which cap is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowd {
    All,
    Address,
}

impl ConnectionLimits {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            taken: Mutex::default(),
            farewells: Arc::new(Semaphore::new(FAREWELLS)),
            said: Mutex::default(),
            accepted: metrics.connections_accepted.with([]),
            reached: metrics.limits_reached.clone(),
        }
    }

    pub(super) fn take(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        most: usize,
        most_each: usize,
    ) -> Result<ConnectionPermit, Crowd> {
        let address = address.map(network);
        let mut taken = self.taken.lock();
        if taken.all >= most {
            return Err(Crowd::All);
        }
        if let Some(address) = address {
            let count = taken.by_address.entry(address).or_default();
            if *count >= most_each {
                return Err(Crowd::Address);
            }
            *count += 1;
        }
        taken.all += 1;
        self.accepted.increment();
        Ok(ConnectionPermit {
            limits: Arc::clone(self),
            address,
        })
    }

    /// How many there are now.
    pub(super) fn open(&self) -> usize {
        self.taken.lock().all
    }

    /// Answers a connection that there is no place for, after its first bytes: a client that has
    /// asked nothing yet expects no answer. Of very many at once the others are just closed.
    pub(super) fn turn_away(&self, mut socket: TcpStream, refusal: Refusal) {
        self.record(refusal);
        let Ok(permit) = Arc::clone(&self.farewells).try_acquire_owned() else {
            return;
        };
        let answer = metered::answer(refusal.status, refusal.reason, true);
        tokio::spawn(async move {
            let _permit = permit;
            let farewell = async {
                let mut scratch = [0; 2048];
                if !matches!(socket.read(&mut scratch).await, Ok(1..)) {
                    return;
                }
                let written = socket.write_all(&answer).await;
                if written.is_err() || socket.shutdown().await.is_err() {
                    return;
                }
                // What it still sends is thrown away, or else the answer would be with it.
                while matches!(socket.read(&mut scratch).await, Ok(1..)) {}
            };
            let _ = timeout(FAREWELL, farewell).await;
        });
    }

    /// Counts a refusal, on whichever road it is made, and writes it into the log: at most a line a
    /// second, which has how many there were since the last one. Who is refused must not fill the log.
    pub(super) fn record(&self, refusal: Refusal) {
        self.reached.with([refusal.limit]).increment();
        let count = self.said.lock().count(Instant::now(), FAREWELL);
        let Some(refused) = count else {
            return;
        };
        let reason = refusal.reason;
        log::warn!(
            event = "connection_refused", reason = reason.code(), hint = reason.remedy(),
            limit = refusal.limit, refused = refused;
            "{}", reason.sentence()
        );
    }
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limits: Arc<ConnectionLimits>,
    address: Option<IpAddr>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut taken = self.limits.taken.lock();
        taken.all -= 1;
        if let Some(address) = self.address
            && let Some(count) = taken.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

/// What is said to whom no place is left for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    reason: Reason,
    limit: &'static str,
}

impl Refusal {
    pub(super) const fn new(crowd: Crowd, bound: Bound) -> Self {
        let (unavailable, full) = (StatusCode::SERVICE_UNAVAILABLE, Reason::ConnectionsFull);
        let (status, reason, limit) = match (crowd, bound) {
            (Crowd::Address, _) => (
                StatusCode::TOO_MANY_REQUESTS,
                full,
                "limits.connections_per_address",
            ),
            (Crowd::All, Bound::Setting) => (unavailable, full, "limits.connections"),
            (Crowd::All, Bound::Memory) => (unavailable, full, "limits.memory"),
            (Crowd::All, Bound::OpenFiles) => (
                unavailable,
                Reason::OpenFilesExhausted,
                "open files of the process",
            ),
        };
        Self {
            status,
            reason,
            limit,
        }
    }

    /// The answer's status, and its reason.
    pub(super) const fn answer(self) -> (StatusCode, Reason) {
        (self.status, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_once_in_a_period_how_often_it_failed() {
        let mut trouble = LogThrottle::default();
        let period = Duration::from_secs(10);
        let start = Instant::now();
        assert_eq!(trouble.count(start, period), Some(1));
        for _ in 0..50 {
            assert_eq!(trouble.count(start + period / 2, period), None);
        }
        assert_eq!(trouble.count(start + period, period), Some(51));
    }

    #[test]
    fn each_refusal_is_counted_although_the_log_has_one_line_a_second() {
        let metrics = Metrics::new();
        let limits = ConnectionLimits::new(&metrics);
        let refusal = Refusal::new(Crowd::Address, Bound::Setting);
        for _ in 0..5 {
            limits.record(refusal);
        }
        assert_eq!(metrics.limits_reached.with([refusal.limit]).value(), 5);
        assert_eq!(limits.said.lock().unsaid, 4);
    }

    #[test]
    fn connections_are_capped_in_all_and_for_each_address() {
        let limits = Arc::new(ConnectionLimits::new(&Metrics::new()));
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let first = limits.take(ip("192.0.2.1"), 3, 2);
        let second = limits.take(ip("::ffff:192.0.2.1"), 3, 2);
        assert!(first.is_ok() && second.is_ok());
        let full = limits.take(ip("192.0.2.1"), 3, 2);
        assert_eq!(full.unwrap_err(), Crowd::Address);
        let other = limits.take(ip("192.0.2.2"), 3, 2);
        assert!(other.is_ok());
        assert_eq!(limits.take(None, 3, 2).unwrap_err(), Crowd::All);
        drop(first);
        assert!(limits.take(ip("192.0.2.1"), 3, 2).is_ok());
        drop((second, other));
        assert_eq!(limits.taken.lock().all, 0);
        assert!(limits.taken.lock().by_address.is_empty());
    }
}
