//! A request for several backends, from its head to its answer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};
use mcp_protocol::members::Listed;
use mcp_protocol::to_stateful::Caller;
use mcp_protocol::{Kind, Message, Object, RpcError, STATELESS, code, meta};
use parking_lot::Mutex;
use pingora::protocols::http::ServerSession;

use super::{Asked, Unanswered};
use crate::client_watch::ClientWatch;
use crate::compat::FULL_LIST;
use crate::headers::text;
use crate::rejection::RefusalAnswer;
use crate::response_writer;
use crate::serve::Service;
use gateway_core::protocol::web::Response;
use gateway_upstream::LocalRequest;

/// The extension of tasks.
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// Answers one request and closes its pipe.
pub(super) async fn answer(service: Arc<Service>, request: LocalRequest) {
    let mut session = ServerSession::new_http1(Box::new(request.stream));
    if !matches!(session.read_request().await, Ok(true)) {
        return;
    }
    // Nobody is told of what fails here but by the pipe, which ends.
    let _ = serve(service, &mut session, request.aggregate, request.caller).await;
}

async fn serve(
    service: Arc<Service>,
    session: &mut ServerSession,
    aggregate: String,
    caller: gateway_upstream::OnBehalfOf,
) -> pingora::Result<()> {
    let found = service.state.routes.backend(&aggregate);
    let found = found.and_then(|mounted| {
        let aggregate = mounted.backend.aggregate.clone()?;
        Some((Arc::clone(mounted), aggregate))
    });
    let Some((mounted, aggregate)) = found else {
        return respond(session, StatusCode::NOT_FOUND, None).await;
    };
    if session.req_header().method != Method::POST {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let allowed = HeaderValue::from_static("POST");
        response.headers_mut().insert(ALLOW, allowed);
        return response_writer::write(session, response).await;
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = session.read_request_body().await? {
        body.extend_from_slice(&chunk);
    }
    let Ok(mut message) = Message::from_bytes(body.freeze()) else {
        let error = RpcError::new(code::INVALID_REQUEST, "The body is no one message");
        let error = Message::error(None, &error);
        return respond(session, StatusCode::BAD_REQUEST, Some(&error)).await;
    };
    let Some(id) = message.id().filter(|_| message.kind() == Kind::Request) else {
        // 2026-07-28 has no notification of clients that a server waits for.
        return respond(session, StatusCode::ACCEPTED, None).await;
    };
    let named = text(&session.req_header().headers, "mcp-protocol-version");
    if named != Some(STATELESS) {
        // Of older revisions are those alone that began no session, and so were not translated.
        let error = RpcError::unsupported_version(named.unwrap_or_default());
        let error = Message::error(Some(&id), &error);
        return respond(session, StatusCode::BAD_REQUEST, Some(&error)).await;
    }
    if let Err(refused) = Caller::from_message(&message) {
        let refusal = refused.response(Some(&id));
        return respond(session, StatusCode::BAD_REQUEST, Some(&refusal)).await;
    }
    without_tasks(&mut message);
    let asked = Asked {
        held: Mutex::default(),
        headers: session.req_header().headers.clone(),
        service,
        mounted,
        aggregate,
        caller,
        message,
        id,
    };
    let asked = Arc::new(asked);
    let answered = Arc::clone(&asked).answer(session).await;
    // Whoever waits longer for a member than the client did holds nothing for the client.
    asked.held.lock().clear();
    answered
}

impl Asked {
    async fn answer(self: Arc<Self>, session: &mut ServerSession) -> pingora::Result<()> {
        let method = self.message.method();
        let is_full = self.message.meta().read(FULL_LIST) == Some(true);
        let compact = self.aggregate.compact.filter(|_| !is_full);
        if let (Some(Listed::Tools), Some(most)) = (Listed::by(method), compact) {
            let work = Arc::clone(&self).list_compactly(most);
            return self.when_done(session, work).await;
        }
        if let Some(listed) = Listed::by(method) {
            let work = Arc::clone(&self).list(listed);
            return self.when_done(session, work).await;
        }
        match method {
            "server/discover" => {
                let work = Arc::clone(&self).discover();
                self.when_done(session, work).await
            }
            "subscriptions/listen" => self.listen(session).await,
            _ => self.route(session).await,
        }
    }

    /// Answers with what some work comes to, unless nobody waits for it any more.
    pub(super) async fn when_done(
        &self,
        session: &mut ServerSession,
        work: impl Future<Output = Result<Message, Unanswered>>,
    ) -> pingora::Result<()> {
        let mut watch = ClientWatch::default();
        let done = tokio::select! {
            biased;
            () = watch.gone(session) => return Ok(()),
            done = work => done,
        };
        match done {
            Ok(message) => respond(session, StatusCode::OK, Some(&message)).await,
            Err(error) => self.refuse(session, &error).await,
        }
    }

    /// Answers that there is no answer.
    pub(super) async fn refuse(
        &self,
        session: &mut ServerSession,
        why: &Unanswered,
    ) -> pingora::Result<()> {
        let response = match why {
            Unanswered::Error(error) => {
                let status = StatusCode::from_u16(error.status(false)).unwrap_or(StatusCode::OK);
                answer_with(status, Some(&Message::error(Some(&self.id), error)))
            }
            Unanswered::Fault(fault) => {
                let message = Message::error(Some(&self.id), &fault.error);
                let mut response = answer_with(fault.status, Some(&message));
                if let Some(retry_after) = fault.retry_after.clone() {
                    response.headers_mut().insert(RETRY_AFTER, retry_after);
                }
                response
            }
            Unanswered::Nobody => {
                RefusalAnswer::of_members(&self.id).response(None, &self.caller.request_id)
            }
        };
        response_writer::write(session, response).await
    }
}

/// Members are told of no client that takes tasks: their ids would lead nowhere.
fn without_tasks(message: &mut Message) {
    let declared = message.meta().object(meta::CLIENT_CAPABILITIES);
    let Some(mut declared) = declared else { return };
    let extensions = declared.object("extensions").unwrap_or_default();
    if !declared.has("tasks") && !extensions.has(TASKS) {
        return;
    }
    declared.remove("tasks");
    declared.edit("extensions", |extensions: &mut Object| {
        drop(extensions.remove(TASKS));
    });
    message.edit_params(|params| {
        params.edit("_meta", |said| {
            said.set(meta::CLIENT_CAPABILITIES, &declared)
        });
    });
}

pub(super) async fn respond(
    session: &mut ServerSession,
    status: StatusCode,
    message: Option<&Message>,
) -> pingora::Result<()> {
    response_writer::write(session, answer_with(status, message)).await
}

fn answer_with(status: StatusCode, message: Option<&Message>) -> Response {
    let body = message.map(|message| message.text().clone());
    let mut response = Response::new(body.unwrap_or_default());
    *response.status_mut() = status;
    if message.is_some() {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_hear_of_no_client_that_takes_tasks_and_of_everything_else() {
        let request = |capabilities: &str| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","_meta":{{"io.modelcontextprotocol/clientCapabilities":{capabilities}}}}}}}"#
            );
            Message::parse(&text).unwrap()
        };
        for (declared, expected) in [
            (
                r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
                "{}",
            ),
            (
                r#"{"tasks":{},"sampling":{},"extensions":{"io.modelcontextprotocol/tasks":{},"x/y":{}}}"#,
                r#"{"sampling":{},"extensions":{"x/y":{}}}"#,
            ),
            (r#"{"elicitation":{ }}"#, r#"{"elicitation":{ }}"#),
        ] {
            let mut message = request(declared);
            without_tasks(&mut message);
            let left = message.meta();
            let left = left.raw(meta::CLIENT_CAPABILITIES).unwrap();
            assert_eq!(left.get(), expected);
        }
    }
}
