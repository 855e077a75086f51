//! What a request without a valid token gets: the challenge (RFC 6750 §3, RFC 9728 §5.1), on every
//! method and both transports, and the preflight of browsers.

use url::Url;

use super::judgement::{answer, document, judge, judge_all, judge_document, wrong};
use crate::check::Check;
use crate::exchange::{Answer, Exchange};
use crate::finding::{Finding, Verdict};
use crate::private::is_stray;
use crate::target::Target;
use gateway_core::protocol::challenge::{self, parameter};

/// What was asked without a valid token.
#[derive(Clone, Debug)]
pub(crate) struct Unauthenticated {
    /// Every method on the MCP URL.
    pub(crate) mcp: Vec<Exchange>,
    /// Every method on the older transport's URL.
    pub(crate) sse: Vec<Exchange>,
    /// A call with a token that is none.
    pub(crate) invalid_token: Exchange,
    /// GET of the `resource_metadata` of the challenge.
    pub(crate) metadata: Option<Exchange>,
    /// OPTIONS, as browsers ask before they call.
    pub(crate) preflights: Vec<Exchange>,
}

/// All checks of the challenge. `discovered`: protected resource metadata as discovery found it.
pub(crate) fn challenge(
    target: &Target,
    facts: &Unauthenticated,
    discovered: &Exchange,
) -> Vec<Finding> {
    let challenge = challenged(Check::Challenge, "the MCP URL", &facts.mcp);
    let after = |check: Check| match challenge.verdict {
        Verdict::Fail => Some(check.after(Check::Challenge)),
        // It met something that has a check of its own.
        Verdict::Skip => Some(check.skip(challenge.summary.clone())),
        _ => None,
    };
    let metadata = after(Check::ChallengeMetadata)
        .unwrap_or_else(|| challenge_metadata(target, facts, discovered));
    let invalid =
        after(Check::ChallengeInvalidToken).unwrap_or_else(|| invalid_token(&facts.invalid_token));
    vec![
        challenge,
        metadata,
        invalid,
        challenge_sse(&facts.sse),
        preflight(&facts.preflights),
    ]
}

fn challenged<'a>(check: Check, what: &str, exchanges: &'a [Exchange]) -> Finding {
    let method = |exchange: &'a Exchange| exchange.method.as_str();
    let mut methods: Vec<&str> = exchanges.iter().map(method).collect();
    methods.dedup();
    let well = format!("{what} challenges {}", methods.join(", "));
    judge_all(check, well, exchanges, method, |exchange, answer| {
        Some(format!("{} {}", exchange.method, unchallenging(answer)?))
    })
}

/// What is wrong with an answer as a challenge.
fn unchallenging(answer: &Answer) -> Option<String> {
    if answer.status.as_u16() != 401 {
        return Some(format!("answers {answer}, not 401"));
    }
    let Some(header) = bearer(answer) else {
        return Some("answers 401 without WWW-Authenticate: Bearer".to_owned());
    };
    let metadata = parameter(header, "resource_metadata");
    // RFC 9110 §15.5.2 asks for the header alone: no client reads the body.
    let named = metadata.is_some_and(|url| Url::parse(&url).is_ok());
    (!named).then(|| "has no resource_metadata URL in its challenge".to_owned())
}

fn challenge_sse(exchanges: &[Exchange]) -> Finding {
    let check = Check::ChallengeSse;
    let absent = |exchange: &Exchange| {
        answer(exchange).is_ok_and(|answer| matches!(answer.status.as_u16(), 404 | 405))
    };
    if exchanges.iter().all(absent) {
        return check.skip("the older transport is not served here");
    }
    challenged(check, "the older transport", exchanges)
}

fn challenge_metadata(target: &Target, facts: &Unauthenticated, discovered: &Exchange) -> Finding {
    let check = Check::ChallengeMetadata;
    let Some(exchange) = &facts.metadata else {
        let first = facts.mcp.first();
        return check
            .fail("resource_metadata names a private host, which no client reaches")
            .seen(first.map(Exchange::to_string).unwrap_or_default());
    };
    if exchange.url == discovered.url && document(discovered, 200).is_err() {
        return check.after(Check::ProtectedResourceMetadata);
    }
    if exchange.url.origin() != target.mcp.origin() {
        return check
            .fail("resource_metadata is on another origin")
            .seen(exchange.to_string());
    }
    judge_document(check, exchange, 200, |_| {
        let path = exchange.url.path();
        Ok(check.pass(format!("resource_metadata leads to {path}")))
    })
}

/// The URL in the challenge that clients follow, unless it is on a private host of another origin.
pub(crate) fn metadata_url(target: &Target, exchange: &Exchange) -> Option<Url> {
    let header = bearer(answer(exchange).ok()?)?;
    let url = Url::parse(&parameter(header, "resource_metadata")?).ok()?;
    (!is_stray(target, &url)).then_some(url)
}

fn invalid_token(exchange: &Exchange) -> Finding {
    let check = Check::ChallengeInvalidToken;
    judge(check, exchange, |answer| {
        if answer.status.as_u16() != 401 {
            return wrong(format!("a token that is none gets {answer}"));
        }
        match bearer(answer).and_then(|header| parameter(header, "error")) {
            Some(error) if error == "invalid_token" => {
                Ok(check.pass("a token that is none gets invalid_token"))
            }
            other => wrong(format!(
                "a token that is none gets error {:?}, not invalid_token",
                other.unwrap_or_default()
            )),
        }
    })
}

