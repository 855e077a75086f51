//! Renewing a credential: by one replica, for all who wait for it.

use std::time::Duration;

use rand::rngs::OsRng;
use tokio::time::{Instant, sleep};

use crate::account_error::AccountError;
use crate::accounts::{AccountBackend, Accounts, bound};
use crate::contents::{Contents, OAuthContents, seal};
use crate::oauth::failure::Failure;
use crate::oauth::token::Tokens;
use crate::remembered::Known;
use gateway_core::account::renewal::life;
use gateway_core::audit::{Event, Record};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::reason::Reason;
use gateway_core::secret;
use gateway_store::{Account, KeptAccount, Lapse, StoreError, unless_conflict};

/// How long whoever waits for a renewal waits: longer than one takes, and shorter than clients do.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is looked whether another replica has renewed it.
const LOOK: Duration = Duration::from_millis(100);

/// What was renewed so short a time ago, and is refused by the backend, is not renewed again.
pub(crate) const FRESH: Duration = Duration::from_secs(10);

/// What is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its time has come.
    Due,
    /// The backend refused this version of it.
    Refused(u64),
}

/// What is to be done with an account, as a pure decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is as it should be: somebody has renewed it, or it needs nothing.
    Take,
    /// It is renewed.
    Renew,
    /// There is nothing to renew it with.
    Lapse(Lapse),
}

fn step(account: &Account, is_renewable: bool, why: Why, now: Timestamp) -> Step {
    let is_due = account.renew_at.is_some_and(|at| at <= now);
    let is_fresh = account.renewed.is_some_and(|at| now < at + FRESH);
    if account.lapsed.is_some() {
        return Step::Take;
    }
    match why {
        Why::Refused(version) if account.version != version => Step::Take,
        // What was renewed only just is refused, too: another renewal gives nothing else.
        Why::Refused(_) if is_renewable && !is_fresh => Step::Renew,
        Why::Refused(_) => Step::Lapse(Lapse::Refused),
        Why::Due if is_due && is_renewable => Step::Renew,
        Why::Due => Step::Take,
    }
}

/// What became of the account that was renewed.
enum Written {
    /// It has the new credential.
    Ours(Account),
    /// It was removed or changed meanwhile: this is what is there now.
    Others(Option<KeptAccount>),
}

impl Accounts {
    /// What is known of an account once it was renewed, if it has to be. One replica does it, once, and all
    /// others wait for what comes of that. To be called by whoever looks after the account here alone.
    pub(crate) async fn renewed(
        &self,
        of: &AccountBackend,
        user: &UserId,
        why: Why,
    ) -> Result<Known, AccountError> {
        let until = Instant::now() + PATIENCE;
        let holder = secret::identifier("", &mut OsRng);
        loop {
            let kept = self.records.account(user, of.name(), self.now()).await?;
            let Some(kept) = kept else {
                return Ok(of.remembered.learn(user, Known::Absent));
            };
            let contents = self.contents(of, &kept.account);
            let is_renewable = contents.as_ref().is_some_and(Contents::is_renewable);
            let contents = match step(&kept.account, is_renewable, why, self.now()) {
                Step::Take => return Ok(self.learned(of, &kept.account)),
                Step::Lapse(lapse) => return Ok(self.lapse(of, &kept, lapse).await?),
                Step::Renew => contents,
            };
            let id = &kept.account.id;
            if let Some(pause) = of.remembered.pause(id) {
                return self.not_renewed(of, &kept.account, why, pause);
            }
            let (records, now) = (&self.records, self.now());
            if records.take_account_renewal(id, &holder, now).await? {
                let outcome = self.renew_if_same(of, &kept, contents, why).await;
                let now = self.now();
                let given_back = records.give_account_renewal_back(id, &holder, now).await;
                if let Some(known) = outcome? {
                    return Ok(known);
                }
                given_back?;
            } else {
                sleep(LOOK).await;
            }
            if Instant::now() >= until {
                return self.not_renewed(of, &kept.account, why, AccountError::PAUSE);
            }
        }
    }

    /// Renews it, if it is as it was read: whoever had the renewal before may have just done it. `None` where
    /// it has to be looked at anew.
    async fn renew_if_same(
        &self,
        of: &AccountBackend,
        kept: &KeptAccount,
        contents: Option<Contents>,
        why: Why,
    ) -> Result<Option<Known>, AccountError> {
        let user = &kept.account.user;
        let again = self.records.account(user, of.name(), self.now()).await?;
        let is_same = again.is_some_and(|again| again.account == kept.account);
        match contents {
            Some(contents) if is_same => self.renew(of, kept, &contents, why).await.map(Some),
            _ => Ok(None),
        }
    }

