//! Reading requests, each within its time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::time::Instant;

use super::head::{Index, Parsed};
use super::lane::{Connection, Shared};
use super::service::Exchange;
use super::timer::Timer;

/// What came in before the deadline.
pub(crate) enum Received {
    Head,
    OtherRoad,
    Nothing,
}

/// How reading a body ended.
pub(crate) enum BodyRead {
    Whole,
    Late,
    Gone,
    Full,
}

impl Shared {
    /// Reads up to the end of a head. A connection that waits for its next request ends once the
    /// gateway is `draining`.
    pub(crate) async fn read_head<IO>(
        &self,
        connection: &mut Connection<IO>,
        index: &mut Index,
        timer: &mut Timer<'_>,
        mut draining: Pin<&mut impl Future<Output = ()>>,
    ) -> Received
    where
        IO: AsyncRead + Unpin,
    {
        let (limits, buffers) = (&self.limits, &self.buffers);
        let begun = Instant::now();
        let is_first = connection.served == 0;
        let mut head_begun = (is_first || connection.client.waiting() > 0).then_some(begun);
        connection.client.shrink(buffers);
        loop {
            match connection.client.look(limits.head, index) {
                Parsed::Complete => return Received::Head,
                Parsed::NotPlain(_) => return Received::OtherRoad,
                Parsed::Incomplete => {}
            }
            let deadline = match head_begun {
                Some(begun) => begun + limits.head_time,
                None => begun + limits.idle,
            };
            let unpinned = deadline.min(begun + limits.pinned_for);
            let Connection { client, pinned, .. } = &mut *connection;
            let read = poll_fn(|context| {
                if let Poll::Ready(read) = client.poll_fill(0, buffers, context) {
                    return Poll::Ready(read.unwrap_or(0));
                }
                if head_begun.is_none() && draining.as_mut().poll(context).is_ready() {
                    return Poll::Ready(0);
                }
                if let Some(idle) = pinned {
                    if idle.poll_dead(context).is_ready() {
                        *pinned = None;
                    } else if timer.poll_passed(unpinned, context).is_pending() {
                        return Poll::Pending;
                    } else if let Some(idle) = pinned.take() {
                        self.pool.give(idle);
                    }
                }
                timer.poll_passed(deadline, context).map(|()| 0)
            })
            .await;
            if read == 0 {
                return Received::Nothing;
            }
            head_begun.get_or_insert_with(Instant::now);
        }
    }

    /// Reads until the whole body is there.
    pub(crate) async fn read_body<IO>(
        &self,
        connection: &mut Connection<IO>,
        exchange: &mut impl Exchange,
        length: usize,
        timer: &mut Timer<'_>,
    ) -> BodyRead
    where
        IO: AsyncRead + Unpin,
    {
        let (limits, buffers) = (&self.limits, &self.buffers);
        let deadline = Instant::now() + limits.body_time;
        let client = &mut connection.client;
        loop {
            if !exchange.collect(client.waiting().min(length)) {
                return BodyRead::Full;
            }
            if client.waiting() >= length {
                return BodyRead::Whole;
            }
            let missing = length - client.waiting();
            let read = poll_fn(|context| {
                if let Poll::Ready(read) = client.poll_fill(missing, buffers, context) {
                    return Poll::Ready(Some(read.unwrap_or(0)));
                }
                timer.poll_passed(deadline, context).map(|()| None)
            })
            .await;
            match read {
                Some(0) => return BodyRead::Gone,
                Some(_) => {}
                None => return BodyRead::Late,
            }
        }
    }

    /// Throws a body away that nobody wants: whether all of it came.
    pub(crate) async fn discard<IO>(
        &self,
        connection: &mut Connection<IO>,
        mut length: usize,
        timer: &mut Timer<'_>,
    ) -> bool
    where
        IO: AsyncRead + Unpin,
    {
        let deadline = Instant::now() + self.limits.linger;
        let client = &mut connection.client;
        loop {
            let here = length.min(client.waiting());
            drop(client.take(here));
            length -= here;
            if length == 0 {
                return true;
            }
            let read = poll_fn(|context| {
                if let Poll::Ready(read) = client.poll_fill(0, &self.buffers, context) {
                    return Poll::Ready(read.unwrap_or(0));
                }
                timer.poll_passed(deadline, context).map(|()| 0)
            });
            if read.await == 0 {
                return false;
            }
        }
    }
}
