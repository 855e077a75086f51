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
    /// The user, as the gateway names them.
    pub user: String,
    /// The client that acts for them.
    pub client: String,
    /// The grant that it acts under: one connection of one app.
    pub grant: String,
}

impl Owner {
    /// Person and client, by whom sessions and processes are told apart. A grant may be renewed.
    pub fn user_and_client(&self) -> String {
        format!("{}\n{}", self.user, self.client)
    }

    /// Whether nothing is known of them.
    pub fn is_nobody(&self) -> bool {
        *self == Self::default()
    }

    /// What counts as one connection: the grant, or else the client.
    pub fn connection(&self) -> String {
        if self.grant.is_empty() {
            self.user_and_client()
        } else {
            self.grant.clone()
        }
    }

    /// Whether something of another counts where `scope` is full for this one.
    pub fn shares(&self, other: &Self, scope: LimitScope) -> bool {
        match scope {
            LimitScope::All => true,
            LimitScope::User => self.user == other.user,
            LimitScope::Grant => self.connection() == other.connection(),
        }
    }
}

/// Who has all the slots that they may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitScope {
    /// Everybody together.
    All,
    /// One user.
    User,
    /// One connection of one app.
    Grant,
}

/// The most slots.
#[derive(Clone, Copy, Debug)]
pub struct SlotLimits {
    /// In all.
    pub all: usize,
    /// Of one user.
    pub user: usize,
    /// Of one grant, which is one connection of an app.
    pub grant: usize,
}

/// How many processes run, and for whom: each holds a slot.
#[derive(Debug)]
pub struct ProcessSlots {
    limits: SlotLimits,
    taken: Mutex<SlotsInUse>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct SlotsInUse {
    all: usize,
    users: HashMap<String, usize>,
    grants: HashMap<String, usize>,
}

/// One place. It is free again when this is dropped.
#[derive(Debug)]
pub struct ProcessSlot {
    slots: Arc<ProcessSlots>,
    owner: Owner,
}

impl ProcessSlots {
    /// All of them free.
    pub fn new(limits: SlotLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            taken: Mutex::default(),
            freed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, SlotsInUse> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most that `scope` may have.
    pub fn most(&self, scope: LimitScope) -> usize {
        match scope {
            LimitScope::All => self.limits.all,
            LimitScope::User => self.limits.user,
            LimitScope::Grant => self.limits.grant,
        }
    }

    /// A place for this owner, or who has too many. Nobody in particular has no bound but that of
    /// all.
    ///
    /// # Errors
    /// There is none: who has them.
    pub fn take(self: &Arc<Self>, owner: &Owner) -> Result<ProcessSlot, LimitScope> {
        let mut taken = self.lock();
        let count = |of: &HashMap<String, usize>, key: &str| of.get(key).copied().unwrap_or(0);
        if !owner.is_nobody() {
            if count(&taken.grants, &owner.connection()) >= self.limits.grant {
                return Err(LimitScope::Grant);
            }
            if count(&taken.users, &owner.user) >= self.limits.user {
                return Err(LimitScope::User);
            }
        }
        if taken.all >= self.limits.all {
            return Err(LimitScope::All);
        }
        taken.all += 1;
        if !owner.is_nobody() {
            *taken.grants.entry(owner.connection()).or_default() += 1;
            *taken.users.entry(owner.user.clone()).or_default() += 1;
        }
        Ok(ProcessSlot {
            slots: Arc::clone(self),
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
    ) -> Result<ProcessSlot, LimitScope> {
        let mut scope = LimitScope::All;
        let taken = self.wait_for(|| self.take(owner).map_err(|full| scope = full).ok());
        timeout(patience, taken).await.map_err(|_| scope)
    }

    /// Waits until all are free.
    pub async fn all_free(&self) {
        self.wait_for(|| (self.lock().all == 0).then_some(())).await;
    }

    /// Asks now and whenever one is free again.
    async fn wait_for<T>(&self, mut ask: impl FnMut() -> Option<T>) -> T {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(found) = ask() {
                return found;
            }
            freed.await;
        }
    }
}

impl Drop for ProcessSlot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        taken.all -= 1;
        if !self.owner.is_nobody() {
            give_back(&mut taken.grants, &self.owner.connection());
            give_back(&mut taken.users, &self.owner.user);
        }
        drop(taken);
        self.slots.freed.notify_waiters();
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
    async fn nobody_has_all_slots_and_each_is_given_back() {
        let slots = ProcessSlots::new(SlotLimits {
            all: 6,
            user: 4,
            grant: 3,
        });
        let take = |user: &str, grant: &str| slots.take(&owner(user, grant));
        let mut held: Vec<ProcessSlot> = (0..3).map(|_| take("a", "1").unwrap()).collect();
        assert_eq!(take("a", "1").unwrap_err(), LimitScope::Grant);
        held.push(take("a", "2").unwrap());
        assert_eq!(take("a", "2").unwrap_err(), LimitScope::User);
        assert_eq!(take("a", "3").unwrap_err(), LimitScope::User);
        held.push(take("b", "4").unwrap());
        // Nobody in particular is bounded by the whole alone.
        held.push(slots.take(&Owner::default()).unwrap());
        assert_eq!(take("b", "4").unwrap_err(), LimitScope::All);
        let waiting = {
            let slots = Arc::clone(&slots);
            tokio::spawn(async move {
                slots
                    .take_within(&owner("b", "4"), Duration::from_secs(5))
                    .await
            })
        };
        tokio::task::yield_now().await;
        held.remove(0);
        held.push(waiting.await.unwrap().unwrap());
        drop(held);
        slots.all_free().await;
        assert!(slots.lock().users.is_empty() && slots.lock().grants.is_empty());
    }
}
