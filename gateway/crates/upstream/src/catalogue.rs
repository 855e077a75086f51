//! What a backend offers: its live `tools/list`, for the consent page, the start-up summary, and to
//! tell whether a tool is still the one that was allowed.
//!
//! Asking goes on beside whoever waits for it, to its end or to the start timeout of the backend: who
//! gives up does not take the answer from the next one, and a server that is slow to start is not
//! started again for each question.
//!
//! Owns: how long asking may take, and how long each caller waits. Not: the dialogue
//! (`client`), what is remembered and how long it is believed (`tool_cache`), how a backend
//! stands (`lookout`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use rand::rngs::OsRng;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::account::{Account, AccountSource};
use super::backend::{Backend, IdentityHeaders};
use super::catalogue_error::CatalogueError;
use super::connection::Connections;
use super::question::{Asking, Question, account_beside, identity_of};
use super::tool::ToolListing;
use super::tool_cache::{AGEING, BELIEVED, CachedState, Caller, ToolCache};
use gateway_core::account::AccountId;
use gateway_core::grants::{PinKey, ToolState};
use mcp_protocol::tool_definition::Labels;

/// How old what is there at this moment may be.
const NOW: Duration = Duration::from_secs(1);

/// How long a page waits that can do without the answer.
const PAGE: Duration = Duration::from_secs(5);

/// How long a page waits that goes on waiting by itself.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// The longest that a call waits, or somebody who pressed a button: as long as clients and browsers
/// do.
const LONGEST: Duration = Duration::from_secs(50);

/// From this many on, questions that are answered are forgotten.
const WAITING: usize = 256;

/// A backend's name, the person who asked, and with which account there.
type Key = (String, Option<String>, Option<AccountId>);

/// Asks backends for their tools, and remembers how the tools stand.
#[derive(Debug)]
pub struct Catalogue {
    backends: Vec<Arc<Backend>>,
    connections: Arc<Connections>,
    identity: IdentityHeaders,
    pins: PinKey,
    /// The accounts of people at backends that are called with their own.
    accounts: Option<Arc<dyn AccountSource>>,
    known: Arc<ToolCache>,
    /// One question at a time for each backend and person: a crowd of calls waits for one answer.
    asking: Mutex<HashMap<Key, Asking>>,
    /// One for each backend: a call met something that a backend which answers does not do.
    doubts: Vec<Notify>,
}

impl Catalogue {
    /// A catalogue of these backends, on the connections that calls use, too.
    pub fn new(
        backends: Vec<Arc<Backend>>,
        connections: Arc<Connections>,
        identity: IdentityHeaders,
        pins: PinKey,
    ) -> Self {
        Self {
            doubts: backends.iter().map(|_| Notify::new()).collect(),
            backends,
            connections,
            identity,
            pins,
            accounts: None,
            known: Arc::default(),
            asking: Mutex::default(),
        }
    }

    /// The same, which asks in the name of people's own accounts where a backend is called with them.
    /// Without it nobody is told what such a backend offers.
    #[must_use]
    pub fn with_accounts(self, accounts: Arc<dyn AccountSource>) -> Self {
        let accounts = Some(accounts);
        Self { accounts, ..self }
    }

    /// The backends that are asked.
    pub(super) fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// How long a backend may take from its start to its list of tools.
    pub fn longest_start(&self, name: &str) -> Duration {
        self.backend(name)
            .map_or(Duration::ZERO, |backend| backend.longest_start())
    }

    /// A call met something that a backend which answers does not do: it is looked at again.
    pub fn invalidate(&self, name: &str) {
        if let Some(at) = self.place(name) {
            self.doubts[at].notify_one();
        }
    }

    /// Waits for a doubt about the backend at this place.
    pub(super) async fn doubted(&self, at: usize) {
        self.doubts[at].notified().await;
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.backends
            .iter()
            .position(|backend| backend.mount.name == name)
    }

    /// Makes the pins of this installation.
    pub const fn pins(&self) -> &PinKey {
        &self.pins
    }

    /// How tools stand, as far as it is known without asking.
    pub fn definitions(&self) -> &ToolCache {
        &self.known
    }

    /// Who the backend `name` is and what it offers to the person with the login name `user`. At
    /// most 30 s old; takes as long as a call may wait.
    pub async fn listing(
        &self,
        name: &str,
        user: Option<&str>,
    ) -> Result<Arc<ToolListing>, CatalogueError> {
        self.listing_within(name, user, BELIEVED, LONGEST).await
    }

