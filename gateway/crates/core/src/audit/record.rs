//! What one line of the audit log says.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

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
    /// A page that a backend publishes was shown to a person, or refused.
    BackendPage,
    /// A form or page of the gateway's own was refused.
    Page,
    /// A person's account at a backend was connected, renewed or removed, or that failed.
    Account,
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
            | Self::Account
            | Self::Revocation
            | Self::Operator => true,
            Self::Registration
            | Self::Authorization
            | Self::Introspection
            | Self::Call
            | Self::Stream
            | Self::BackendPage
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arguments<T = String> {
    /// A keyed hash of their text: equal arguments have equal hashes, and nobody without the key can
    /// try out what they were.
    Hash(T),
    /// Their text.
    Full(T),
}

/// What else a policy can ask about a call, so that another policy can be tried on the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts<T = String> {
    /// The person's login name.
    pub user_name: T,
    /// The groups of identity providers that the token said the person was in.
    pub groups: Vec<T>,
    /// The scope of the token.
    pub scope: T,
    /// What was sent. Records of before there was this member lack it.
    pub message: Option<Sent>,
    /// Of the client's own response: whether it carried a result, or an error.
    pub result: Option<bool>,
    /// The revision of MCP that the request named.
    pub protocol_version: Option<T>,
    /// What the called tool said about its effects, where that was known at that moment.
    pub labels: Option<Labelled>,
    /// The approvals of tools that the token carried, each with who gave it; of a refused call they
    /// are not known.
    pub approved: Option<Vec<(T, T)>>,
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

/// One line, without its place in the chain. Members that are not known are left out. Its texts are owned,
/// or borrowed from what it is about until it is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<T = String> {
    /// What happened.
    pub event: Event,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused.
    pub reason: Option<Reason>,
    /// The person's identifier.
    pub user: Option<T>,
    /// The client identifier, as far as it is known; before authentication it is a claim.
    pub client: Option<T>,
    /// The grant.
    pub grant: Option<T>,
    /// The first 16 digits of the token's revocation id.
    pub token: Option<T>,
    /// The backend, by name.
    pub backend: Option<T>,
    /// The JSON-RPC method.
    pub method: Option<T>,
    /// The tool, prompt or resource.
    pub name: Option<T>,
    /// The call's arguments.
    pub arguments: Option<Arguments<T>>,
    /// What the other members can't say: the tools of a consent, the operator's command, a count,
    /// the statement of the policy that decided.
    pub detail: Option<T>,
    /// What else a policy can ask about a call.
    pub facts: Option<Facts<T>>,
    /// From where.
    pub peer: Option<IpAddr>,
    /// The request's name in the other log.
    pub request_id: Option<T>,
}

impl<T> Record<T> {
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
}

impl Record {
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
