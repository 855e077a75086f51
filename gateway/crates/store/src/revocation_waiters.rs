//! Who waits for a revocation. Owns: waking those whom one may concern, and few others. Not: whom it
//! concerns ([`RevocationView`](crate::RevocationView)); whoever is woken looks there.
//!
//! A live stream waits under its grant, its client, its user and its token, each hashed into one of a
//! fixed number of slots: waiting takes no memory of its own, and of five thousand streams a
//! revocation of somebody else's grant wakes about five.

use std::hash::{BuildHasher, Hash, RandomState};
use std::pin::pin;

use gateway_core::account::AccountId;
use gateway_core::client::ClientId;
use gateway_core::grants::{GrantId, UserId};
use tokio::sync::Notify;

use crate::revocation::Revoked;

/// Slots for each kind of name.
const SLOTS: usize = 1024;

/// Tasks that wait for revocations.
#[derive(Debug)]
pub(super) struct RevocationWaiters {
    /// Keyed at random, so that nobody can choose names that share a slot.
    hasher: RandomState,
    grants: Slots,
    clients: Slots,
    users: Slots,
    accounts: Slots,
    /// Of tokens that nobody attenuated.
    tokens: Slots,
    /// Attenuated tokens end with each token that they came from: they are woken for every token.
    attenuated: Notify,
}

/// What a task waits under.
pub(super) struct WaitKeys<'a> {
    pub(super) grant: &'a GrantId,
    pub(super) client: &'a ClientId,
    pub(super) user: &'a UserId,
    /// The revocation ids of the token's blocks.
    pub(super) tokens: &'a [String],
}

impl Default for RevocationWaiters {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            grants: Slots::default(),
            clients: Slots::default(),
            users: Slots::default(),
            accounts: Slots::default(),
            tokens: Slots::default(),
            attenuated: Notify::new(),
        }
    }
}

impl RevocationWaiters {
    /// Waits until `is_revoked`, which is looked at first and whenever something was revoked that may
    /// concern who waits.
    pub(super) async fn until(&self, keys: WaitKeys<'_>, is_revoked: impl Fn() -> bool) {
        let token = match keys.tokens {
            [token] => self.slot(&self.tokens, token),
            _ => &self.attenuated,
        };
        let slots = [
            self.slot(&self.grants, keys.grant),
            self.slot(&self.clients, keys.client),
            self.slot(&self.users, keys.user),
            token,
        ];
        loop {
            let [grant, client, user, token] = slots.map(Notify::notified);
            let (mut grant, mut client) = (pin!(grant), pin!(client));
            let (mut user, mut token) = (pin!(user), pin!(token));
            // Before the look, so that nothing is missed between the look and the wait.
            for waiting in [&mut grant, &mut client, &mut user, &mut token] {
                waiting.as_mut().enable();
            }
            if is_revoked() {
                return;
            }
            tokio::select! {
                () = grant => {}
                () = client => {}
                () = user => {}
                () = token => {}
            }
        }
    }

    /// The same for who waits for the end of an account alone.
    pub(super) async fn until_account(&self, account: &AccountId, is_revoked: impl Fn() -> bool) {
        let slot = self.slot(&self.accounts, account);
        loop {
            let mut ended = pin!(slot.notified());
            // Before the look, so that nothing is missed between the look and the wait.
            ended.as_mut().enable();
            if is_revoked() {
                return;
            }
            ended.await;
        }
    }

    /// Wakes whoever waits under what was revoked.
    pub(super) fn wake(&self, revoked: &Revoked) {
        match revoked {
            Revoked::Grant(grant) => self.slot(&self.grants, grant).notify_waiters(),
            Revoked::Client(client, _) => self.slot(&self.clients, client).notify_waiters(),
            Revoked::User(user, _) => self.slot(&self.users, user).notify_waiters(),
            Revoked::Account(account) => self.slot(&self.accounts, account).notify_waiters(),
            Revoked::Token(token) => {
                self.slot(&self.tokens, token).notify_waiters();
                self.attenuated.notify_waiters();
            }
            // Of whatever grant: each waits under its own.
            Revoked::Given(..) | Revoked::SigningKey(_) => {
                self.grants.0.iter().for_each(Notify::notify_waiters);
            }
        }
    }

