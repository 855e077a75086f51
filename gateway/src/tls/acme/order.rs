//! One order: account, challenge, certificate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway_core::clock::Clock;
use gateway_core::secret::{Secret, TagKey};
use gateway_store::{AcmeAccount, Records, StoreError};
use instant_acme::{
    Account, AccountBuilder, AuthorizationState, AuthorizationStatus, ChallengeType, Error,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rand::rngs::OsRng;

use crate::tls::settings::AcmeSettings;

/// How long a server may take to look at the challenge, and then to make the certificate.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often an order is begun anew whose nonces were refused: servers lose them.
const NONCES: usize = 4;

/// A chain and its key, both in PEM.
pub(super) struct Ordered {
    pub(super) chain: String,
    pub(super) key: String,
}

/// Why an order came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderFault {
    /// The server can't be asked, or does not answer.
    #[error(
        "the ACME server at {0} can't be asked: {1}; it is asked again. Look whether this machine reaches it (`tls.directory`)"
    )]
    Away(String, String),
    /// It refuses.
    #[error("the ACME server refuses: {0}")]
    Refused(String),
    /// It did not find the answer to its challenge.
    #[error(
        "the ACME server did not find its challenge: {0}. Point {1} at this machine, and let port 80 \
         through to `tls.plain_listen`"
    )]
    Challenge(String, String),
    /// What belongs to the order can't be kept.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
}

impl OrderFault {
    /// Whether the server was not asked at all, as far as it counts.
    pub(super) const fn is_away(&self) -> bool {
        matches!(self, Self::Away(..) | Self::Store(_))
    }
}

/// What an order needs.
pub(super) struct Orders<'a> {
    pub(super) settings: &'a AcmeSettings,
    pub(super) records: &'a Records,
    /// For what is kept of it.
    pub(super) tags: &'a TagKey,
    /// Whether the server was asked to make the certificate, which it counts whatever comes of it.
    pub(super) is_finalized: AtomicBool,
}

impl Orders<'_> {
    /// Orders a certificate.
    pub(super) async fn order(&self) -> Result<Ordered, OrderFault> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.attempt().await {
                Err(AttemptError::Acme(Error::Api(problem)))
                    if tries < NONCES && is_bad_nonce(&problem) => {}
                Err(AttemptError::Acme(error)) => {
                    return Err(self.fault(is_refusal(&error), chain_of(&error)));
                }
                Err(AttemptError::Fault(fault)) => return Err(fault),
                Ok(ordered) => return Ok(ordered),
            }
        }
    }

    async fn attempt(&self) -> Result<Ordered, AttemptError> {
        let names = [Identifier::Dns(self.settings.name.clone())];
        let new = NewOrder::new(&names);
        let ordered = match self.kept_account().await? {
            Some(account) => account.new_order(&new).await,
            None => self.new_account().await?.new_order(&new).await,
        };
        let mut order = match ordered {
            // A server that was set up anew, as those for trials are.
            Err(Error::Api(problem)) if is_unknown_account(&problem) => {
                self.new_account().await?.new_order(&new).await?
            }
            ordered => ordered?,
        };
        self.answer_challenges(&mut order).await?;
        let policy = RetryPolicy::default().timeout(PATIENCE);
        let missed = |why| OrderFault::Challenge(why, self.settings.name.clone());
        match order.poll_ready(&policy).await {
            Ok(OrderStatus::Ready) => {}
            Ok(_) => return Err(missed(why_invalid(&mut order).await).into()),
            // What servers say of the order is what they say of its challenge.
            Err(Error::Api(problem)) if !is_bad_nonce(&problem) => {
                return Err(missed(problem.detail.unwrap_or_default()).into());
            }
            Err(error) => return Err(error.into()),
        }
        self.is_finalized.store(true, Ordering::Relaxed);
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&policy).await?;
        Ok(Ordered { chain, key })
    }

    async fn answer_challenges(&self, order: &mut Order) -> Result<(), AttemptError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) else {
                let why =
                    "it offers no http-01 challenge, and the gateway answers no other".to_owned();
                return Err(OrderFault::Refused(why).into());
            };
            let answer = challenge.key_authorization();
            // Kept before the server looks: any replica may be asked.
            self.records
                .keep_acme_challenge(&challenge.token, answer.as_str(), Clock.now())
                .await
                .map_err(OrderFault::Store)?;
            challenge.set_ready().await?;
        }
        Ok(())
    }

    /// The account that the store has for this server.
    async fn kept_account(&self) -> Result<Option<Account>, AttemptError> {
        let directory = &self.settings.directory;
        let kept = self.records.acme_account(directory, Clock.now()).await;
        let kept = kept.map_err(OrderFault::Store)?;
        // One that was kept by a gateway with other keys is of no use.
        let credentials = kept.and_then(|kept| {
            let text = self.tags.decrypt(&kept.credentials, directory.as_bytes())?;
            serde_json::from_str(text.reveal()).ok()
        });
        Ok(match credentials {
            Some(credentials) => Some(self.builder()?.from_credentials(credentials).await?),
            None => None,
        })
    }

    /// A new account, which the store has from now on.
    async fn new_account(&self) -> Result<Account, AttemptError> {
        let directory = &self.settings.directory;
        let contact: Vec<&str> = self.settings.contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = self
            .builder()?
            .create(&new, directory.clone(), None)
            .await?;
        let text = serde_json::to_string(&credentials).map_err(Error::from)?;
        let text = Secret::presented(&text);
        let account_kept = AcmeAccount {
            credentials: self.tags.encrypt(&text, directory.as_bytes(), &mut OsRng),
        };
        self.records
            .keep_acme_account(directory, &account_kept, Clock.now())
            .await
            .map_err(OrderFault::Store)?;
        log::info!(event = "acme_account_made", directory = directory; "an account was made at the ACME server");
        Ok(account)
    }

    fn builder(&self) -> Result<AccountBuilder, Error> {
        match &self.settings.directory_ca {
            Some(file) => Account::builder_with_root(file),
            None => Account::builder(),
        }
    }

    /// The fault of an order that took too long in all.
    pub(super) fn overdue(&self, patience: Duration) -> OrderFault {
        self.fault(false, format!("it took longer than {patience:?}"))
    }

    fn fault(&self, is_refusal: bool, why: String) -> OrderFault {
        let is_finalized = self.is_finalized.load(Ordering::Relaxed);
        fault(&self.settings.directory, is_refusal, is_finalized, why)
    }
}

