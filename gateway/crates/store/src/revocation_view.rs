//! The revocations, where a call can look at them without a round trip. Not: when it is read
//! (`revocation_follower`), and what a revoked grant means for a call (`proxy::admission`).
//!
//! The same list carries amendments (`grants::amendment`): the later definition of a tool that a
//! user approved.
//!
//! An entry once seen is kept until its time, even if the store has lost it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::broadcast;

use crate::epoch::StoreEpoch;
use crate::error::StoreError;
use crate::peer_question::{Asked, PeerQuestion, WAITING};
use crate::revocation::{Revocation, Revoked};
use crate::revocation_follower::{Follows, follow};
use crate::revocation_moments::{NotBefore, add_not_before};
use crate::revocation_waiters::{RevocationWaiters, WaitKeys};
use crate::store::Store;
use gateway_core::access_token::VerifiedToken;
use gateway_core::account::AccountId;
use gateway_core::client::ClientId;
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::grants::amendment::{Amended, Amendment};
use gateway_core::grants::{Grant, GrantId, UserId};
use gateway_core::policy::RevocationStatus;

/// What is revoked, as of a moment ago. Knows nothing until its first reading: until then
/// [`RevocationView::age`] is [`Duration::MAX`].
#[derive(Debug)]
pub struct RevocationView {
    state: RwLock<State>,
    waiters: RevocationWaiters,
    /// To those who answer.
    pub(crate) questions: broadcast::Sender<PeerQuestion>,
}

#[derive(Debug, Default)]
struct State {
    /// When to forget it, by the id of a grant, a token or an account.
    named: HashMap<String, Timestamp>,
    clients: HashMap<ClientId, NotBefore>,
    users: HashMap<UserId, NotBefore>,
    /// From when until when what was given is revoked, and when to forget it.
    given: HashMap<(Timestamp, Timestamp), Timestamp>,
    /// When to forget that a signing key is revoked, by its number.
    signing_keys: HashMap<u32, Timestamp>,
    /// By grant.
    amended: HashMap<GrantId, Arc<Amended>>,
    /// What other replicas asked.
    asked: Asked,
    epoch: Option<StoreEpoch>,
    /// The last successful reading, on the wall clock and on one that never jumps.
    read: Option<(Timestamp, Instant)>,
    /// Why the reading since then failed, if it did.
    fault: Option<StoreError>,
}

impl State {
    /// What counts no more that did.
    fn add(&mut self, revocation: &Revocation) -> Option<Revoked> {
        let until = revocation.expires;
        if let Some(amendment) = Amendment::parse(&revocation.id) {
            let of_grant = self.amended.entry(amendment.grant.clone()).or_default();
            Arc::make_mut(of_grant).take(amendment, until);
            return None;
        }
        // What was asked before the first reading was for others.
        if self.asked.hear(revocation, self.read.is_some()) {
            return None;
        }
        let revoked = Revoked::parse(&revocation.id);
        let is_new = match &revoked {
            Revoked::Grant(_) | Revoked::Token(_) | Revoked::Account(_) => {
                let known = self.named.get_mut(&revocation.id);
                let is_new = known.is_none();
                match known {
                    // The same grant revoked twice: the later end counts.
                    Some(known) => *known = (*known).max(until),
                    None => drop(self.named.insert(revocation.id.clone(), until)),
                }
                is_new
            }
            Revoked::Client(client, before) => {
                add_not_before(&mut self.clients, client.clone(), *before, until)
            }
            Revoked::User(user, before) => {
                add_not_before(&mut self.users, user.clone(), *before, until)
            }
            Revoked::Given(from, before) => self.given.insert((*from, *before), until).is_none(),
            Revoked::SigningKey(number) => self.signing_keys.insert(*number, until).is_none(),
        };
        is_new.then_some(revoked)
    }

