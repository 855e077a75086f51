//! One request, from its head to its end.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, Method, Version};
use parking_lot::Mutex;

use super::context::{Propagated, RemoteContext, SpanId, TraceId};
use super::record::{Backend, Ending, Finished, Record, Rpc};
use super::traces::Tracer;

/// What is noted of one request while it lasts. Its spans are made at its end, which is told once, by whoever
/// tells it first; a request whose backend was asked and whose end nobody told was left by its client. One
/// of which nothing was told is none: it was answered elsewhere.
pub struct RequestTrace {
    tracer: Arc<Tracer>,
    /// What chance says about keeping it.
    is_drawn: bool,
    began: (SystemTime, Instant),
    state: Mutex<State>,
}

struct State {
    /// Gone once its end was told.
    record: Option<Record>,
    /// Its token counts: what it says about keeping the trace counts, too.
    is_trusted: bool,
    /// Whether its headers had a context.
    has_header: bool,
    /// For the log.
    trace: TraceId,
}

impl RequestTrace {
    pub(crate) fn new(
        tracer: &Arc<Tracer>,
        method: &Method,
        headers: &HeaderMap,
        version: Version,
        request_id: &str,
        began: Instant,
    ) -> Self {
        let system = (tracer.clock.now() - began.elapsed()).to_system_time();
        let began = (system, began);
        let parent = RemoteContext::from_headers(headers);
        let trace = parent.as_ref().map_or_else(TraceId::random, |it| it.trace);
        Self {
            is_drawn: tracer.draw(),
            tracer: Arc::clone(tracer),
            began,
            state: Mutex::new(State {
                trace,
                has_header: parent.is_some(),
                is_trusted: false,
                record: Some(Record {
                    trace,
                    server: SpanId::random(),
                    client: SpanId::random(),
                    parent,
                    link: None,
                    request_id: request_id.to_owned(),
                    method: known_method(method),
                    http_version: http_version(version),
                    route: None,
                    mcp_version: None,
                    rpc: None,
                    messages: 0,
                    backend: None,
                    began: began.0,
                    asked: None,
                    answered: None,
                }),
            }),
        }
    }

    /// The trace that it belongs to, as logs and collectors write it.
    pub fn trace_id(&self) -> String {
        self.state.lock().trace.to_string()
    }

    /// Which of the gateway's endpoints it is for, or which path of the operator's.
    pub fn routed(&self, route: impl Into<Cow<'static, str>>) {
        self.note(|record| record.route = Some(route.into()));
    }

    /// Its token counts.
    pub fn trust(&self) {
        self.state.lock().is_trusted = true;
    }

    /// What its message says of the trace (`_meta`): that is its parent, and what its headers say a link, by
    /// the conventions for MCP.
    pub fn message_context(&self, parent: RemoteContext) {
        let mut state = self.state.lock();
        let trace = parent.trace;
        let Some(record) = &mut state.record else {
            return;
        };
        record.link = record.parent.take().filter(|header| *header != parent);
        record.trace = trace;
        record.parent = Some(parent);
        state.trace = trace;
    }

    /// What it asks for, of which backend, in which revision.
    pub fn asks(
        &self,
        backend: Backend,
        rpc: Option<Rpc>,
        messages: usize,
        revision: Option<&str>,
    ) {
        self.note(|record| {
            record.backend = Some(backend);
            record.rpc = rpc;
            record.messages = messages;
            record.mcp_version = revision.map(str::to_owned);
        });
    }

    /// It is allowed, and its backend asked from now on.
    pub fn asked(&self) {
        let now = self.now();
        self.note(|record| record.asked = Some(now));
    }

    /// The head of the backend's answer came; `status` is its own, where there is one such answer.
    pub fn answered(&self, status: Option<u16>) {
        let now = self.now();
        self.note(|record| record.answered = record.answered.or(Some((now, status))));
    }

    /// What the backend is told of the trace. `None`: what the client said goes on as it is, because the
    /// gateway adds nothing to its trace.
    pub fn propagated(&self) -> Option<Propagated> {
        let state = self.state.lock();
        let record = state.record.as_ref()?;
        let is_kept = self.keeps(&state);
        if !is_kept && state.has_header {
            return None;
        }
        let span = if record.asked.is_some() {
            record.client
        } else {
            record.server
        };
        let remote = record.parent.as_ref().filter(|_| is_kept);
        let tracestate = remote.map_or("", |parent| &parent.state);
        Some(Propagated::new(record.trace, span, is_kept, tracestate))
    }

    /// It is over.
    pub fn ended(&self, ending: Ending) {
        let mut state = self.state.lock();
        let is_kept = self.keeps(&state);
        let Some(record) = state.record.take() else {
            return;
        };
        drop(state);
        if is_kept {
            let ended = self.now();
            self.tracer.keep(Finished {
                record,
                ending,
                ended,
            });
        }
    }

    /// Whether its spans are sent, by what is known of it so far.
    pub fn is_kept(&self) -> bool {
        self.keeps(&self.state.lock())
    }

    /// Who may speak for a trace is believed whether it is kept. Of anybody else chance decides, and not by
    /// the trace's name, which they chose.
    fn keeps(&self, state: &State) -> bool {
        let parent = state.record.as_ref().and_then(|it| it.parent.as_ref());
        match parent {
            Some(parent) if state.is_trusted && !self.tracer.ignore_parent => parent.is_sampled,
            _ => self.is_drawn,
        }
    }

    /// By a clock that is not set anew in between.
    fn now(&self) -> SystemTime {
        self.began.0 + self.began.1.elapsed()
    }

    fn note(&self, note: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.state.lock().record {
            note(record);
        }
    }
}

impl Drop for RequestTrace {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let is_asked = state.record.as_ref().is_some_and(|it| it.asked.is_some());
        if is_asked {
            self.ended(Ending {
                outcome: "client_gone",
                reason: None,
                status: None,
                is_fault: false,
            });
        }
    }
}

impl fmt::Debug for RequestTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestTrace").finish_non_exhaustive()
    }
}

/// The methods of HTTP that are known, by the conventions; others count as one.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    let known = KNOWN.into_iter().find(|known| *known == method.as_str());
    known.unwrap_or("_OTHER")
}

const fn http_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
