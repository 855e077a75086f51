//! Accounts at identity providers: whose each is. What a provider said of a person stands in the
//! person's own record; here is only the way there.

use serde::{Deserialize, Serialize};

use super::access::Records;
use super::encoding::{Record, encode};
use super::users::User;
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::login_rules::MailAddress;
use gateway_core::secret::Secret;

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

/// Where the person's record is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    user: UserId,
    user_name: String,
}

impl Record for Owner {}

impl Key {
    /// Of the way to the person of an account. Hashed, each part by itself: both are as long and as
    /// odd as the provider likes.
    fn identity(issuer: &str, subject: &str) -> Self {
        let hash = |text: &str| Secret::presented(text).hash().as_str().to_owned();
        let both = hash(&format!("{} {}", hash(issuer), hash(subject)));
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
        let Some(owner) = self.load::<Owner>(&key, now).await? else {
            return Ok(None);
        };
        let user = self.user(&owner.user_name, now).await?;
        Ok(user.filter(|user| user.id == owner.user))
    }

    /// Notes whose account this is.
    pub async fn put_identity(&self, identity: &Identity, user: &User) -> Result<(), StoreError> {
        let key = Key::identity(&identity.issuer, &identity.subject);
        let owner = Owner {
            user: user.id.clone(),
            user_name: user.name.clone(),
        };
        self.store.put(&key, &encode(&owner), None).await
    }
}
