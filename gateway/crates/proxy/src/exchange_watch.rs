//! The one wait of everything that goes down to a client: for what comes next, for as long as the token
//! counts, the gateway stays, and the client is there; and the silence in between.
//!
//! Owns: the order in which these are asked, and what is written at silence and at an end. Not: what comes
//! next: bytes of a backend (`relay`), messages of a translation (`compat::downstream`).

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use pingora::protocols::http::ServerSession;
use tokio::time::{Instant, Sleep};

use super::client_watch::{ClientWatch, gone};
use super::drain::Draining;
use super::lifetime::{self, End, StreamLifetime};
use super::proxy_error::ProxyError;
use super::rejection::rejected_by;
use mcp_protocol::sse::KEEP_ALIVE;

/// Tells clients of an ended stream to come back in a second.
const FAREWELL: &[u8] = b": the gateway restarts\nretry: 1000\n\n";

/// Something that ends an exchange, some time.
type Ending<'a> = Pin<&'a mut (dyn Future<Output = End> + Send + 'a)>;

/// What happens next to an answer.
pub(super) enum Next<T> {
    /// What was waited for.
    Came(T),
    /// Nothing, for as long as that may be.
    Silence,
    /// The exchange may not go on.
    Ended(End),
    /// The client closed its connection.
    Gone,
}

/// What ends one exchange from outside.
pub(super) struct ExchangeWatch<'a> {
    revoked: Ending<'a>,
    leaving: Ending<'a>,
    client: ClientWatch,
}

/// Waits for some work before an answer, for as long as the client does and may.
pub(super) async fn while_wanted<T>(
    draining: &Draining,
    lifetime: &StreamLifetime,
    session: &mut ServerSession,
    work: impl Future<Output = T>,
) -> Result<T, ProxyError> {
    let revoked = pin!(lifetime.ended());
    let leaving = pin!(lifetime::shutdown(draining, false));
    let mut watch = ExchangeWatch::new(revoked, leaving);
    watch.before_answer(session, work).await
}

/// How long nothing may come.
pub(super) struct Patience<'a> {
    sleep: Pin<&'a mut Sleep>,
    length: Duration,
}

impl<'a> ExchangeWatch<'a> {
    /// `revoked`: the end of the token's lifetime; `leaving`: the gateway's.
    pub(super) fn new(revoked: Ending<'a>, leaving: Ending<'a>) -> Self {
        Self {
            revoked,
            leaving,
            client: ClientWatch::default(),
        }
    }

    /// Waits for what comes before the answer. What ends the exchange here is its answer.
    pub(super) async fn before_answer<T>(
        &mut self,
        session: &mut ServerSession,
        work: impl Future<Output = T>,
    ) -> Result<T, ProxyError> {
        tokio::select! {
            biased;
            end = &mut self.revoked => Err(rejected_by(end).into()),
            end = &mut self.leaving => Err(rejected_by(end).into()),
            () = self.client.gone(session) => Err(gone()),
            done = work => Ok(done),
        }
    }

    /// Waits for what comes next in the answer. `work` is dropped where something else happens.
    pub(super) async fn next<T>(
        &mut self,
        session: &mut ServerSession,
        patience: &mut Patience<'_>,
        work: impl Future<Output = T>,
    ) -> Next<T> {
        tokio::select! {
            biased;
            end = &mut self.revoked => Next::Ended(end),
            end = &mut self.leaving => Next::Ended(end),
            () = self.client.gone(session) => Next::Gone,
            next = work => Next::Came(next),
            () = &mut patience.sleep => Next::Silence,
        }
    }
}

impl<'a> Patience<'a> {
    pub(super) const fn new(sleep: Pin<&'a mut Sleep>, length: Duration) -> Self {
        Self { sleep, length }
    }

    /// Something came: from here on it begins anew.
    pub(super) fn renew(&mut self) {
        self.sleep.as_mut().reset(Instant::now() + self.length);
    }
}

/// Fills the silence between events.
pub(super) async fn keep_alive(session: &mut ServerSession) -> Result<(), ProxyError> {
    let comment = Bytes::from_static(KEEP_ALIVE);
    session.write_response_body(comment, false).await?;
    Ok(())
}

/// Ends a stream of events that may not go on. At a shutdown its last words are `farewell`, or that the
/// client may come back; within an event (`None`) there is no room for any.
pub(super) async fn end_stream(
    session: &mut ServerSession,
    end: End,
    farewell: Option<Bytes>,
) -> Result<(), ProxyError> {
    if let (End::Shutdown, Some(farewell)) = (end, farewell) {
        session.write_response_body(farewell, false).await?;
    }
    session.set_keepalive(None);
    session.write_response_body(Bytes::new(), true).await?;
    Ok(())
}

/// What a client is told that may come back.
pub(super) const fn farewell() -> Bytes {
    Bytes::from_static(FAREWELL)
}
