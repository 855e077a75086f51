//! What the lane asks whoever decides. The lane moves bytes; what a request is, who may send it, where
//! it goes and what of an answer comes back is said here.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::backend::Backend;
use super::head::Head;
use super::response::ResponseHead;
use super::writer::HeadWriter;

/// Decides about the requests of all connections.
pub trait Service: Send + Sync + 'static {
    /// One request, from its head to the end of its answer.
    type Exchange: Exchange;

    /// What is remembered of a connection from one request to the next.
    type Memory: Default + Send;

    /// Looks at a head before any byte of its body is waited for. Dropped where the client leaves.
    fn begin(
        &self,
        head: &Head<'_>,
        peer: SocketAddr,
        memory: &mut Self::Memory,
    ) -> impl Future<Output = HeadDecision<Self::Exchange>> + Send;

    /// Whether connections are to end after the answer that they wait for.
    fn is_draining(&self) -> bool;

    /// Waits until they are: those that wait for a request end then.
    fn draining(&self) -> impl Future<Output = ()> + Send;
}

/// Ends an exchange from outside, some time: the right to it is gone, or the gateway stops.
pub type Ending = Pin<Box<dyn Future<Output = End> + Send>>;

/// What becomes of a request, by its head alone.
#[derive(Debug)]
pub enum HeadDecision<E> {
    /// It and whatever follows on its connection is for the other road.
    OtherRoad,
    /// It is answered at once; its body is thrown away.
    Answer(Answer),
    /// It is taken.
    Exchange(E),
}

/// Decides about one request. It is dropped when the exchange is over, whatever ended it, and moved
/// into the small task of a stream: it should be small by then.
///
/// What it waits for is dropped where the client leaves, and from [`Forward::ending`] on where that
/// ends it: nothing of the exchange is asked then but [`Exchange::refuse`] and [`Exchange::finished`].
pub trait Exchange: Send + Unpin + 'static {
    /// Decides with the body. Nothing of the answer has been written yet. What it waits for must be
    /// bounded.
    fn admit(&mut self, body: &Bytes) -> impl Future<Output = Admission> + Send;

    /// Spells the header lines of the request to the backend, `Host` among them. Framing is the
    /// lane's. Called again for a request that is sent again.
    fn write_request(&mut self, out: &mut HeadWriter<'_>);

    /// Looks at the head of the backend's answer and spells the client's: header lines without
    /// framing.
    fn respond(&mut self, head: &ResponseHead<'_>, out: &mut HeadWriter<'_>) -> ResponsePlan;

    /// Whether a request that the backend has refused without running it is sent once more, after
    /// [`ResponsePlan::Ask`]. An error is what is answered instead. What it waits for must be bounded.
    fn resend(&mut self) -> impl Future<Output = Result<(), Answer>> + Send;

    /// Judges a body that was collected. An error is what is answered instead.
    fn judge(&mut self, body: Bytes) -> impl Future<Output = Result<Bytes, Answer>> + Send;

    /// Judges the next bytes of a stream of events: what goes on of them. `is_end` with the last of
    /// them, which may be none. An error ends the stream improperly, or properly after its bytes.
    fn filter(
        &mut self,
        events: Bytes,
        is_end: bool,
    ) -> impl Future<Output = Result<Bytes, Unfit>> + Send;

    /// Follows what is written of a stream of events: whether it stands between two of them.
    fn advance(&mut self, written: &[u8]) -> bool;

    /// The answer where the exchange failed or ended before any byte of one was written.
    fn refuse(&mut self, why: &Failed) -> Answer;

    /// The client does not take its answer, and so many bytes are held for it; zero when it took
    /// them. `false` breaks the answer off.
    fn hold(&mut self, bytes: usize) -> bool;

    /// So many bytes are held of a body that is not whole yet: the request's, or an answer's that is
    /// judged. `false` refuses it.
    fn collect(&mut self, _bytes: usize) -> bool {
        true
    }

    /// So many bytes of the answer's body were written.
    fn sent(&mut self, _bytes: usize) {}

    /// From now on the exchange is a stream that waits for events.
    fn becomes_stream(&mut self);

    /// Silence was filled.
    fn kept_alive(&mut self) {}

    /// What came of it: once, at the end, unless the task of its connection is dropped.
    fn finished(&mut self, outcome: &Outcome);
}

