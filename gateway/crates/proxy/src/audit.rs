//! What the edge let through or refused: one event, and the log line and the records of the audit log
//! that are made of it.

use std::net::IpAddr;
use std::sync::Arc;

use http::Method;

use super::context::{RequestContext, sent};
use super::rejection::Rejection;
use super::request::McpBody;
use gateway_core::audit::{Event, Facts, Labelled, Record, Sent};
use gateway_core::clock::Timestamp;
use gateway_core::policy::Permit;
use gateway_store::journal::{Journal, Unwritable};
use gateway_upstream::Catalogue;
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
}

impl AdmissionLog {
    pub(super) const fn new(journal: Journal, catalogue: Arc<Catalogue>) -> Self {
        Self { journal, catalogue }
    }

    /// Writes down what was decided about a request for `backend`, which is empty where there is
    /// none. An error means that what is permitted must not go on: nothing reaches a backend unseen.
    pub(super) fn record(
        &self,
        event: &AdmissionEvent<'_>,
        context: &RequestContext,
        backend: &str,
        now: Timestamp,
    ) -> Result<(), Unwritable> {
        event.log(context, backend);
        let user = &context.user_name;
        let labels = |tool: &str| self.catalogue.cached_labels(backend, user, tool);
        match event {
            AdmissionEvent::Permitted { permit, body } => {
                permitted(permit, backend, context, *body, &self.journal, labels, now)
                    .into_iter()
                    .try_for_each(|record| self.journal.append(record))
            }
            AdmissionEvent::Refused {
                rejection, peer, ..
            } => {
                let record = refused(rejection, backend, context, *peer, labels);
                match context.user.is_empty() {
                    true => self.journal.append_anonymous(record),
                    // It is refused already; that the log is away is told elsewhere.
                    false => drop(self.journal.append(record)),
                }
                Ok(())
            }
        }
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
        let level = match rejection.is_fault() {
            true => log::Level::Warn,
            false => log::Level::Info,
        };
        log::log!(
            level,
            event = "refused", reason = reason.code(), hint = reason.remedy(), status = status, rule = rejection.rule(),
            backend = backend, user = context.user, client = context.client, grant = context.grant, call = context.call,
            method = method.as_str(), path = logged_path(target), peer = peer.to_string(), request_id = context.id;
            "{rejection}"
        );
    }
}

/// One record a call; one for a request that opens a stream. The client's own answers to the
/// backend are part of calls that have theirs.
fn permitted(
    permit: &Permit,
    backend: &str,
    context: &RequestContext,
    body: Option<&McpBody>,
    journal: &Journal,
    labels: impl Fn(&str) -> Option<Labels>,
    now: Timestamp,
) -> Vec<Record> {
    if journal.public_key().is_none() {
        return Vec::new();
    }
    let about = |event| Record {
        user: known(&context.user),
        client: known(&context.client),
        grant: known(&context.grant),
        token: permit.token().id().get(..16).map(str::to_owned),
        backend: Some(backend.to_owned()),
        peer: context.peer,
        request_id: Some(context.id.clone()),
        ..Record::new(event)
    };
    let approvals = permit.token().verified().approvals();
    let approved: Vec<(String, String)> = approvals
        .iter()
        .filter(|approval| now < approval.until)
        .map(|approval| (approval.tool.clone(), approval.approver.clone()))
        .collect();
    let facts = |call: Option<&Call>| {
        facts(context, call, &labels).map(|facts| Facts {
            approved: Some(approved.clone()),
            ..facts
        })
    };
    let rule = |call| permit.rule(call).map(|rule| format!("policy {rule}"));
    let Some(body) = body else {
        return vec![Record {
            detail: rule(0),
            facts: facts(None),
            ..about(Event::Stream)
        }];
    };
    let messages = body.messages.messages();
    let calls = permit.calls().iter().enumerate();
    calls
        .filter(|(_, call)| !call.method.is_empty())
        .map(|(at, call)| Record {
            method: Some(call.method.clone()),
            name: call.name.clone(),
            detail: rule(at),
            facts: facts(Some(call)),
            arguments: messages
                .get(at)
                .and_then(Message::arguments_text)
                .and_then(|arguments| journal.arguments(arguments.as_bytes())),
            ..about(Event::Call)
        })
        .collect()
}

/// The record of a refusal. A single call is named as one that was let through.
fn refused(
    rejection: &Rejection,
    backend: &str,
    context: &RequestContext,
    peer: IpAddr,
    labels: impl Fn(&str) -> Option<Labels>,
) -> Record {
    let rule = rejection.rule();
    let call = rejection.single_call();
    Record {
        user: known(&context.user),
        client: known(&context.client),
        grant: known(&context.grant),
        backend: known(backend),
        method: match call {
            Some(call) => Some(call.method.clone()),
            None => known(&context.call),
        },
        name: call.and_then(|call| call.name.clone()),
        facts: facts(context, rejection.only_call(), labels),
        detail: known(&rule).map(|rule| format!("policy {rule}")),
        peer: Some(peer),
        request_id: Some(context.id.clone()),
        ..Record::refused(Event::Call, rejection.reason(), rejection.is_fault())
    }
}

/// What is known of a request whose token counts.
fn facts(
    context: &RequestContext,
    call: Option<&Call>,
    labels: impl Fn(&str) -> Option<Labels>,
) -> Option<Facts> {
    if context.user_name.is_empty() {
        return None;
    }
    let labels = call.and_then(Call::tool).and_then(labels);
    let message = call.map(sent).or(context.sent);
    Some(Facts {
        user_name: context.user_name.clone(),
        groups: context.groups.clone(),
        scope: context.scope.clone(),
        message,
        result: call
            .filter(|_| message == Some(Sent::Response))
            .map(|call| call.carries_result && !call.is_asked_for()),
        protocol_version: context.protocol_version.clone(),
        labels: labels.map(|labels| Labelled {
            read_only: labels.read_only,
            destructive: labels.destructive,
        }),
        approved: None,
    })
}

fn known(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
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
