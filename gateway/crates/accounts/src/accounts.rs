//! The accounts of everybody at all backends that are called with them: what a call is made with.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::HeaderValue;
use rand::rngs::OsRng;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::account_error::AccountError;
use crate::contents::{Contents, open};
use crate::links::{Link, Links};
use crate::oauth::renewal::Why;
use crate::remembered::{FlightGuard, Found, Held, Known, Remembered};
use gateway_core::account::AccountId;
use gateway_core::account::seal::{Bound, SealKeys};
use gateway_core::account::settings::{AccountKind, AccountSettings};
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::grants::UserId;
use gateway_core::protocol::resource::Issuer;
use gateway_core::reason::Reason;
use gateway_core::secret::{Secret, TagKey};
use gateway_fetch::{Documents, Fetcher, Limits};
use gateway_metrics::Metrics;
use gateway_store::journal::Journal;
use gateway_store::{Account, AccountLink, Lapse, Records, StoreError};
use gateway_upstream::{Account as Handle, Backend, Connections};

/// How often it is looked whether anybody holds an account that may be ended elsewhere.
const LOOK: Duration = Duration::from_secs(300);

/// Whose account it is.
#[derive(Clone, Copy, Debug)]
pub struct Person<'a> {
    /// What names the person for good.
    pub id: &'a UserId,
    /// The login name.
    pub name: &'a str,
}

/// A backend that is called with everybody's own account.
#[derive(Debug)]
pub(crate) struct AccountBackend {
    pub(crate) backend: Arc<Backend>,
    pub(crate) settings: AccountSettings,
    pub(crate) remembered: Arc<Remembered>,
    /// What asks its authorization server. It is nobody else's: what the operator wrote of one backend opens
    /// no private address for what another one says.
    pub(crate) fetch: Documents,
}

impl AccountBackend {
    pub(crate) fn name(&self) -> &str {
        &self.backend.mount.name
    }
}

/// What the accounts are made of.
#[derive(Debug)]
pub struct Parts {
    /// The backends that are called with everybody's own account, each with what the operator says of it.
    pub backends: Vec<(Arc<Backend>, AccountSettings)>,
    /// What outlives a request.
    pub records: Records,
    /// The keys that seal credentials.
    pub keys: SealKeys,
    /// The connections to backends.
    pub connections: Arc<Connections>,
    /// The public origin.
    pub issuer: Issuer,
    /// The name of this installation, for authorization servers.
    pub title: String,
    /// The key for tags.
    pub tags: TagKey,
    /// The audit log.
    pub journal: Journal,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
}

/// The accounts of everybody at all backends that are called with them.
pub struct Accounts {
    backends: BTreeMap<String, AccountBackend>,
    links: Links,
    pub(crate) records: Records,
    pub(crate) keys: SealKeys,
    pub(crate) connections: Arc<Connections>,
    pub(crate) issuer: Issuer,
    pub(crate) title: String,
    pub(crate) tags: TagKey,
    pub(crate) journal: Journal,
    clock: Clock,
    pub(crate) metrics: Metrics,
    /// Itself, for what goes on beside a call.
    me: Weak<Self>,
}

impl Accounts {
    /// The accounts at these backends.
    pub fn new(parts: Parts) -> Arc<Self> {
        let backends = parts.backends.into_iter().map(|(backend, settings)| {
            let name = backend.mount.name.clone();
            let written = settings.written(&backend.origin());
            let of = AccountBackend {
                fetch: Documents::new(Fetcher::trusting(Limits::default(), &written)),
                backend,
                settings,
                remembered: Arc::new(Remembered::new()),
            };
            (name, of)
        });
        Arc::new_cyclic(|me| Self {
            backends: backends.collect(),
            links: Links::new(),
            records: parts.records,
            keys: parts.keys,
            connections: parts.connections,
            issuer: parts.issuer,
            title: parts.title,
            tags: parts.tags,
            journal: parts.journal,
            clock: parts.clock,
            metrics: parts.metrics,
            me: Weak::clone(me),
        })
    }

    /// Those of a gateway whose backends are all called without any.
    pub fn none(records: Records, issuer: Issuer) -> Arc<Self> {
        Self::new(Parts {
            backends: Vec::new(),
            records,
            keys: SealKeys::none(&mut OsRng),
            connections: Arc::default(),
            issuer,
            title: String::new(),
            tags: TagKey::new([0; 32]),
            journal: Journal::off(),
            clock: Clock,
            metrics: Metrics::default(),
        })
    }

    /// What the operator says of the accounts at a backend; `None` where it is called without any.
    pub fn settings(&self, backend: &str) -> Option<&AccountSettings> {
        self.of(backend).map(|of| &of.settings)
    }

