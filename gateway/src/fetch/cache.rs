//! Documents that were fetched: each asked for once at a time, kept as long as its host allows,
//! and the last good one used when a fetch fails. Nothing that failed is kept.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use url::Url;

use crate::clock::Timestamp;
use crate::fetch::{FetchError, Fetched, Fetcher};

/// How many documents are fetched at once.
const AT_ONCE: usize = 8;
/// How many documents are kept.
const CAPACITY: usize = 512;
/// A document is kept at least this long, whatever its host says, so that its users do not become
/// a flood of requests to it.
const SHORTEST: Duration = Duration::from_secs(60);
/// And at most this long, so that a change is seen.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT: Duration = Duration::from_secs(60 * 60);

/// A bounded cache before a [`Fetcher`].
#[derive(Debug)]
pub struct Documents {
    fetcher: Fetcher,
    kept: Cache<String, Kept>,
    /// Bounds what strangers can make this machine ask at once.
    at_once: Semaphore,
    /// One lock a URL that is being fetched; gone when nobody waits.
    flights: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

#[derive(Clone, Debug)]
struct Kept {
    body: Bytes,
    fresh_until: Timestamp,
}

impl Documents {
    /// An empty cache before `fetcher`.
    pub fn new(fetcher: Fetcher) -> Self {
        Self {
            fetcher,
            kept: Cache::new(CAPACITY),
            at_once: Semaphore::new(AT_ONCE),
            flights: Mutex::default(),
        }
    }

    /// The document at `url`, if `judge` accepts it: fresh from the cache, or fetched. A document
    /// that can't be fetched, or that `judge` refuses, leaves the last good one in place, which is
    /// answered then.
    pub async fn get<T, E: From<FetchError>>(
        &self,
        url: &Url,
        now: Timestamp,
        judge: impl Fn(&[u8]) -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(kept) = self.fresh(url, now) {
            return judge(&kept.body);
        }
        let flight = self.flight(url);
        let _landed = flight.lock().await;
        // Somebody else may have fetched it meanwhile.
        if let Some(kept) = self.fresh(url, now) {
            return judge(&kept.body);
        }
        let fetched = match self.fetch(url).await {
            Ok(fetched) => judge(&fetched.body).map(|value| (value, fetched)),
            Err(error) => Err(E::from(error)),
        };
        match fetched {
            Ok((value, fetched)) => {
                let age = fetched.max_age.unwrap_or(DEFAULT).clamp(SHORTEST, LONGEST);
                self.kept.insert(
                    url.as_str().to_owned(),
                    Kept {
                        body: fetched.body,
                        fresh_until: now + age,
                    },
                );
                Ok(value)
            }
            Err(error) => match self.kept.get(url.as_str()) {
                Some(last_good) => judge(&last_good.body),
                None => Err(error),
            },
        }
    }

    async fn fetch(&self, url: &Url) -> Result<Fetched, FetchError> {
        let _place = self.at_once.try_acquire().map_err(|_| FetchError::Busy)?;
        self.fetcher.get(url).await
    }

    fn fresh(&self, url: &Url, now: Timestamp) -> Option<Kept> {
        self.kept
            .get(url.as_str())
            .filter(|kept| now < kept.fresh_until)
    }

    fn flight(&self, url: &Url) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock();
        flights.retain(|_, flight| flight.strong_count() > 0);
        if let Some(flight) = flights.get(url.as_str()).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::new(tokio::sync::Mutex::new(()));
        flights.insert(url.as_str().to_owned(), Arc::downgrade(&flight));
        flight
    }
}
