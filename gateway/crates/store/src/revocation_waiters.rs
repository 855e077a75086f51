//! Who waits for a revocation. Owns: waking those whom one may concern, and few others. Not: whom it
//! concerns ([`RevocationView`](crate::RevocationView)); whoever is woken looks there.
//!
//! A live stream waits under its grant, its client, its user and its token, each hashed into one of a
//! fixed number of places: waiting takes no memory of its own, and of five thousand streams a
//! revocation of somebody else's grant wakes about five.

use std::hash::{BuildHasher, Hash, RandomState};
use std::pin::pin;

use gateway_core::client::ClientId;
use gateway_core::grants::{GrantId, UserId};
use tokio::sync::Notify;

use crate::Revoked;

/// Places for each kind of name.
const PLACES: usize = 1024;

/// Tasks that wait for revocations.
#[derive(Debug)]
pub(super) struct RevocationWaiters {
    /// Keyed at random, so that nobody can choose names that share a place.
    hasher: RandomState,
    grants: Places,
    clients: Places,
    users: Places,
    /// Of tokens that nobody attenuated.
    tokens: Places,
    /// Attenuated tokens end with each token that they came from: they are woken for every token.
    attenuated: Notify,
}

/// What a task waits under.
pub(super) struct Wakes<'a> {
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
            grants: Places::default(),
            clients: Places::default(),
            users: Places::default(),
            tokens: Places::default(),
            attenuated: Notify::new(),
        }
    }
}

impl RevocationWaiters {
    /// Waits until `is_revoked`, which is looked at first and whenever something was revoked that may
    /// concern who waits.
    pub(super) async fn until(&self, wakes: Wakes<'_>, is_revoked: impl Fn() -> bool) {
        let token = match wakes.tokens {
            [token] => self.place(&self.tokens, token),
            _ => &self.attenuated,
        };
        let places = [
            self.place(&self.grants, wakes.grant),
            self.place(&self.clients, wakes.client),
            self.place(&self.users, wakes.user),
            token,
        ];
        loop {
            let [grant, client, user, token] = places.map(Notify::notified);
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

    /// Wakes whoever waits under what was revoked.
    pub(super) fn wake(&self, revoked: &Revoked) {
        match revoked {
            Revoked::Grant(grant) => self.place(&self.grants, grant).notify_waiters(),
            Revoked::Client(client, _) => self.place(&self.clients, client).notify_waiters(),
            Revoked::User(user, _) => self.place(&self.users, user).notify_waiters(),
            Revoked::Token(token) => {
                self.place(&self.tokens, token).notify_waiters();
                self.attenuated.notify_waiters();
            }
        }
    }

    fn place<'p>(&self, places: &'p Places, name: &impl Hash) -> &'p Notify {
        let hash = self.hasher.hash_one(name);
        // The remainder is below the number of places.
        #[allow(clippy::cast_possible_truncation)]
        let number = (hash % PLACES as u64) as usize;
        &places.0[number]
    }
}

#[derive(Debug)]
struct Places(Box<[Notify]>);

impl Default for Places {
    fn default() -> Self {
        Self((0..PLACES).map(|_| Notify::new()).collect())
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
            let wakes = Wakes {
                grant: &grant,
                client: &client,
                user: &user,
                tokens: &tokens,
            };
            let look = || {
                counted.fetch_add(1, Ordering::SeqCst);
                end.load(Ordering::SeqCst)
            };
            waiters.until(wakes, look).await;
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
        // Ten revocations share a place with five of five hundred on average.
        assert!(looks < 500 + 50, "{looks} looks");
        for one in all {
            one.task.abort();
        }
    }
}
