//! The end of an account: here first, so that nothing uses it any more whatever the other side says, and
//! then there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::accounts::Accounts;
use crate::changes::{ATTEMPTS, to_its_end};
use crate::remembered::Known;
use gateway_core::audit::{Event, Record};
use gateway_core::grants::UserId;
use gateway_store::{Account, KeyKind, Lapse, StoreError, unless_conflict};

/// How long all other sides together may take where a person's accounts are removed at once, and how many are
/// told at a time.
const TOGETHER: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 8;

/// What came of removing an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// There was none.
    None,
    /// It is gone here. What it was connected with is good at the other side until somebody ends it there.
    Here,
    /// It is gone, and the other side was told and said yes.
    Everywhere,
    /// It is gone here. The other side was told and did not say yes, for this reason.
    NotThere(String),
}

impl Removed {
    /// What came of it, for the audit log.
    pub fn words(&self) -> String {
        match self {
            Self::None => "there was none".to_owned(),
            Self::Here => "removed here".to_owned(),
            Self::Everywhere => "removed, and revoked at the other side".to_owned(),
            Self::NotThere(why) => format!("removed here, not revoked at the other side: {why}"),
        }
    }
}

impl Accounts {
    /// Forgets a person's account at a backend: the next call with it is refused on every replica within a
    /// second, and what goes on in its name ends. It is done to its end, whoever waits for it.
    ///
    /// # Errors
    ///
    /// Those of the store; it may be gone all the same.
    pub async fn remove(&self, backend: &str, user: &UserId) -> Result<Removed, StoreError> {
        let Some(me) = self.me() else {
            return Ok(Removed::None);
        };
        let (backend, user) = (backend.to_owned(), user.clone());
        let removing = tokio::spawn(async move {
            match me.remove_here(&backend, &user).await? {
                Some(account) => Ok(me.remove_there(&account).await),
                None => Ok(Removed::None),
            }
        });
        to_its_end(removing).await?
    }

    /// Removes all of a person's accounts, who may not use them any more, and tells of each.
    ///
    /// # Errors
    ///
    /// Those of the store; some may be gone then.
    pub async fn remove_all(&self, user: &UserId) -> Result<(), StoreError> {
        let Some(me) = self.me() else { return Ok(()) };
        let user = user.clone();
        to_its_end(tokio::spawn(async move { me.remove_each(&user).await })).await?
    }

    async fn remove_each(self: Arc<Self>, user: &UserId) -> Result<(), StoreError> {
        let mut done = Ok(());
        let mut telling = JoinSet::new();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let until = Instant::now() + TOGETHER;
        for account in self.of_person(user).await? {
            // One that can't be removed keeps none of the others.
            let account = match self.remove_here(&account.backend, user).await {
                Ok(Some(account)) => account,
                Ok(None) => continue,
                Err(error) => {
                    done = Err(error);
                    continue;
                }
            };
            let (me, places) = (Arc::clone(&self), Arc::clone(&places));
            telling.spawn(async move {
                let there = async {
                    let _place = places.acquire().await;
                    me.remove_there(&account).await
                };
                let removed = timeout_at(until, there).await;
                let late = |_| Removed::NotThere("it has not answered in time".to_owned());
                me.tell_removed(&account, &removed.unwrap_or_else(late));
            });
        }
        telling.join_all().await;
        done
    }

    fn tell_removed(&self, account: &Account, removed: &Removed) {
        log::info!(
            event = "account_removed", backend = account.backend.as_str(), user = account.user.as_str();
            "an account at a backend was removed, whose person may not log in any more: {}",
            removed.words()
        );
        let record = Record {
            detail: Some(format!("{}, with its person's access", removed.words())),
            ..Record::new(Event::Account)
        };
        self.tell(account, record);
    }

    /// The end of an account here; it, if there was one. It is marked before anything else: a renewal that is
    /// under way finds that and keeps nothing, nor does this take away what is connected meanwhile.
    async fn remove_here(
        &self,
        backend: &str,
        user: &UserId,
    ) -> Result<Option<Account>, StoreError> {
        for _ in 0..ATTEMPTS {
            let kept = self.records.account(user, backend, self.now()).await?;
            let Some(kept) = kept else { return Ok(None) };
            let Some(marked) = self.mark(&kept, Lapse::Removed).await? else {
                continue;
            };
            let (of, id) = (self.of(backend), &kept.account.id);
            match of {
                Some(of) => self.end(of, id).await?,
                None => self.revoke(id).await?,
            }
            let gone = self.records.remove_account(&marked, self.now()).await;
            let is_gone = unless_conflict(gone)?.is_some();
            match of {
                Some(of) if is_gone => drop(of.remembered.learn(user, Known::Absent)),
                Some(of) => of.remembered.forget(user),
                None => {}
            }
            return Ok(Some(kept.account));
        }
        Err(StoreError::Conflict(KeyKind::Account))
    }

    /// And at the other side.
    async fn remove_there(&self, account: &Account) -> Removed {
        let Some(of) = self.of(&account.backend) else {
            return Removed::Here;
        };
        let contents = self.contents(of, account);
        let contents = contents.as_ref();
        let Some((contents, oauth)) = contents.and_then(|all| Some((all, all.oauth.as_ref()?)))
        else {
            return Removed::Here;
        };
        let removed = self.take_back(of, oauth, &contents.credential).await;
        if let Removed::NotThere(why) = &removed {
            log::warn!(
                event = "account_not_revoked", backend = of.name(), user = account.user.as_str(),
                detail = why.as_str();
                "an account is removed here, and its backend's authorization server did not revoke it"
            );
        }
        removed
    }
}