    fn is_given_before(&self, user: &UserId, client: &ClientId, given: Timestamp) -> bool {
        let moments = [self.users.get(user), self.clients.get(client)];
        moments
            .into_iter()
            .flatten()
            .any(|moment| moment.concerns(given))
            || self.is_given_within(given)
    }

    /// Whether it was given in a time of which the store knows nothing. There hardly ever is one.
    fn is_given_within(&self, given: Timestamp) -> bool {
        let mut times = self.given.keys();
        times.any(|(from, until)| (from.secs()..until.secs()).contains(&given.secs()))
    }

    fn is_key_revoked(&self, number: Option<u32>) -> bool {
        number.is_some_and(|number| self.signing_keys.contains_key(&number))
    }
}

impl RevocationView {
    /// A view that follows `store` on `runtime` for as long as somebody holds it.
    pub fn follow(store: Arc<dyn Store>, clock: Clock, runtime: &Handle) -> Arc<Self> {
        let view = Arc::new(Self::unread());
        runtime.spawn(follow(Arc::downgrade(&view), store, clock));
        view
    }

    /// A view with one reading, for whoever wants no store.
    pub fn read_once(epoch: StoreEpoch, revocations: &[Revocation], now: Timestamp) -> Arc<Self> {
        let view = Self::unread();
        view.add(revocations);
        view.confirm(epoch, now);
        Arc::new(view)
    }

    fn unread() -> Self {
        Self {
            state: RwLock::default(),
            waiters: RevocationWaiters::default(),
            questions: broadcast::Sender::new(WAITING),
        }
    }

    /// Whether the grant of this id is revoked, as far as this view knows; see
    /// [`RevocationView::age`].
    pub fn is_revoked(&self, grant: &GrantId) -> bool {
        self.state.read().named.contains_key(grant.as_str())
    }

    /// Whether the grant is revoked: itself, or with all that its client or its user was
    /// given or gave before a moment.
    pub fn revokes_grant(&self, grant: &Grant) -> bool {
        let state = self.state.read();
        state.named.contains_key(grant.id.as_str())
            || state.is_given_before(&grant.user, &grant.client, grant.created)
    }

    /// Whether the token is revoked: itself, one that it was narrowed from, its grant, the key that signed
    /// it, or all that was given within a time, or that its client or its user was given or gave before a
    /// moment. A few look-ups in memory.
    pub fn revokes(&self, token: &VerifiedToken) -> bool {
        let claims = token.claims();
        let state = self.state.read();
        state.named.contains_key(claims.grant.as_str())
            || token.ids().iter().any(|id| state.named.contains_key(id))
            || state.is_given_before(&claims.user, &claims.client, claims.issued)
            || state.is_key_revoked(token.signing_key())
    }

    /// The numbers of the signing keys that are revoked.
    pub fn revoked_signing_keys(&self) -> BTreeSet<u32> {
        self.state.read().signing_keys.keys().copied().collect()
    }

    /// What the user approved under this grant since its tokens were given, as far as this view
    /// knows.
    pub fn amended(&self, grant: &GrantId) -> Option<Arc<Amended>> {
        self.state.read().amended.get(grant).cloned()
    }

    /// The epoch of the store; `None` before the first reading.
    pub fn epoch(&self) -> Option<StoreEpoch> {
        self.state.read().epoch.clone()
    }

    /// Why the last reading failed, if it did.
    pub fn fault(&self) -> Option<StoreError> {
        self.state.read().fault.clone()
    }

    /// What this view says about a token at this moment.
    pub fn status(&self, token: &VerifiedToken, now: Timestamp) -> RevocationStatus {
        RevocationStatus {
            revoked: self.revokes(token),
            remembers_since: self.epoch().map(|epoch| epoch.counts_from()),
            age: self.age(now),
            fault: self.state.read().fault.as_ref().map(StoreError::reason),
        }
    }

    /// The time since the store was last read to its end. A clock that jumps back makes nothing
    /// look fresh.
    pub fn age(&self, now: Timestamp) -> Duration {
        match self.state.read().read {
            Some((wall, steady)) => now.since(wall).max(steady.elapsed()),
            None => Duration::MAX,
        }
    }

