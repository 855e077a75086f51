//! Several backends that are offered together: one more backend of 2026-07-28, within this process. What is
//! asked of all is put together from what each says; what is for one goes to it, under its own names.
//!
//! A request comes in as to any backend, over a pipe ([`gateway_upstream::LocalRequest`]); clients of older
//! revisions are translated before. Each member is asked over another pipe, and what is asked there passes
//! through the whole of admission, exchange and translation of that member (`member`): its own policy, pins,
//! records, account, session and revision. So nothing is decided here: what goes to nobody needs no permit,
//! and what goes to somebody has one of that member's.
//!
//! Owns: whose a request is, and what several answers are together. Not: names and lists (the crate
//! `mcp`, `members`), what anybody may do (`admission`).

mod compact;
mod discover;
mod listen;
mod lists;
mod local_request;
mod member;
mod resources;
mod rounds;
mod route;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode};
use mcp_protocol::members::Members;
use mcp_protocol::{Id, Message, RpcError};
use parking_lot::Mutex;

use super::aggregates::Absence;
use super::in_flight::Hold;
use super::mounted_backend::MountedBackend;
use super::serve::Service;
use gateway_upstream::{Aggregate, OnBehalfOf};

/// From now on requests for backends that are offered together are answered, for as long as there is a
/// service.
pub(super) fn answer_for_members(service: &Arc<Service>) {
    let weak = Arc::downgrade(service);
    service.state.connections.answer_within(move |request| {
        if let Some(service) = weak.upgrade() {
            tokio::spawn(local_request::answer(service, request));
        }
    });
}

/// One request for several backends.
struct Asked {
    service: Arc<Service>,
    /// All together.
    mounted: Arc<MountedBackend>,
    aggregate: Arc<Aggregate>,
    caller: OnBehalfOf,
    /// Of the request, as any backend gets them.
    headers: HeaderMap,
    message: Message,
    id: Id,
    /// For what members answered and is held until this is.
    held: Mutex<Vec<Hold>>,
}

/// Why there is no answer of the members.
#[derive(Debug)]
enum Unanswered {
    /// It is refused with this.
    Error(RpcError),
    /// Nobody else answered, and one member said why not.
    Fault(Box<Fault>),
    /// Nobody who was asked answered, or the fault is here: the client asks again.
    Nobody,
}

/// Why a member has no answer now, in its own words or those of the gateway at it.
#[derive(Clone, Debug)]
struct Fault {
    status: StatusCode,
    retry_after: Option<HeaderValue>,
    error: RpcError,
}

impl From<Option<Fault>> for Unanswered {
    fn from(fault: Option<Fault>) -> Self {
        fault.map_or(Self::Nobody, |fault| Self::Fault(Box::new(fault)))
    }
}

impl From<RpcError> for Unanswered {
    fn from(error: RpcError) -> Self {
        Self::Error(error)
    }
}

impl Asked {
    fn members(&self) -> &Members {
        &self.aggregate.members
    }

    fn name(&self) -> &str {
        &self.mounted.backend.mount.name
    }

    /// Takes note of whether a member answers to `method`. What changes is told once: with the first that it
    /// does not answer to, and when nothing of that is left.
    fn note(&self, member: usize, method: &str, why_not: Option<(Absence, &str)>) {
        let name = &self.members().names()[member];
        let aggregates = &self.service.state.aggregates;
        match why_not {
            Some((absence, why)) => {
                if aggregates.goes(self.name(), name, method, absence) {
                    log::warn!(
                        event = "member_away", backend = self.name(), member = name.as_str(), method, hint = "It is asked again by each list; the other members are offered meanwhile.";
                        "a member does not answer and is left out: {why}"
                    );
                }
            }
            None => {
                if aggregates.is_back(self.name(), name, method) {
                    log::info!(event = "member_back", backend = self.name(), member = name.as_str(); "a member answers again");
                }
            }
        }
    }
}
