//! The address that an app shows who has to connect an account: it carries a random id and nothing else,
//! and is good for the person alone that the call was for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::accounts::Person;
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::secret::{self, Secret};
use gateway_store::{AccountLink, Records, StoreError};
use quick_cache::sync::Cache;
use rand::rngs::OsRng;

/// How long the same link is given again: a client that calls all the time makes one of it. Less than what
/// it is good for, so that who gets it has time.
const SAME: Duration = Duration::from_secs(300);

/// How many links are remembered to be given again.
const CAPACITY: usize = 1024;

/// Where a person connects an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Names it for the app, as the `elicitationId` of MCP; it opens nothing.
    pub id: String,
    /// The address. It says nothing of who it is for.
    pub url: String,
}

type Whose = (UserId, String);

/// The links that were given of late.
#[derive(Debug)]
pub(crate) struct Links(Cache<Whose, (Arc<Link>, Instant)>);

impl Links {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// The link of a person for a backend, durable before it is given.
    pub(crate) async fn link(
        &self,
        records: &Records,
        person: Person<'_>,
        backend: &str,
        page: impl Fn(&str) -> String,
        now: Timestamp,
    ) -> Result<Arc<Link>, StoreError> {
        let whose = (person.id.clone(), backend.to_owned());
        if let Some((link, made)) = self.0.get(&whose)
            && made.elapsed() < SAME
        {
            return Ok(link);
        }
        let random = Secret::draw(&mut OsRng);
        let of = AccountLink {
            user: person.id.clone(),
            backend: backend.to_owned(),
        };
        records.put_account_link(&random.hash(), &of, now).await?;
        let link = Arc::new(Link {
            id: secret::identifier("el_", &mut OsRng),
            url: page(random.reveal()),
        });
        self.0.insert(whose, (Arc::clone(&link), Instant::now()));
        Ok(link)
    }
}
