//! The providers as a value: what the operator wrote of each, and how they are asked.

use std::time::Duration;

use super::settings::Provider;
use gateway_fetch::{Documents, Fetcher, Limits};
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

    pub(super) fn named(&self, name: &str) -> Option<&Provider> {
        self.all.iter().find(|provider| provider.name == name)
    }
}
