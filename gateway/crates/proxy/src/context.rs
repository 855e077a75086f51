//! What is known about one request, for the log, the audit log and the policy.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, Version};

use super::call_limits::ByteCharge;
use super::challenge::Challenge;
use super::cors::{Origin, origin};
use super::drain::Running;
use super::in_flight::{Budget, Hold};
use super::request::RequestHead;
use super::routes::BackendRoute;
use super::settings::Settings;
use gateway_core::access_token::{Claims, VerifiedToken};
use gateway_core::account::AccountId;
use gateway_core::audit::Sent;
use gateway_core::policy::AccessToken;
use gateway_core::protocol::resource::Issuer;
use gateway_core::protocol::scope::Scope;
use gateway_core::reason::Reason;
use gateway_metrics::{Ended, ExchangeMeter};
use gateway_traces::{Ending, Propagated, RequestTrace, Traces};
use gateway_upstream::{Backend, OnBehalfOf};
use mcp_protocol::STATELESS;
use mcp_protocol::calls::Call;

/// What is known about a request for the log.
#[derive(Debug)]
pub(super) struct RequestContext {
    pub(super) id: String,
    pub(super) started: Instant,
    /// Its token, once that is confirmed.
    token: Option<Arc<VerifiedToken>>,
    /// The account at the backend that it is made with, if it is made with one.
    pub(super) account: Option<AccountId>,
    pub(super) call: String,
    /// What is sent, once that is known.
    pub(super) sent: Option<Sent>,
    pub(super) peer: Option<IpAddr>,
    /// The origin whose pages may read the answer, if it names one of those.
    pub(super) allowed_origin: Option<HeaderValue>,
    /// The revision of MCP that its header names.
    pub(super) protocol_version: Option<String>,
    /// Which of the gateway's endpoints it is for, as metrics call it.
    pub(super) endpoint: Cow<'static, str>,
    /// How long it took to confirm its token.
    pub(super) confirming: Duration,
    /// Counts what becomes of it, once it is allowed.
    pub(super) exchange: Option<ExchangeMeter>,
    /// Counts what its answer uses up of limits.
    pub(super) bytes: Option<Box<ByteCharge>>,
    /// How many calls its person has made today, where the policy asks for it.
    pub(super) calls_today: Option<u64>,
    /// What is noted for its spans, where requests are traced.
    pub(super) trace: Option<Box<RequestTrace>>,
    /// What it is a part of, where several backends are asked together.
    pub(super) part_of: Option<Box<PartOf>>,
    _running: Running,
}

/// A request for several backends that are offered together, as a request for one of them knows it.
#[derive(Debug)]
pub(super) struct PartOf {
    /// In whose name, as that member takes it.
    pub(super) token: AccessToken,
    /// Whether its holders left that member of all together.
    pub(super) is_left: bool,
    /// Where the client is.
    pub(super) peer: Option<IpAddr>,
    /// The path of the endpoint that was asked.
    pub(super) path: String,
}

impl RequestContext {
    pub(super) fn new(running: Running) -> Self {
        Self {
            id: format!("{:016x}", rand::random::<u64>()),
            started: Instant::now(),
            token: None,
            account: None,
            call: String::new(),
            sent: None,
            peer: None,
            allowed_origin: None,
            protocol_version: None,
            endpoint: Cow::Borrowed("none"),
            confirming: Duration::ZERO,
            exchange: None,
            bytes: None,
            calls_today: None,
            trace: None,
            part_of: None,
            _running: running,
        }
    }

    /// Begins its trace, where requests are traced.
    #[inline]
    pub(super) fn trace(
        &mut self,
        traces: &Traces,
        method: &Method,
        headers: &HeaderMap,
        version: Version,
    ) {
        self.trace = traces.begin(method, headers, version, &self.id, self.started);
    }

    /// The trace that it belongs to, for the log.
    pub(super) fn trace_id(&self) -> Option<String> {
        self.trace.as_ref().map(|trace| trace.trace_id())
    }

    /// What a backend is told of its trace in place of what the client said.
    pub(super) fn propagated(&self) -> Option<Propagated> {
        self.trace.as_ref()?.propagated()
    }

    /// Where it goes, as spans call it.
    pub(super) fn routed(&self, route: impl FnOnce() -> Cow<'static, str>) {
        if let Some(trace) = &self.trace {
            trace.routed(route());
        }
    }

    /// Where it comes from, and in which revision.
    pub(super) fn comes_from(&mut self, head: RequestHead<'_>, settings: &Settings) {
        self.allowed_origin = match origin(head.headers, settings) {
            Origin::Allowed(origin) => Some(origin),
            Origin::Absent | Origin::Foreign(_) => None,
        };
        if let Some(part_of) = &self.part_of {
            // In which revision the client speaks was said with it.
            self.peer = part_of.peer;
            return;
        }
        self.peer = Some(head.address(&settings.trusted_proxies));
        self.protocol_version = head.protocol_version();
    }

    pub(super) fn belongs_to(&mut self, token: &Arc<VerifiedToken>) {
        self.token = Some(Arc::clone(token));
        if let Some(trace) = &self.trace {
            trace.trust();
        }
    }

    /// What its token says; `None` until it is confirmed.
    pub(super) fn claims(&self) -> Option<&Claims> {
        self.token.as_ref().map(|token| token.claims())
    }

