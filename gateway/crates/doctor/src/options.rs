//! What is examined, and how.

use std::path::PathBuf;
use std::time::Duration;

use crate::target::Target;
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
    /// Nobody has to: this token is used, and stays as it is. What would end it or show it is skipped.
    Token(Secret),
    /// The doctor itself fills in the forms.
    Unattended {
        /// As typed into the login form.
        name: String,
        /// As typed into the login form.
        password: Secret,
    },
}
