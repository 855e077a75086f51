//! Spans in OTLP's own messages, by OpenTelemetry's semantic conventions for HTTP and for MCP. What has no
//! word there begins with `gateway.`.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost_0_14::Message as _;

use super::context::{RemoteContext, SpanId};
use super::record::{Ending, Finished, Record};

/// Bit 0 of a span's flags: the trace is kept.
const SAMPLED: u32 = 0x001;

/// It is known whether the parent is another process.
const HAS_REMOTE: u32 = 0x100;

/// The parent is another process.
const IS_REMOTE: u32 = 0x200;

/// Who sends the spans.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) service_name: String,
    /// Tells replicas apart, from start to end.
    pub(crate) instance: String,
}

/// The body of one request to a collector.
pub(crate) fn encode(sender: &Sender, requests: &[Finished]) -> Bytes {
    let version = env!("CARGO_PKG_VERSION");
    let scope = InstrumentationScope {
        name: "cupcake-gateway".to_owned(),
        version: version.to_owned(),
        ..InstrumentationScope::default()
    };
    let resource = Resource {
        attributes: vec![
            text("service.name", &sender.service_name),
            text("service.version", version),
            text("service.instance.id", &sender.instance),
        ],
        ..Resource::default()
    };
    let spans = requests.iter().flat_map(|request| {
        let client = client_span(request);
        std::iter::once(server_span(request)).chain(client)
    });
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    Bytes::from(request.encode_to_vec())
}

/// The request as its client made it.
fn server_span(finished: &Finished) -> Span {
    let Finished { record, ending, .. } = finished;
    let mut attributes = said(record);
    attributes.push(text("network.protocol.name", "http"));
    attributes.push(text("network.protocol.version", record.http_version));
    attributes.push(text("gateway.request_id", &record.request_id));
    attributes.push(text("gateway.outcome", ending.outcome));
    attributes.extend(record.route.as_ref().map(|it| text("http.route", it)));
    attributes.extend(ending.reason.map(|it| text("gateway.reason", it)));
    attributes.extend(ending.status.map(status_code));
    // What a client did wrong is no error of the span that serves it.
    let fault = error_type(ending, ending.status, 500);
    attributes.extend(fault.as_ref().map(|it| text("error.type", it)));
    let parent = record.parent.as_ref();
    let remote = parent.map_or(0, |_| IS_REMOTE);
    Span {
        parent_span_id: parent.map_or_else(Vec::new, |parent| bytes(parent.span)),
        flags: SAMPLED | HAS_REMOTE | remote,
        kind: SpanKind::Server.into(),
        links: record.link.iter().map(link).collect(),
        attributes,
        status: status(fault.is_some()),
        ..span(finished, record.server, record.began)
    }
}

/// What its backend was asked.
fn client_span(finished: &Finished) -> Option<Span> {
    let Finished { record, ending, .. } = finished;
    let asked = record.asked?;
    let mut attributes = said(record);
    if let Some((host, port)) = record.backend.as_ref().and_then(|it| it.address.as_ref()) {
        attributes.push(text("server.address", host));
        attributes.push(number("server.port", (*port).into()));
    }
    // Not that of the request, which may be the gateway's own.
    let answered = record.answered.and_then(|(_, status)| status);
    attributes.extend(answered.map(status_code));
    let fault = error_type(ending, answered, 400);
    attributes.extend(fault.as_ref().map(|it| text("error.type", it)));
    let head = record.answered.map(|(at, _)| Event {
        time_unix_nano: nanoseconds(at),
        name: "gateway.response_head".to_owned(),
        ..Event::default()
    });
    Some(Span {
        parent_span_id: bytes(record.server),
        flags: SAMPLED | HAS_REMOTE,
        kind: SpanKind::Client.into(),
        attributes,
        events: head.into_iter().collect(),
        status: status(fault.is_some()),
        ..span(finished, record.client, asked)
    })
}

/// What both spans have.
fn span(finished: &Finished, id: SpanId, from: SystemTime) -> Span {
    let record = &finished.record;
    let state = record.parent.as_ref().map(|parent| parent.state.clone());
    Span {
        trace_id: record.trace.0.to_be_bytes().to_vec(),
        span_id: bytes(id),
        trace_state: state.unwrap_or_default(),
        name: name(record),
        start_time_unix_nano: nanoseconds(from),
        end_time_unix_nano: nanoseconds(finished.ended.max(from)),
        ..Span::default()
    }
}

/// `{mcp.method.name} {gen_ai.tool.name}`, else `{http.request.method} {http.route}`.
fn name(record: &Record) -> String {
    match (&record.rpc, &record.route) {
        (Some(rpc), _) => match &rpc.tool {
            Some(tool) => format!("{} {tool}", rpc.method),
            None => rpc.method.to_owned(),
        },
        (None, Some(route)) => format!("{} {route}", record.method),
        (None, None) => record.method.to_owned(),
    }
}

fn said(record: &Record) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(16);
    attributes.push(text("http.request.method", record.method));
    if let Some(rpc) = &record.rpc {
        attributes.push(text("mcp.method.name", rpc.method));
        if let Some(tool) = &rpc.tool {
            attributes.push(text("gen_ai.operation.name", "execute_tool"));
            attributes.push(text("gen_ai.tool.name", tool));
        }
    }
    if record.messages > 1 {
        let messages = i64::try_from(record.messages).unwrap_or(i64::MAX);
        attributes.push(number("gateway.messages", messages));
    }
    let revision = record.mcp_version.as_ref();
    attributes.extend(revision.map(|it| text("mcp.protocol.version", it)));
    let backend = record.backend.as_ref();
    attributes.extend(backend.map(|it| text("gateway.backend", &it.name)));
    attributes
}

/// Why a span is one of an error; `least`: the first status that is one.
fn error_type(ending: &Ending, status: Option<u16>, least: u16) -> Option<String> {
    let reason = ending.reason.filter(|_| ending.is_fault);
    let status = status.filter(|status| *status >= least);
    reason
        .map(str::to_owned)
        .or_else(|| status.map(|status| status.to_string()))
}

fn status(is_error: bool) -> Option<Status> {
    let code = if is_error {
        StatusCode::Error
    } else {
        StatusCode::Unset
    };
    Some(Status {
        code: code.into(),
        ..Status::default()
    })
}

fn link(to: &RemoteContext) -> Link {
    Link {
        trace_id: to.trace.0.to_be_bytes().to_vec(),
        span_id: bytes(to.span),
        trace_state: to.state.clone(),
        flags: u32::from(to.is_sampled) | HAS_REMOTE | IS_REMOTE,
        ..Link::default()
    }
}

fn status_code(status: u16) -> KeyValue {
    number("http.response.status_code", status.into())
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn bytes(id: SpanId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
