//! What came of an operation: its answer, and whom it concerned.

use serde_json::Value;

use crate::operator_api::Endpoint;
use gateway_core::audit::Record;
use gateway_core::client::ClientId;
use gateway_core::grants::{Grant, GrantId, UserId};

/// Digits of a revocation id in the audit log.
const TOKEN_DIGITS: usize = 16;

/// An operation that was done.
#[derive(Debug)]
pub(super) struct Done {
    /// The answer.
    pub(super) body: Value,
    /// For the audit log.
    pub(super) subject: Subject,
}

/// Whom and what an operation concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) user: Option<String>,
    pub(super) client: Option<String>,
    pub(super) grant: Option<String>,
    pub(super) token: Option<String>,
    /// In words, where the ids don't say it.
    pub(super) what: String,
}

impl Done {
    pub(super) fn new<E: Endpoint>(answer: &E::Answer, subject: Subject) -> Self {
        // Only maps with keys that are no strings fail to serialise; no answer has one.
        let body = serde_json::to_value(answer).expect("the gateway's own answers serialise");
        Self { body, subject }
    }

    /// Something was read.
    pub(super) fn read<E: Endpoint>(answer: &E::Answer) -> Self {
        Self::new::<E>(answer, Subject::default())
    }
}

impl Subject {
    pub(super) fn of_user(user: &UserId) -> Self {
        Self {
            user: Some(user.as_str().to_owned()),
            ..Self::default()
        }
    }

    pub(super) fn of_client(client: &ClientId) -> Self {
        Self {
            client: Some(client.as_str().to_owned()),
            ..Self::default()
        }
    }

    pub(super) fn of_grant(grant: &Grant) -> Self {
        Self::of_ids(&grant.user, &grant.client, &grant.id)
    }

    pub(super) fn of_ids(user: &UserId, client: &ClientId, grant: &GrantId) -> Self {
        Self {
            user: Some(user.as_str().to_owned()),
            client: Some(client.as_str().to_owned()),
            grant: Some(grant.as_str().to_owned()),
            ..Self::default()
        }
    }

    pub(super) fn with_words(self, what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ..self
        }
    }

    /// A record with the ids.
    pub(super) fn record(self, record: Record) -> Record {
        Record {
            user: self.user,
            client: self.client,
            grant: self.grant,
            token: self.token.map(|id| id.chars().take(TOKEN_DIGITS).collect()),
            ..record
        }
    }
}
