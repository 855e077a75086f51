//! How the tools of the backends stand, as far as it is known without asking: the last whole answer,
//! and the definitions that passed by in lists since. In memory, for each backend and person.
//!
//! A call of a tool with a pin is judged by this. What is at most 30 s old is believed; what is at
//! most 2 min old is believed once more while it is asked anew in the background; older is nothing.
//! Whoever reads a list through this gateway, or hears that it changed, brings it up to date at
//! once.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::account::Account;
use super::tool::ToolListing;
use gateway_core::account::AccountId;
use gateway_core::grants::{Pin, ToolState};
use mcp_protocol::tool_definition::{Definition, Unfit};

/// How long an answer is believed.
pub(super) const BELIEVED: Duration = Duration::from_secs(30);

/// How long it is believed while a new one is on its way.
pub(super) const AGEING: Duration = Duration::from_secs(120);

/// About how many persons are remembered, over all backends.
const PERSONS: usize = 4096;

/// How many definitions from lists are remembered for each of them.
const SEEN: usize = 2000;

/// How much is remembered to have been said about tools that can't be offered.
const SAID: usize = 2000;

/// What is known about a tool without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CachedState {
    /// Believe it.
    Fresh(ToolState),
    /// Believe it, and ask.
    Ageing(ToolState),
    /// Ask first.
    Nothing,
}

/// Who asks: a person, and the account at the backend that they ask with, where it is called with
/// everybody's own. What one account was shown is nothing to another, nor to whoever asks without one.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The login name.
    pub user: &'a str,
    /// The account there; `None` where it is asked without one.
    pub account: Option<&'a AccountId>,
}

/// What is known about the tools.
#[derive(Debug, Default)]
pub struct ToolCache {
    /// By backend, then by login name; `None` for the gateway's own look.
    persons: Mutex<HashMap<String, HashMap<Option<String>, Person>>>,
    /// What was said about tools that can't be offered, with the backend's name.
    said: Mutex<HashSet<(String, Unfit)>>,
    /// The numbers of the accounts whose end is waited for.
    followed: Mutex<HashSet<u64>>,
    /// Whether any backend ever listed two tools of one name: hardly one does.
    has_doubled: AtomicBool,
}

#[derive(Debug, Default)]
struct Person {
    /// The account there in whose name it was asked: what that was shown is nothing once it is
    /// connected no more.
    account: Option<Weak<Account>>,
    answer: Option<(Instant, Arc<ToolListing>)>,
    seen: HashMap<String, (Instant, Pin)>,
    refreshing: bool,
}

impl Person {
    /// Whether what is remembered was shown to an account that is connected no more.
    fn is_over(&self) -> bool {
        let account = self.account.as_ref();
        account.is_some_and(|account| account.upgrade().is_none_or(|account| account.is_over()))
    }

    /// Whether what is remembered was shown to this account, which is connected; without one, to whoever
    /// has none.
    fn is_of(&self, account: Option<&AccountId>) -> bool {
        match (&self.account, account) {
            (None, None) => true,
            (Some(known), Some(id)) => known
                .upgrade()
                .is_some_and(|known| known.id() == id && !known.is_over()),
            _ => false,
        }
    }

    /// What is remembered is of this account from now on.
    fn belongs_to(&mut self, account: Option<&Arc<Account>>) {
        let account = account.map(Arc::downgrade);
        let is_same = match (&self.account, &account) {
            (Some(before), Some(now)) => before.ptr_eq(now),
            (before, now) => before.is_none() && now.is_none(),
        };
        if !is_same {
            *self = Self {
                account,
                refreshing: self.refreshing,
                ..Self::default()
            };
        }
    }

    fn is_alive(&self) -> bool {
        if self.is_over() {
            return false;
        }
        let young = |at: &Instant| at.elapsed() <= AGEING;
        self.answer.as_ref().is_some_and(|(at, _)| young(at))
            || self.seen.values().any(|(at, _)| young(at))
    }

