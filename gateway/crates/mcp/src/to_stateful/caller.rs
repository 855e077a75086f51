//! What a stateless request says of its sender.

use serde_json::value::RawValue;

use super::LEVELS;
use crate::id::Id;
use crate::message::Message;
use crate::meta;
use crate::object::Object;
use crate::revision::STATELESS;
use crate::rpc_error::{RpcError, code};

/// The sender of a stateless request, as `_meta` describes it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What it can do.
    pub capabilities: Object,
    info: Option<Box<RawValue>>,
    level: Option<usize>,
    /// The token under which it wants progress notifications.
    pub progress_token: Option<Id>,
}

/// Why a request is not of 2026-07-28.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A member that every request must carry is missing.
    #[error("_meta lacks a required member: {0}")]
    Incomplete(&'static str),
    /// It is of another revision.
    #[error("the protocol version {0} is not spoken here")]
    Version(String),
}

impl Refused {
    /// The response; its HTTP status is 400.
    pub fn response(&self, id: Option<&Id>) -> Message {
        let error = match self {
            Self::Incomplete(name) => {
                RpcError::new(code::INVALID_PARAMS, &format!("_meta lacks {name}"))
            }
            Self::Version(requested) => RpcError::unsupported_version(requested),
        };
        Message::error(id, &error)
    }
}

impl Caller {
    /// Reads `_meta` (2026-07-28, Base Protocol, Per-request protocol fields).
    pub fn from_message(request: &Message) -> Result<Self, Refused> {
        let meta = request.meta();
        let version = meta.text(meta::VERSION);
        let version = version.ok_or(Refused::Incomplete(meta::VERSION))?;
        if version != STATELESS {
            return Err(Refused::Version(version));
        }
        let capabilities = meta.object(meta::CLIENT_CAPABILITIES);
        let capabilities = capabilities.ok_or(Refused::Incomplete(meta::CLIENT_CAPABILITIES))?;
        Ok(Self {
            capabilities,
            info: meta.raw(meta::CLIENT_INFO).map(ToOwned::to_owned),
            level: rank(meta.text(meta::LOG_LEVEL)),
            progress_token: request.progress_token(),
        })
    }

    /// Whether it declared `capability.part`. Elicitation without parts means forms (2025-11-25,
    /// Elicitation, Capabilities).
    pub fn can(&self, capability: &str, part: &str) -> bool {
        let parts = self.capabilities.object(capability);
        parts.is_some_and(|parts| parts.has(part))
    }

    /// Its `clientInfo`; a name for one that gave none, because `initialize` demands one.
    pub fn client_info(&self) -> Box<RawValue> {
        self.info.clone().unwrap_or_else(unknown_peer)
    }

    /// What tells two callers apart that can't share a session: what they can do and who they are.
    pub fn identity(&self) -> String {
        format!("{} {}", self.capabilities, self.client_info())
    }

    /// Whether it wants log messages of this level: none, unless it asked for them.
    pub(super) fn wants(&self, level: Option<String>) -> bool {
        self.level.is_some() && rank(level) >= self.level
    }
}

/// What stands for a peer that does not say who it is.
pub(crate) fn unknown_peer() -> Box<RawValue> {
    RawValue::from_string(r#"{"name":"unknown","version":"0"}"#.to_owned())
        .expect("the text is JSON")
}

/// The place of a log level among all.
fn rank(level: Option<String>) -> Option<usize> {
    LEVELS
        .iter()
        .position(|known| Some(*known) == level.as_deref())
}
