//! Answers of the token endpoint (OAuth 2.1 §3.2, RFC 7636), and the end of a grant (RFC 7009).

use std::time::Duration;

use super::judgement::{answer, document, judge, judge_document, no_store, settle, wrong};
use crate::check::Check;
use crate::exchange::Exchange;
use crate::finding::Finding;
use crate::stream_recorder::Recording;

/// How soon a stream of a revoked grant must end.
pub(crate) const STREAM_END: Duration = Duration::from_secs(5);

/// The answer to a code that is none.
pub(crate) fn token_error(exchange: &Exchange) -> Finding {
    let check = Check::TokenError;
    let status = answer(exchange).map(|answer| answer.status.as_u16());
    if let Ok(status @ (401 | 403 | 422)) = status
        && document(exchange, status).is_ok_and(|document| document["error"] == "invalid_grant")
    {
        // Clients go by the code; some take a 401 for one of a client that is not known.
        let summary = format!("a code that is none gets invalid_grant with {status}, not 400");
        return check.warn(summary).seen(exchange.to_string());
    }
    judge_document(check, exchange, 400, |document| {
        match document["error"].as_str() {
            Some("invalid_grant") => {
                Ok(check.pass("a code that is none gets invalid_grant, in JSON"))
            }
            other => wrong(format!(
                "a code that is none gets error {:?}, not invalid_grant",
                other.unwrap_or_default()
            )),
        }
    })
}

/// The answer to a code with a wrong verifier. The form of the error is `token_error`'s matter.
pub(crate) fn pkce_verified(exchange: &Exchange) -> Finding {
    let (check, well) = (Check::PkceVerified, "a wrong code_verifier gets no token");
    no_token(check, well, "a wrong code_verifier gets a token", exchange)
}

/// The answer to a code that was redeemed before.
pub(crate) fn code_single_use(exchange: &Exchange) -> Finding {
    let (check, well) = (Check::CodeSingleUse, "a code works once");
    no_token(check, well, "a code works twice", exchange)
}

fn no_token(check: Check, well: &str, otherwise: &str, exchange: &Exchange) -> Finding {
    judge(check, exchange, |answer| {
        if answer.status.is_server_error() {
            return Ok(check.warn(format!("{well}, but the answer is {answer}")));
        }
        Ok(check.pass_if(!answer.status.is_success(), well, otherwise))
    })
}

/// The answer to a good code.
pub(crate) fn token_response(exchange: &Exchange) -> Vec<Finding> {
    let check = Check::TokenResponse;
    let judged = document(exchange, 200).and_then(|document| {
        let token = document["access_token"].as_str().unwrap_or_default();
        let kind = document["token_type"].as_str().unwrap_or_default();
        if token.is_empty() {
            return wrong("there is no access_token");
        }
        if !kind.eq_ignore_ascii_case("bearer") {
            return wrong(format!("token_type is {kind:?}, not Bearer"));
        }
        let Some(lifetime) = document["expires_in"].as_u64() else {
            return wrong("there is no expires_in in whole seconds");
        };
        // Some servers and proxies cap a header line at 8 KiB, a few at 4.
        if token.len() > 4096 {
            let summary = format!(
                "the token is {} bytes long; some proxies cut headers at 4 KiB",
                token.len()
            );
            return Ok(check.warn(summary));
        }
        let Some(scope) = document["scope"].as_str() else {
            return Ok(check.warn("the answer does not say which scope was granted"));
        };
        Ok(check.pass(format!("a token for {lifetime} s, scope {scope}")))
    });
    let usable = judged.is_ok();
    let mut findings = vec![settle(check, [exchange], judged)];
    if let (true, Ok(answer)) = (usable, answer(exchange)) {
        findings.push(no_store(Check::TokenNoStore, answer));
    }
    findings
}

/// The first call that was refused after the revocation, or the last one that was not, and how
/// long after.
pub(crate) fn revocation(call: &Exchange, after: Duration) -> Finding {
    let check = Check::Revocation;
    judge(check, call, |answer| {
        let after = after.as_millis();
        Ok(check.pass_if(
            answer.status.as_u16() == 401,
            format!("a revoked token is refused after {after} ms"),
            format!("{after} ms after its revocation the token gets {answer}"),
        ))
    })
}