    /// Waits until the token is revoked ([`RevocationView::revokes`]). The revocation of others, of
    /// other clients and users wakes nobody who waits here, but for a few by chance.
    pub async fn revoked(&self, token: &VerifiedToken) {
        let claims = token.claims();
        let keys = WaitKeys {
            grant: &claims.grant,
            client: &claims.client,
            user: &claims.user,
            tokens: token.ids(),
        };
        self.waiters.until(keys, || self.revokes(token)).await;
    }

    /// Whether this connection to an account at a backend was ended, as far as this view knows.
    pub fn ends_account(&self, account: &AccountId) -> bool {
        self.state.read().named.contains_key(account.as_str())
    }

    /// Waits until it is.
    pub async fn account_ended(&self, account: &AccountId) {
        let is_ended = || self.ends_account(account);
        self.waiters.until_account(account, is_ended).await;
    }

    /// The same for a grant alone.
    #[cfg(test)]
    pub(super) async fn until_revoked(&self, grant: &GrantId) {
        let keys = WaitKeys {
            grant,
            client: &ClientId::new("c_1"),
            user: &UserId::new("u_1"),
            tokens: &[],
        };
        self.waiters.until(keys, || self.is_revoked(grant)).await;
    }
}

impl Follows for RevocationView {
    /// Takes in what the store listed, or has just acknowledged.
    fn add(&self, revocations: &[Revocation]) {
        let mut news = Vec::new();
        let unheard = {
            let mut state = self.state.write();
            news.extend(revocations.iter().filter_map(|entry| state.add(entry)));
            state.asked.take_unheard()
        };
        for question in unheard {
            // Where nobody listens, nobody answers.
            let _ = self.questions.send(question);
        }
        for revoked in &news {
            self.waiters.wake(revoked);
        }
    }

    /// Notes that the store was read to its end. Another epoch ends nothing by itself: tokens of the
    /// one before are refused when they are looked at.
    fn confirm(&self, epoch: StoreEpoch, now: Timestamp) {
        let mut state = self.state.write();
        state.read = Some((now, Instant::now()));
        state.fault = None;
        if state.epoch.as_ref() != Some(&epoch) {
            state.epoch = Some(epoch);
        }
    }

    fn forget_expired(&self, now: Timestamp) {
        let mut state = self.state.write();
        state.named.retain(|_, until| now < *until);
        state.asked.forget_expired(now);
        state.clients.retain(|_, moment| now < moment.until);
        state.users.retain(|_, moment| now < moment.until);
        state.given.retain(|_, until| now < *until);
        state.signing_keys.retain(|_, until| now < *until);
        state
            .amended
            .retain(|_, amended| Arc::make_mut(amended).retain(now));
    }

    fn failed(&self, error: StoreError) {
        self.state.write().fault = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use gateway_core::grants::Pin;

    fn revocation(id: &str, expires: Timestamp) -> Revocation {
        Revocation {
            id: id.to_owned(),
            expires,
        }
    }

    async fn until(mut condition: impl FnMut() -> bool) {
        for _ in 0..300 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not within 3 seconds");
    }

    #[tokio::test]
    async fn a_view_knows_nothing_before_its_first_reading() {
        let view = RevocationView::unread();
        assert_eq!(view.age(Clock.now()), Duration::MAX);
        assert_eq!(view.epoch(), None);
    }

    #[tokio::test]
    async fn a_view_learns_of_a_revocation_at_once_and_tells_its_watchers() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let now = Clock.now();
        let end = now + Duration::from_secs(60);
        let old = GrantId::new("g_old");
        store.revoke(&revocation("g_old", end), now).await.unwrap();
        let view = RevocationView::follow(Arc::clone(&store), Clock, &Handle::current());
        until(|| view.epoch().is_some()).await;
        assert!(view.is_revoked(&old));
        assert!(view.age(Clock.now()) < Duration::from_secs(2));

        let grant = GrantId::new("g_new");
        assert!(!view.is_revoked(&grant));
        let revoking = async { store.revoke(&revocation("g_new", end), now).await.unwrap() };
        tokio::time::timeout(Duration::from_millis(700), async {
            tokio::join!(view.until_revoked(&grant), revoking)
        })
        .await
        .expect("a hint comes sooner than the next reading");
        assert!(view.is_revoked(&grant) && view.is_revoked(&old));
    }