    fn state(&self, tool: &str) -> Option<(Instant, ToolState)> {
        let answered = self
            .answer
            .as_ref()
            .map(|(at, listing)| (*at, listing.current(tool)));
        let seen = self
            .seen
            .get(tool)
            .map(|(at, pin)| (*at, ToolState::Defined(*pin)));
        match (answered, seen) {
            (Some(answered), Some(seen)) if seen.0 < answered.0 => Some(answered),
            (answered, seen) => seen.or(answered),
        }
    }
}

impl ToolCache {
    /// Definitions passed by in a list that the backend showed to this person, with their account
    /// there.
    pub fn record<'t>(
        &self,
        backend: &str,
        Caller { user, account }: Caller<'_>,
        tools: impl IntoIterator<Item = (&'t str, Pin)>,
    ) {
        let mut tools = tools.into_iter().peekable();
        if tools.peek().is_none() {
            return;
        }
        let now = Instant::now();
        self.with(backend, Some(user), |person| {
            // Nothing of one account is remembered as another's. It is known once it was asked for.
            if !person.is_of(account) {
                return;
            }
            for (tool, pin) in tools {
                if let Some(seen) = person.seen.get_mut(tool) {
                    *seen = (now, pin);
                } else if person.seen.len() < SEEN {
                    person.seen.insert(tool.to_owned(), (now, pin));
                }
            }
        });
    }

    /// Names the tools of a list that can't be offered: each once, or again when it was long ago.
    pub fn tell_unfit(&self, backend: &str, unfit: &[Unfit]) {
        for unfit in unfit {
            let mut said = self.said.lock();
            if said.len() >= SAID {
                said.clear();
            }
            if said.insert((backend.to_owned(), unfit.clone())) {
                log::warn!(
                    event = "tool_not_offered", backend, tool:% = unfit.name().unwrap_or_default().escape_debug(),
                    hint = "Mend the definition in the backend; the gateway offers its other tools meanwhile.";
                    "the backend lists a tool that can't be offered: {unfit}"
                );
            }
        }
    }

    /// The backend says that its tools changed: nothing is known about them.
    pub fn invalidate(&self, backend: &str) {
        self.persons.lock().remove(backend);
    }

    /// The backend says so to this person alone: it is called with everybody's own account.
    pub fn invalidate_for(&self, backend: &str, user: &str) {
        if let Some(persons) = self.persons.lock().get_mut(backend) {
            persons.remove(&Some(user.to_owned()));
        }
    }

    /// Forgets what was shown to accounts that are connected no more.
    fn forget_ended(&self) {
        for persons in self.persons.lock().values_mut() {
            persons.retain(|_, person| !person.is_over());
        }
    }

    /// Forgets what is shown to this account as soon as it is connected no more.
    fn follow(self: &Arc<Self>, account: &Arc<Account>) {
        let number = account.number();
        if self.followed.lock().insert(number) {
            let (known, over) = (Arc::clone(self), account.over());
            tokio::spawn(async move {
                over.await;
                known.forget_ended();
                known.followed.lock().remove(&number);
            });
        }
    }

    /// Whether `definition` is what the backend shows to this person, or a part of it, and what it
    /// shows has this pin. `None` if nothing is known about it.
    pub fn is_part_of_pinned(
        &self,
        backend: &str,
        caller: Caller<'_>,
        definition: &Definition,
        pin: Pin,
    ) -> Option<bool> {
        let listing = self.listing(backend, Some(caller), AGEING)?;
        let whole = listing.tool(definition.name());
        Some(
            whole.is_some_and(|whole| whole.pin == pin && definition.is_part_of(&whole.definition)),
        )
    }

    pub(super) fn state(&self, backend: &str, caller: Caller<'_>, tool: &str) -> CachedState {
        let persons = self.persons.lock();
        let found = persons
            .get(backend)
            .and_then(|persons| persons.get(&Some(caller.user.to_owned())))
            .filter(|person| person.is_of(caller.account))
            .and_then(|person| person.state(tool));
        match found {
            Some((at, current)) if at.elapsed() <= BELIEVED => CachedState::Fresh(current),
            Some((at, current)) if at.elapsed() <= AGEING => CachedState::Ageing(current),
            _ => CachedState::Nothing,
        }
    }

