//! One admitted request and its answer: a connection to the backend, the request, the answer's head,
//! its body.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::backend::{Backend, BackendConnection, SharedBy};
use super::downstream::{Downstream, ExchangeError, Interrupted};
use super::ending::WatchedEnding;
use super::events::{EventRelay, JUDGED};
use super::lane::Shared;
use super::response::{self, Framing, ResponseHead, ResponseIndex, is_bodiless};
use super::service::{Answer, Events, Exchange, Failed, Forward, ResponsePlan};
use super::wire::Writing;
use super::writer::{BodyFraming, HeadWriter};

/// Connecting keeps to its own time, and knows best why it came to nothing.
const CONNECT_MARGIN: Duration = Duration::from_secs(1);

/// A backend that answers before it has read the whole request may break it off.
const EARLY_ANSWER: Duration = Duration::from_secs(1);

/// An exchange while this task works at it.
pub(crate) struct ActiveExchange<'a, 't, IO, E> {
    pub(crate) shared: &'a Shared,
    pub(crate) down: Downstream<'a, 't, IO, E>,
    /// The connection to a backend that goes with the client's.
    pub(crate) pinned: &'a mut Option<BackendConnection>,
    /// What is spelled out and not written yet.
    pub(crate) out: &'a mut BytesMut,
    /// The request's.
    pub(crate) method: Method,
    /// Whether the client's connection ends after the answer.
    pub(crate) closes: bool,
}

/// What came of a request to a backend.
pub(crate) enum Relayed {
    /// Its answer is written.
    Done,
    /// This is to be answered instead.
    Answer(Answer),
    /// Its answer is a stream that is silent now.
    Stream(Box<Streaming>),
}

/// A stream that is left to a task of its own.
pub(crate) struct Streaming {
    pub(crate) connection: BackendConnection,
    pub(crate) relay: EventRelay,
    /// Whether the backend's connection may carry another request afterwards.
    pub(crate) is_kept: bool,
    /// What ends it from outside.
    pub(crate) ending: Option<WatchedEnding>,
}

/// The body of an answer and how it goes on.
struct Relay {
    connection: BackendConnection,
    framing: Framing,
    is_kept: bool,
    silence: Duration,
}

impl<IO: AsyncRead + AsyncWrite + Unpin, E: Exchange> ActiveExchange<'_, '_, IO, E> {
    /// Exchanges a request and its answer with the backend.
    pub(crate) async fn forward(&mut self, mut forward: Forward) -> Result<Relayed, ExchangeError> {
        let (mut is_fresh, mut is_resent) = (false, false);
        self.down.client.shed();
        loop {
            self.down.is_wanted().await?;
            let mut connection = self
                .connect(&forward.backend, forward.apart, is_fresh)
                .await?;
            let index = match self.ask(&mut connection, &mut forward).await {
                Err(ExchangeError::Failed(failed))
                    if connection.is_reused && may_repeat(&failed, forward.is_repeatable) =>
                {
                    is_fresh = true;
                    continue;
                }
                asked => asked?,
            };
            self.out.clear();
            let answer = ResponseHead::new(&connection.buffer, &index);
            let mut writer = HeadWriter::response(self.out, index.status, &self.shared.date());
            let plan = self.down.exchange.respond(&answer, &mut writer);
            let relay = |mut connection: BackendConnection| {
                connection.buffer.advance(index.end);
                Relay {
                    connection,
                    framing: index.framing.clone(),
                    is_kept: index.is_kept,
                    silence: forward.backend.response_time,
                }
            };
            let is_bodiless = is_bodiless(index.status);
            if !matches!(plan, ResponsePlan::Resend(_) | ResponsePlan::Ask) {
                // It is sent for good. An answer may last for hours.
                forward.body = None;
            }
            return match plan {
                ResponsePlan::Resend(_) if is_resent => {
                    Err(ExchangeError::Failed(Failed::Redirected))
                }
                ResponsePlan::Resend(target) => {
                    (is_resent, forward.target) = (true, target);
                    continue;
                }
                ResponsePlan::Ask => match self.may_resend().await? {
                    None => continue,
                    Some(answer) => Ok(Relayed::Answer(answer)),
                },
                ResponsePlan::Answer(answer) => Ok(Relayed::Answer(answer)),
                ResponsePlan::Pass => {
                    let body = match index.framing {
                        Framing::Empty if is_bodiless => BodyFraming::None,
                        Framing::Empty => BodyFraming::Length(0),
                        Framing::Length(length) => BodyFraming::Length(length),
                        Framing::Chunked(_) | Framing::Close => BodyFraming::Chunked,
                    };
                    spelled(writer.end(body, self.closes))?;
                    let is_chunked = body == BodyFraming::Chunked;
                    self.pass(relay(connection), is_chunked).await
                }
                ResponsePlan::Collect(most) => {
                    spelled(writer.pause())?;
                    self.collect(relay(connection), most, is_bodiless).await
                }
                ResponsePlan::Events(events) => {
                    spelled(writer.end(BodyFraming::Chunked, self.closes))?;
                    self.follow(relay(connection), events).await
                }
            };
        }
    }

