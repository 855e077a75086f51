//! One question to a backend for what it offers, in somebody's name, and its answer once there is one.
//!
//! Not: who waits for it and for how long (`catalogue`), nor the dialogue (`client`).

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::account::{Account, AccountSource, NoAccount};
use super::backend::{Backend, IdentityHeaders};
use super::catalogue_error::CatalogueError;
use super::client::McpClient;
use super::connection::{Connections, Failure};
use super::tool::ToolListing;
use super::tool_cache::{BELIEVED, ToolCache};
use gateway_core::grants::PinKey;
use gateway_core::reason::Reason;

/// How long it is remembered that a backend did not answer a page that goes on waiting.
const FAILED: Duration = Duration::from_secs(5);

/// A question, and its answer once there is one.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) begun: Instant,
    pub(super) answered: watch::Receiver<Option<Answered>>,
}

#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) at: Instant,
    answer: Result<Arc<ToolListing>, CatalogueError>,
    /// In whose name it was asked, where the backend is called with everybody's own account.
    account: Option<Arc<Account>>,
}

impl Answered {
    /// The answer. What one account was told is nobody's once it is connected no more.
    fn answer(&self) -> Result<Arc<ToolListing>, CatalogueError> {
        match &self.account {
            Some(account) if account.is_over() => {
                Err(NoAccount::not_connected("it was disconnected meanwhile").into())
            }
            _ => self.answer.clone(),
        }
    }
}

impl Asking {
    pub(super) fn now(&self) -> Option<Answered> {
        self.answered.borrow().clone()
    }

    /// Whether nobody gets an answer from this any more.
    pub(super) fn is_over(&self) -> bool {
        self.answered.has_changed().is_err() && self.now().is_none()
    }

    /// The answer, where a page that waits and asks again may still show it: it is older by what
    /// asking takes and by the pause between two looks, or else such a page would never be done.
    pub(super) fn for_page(&self) -> Option<Result<Arc<ToolListing>, CatalogueError>> {
        let answered = self.now()?;
        let took = answered.at.duration_since(self.begun);
        let answer = answered.answer();
        let longest = match &answer {
            Ok(_) => BELIEVED,
            // It may be connected by now.
            Err(CatalogueError::NoAccount(_)) => return None,
            Err(_) => FAILED,
        };
        let believed = (took * 3).clamp(Duration::from_secs(1), longest);
        (answered.at.elapsed() <= believed).then_some(answer)
    }

    /// Waits for the answer.
    pub(super) async fn wait(
        mut self,
        patience: Duration,
    ) -> Result<Arc<ToolListing>, CatalogueError> {
        let waiting = async {
            let answered = self.answered.wait_for(Option::is_some).await.ok()?;
            answered.as_ref().map(Answered::answer)
        };
        match timeout(patience, waiting).await {
            Ok(Some(answer)) => answer,
            _ => Err(CatalogueError::TooSlow(patience)),
        }
    }
}

/// One question, with all that it needs: nobody may be waiting.
pub(super) struct Question {
    pub(super) backend: Arc<Backend>,
    pub(super) connections: Arc<Connections>,
    pub(super) known: Arc<ToolCache>,
    pub(super) accounts: Option<Arc<dyn AccountSource>>,
    pub(super) identity: Option<(HeaderName, HeaderValue)>,
    pub(super) user: Option<String>,
    /// In whose name it is asked, where the backend is called with everybody's own account.
    pub(super) account: Option<Arc<Account>>,
    pub(super) pins: PinKey,
}

impl Question {
    pub(super) async fn answered(self) -> Answered {
        let answer = self.ask_renewed(self.account.as_ref()).await;
        Answered {
            at: Instant::now(),
            answer,
            account: self.account,
        }
    }

    /// Asks, and once more where the credential had to be renewed.
    async fn ask_renewed(
        &self,
        account: Option<&Arc<Account>>,
    ) -> Result<Arc<ToolListing>, CatalogueError> {
        let sent = account.map(|account| account.value());
        let asked = self.ask(account).await;
        let (Err(CatalogueError::Refused(401)), Some(account), Some(sent)) =
            (&asked, account, sent)
        else {
            return asked;
        };
        let (Some(accounts), Some(user)) = (&self.accounts, &self.user) else {
            return asked;
        };
        let name = &self.backend.mount.name;
        accounts.refused(name, user, account, &sent).await?;
        self.ask(Some(account)).await
    }

    pub(super) async fn ask(
        &self,
        account: Option<&Arc<Account>>,
    ) -> Result<Arc<ToolListing>, CatalogueError> {
        let listing = self.listing(account.map(Arc::as_ref)).await?;
        let name = &self.backend.mount.name;
        self.known.tell_unfit(name, &listing.unfit);
        let listing = Arc::new(listing);
        if self.user.is_some() || !self.backend.wants_account() {
            let (user, listing) = (self.user.as_deref(), Arc::clone(&listing));
            self.known.learn(name, user, account, listing);
        }
        Ok(listing)
    }

    /// The dialogue, within the time that a start may take.
    pub(super) async fn listing(
        &self,
        account: Option<&Account>,
    ) -> Result<ToolListing, CatalogueError> {
        let asker = McpClient {
            connections: &self.connections,
            backend: &self.backend,
            identity: self.identity.clone().into_iter().collect(),
            account,
            pins: Some(&self.pins),
        };
        let patience = self.backend.longest_start();
        let asked = async {
            loop {
                match asker.ask().await {
                    // Connecting was tried for its whole time already.
                    Err(CatalogueError::Failed(Failure::Unreachable(_)))
                        if self.connections.comes_up(&self.backend) => {}
                    answer => return answer,
                }
            }
        };
        timeout(patience, asked)
            .await
            .unwrap_or(Err(CatalogueError::TooSlow(patience)))
    }
}

/// The account with which a person calls a backend, where it is called with everybody's own. What can't be
/// told is not taken for none: the call would go on as somebody else.
pub(super) async fn account_of(
    backend: &Backend,
    accounts: Option<&dyn AccountSource>,
    user: &str,
) -> Result<Option<Arc<Account>>, CatalogueError> {
    match (&backend.account, accounts) {
        (None, _) => Ok(None),
        (Some(_), Some(accounts)) => Ok(accounts.account(&backend.mount.name, user).await?),
        (Some(how), None) if how.is_optional => Ok(None),
        (Some(_), None) => {
            Err(NoAccount::not_connected("accounts at backends are not known here").into())
        }
    }
}

/// The account with which a person asks. It is looked for beside whoever waits: a renewal that has begun
/// goes on.
pub(super) async fn account_beside(
    backend: &Arc<Backend>,
    accounts: Option<Arc<dyn AccountSource>>,
    user: Option<&str>,
) -> Result<Option<Arc<Account>>, CatalogueError> {
    let (Some(user), Some(_)) = (user, &backend.account) else {
        return Ok(None);
    };
    let (backend, user) = (Arc::clone(backend), user.to_owned());
    let looking =
        tokio::spawn(async move { account_of(&backend, accounts.as_deref(), &user).await });
    looking.await.unwrap_or_else(|error| {
        Err(NoAccount::Unavailable(Reason::Internal, error.to_string()).into())
    })
}

/// What says who asks. A server on stdin and stdout can't be told.
pub(super) fn identity_of(
    identity: &IdentityHeaders,
    backend: &Backend,
    user: Option<&str>,
) -> Option<(HeaderName, HeaderValue)> {
    let user = user.filter(|_| !backend.is_on_stdio)?;
    let value = HeaderValue::from_bytes(user.as_bytes()).ok()?;
    Some((identity.user.clone(), value))
}
