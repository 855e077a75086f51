//! Refreshing, where the metadata offers it (OAuth 2.1 §4.3): a token is given, exchanged, followed
//! by another, and a second request with the first gets what the first request got.

use serde_json::Value;

use super::judgement::{Problem, answer, document, judge_document, settle, strings, wrong};
use crate::check::Check;
use crate::exchange::Exchange;
use crate::finding::Finding;

/// Whether the authorization server metadata offers refresh tokens.
pub(super) fn is_offered(server: &Value) -> bool {
    strings(server, "grant_types_supported").contains(&"refresh_token")
}

/// Whether clients that ask for what they read know that they may ask.
pub(super) fn offline_access(server: &Value) -> Finding {
    let check = Check::OfflineAccess;
    if !is_offered(server) {
        return not_offered(check);
    }
    if strings(server, "scopes_supported").contains(&"offline_access") {
        return check.pass("scopes_supported has offline_access");
    }
    let seen = format!("scopes_supported: {}", server["scopes_supported"]);
    check
        .fail("scopes_supported has no offline_access")
        .seen(seen)
}

fn not_offered(check: Check) -> Finding {
    check.skip("refresh tokens are not offered")
}

/// Every finding about the exchange where nothing is offered.
pub(crate) fn nothing_offered() -> Vec<Finding> {
    [
        Check::RefreshToken,
        Check::Refresh,
        Check::RefreshRotation,
        Check::RefreshGrace,
    ]
    .map(not_offered)
    .to_vec()
}

/// Whether the code gave one.
pub(crate) fn refresh_token(given: bool) -> Finding {
    Check::RefreshToken.pass_if(
        given,
        "the code gave a refresh token",
        "the metadata offers refresh tokens, and the code gave none",
    )
}

/// What a refresh token was exchanged for, and how that was used.
#[derive(Debug)]
pub(crate) struct Refreshed<'a> {
    /// The token that was exchanged.
    pub(crate) token: &'a str,
    /// Its exchange.
    pub(crate) first: &'a Exchange,
    /// A call with the access token that came of it.
    pub(crate) call: Option<&'a Exchange>,
    /// The same exchange at once again.
    pub(crate) again: Option<&'a Exchange>,
    /// The exchange of the token that came of the first.
    pub(crate) next: Option<&'a Exchange>,
}

/// The refresh token in an answer.
pub(crate) fn successor(exchange: &Exchange) -> Option<String> {
    let answered = document(exchange, 200).ok()?;
    Some(answered["refresh_token"].as_str()?.to_owned())
}

/// The access token in an answer.
pub(crate) fn access_token(exchange: &Exchange) -> Option<String> {
    let answered = document(exchange, 200).ok()?;
    Some(answered["access_token"].as_str()?.to_owned())
}

/// All checks of the exchange.
pub(crate) fn refreshed(seen: &Refreshed<'_>) -> Vec<Finding> {
    let check = Check::Refresh;
    let judged = exchanged(seen);
    let works = judged.is_ok();
    let exchanges = [Some(seen.first), seen.call].into_iter().flatten();
    let mut findings = vec![settle(check, exchanges, judged)];
    if works {
        findings.push(rotation(seen));
        findings.push(grace(seen));
    } else {
        findings.push(Check::RefreshRotation.after(check));
        findings.push(Check::RefreshGrace.after(check));
    }
    findings
}

fn exchanged(seen: &Refreshed<'_>) -> Result<Finding, Problem> {
    document(seen.first, 200)?;
    if access_token(seen.first).is_none() {
        return wrong("the answer to a refresh has no access_token");
    }
    if let Some(call) = seen.call {
        let answered = answer(call)?;
        // What else may be wrong with a call is said by the checks of the calls.
        if answered.status.as_u16() == 401 {
            return wrong(format!("the refreshed access token gets {answered}"));
        }
    }
    Ok(Check::Refresh.pass("a refresh gives an access token that works"))
}