    /// Asks whether a refused request is sent once more; else what is answered.
    async fn may_resend(&mut self) -> Result<Option<Answer>, ExchangeError> {
        let asking = self
            .down
            .decided(Instant::now() + JUDGED, |exchange| exchange.resend());
        match asking.await {
            Ok(Ok(())) => Ok(None),
            Ok(Err(answer)) => Ok(Some(answer)),
            Err(interrupted) => {
                let late = Failed::TimedOut("deciding whether to send it again");
                Err(interrupted.or_late(late))
            }
        }
    }

    /// The connection that goes with the client's, an idle one, or a new one.
    async fn connect(
        &mut self,
        backend: &Backend,
        apart: Option<u64>,
        is_fresh: bool,
    ) -> Result<BackendConnection, ExchangeError> {
        if !is_fresh {
            let shared_by = SharedBy {
                backend: backend.id,
                apart,
            };
            let pinned = self.pinned.take();
            let kept_for = self.shared.limits.kept_for;
            let alive = pinned.and_then(|pinned| pinned.alive(kept_for));
            let own = match alive {
                Some(other) if other.shared_by != shared_by => {
                    self.shared.pool.give(other);
                    None
                }
                own => own,
            };
            if let Some(connection) = own.or_else(|| self.shared.pool.take(shared_by)) {
                return Ok(connection);
            }
        }
        // Boxed: it happens seldom.
        let mut opening = Box::pin(BackendConnection::open(backend, apart));
        let deadline = Instant::now() + backend.connect_time + CONNECT_MARGIN;
        let opened = self
            .down
            .watched(deadline, |context| opening.as_mut().poll(context))
            .await;
        let late = Failed::TimedOut("connecting");
        opened
            .map_err(|interrupted| interrupted.or_late(late))?
            .map_err(ExchangeError::Failed)
    }

