//! What the edge let through or refused, as records of the audit log.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::denial::Denial;
use super::serve::Visit;
use crate::audit::{Event, Record};
use crate::journal::Journal;
use crate::policy::Permit;

/// One record a call; one for a request that opens a stream. The client's own answers to the
/// backend are part of calls that have theirs.
pub(super) fn permitted(
    permit: &Permit,
    backend: &str,
    visit: &Visit,
    body: Option<&[u8]>,
    journal: &Journal,
) -> Vec<Record> {
    if journal.public_key().is_none() {
        return Vec::new();
    }
    let about = |event| Record {
        user: known(&visit.user),
        client: known(&visit.client),
        grant: known(&visit.grant),
        token: permit.token().id().get(..16).map(str::to_owned),
        backend: Some(backend.to_owned()),
        peer: visit.peer,
        request_id: Some(visit.id.clone()),
        ..Record::of(event)
    };
    let rule = |call| permit.rule(call).map(|rule| format!("policy {rule}"));
    let Some(body) = body else {
        return vec![Record {
            detail: rule(0),
            ..about(Event::Stream)
        }];
    };
    let arguments = arguments(body);
    let calls = permit.calls().iter().enumerate();
    calls
        .filter(|(_, call)| !call.method.is_empty())
        .map(|(at, call)| Record {
            method: Some(call.method.clone()),
            name: call.name.clone(),
            detail: rule(at),
            arguments: arguments
                .get(at)
                .copied()
                .flatten()
                .and_then(|arguments| journal.arguments(arguments.get().as_bytes())),
            ..about(Event::Call)
        })
        .collect()
}

/// The record of a refusal.
pub(super) fn refused(denial: &Denial, backend: &str, visit: &Visit, peer: IpAddr) -> Record {
    let rule = denial.rule();
    Record {
        user: known(&visit.user),
        client: known(&visit.client),
        grant: known(&visit.grant),
        backend: known(backend),
        method: known(&visit.call),
        detail: known(&rule).map(|rule| format!("policy {rule}")),
        peer: Some(peer),
        request_id: Some(visit.id.clone()),
        ..Record::refused(Event::Call, denial.reason(), denial.is_fault())
    }
}

fn known(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// The text of the arguments of each message. The body has been judged: it has one reading.
fn arguments(body: &[u8]) -> Vec<Option<&RawValue>> {
    let messages = match serde_json::from_slice::<Message<'_>>(body) {
        Ok(message) => vec![message],
        Err(_) => serde_json::from_slice(body).unwrap_or_default(),
    };
    messages
        .into_iter()
        .map(|message| message.params.and_then(|params| params.arguments))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_taken_as_they_were_sent() {
        let text = |body: &str| -> Vec<Option<String>> {
            arguments(body.as_bytes())
                .into_iter()
                .map(|arguments| arguments.map(|text| text.get().to_owned()))
                .collect()
        };
        let call = r#"{"id":1,"params":{"name":"a","arguments":{ "x" : 1.0 }}}"#;
        let one = vec![Some(r#"{ "x" : 1.0 }"#.to_owned())];
        assert_eq!(text(call), one);
        assert_eq!(
            text(&format!(r#"[{call},{{"id":2}}]"#)),
            [one, vec![None]].concat()
        );
        assert_eq!(text("no JSON"), Vec::new());
    }
}
