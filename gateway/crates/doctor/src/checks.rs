//! Judgements: recorded exchanges in, findings out. Nothing here touches the network or a clock.

pub(super) mod authorization;
pub(super) mod challenge;
pub(super) mod discovery;
pub(super) mod mcp;
pub(super) mod network;
pub(super) mod refresh;
pub(super) mod streams;
pub(super) mod token;

use serde_json::Value;

use super::check::Check;
use super::exchange::{Answer, Exchange, Obstacle};
use super::finding::Finding;

/// Why an exchange is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// Another check says so already.
    Known(Check),
    /// In words.
    Wrong(String),
}

/// The answer to an exchange.
fn answer(exchange: &Exchange) -> Result<&Answer, Problem> {
    exchange.reached().map_err(|obstacle| match obstacle {
        Obstacle::Known(check) => Problem::Known(check),
        Obstacle::Failed(failure) => Problem::Wrong(failure.to_string()),
    })
}

/// The JSON of an answer with a status.
fn document(exchange: &Exchange, status: u16) -> Result<Value, Problem> {
    let answer = answer(exchange)?;
    if answer.status.as_u16() != status {
        return Err(Problem::Wrong(format!(
            "{} answers {}, not {status}",
            exchange.url.path(),
            described(answer)
        )));
    }
    answer.json().ok_or_else(|| {
        Problem::Wrong(format!(
            "{} answers {}, not JSON",
            exchange.url.path(),
            described(answer)
        ))
    })
}

/// Status and media type in words.
fn described(answer: &Answer) -> String {
    let kind = answer.media_type();
    let kind = if kind.is_empty() {
        "without a media type".to_owned()
    } else {
        format!("with {kind}")
    };
    format!("{} {kind}", answer.status.as_u16())
}

/// A finding from a judgement that may have met a problem; `seen` becomes evidence.
fn settle<'a>(
    check: Check,
    seen: impl IntoIterator<Item = &'a Exchange>,
    judged: Result<Finding, Problem>,
) -> Finding {
    match judged {
        Ok(finding) => seen.into_iter().fold(finding, |finding, exchange| {
            finding.seen(exchange.to_string())
        }),
        Err(Problem::Known(cause)) => Finding::after(check, cause),
        Err(Problem::Wrong(why)) => seen
            .into_iter()
            .fold(Finding::fail(check, why), |finding, exchange| {
                finding.seen(exchange.to_string())
            }),
    }
}

/// Passes when nothing is wrong, else fails with the first thing and all as evidence.
fn all_well(check: Check, well: impl Into<String>, wrong: Vec<String>) -> Finding {
    let Some(first) = wrong.first() else {
        return Finding::pass(check, well);
    };
    let more = match wrong.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let finding = Finding::fail(check, format!("{first}{more}"));
    wrong.into_iter().fold(finding, Finding::seen)
}

/// The strings of an array member.
fn strings<'a>(document: &'a Value, member: &str) -> Vec<&'a str> {
    let items = document[member].as_array();
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The finding of one check among several.
#[cfg(test)]
fn verdict_of(findings: &[Finding], check: Check) -> super::finding::Verdict {
    let found: Vec<_> = findings.iter().filter(|f| f.check == check).collect();
    assert_eq!(found.len(), 1, "{check}: {found:?}");
    found[0].verdict
}
