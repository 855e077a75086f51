//! What one line of the audit log says.

use std::net::IpAddr;

use serde::{Deserialize, Serialize, Serializer};

use crate::reason::Reason;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first owner was set up.
    OwnerSet,
    /// Somebody logged in, or failed to.
    Login,
    /// Somebody logged out.
    Logout,
    /// A client registered itself, or was refused.
    Registration,
    /// An authorization request was refused before anybody was asked.
    Authorization,
    /// A person allowed or denied an app.
    Consent,
    /// The token endpoint gave a token, or refused one.
    Token,
    /// A backend asked about a token.
    Introspection,
    /// A call was let through to a backend, or refused.
    Call,
    /// An event stream was let through to a backend, or refused.
    Stream,
    /// A form or page of the gateway's own was refused.
    Page,
    /// Access was taken back.
    Revocation,
    /// The operator did something through the admin listener.
    Operator,
    /// Records that were counted and not written one by one.
    Unwritten,
    /// The gateway opened the log.
    Opened,
    /// The gateway closed the log.
    Closed,
    /// A new file began.
    Rotated,
    /// An unfinished line, or lines that could not be written, are missing before this one.
    Recovered,
}

impl Event {
    /// Whether it gives or takes access, or is the operator's.
    pub const fn is_about_access(self) -> bool {
        match self {
            Self::OwnerSet
            | Self::Login
            | Self::Logout
            | Self::Consent
            | Self::Token
            | Self::Revocation
            | Self::Operator => true,
            Self::Registration
            | Self::Authorization
            | Self::Introspection
            | Self::Call
            | Self::Stream
            | Self::Page
            | Self::Unwritten
            | Self::Opened
            | Self::Closed
            | Self::Rotated
            | Self::Recovered => false,
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done, or let through.
    Allowed,
    /// It was refused; `reason` says why.
    Refused,
    /// A fault of the gateway's own prevented it.
    Failed,
}

/// How a call's arguments are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arguments {
    /// A keyed hash of their text: equal arguments have equal hashes, and nobody without the key can
    /// try out what they were.
    Hash(String),
    /// Their text.
    Full(String),
}

/// What else a policy can ask about a call, so that another policy can be tried on the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The person's login name.
    pub user_name: String,
    /// The groups of identity providers that the token said the person was in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The scope of the token.
    pub scope: String,
    /// What was sent. Records of before there was this member lack it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Sent>,
    /// Of the client's own response: whether it carried a result, or an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<bool>,
    /// The revision of MCP that the request named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// What the called tool said about its effects, where that was known at that moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labelled>,
    /// The approvals of tools that the token carried, each with who gave it; of a refused call they
    /// are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<Vec<(String, String)>>,
}

/// What a request to a backend sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sent {
    /// A request that waits for an answer.
    Request,
    /// A notification.
    Notification,
    /// The client's answer to a request of the server's.
    Response,
    /// Several messages.
    Batch,
    /// Nothing: a stream of events was to be opened.
    Stream,
    /// Nothing: a session was to be ended.
    End,
}

/// What a tool said about its effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Labelled {
    /// `readOnlyHint`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// `destructiveHint`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive: Option<bool>,
}

/// One line, without its place in the chain. Members that are not known are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// What happened.
    pub event: Event,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "code")]
    pub reason: Option<Reason>,
    /// The person's identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The client identifier, as far as it is known; before authentication it is a claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The first 16 digits of the token's revocation id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The backend, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The JSON-RPC method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The tool, prompt or resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The call's arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Arguments>,
    /// What the other members can't say: the tools of a consent, the operator's command, a count,
    /// the statement of the policy that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What else a policy can ask about a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// The request's name in the other log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Record {
    /// A record of `event` that ended well, about nobody yet.
    pub const fn new(event: Event) -> Self {
        Self {
            event,
            outcome: Outcome::Allowed,
            reason: None,
            user: None,
            client: None,
            grant: None,
            token: None,
            backend: None,
            method: None,
            name: None,
            arguments: None,
            detail: None,
            facts: None,
            peer: None,
            request_id: None,
        }
    }

    /// A record of a refusal; `is_fault` tells our own faults apart from it.
    pub fn refused(event: Event, reason: Reason, is_fault: bool) -> Self {
        Self {
            outcome: if is_fault {
                Outcome::Failed
            } else {
                Outcome::Refused
            },
            reason: Some(reason),
            ..Self::new(event)
        }
    }

    /// The same record with where it came from.
    #[must_use]
    pub fn asked_by(self, peer: IpAddr, request_id: &str) -> Self {
        Self {
            peer: Some(peer),
            request_id: Some(request_id.to_owned()),
            ..self
        }
    }
}

// The signature is serde's.
#[allow(clippy::ref_option)]
fn code<S: Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.map_or("", Reason::code))
}
