//! Documents that were fetched: each asked for once at a time, kept as long as its host allows,
//! and the last good one used when a fetch fails. Nothing that failed is kept.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use url::Url;

use crate::{Answered, Body, FetchError, Fetcher};
use gateway_core::clock::Timestamp;

/// How many documents are fetched at once: bounds the sockets and the memory that strangers can
/// make this machine spend.
const AT_ONCE: usize = 64;
/// And how many from one host, so that a slow one does not take the places of the others.
const AT_ONCE_FROM_A_HOST: usize = 4;
/// How long a fetch waits for its place.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many may be wanted at once; more are refused at once.
const WANTED: usize = 1024;
/// How many documents are kept.
const CAPACITY: usize = 512;
/// A document is kept at least this long, whatever its host says, so that its users do not become
/// a flood of requests to it. It is also renewed no more often than this.
const SHORTEST: Duration = Duration::from_secs(60);
/// And at most this long, so that a change is seen.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT: Duration = Duration::from_secs(60 * 60);

/// A bounded cache before a [`Fetcher`].
#[derive(Debug)]
pub struct Documents {
    fetcher: Fetcher,
    kept: Cache<String, CachedBody>,
    /// When a URL was last renewed before its time.
    renewed: Cache<String, Timestamp>,
    at_once: Arc<Semaphore>,
    /// The places of each host that is being asked; gone when nobody asks it.
    hosts: Mutex<HashMap<String, Weak<Semaphore>>>,
    /// Each URL that is being fetched; gone when it has landed.
    flights: Mutex<HashMap<String, Weak<Flight>>>,
}

#[derive(Clone, Debug)]
struct CachedBody {
    body: Bytes,
    fresh_until: Timestamp,
}

/// Why a document is no use.
#[derive(Debug, thiserror::Error)]
pub enum Unusable<E> {
    /// It could not be had.
    #[error("{0}")]
    Fetch(FetchError),
    /// Whoever judges it refuses it.
    #[error("{0}")]
    Document(E),
}

/// One fetch, and all who wait for it: those share what came of it, also a failure. Whoever comes
/// after it landed starts another.
type Flight = tokio::sync::Mutex<Option<Result<Answered, FetchError>>>;

impl Documents {
    /// An empty cache before `fetcher`.
    pub fn new(fetcher: Fetcher) -> Self {
        Self {
            fetcher,
            kept: Cache::new(CAPACITY),
            renewed: Cache::new(CAPACITY),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            hosts: Mutex::default(),
            flights: Mutex::default(),
        }
    }

    /// The document at `url`, if `judge` accepts it: fresh from the cache, or fetched. A document
    /// that can't be fetched, or that `judge` refuses, leaves the last good one in place, which is
    /// answered then.
    pub async fn get<T, E>(
        &self,
        url: &Url,
        now: Timestamp,
        judge: impl Fn(&[u8]) -> Result<T, E>,
    ) -> Result<T, Unusable<E>> {
        match self.fresh(url, now) {
            Some(kept) => judge(&kept.body).map_err(Unusable::Document),
            None => self.fetched(url, now, judge).await,
        }
    }

    /// The document at `url` as it is now, though the kept one is fresh: its host may have changed
    /// it. `None` where it was renewed only just, which anybody can bring about.
    pub async fn renew<T, E>(
        &self,
        url: &Url,
        now: Timestamp,
        judge: impl Fn(&[u8]) -> Result<T, E>,
    ) -> Option<Result<T, Unusable<E>>> {
        let recently = |renewed: Timestamp| now < renewed + SHORTEST;
        if self.renewed.get(url.as_str()).is_some_and(recently) {
            return None;
        }
        self.renewed.insert(url.as_str().to_owned(), now);
        Some(self.fetched(url, now, judge).await)
    }

    async fn fetched<T, E>(
        &self,
        url: &Url,
        now: Timestamp,
        judge: impl Fn(&[u8]) -> Result<T, E>,
    ) -> Result<T, Unusable<E>> {
        let judge = |body: &[u8]| judge(body).map_err(Unusable::Document);
        let fetched = self.land(url).await.map_err(Unusable::Fetch);
        match fetched.and_then(|fetched| Ok((judge(&fetched.body)?, fetched))) {
            Ok((value, fetched)) => {
                let age = fetched.max_age.unwrap_or(DEFAULT).clamp(SHORTEST, LONGEST);
                let kept = CachedBody {
                    body: fetched.body,
                    fresh_until: now + age,
                };
                self.kept.insert(url.as_str().to_owned(), kept);
                Ok(value)
            }
            Err(error) => match self.kept.get(url.as_str()) {
                Some(last_good) => judge(&last_good.body),
                None => Err(error),
            },
        }
    }

    /// One fetch of `url`, alone or with others. If the one who began it goes away, the next one
    /// begins anew.
    async fn land(&self, url: &Url) -> Result<Answered, FetchError> {
        let flight = shared(&self.flights, url.as_str(), Flight::default)?;
        let mut landed = flight.lock().await;
        if let Some(landed) = &*landed {
            return landed.clone();
        }
        let outcome = self.fetch(url).await;
        *landed = Some(outcome.clone());
        self.flights.lock().remove(url.as_str());
        outcome
    }

    /// Asks for what is not kept, in a place like others.
    pub async fn ask(
        &self,
        url: &Url,
        authorization: Option<&str>,
        body: Option<Body<'_>>,
    ) -> Result<Answered, FetchError> {
        let _places = self.places(url).await?;
        self.fetcher.ask(url, authorization, body).await
    }

    async fn fetch(&self, url: &Url) -> Result<Answered, FetchError> {
        let _places = self.places(url).await?;
        self.fetcher.get(url).await
    }

    async fn places(&self, url: &Url) -> Result<[OwnedSemaphorePermit; 2], FetchError> {
        let host = shared(&self.hosts, url.host_str().unwrap_or_default(), || {
            Semaphore::new(AT_ONCE_FROM_A_HOST)
        })?;
        let places = async {
            let host = host.acquire_owned().await.ok()?;
            let all = self.at_once.clone().acquire_owned().await.ok()?;
            Some::<[OwnedSemaphorePermit; 2]>([host, all])
        };
        let places = timeout(PATIENCE, places).await.ok().flatten();
        places.ok_or(FetchError::Busy)
    }

    fn fresh(&self, url: &Url, now: Timestamp) -> Option<CachedBody> {
        self.kept
            .get(url.as_str())
            .filter(|kept| now < kept.fresh_until)
    }
}

/// What those who are there now share under a name.
fn shared<T>(
    all: &Mutex<HashMap<String, Weak<T>>>,
    name: &str,
    make: impl Fn() -> T,
) -> Result<Arc<T>, FetchError> {
    let mut all = all.lock();
    if let Some(present) = all.get(name).and_then(Weak::upgrade) {
        return Ok(present);
    }
    if all.len() >= WANTED {
        all.retain(|_, present| present.strong_count() > 0);
    }
    if all.len() >= WANTED {
        return Err(FetchError::Busy);
    }
    let made = Arc::new(make());
    all.insert(name.to_owned(), Arc::downgrade(&made));
    Ok(made)
}
