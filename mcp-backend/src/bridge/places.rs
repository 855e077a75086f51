//! How many processes there may be: in all, and of one person and one connection, so that nobody
//! takes them from everybody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// For whom something runs, as far as is known; empty where it is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The person.
    pub user: String,
    /// The client that acts for them.
    pub client: String,
    /// The grant that it acts under: one connection of one app.
    pub grant: String,
}

impl Owner {
    /// Person and client, by whom sessions and processes are told apart. A grant may be renewed.
    pub fn person(&self) -> String {
        format!("{}\n{}", self.user, self.client)
    }

    /// Whether nothing is known of them.
    pub fn is_nobody(&self) -> bool {
        *self == Self::default()
    }

    /// What counts as one connection: the grant, or else the client.
    pub fn connection(&self) -> String {
        match self.grant.is_empty() {
            true => self.person(),
            false => self.grant.clone(),
        }
    }

    /// Whether something of another counts where `crowd` is full for this one.
    pub fn shares(&self, other: &Self, crowd: Crowd) -> bool {
        match crowd {
            Crowd::All => true,
            Crowd::Person => self.user == other.user,
            Crowd::Connection => self.connection() == other.connection(),
        }
    }
}

/// Who has all the places that they may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// Everybody together.
    All,
    /// One person.
    Person,
    /// One connection of one app.
    Connection,
}

/// The most places.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In all.
    pub all: usize,
    /// Of one person.
    pub person: usize,
    /// Of one connection.
    pub connection: usize,
}

/// The places for processes.
#[derive(Debug)]
pub struct Places {
    limits: Limits,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    persons: HashMap<String, usize>,
    connections: HashMap<String, usize>,
}

/// One place. It is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    owner: Owner,
}

impl Places {
    /// All of them free.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            taken: Mutex::default(),
            freed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most that `crowd` may have.
    pub fn most(&self, crowd: Crowd) -> usize {
        match crowd {
            Crowd::All => self.limits.all,
            Crowd::Person => self.limits.person,
            Crowd::Connection => self.limits.connection,
        }
    }

    /// A place for this owner, or who has too many. Nobody in particular has no bound but that of
    /// all.
    ///
    /// # Errors
    /// There is none: who has them.
    pub fn take(self: &Arc<Self>, owner: &Owner) -> Result<Place, Crowd> {
        let mut taken = self.lock();
        let count = |of: &HashMap<String, usize>, key: &str| of.get(key).copied().unwrap_or(0);
        if !owner.is_nobody() {
            if count(&taken.connections, &owner.connection()) >= self.limits.connection {
                return Err(Crowd::Connection);
            }
            if count(&taken.persons, &owner.user) >= self.limits.person {
                return Err(Crowd::Person);
            }
        }
        if taken.all >= self.limits.all {
            return Err(Crowd::All);
        }
        taken.all += 1;
        if !owner.is_nobody() {
            *taken.connections.entry(owner.connection()).or_default() += 1;
            *taken.persons.entry(owner.user.clone()).or_default() += 1;
        }
        Ok(Place {
            places: Arc::clone(self),
            owner: owner.clone(),
        })
    }

    /// The same, waited for.
    ///
    /// # Errors
    /// There is none in time: who has them.
    pub async fn take_within(
        self: &Arc<Self>,
        owner: &Owner,
        patience: Duration,
    ) -> Result<Place, Crowd> {
        let mut crowd = Crowd::All;
        let waiting = async {
            loop {
                let freed = self.freed.notified();
                let mut freed = std::pin::pin!(freed);
                freed.as_mut().enable();
                match self.take(owner) {
                    Ok(place) => return place,
                    Err(full) => crowd = full,
                }
                freed.await;
            }
        };
        timeout(patience, waiting).await.map_err(|_| crowd)
    }

    /// Waits until all are free.
    pub async fn all_free(&self) {
        loop {
            let freed = self.freed.notified();
            let mut freed = std::pin::pin!(freed);
            freed.as_mut().enable();
            if self.lock().all == 0 {
                return;
            }
            freed.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if !self.owner.is_nobody() {
            give_back(&mut taken.connections, &self.owner.connection());
            give_back(&mut taken.persons, &self.owner.user);
        }
        drop(taken);
        self.places.freed.notify_waiters();
    }
}

fn give_back(of: &mut HashMap<String, usize>, key: &str) {
    if let Some(count) = of.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            of.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(user: &str, grant: &str) -> Owner {
        Owner {
            user: user.to_owned(),
            client: "c".to_owned(),
            grant: grant.to_owned(),
        }
    }

    #[tokio::test]
    async fn nobody_has_all_places_and_each_is_given_back() {
        let places = Places::new(Limits {
            all: 6,
            person: 4,
            connection: 3,
        });
        let take = |user: &str, grant: &str| places.take(&owner(user, grant));
        let mut held: Vec<Place> = (0..3).map(|_| take("a", "1").unwrap()).collect();
        assert_eq!(take("a", "1").unwrap_err(), Crowd::Connection);
        held.push(take("a", "2").unwrap());
        assert_eq!(take("a", "2").unwrap_err(), Crowd::Person);
        assert_eq!(take("a", "3").unwrap_err(), Crowd::Person);
        held.push(take("b", "4").unwrap());
        // Nobody in particular is bounded by the whole alone.
        held.push(places.take(&Owner::default()).unwrap());
        assert_eq!(take("b", "4").unwrap_err(), Crowd::All);
        let waiting = {
            let places = Arc::clone(&places);
            tokio::spawn(async move {
                places
                    .take_within(&owner("b", "4"), Duration::from_secs(5))
                    .await
            })
        };
        tokio::task::yield_now().await;
        held.remove(0);
        held.push(waiting.await.unwrap().unwrap());
        drop(held);
        places.all_free().await;
        assert!(places.lock().persons.is_empty() && places.lock().connections.is_empty());
    }
}
