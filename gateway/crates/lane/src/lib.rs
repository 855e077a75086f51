//! The fast lane: HTTP/1.1 on raw streams, for the MCP request that is plainly one.
//!
//! A connection is served here for as long as its requests are plain: a method, path and length that
//! every reader reads the same way, a body that fits in memory. The first one that is not goes the
//! other road, with every byte put back, and the connection with it.
//!
//! Owns: which heads are plain ([`Head`]), connections and their bounds ([`Limits`]), the exchange of
//! bytes with a backend, streams of events while they are silent. Not: who may send what, where it
//! goes and what of an answer comes back; [`Service`] and [`Exchange`] are asked. Not TLS, HTTP/2,
//! uploads, compression: those are the other road's.
//!
//! Begin at [`Lane::serve`], which is a loop around one request; `exchange.rs` is what happens between
//! its admission and the end of its answer, `stream.rs` what happens afterwards to a stream.
//!
//! # What is safe here, and why
//!
//! - Nothing is forwarded as it was read: both heads are spelled anew ([`HeadWriter`]), and framing is
//!   spelled by the lane alone, from the bytes that it has.
//! - A request is taken only if its head could not be read otherwise (`head.rs`), so that what is
//!   judged, what is forwarded and what the next request begins with can't differ.
//! - An answer with two readings is no answer (`response.rs`, `chunked.rs`); a connection on which a
//!   backend said more than it was asked is not used again.
//! - Requests that come before the answer to the one before are served in order, each under its own
//!   decision.
//! - No buffer, time or count is without a bound.

mod backend;
mod body;
mod buffers;
mod chunked;
mod client;
mod date;
mod downstream;
mod ending;
mod events;
mod exchange;
mod head;
mod lane;
mod limits;
mod lines;
mod plain;
mod receive;
mod response;
mod service;
mod spawn;
mod stream;
#[cfg(test)]
mod tests;
mod timer;
mod wire;
mod writer;

pub use self::backend::{Address, Backend};
pub use self::head::Head;
pub use self::lane::{Connection, Handover, Lane, Next};
pub use self::limits::Limits;
pub use self::response::{ResponseHead, is_bodiless};
pub use self::service::{
    Admission, Answer, End, Ending, Events, Exchange, Failed, Forward, HeadDecision, Outcome,
    ResponsePlan, Service, Unfit,
};
pub use self::spawn::spawn;
pub use self::stream::EventStream;
pub use self::writer::HeadWriter;
