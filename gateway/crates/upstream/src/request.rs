//! One request to a backend, up to the head of its answer: for what passes as it is, for what is
//! translated, for listing tools and for finding out what a backend speaks.
//!
//! Owns: the deadline, sending again where a kept connection was dead, the one redirect that is followed.
//! Not: what the request says (`head` of [`Connections::request`]), nor what its answer means.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::LOCATION;
use pingora::http::RequestHeader;
use tokio::time::timeout;

use super::account::Account;
use super::backend::Backend;
use super::connection::{Connection, Connections, Failure, Pooling};
use super::redirect::{Redirect, redirect};
use super::within::OnBehalfOf;

/// One request, but for its head.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Path and query at the backend.
    pub target: &'a str,
    /// What is sent; its length stands in the head.
    pub body: Option<Bytes>,
    /// In the name of which account at the backend, where people call it with their own.
    pub account: Option<&'a Account>,
    /// On whose behalf several backends that are offered together are asked; nobody asks one of them so.
    pub caller: Option<&'a OnBehalfOf>,
    /// Whether a kept connection will do.
    pub pooling: Pooling,
    /// Whether sending it twice is the same as sending it once. What was not sent whole is sent again in
    /// any case: it was not run.
    pub is_repeatable: bool,
    /// Whether one redirect to another path of the backend is followed. Where the path is what somebody
    /// may ask for, another one is not.
    pub follows_redirect: bool,
    /// How long it may take until the head of its answer; `None` where whoever asks bounds all of it.
    pub deadline: Option<Duration>,
}

/// Why a request has no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The exchange failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// It redirects, with this status: to elsewhere, again, or where no redirect is followed.
    #[error("it redirects elsewhere")]
    Redirected(StatusCode),
    /// The head can't be spelled out.
    #[error("a value can't be put in a header")]
    Unspeakable,
}

/// A backend that has answered with the head of a final response.
pub struct Reached {
    /// The connection that the answer is on.
    pub connection: Connection,
    /// The path and query that answered: those of its redirect, where it led to others.
    pub target: String,
}

impl Connections {
    /// A connection on which `backend` has answered with the head of a final response. `head` spells
    /// the head for a target; `None` where it can't.
    pub async fn request(
        &self,
        backend: &Backend,
        request: Request<'_>,
        head: impl Fn(&str) -> Option<RequestHeader>,
    ) -> Result<Reached, RequestError> {
        let mut target = request.target.to_owned();
        let mut pooling = request.pooling;
        let mut is_redirected = false;
        loop {
            let head = head(&target).ok_or(RequestError::Unspeakable)?;
            let mut connection = match request.caller {
                Some(caller) => self.connect_within(backend, caller)?,
                None => self.open(backend, request.account, pooling).await?,
            };
            let answered = answered(&mut connection, head, &request).await;
            match answered {
                Err(failure)
                    if connection.is_reused() && may_repeat(&failure, request.is_repeatable) =>
                {
                    pooling = Pooling::Fresh;
                    continue;
                }
                answered => answered?,
            }
            let head = connection.read_head().await?;
            let status = head.status;
            let location = head
                .headers
                .get(LOCATION)
                .and_then(|value| value.to_str().ok());
            match redirect(backend, &target, status, location) {
                Redirect::No => return Ok(Reached { connection, target }),
                Redirect::Within(other) if request.follows_redirect && !is_redirected => {
                    is_redirected = true;
                    target = other;
                    connection.abandon().await;
                }
                Redirect::Within(_) | Redirect::Elsewhere => {
                    return Err(RequestError::Redirected(status));
                }
            }
        }
    }
}

/// Sends the request and waits for the head of its answer.
async fn answered(
    connection: &mut Connection,
    head: RequestHeader,
    request: &Request<'_>,
) -> Result<(), Failure> {
    let asked = async {
        connection.send(head, request.body.clone()).await?;
        connection.read_head().await.map(|_| ())
    };
    match request.deadline {
        None => asked.await,
        Some(deadline) => timeout(deadline, asked)
            .await
            .unwrap_or(Err(Failure::TimedOut("the head of the response"))),
    }
}

/// A kept connection may turn out to be dead. What was not sent whole was not run; what was sent
/// and not answered may have been, so it is repeated only if that changes nothing.
const fn may_repeat(failure: &Failure, is_repeatable: bool) -> bool {
    match failure {
        Failure::NotSent(_) => true,
        Failure::NoAnswer(_) => is_repeatable,
        _ => false,
    }
}
