//! The plain port beside TLS, usually 80: it answers nothing but that the same is there over https, the
//! challenges of an ACME server, and a load balancer that asks whether anybody is here.
//!
//! Owns: what is answered there. One request a connection: nobody has two for it.

use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderValue, Method, StatusCode};
use pingora::protocols::http::ServerSession;
use tokio::net::TcpStream;
use tokio::time::timeout;

use gateway_lane::Connection;

use super::framing;
use super::listener::Client;
use super::metered::{Meter, Metered};
use super::response_writer;
use super::serve::Service;
use gateway_core::protocol::web::{self, Response};

/// What stands before the token of a challenge (RFC 8555 §8.3).
const CHALLENGES: &[u8] = b"/.well-known/acme-challenge/";

/// What a load balancer asks. It has to be answered without TLS: it sends an ACME server's request only
/// where somebody is, and before the first challenge is answered there is no certificate.
const HEALTH: &[u8] = b"/healthz";

/// The longest token; those of servers have 43 characters.
const LONGEST_TOKEN: usize = 256;

/// Answers the one request of a connection, within its times.
pub(super) async fn serve(service: &Arc<Service>, socket: TcpStream, client: Client) {
    let state = &service.state;
    let timeouts = state.settings.timeouts;
    let unread = Connection::new(socket, client.peer).into_unread();
    let meter = Meter::new(&state.budget, client.counted, state.settings.request_header);
    let metered = Metered::new(unread, client.peer, Arc::clone(&meter));
    let answering = async {
        let mut session = ServerSession::new_http1(Box::new(metered));
        session.set_write_timeout(Some(timeouts.write));
        let read = timeout(timeouts.head, session.read_request()).await;
        if !matches!(read, Ok(Ok(true))) {
            return;
        }
        if let Some(meter) = Meter::current() {
            meter.head_is_read();
        }
        session.set_keepalive(None);
        let response = answer(service, &session).await;
        // A client that left needs no answer.
        if response_writer::write(&mut session, response).await.is_ok() {
            let _ = session.finish().await;
        }
    };
    meter.during(answering).await;
}

async fn answer(service: &Service, session: &ServerSession) -> Response {
    if framing::check(session).is_err() {
        return web::text(StatusCode::BAD_REQUEST, "this request has two readings\n");
    }
    let target = framing::target(session);
    if let Some(token) = target.strip_prefix(CHALLENGES) {
        return challenge(service, token).await;
    }
    let method = &session.req_header().method;
    if target == HEALTH && matches!(*method, Method::GET | Method::HEAD) {
        return web::text(StatusCode::OK, "ok\n");
    }
    // Only what a request is sent to goes into the redirect: where it leads is ours to say.
    let path = std::str::from_utf8(&target).ok();
    let path = path.filter(|path| path.starts_with('/'));
    let Some(path) = path.filter(|_| *method != Method::CONNECT) else {
        return web::text(StatusCode::BAD_REQUEST, "this is no path\n");
    };
    let location = service.state.settings.issuer.join(path);
    let Ok(location) = HeaderValue::from_str(&location) else {
        return web::text(StatusCode::BAD_REQUEST, "this is no path\n");
    };
    let mut response = web::text(StatusCode::PERMANENT_REDIRECT, "it is there over https\n");
    response.headers_mut().insert(LOCATION, location);
    response
}

/// The answer to a challenge, whichever replica ordered.
async fn challenge(service: &Service, token: &[u8]) -> Response {
    let state = &service.state;
    let token = std::str::from_utf8(token).ok().filter(|token| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        token.len() <= LONGEST_TOKEN && token.bytes().all(is_plain)
    });
    let unknown = || web::text(StatusCode::NOT_FOUND, "there is no such challenge\n");
    let Some(token) = token else {
        return unknown();
    };
    let records = &state.server.records;
    match records.acme_challenge(token, state.clock.now()).await {
        Ok(Some(answer)) => web::text(StatusCode::OK, answer),
        Ok(None) => unknown(),
        Err(error) => {
            let reason = error.reason();
            log::warn!(event = "challenge_unread", reason = reason.code(), hint = reason.remedy(), error = error.to_string(); "an ACME server's challenge could not be looked up");
            let response = web::text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the store does not answer\n",
            );
            web::with_retry_after(response, 5)
        }
    }
}
