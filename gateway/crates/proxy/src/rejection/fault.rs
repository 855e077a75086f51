//! What is answered where the backend has none, can't be called with the person's account there, or must not
//! be for now.

use std::borrow::Cow;

use http::StatusCode;

use super::{Body, Detail, RefusalAnswer};
use crate::account_refusal::AccountRefusal;
use crate::call_limits::{LimitRefusal, Why};
use gateway_core::reason::Reason;
use gateway_upstream::Failure;
use mcp_protocol::{Id, code};

impl<'a> RefusalAnswer<'a> {
    /// `id`: of the request that waits for the backend's answer.
    pub(super) fn of_failure(failure: &'a Failure, id: Option<&'a Id>) -> Self {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        let (status, reason, detail) = match failure {
            Failure::NoFiles(_) => (unavailable, Reason::OpenFilesExhausted, Detail::Remedy),
            Failure::Full(setting) => (unavailable, Reason::InFlightFull, Detail::Limit(setting)),
            Failure::TimedOut(what) => {
                let reason = match *what {
                    "connecting" => Reason::UpstreamUnreachable,
                    _ => Reason::UpstreamTimeout,
                };
                (StatusCode::GATEWAY_TIMEOUT, reason, Detail::Nothing)
            }
            failure => {
                let reason = match failure {
                    Failure::Unreachable(_) => Reason::UpstreamUnreachable,
                    Failure::Limit(_) => Reason::TranslationLimit,
                    _ => Reason::UpstreamFailed,
                };
                (StatusCode::BAD_GATEWAY, reason, Detail::Nothing)
            }
        };
        Self {
            body: id.map_or(Body::Http, |id| Body::JsonRpc(Some(id), code::INTERNAL)),
            ..Self::new(status, reason).with(detail).retry_after(5)
        }
    }

    /// None of several servers that were asked together has an answer to the request `id`.
    pub(crate) fn of_members(id: &'a Id) -> Self {
        Self {
            body: Body::JsonRpc(Some(id), code::INTERNAL),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, Reason::UpstreamUnreachable).retry_after(5)
        }
    }

    pub(super) fn of_limit(refusal: &'a LimitRefusal) -> Self {
        let status = match refusal.why {
            Why::Unknown(_) => StatusCode::SERVICE_UNAVAILABLE,
            Why::Reached { .. } | Why::UsedUp { .. } | Why::TooMuch { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
        };
        Self {
            body: Body::Limit(refusal),
            retry_after: refusal.retry_after(),
            ..Self::new(status, refusal.reason())
                .with(Detail::Words(Cow::Owned(refusal.sentence())))
        }
    }

    pub(super) fn of_account(refusal: &'a AccountRefusal) -> Self {
        let retry_after = refusal.retry_after();
        let body = match (retry_after, refusal.single_id()) {
            (Some(_), Some(id)) => Body::JsonRpc(Some(id), code::INTERNAL),
            (Some(_), None) => Body::Http,
            (None, _) => Body::Account(refusal),
        };
        Self {
            body,
            detail: Detail::Words(Cow::Owned(refusal.sentence())),
            retry_after,
            allow: (refusal.status() == StatusCode::METHOD_NOT_ALLOWED).then_some("POST"),
            ..Self::new(refusal.status(), refusal.reason())
        }
    }
}
