//! From an exchange to a finding: what all judgements share.

use serde_json::Value;

use crate::check::Check;
use crate::exchange::{Answer, Exchange, Obstacle};
use crate::finding::Finding;

/// Why an exchange is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Another check says so already.
    Known(Check),
    /// In words.
    Wrong(String),
}

/// The answer to an exchange.
pub(super) fn answer(exchange: &Exchange) -> Result<&Answer, Problem> {
    exchange.reached().map_err(|obstacle| match obstacle {
        Obstacle::Known(check) => Problem::Known(check),
        Obstacle::Failed(failure) => Problem::Wrong(failure.to_string()),
    })
}

/// The JSON of an answer with a status.
pub(super) fn document(exchange: &Exchange, status: u16) -> Result<Value, Problem> {
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
pub(super) fn described(answer: &Answer) -> String {
    let kind = answer.media_type();
    let kind = if kind.is_empty() {
        "without a media type".to_owned()
    } else {
        format!("with {kind}")
    };
    format!("{} {kind}", answer.status.as_u16())
}

/// A finding from a judgement that may have met a problem; `seen` becomes evidence.
pub(super) fn settle<'a>(
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
pub(super) fn all_well(check: Check, well: impl Into<String>, wrong: Vec<String>) -> Finding {
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
pub(super) fn strings<'a>(document: &'a Value, member: &str) -> Vec<&'a str> {
    let items = document[member].as_array();
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The finding of one check among several.
#[cfg(test)]
pub(super) fn verdict_of(findings: &[Finding], check: Check) -> crate::finding::Verdict {
    let found: Vec<_> = findings.iter().filter(|f| f.check == check).collect();
    assert_eq!(found.len(), 1, "{check}: {found:?}");
    found[0].verdict
}