    /// The same, at most a second old: what is there at this moment. For a page that can do without
    /// it, so that it takes at most 5 s.
    pub async fn refresh(
        &self,
        name: &str,
        user: Option<&str>,
    ) -> Result<Arc<ToolListing>, CatalogueError> {
        self.listing_within(name, user, NOW, PAGE).await
    }

    /// The same, and waited for: somebody has pressed a button, or a call depends on it.
    pub async fn refresh_or_wait(
        &self,
        name: &str,
        user: Option<&str>,
    ) -> Result<Arc<ToolListing>, CatalogueError> {
        self.listing_within(name, user, NOW, LONGEST).await
    }

    /// The same for a page that is asked for again until it has an answer: `None` while the backend
    /// has not answered. Takes at most 3 s.
    pub async fn listing_for_page(
        &self,
        name: &str,
        user: Option<&str>,
    ) -> Result<Option<Arc<ToolListing>>, CatalogueError> {
        let backend = self.backend(name)?;
        if let Some(aggregate) = &backend.aggregate {
            return self.aggregate_for_page(name, aggregate, user).await;
        }
        self.one_for_page(backend, user).await
    }

    /// The same of a backend that is a server of its own.
    pub(super) async fn one_for_page(
        &self,
        backend: &Arc<Backend>,
        user: Option<&str>,
    ) -> Result<Option<Arc<ToolListing>>, CatalogueError> {
        let asked = async {
            let account = account_beside(backend, self.accounts.clone(), user).await?;
            let key = key(backend, user, account.as_ref());
            let last = self.asking.lock().get(&key).cloned();
            if let Some(answer) = last.and_then(|asking| asking.for_page()) {
                return answer;
            }
            self.begin(backend, user, account).wait(FIRST_LOOK).await
        };
        let asked = timeout(FIRST_LOOK, asked).await;
        match asked.unwrap_or(Err(CatalogueError::TooSlow(FIRST_LOOK))) {
            Ok(listing) => Ok(Some(listing)),
            Err(CatalogueError::TooSlow(patience)) if patience < backend.longest_start() => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// How long the backend `name` has been asked for what it offers to a person, and has not answered.
    pub(super) fn asked_for(&self, name: &str, user: Option<&str>) -> Option<Duration> {
        let asking = self.asking.lock();
        let pending = asking.iter().filter(|((backend, person, _), asking)| {
            backend == name && person.as_deref() == user && asking.now().is_none()
        });
        pending.map(|(_, asking)| asking.begun.elapsed()).max()
    }

    /// What the backend `name` offers in the name of an account that is nobody's yet: `value` is all of the
    /// header that carries its credential. Nothing of it is remembered. Takes as long as a call may wait.
    ///
    /// # Errors
    ///
    /// It did not say; with 401 or 403 it does not take the credential.
    pub async fn try_out(
        &self,
        name: &str,
        user: &str,
        value: HeaderValue,
    ) -> Result<ToolListing, CatalogueError> {
        let backend = self.backend(name)?;
        let account = Account::new(AccountId::draw(&mut OsRng), value);
        let question = self.question(backend, Some(user), None);
        let asked = timeout(LONGEST, question.listing(Some(&account)));
        asked.await.unwrap_or(Err(CatalogueError::TooSlow(LONGEST)))
    }

    /// For the lookout: as long as a start may take. A backend that is called with everybody's own
    /// account offers nothing to nobody in particular (`None`): that it asks who calls shows that it is
    /// there.
    pub(super) async fn look(
        &self,
        backend: &Arc<Backend>,
    ) -> Result<Option<Arc<ToolListing>>, CatalogueError> {
        let asked = if self.asks_who_calls(backend) {
            Ok(None)
        } else if backend.wants_account() {
            self.question(backend, None, None)
                .ask(None)
                .await
                .map(|_| None)
        } else {
            // Asking ends by itself.
            let patience = backend.longest_start() + PAGE;
            let asked = self.listing_within(&backend.mount.name, None, NOW, patience);
            asked.await.map(Some)
        };
        match asked {
            Err(CatalogueError::Refused(401 | 403)) if backend.account.is_some() => Ok(None),
            asked => asked,
        }
    }

    /// Whether the backend `name` is called with everybody's own account, so that what it offers is each
    /// person's own affair.
    pub fn is_personal(&self, name: &str) -> bool {
        let is_personal = |name: &str| {
            let backend = self.backend(name);
            backend.is_ok_and(|backend| backend.account.is_some())
        };
        is_personal(name) || self.members(name).iter().any(|name| is_personal(name))
    }

    /// How a tool stands at the backend `name` for a person. Known from the last answer and from lists
    /// that passed by; asked, and waited for, only where nothing is known or it is too old.
    pub async fn current(
        self: &Arc<Self>,
        name: &str,
        caller: Caller<'_>,
        tool: &str,
    ) -> ToolState {
        let Some((name, tool)) = self.at_member(name, tool) else {
            return ToolState::Gone;
        };
        match self.known.state(name, caller, tool) {
            CachedState::Fresh(current) => current,
            CachedState::Ageing(current) => {
                self.refresh_in_background(name, caller.user);
                current
            }
            CachedState::Nothing => match self.listing(name, Some(caller.user)).await {
                Ok(listing) => listing.current(tool),
                Err(_) => ToolState::Unknown,
            },
        }
    }

    /// The same without waiting: where nothing is known, it is not.
    pub fn cached_state(&self, name: &str, caller: Caller<'_>, tool: &str) -> ToolState {
        let Some((name, tool)) = self.at_member(name, tool) else {
            return ToolState::Gone;
        };
        match self.known.state(name, caller, tool) {
            CachedState::Fresh(current) | CachedState::Ageing(current) => current,
            CachedState::Nothing => ToolState::Unknown,
        }
    }

    /// What the backend `name` offers to a person, for what tools say about their effects: known and
    /// asked for as in [`Self::current`]. To be taken once for each request.
    pub async fn cached(
        self: &Arc<Self>,
        name: &str,
        caller: Caller<'_>,
    ) -> Result<Arc<ToolListing>, CatalogueError> {
        if let Some(listing) = self.known.listing(name, Some(caller), AGEING) {
            if self.known.listing(name, Some(caller), BELIEVED).is_none() {
                self.refresh_in_background(name, caller.user);
            }
            return Ok(listing);
        }
        self.listing(name, Some(caller.user)).await
    }

    /// What the backend `name` lists for a person, if two tools in it have one name, as far as it is
    /// known without asking. Old knowledge counts until it is known otherwise, which is asked for.
    pub fn doubled(self: &Arc<Self>, name: &str, caller: Caller<'_>) -> Option<Arc<ToolListing>> {
        let (listing, is_old) = self.known.doubled(name, caller)?;
        if is_old {
            self.refresh_in_background(name, caller.user);
        }
        Some(listing)
    }

    /// What the backend `name` offers to a person, as far as it is known without asking.
    pub fn cached_listing(&self, name: &str, caller: Caller<'_>) -> Option<Arc<ToolListing>> {
        self.known.listing(name, Some(caller), AGEING)
    }

    /// What the backend `name` showed last to the person with the login name `user`, with whichever account
    /// there that is connected: for whoever explains and decides nothing by it.
    pub fn last_listing(&self, name: &str, user: &str) -> Option<Arc<ToolListing>> {
        self.known.last(name, Some(user), AGEING)
    }

    /// Whether the backend `name` lists a tool, for a person or when nobody in particular asks, as far as
    /// that is known without asking.
    pub fn is_listed(&self, name: &str, user: &str, tool: &str) -> bool {
        let Some((name, tool)) = self.at_member(name, tool) else {
            return false;
        };
        let lists = |user| {
            let listing = self.known.last(name, user, Duration::MAX);
            listing.is_some_and(|listing| listing.labels(tool).is_some())
        };
        lists(Some(user)) || lists(None)
    }

    /// Whether the backend `name` lists a tool, or one that it may take this name for. Asked, and waited for,
    /// only where nothing that is known has it; where it can't be asked, it lists none.
    pub async fn lists_alike(self: &Arc<Self>, name: &str, caller: Caller<'_>, tool: &str) -> bool {
        let Some((name, tool)) = self.at_member(name, tool) else {
            return false;
        };
        let knows = |user| {
            let listing = self.known.last(name, user, Duration::MAX);
            listing.is_some_and(|listing| listing.lists_alike(tool))
        };
        if knows(Some(caller.user)) || knows(None) {
            return true;
        }
        let listing = self.cached(name, caller).await;
        listing.is_ok_and(|listing| listing.lists_alike(tool))
    }

    /// What a tool says about its effects, as far as it is known without asking.
    pub fn cached_labels(&self, name: &str, caller: Caller<'_>, tool: &str) -> Option<Labels> {
        let (name, tool) = self.at_member(name, tool)?;
        self.known.listing(name, Some(caller), AGEING)?.labels(tool)
    }

    /// Asks in the background, once at a time. What is known stays in force for its time if the
    /// backend is away.
    fn refresh_in_background(self: &Arc<Self>, name: &str, user: &str) {
        if self.known.begin_refresh(name, user) {
            let (catalogue, name, user) = (Arc::clone(self), name.to_owned(), user.to_owned());
            tokio::spawn(async move {
                let _ = catalogue.refresh_or_wait(&name, Some(&user)).await;
                catalogue.known.end_refresh(&name, &user);
            });
        }
    }

    /// How a tool stands at this moment: at most a second old.
    pub async fn current_now(&self, name: &str, user: &str, tool: &str) -> ToolState {
        let Some((name, tool)) = self.at_member(name, tool) else {
            return ToolState::Gone;
        };
        match self.refresh_or_wait(name, Some(user)).await {
            Ok(listing) => listing.current(tool),
            Err(_) => ToolState::Unknown,
        }
    }

    pub(super) fn backend(&self, name: &str) -> Result<&Arc<Backend>, CatalogueError> {
        let at = self.place(name).ok_or(CatalogueError::UnknownBackend)?;
        Ok(&self.backends[at])
    }

    async fn listing_within(
        &self,
        name: &str,
        user: Option<&str>,
        age: Duration,
        patience: Duration,
    ) -> Result<Arc<ToolListing>, CatalogueError> {
        let backend = self.backend(name)?;
        if let Some(aggregate) = &backend.aggregate {
            let patience = patience.min(aggregate.list_timeout);
            return self
                .aggregate_within(name, aggregate, user, age, patience)
                .await;
        }
        self.one_within(backend, user, age, patience).await
    }

    /// The same of a backend that is a server of its own.
    pub(super) async fn one_within(
        &self,
        backend: &Arc<Backend>,
        user: Option<&str>,
        age: Duration,
        patience: Duration,
    ) -> Result<Arc<ToolListing>, CatalogueError> {
        let name = backend.mount.name.as_str();
        let asked = async {
            let account = account_beside(backend, self.accounts.clone(), user).await?;
            let account_id = account.as_ref().map(|account| account.id());
            let caller = user.map(|user| Caller {
                user,
                account: account_id,
            });
            if let Some(listing) = self.known.listing(name, caller, age) {
                return Ok(listing);
            }
            self.begin(backend, user, account).wait(patience).await
        };
        let asked = timeout(patience, asked).await;
        asked.unwrap_or(Err(CatalogueError::TooSlow(patience)))
    }

    /// The question that is under way, or else a new one.
    fn begin(
        &self,
        backend: &Arc<Backend>,
        user: Option<&str>,
        account: Option<Arc<Account>>,
    ) -> Asking {
        let key = key(backend, user, account.as_ref());
        let mut asking = self.asking.lock();
        if let Some(asking) = asking.get(&key)
            && asking.now().is_none()
            && !asking.is_over()
        {
            return asking.clone();
        }
        if asking.len() >= WAITING {
            asking.retain(|_, asking| asking.now().is_none() && !asking.is_over());
        }
        let (answers, answered) = watch::channel(None);
        let question = self.question(backend, user, account);
        tokio::spawn(async move {
            let answered = question.answered().await;
            answers.send_replace(Some(answered));
        });
        let begun = Instant::now();
        let question = Asking { begun, answered };
        asking.insert(key, question.clone());
        question
    }

    fn question(
        &self,
        backend: &Arc<Backend>,
        user: Option<&str>,
        account: Option<Arc<Account>>,
    ) -> Question {
        Question {
            account,
            backend: Arc::clone(backend),
            connections: Arc::clone(&self.connections),
            known: Arc::clone(&self.known),
            accounts: self.accounts.clone(),
            identity: identity_of(&self.identity, backend, user),
            user: user.map(str::to_owned),
            pins: self.pins.clone(),
        }
    }
}

fn key(backend: &Backend, user: Option<&str>, account: Option<&Arc<Account>>) -> Key {
    let account = account.map(|account| account.id().clone());
    (backend.mount.name.clone(), user.map(str::to_owned), account)
}