/// What an order came to that met an error. What the server refuses it counts, and also an order that it
/// was asked to complete: its answer may have been lost on the way. All else may be asked again soon.
fn fault(directory: &str, is_refusal: bool, is_finalized: bool, why: String) -> OrderFault {
    if is_refusal {
        OrderFault::Refused(why)
    } else if is_finalized {
        let why = format!("no certificate came of an order that it had agreed to: {why}");
        OrderFault::Refused(why)
    } else {
        OrderFault::Away(directory.to_owned(), why)
    }
}

/// Whether the server answered, and refuses. One that is broken itself may answer better next time.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if problem.status.is_none_or(|status| status < 500))
}

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Acme(#[from] Error),
    #[error(transparent)]
    Fault(#[from] OrderFault),
}

fn is_bad_nonce(problem: &Problem) -> bool {
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce")
}

fn is_unknown_account(problem: &Problem) -> bool {
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
}

/// What the server says of each challenge that failed. That it can't be asked for it is said in its
/// place: the order has failed all the same, and counts.
async fn why_invalid(order: &mut Order) -> String {
    let mut said = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let refreshed = async { Ok::<_, Error>(reasons(authorization?.refresh().await?)) };
        match refreshed.await {
            Ok(reasons) => said.extend(reasons),
            Err(error) => said.push(format!("it can't be asked why: {}", chain_of(&error))),
        }
    }
    if said.is_empty() {
        said.push("it does not say why".to_owned());
    }
    said.join("; ")
}

/// What is wrong with the challenges of an authorization.
fn reasons(state: &AuthorizationState) -> Vec<String> {
    let errors = state.challenges.iter().filter_map(|it| it.error.as_ref());
    errors.filter_map(|error| error.detail.clone()).collect()
}

/// An error with all that caused it: the first line alone says little of a connection.
fn chain_of(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_falls_silent_is_away_only_before_it_was_asked_for_the_certificate() {
        let met = |is_refusal, is_finalized| {
            fault(
                "https://acme.example/dir",
                is_refusal,
                is_finalized,
                "why".to_owned(),
            )
        };
        assert!(met(false, false).is_away());
        for (is_refusal, is_finalized) in [(false, true), (true, false), (true, true)] {
            let fault = met(is_refusal, is_finalized);
            assert!(
                !fault.is_away() && fault.to_string().contains("why"),
                "{fault}"
            );
        }
    }
}