/// A stream that was open when its grant was revoked at `revoked` (since the stream's request).
pub(crate) fn revocation_stream(recording: &Recording, revoked: Duration) -> Finding {
    let check = Check::RevocationStream;
    match &recording.end {
        Some((end, _)) if *end < revoked => check.skip("the stream had ended before"),
        Some((end, failure)) => {
            let summary = format!("its stream ended after {} ms", (*end - revoked).as_millis());
            match failure {
                None => check.pass(summary),
                Some(why) => check
                    .warn(format!("{summary}, but not properly"))
                    .seen(why.clone()),
            }
        }
        None => check.fail(format!(
            "its stream is open {} s later",
            STREAM_END.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::judgement::verdict_of;
    use super::*;
    use crate::exchange::tests::exchange;
    use crate::finding::Verdict;

    const JSON: (&str, &str) = ("content-type", "application/json");

    fn reply(status: u16, headers: &[(&'static str, &str)], body: &str) -> Exchange {
        exchange(
            "POST",
            "https://mcp.example.com/token",
            status,
            headers,
            body,
        )
    }

    #[test]
    fn an_error_must_be_json_with_invalid_grant() {
        let verdict = |exchange| token_error(&exchange).verdict;
        assert_eq!(
            verdict(reply(400, &[JSON], r#"{"error":"invalid_grant"}"#)),
            Verdict::Pass
        );
        assert_eq!(
            verdict(reply(400, &[JSON], r#"{"error":"server_error"}"#)),
            Verdict::Fail
        );
        assert_eq!(
            verdict(reply(400, &[("content-type", "text/html")], "<html>")),
            Verdict::Fail
        );
        assert_eq!(verdict(reply(200, &[JSON], "{}")), Verdict::Fail);
    }

    #[test]
    fn a_token_response_needs_its_members_and_no_store() {
        let body = r#"{"access_token":"t","token_type":"bearer","expires_in":86400,"scope":"mcp"}"#;
        let good = token_response(&reply(200, &[JSON, ("cache-control", "no-store")], body));
        assert!(
            good.iter().all(|finding| finding.verdict == Verdict::Pass),
            "{good:?}"
        );
        let stored = token_response(&reply(200, &[JSON], body));
        assert_eq!(verdict_of(&stored, Check::TokenNoStore), Verdict::Fail);
        assert_eq!(verdict_of(&stored, Check::TokenResponse), Verdict::Pass);
        for missing in ["access_token", "token_type", "expires_in"] {
            let body = body.replace(missing, "x");
            let found = token_response(&reply(200, &[JSON], &body));
            assert_eq!(
                verdict_of(&found, Check::TokenResponse),
                Verdict::Fail,
                "{missing}"
            );
            assert_eq!(found.len(), 1);
        }
    }

    #[test]
    fn a_token_for_a_used_code_or_a_wrong_verifier_fails() {
        let given = reply(200, &[JSON], "{}");
        let refused = reply(400, &[("content-type", "text/html")], "");
        assert_eq!(code_single_use(&given).verdict, Verdict::Fail);
        assert_eq!(code_single_use(&refused).verdict, Verdict::Pass);
        assert_eq!(pkce_verified(&given).verdict, Verdict::Fail);
        assert_eq!(pkce_verified(&refused).verdict, Verdict::Pass);
    }

    #[test]
    fn a_revoked_grant_ends_calls_and_streams() {
        let call = |status| exchange("POST", "https://mcp.example.com/mcp", status, &[JSON], "{}");
        assert_eq!(
            revocation(&call(401), Duration::ZERO).verdict,
            Verdict::Pass
        );
        assert_eq!(revocation(&call(200), STREAM_END).verdict, Verdict::Fail);
        let at = Duration::from_secs;
        let mut recording = Recording::default();
        assert_eq!(revocation_stream(&recording, at(3)).verdict, Verdict::Fail);
        for (end, failure, verdict) in [
            (4, None, Verdict::Pass),
            (4, Some("reset".to_owned()), Verdict::Warn),
            (2, None, Verdict::Skip),
        ] {
            recording.end = Some((at(end), failure));
            assert_eq!(revocation_stream(&recording, at(3)).verdict, verdict);
        }
    }
}
