//! Events on their way from a backend to a client: judged if they must be, written as soon as they are
//! there.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::buffers::SIZE;
use super::downstream::{Downstream, ExchangeError};
use super::response::Framing;
use super::service::{Events, Exchange, Failed, Unfit};

/// How long it may take to judge an answer, or its next events.
pub(crate) const JUDGED: Duration = Duration::from_secs(60);

/// How far a stream of events has come.
#[derive(Debug)]
pub(crate) struct EventRelay {
    pub(crate) framing: Framing,
    pub(crate) events: Events,
    /// Whether it stands between two events.
    pub(crate) between: bool,
}

impl EventRelay {
    /// Takes what `raw` holds to the client, behind what `out` holds: whether that was the end.
    pub(crate) async fn pass<IO: AsyncRead + AsyncWrite + Unpin, E: Exchange>(
        &mut self,
        down: &mut Downstream<'_, '_, IO, E>,
        raw: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<bool, ExchangeError> {
        let decoded = self.framing.decode(raw);
        let decoded =
            decoded.map_err(|what| ExchangeError::Failed(Failed::Broken(what.to_owned())))?;
        let is_done = self.framing.is_done();
        if self.events.is_filtered && (!decoded.data.is_empty() || is_done) {
            // What goes on is mostly a piece of it: nothing is copied.
            let data = raw.split_to(decoded.used).freeze().slice(decoded.data);
            let data = self.filter(down, data, is_done, out).await?;
            self.write(down, &data, out, is_done).await?;
            drop(data);
            let _ = raw.try_reclaim(SIZE);
        } else {
            self.write(down, &raw[decoded.data], out, is_done).await?;
            raw.advance(decoded.used);
        }
        Ok(is_done)
    }

    async fn write<IO: AsyncRead + AsyncWrite + Unpin, E: Exchange>(
        &mut self,
        down: &mut Downstream<'_, '_, IO, E>,
        data: &[u8],
        out: &mut BytesMut,
        is_done: bool,
    ) -> Result<(), ExchangeError> {
        down.write_body(out, data, true, is_done).await?;
        if !data.is_empty() {
            self.between = down.exchange.advance(data);
        }
        Ok(())
    }

    /// What goes on of the next events.
    async fn filter<IO: AsyncRead + AsyncWrite + Unpin, E: Exchange>(
        &self,
        down: &mut Downstream<'_, '_, IO, E>,
        data: Bytes,
        is_done: bool,
        out: &mut BytesMut,
    ) -> Result<Bytes, ExchangeError> {
        let filtering = down.decided(Instant::now() + JUDGED, |exchange| {
            exchange.filter(data, is_done)
        });
        match filtering.await {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(Unfit { what, last })) => {
                if last.is_some() {
                    // The head, if nothing came before.
                    down.write_body(out, &[], true, false).await?;
                    down.end_events(true, last).await?;
                }
                Err(ExchangeError::Failed(Failed::Broken(what)))
            }
            Err(interrupted) => Err(interrupted.or_late(Failed::TimedOut("judging events"))),
        }
    }
}
