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

/// It is not as it should be, in words.
pub(super) fn wrong<T>(why: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Wrong(why.into()))
}

/// The JSON of an answer with a status.
pub(super) fn document(exchange: &Exchange, status: u16) -> Result<Value, Problem> {
    let answer = answer(exchange)?;
    let path = exchange.url.path();
    if answer.status.as_u16() != status {
        return wrong(format!("{path} answers {answer}, not {status}"));
    }
    let json = answer.json();
    json.map_or_else(|| wrong(format!("{path} answers {answer}, not JSON")), Ok)
}

/// A finding about the answer to an exchange, which becomes evidence.
pub(super) fn judge<'a>(
    check: Check,
    exchange: &'a Exchange,
    judge: impl FnOnce(&'a Answer) -> Result<Finding, Problem>,
) -> Finding {
    settle(check, [exchange], answer(exchange).and_then(judge))
}

/// The same about the JSON of an answer with a status.
pub(super) fn judge_document(
    check: Check,
    exchange: &Exchange,
    status: u16,
    judge: impl FnOnce(Value) -> Result<Finding, Problem>,
) -> Finding {
    settle(
        check,
        [exchange],
        document(exchange, status).and_then(judge),
    )
}

/// A finding from a judgement that may have met a problem; `seen` becomes evidence.
pub(super) fn settle<'a>(
    check: Check,
    seen: impl IntoIterator<Item = &'a Exchange>,
    judged: Result<Finding, Problem>,
) -> Finding {
    let finding = match judged {
        Ok(finding) => finding,
        Err(Problem::Known(cause)) => return check.after(cause),
        Err(Problem::Wrong(why)) => check.fail(why),
    };
    let evidence = seen.into_iter().map(Exchange::to_string);
    evidence.fold(finding, Finding::seen)
}

/// Whether it may be kept by nobody on the way.
pub(super) fn no_store(check: Check, answer: &Answer) -> Finding {
    let cache = answer.header("cache-control").unwrap_or("absent");
    check.pass_if(
        answer.has_cache_directive("no-store"),
        "no-store",
        format!("cache-control is {cache}, not no-store"),
    )
}

/// Passes when nothing is wrong with any answer. `name`: what an exchange without an answer is called.
pub(super) fn judge_all<'a>(
    check: Check,
    well: impl Into<String>,
    exchanges: &'a [Exchange],
    name: impl Fn(&'a Exchange) -> &'a str,
    fault: impl Fn(&'a Exchange, &'a Answer) -> Option<String>,
) -> Finding {
    let mut wrong = Vec::new();
    for exchange in exchanges {
        match answer(exchange) {
            Err(Problem::Known(cause)) => return check.after(cause),
            Err(Problem::Wrong(why)) => wrong.push(format!("{}: {why}", name(exchange))),
            Ok(answer) => wrong.extend(fault(exchange, answer)),
        }
    }
    all_well(check, well, wrong)
}

/// Passes when nothing is wrong, else fails with the first thing and all as evidence.
pub(super) fn all_well(check: Check, well: impl Into<String>, wrong: Vec<String>) -> Finding {
    let Some(first) = wrong.first() else {
        return check.pass(well);
    };
    let more = match wrong.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let finding = check.fail(format!("{first}{more}"));
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