    fn slot<'p>(&self, slots: &'p Slots, name: &impl Hash) -> &'p Notify {
        let hash = self.hasher.hash_one(name);
        // The remainder is below the number of slots.
        #[allow(clippy::cast_possible_truncation)]
        let number = (hash % SLOTS as u64) as usize;
        &slots.0[number]
    }
}

#[derive(Debug)]
struct Slots(Box<[Notify]>);

impl Default for Slots {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| Notify::new()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use gateway_core::clock::Timestamp;

    struct Waiting {
        looks: Arc<AtomicUsize>,
        revoked: Arc<AtomicBool>,
        task: tokio::task::JoinHandle<()>,
    }

    /// Somebody who waits, and has looked once.
    async fn waiting(waiters: &Arc<RevocationWaiters>, number: usize, tokens: &[&str]) -> Waiting {
        let (looks, revoked) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counted, end) = (Arc::clone(&looks), Arc::clone(&revoked));
        let (waiters, tokens) = (
            Arc::clone(waiters),
            tokens.iter().map(|id| (*id).to_owned()),
        );
        let tokens: Vec<String> = tokens.collect();
        let task = tokio::spawn(async move {
            let (grant, client) = (GrantId::new(format!("g_{number}")), ClientId::new("c_1"));
            let user = UserId::new(format!("u_{number}"));
            let keys = WaitKeys {
                grant: &grant,
                client: &client,
                user: &user,
                tokens: &tokens,
            };
            let look = || {
                counted.fetch_add(1, Ordering::SeqCst);
                end.load(Ordering::SeqCst)
            };
            waiters.until(keys, look).await;
        });
        while looks.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        Waiting {
            looks,
            revoked,
            task,
        }
    }

    #[tokio::test]
    async fn each_kind_of_revocation_wakes_whom_it_names() {
        let at = Timestamp::from_secs(1);
        for revoked in [
            Revoked::Grant(GrantId::new("g_7")),
            Revoked::Client(ClientId::new("c_1"), at),
            Revoked::User(UserId::new("u_7"), at),
            Revoked::Token("aa".to_owned()),
        ] {
            for tokens in [&["aa"][..], &["00", "aa", "bb"]] {
                let waiters = Arc::new(RevocationWaiters::default());
                let one = waiting(&waiters, 7, tokens).await;
                one.revoked.store(true, Ordering::SeqCst);
                waiters.wake(&revoked);
                let ended = tokio::time::timeout(Duration::from_secs(5), one.task).await;
                ended
                    .unwrap_or_else(|_| panic!("{revoked} did not end {tokens:?}"))
                    .expect("it only waited");
            }
        }
    }

    #[tokio::test]
    async fn the_end_of_an_account_wakes_who_waits_for_it() {
        let waiters = Arc::new(RevocationWaiters::default());
        let ended = Arc::new(AtomicBool::new(false));
        let account = AccountId::new("a_1");
        let (waiting, end, of) = (Arc::clone(&waiters), Arc::clone(&ended), account.clone());
        let task = tokio::spawn(async move {
            let look = || end.load(Ordering::SeqCst);
            waiting.until_account(&of, look).await;
        });
        tokio::task::yield_now().await;
        ended.store(true, Ordering::SeqCst);
        waiters.wake(&Revoked::Account(account));
        let woken = tokio::time::timeout(Duration::from_secs(5), task).await;
        woken.expect("it is woken").expect("it only waited");
    }

    #[tokio::test]
    async fn the_revocation_of_others_wakes_few() {
        let waiters = Arc::new(RevocationWaiters::default());
        let mut all = Vec::new();
        for number in 0..500 {
            all.push(waiting(&waiters, number, &["aa"]).await);
        }
        for number in 1000..1010 {
            waiters.wake(&Revoked::Grant(GrantId::new(format!("g_{number}"))));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let looks: usize = all.iter().map(|one| one.looks.load(Ordering::SeqCst)).sum();
        // Ten revocations share a slot with five of five hundred on average.
        assert!(looks < 500 + 50, "{looks} looks");
        for one in all {
            one.task.abort();
        }
    }
}
