//! What the edge let through or refused: one event, and the log line, the records of the audit log and
//! the counts that are made of it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::Method;

use super::context::{RequestContext, sent};
use super::mounted_backend::MountedBackend;
use super::rejection::Rejection;
use super::request::McpBody;
use super::routes::BackendRoute;
use super::trace;
use gateway_core::audit::{Event, Facts, Labelled, Record, Sent};
use gateway_core::clock::Timestamp;
use gateway_core::policy::Permit;
use gateway_metrics::{Decision, Metrics};
use gateway_store::journal::{Journal, Unwritable};
use gateway_upstream::{Caller, Catalogue};
use mcp_protocol::Message;
use mcp_protocol::calls::Call;
use mcp_protocol::tool_definition::Labels;

/// What was decided about a request for a backend. It is told once; the log line and the audit records
/// are made of it.
pub(super) enum AdmissionEvent<'a> {
    /// It goes on to its backend.
    Permitted {
        permit: &'a Permit,
        body: Option<&'a McpBody>,
    },
    /// It does not.
    Refused {
        rejection: &'a Rejection,
        /// What the client is answered.
        status: u16,
        method: &'a Method,
        /// Path and query, as they were sent.
        target: &'a [u8],
        peer: IpAddr,
    },
}

/// Where what is decided is told.
pub(super) struct AdmissionLog {
    journal: Journal,
    catalogue: Arc<Catalogue>,
    metrics: Metrics,
}

impl AdmissionLog {
    pub(super) const fn new(journal: Journal, catalogue: Arc<Catalogue>, metrics: Metrics) -> Self {
        Self {
            journal,
            catalogue,
            metrics,
        }
    }

    /// Writes down what was decided about a request for `mounted`, if there is one. An error means that what is permitted must not go on: nothing reaches a backend unseen.
    pub(super) fn record(
        &self,
        event: &AdmissionEvent<'_>,
        context: &RequestContext,
        mounted: Option<&MountedBackend>,
        now: Timestamp,
    ) -> Result<(), Unwritable> {
        let backend = mounted.map_or("", |mounted| &mounted.backend.mount.name);
        event.log(context, backend);
        let caller = Caller {
            user: context.user_name(),
            account: context.account.as_ref(),
        };
        let labels = |tool: &str| self.catalogue.cached_labels(backend, caller, tool);
        match event {
            AdmissionEvent::Permitted { permit, body } => {
                if self.journal.public_key().is_none() {
                    return Ok(());
                }
                let permitted = Permitted {
                    permit,
                    backend,
                    context,
                    journal: &self.journal,
                    now,
                };
                permitted.record(*body, labels)
            }
            AdmissionEvent::Refused {
                rejection,
                peer,
                status,
                ..
            } => {
                self.refuse(rejection, *status, context, mounted);
                let record = refused(rejection, backend, context, *peer, labels);
                if context.user().is_empty() {
                    self.journal.append_anonymous(&record);
                } else {
                    // It is refused already; that the log is away is told elsewhere.
                    let _ = self.journal.append(&record);
                }
                Ok(())
            }
        }
    }
}

impl AdmissionLog {
    /// Counts a request that goes on to its backend: `begun` is when its body was there, of so many bytes.
    pub(super) fn allow(
        &self,
        context: &mut RequestContext,
        route: BackendRoute<'_>,
        calls: &[Call],
        body: usize,
        begun: Instant,
    ) {
        let (mounted, now) = (route.mounted, Instant::now());
        let metrics = &mounted.metrics;
        let is_listed = |tool: &str| self.is_listed(mounted, context, tool);
        if let Some(trace) = &context.trace {
            let revision = context.protocol_version.as_deref();
            trace::asks(trace, mounted, calls, revision, is_listed);
            trace.asked();
        }
        let allowed = mounted.allowed(route.endpoint);
        let exchange = metrics.allow(allowed, calls, is_listed, now);
        metrics.decided(context.confirming + now.duration_since(begun), body);
        context.exchange = Some(exchange);
    }