/// A whole answer of the gateway's own.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, but for framing.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Whether the connection ends with it.
    pub closes: bool,
}

/// What becomes of a request that was read whole.
#[derive(Debug)]
pub enum Admission {
    /// It is answered here.
    Answer(Answer),
    /// It goes to a backend.
    Forward(Forward),
    /// It goes the other road after all, as if it had never been read.
    OtherRoad,
}

/// A request to a backend.
pub struct Forward {
    /// Where it goes.
    pub backend: Arc<Backend>,
    /// Connections that were used under one number are used under no other, nor without one: a backend
    /// may take whom a connection was opened for as the one who speaks on it.
    pub apart: Option<u64>,
    /// Path and query there.
    pub target: String,
    /// Its body; `None` for a request without one.
    pub body: Option<Bytes>,
    /// Whether sending it twice is the same as sending it once. What was not sent whole is sent again
    /// in any case.
    pub is_repeatable: bool,
    /// What ends it before its answer is complete.
    pub ending: Option<Ending>,
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward")
            .field("backend", &self.backend)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// How the body of an answer goes to the client.
#[derive(Debug)]
pub enum ResponsePlan {
    /// As it comes.
    Pass,
    /// Whole, after [`Exchange::judge`] has seen it; of at most so many bytes.
    Collect(usize),
    /// As events, each written as soon as it is there.
    Events(Events),
    /// Not at all: this is answered instead, and the backend's connection closed.
    Answer(Answer),
    /// Not at all: [`Exchange::resend`] says whether the request is sent once more as it was.
    Ask,
    /// Not at all: the request is sent again, once, to this path and query of the same backend.
    Resend(String),
}

/// How events go to the client.
#[derive(Clone, Copy, Debug)]
pub struct Events {
    /// The silence that is filled with a comment.
    pub keep_alive: Duration,
    /// Whether [`Exchange::filter`] sees them first.
    pub is_filtered: bool,
    /// Whether silence is expected: the stream is left to a small task at once.
    pub waits: bool,
}

/// What ends an exchange from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// What it is called in the log.
    pub cause: &'static str,
    /// What a stream of events says at its end, if it stands between two of them.
    pub farewell: Option<Bytes>,
}

/// Events that can't go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Why.
    pub what: String,
    /// What the stream properly ends with; `None` breaks it off.
    pub last: Option<Bytes>,
}

/// Why there is no answer of the backend's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// It was ended from outside.
    #[error("{}", .0.cause)]
    Ended(End),
    /// The client did not send the body in time.
    #[error("the body did not come in time")]
    SlowBody,
    /// There is no connection to the backend: what the system says, and its number of it.
    #[error("can't connect: {0}")]
    Unreachable(String, Option<i32>),
    /// The backend took too long for this.
    #[error("it took too long for {0}")]
    TimedOut(&'static str),
    /// The backend closed the connection before the whole request was sent, so it ran nothing.
    #[error("the connection broke before the request was sent: {0}")]
    NotSent(std::io::ErrorKind),
    /// It closed the connection before the first byte of an answer. Whether it ran the request is
    /// unknown.
    #[error("the connection broke before an answer: {0}")]
    NoAnswer(std::io::ErrorKind),
    /// It broke off, or what it says is not HTTP, or is read in several ways.
    #[error("the answer is broken: {0}")]
    Broken(String),
    /// The body to be collected is larger than what was allowed.
    #[error("the answer is too large")]
    TooLarge,
    /// It redirects once more.
    #[error("it redirects again")]
    Redirected,
    /// A value can't be put in a header.
    #[error("a value can't be put in a header")]
    Unspeakable,
    /// The client does not take its answer, and no more may be held for it.
    #[error("no more may be held for the client")]
    Full,
}

/// What came of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer is complete, and written.
    Done,
    /// An answer of the gateway's own was written.
    Answered(StatusCode),
    /// The client went away, or did not read or send in time.
    ClientGone,
    /// It was ended from outside while the answer was written.
    Ended(&'static str),
    /// It failed while the answer was written, which is broken off.
    Failed(Failed),
    /// It went the other road.
    OtherRoad,
}