    /// The backends that are called with everybody's own account, in the order of their names.
    pub fn backends(&self) -> impl Iterator<Item = (&str, &AccountSettings)> {
        let backends = self.backends.iter();
        backends.map(|(name, of)| (name.as_str(), &of.settings))
    }

    pub(crate) fn of(&self, backend: &str) -> Option<&AccountBackend> {
        self.backends.get(backend)
    }

    pub(crate) fn me(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The account that a call of this person to this backend is made with; `None` where it is made
    /// without one. Nearly always known without asking anybody.
    ///
    /// # Errors
    ///
    /// [`AccountError::is_for_person`] tells whether the person can mend it.
    pub async fn credential(
        &self,
        backend: &str,
        person: Person<'_>,
    ) -> Result<Option<Arc<Handle>>, AccountError> {
        let Some(of) = self.of(backend) else {
            return Ok(None);
        };
        let known = match of.remembered.find(person.id, self.now()) {
            Found::Now(known) => known,
            Found::Ageing(held) => {
                self.look_after(of, person);
                Known::Usable(held)
            }
            Found::Nothing => Box::pin(self.looked_after(of, person, Why::Due)).await?,
        };
        match known {
            Known::Usable(held) => Ok(Some(held.handle)),
            Known::Absent if of.settings.optional => Ok(None),
            Known::Absent => Err(AccountError::NotConnected),
            Known::Lapsed(lapse) => Err(AccountError::ConnectAgain(lapse)),
        }
    }

    /// Reads an account again, and renews it if it has to be, beside the calls that it serves.
    fn look_after(&self, of: &AccountBackend, person: Person<'_>) {
        // Else somebody is at it.
        let Ok(flight) = of.remembered.flight(person.id).try_lock_owned() else {
            return;
        };
        of.remembered.note_look(person.id);
        drop(self.obtain(of, person, Why::Due, flight));
    }

    /// What is known of an account once it was obtained anew, if it has to be. Those who come meanwhile find
    /// what the first one did.
    pub(crate) async fn looked_after(
        &self,
        of: &AccountBackend,
        person: Person<'_>,
        why: Why,
    ) -> Result<Known, AccountError> {
        let flight = of.remembered.flight(person.id).lock_owned().await;
        match of.remembered.find(person.id, self.now()) {
            Found::Now(Known::Usable(held)) if why == Why::Refused(held.version) => {}
            Found::Now(known) => return Ok(known),
            Found::Ageing(_) | Found::Nothing => {}
        }
        let obtained = self.obtain(of, person, why, flight).await;
        obtained.unwrap_or_else(|error| {
            let detail = format!("it was broken off: {error}");
            Err(AccountError::passing(Reason::AccountUnavailable, detail))
        })
    }

    /// Obtains it. That is a task of its own, whoever waits for it: a renewal that ends with the call which
    /// came upon it would lose the refresh token that the server gave in place of the one before.
    fn obtain(
        &self,
        of: &AccountBackend,
        person: Person<'_>,
        why: Why,
        flight: FlightGuard,
    ) -> JoinHandle<Result<Known, AccountError>> {
        let (me, backend) = (self.me.upgrade(), of.name().to_owned());
        let (id, name) = (person.id.clone(), person.name.to_owned());
        tokio::spawn(async move {
            let _one = flight;
            let Some((me, of)) = me.as_ref().and_then(|me| Some((me, me.of(&backend)?))) else {
                return Ok(Known::Absent);
            };
            let person = Person {
                id: &id,
                name: &name,
            };
            let obtained = match &of.settings.kind {
                AccountKind::Exchange(settings) => me.exchanged(of, settings, person).await,
                AccountKind::OAuth(_) | AccountKind::Key { .. } => me.renewed(of, &id, why).await,
            };
            if let Err(error) = &obtained {
                log::debug!(event = "account_not_read", backend = backend.as_str(); "{error}");
            }
            obtained
        })
    }

    /// What an account's record says.
    pub(crate) fn known(&self, of: &AccountBackend, account: &Account) -> Known {
        match account.lapsed {
            Some(Lapse::Removed) => return Known::Absent,
            Some(lapse) => return Known::Lapsed(lapse),
            None => {}
        }
        if self.is_ended(&account.id) {
            return Known::Absent;
        }
        let contents = self.contents(of, account);
        let value = contents.as_ref();
        let value = value.and_then(|own| of.settings.header.with(&own.credential));
        let Some(value) = value else {
            return Known::Lapsed(Lapse::Unreadable);
        };
        let is_renewable = contents.is_some_and(|own| own.is_renewable());
        if account.expires.is_some_and(|end| end <= self.now()) {
            return Known::Lapsed(Lapse::Expired);
        }
        Known::Usable(Held {
            handle: self.handle(of, &account.id, value),
            version: account.version,
            renew_at: account.renew_at.filter(|_| is_renewable),
            expires: account.expires,
        })
    }

    /// What is sealed of an account. One that was connected when the backend was elsewhere goes nowhere.
    pub(crate) fn contents(&self, of: &AccountBackend, account: &Account) -> Option<Contents> {
        if account.origin != of.backend.origin() {
            return None;
        }
        open(&account.sealed, &self.keys, bound(account))
    }

    /// The one handle of a connection, which ends with it on whatever replica that is ended.
    pub(crate) fn handle(
        &self,
        of: &AccountBackend,
        id: &AccountId,
        value: HeaderValue,
    ) -> Arc<Handle> {
        let (handle, is_new) = of.remembered.handle(id, value);
        if is_new {
            let (records, id) = (self.records.clone(), id.clone());
            let remembered = Arc::clone(&of.remembered);
            let held = Arc::downgrade(&handle);
            tokio::spawn(async move {
                let Some(view) = records.view() else { return };
                while held.strong_count() > 0 {
                    if timeout(LOOK, view.account_ended(&id)).await.is_ok() {
                        remembered.end(&id);
                        return;
                    }
                }
            });
        }
        handle
    }

    /// The backend has refused what was `sent` of an account (401). [`Ok`]: what the account has now is
    /// another one, to be tried once more.
    ///
    /// # Errors
    ///
    /// [`AccountError::ConnectAgain`] where there is no other.
    pub async fn refused(
        &self,
        backend: &str,
        person: Person<'_>,
        account: &Arc<Handle>,
        sent: &HeaderValue,
    ) -> Result<(), AccountError> {
        let Some(of) = self.of(backend) else {
            return Ok(());
        };
        if account.value() != *sent {
            return Ok(());
        }
        if let AccountKind::Exchange(_) = &of.settings.kind {
            return self.exchanged_again(of, person, account).await;
        }
        let kept = self.records.account(person.id, backend, self.now()).await?;
        let kept = kept.filter(|kept| kept.account.id == *account.id());
        let Some(kept) = kept else {
            // Removed, or another one is connected, which is not to be had by this handle.
            of.remembered.forget(person.id);
            return Err(AccountError::NotConnected);
        };
        let why = Why::Refused(kept.account.version);
        // What is kept may be another one than was sent: a replica has renewed it.
        let known = match self.known(of, &kept.account) {
            Known::Usable(_) if account.value() == *sent => {
                Box::pin(self.looked_after(of, person, why)).await?
            }
            known => known,
        };
        match known {
            Known::Usable(held) if Arc::ptr_eq(&held.handle, account) => Ok(()),
            Known::Usable(_) | Known::Absent => Err(AccountError::NotConnected),
            Known::Lapsed(lapse) => Err(AccountError::ConnectAgain(lapse)),
        }
    }

    /// The address where this person connects an account at this backend, for an app to show.
    ///
    /// # Errors
    ///
    /// Where it can't be kept, or where there is none: nobody connects what is exchanged.
    pub async fn link(&self, backend: &str, person: Person<'_>) -> Result<Arc<Link>, AccountError> {
        let settings = self.settings(backend);
        if settings.is_some_and(|settings| matches!(settings.kind, AccountKind::Exchange(_))) {
            return Err(AccountError::exchange_refused());
        }
        let page = |random: &str| self.issuer.join(&format!("/connect/link/{random}"));
        let now = self.now();
        let link = self.links.link(&self.records, person, backend, page, now);
        Ok(link.await?)
    }

    /// For whom the link with this random id is, if there is one.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn link_of(&self, random: &Secret) -> Result<Option<AccountLink>, StoreError> {
        self.records.account_link(&random.hash(), self.now()).await
    }

    /// Whether a connection to an account is over, as far as it is known here.
    pub fn is_ended(&self, account: &AccountId) -> bool {
        let view = self.records.view();
        view.is_some_and(|view| view.ends_account(account))
    }
}

/// What the contents of an account are bound to.
pub(crate) fn bound(account: &Account) -> Bound<'_> {
    Bound {
        user: account.user.as_str(),
        backend: &account.backend,
        origin: &account.origin,
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backends: Vec<_> = self.backends.keys().collect();
        f.debug_struct("Accounts")
            .field("backends", &backends)
            .finish_non_exhaustive()
    }
}