    /// `caller`: who asks; nobody is the gateway itself.
    pub(super) fn listing(
        &self,
        backend: &str,
        caller: Option<Caller<'_>>,
        age: Duration,
    ) -> Option<Arc<ToolListing>> {
        let account = caller.and_then(|caller| caller.account);
        let is_theirs = |person: &Person| person.is_of(account);
        self.answer(backend, caller.map(|caller| caller.user), age, is_theirs)
    }

    /// The same with whichever account, if that is connected.
    pub(super) fn last(
        &self,
        backend: &str,
        user: Option<&str>,
        age: Duration,
    ) -> Option<Arc<ToolListing>> {
        self.answer(backend, user, age, |person| !person.is_over())
    }

    fn answer(
        &self,
        backend: &str,
        user: Option<&str>,
        age: Duration,
        counts: impl FnOnce(&Person) -> bool,
    ) -> Option<Arc<ToolListing>> {
        let persons = self.persons.lock();
        let person = persons.get(backend)?.get(&user.map(str::to_owned))?;
        let (at, listing) = person.answer.as_ref().filter(|_| counts(person))?;
        (at.elapsed() <= age).then(|| Arc::clone(listing))
    }

    /// What the backend last showed to this person, or else to the gateway, if two tools in it have
    /// one name; and whether that is old. It holds until there is a later answer.
    pub(super) fn doubled(
        &self,
        backend: &str,
        caller: Caller<'_>,
    ) -> Option<(Arc<ToolListing>, bool)> {
        if !self.has_doubled.load(Ordering::Relaxed) {
            return None;
        }
        let persons = self.persons.lock();
        let persons = persons.get(backend)?;
        let answer = |user: Option<&str>, account| {
            let person = persons.get(&user.map(str::to_owned))?;
            person.answer.as_ref().filter(|_| person.is_of(account))
        };
        let own = answer(Some(caller.user), caller.account);
        let (at, listing) = own.or_else(|| answer(None, None))?;
        let is_old = at.elapsed() > BELIEVED;
        (!listing.doubled.is_empty()).then(|| (Arc::clone(listing), is_old))
    }

    /// `account`: in whose name it was asked, where the backend is called with everybody's own.
    pub(super) fn learn(
        self: &Arc<Self>,
        backend: &str,
        user: Option<&str>,
        account: Option<&Arc<Account>>,
        listing: Arc<ToolListing>,
    ) {
        if !listing.doubled.is_empty() {
            self.has_doubled.store(true, Ordering::Relaxed);
        }
        self.with(backend, user, |person| {
            person.belongs_to(account);
            person.answer = Some((Instant::now(), listing));
            person.seen.clear();
        });
        if let Some(account) = account {
            self.follow(account);
        }
    }

    /// Whether the caller is to ask in the background; nobody else is until it has.
    pub(super) fn begin_refresh(&self, backend: &str, user: &str) -> bool {
        let mut first = false;
        self.with(backend, Some(user), |person| {
            first = !std::mem::replace(&mut person.refreshing, true);
        });
        first
    }

    pub(super) fn end_refresh(&self, backend: &str, user: &str) {
        self.with(backend, Some(user), |person| person.refreshing = false);
    }

    fn with(&self, backend: &str, user: Option<&str>, change: impl FnOnce(&mut Person)) {
        let mut backends = self.persons.lock();
        let persons = backends.entry(backend.to_owned()).or_default();
        if persons.len() >= PERSONS {
            persons.retain(|_, person| person.is_alive());
        }
        if persons.len() >= PERSONS {
            // Nothing is known about them then: they are asked about again.
            persons.clear();
        }
        change(persons.entry(user.map(str::to_owned)).or_default());
    }
}

#[cfg(test)]
mod tests;
