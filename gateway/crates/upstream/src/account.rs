//! Accounts of people at a backend, as far as whoever sends requests needs them: what each is called
//! here, and what a request in its name carries.
//!
//! Owns: the handle that all requests of one account share. Not: where credentials come from, how they
//! are renewed and kept (`gateway-accounts`).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_core::account::AccountId;
use gateway_core::reason::Reason;
use http::{HeaderName, HeaderValue};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

/// How a backend is called with everybody's own account there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountUse {
    /// The header that carries the credential. Every spelling of it that a client sends is dropped.
    pub header: HeaderName,
    /// Whether whoever has no account there calls without one.
    pub is_optional: bool,
}

/// The number of the next account.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What a source of accounts says, once it knows.
pub type AccountFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, NoAccount>> + Send + 'a>>;

/// Knows the accounts of people.
pub trait AccountSource: fmt::Debug + Send + Sync {
    /// The account of the person with the login name `user` at the backend `backend`, with a credential
    /// that is good now; `None` where they call it without one, as they may.
    ///
    /// # Errors
    ///
    /// There is none and there has to be, or whether there is can't be told now.
    fn account<'a>(
        &'a self,
        backend: &'a str,
        user: &'a str,
    ) -> AccountFuture<'a, Option<Arc<Account>>>;

    /// The backend has refused `sent`, the value of such an account (401): whether it is worth to try once
    /// more, with the value that the account has then.
    ///
    /// # Errors
    ///
    /// It is not.
    fn refused<'a>(
        &'a self,
        backend: &'a str,
        user: &'a str,
        account: &'a Arc<Account>,
        sent: &'a HeaderValue,
    ) -> AccountFuture<'a, ()>;
}

/// Why there is no account to call with, and the same in a sentence for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAccount {
    /// The person has none that can be used, and mends it by connecting one.
    #[error("{1}")]
    Missing(Reason, String),
    /// A fault that is not the person's: whether they have one, or its credential, can't be had now.
    #[error("{1}")]
    Unavailable(Reason, String),
}

impl NoAccount {
    /// The person has connected none.
    pub fn not_connected(detail: &str) -> Self {
        Self::Missing(Reason::AccountNotConnected, detail.to_owned())
    }

    /// The reason to answer with.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Missing(reason, _) | Self::Unavailable(reason, _) => *reason,
        }
    }
}

/// One person's account at one backend, for as long as it is connected. Whoever holds it sends the
/// credential of that moment: a renewal reaches all of them.
pub struct Account {
    id: AccountId,
    number: u64,
    value: RwLock<HeaderValue>,
    ended: CancellationToken,
}

impl Account {
    /// An account that is connected. `value`: all of the header that carries its credential.
    pub fn new(id: AccountId, value: HeaderValue) -> Self {
        Self {
            id,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            value: RwLock::new(sensitive(value)),
            ended: CancellationToken::new(),
        }
    }

    /// Its name here.
    pub const fn id(&self) -> &AccountId {
        &self.id
    }

    /// Its number in this process, which no other account has or had: connections are kept by it.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// What a request in its name carries now.
    pub fn value(&self) -> HeaderValue {
        self.value.read().clone()
    }

    /// From now on it is used with another credential.
    pub fn renew(&self, value: HeaderValue) {
        *self.value.write() = sensitive(value);
    }

    /// It is connected no more: whatever goes on in its name ends.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Whether it is connected no more.
    pub fn is_over(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Waits until it is connected no more.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// The same without keeping it: also until nobody holds it any more.
    pub fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        self.ended.clone().cancelled_owned()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// Never printed, and not put into the tables of a compressed head.
fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        let value = HeaderValue::from_static("Bearer first");
        Account::new(AccountId::new("a_1"), value)
    }

    #[test]
    fn a_renewal_reaches_whoever_holds_it_and_nothing_prints_it() {
        let account = account();
        assert_eq!(account.value(), "Bearer first");
        account.renew(HeaderValue::from_static("Bearer second"));
        assert_eq!(account.value(), "Bearer second");
        let printed = format!("{account:?} {:?}", account.value());
        assert!(!printed.contains("Bearer"), "{printed}");
    }

    #[tokio::test]
    async fn whoever_waits_for_its_end_is_told() {
        let account = account();
        assert!(!account.is_over());
        let told = account.ended();
        account.end();
        told.await;
        assert!(account.is_over());
    }
}
