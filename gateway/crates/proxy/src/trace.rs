//! What the trace of a request is told of what was decided about it.
//!
//! Owns: which method and tool a span names, and what of a message is its context. Not: what a span is made
//! of, and whether it is kept (`gateway-traces`).

use super::mounted_backend::MountedBackend;
use gateway_metrics::RpcMethod;
use gateway_traces::{Backend, RemoteContext, RequestTrace, Rpc};
use gateway_upstream::Address;
use mcp_protocol::calls::{Call, Version};
use mcp_protocol::jsonrpc::Body;

/// What a tool counts as that its backend does not list: its name may be anything.
const OTHER: &str = "other";

/// Notes what a request asks for: its first message. `revision`: as its header names it. Called once it is
/// known whether the trace is kept: of others nothing is noted.
pub(super) fn asks(
    trace: &RequestTrace,
    mounted: &MountedBackend,
    calls: &[Call],
    revision: Option<&str>,
    is_listed: impl Fn(&str) -> bool,
) {
    if !trace.is_kept() {
        return;
    }
    let backend = Backend {
        name: mounted.backend.mount.name.clone(),
        address: match &mounted.backend.address {
            Address::Tcp { host, port, .. } => Some((host.clone(), *port)),
            Address::Unix(_) | Address::Within => None,
        },
    };
    // An answer of the client's has no method.
    let first = calls.first().filter(|call| !call.method.is_empty());
    let rpc = first.map(|call| {
        let listed = |tool| if is_listed(tool) { tool } else { OTHER };
        let method = RpcMethod::from_name(&call.method).as_str();
        Rpc::new(method, call.tool().map(listed))
    });
    // One that is none may be anything.
    let revision = revision.filter(|text| Version::parse(text.as_bytes()).is_some());
    trace.asks(backend, rpc, calls.len(), revision);
}

/// What the first message says of the trace that it belongs to, in its `_meta`.
pub(super) fn message_context(messages: &Body) -> Option<RemoteContext> {
    let message = messages.messages().first()?;
    // Hardly any has one, and to look is cheaper than to read.
    memchr::memmem::find(message.text(), b"traceparent")?;
    let meta = message.meta();
    let state = meta.text("tracestate");
    RemoteContext::parse(&meta.text("traceparent")?, state.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_protocol::Message;

    #[test]
    fn only_meta_says_where_a_message_comes_from() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = |params: &str| {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{params}}}"#);
            message_context(&Body::One(Message::parse(&text).unwrap()))
        };
        let meta = format!(r#"{{"_meta":{{"traceparent":"{parent}","tracestate":"a=1"}}}}"#);
        assert_eq!(
            context(&meta),
            RemoteContext::parse(parent, Some("a=1")),
            "{meta}"
        );
        for other in [
            "{}".to_owned(),
            format!(r#"{{"traceparent":"{parent}"}}"#),
            format!(r#"{{"arguments":{{"_meta":{{"traceparent":"{parent}"}}}}}}"#),
            r#"{"_meta":{"traceparent":1}}"#.to_owned(),
        ] {
            assert_eq!(context(&other), None, "{other}");
        }
    }
}