    /// Counts a request that does not go on, or an exchange that came to nothing.
    fn refuse(
        &self,
        rejection: &Rejection,
        status: u16,
        context: &RequestContext,
        mounted: Option<&MountedBackend>,
    ) {
        if let Some(limit) = rejection.limit() {
            self.metrics.limits_reached.with([limit]).increment();
        }
        let (reason, is_fault) = (rejection.reason(), rejection.is_fault());
        if context.exchange.is_some() {
            return context.failed(reason, status, is_fault);
        }
        let decision = Decision::refused(Some(reason), is_fault);
        if let (Some(trace), Some(mounted)) = (&context.trace, mounted) {
            let is_listed = |tool: &str| self.is_listed(mounted, context, tool);
            let revision = context.protocol_version.as_deref();
            trace::asks(trace, mounted, rejection.calls(), revision, is_listed);
        }
        context.came_to_nothing(decision.outcome(), reason, status, is_fault);
        let backend = mounted.map_or("", |mounted| &mounted.backend.mount.name);
        let labels = [
            &*context.endpoint,
            backend,
            decision.outcome(),
            decision.reason(),
        ];
        self.metrics.requests.with(labels).increment();
        if let Some(mounted) = mounted {
            for call in rejection.calls() {
                let is_listed = |tool: &str| self.is_listed(mounted, context, tool);
                mounted.metrics.refuse(call, decision, is_listed);
            }
        }
    }

    /// Whether a backend lists a tool for whoever calls, as far as that is known.
    fn is_listed(&self, mounted: &MountedBackend, context: &RequestContext, tool: &str) -> bool {
        let (backend, user) = (&mounted.backend.mount.name, context.user_name());
        self.catalogue.is_listed(backend, user, tool)
    }
}

impl AdmissionEvent<'_> {
    /// The line of the log. What is permitted has one once it is answered.
    fn log(&self, context: &RequestContext, backend: &str) {
        let Self::Refused {
            rejection,
            status,
            method,
            target,
            peer,
        } = self
        else {
            return;
        };
        let reason = rejection.reason();
        let level = if rejection.is_fault() {
            log::Level::Warn
        } else {
            log::Level::Info
        };
        log::log!(
            level,
            event = "refused", reason = reason.code(), hint = reason.remedy(), status = status, rule = rejection.rule(),
            backend = backend, user = context.user(), client = context.client(), grant = context.grant(), call = context.call,
            method = method.as_str(), path = logged_path(target), peer = peer.to_string(), request_id = context.id,
            trace_id = context.trace_id();
            "{rejection}"
        );
    }
}

/// A record whose texts stand where they are known.
type BorrowedRecord<'a> = Record<Cow<'a, str>>;

/// What was let through.
struct Permitted<'a> {
    permit: &'a Permit,
    backend: &'a str,
    context: &'a RequestContext,
    journal: &'a Journal,
    now: Timestamp,
}

impl<'a> Permitted<'a> {
    /// One record a call; one for a request that opens a stream. The client's own answers to the
    /// backend are part of calls that have theirs.
    fn record(
        &self,
        body: Option<&McpBody>,
        labels: impl Fn(&str) -> Option<Labels>,
    ) -> Result<(), Unwritable> {
        let Some(body) = body else {
            return self.journal.append(&Record {
                detail: self.rule(0),
                facts: self.facts(None, labels),
                ..self.about(Event::Stream)
            });
        };
        let messages = body.messages.messages();
        let calls = self.permit.calls().iter().enumerate();
        let mut told = calls.filter(|(_, call)| !call.method.is_empty());
        told.try_for_each(|(at, call)| {
            let arguments = messages.get(at).and_then(Message::arguments_text);
            self.journal.append(&Record {
                method: Some(call.method.as_str().into()),
                name: call.name.as_deref().map(Cow::Borrowed),
                detail: self.rule(at),
                facts: self.facts(Some(call), &labels),
                arguments: arguments.and_then(|text| self.journal.arguments(text.as_bytes())),
                ..self.about(Event::Call)
            })
        })
    }

