//! Connections of HTTP/2: each stream is a request in a task of its own, answered by Pingora under the
//! same guards as one of HTTP/1.1.
//!
//! Owns: what one connection may hold. A stream beyond the first counts as a connection of its
//! address, so that nobody gets more places by opening streams; large heads are on the budget of
//! unfinished requests. Not: frames, which are the library's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use pingora::apps::HttpServerApp as _;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{
    H2Accept, H2Options, HttpSession, default_h2_options, handshake,
};
use pingora::protocols::{Digest, Stream};
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::connection_limits::{ConnectionLimits, ConnectionPermit, Refusal};
use super::drain::Phase;
use super::hooks::Hooks;
use super::in_flight::Hold;
use super::listener::Client;
use super::metered::{self, FREE_HEAD};
use super::response_writer;
use super::serve::Service;
use super::watchdog::RequestWatchdog;
use gateway_core::protocol::web::{self, Response};
use gateway_core::reason::Reason;

/// How many streams of one connection are open at once. Clients open one for each call and one for
/// events.
const STREAMS: u32 = 100;

/// How much of an answer is held for a stream whose client opens its window and does not read.
const UNSENT: usize = 16 * 1024;

/// How many streams that their client resets are remembered, and how many may wait that nobody has
/// looked at (the rapid reset of CVE-2023-44487): a connection with more of these is closed.
const RESET: usize = 20;

/// The same where a proxy brings the requests of many people, who may all go away at once.
const RESET_SHARED: usize = STREAMS as usize;

/// How many streams of one client's connection the library may reset for errors of protocol in all.
/// It never forgets one, so there is room for a connection of days.
const RESET_FOR_ERRORS: usize = 1024;

/// How many streams of one connection may be at fault within [`WINDOW`] before it is closed.
const FAULTS: usize = 64;

/// For how long a fault counts.
const WINDOW: Duration = Duration::from_secs(60);

/// What a client of HTTP/2 begins with (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the connections of HTTP/2 share.
pub(super) struct Http2 {
    pub(super) service: Arc<Service>,
    pub(super) limits: Arc<ConnectionLimits>,
    pub(super) proxy: Arc<HttpProxy<Hooks>>,
}

/// The faults of one connection's streams: those in error, and those that were refused because their
/// client takes too much.
#[derive(Debug, Default)]
struct Faults(VecDeque<Instant>);

impl Faults {
    /// Records one; whether there are more than [`FAULTS`] within [`WINDOW`] by now.
    fn record(&mut self, now: Instant) -> bool {
        self.0.push_back(now);
        if self.0.len() <= FAULTS {
            return false;
        }
        let oldest = self.0.pop_front();
        oldest.is_some_and(|oldest| now.duration_since(oldest) < WINDOW)
    }
}

/// Whether a stream that is refused with this status is at fault: it is not where the gateway as a
/// whole is full, for which a client can do nothing.
fn is_fault(refusal: StatusCode) -> bool {
    refusal != StatusCode::SERVICE_UNAVAILABLE
}

/// What a stream holds of what is bounded.
struct Share {
    _permit: Option<ConnectionPermit>,
    _head: Hold,
}

