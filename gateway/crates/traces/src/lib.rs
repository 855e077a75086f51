//! Spans of requests, sent to a collector by OTLP over HTTP: one server span a request, and a client span
//! for what its backend was asked.
//!
//! A span has names of the gateway's and the operator's, and of tools those that their backend lists. It has
//! no argument, token, header, query, name of a person or address of a client: whoever makes a span here
//! has no way to put one in.
//!
//! Owns: the context of a trace (W3C Trace Context), what a span says and in which words (OpenTelemetry's
//! semantic conventions for HTTP and MCP), whether one is kept, and the way to the collector: bounded,
//! behind the backs of the calls, dropped and counted where it is too narrow. Not: when a request begins
//! and what was decided about it (`gateway-proxy`).
//!
//! Begin at [`Traces`] and [`RequestTrace`].

mod collector;
mod context;
mod exporter;
mod record;
mod request;
mod spans;
mod traces;

pub use self::collector::{Endpoint, EndpointError};
pub use self::context::{Propagated, RemoteContext};
pub use self::record::{Backend, Ending, Rpc};
pub use self::request::RequestTrace;
pub use self::traces::{Settings, Traces};
