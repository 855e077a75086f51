//! One request over a session: posted, its answer read where that wire has it.

use std::sync::Arc;

use mcp_protocol::{Id, Kind, Message, to_stateful};
use tokio::sync::watch;

use super::routes::Routes;
use crate::compat::response_stream::MessageSender;
use crate::compat::session_error::SessionError;
use crate::compat::upstream_client::{More, Reader, UpstreamClient};
use gateway_upstream::Failure;

/// Posts one message whose answer, if it has one, comes elsewhere.
pub(super) async fn tell(
    upstream: &UpstreamClient,
    target: &str,
    session: Option<&str>,
    more: More,
    message: &Message,
) -> Result<(), SessionError> {
    let reply = upstream.post(target, session, more, message).await?;
    let status = reply.status;
    reply.reader.close().await;
    match status {
        200..=299 => Ok(()),
        // Not 400, which is what a message that wants no answer is refused with, too.
        404 => Err(SessionError::Lost),
        _ => Err(SessionError::Refused(status)),
    }
}

/// Posts a request whose answer comes over the session's one stream.
pub(super) async fn call_over_stream(
    upstream: &UpstreamClient,
    endpoint: &str,
    routes: &Routes,
    ended: &watch::Sender<bool>,
    request: Message,
    out: MessageSender,
) -> Result<(), SessionError> {
    let answered = routes.expect(&request, out)?;
    let id = request.id();
    let told = tell(upstream, endpoint, None, More::new(), &request);
    if let Err(error) = told.await {
        if let Some(id) = id {
            routes.forget(&id);
        }
        return Err(error);
    }
    let mut ended = ended.subscribe();
    tokio::select! {
        _ = answered => Ok(()),
        _ = ended.wait_for(|ended| *ended) => {
            Err(Failure::Broken("its stream ended".to_owned()).into())
        }
    }
}

/// Passes on what stands in the answer to a request, up to the response.
pub(super) async fn relay_response(
    id: &Id,
    status: u16,
    reader: &mut Reader,
    out: MessageSender,
) -> Result<(), SessionError> {
    while let Some(message) = reader.next().await? {
        let is_response = message.kind() == Kind::Response;
        // A refusal may name no id, because its request was not read.
        let is_ours = message.id().is_none_or(|answered| answered == *id);
        if is_response && !is_ours {
            continue;
        }
        let message = if is_response {
            message.with_id(id)
        } else {
            message
        };
        if out.send(message).await.is_err() || is_response {
            return Ok(());
        }
        if !reader.is_stream() {
            break;
        }
    }
    match status {
        200..=299 => Err(Failure::Broken("no response in its answer".to_owned()).into()),
        _ => Err(SessionError::Refused(status)),
    }
}

/// Passes on what stands in an answer of status 400 within a session, unless that means that the session is
/// lost.
pub(super) async fn relay_refusal(
    id: &Id,
    reader: &mut Reader,
    out: MessageSender,
) -> Result<(), SessionError> {
    match response_in(reader).await? {
        said if to_stateful::is_about_session(id, said.as_ref()) => Err(SessionError::Lost),
        Some(said) if said.id().is_none_or(|answered| answered == *id) => {
            let _ = out.send(said.with_id(id)).await;
            Ok(())
        }
        _ => Err(SessionError::Refused(400)),
    }
}

/// The first response in an answer.
pub(super) async fn response_in(reader: &mut Reader) -> Result<Option<Message>, Failure> {
    while let Some(message) = reader.next().await? {
        if message.kind() == Kind::Response {
            return Ok(Some(message));
        }
        if !reader.is_stream() {
            break;
        }
    }
    Ok(None)
}

/// Reads the stream of an HTTP+SSE session to its end.
pub(super) async fn read_stream(
    mut reader: Reader,
    routes: Arc<Routes>,
    ended: watch::Sender<bool>,
) {
    while let Ok(Some(message)) = reader.next().await {
        routes.deliver(message);
    }
    ended.send_replace(true);
    routes.close();
}
