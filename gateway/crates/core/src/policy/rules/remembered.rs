//! What was decided, kept for calls that differ in nothing that the policy goes by.

use std::net::IpAddr;

use quick_cache::Equivalent;

use super::facts::Message;
use mcp_protocol::tool_definition::Labels;

/// How many decisions are remembered, and the longest names among them.
pub(super) const REMEMBERED: usize = 8192;
pub(super) const LONGEST_REMEMBERED: usize = 256;

/// What a decision is remembered by. Asked for with borrowed texts, which hash as owned ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Remembered<T> {
    pub(super) token: T,
    /// The backend: one token may be for several.
    pub(super) backend: T,
    /// Whether it is about calls of a tool in general.
    pub(super) general: bool,
    pub(super) message: Message,
    pub(super) method: T,
    pub(super) name: Option<T>,
    pub(super) labels: Labels,
    pub(super) harmless: bool,
    pub(super) address: Option<IpAddr>,
    pub(super) protocol_version: Option<T>,
}

impl Remembered<&str> {
    pub(super) fn into_owned(self) -> Remembered<String> {
        Remembered {
            token: self.token.to_owned(),
            backend: self.backend.to_owned(),
            method: self.method.to_owned(),
            name: self.name.map(str::to_owned),
            protocol_version: self.protocol_version.map(str::to_owned),
            general: self.general,
            message: self.message,
            labels: self.labels,
            harmless: self.harmless,
            address: self.address,
        }
    }
}

impl Equivalent<Remembered<String>> for Remembered<&str> {
    fn equivalent(&self, kept: &Remembered<String>) -> bool {
        let kept = Remembered {
            token: kept.token.as_str(),
            backend: &kept.backend,
            method: &kept.method,
            name: kept.name.as_deref(),
            protocol_version: kept.protocol_version.as_deref(),
            general: kept.general,
            message: kept.message,
            labels: kept.labels,
            harmless: kept.harmless,
            address: kept.address,
        };
        *self == kept
    }
}