    /// What an account's record says, known from now on.
    pub(crate) fn learned(&self, of: &AccountBackend, account: &Account) -> Known {
        let known = self.known(of, account);
        of.remembered.learn(&account.user, known)
    }

    /// For the metric.
    pub(crate) fn count_renewal(&self, of: &AccountBackend, outcome: &str) {
        let labels = [of.name(), outcome];
        self.metrics.account_renewals.with(labels).increment();
    }

    /// What is as it was stays good until its end, if the backend has not refused it.
    fn not_renewed(
        &self,
        of: &AccountBackend,
        account: &Account,
        why: Why,
        pause: Duration,
    ) -> Result<Known, AccountError> {
        if why == Why::Due
            && let known @ Known::Usable(_) = self.known(of, account)
        {
            return Ok(of.remembered.learn(&account.user, known));
        }
        let reason = Reason::AccountUnavailable;
        let detail = "the backend's authorization server can't be asked";
        Err(AccountError::after(pause, reason, detail))
    }

    /// Asks for another credential, and keeps it. This replica has the renewal.
    async fn renew(
        &self,
        of: &AccountBackend,
        kept: &KeptAccount,
        contents: &Contents,
        why: Why,
    ) -> Result<Known, AccountError> {
        let Some(oauth) = &contents.oauth else {
            return Ok(self.learned(of, &kept.account));
        };
        match self.ask_for_renewal(of, oauth).await {
            Ok(tokens) => {
                let account = self.renewed_account(&kept.account, oauth, &tokens);
                let written = self.keep_renewed(kept, account).await;
                self.count_renewal(of, "renewed");
                match written? {
                    Written::Ours(account) => {
                        let record = Record {
                            detail: Some("renewed".to_owned()),
                            ..Record::new(Event::Account)
                        };
                        self.tell(&account, record);
                        of.remembered.calm(&account.id);
                        Ok(self.learned(of, &account))
                    }
                    // Nobody will ever use this one.
                    Written::Others(found) => {
                        let orphan = OAuthContents::renewed(oauth, &tokens);
                        self.take_back_orphan(of, &kept.account.user, &orphan, &tokens)
                            .await;
                        Ok(match found {
                            Some(found) => self.learned(of, &found.account),
                            None => of.remembered.learn(&kept.account.user, Known::Absent),
                        })
                    }
                }
            }
            Err(Failure::GrantGone(detail)) => {
                self.count_renewal(of, "lapsed");
                self.warn(of, &kept.account, Reason::AccountConnectAgain, &detail);
                Ok(self.lapse(of, kept, Lapse::NotRenewed).await?)
            }
            // What was registered by itself is registered anew by whoever connects again.
            Err(Failure::ClientGone(detail)) if oauth.client.is_registered => {
                self.count_renewal(of, "lapsed");
                self.warn(of, &kept.account, Reason::AccountConnectAgain, &detail);
                let _ = self.forget_client(of, &oauth.server, &oauth.client).await;
                Ok(self.lapse(of, kept, Lapse::NotRenewed).await?)
            }
            Err(failure) => {
                self.count_renewal(of, "unavailable");
                let (reason, detail) = failure.explained()?;
                self.warn(of, &kept.account, reason, &detail);
                let pause = of.remembered.failed(&kept.account.id);
                self.not_renewed(of, &kept.account, why, pause)
            }
        }
    }

    async fn ask_for_renewal(
        &self,
        of: &AccountBackend,
        oauth: &OAuthContents,
    ) -> Result<Tokens, Failure> {
        let refresh = oauth.refresh.as_deref().unwrap_or_default();
        let mut parameters = vec![("grant_type", "refresh_token"), ("refresh_token", refresh)];
        if let Some(resource) = &oauth.resource {
            parameters.push(("resource", resource));
        }
        self.ask_for_tokens(of, &oauth.server, &oauth.client, &parameters)
            .await
    }

    fn renewed_account(&self, before: &Account, oauth: &OAuthContents, tokens: &Tokens) -> Account {
        let now = self.now();
        let lived = life(now, tokens.lasts);
        let contents = Contents {
            credential: tokens.access.to_string(),
            oauth: Some(OAuthContents::renewed(oauth, tokens)),
        };
        let renewed = lived.filter(|_| contents.is_renewable());
        let mut account = Account {
            renewed: Some(now),
            expires: lived.map(|life| life.expires),
            renew_at: renewed.map(|life| life.renew_at),
            version: before.version + 1,
            ..before.clone()
        };
        if let Some(scopes) = &tokens.scopes {
            account.scopes.clone_from(scopes);
        }
        account.sealed = seal(&contents, &self.keys, bound(&account), &mut OsRng);
        account
    }

