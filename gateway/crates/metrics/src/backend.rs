//! What is counted of one backend, looked up once.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mcp_protocol::calls::{Call, known_methods};
use parking_lot::RwLock;

use super::decision::Decision;
use super::exchange::ExchangeMeter;
use super::family::{Counter, Gauge, Histogram};
use super::table::Metrics;

/// How many tools of a backend are counted by name.
pub const MOST_TOOLS: usize = 256;

/// What is no method or tool that is known.
const OTHER: &str = "other";

/// A method as it is counted: one that MCP names, or what it is instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcMethod(usize);

impl RpcMethod {
    /// No message: a stream of events is opened, or a session ended.
    pub const STREAM: Self = Self(0);
    const RESPONSE: Self = Self(1);
    const OTHER: Self = Self(2);
    const FIRST: usize = 3;

    /// That of a message; an answer to the backend has none.
    pub fn from_name(method: &str) -> Self {
        if method.is_empty() {
            return Self::RESPONSE;
        }
        let at = known_methods().position(|known| known == method);
        at.map_or(Self::OTHER, |at| Self(Self::FIRST + at))
    }

    /// The label `method`.
    pub fn as_str(self) -> &'static str {
        match self.0 {
            0 => "stream",
            1 => "response",
            2 => OTHER,
            known => known_methods().nth(known - Self::FIRST).unwrap_or(OTHER),
        }
    }

    fn count() -> usize {
        Self::FIRST + known_methods().count()
    }
}

/// What is counted of one backend.
#[derive(Debug)]
pub struct BackendMetrics {
    metrics: Metrics,
    name: String,
    /// By method: allowed messages, and how long the backend took.
    methods: Vec<OnceLock<MethodMetrics>>,
    tools: RwLock<HashMap<Box<str>, Counter>>,
    other_tools: OnceLock<Counter>,
    deciding: Histogram,
    received: Counter,
    sent: Counter,
    pub(crate) done: Counter,
    pub(crate) open: Gauge,
    opened: Counter,
}

#[derive(Debug)]
struct MethodMetrics {
    allowed: Counter,
    duration: Histogram,
}

impl BackendMetrics {
    /// Those of the backend `name`, of which there are as many as the operator configured.
    pub fn new(metrics: &Metrics, name: &str) -> Self {
        let at = [name];
        Self {
            methods: (0..RpcMethod::count()).map(|_| OnceLock::new()).collect(),
            tools: RwLock::default(),
            other_tools: OnceLock::new(),
            deciding: metrics.deciding.with(at),
            received: metrics.received.with(at),
            sent: metrics.sent.with(at),
            done: metrics.exchanges.with([name, "done", ""]),
            open: metrics.exchanges_open.with(at),
            opened: metrics.streams_opened.with(at),
            metrics: metrics.clone(),
            name: name.to_owned(),
        }
    }

    /// Counts a request that is allowed at this moment, in `admitted` and by its messages. `is_listed` says
    /// whether the backend lists a tool. What becomes of the request is for the meter.
    pub fn allow(
        self: &Arc<Self>,
        admitted: &Counter,
        calls: &[Call],
        is_listed: impl Fn(&str) -> bool,
        now: Instant,
    ) -> ExchangeMeter {
        admitted.increment();
        let mut first = RpcMethod::STREAM;
        for (at, call) in calls.iter().enumerate() {
            let method = RpcMethod::from_name(&call.method);
            if at == 0 {
                first = method;
            }
            self.method(method).allowed.increment();
            if let Some(tool) = call.tool() {
                self.count_tool(tool, &is_listed);
            }
        }
        ExchangeMeter::new(self, first, now)
    }

    /// Counts what the gateway took to decide, and what it read.
    pub fn decided(&self, took: Duration, body: usize) {
        self.deciding.observe(took);
        self.received.add(body as u64);
    }

    /// Counts a message that does not go on.
    pub fn refuse(&self, call: &Call, decision: Decision, is_listed: impl Fn(&str) -> bool) {
        let (name, outcome) = (self.name.as_str(), decision.outcome());
        let method = RpcMethod::from_name(&call.method).as_str();
        let labels = [name, method, outcome, decision.reason()];
        self.metrics.calls.with(labels).increment();
        if let Some(tool) = call.tool() {
            // A statement of its own: while it is read it can't be written.
            let is_known = self.tools.read().contains_key(tool);
            let is_named = is_known || self.enter_tool(tool, is_listed);
            let tool = if is_named { tool } else { OTHER };
            self.metrics
                .tool_calls
                .with([name, tool, outcome])
                .increment();
        }
    }

    /// Counts that a limit was reached, by the name of its setting.
    pub fn limit_reached(&self, limit: &'static str) {
        self.metrics.limits_reached.with([limit]).increment();
    }