impl Http2 {
    /// Serves a connection on which nothing was read yet until it ends.
    pub(super) async fn serve(&self, io: Stream, client: Client) {
        let digest = Arc::new(Digest {
            ssl_digest: io.get_ssl_digest(),
            timing_digest: io.get_timing_digest(),
            proxy_digest: io.get_proxy_digest(),
            socket_digest: io.get_socket_digest(),
        });
        let timeouts = self.service.state.settings.timeouts;
        // A trusted proxy's connection has the requests of many people, and nobody's fault may break
        // off what the others have open.
        let is_shared = client.counted.is_none();
        let begun = timeout(timeouts.head, handshake(io, Some(self.options(is_shared))));
        let Ok(Ok(mut connection)) = begun.await else {
            return;
        };
        let mut phase = self.service.state.draining.watch();
        let (mut is_closing, mut is_let_go) = (false, false);
        let mut faults = Faults::default();
        let mut streams = JoinSet::new();
        let mut idle_since = Instant::now();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase != Phase::Serving), if !is_closing => {
                    connection.graceful_shutdown();
                    is_closing = true;
                    continue;
                }
                Some(_) = streams.join_next() => {
                    idle_since = Instant::now();
                    continue;
                }
                accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
                () = sleep_until(idle_since + timeouts.idle), if streams.is_empty() => break,
            };
            let is_at_fault = match accepted {
                Ok(Some(H2Accept::Session(session))) => {
                    let session = ServerSession::new_http2(session);
                    let is_first = streams.is_empty();
                    match self.share(&session, &client, is_first) {
                        Ok(share) => {
                            streams.spawn(self.answer(session, share, client.shutdown.clone()));
                            false
                        }
                        Err((status, reason)) => {
                            streams.spawn(refuse(session, answer(status, reason)));
                            is_fault(status)
                        }
                    }
                }
                Ok(Some(H2Accept::Rejected)) => true,
                Ok(None) | Err(_) => break,
            };
            // Once is enough: what comes until the client has learned of it changes nothing.
            if is_let_go || !is_at_fault || !faults.record(Instant::now()) {
                continue;
            }
            if is_shared {
                // The proxy opens another one for what comes next.
                connection.graceful_shutdown();
            } else {
                connection.abrupt_shutdown(ENHANCE_YOUR_CALM.into());
            }
            (is_closing, is_let_go) = (true, true);
        }
        // What is still running finds its client gone and ends by itself. Until then the connection
        // keeps its place: nothing outlives it uncounted.
        drop(connection);
        while streams.join_next().await.is_some() {}
    }

    fn options(&self, is_shared: bool) -> H2Options {
        let settings = &self.service.state.settings;
        let head = u32::try_from(settings.request_header).unwrap_or(u32::MAX);
        let reset = if is_shared { RESET_SHARED } else { RESET };
        let mut options = default_h2_options();
        options
            .max_header_list_size(head)
            .max_concurrent_streams(STREAMS)
            .max_send_buffer_size(UNSENT)
            .max_concurrent_reset_streams(reset)
            .max_pending_accept_reset_streams(reset)
            .max_local_error_reset_streams((!is_shared).then_some(RESET_FOR_ERRORS));
        options
    }

    /// A stream's share of what is bounded. The first one at a time has the place of its connection.
    fn share(
        &self,
        session: &ServerSession,
        client: &Client,
        is_first: bool,
    ) -> Result<Share, (StatusCode, Reason)> {
        let state = &self.service.state;
        let settings = &state.settings;
        let permit = if is_first {
            None
        } else {
            let permit = self.limits.take(
                client.counted,
                settings.connections,
                settings.connections_per_address,
            );
            let permit = permit.map_err(|crowd| {
                let refusal = Refusal::new(crowd, settings.bound);
                self.limits.record(refusal);
                refusal.answer()
            });
            Some(permit?)
        };
        let mut head = state.budget.hold(client.counted, "");
        let beyond = size(session).saturating_sub(FREE_HEAD);
        head.grow_to(beyond)
            .map_err(|full| (full.status(), Reason::InFlightFull))?;
        Ok(Share {
            _permit: permit,
            _head: head,
        })
    }

    /// Answers one request under its guard.
    fn answer(
        &self,
        session: ServerSession,
        share: Share,
        shutdown: ShutdownWatch,
    ) -> impl Future<Output = ()> + Send + use<> {
        let proxy = Arc::clone(&self.proxy);
        let deadline = self.service.state.settings.timeouts.head;
        async move {
            let _share = share;
            let watchdog = Arc::new(RequestWatchdog::default());
            let answering = proxy.process_new_http(session, &shutdown);
            let answering = Arc::clone(&watchdog).during(answering);
            tokio::select! {
                biased;
                _ = answering => {}
                () = watchdog.cut(deadline) => {}
            }
        }
    }
}

/// The error of a connection that asks too much (RFC 9113 §7).
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// How large a head is, as its client was told that it is counted (RFC 9113 §6.5.2).
fn size(session: &ServerSession) -> usize {
    let head = session.req_header();
    let lines = head.headers.iter();
    let lines = lines.map(|(name, value)| name.as_str().len() + value.len() + 32);
    lines.sum::<usize>() + head.raw_path().len()
}

/// Whether a connection begins with the preface of HTTP/2. What was read of it is in `bytes`, which has as
/// much of it afterwards as tells.
pub(super) async fn has_preface(io: &mut (impl AsyncRead + Unpin), bytes: &mut Bytes) -> bool {
    loop {
        let known = bytes.len().min(PREFACE.len());
        if bytes[..known] != PREFACE[..known] {
            return false;
        }
        if known == PREFACE.len() {
            return true;
        }
        let mut all = BytesMut::from(&bytes[..]);
        let read = io.read_buf(&mut all).await;
        *bytes = all.freeze();
        if !matches!(read, Ok(1..)) {
            return false;
        }
    }
}

/// What a stream is answered that there is no room for.
fn answer(status: StatusCode, reason: Reason) -> Response {
    web::with_retry_after(web::json(status, &metered::body(reason)), 5)
}

async fn refuse(mut session: ServerSession, response: Response) {
    // A client that does not take it within its time has no answer.
    let _ = timeout(
        metered::FAREWELL,
        response_writer::write(&mut session, response),
    )
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_count_for_a_minute() {
        let begun = Instant::now();
        let mut faults = Faults::default();
        for _ in 0..FAULTS {
            assert!(!faults.record(begun));
        }
        assert!(faults.record(begun + WINDOW - Duration::from_millis(1)));
        // One a second goes on for ever, and is no more to keep than so many.
        let mut faults = Faults::default();
        for second in 0..1000 {
            assert!(!faults.record(begun + Duration::from_secs(second)));
        }
        assert_eq!(faults.0.len(), FAULTS);
    }

    #[test]
    fn a_gateway_that_is_full_is_no_fault_of_its_client() {
        assert!(is_fault(StatusCode::TOO_MANY_REQUESTS));
        assert!(!is_fault(StatusCode::SERVICE_UNAVAILABLE));
    }
}