fn preflight<'a>(exchanges: &'a [Exchange]) -> Finding {
    let well = "OPTIONS is answered without a token";
    let path = |exchange: &'a Exchange| exchange.url.path();
    judge_all(
        Check::Preflight,
        well,
        exchanges,
        path,
        |exchange, answer| {
            let fault = || format!("OPTIONS {} answers {answer}", exchange.url.path());
            (!answer.status.is_success()).then(fault)
        },
    )
}

/// The parameters of its Bearer challenge.
fn bearer(answer: &Answer) -> Option<&str> {
    challenge::bearer(&answer.headers)
}

#[cfg(test)]
mod tests {
    use super::super::judgement::verdict_of;
    use super::*;
    use crate::exchange::tests::{exchange, json};

    const URL: &str = "https://mcp.example.com/mcp";
    const METADATA: &str = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";

    fn refusal(method: &str, challenge: Option<&str>) -> Exchange {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(challenge.map(|value| ("www-authenticate", value)));
        exchange(method, URL, 401, &headers, "{}")
    }

    fn healthy() -> Unauthenticated {
        let plain = format!("Bearer resource_metadata=\"{METADATA}\", scope=\"mcp\"");
        let invalid = format!("Bearer error=\"invalid_token\", resource_metadata=\"{METADATA}\"");
        Unauthenticated {
            mcp: ["GET", "HEAD", "POST", "DELETE"]
                .map(|method| refusal(method, Some(&plain)))
                .to_vec(),
            sse: vec![refusal("GET", Some(&plain))],
            invalid_token: refusal("POST", Some(&invalid)),
            metadata: Some(json(METADATA, &serde_json::json!({}))),
            preflights: vec![exchange("OPTIONS", URL, 204, &[], "")],
        }
    }

    fn judged(facts: &Unauthenticated) -> Vec<Finding> {
        let discovered = json(METADATA, &serde_json::json!({}));
        challenge(&Target::parse(URL).unwrap(), facts, &discovered)
    }

    fn failed(facts: &Unauthenticated) -> Vec<Check> {
        let fails = |finding: &Finding| finding.verdict == Verdict::Fail;
        judged(facts)
            .into_iter()
            .filter(fails)
            .map(|f| f.check)
            .collect()
    }

    #[test]
    fn a_challenge_on_every_method_passes() {
        for finding in judged(&healthy()) {
            assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
        }
    }

    #[test]
    fn a_method_without_a_challenge_fails_that_check_alone() {
        let mut facts = healthy();
        facts.mcp[2] = refusal("POST", None);
        facts.invalid_token = refusal("POST", None);
        assert_eq!(failed(&facts), [Check::Challenge]);
        let mut facts = healthy();
        facts.mcp[3] = exchange("DELETE", URL, 405, &[], "");
        assert_eq!(failed(&facts), [Check::Challenge]);
    }

    #[test]
    fn a_challenge_needs_no_body() {
        let mut facts = healthy();
        for exchange in &mut facts.mcp {
            let answer = exchange.outcome.as_mut().unwrap();
            answer.body = bytes::Bytes::new();
            answer.headers.remove("content-type");
        }
        assert_eq!(failed(&facts), []);
    }

    #[test]
    fn what_a_bot_check_hides_is_not_blamed() {
        let mut facts = healthy();
        let html = [("content-type", "text/html")];
        facts.mcp[2] = exchange("POST", URL, 403, &html, "Just a moment");
        facts.metadata = None;
        assert_eq!(failed(&facts), []);
    }

    #[test]
    fn a_wrong_error_code_or_metadata_url_has_its_own_check() {
        let mut facts = healthy();
        facts.invalid_token = facts.mcp[0].clone();
        assert_eq!(failed(&facts), [Check::ChallengeInvalidToken]);
        let mut facts = healthy();
        facts.metadata = None;
        assert_eq!(failed(&facts), [Check::ChallengeMetadata]);
        let mut facts = healthy();
        facts.metadata = Some(exchange("GET", "https://mcp.example.com/x", 404, &[], ""));
        assert_eq!(failed(&facts), [Check::ChallengeMetadata]);
    }

    #[test]
    fn a_gateway_without_the_older_transport_is_not_blamed_for_it() {
        let mut facts = healthy();
        facts.sse = vec![exchange("GET", "https://mcp.example.com/sse", 404, &[], "")];
        assert_eq!(
            verdict_of(&judged(&facts), Check::ChallengeSse),
            Verdict::Skip
        );
        facts.sse[0] = exchange("GET", "https://mcp.example.com/sse", 200, &[], "");
        assert_eq!(failed(&facts), [Check::ChallengeSse]);
    }

    #[test]
    fn a_preflight_that_asks_for_a_token_fails() {
        let mut facts = healthy();
        facts.preflights = vec![exchange("OPTIONS", URL, 401, &[], "")];
        assert_eq!(failed(&facts), [Check::Preflight]);
    }

    #[test]
    fn challenge_parameters_are_read_quoted_and_bare() {
        let text = r#"error="invalid_token", error_description="a \"b\", c=d", scope=mcp"#;
        assert_eq!(parameter(text, "error").as_deref(), Some("invalid_token"));
        assert_eq!(
            parameter(text, "error_description").as_deref(),
            Some("a \"b\", c=d")
        );
        assert_eq!(parameter(text, "Scope").as_deref(), Some("mcp"));
        assert_eq!(parameter(text, "c"), None);
        assert_eq!(parameter("error=\"open", "error"), None);
    }
}