    /// Counts bytes of an answer's body.
    pub fn sent(&self, bytes: usize) {
        self.sent.add(bytes as u64);
    }

    pub(crate) fn took(&self, method: RpcMethod, duration: Duration) {
        self.method(method).duration.observe(duration);
    }

    pub(crate) fn stream_opened(&self) {
        self.opened.increment();
    }

    pub(crate) fn ended(&self, outcome: &str, reason: &str) {
        let labels = [self.name.as_str(), outcome, reason];
        self.metrics.exchanges.with(labels).increment();
    }

    pub(crate) fn stream_ended(&self, cause: &str) {
        let labels = [self.name.as_str(), cause];
        self.metrics.streams_ended.with(labels).increment();
    }

    fn method(&self, method: RpcMethod) -> &MethodMetrics {
        let at = method.0;
        self.methods[at].get_or_init(|| {
            let (metrics, name, method) = (&self.metrics, self.name.as_str(), method.as_str());
            MethodMetrics {
                allowed: metrics.calls.with([name, method, "allowed", ""]),
                duration: metrics.backend_duration.with([name, method]),
            }
        })
    }

    fn count_tool(&self, tool: &str, is_listed: impl Fn(&str) -> bool) {
        let known = self.tools.read();
        if let Some(counter) = known.get(tool) {
            return counter.increment();
        }
        drop(known);
        if self.enter_tool(tool, is_listed)
            && let Some(counter) = self.tools.read().get(tool)
        {
            return counter.increment();
        }
        let other = || self.metrics.tool_calls.with([&self.name, OTHER, "allowed"]);
        self.other_tools.get_or_init(other).increment();
    }

    /// Gives a tool that the backend lists a place of its own, as long as there is one.
    fn enter_tool(&self, tool: &str, is_listed: impl Fn(&str) -> bool) -> bool {
        if self.tools.read().len() >= MOST_TOOLS || !is_listed(tool) {
            return false;
        }
        let mut tools = self.tools.write();
        if tools.len() >= MOST_TOOLS {
            return tools.contains_key(tool);
        }
        let counter = || self.metrics.tool_calls.with([&self.name, tool, "allowed"]);
        tools.entry(tool.into()).or_insert_with(counter);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::reason::Reason;

    fn call(method: &str, name: &str) -> Call {
        Call {
            name: Some(name.to_owned()),
            ..Call::named(method)
        }
    }

    #[test]
    fn strangers_can_call_what_they_like_and_make_no_label() {
        let metrics = Metrics::new();
        let backend = Arc::new(BackendMetrics::new(&metrics, "docs"));
        let admitted = metrics.requests.with(["mcp", "docs", "allowed", ""]);
        let refused = Decision::refused(Some(Reason::ToolNotAllowed), false);
        for number in 0..2000 {
            let calls = [
                call(&format!("made/up{number}"), "x"),
                call("tools/call", &format!("t{number}")),
            ];
            drop(backend.allow(&admitted, &calls, |_| false, Instant::now()));
            for call in &calls {
                backend.refuse(call, refused, |_| false);
            }
        }
        let text = metrics.exposition();
        let lines = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(lines < 100, "{text}");
        assert!(
            text.contains(
                r#"gateway_tool_calls_total{backend="docs",outcome="allowed",tool="other"} 2000"#
            ),
            "{text}"
        );
        // Also a backend that lists more and more.
        for number in 0..2000 {
            let calls = [call("tools/call", &format!("t{number}"))];
            drop(backend.allow(&admitted, &calls, |_| true, Instant::now()));
        }
        let text = metrics.exposition();
        let tools = text
            .lines()
            .filter(|line| line.starts_with("gateway_tool_calls_total{"))
            .count();
        assert_eq!(tools, MOST_TOOLS + 2, "{text}");
    }

    #[test]
    fn a_tool_that_is_listed_has_its_name_though_it_is_refused_first() {
        let metrics = Metrics::new();
        let backend = BackendMetrics::new(&metrics, "docs");
        let refused = Decision::refused(Some(Reason::ToolNotAllowed), false);
        for _ in 0..2 {
            backend.refuse(&call("tools/call", "erase"), refused, |_| true);
        }
        let line = r#"gateway_tool_calls_total{backend="docs",outcome="refused",tool="erase"} 2"#;
        let text = metrics.exposition();
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn every_method_has_its_name() {
        for method in known_methods() {
            assert_eq!(RpcMethod::from_name(method).as_str(), method);
        }
        assert_eq!(RpcMethod::from_name("").as_str(), "response");
        assert_eq!(RpcMethod::from_name("x").as_str(), "other");
        assert_eq!(RpcMethod::STREAM.as_str(), "stream");
    }
}