    #[tokio::test]
    async fn an_amendment_is_known_everywhere_at_once_revokes_nothing_and_is_forgotten() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let now = Clock.now();
        let view = RevocationView::follow(Arc::clone(&store), Clock, &Handle::current());
        until(|| view.epoch().is_some()).await;
        let grant = GrantId::new("g_1");
        let amendment = Amendment {
            grant: grant.clone(),
            tool: "look".to_owned(),
            pin: Pin::new([2; 8]),
            at: now,
        };
        let end = now + Duration::from_secs(60);
        let entry = revocation(&amendment.to_entry(), end);
        store.revoke(&entry, now).await.unwrap();
        until(|| view.amended(&grant).is_some()).await;
        assert_eq!(
            view.amended(&grant).unwrap().pin("look"),
            Some(amendment.pin)
        );
        assert!(!view.is_revoked(&grant));
        assert!(view.amended(&GrantId::new("g_2")).is_none());
        view.forget_expired(end);
        assert!(view.amended(&grant).is_none());
    }

    #[test]
    fn a_clock_that_jumps_back_makes_no_view_look_fresh() {
        let now = Clock.now();
        let epoch = StoreEpoch {
            id: "b".to_owned(),
            at: now,
        };
        let view = RevocationView::read_once(epoch, &[], now);
        std::thread::sleep(Duration::from_millis(20));
        assert!(view.age(now - Duration::from_secs(3600)) >= Duration::from_millis(20));
        assert!(view.age(now + Duration::from_secs(61)) >= Duration::from_secs(61));
    }

    #[test]
    fn a_moment_concerns_what_was_given_before_it_and_nobody_else() {
        let at = Timestamp::from_millis(1_000_500);
        let until = at + Duration::from_secs(60);
        let view = RevocationView::unread();
        let state = |user: &str, client: &str, given: Timestamp| {
            let (user, client) = (UserId::new(user), ClientId::new(client));
            view.state.read().is_given_before(&user, &client, given)
        };
        let revoke = |what: Revoked| view.add(&[revocation(&what.to_string(), until)]);
        revoke(Revoked::Client(ClientId::new("c_1"), at));
        revoke(Revoked::User(UserId::new("u_1"), at));
        let before = at - Duration::from_secs(1);
        assert!(state("u_2", "c_1", before) && state("u_1", "c_2", before));
        assert!(!state("u_2", "c_2", before));
        assert!(!state("u_1", "c_1", Timestamp::from_millis(1_000_000)));
        // Read again from the start of the list, an older moment takes nothing back.
        revoke(Revoked::Client(ClientId::new("c_1"), before));
        assert!(state("u_2", "c_1", before));
        view.forget_expired(until);
        assert!(!state("u_1", "c_1", before));
    }

    #[test]
    fn a_view_forgets_what_expired_and_keeps_the_later_end() {
        let now = Timestamp::from_secs(1000);
        let view = RevocationView::unread();
        let (short, long) = (now + Duration::from_secs(1), now + Duration::from_secs(9));
        view.add(&[revocation("g_1", long), revocation("g_1", short)]);
        view.add(&[revocation("g_2", short)]);
        view.forget_expired(now + Duration::from_secs(5));
        assert!(view.is_revoked(&GrantId::new("g_1")));
        assert!(!view.is_revoked(&GrantId::new("g_2")));
        view.forget_expired(now + Duration::from_secs(9));
        assert!(!view.is_revoked(&GrantId::new("g_1")));
    }
}
