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
mod private;
mod probes;
mod stream_recorder;
mod target;
mod trust;

use std::path::PathBuf;
use std::time::Duration;

pub use self::check::Check;
pub use self::finding::{Finding, Report, Verdict};
pub use self::probes::examine;
pub use self::target::{Target, TargetError};
pub use self::trust::TrustError;
use gateway_core::secret::Secret;

/// What is examined, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The MCP URL.
    pub target: Target,
    /// Who logs in.
    pub login: Login,
    /// Certificates to trust beside those of this machine, in PEM.
    pub ca_file: Option<PathBuf>,
    /// For one exchange.
    pub timeout: Duration,
    /// Leave out what takes a minute: the idle stream.
    pub quick: bool,
}

/// Who logs in and decides, for the flow with a token.
#[derive(Clone, Debug)]
pub enum Login {
    /// Nobody: what needs a token is skipped.
    Nobody,
    /// The operator, with a browser on this machine.
    Operator {
        /// How long to wait for the operator.
        patience: Duration,
    },
    /// The doctor itself fills in the forms.
    Unattended {
        /// As typed into the login form.
        name: String,
        /// As typed into the login form.
        password: Secret,
    },
}
