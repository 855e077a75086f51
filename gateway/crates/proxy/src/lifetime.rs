//! What ends an exchange from outside: the token is revoked or runs out, the operator closes the
//! stream, the gateway shuts down. One wait for the loop that serves a request, and one for the
//! guard that drops the request when that loop is stuck, in a write or while a list is judged.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::drain::{Draining, Phase};
use gateway_core::access_token::VerifiedToken;
use gateway_core::clock::Timestamp;
use gateway_store::RevocationView;
use gateway_upstream::Account;

/// How long a soft end may take before the request is dropped: a client that stopped reading, or a
/// list whose tools are being looked up, keeps the loop from ending it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long after the end of an account at a backend what goes on in its name ends: a call that found the
/// end says so in its own answer first.
const ACCOUNT_END: Duration = Duration::from_secs(1);

/// At shutdown streams end spread over this, so that their clients do not all come back at once.
const SPREAD_MILLIS: u64 = 1000;

/// Why an exchange ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The token was revoked, in whatever way.
    Revoked,
    /// The token ran out.
    Expired,
    /// The account at the backend in whose name it goes on is connected no more.
    AccountEnded,
    /// What its bytes are counted against is used up. The token is as good as before.
    LimitReached,
    /// The operator closed the stream. The token is as good as before.
    Closed,
    /// The gateway shuts down.
    Shutdown,
}

impl End {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "grant_revoked",
            Self::Expired => "token_expired",
            Self::AccountEnded => "account_ended",
            Self::LimitReached => "limit_reached",
            Self::Closed => "closed_by_operator",
            Self::Shutdown => "shutdown",
        }
    }

    /// The end of this name, where a transport knows no more of it. Whatever is none is a fault of
    /// ours, which a shutdown is told as: come again.
    pub(super) fn named(name: &str) -> Self {
        [
            Self::Revoked,
            Self::Expired,
            Self::AccountEnded,
            Self::LimitReached,
            Self::Closed,
        ]
        .into_iter()
        .find(|end| end.as_str() == name)
        .unwrap_or(Self::Shutdown)
    }
}

/// The right to go on, for as long as it lasts.
#[derive(Clone, Debug)]
pub(super) struct StreamLifetime {
    revocations: Arc<RevocationView>,
    token: Arc<VerifiedToken>,
    ends: Instant,
    closing: CancellationToken,
    spent: CancellationToken,
    /// The account at the backend that it goes on in the name of, if it does.
    account: Option<Arc<Account>>,
}

impl StreamLifetime {
    /// `outlasts`: how long an exchange may go on after the token that began it, for clients that
    /// refresh: a new token can't be handed to a request that is under way. What a holder narrowed
    /// in time ends when it says.
    pub(super) fn new(
        revocations: &Arc<RevocationView>,
        token: &Arc<VerifiedToken>,
        outlasts: Option<Duration>,
        now: Timestamp,
    ) -> Self {
        let ends = match outlasts {
            Some(longest) if token.attenuation().ends().is_none() => {
                token.ends().max(now + longest)
            }
            _ => token.ends(),
        };
        Self {
            revocations: Arc::clone(revocations),
            token: Arc::clone(token),
            ends: Instant::now() + ends.since(now),
            closing: CancellationToken::new(),
            spent: CancellationToken::new(),
            account: None,
        }
    }

    /// The same, which lasts no longer than the account at the backend in whose name it goes on.
    #[must_use]
    pub(super) fn with_account(self, account: Option<Arc<Account>>) -> Self {
        Self { account, ..self }
    }

    /// What ends this exchange alone.
    pub(super) const fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// What ends this exchange where a limit of bytes is used up.
    pub(super) const fn spent(&self) -> &CancellationToken {
        &self.spent
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.closing.is_cancelled()
            || self.spent.is_cancelled()
            || self
                .account
                .as_ref()
                .is_some_and(|account| account.is_over())
            || Instant::now() >= self.ends
            || self.revocations.revokes(&self.token)
    }

    /// Waits until the token is revoked or has run out, or the exchange is closed.
    pub(super) async fn ended(&self) -> End {
        tokio::select! {
            biased;
            () = self.revocations.revoked(&self.token) => End::Revoked,
            () = sleep_until(self.ends) => End::Expired,
            () = self.account_ended() => End::AccountEnded,
            () = self.closing.cancelled() => End::Closed,
            () = self.spent.cancelled() => End::LimitReached,
        }
    }

    async fn account_ended(&self) {
        match &self.account {
            Some(account) => {
                account.ended().await;
                sleep(ACCOUNT_END).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Waits until the loop should have ended by itself long ago.
    pub(super) async fn overstayed(&self) -> End {
        let end = self.ended().await;
        sleep(PATIENCE).await;
        end
    }
}

/// Waits for the shutdown as far as it concerns an exchange: at once for a stream that waits for
/// events, in its last moment for one that answers a call.
pub(super) async fn shutdown(draining: &Draining, waits_for_events: bool) -> End {
    let wanted = if waits_for_events {
        Phase::Draining
    } else {
        Phase::Closing
    };
    entered(draining, wanted).await
}

/// The same for the stream of a session that this process keeps: what its client sends goes to another
/// one as soon as that has taken over, and does not find the session there.
pub(super) async fn session_shutdown(draining: &Draining) -> End {
    entered(draining, Phase::Leaving).await
}

async fn entered(draining: &Draining, wanted: Phase) -> End {
    let mut phase = draining.watch();
    if phase.wait_for(|phase| *phase >= wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
    if wanted < Phase::Closing {
        let spread = sleep(Duration::from_millis(rand::random::<u64>() % SPREAD_MILLIS));
        tokio::select! {
            () = spread => {}
            _ = phase.wait_for(|phase| *phase == Phase::Closing) => {}
        }
    }
    End::Shutdown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_known_by_its_name() {
        for end in [
            End::Revoked,
            End::Expired,
            End::AccountEnded,
            End::LimitReached,
            End::Closed,
            End::Shutdown,
        ] {
            assert_eq!(End::named(end.as_str()), end);
        }
    }
}