    /// The id of the person in whose name it is; empty as long as that is not known, as are the next three.
    pub(super) fn user(&self) -> &str {
        self.claims().map_or("", |claims| claims.user.as_str())
    }

    /// The person's login name.
    pub(super) fn user_name(&self) -> &str {
        self.claims().map_or("", |claims| &claims.user_name)
    }

    /// The client that its token was issued to.
    pub(super) fn client(&self) -> &str {
        self.claims().map_or("", |claims| claims.client.as_str())
    }

    /// The grant that its token is part of.
    pub(super) fn grant(&self) -> &str {
        self.claims().map_or("", |claims| claims.grant.as_str())
    }

    /// The head of the backend's answer came; with its status, where it is one answer that goes on.
    pub(super) fn answered(&self, status: Option<u16>) {
        if let Some(exchange) = &self.exchange {
            exchange.answered(Instant::now());
        }
        if let Some(trace) = &self.trace {
            trace.answered(status);
        }
    }

    /// Bytes of the answer's body went to the client.
    pub(super) fn sent(&self, bytes: usize) {
        if let Some(exchange) = &self.exchange {
            exchange.sent(bytes);
        }
        if let Some(charge) = &self.bytes {
            charge.sent(bytes);
        }
    }

    /// Its answer is a stream of events that is held open.
    pub(super) fn becomes_stream(&self) {
        if let Some(exchange) = &self.exchange {
            exchange.becomes_stream();
        }
    }

    /// The answer is over, by what the log calls it, with the status that it had.
    pub(super) fn ended(&self, outcome: &'static str, status: u16) {
        if let Some(exchange) = &self.exchange {
            exchange.ended(match outcome {
                "done" => Ended::Done,
                other => Ended::By(other),
            });
        }
        if let Some(trace) = &self.trace {
            trace.ended(Ending {
                outcome,
                reason: None,
                status: Some(status),
                is_fault: false,
            });
        }
    }

    /// The exchange came to nothing, or its answer is broken off; `status` is what the client was answered
    /// with, and `is_fault` whether the gateway or a backend is at fault.
    pub(super) fn failed(&self, reason: Reason, status: u16, is_fault: bool) {
        if let Some(exchange) = &self.exchange {
            exchange.ended(match reason {
                Reason::GrantRevoked | Reason::TokenExpired => Ended::By(reason.code()),
                reason => Ended::Failed(reason),
            });
        }
        self.came_to_nothing("failed", reason, status, is_fault);
    }

    /// The same for its trace alone, whether or not it was allowed.
    pub(super) fn came_to_nothing(
        &self,
        outcome: &'static str,
        reason: Reason,
        status: u16,
        is_fault: bool,
    ) {
        if let Some(trace) = &self.trace {
            trace.ended(Ending {
                outcome,
                reason: Some(reason.code()),
                status: Some(status),
                is_fault,
            });
        }
    }

    /// On whose behalf it goes on to several backends together; `None` for one that is a server of its own.
    pub(super) fn caller(&self, backend: &Backend, token: &AccessToken) -> Option<OnBehalfOf> {
        backend.aggregate.as_ref().map(|_| OnBehalfOf {
            token: token.clone(),
            peer: self.peer,
            request_id: self.id.clone(),
            protocol_version: self.protocol_version.clone(),
        })
    }

    /// Whether it is a part of a request of an older revision, which was translated for several backends
    /// together.
    pub(super) fn is_translated(&self) -> bool {
        self.part_of.is_some() && self.protocol_version.as_deref() != Some(STATELESS)
    }

    /// What a challenge for it refers to, where `route` refuses it: for a part of a request to several backends
    /// together, their endpoint.
    pub(super) fn challenge(&self, issuer: &Issuer, route: BackendRoute<'_>) -> Challenge {
        let nothing = Scope::default();
        let scope = self.claims().map_or(&nothing, |claims| &claims.scope);
        let challenge = Challenge::new(issuer, route, scope);
        match &self.part_of {
            Some(part_of) => challenge.at(issuer, &part_of.path),
            None => challenge,
        }
    }

    /// A hold of nothing yet on the account of this request.
    pub(super) fn hold(&self, budget: &Arc<Budget>) -> Hold {
        budget.hold(self.peer, self.grant())
    }

    /// Method and tool, as far as they are safe to print, and what is sent.
    pub(super) fn asks_for(&mut self, method: &Method, calls: &[Call]) {
        self.sent = Some(match (calls, method) {
            ([], &Method::DELETE) => Sent::End,
            ([], _) => Sent::Stream,
            ([call], _) => sent(call),
            _ => Sent::Batch,
        });
        for call in calls.iter().take(3) {
            if !self.call.is_empty() {
                self.call.push(' ');
            }
            self.call
                .extend(call.method.chars().filter(|c| !c.is_control()).take(64));
            if let Some(tool) = call.tool() {
                self.call.push(':');
                self.call
                    .extend(tool.chars().filter(|c| !c.is_control()).take(64));
            }
        }
    }
}

/// What one message of a client is.
pub(super) fn sent(call: &Call) -> Sent {
    match (call.method.is_empty(), &call.id) {
        (true, _) => Sent::Response,
        (false, Some(_)) => Sent::Request,
        (false, None) => Sent::Notification,
    }
}