fn rotation(seen: &Refreshed<'_>) -> Finding {
    let check = Check::RefreshRotation;
    let judged = match (successor(seen.first), seen.next) {
        (None, _) => {
            wrong("a refresh gives no new refresh token, so that a stolen one is never noticed")
        }
        (Some(token), _) if token == seen.token => {
            wrong("a refresh gives the same refresh token again")
        }
        (Some(_), Some(next)) => document(next, 200)
            .map(|_| check.pass("each refresh token is followed by one that works")),
        (Some(_), None) => return check.skip("the new token was not tried"),
    };
    settle(
        check,
        [Some(seen.first), seen.next].into_iter().flatten(),
        judged,
    )
}

fn grace(seen: &Refreshed<'_>) -> Finding {
    let check = Check::RefreshGrace;
    let Some(again) = seen.again else {
        return check.skip("the second refresh was not tried");
    };
    judge_document(check, again, 200, |_| {
        if successor(again) == successor(seen.first) {
            let summary = "a second refresh with one token gets what the first one got";
            Ok(check.pass(summary))
        } else {
            let why = "two refreshes with one token get two different refresh tokens";
            wrong(why)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::judgement::verdict_of;
    use super::*;
    use crate::exchange::tests::exchange;
    use crate::finding::Verdict;

    fn reply(status: u16, body: &Value) -> Exchange {
        let kind = [("content-type", "application/json")];
        let url = "https://mcp.example.com/token";
        exchange("POST", url, status, &kind, &body.to_string())
    }

    fn tokens(refresh: &str) -> Exchange {
        reply(200, &json!({"access_token": "a", "refresh_token": refresh}))
    }

    fn verdicts(
        first: &Exchange,
        call: &Exchange,
        again: &Exchange,
        next: &Exchange,
    ) -> [Verdict; 3] {
        let findings = refreshed(&Refreshed {
            token: "r0",
            first,
            call: Some(call),
            again: Some(again),
            next: Some(next),
        });
        [Check::Refresh, Check::RefreshRotation, Check::RefreshGrace]
            .map(|check| verdict_of(&findings, check))
    }

    #[test]
    fn each_fault_of_a_refresh_is_told_by_its_own_check() {
        use Verdict::{Fail, Pass, Skip};
        let refused = reply(400, &json!({"error": "invalid_grant"}));
        let (called, dead) = (reply(200, &json!({})), reply(401, &json!({})));
        let (one, two) = (tokens("r1"), tokens("r2"));
        let none = reply(200, &json!({"access_token": "a"}));
        for (first, call, again, next, expected) in [
            (&one, &called, &one, &two, [Pass, Pass, Pass]),
            (&refused, &called, &one, &two, [Fail, Skip, Skip]),
            (&one, &dead, &one, &two, [Fail, Skip, Skip]),
            (&none, &called, &none, &two, [Pass, Fail, Pass]),
            (
                &tokens("r0"),
                &called,
                &tokens("r0"),
                &two,
                [Pass, Fail, Pass],
            ),
            (&one, &called, &one, &refused, [Pass, Fail, Pass]),
            (&one, &called, &refused, &two, [Pass, Pass, Fail]),
            (&one, &called, &two, &two, [Pass, Pass, Fail]),
        ] {
            assert_eq!(verdicts(first, call, again, next), expected);
        }
    }

    #[test]
    fn what_is_not_offered_is_not_judged() {
        let plain = json!({"grant_types_supported": ["authorization_code"]});
        assert_eq!(offline_access(&plain).verdict, Verdict::Skip);
        let mut offered = json!({"grant_types_supported": ["authorization_code", "refresh_token"]});
        assert_eq!(offline_access(&offered).verdict, Verdict::Fail);
        offered["scopes_supported"] = json!(["mcp", "offline_access"]);
        assert_eq!(offline_access(&offered).verdict, Verdict::Pass);
        assert_eq!(refresh_token(false).verdict, Verdict::Fail);
        for finding in nothing_offered() {
            assert_eq!(finding.verdict, Verdict::Skip);
        }
    }
}
