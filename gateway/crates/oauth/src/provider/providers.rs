//! The providers as a value: what the operator wrote of each, and how they are asked.

use std::time::Duration;

use http::StatusCode;
use serde::de::DeserializeOwned;
use url::Url;

use super::failure::Failure;
use super::settings::Provider;
use gateway_core::reason::Reason;
use gateway_fetch::{Documents, FetchError, Fetcher, Limits};
use gateway_store::Identity;

/// The providers, and how they are asked.
#[derive(Debug)]
pub struct Providers {
    all: Vec<Provider>,
    pub(super) fetch: Documents,
}

/// What one request to a provider may cost: its answer may hold some thousand groups.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(5),
    body: 512 * 1024,
};

impl Providers {
    /// Providers, in the order of the login page. What the operator wrote is trusted to be where it
    /// says; what a provider says, to be public.
    pub fn new(all: Vec<Provider>) -> Self {
        let written: Vec<_> = all.iter().flat_map(Provider::origins).collect();
        Self {
            fetch: Documents::new(Fetcher::trusting(LIMITS, &written)),
            all,
        }
    }

    /// In the order of the login page.
    pub fn all(&self) -> &[Provider] {
        &self.all
    }

    /// The provider of an account, if it is still configured, under whatever name. A name that stands for
    /// another issuer now is another provider.
    pub(crate) fn of_account(&self, account: &Identity) -> Option<&Provider> {
        let is_its = |provider: &&Provider| provider.is_of(&account.issuer);
        let named = self.named(&account.provider).filter(is_its);
        named.or_else(|| self.all.iter().find(is_its))
    }

    /// What an endpoint answers to whoever has an access token. A failure calls it by its `name`.
    pub(super) async fn read_with_token<T: DeserializeOwned>(
        &self,
        url: &Url,
        token: &str,
        name: &str,
        unreadable: &str,
    ) -> Result<T, Failure> {
        let authorization = format!("Bearer {token}");
        let answered = self.fetch.ask(url, Some(&authorization), None).await;
        let answered = answered.and_then(|answered| match answered.status {
            StatusCode::OK => Ok(answered),
            status => Err(FetchError::Status(status)),
        });
        let answered = answered.map_err(|error| Failure::of_fetch(name, &error))?;
        serde_json::from_slice(&answered.body).map_err(|_| {
            let detail = format!("{name}: {unreadable}");
            Failure::because(Reason::ProviderAnswerInvalid, detail)
        })
    }

    /// The provider of this name, if it is configured.
    pub(crate) fn named(&self, name: &str) -> Option<&Provider> {
        self.all.iter().find(|provider| provider.name == name)
    }
}
