//! Somebody's account at a backend: its name here.
//!
//! Not: the credential that it is used with (`gateway-upstream`), nor what is kept of it.

pub mod renewal;
pub mod seal;
pub mod settings;

use std::sync::Arc;

use rand::RngCore;
use serde::{Deserialize, Serialize};

use crate::secret;
use crate::text_type::shown_as_text;

/// Names the account that a person has connected at one backend. Another connection has another
/// name, a renewed credential has the same: what belongs to one of them (sessions, lists of tools,
/// kept connections) is never met by another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// A new one.
    pub fn draw(random: &mut dyn RngCore) -> Self {
        Self::new(&secret::identifier("a_", random))
    }

    /// One that the store names.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
}

shown_as_text!(AccountId);

impl From<String> for AccountId {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<AccountId> for String {
    fn from(id: AccountId) -> Self {
        id.as_str().to_owned()
    }
}