    fn about(&self, event: Event) -> BorrowedRecord<'a> {
        let token = self.permit.token().id().get(..16);
        Record {
            user: known(self.context.user()),
            client: known(self.context.client()),
            grant: known(self.context.grant()),
            token: token.map(Cow::Borrowed),
            backend: Some(self.backend.into()),
            peer: self.context.peer,
            request_id: Some(self.context.id.as_str().into()),
            ..Record::new(event)
        }
    }

    fn rule(&self, call: usize) -> Option<Cow<'a, str>> {
        let rule = self.permit.rule(call)?;
        Some(Cow::Owned(format!("policy {rule}")))
    }

    fn facts(
        &self,
        call: Option<&Call>,
        labels: impl Fn(&str) -> Option<Labels>,
    ) -> Option<Facts<Cow<'a, str>>> {
        let approvals = self.permit.token().approvals().iter();
        let valid = approvals.filter(|approval| self.now < approval.until);
        let approved = valid.map(|one| (one.tool.as_str().into(), one.approver.as_str().into()));
        Some(Facts {
            approved: Some(approved.collect()),
            ..facts(self.context, call, labels)?
        })
    }
}

/// The record of a refusal. A single call is named as one that was let through.
fn refused<'a>(
    rejection: &'a Rejection,
    backend: &'a str,
    context: &'a RequestContext,
    peer: IpAddr,
    labels: impl Fn(&str) -> Option<Labels>,
) -> BorrowedRecord<'a> {
    let call = rejection.single_call();
    Record {
        user: known(context.user()),
        client: known(context.client()),
        grant: known(context.grant()),
        backend: known(backend),
        method: match call {
            Some(call) => Some(call.method.as_str().into()),
            None => known(&context.call),
        },
        name: call
            .and_then(|call| call.name.as_deref())
            .map(Cow::Borrowed),
        facts: facts(context, rejection.only_call(), labels),
        detail: rejection.detail().map(Cow::Owned),
        peer: Some(peer),
        request_id: Some(context.id.as_str().into()),
        ..Record::refused(Event::Call, rejection.reason(), rejection.is_fault())
    }
}

/// What is known of a request whose token counts.
fn facts<'a>(
    context: &'a RequestContext,
    call: Option<&Call>,
    labels: impl Fn(&str) -> Option<Labels>,
) -> Option<Facts<Cow<'a, str>>> {
    let claims = context.claims()?;
    let labels = call.and_then(Call::tool).and_then(labels);
    let message = call.map(sent).or(context.sent);
    let groups = claims.groups.iter().map(|group| group.as_str().into());
    Some(Facts {
        user_name: claims.user_name.as_str().into(),
        groups: groups.collect(),
        scope: claims.scope.spelled(),
        message,
        result: call
            .filter(|_| message == Some(Sent::Response))
            .map(|call| call.carries_result && !call.is_asked_for()),
        protocol_version: context.protocol_version.as_deref().map(Cow::Borrowed),
        labels: labels.map(|labels| Labelled {
            read_only: labels.read_only,
            destructive: labels.destructive,
        }),
        approved: None,
    })
}

fn known(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

/// A path for the log: without the query, and without segments so long that they may be a secret
/// that somebody put there.
fn logged_path(raw: &[u8]) -> String {
    let path = raw
        .split(|byte| matches!(byte, b'?' | b'#'))
        .next()
        .unwrap_or_default();
    let segments = path
        .split(|byte| *byte == b'/')
        .take(8)
        .map(|segment| match segment.len() {
            0..=24 => segment.escape_ascii().to_string(),
            _ => "…".to_owned(),
        });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_no_query_and_nothing_long() {
        assert_eq!(
            logged_path(b"/.well-known/oauth-protected-resource/mcp?a=secret"),
            "/.well-known/oauth-protected-resource/mcp"
        );
        assert_eq!(
            logged_path(b"/mcp/EmUKJwoEMTIzNBgDIgkKBwgKEgMYgAgSJAgAEiDzUVpJ"),
            "/mcp/…"
        );
        assert_eq!(logged_path(b"/a\n\xff"), "/a\\n\\xff");
    }
}
