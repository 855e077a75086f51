//! A stream of one event, by which the gateway finds out at its own public URL whether what stands in
//! front of it passes events on as they come. Only the gateway itself can open it: by a secret that is
//! made at the start and told to nobody. For all others there is nothing at its path.
//!
//! Bounded: one at a time, for a few seconds.

use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use pingora::ErrorType;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::sleep;

use super::client_watch::ClientWatch;
use super::drain::Draining;
use super::lifetime;
use super::response_head;
use gateway_core::protocol::bearer::BearerPresentation;
use gateway_core::secret::{Secret, SecretHash};

/// Where it is.
pub const STREAM_PROBE_PATH: &str = "/stream-probe";

/// How long the stream stays open behind its event: who holds events back until the end of an answer
/// holds this one back for so long.
const OPEN: Duration = Duration::from_secs(10);

const EVENT: &[u8] = b"event: probe\ndata: 1\n\n";

/// Who may open the stream.
pub(super) struct StreamProbe {
    /// Nobody, where there is none.
    secret: Option<SecretHash>,
    place: Semaphore,
}

impl StreamProbe {
    pub(super) const fn new(secret: Option<SecretHash>) -> Self {
        Self {
            secret,
            place: Semaphore::const_new(1),
        }
    }

    /// The place of this request, if it opens the stream and no other does.
    pub(super) fn place(&self, path: &str, head: &RequestHeader) -> Option<SemaphorePermit<'_>> {
        if path != STREAM_PROBE_PATH || head.method != Method::GET {
            return None;
        }
        let lines = head.headers.get_all(AUTHORIZATION).iter();
        let presented = BearerPresentation::read(lines.map(HeaderValue::as_bytes));
        let (Some(secret), BearerPresentation::Token(token)) = (&self.secret, presented) else {
            return None;
        };
        if !secret.matches(&Secret::presented(token.as_str())) {
            return None;
        }
        self.place.try_acquire().ok()
    }
}

/// Writes the event at once, and ends the stream later.
pub(super) async fn serve(session: &mut ServerSession, draining: &Draining) -> pingora::Result<()> {
    let head = response_head::of_events(session.req_header().version, None)?;
    session.write_response_header(Box::new(head)).await?;
    session
        .write_response_body(Bytes::from_static(EVENT), false)
        .await?;
    let mut client = ClientWatch::default();
    tokio::select! {
        () = client.gone(session) => {
            let error = pingora::Error::explain(ErrorType::ConnectionClosed, "the probe has seen enough");
            return Err(error);
        }
        _ = lifetime::shutdown(draining, true) => {}
        () = sleep(OPEN) => {}
    }
    session.set_keepalive(None);
    session.write_response_body(Bytes::new(), true).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, authorization: &str) -> RequestHeader {
        let mut head = RequestHeader::build(method, STREAM_PROBE_PATH.as_bytes(), None).unwrap();
        head.insert_header(AUTHORIZATION, authorization).unwrap();
        head
    }

    #[test]
    fn only_the_secret_opens_it_and_once_at_a_time() {
        let probe = StreamProbe::new(Some(Secret::presented("s3cret").hash()));
        for (path, head) in [
            ("/stream-probe", asked("GET", "Bearer other")),
            ("/stream-probe", asked("GET", "Basic s3cret")),
            ("/stream-probe", asked("POST", "Bearer s3cret")),
            ("/mcp", asked("GET", "Bearer s3cret")),
        ] {
            assert!(probe.place(path, &head).is_none(), "{path} {head:?}");
        }
        let head = asked("GET", "Bearer s3cret");
        let place = probe.place(STREAM_PROBE_PATH, &head);
        assert!(place.is_some());
        assert!(probe.place(STREAM_PROBE_PATH, &head).is_none());
        drop(place);
        assert!(probe.place(STREAM_PROBE_PATH, &head).is_some());
        let off = StreamProbe::new(None);
        assert!(off.place(STREAM_PROBE_PATH, &head).is_none());
    }
}
