//! Accounts at identity providers: whose each is. What a provider said of a person stands in the
//! person's own record, which also says whether the account is still the person's; here is only the
//! way there.

use serde::{Deserialize, Serialize};

use super::access::Records;
use super::hashed::hashed_together;
use super::users::User;
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use gateway_core::clock::Timestamp;
use gateway_core::login_rules::MailAddress;

/// An account at an identity provider, and what the provider said of its person last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The name of the provider in the configuration then.
    pub provider: String,
    /// With the subject what names the account for good.
    pub issuer: String,
    /// Names the account at the provider.
    pub subject: String,
    /// The mail address, for pages and rules; never what names the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<MailAddress>,
    /// What the person is called there, for pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Those of its groups that anything here goes by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// When the provider said so.
    pub confirmed: Timestamp,
    /// The provider's refresh token, encrypted, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<String>,
}

impl Identity {
    /// Whether it is the account of this subject of an issuer.
    pub fn is(&self, issuer: &str, subject: &str) -> bool {
        self.issuer == issuer && self.subject == subject
    }
}

impl Key {
    /// Of the way to the person of an account.
    pub(super) fn identity(issuer: &str, subject: &str) -> Self {
        let both = hashed_together(issuer, subject);
        Self::new(KeyKind::Identity, format!("identity/{both}"))
    }
}

impl Records {
    /// The person whose account this is, if there is one.
    pub async fn user_of_identity(
        &self,
        issuer: &str,
        subject: &str,
        now: Timestamp,
    ) -> Result<Option<User>, StoreError> {
        let key = Key::identity(issuer, subject);
        let has = |user: &User| user.identity(issuer, subject).is_some();
        self.way_to_user(&key, now, has).await
    }

    /// Notes whose account this is; its person's record says so already. `false`: it is somebody
    /// else's.
    pub async fn add_identity(
        &self,
        identity: &Identity,
        user: &User,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (issuer, subject) = (&identity.issuer, &identity.subject);
        let key = Key::identity(issuer, subject);
        let has = |user: &User| user.identity(issuer, subject).is_some();
        self.make_way(&key, user, now, has).await
    }
}
