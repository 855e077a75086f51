//! `kind = "exchange"`: the backend's authorization server exchanges what the gateway says of who calls
//! (RFC 8693). Nobody connects anything, and nothing is kept but in memory.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::OsRng;

use crate::account_error::AccountError;
use crate::accounts::{AccountBackend, Accounts, Person};
use crate::oauth::failure::Failure;
use crate::oauth::renewal::{FRESH, Why};
use crate::oauth::token::Tokens;
use crate::remembered::{Found, Held, Known};
use gateway_core::account::AccountId;
use gateway_core::account::renewal::life;
use gateway_core::account::settings::OAuthAccount;
use gateway_core::client::own_key::OwnKey;
use gateway_core::clock::Timestamp;
use gateway_core::reason::Reason;
use gateway_upstream::Account as Handle;
use serde_json::{Value, json};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// How long what has no end of its own is used.
const LASTS: Duration = Duration::from_secs(300);

impl Accounts {
    /// The keys by which authorization servers of backends know what the gateway says of who calls.
    pub fn exchange_keys(&self) -> Value {
        json!({ "keys": [OwnKey::for_exchange(&self.tags).public()] })
    }

    /// The person's token, exchanged anew. To be called by whoever looks after the account here alone.
    pub(crate) async fn exchanged(
        &self,
        of: &AccountBackend,
        settings: &OAuthAccount,
        person: Person<'_>,
    ) -> Result<Known, AccountError> {
        let id = self.exchanged_id(of, person);
        if let Some(pause) = of.remembered.pause(&id) {
            return Err(AccountError::after(pause, Reason::AccountUnavailable, ""));
        }
        let tokens = match self.ask_for_exchange(of, settings, person).await {
            Ok(tokens) => tokens,
            Err(failure) => {
                self.count_renewal(of, "unavailable");
                let is_absence = failure.is_absence();
                let (reason, detail) = failure.explained()?;
                log::warn!(
                    event = "account_not_exchanged", reason, hint = reason.remedy(),
                    backend = of.name(), user = person.id.as_str(),
                    detail = detail.replace('\n', " ").as_str();
                    "a backend's authorization server gave no token for who calls"
                );
                let pause = of.remembered.failed(&id);
                let told = if is_absence {
                    Reason::AccountUnavailable
                } else {
                    reason
                };
                return Err(AccountError::after(pause, told, detail));
            }
        };
        self.count_renewal(of, "renewed");
        of.remembered.calm(&id);
        let value = of.settings.header.with(&tokens.access).ok_or_else(|| {
            let detail = "it gave a token that no header can hold";
            AccountError::passing(Reason::AccountAnswerInvalid, detail)
        })?;
        let now = self.now();
        let lived = life(now, Some(tokens.lasts.unwrap_or(LASTS)));
        let known = Known::Usable(Held {
            handle: self.handle(of, &id, value),
            version: now.millis(),
            renew_at: lived.map(|life| life.renew_at),
            expires: lived.map(|life| life.expires),
        });
        Ok(of.remembered.learn(person.id, known))
    }

    /// Another token than the one that the backend has just refused. Where that is a fresh one, another
    /// exchange gives nothing else.
    pub(crate) async fn exchanged_again(
        &self,
        of: &AccountBackend,
        person: Person<'_>,
        account: &Arc<Handle>,
    ) -> Result<(), AccountError> {
        let (before, now) = (account.value(), self.now());
        let version = match of.remembered.find(person.id, now) {
            Found::Now(Known::Usable(held)) | Found::Ageing(held) => held.version,
            _ => 0,
        };
        if now >= Timestamp::from_millis(version) + FRESH {
            let why = Why::Refused(version);
            Box::pin(self.looked_after(of, person, why)).await?;
            if account.value() != before {
                return Ok(());
            }
        }
        Err(AccountError::exchange_refused())
    }

    /// The same on all replicas, though nothing is kept.
    fn exchanged_id(&self, of: &AccountBackend, person: Person<'_>) -> AccountId {
        let tags = self.tags.derive("exchanged account");
        let tag = tags.tag(&[person.id.as_str().as_bytes(), of.name().as_bytes()]);
        AccountId::new(&format!("a_{tag}"))
    }

    async fn ask_for_exchange(
        &self,
        of: &AccountBackend,
        settings: &OAuthAccount,
        person: Person<'_>,
    ) -> Result<Tokens, Failure> {
        let found = self.discover(of, settings).await?;
        let client = self.client(of, settings, &found.server).await?;
        let subject = OwnKey::for_exchange(&self.tags).subject_token(
            self.issuer.as_str(),
            (person.id.as_str(), person.name),
            found.server.name(),
            self.now(),
            &mut OsRng,
        );
        let scope = found.scopes.join(" ");
        let mut parameters = vec![
            ("grant_type", GRANT),
            ("subject_token", subject.as_str()),
            ("subject_token_type", JWT),
        ];
        parameters.extend(found.wanted(&scope, settings));
        self.ask_for_tokens(of, &found.server, &client, &parameters)
            .await
    }
}
