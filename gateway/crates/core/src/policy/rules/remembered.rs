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

impl<T> Remembered<T> {
    /// The same with other texts.
    fn with_texts<'t, U>(&'t self, text: impl Fn(&'t T) -> U) -> Remembered<U> {
        Remembered {
            token: text(&self.token),
            backend: text(&self.backend),
            method: text(&self.method),
            name: self.name.as_ref().map(&text),
            protocol_version: self.protocol_version.as_ref().map(&text),
            general: self.general,
            message: self.message,
            labels: self.labels,
            harmless: self.harmless,
            address: self.address,
        }
    }
}

impl Remembered<&str> {
    pub(super) fn into_owned(self) -> Remembered<String> {
        self.with_texts(|text| (*text).to_owned())
    }
}

impl Equivalent<Remembered<String>> for Remembered<&str> {
    fn equivalent(&self, kept: &Remembered<String>) -> bool {
        *self == kept.with_texts(String::as_str)
    }
}