    /// Keeps it in place of what was renewed. A server that rotates has used the old refresh token up, so that
    /// a store that is away for a moment is asked again.
    async fn keep_renewed(
        &self,
        kept: &KeptAccount,
        account: Account,
    ) -> Result<Written, StoreError> {
        let (mut before, mut account) = (kept.clone(), account);
        let mut pause = Duration::from_millis(100);
        loop {
            match self.replace_renewed(&before, &account).await {
                Ok(Written::Others(Some(found))) if found.account.goes_on(&before.account) => {
                    account.wanted.clone_from(&found.account.wanted);
                    before = found;
                }
                Ok(written) => return Ok(written),
                Err(error) if error.is_corrupt() || pause > Duration::from_secs(4) => {
                    return Err(error);
                }
                Err(_) => {
                    sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }

    async fn replace_renewed(
        &self,
        before: &KeptAccount,
        account: &Account,
    ) -> Result<Written, StoreError> {
        let (records, now) = (&self.records, self.now());
        let written = records.keep_account(Some(before), account.clone(), now);
        if let Some(kept) = unless_conflict(written.await)? {
            return Ok(Written::Ours(kept.account));
        }
        let found = records.account(&account.user, &account.backend, now);
        Ok(match found.await? {
            // The answer to the write before may have been lost, not the write.
            Some(found) if found.account == *account => Written::Ours(found.account),
            found => Written::Others(found),
        })
    }

    /// Takes back what came of a renewal whose account is gone meanwhile. A server may end with it all that
    /// this client has of the person: where another account of theirs came the same way, it is left.
    async fn take_back_orphan(
        &self,
        of: &AccountBackend,
        user: &UserId,
        orphan: &OAuthContents,
        tokens: &Tokens,
    ) {
        let Ok(accounts) = self.of_person(user).await else {
            return;
        };
        let stands = accounts.iter().any(|account| {
            let is_used = account.lapsed.is_none() && !self.is_ended(&account.id);
            let contents = self
                .of(&account.backend)
                .filter(|_| is_used)
                .and_then(|of| self.contents(of, account));
            contents.is_some_and(|contents| {
                contents.oauth.as_ref().is_some_and(|own| {
                    own.client.id == orphan.client.id && own.server.name() == orphan.server.name()
                })
            })
        });
        if !stands {
            let _ = self.take_back(of, orphan, &tokens.access).await;
        }
    }

    fn warn(&self, of: &AccountBackend, account: &Account, reason: Reason, detail: &str) {
        log::warn!(
            event = "account_not_renewed", reason, hint = reason.remedy(), backend = of.name(),
            user = account.user.as_str(), detail = detail.replace('\n', " ").as_str();
            "a person's account at a backend could not be renewed"
        );
    }
}

impl OAuthContents {
    /// With what a renewal gave: a server that gives no other refresh token leaves the one that there was.
    fn renewed(before: &Self, tokens: &Tokens) -> Self {
        let refresh = tokens.refresh.as_ref().map(|token| token.to_string());
        Self {
            refresh: refresh.or_else(|| before.refresh.clone()),
            server: before.server.clone(),
            client: before.client.clone(),
            resource: before.resource.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::tests::account;

    const NOW: Timestamp = Timestamp::from_secs(5000);

    fn due(at: u64) -> Account {
        Account {
            renew_at: Some(Timestamp::from_secs(at)),
            ..account()
        }
    }

    #[test]
    fn what_is_refused_is_renewed_once_and_never_the_same_twice() {
        let alice = account();
        let refused = Why::Refused(alice.version);
        assert_eq!(step(&alice, true, refused, NOW), Step::Renew);
        assert_eq!(
            step(&alice, false, refused, NOW),
            Step::Lapse(Lapse::Refused)
        );
        // Somebody has renewed it since.
        let before = Why::Refused(alice.version - 1);
        assert_eq!(step(&alice, true, before, NOW), Step::Take);
        // It was renewed only just, and is refused again.
        let renewed = |at: u64| Account {
            renewed: Some(Timestamp::from_secs(at)),
            ..account()
        };
        let again = step(&renewed(4995), true, refused, NOW);
        assert_eq!(again, Step::Lapse(Lapse::Refused));
        assert_eq!(step(&renewed(4000), true, refused, NOW), Step::Renew);
        let lapsed = Account {
            lapsed: Some(Lapse::NotRenewed),
            ..due(4999)
        };
        for why in [refused, Why::Due] {
            assert_eq!(step(&lapsed, true, why, NOW), Step::Take);
        }
    }

    #[test]
    fn what_is_not_due_or_has_nothing_to_be_renewed_with_is_left() {
        assert_eq!(step(&due(5000), true, Why::Due, NOW), Step::Renew);
        assert_eq!(step(&due(5001), true, Why::Due, NOW), Step::Take);
        assert_eq!(step(&due(5000), false, Why::Due, NOW), Step::Take);
        assert_eq!(step(&account(), true, Why::Due, NOW), Step::Take);
    }
}
