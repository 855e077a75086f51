//! `gateway doctor`: does from outside what ChatGPT and Claude do, in their order, and says what
//! would stop them.
//!
//! An outside observer: it knows the gateway by its URL alone and shares no code with what answers
//! there, but for the words of the protocol. [`Check`] is the one table of checks. `probes` makes
//! the exchanges, in order; `checks` turns recorded exchanges into findings and touches no network;
//! a fault is told by one check, and what depends on it is skipped rather than blamed.
//!
//! Its requests change nothing but what an app that connects changes: a client named
//! "Gateway doctor" is registered (the same at every run), and the grant it gets is revoked at the
//! end. It calls no tool but `search` and `fetch`, and only when they say that they only read.
//!
//! Owns: checks and what they mean. Not: anything of what it examines, apart from the words of
//! `gateway-core` and `mcp-protocol`.
//!
//! Begin at [`examine`].

mod browser;
mod callback;
mod check;
mod checks;
mod exchange;
mod finding;
mod form;
mod http_client;
mod options;
mod private;
mod probes;
mod stream_recorder;
mod target;
mod trust;

pub use self::check::Check;
pub use self::checks::streams::FirstEvent;
pub use self::finding::{Finding, Report, Verdict};
pub use self::options::{Login, Options};
pub use self::probes::examine;
pub use self::probes::first_event::first_event;
pub use self::target::{Target, TargetError};
pub use self::trust::TrustError;