    /// Sends the request and reads up to the head of the final answer.
    async fn ask(
        &mut self,
        connection: &mut BackendConnection,
        // What ends it is shared with nobody, so that neither is this.
        forward: &mut Forward,
    ) -> Result<ResponseIndex, ExchangeError> {
        self.out.clear();
        let mut writer = HeadWriter::request(self.out, &self.method, &forward.target);
        self.down.exchange.write_request(&mut writer);
        let body = forward.body.as_deref();
        let framing = body.map_or(BodyFraming::None, |body| {
            BodyFraming::Length(body.len() as u64)
        });
        spelled(writer.end(framing, false))?;

        let deadline = Instant::now() + forward.backend.response_time;
        let mut writing = Writing::new([&self.out[..], body.unwrap_or_default()]);
        let sent = self
            .down
            .watched(deadline, |context| {
                connection.poll_write(&mut writing, context)
            })
            .await
            .map_err(late_answer)?;
        match sent {
            Ok(()) => self.read_head(connection, deadline).await,
            // It may have answered without reading all of it (413): the answer counts.
            Err(error) => {
                let deadline = Instant::now() + EARLY_ANSWER;
                match self.read_head(connection, deadline).await {
                    Ok(mut index) => {
                        index.is_kept = false;
                        Ok(index)
                    }
                    Err(ExchangeError::Failed(failed)) if !matches!(failed, Failed::Ended(_)) => {
                        Err(ExchangeError::Failed(Failed::NotSent(error.kind())))
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    async fn read_head(
        &mut self,
        connection: &mut BackendConnection,
        deadline: Instant,
    ) -> Result<ResponseIndex, ExchangeError> {
        let (most, mut index) = (self.shared.limits.response_head, ResponseIndex::default());
        let mut is_informed = false;
        loop {
            // As many informational ones as come in time: nothing of them is kept.
            while response::parse(&mut connection.buffer, most, &mut index).map_err(broken)? {
                if !index.status.is_informational() {
                    return Ok(index);
                }
                is_informed = true;
                if index.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Err(broken("it switched protocols unasked"));
                }
                connection.buffer.advance(index.end);
            }
            let buffers = &self.shared.buffers;
            let read = self
                .down
                .watched(deadline, |context| connection.poll_fill(buffers, context))
                .await
                .map_err(late_answer)?;
            let kind = match read {
                Ok(read) if read > 0 => continue,
                Ok(_) => io::ErrorKind::UnexpectedEof,
                Err(error) => error.kind(),
            };
            let has_answered = is_informed || !connection.buffer.is_empty();
            return Err(if has_answered {
                broken("it broke off")
            } else {
                ExchangeError::Failed(Failed::NoAnswer(kind))
            });
        }
    }

    /// Takes a body to the client as it comes. Its head waits for the first of its bytes, so that both
    /// go in one piece, and so that what fails before them can still be answered.
    async fn pass(&mut self, mut relay: Relay, is_chunked: bool) -> Result<Relayed, ExchangeError> {
        loop {
            let decoded = relay.framing.decode(&mut relay.connection.buffer);
            let decoded = decoded.map_err(broken)?;
            let is_done = relay.framing.is_done();
            if is_done || !decoded.data.is_empty() {
                let data = &relay.connection.buffer[decoded.data];
                self.down
                    .write_body(self.out, data, is_chunked, is_done)
                    .await?;
            }
            relay.connection.buffer.advance(decoded.used);
            if is_done {
                self.give_back(relay.connection, relay.is_kept);
                return Ok(Relayed::Done);
            }
            self.settle();
            self.read_on(&mut relay).await?;
        }
    }

    /// Gives back what only the request and the head of its answer needed, once that is written: the
    /// rest may take its time, and its client.
    fn settle(&mut self) {
        if self.out.is_empty() && self.out.capacity() > 0 {
            let buffers = &self.shared.buffers;
            buffers.give(std::mem::take(self.out));
            self.down.client.shrink(buffers);
        }
    }

    /// Reads the whole of a body, has it judged, and writes it.
    async fn collect(
        &mut self,
        mut relay: Relay,
        most: usize,
        is_bodiless: bool,
    ) -> Result<Relayed, ExchangeError> {
        let mut body = BytesMut::new();
        loop {
            let decoded = relay.framing.decode(&mut relay.connection.buffer);
            let decoded = decoded.map_err(broken)?;
            let data = &relay.connection.buffer[decoded.data];
            if body.len() + data.len() > most {
                return Err(ExchangeError::Failed(Failed::TooLarge));
            }
            body.extend_from_slice(data);
            if !self.down.exchange.collect(body.len()) {
                return Err(ExchangeError::Failed(Failed::Full));
            }
            relay.connection.buffer.advance(decoded.used);
            if relay.framing.is_done() {
                break;
            }
            self.read_on(&mut relay).await?;
        }
        self.give_back(relay.connection, relay.is_kept);
        let body = body.freeze();
        let judging = self
            .down
            .decided(Instant::now() + JUDGED, |exchange| exchange.judge(body));
        let body = match judging.await {
            Ok(Ok(body)) => body,
            Ok(Err(answer)) => return Ok(Relayed::Answer(answer)),
            Err(interrupted) => {
                return Err(interrupted.or_late(Failed::TimedOut("judging the answer")));
            }
        };
        let framing = if is_bodiless {
            BodyFraming::None
        } else {
            BodyFraming::Length(body.len() as u64)
        };
        spelled(HeadWriter::resume(self.out).end(framing, self.closes))?;
        let body = if is_bodiless { Bytes::new() } else { body };
        self.down.write_body(self.out, &body, false, true).await?;
        Ok(Relayed::Done)
    }

    /// Takes events to the client until they end or fall silent.
    async fn follow(&mut self, relay: Relay, events: Events) -> Result<Relayed, ExchangeError> {
        let mut connection = relay.connection;
        let mut relay_events = EventRelay {
            framing: relay.framing,
            events,
            between: true,
        };
        let quiet = if events.waits {
            Duration::ZERO
        } else {
            self.shared.limits.quiet
        };
        loop {
            let passing = relay_events.pass(&mut self.down, &mut connection.buffer, self.out);
            match passing.await {
                Ok(true) => {
                    self.give_back(connection, relay.is_kept);
                    return Ok(Relayed::Done);
                }
                Ok(false) => self.settle(),
                Err(error) => return Err(self.end_events(&relay_events, error).await),
            }
            let (deadline, buffers) = (Instant::now() + quiet, &self.shared.buffers);
            let read = self
                .down
                .watched(deadline, |context| connection.poll_fill(buffers, context))
                .await;
            match read {
                Ok(Ok(read)) if read > 0 => {}
                Ok(Ok(_)) => relay_events.framing.end().map_err(broken)?,
                Ok(Err(_)) => return Err(broken("it broke off")),
                Err(Interrupted::Late) => {
                    connection.shrink(&self.shared.buffers);
                    return Ok(Relayed::Stream(Box::new(Streaming {
                        connection,
                        relay: relay_events,
                        is_kept: relay.is_kept,
                        ending: self.down.ending.take(),
                    })));
                }
                Err(interrupted) => {
                    let error = interrupted.or_late(Failed::Full);
                    return Err(self.end_events(&relay_events, error).await);
                }
            }
        }
    }

    /// Ends a stream that was ended from outside, properly.
    async fn end_events(&mut self, relay: &EventRelay, error: ExchangeError) -> ExchangeError {
        if let ExchangeError::Failed(Failed::Ended(end)) = &error
            && self.down.has_begun
        {
            let farewell = end.farewell.clone();
            if let Err(error) = self.down.end_events(relay.between, farewell).await {
                return error;
            }
        }
        error
    }

    async fn read_on(&mut self, relay: &mut Relay) -> Result<(), ExchangeError> {
        let deadline = Instant::now() + relay.silence;
        let (buffers, connection) = (&self.shared.buffers, &mut relay.connection);
        let late = Failed::TimedOut("the rest of the response");
        let read = self
            .down
            .watched(deadline, |context| connection.poll_fill(buffers, context))
            .await
            .map_err(|interrupted| interrupted.or_late(late))?;
        match read {
            Ok(0) => relay.framing.end().map_err(broken),
            Ok(_) => Ok(()),
            Err(_) => Err(broken("it broke off")),
        }
    }

    /// Keeps a connection for the next request, unless something stands on it that nobody asked for.
    fn give_back(&mut self, connection: BackendConnection, is_kept: bool) {
        if is_kept && connection.buffer.is_empty() {
            *self.pinned = Some(connection.into_idle(&self.shared.buffers));
        }
    }
}

/// A kept connection may turn out to be dead. What was not sent whole was not run; what was sent and
/// not answered may have been, so it is repeated only if that changes nothing.
const fn may_repeat(failed: &Failed, is_repeatable: bool) -> bool {
    match failed {
        Failed::NotSent(_) => true,
        Failed::NoAnswer(_) => is_repeatable,
        _ => false,
    }
}

fn late_answer(interrupted: Interrupted) -> ExchangeError {
    interrupted.or_late(Failed::TimedOut("the head of the response"))
}

fn broken(what: &'static str) -> ExchangeError {
    ExchangeError::Failed(Failed::Broken(what.to_owned()))
}

const fn spelled(is_spelled: bool) -> Result<(), ExchangeError> {
    if is_spelled {
        Ok(())
    } else {
        Err(ExchangeError::Failed(Failed::Unspeakable))
    }
}
