//! Keys: what is asked and answered.

use clap::Args;
use serde::{Deserialize, Serialize};

/// The signing keys, lowest number first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPage {
    /// All of them.
    pub keys: Vec<KeyView>,
}

/// A signing key as the operator sees it. Times are in RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its number.
    pub key: u32,
    /// `signs`, `waits`, `verifies`, `over` or `revoked`.
    pub state: String,
    /// When that changes by itself.
    pub until: Option<String>,
    /// When the first replica saw it.
    pub since: String,
    /// The public half, in hexadecimal.
    pub public: String,
}

/// A signing key that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeKey {
    /// Its number.
    pub made: u32,
    /// Whether there may be other replicas, which take it up within seconds.
    pub shared: bool,
    /// All keys.
    pub keys: Vec<KeyView>,
}

/// Signing keys by their numbers.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysToRevoke {
    /// The numbers of the keys
    #[arg(value_name = "KEY", required = true, num_args = 1..=100)]
    pub keys: Vec<u32>,
}

/// It is in the keys folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminTokenChanged {
    /// Whether it is another.
    pub changed: bool,
}
