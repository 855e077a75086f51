//! What is noted of a request until its spans are made of it. All of it is the gateway's, the operator's or a
//! backend's own, and short.

use std::borrow::Cow;
use std::time::SystemTime;

use super::context::{RemoteContext, SpanId, TraceId};

/// A name of somebody else's is cut here, in bytes.
const LONGEST: usize = 128;

/// What a request asks for within MCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rpc {
    /// A method that MCP names, or `other`.
    pub(crate) method: &'static str,
    pub(crate) tool: Option<String>,
}

impl Rpc {
    /// A method that MCP names, or a word of the gateway's instead, and the tool that is called, as its
    /// backend lists it.
    pub fn new(method: &'static str, tool: Option<&str>) -> Self {
        Self {
            method,
            tool: tool.map(cut),
        }
    }
}

/// The backend that a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// As the operator calls it.
    pub name: String,
    /// Host and port, where it has such.
    pub address: Option<(String, u16)>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// In a word, that of the log and the metrics.
    pub outcome: &'static str,
    /// The code of the reason, where it was refused or failed.
    pub reason: Option<&'static str>,
    /// The status that the client was answered with, where that began.
    pub status: Option<u16>,
    /// Whether the gateway or a backend is at fault.
    pub is_fault: bool,
}

/// All that is noted of one request.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) trace: TraceId,
    pub(crate) server: SpanId,
    pub(crate) client: SpanId,
    /// The span that the request comes of.
    pub(crate) parent: Option<RemoteContext>,
    /// That of the transport, where the parent stands in the message.
    pub(crate) link: Option<RemoteContext>,
    pub(crate) request_id: String,
    /// Of HTTP.
    pub(crate) method: &'static str,
    pub(crate) http_version: &'static str,
    /// An endpoint of the gateway's, or a path that the operator gave a backend.
    pub(crate) route: Option<Cow<'static, str>>,
    pub(crate) mcp_version: Option<String>,
    pub(crate) rpc: Option<Rpc>,
    /// How many messages it brought.
    pub(crate) messages: usize,
    pub(crate) backend: Option<Backend>,
    pub(crate) began: SystemTime,
    /// When the backend was asked.
    pub(crate) asked: Option<SystemTime>,
    /// When the head of its answer was there, and with which status, as far as that went on.
    pub(crate) answered: Option<(SystemTime, Option<u16>)>,
}

/// A request that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) record: Record,
    pub(crate) ending: Ending,
    pub(crate) ended: SystemTime,
}

impl Finished {
    /// How many spans it is.
    pub(crate) fn spans(&self) -> u64 {
        1 + u64::from(self.record.asked.is_some())
    }
}

/// The beginning of a name, without what can't be seen.
fn cut(text: &str) -> String {
    let mut kept = String::new();
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if kept.len() + letter.len_utf8() > LONGEST {
            break;
        }
        kept.push(letter);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_visible() {
        assert_eq!(cut("a\u{0}b\n"), "ab");
        assert_eq!(cut(&"ü".repeat(1000)).len(), LONGEST);
        assert_eq!(Rpc::new("tools/call", Some("echo")).tool.unwrap(), "echo");
    }
}
