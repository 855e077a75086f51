//! Registration (RFC 7591), the pages, and what comes back to the client (OAuth 2.1 §4.1, RFC 9207).

use url::Url;

use super::judgement::{all_well, answer, judge, judge_document, no_store, settle, strings, wrong};
use crate::check::Check;
use crate::exchange::{Answer, Exchange};
use crate::finding::Finding;
use crate::form::Page;

/// `POST /register` with a redirect URI.
pub(crate) fn registration(exchange: &Exchange, redirect_uri: &str) -> Finding {
    let check = Check::Registration;
    judge_document(check, exchange, 201, |document| {
        if document["client_id"].as_str().is_none_or(str::is_empty) {
            return wrong("the answer has no client_id");
        }
        let echoed = strings(&document, "redirect_uris");
        if !echoed.contains(&redirect_uri) {
            return wrong(format!("redirect_uris came back as {echoed:?}"));
        }
        if document["client_secret"].is_string() {
            return Ok(check.warn("a client that asked for no secret was given one"));
        }
        Ok(check.pass("a client registered itself"))
    })
}

/// `POST /register` with a redirect URI that runs script.
pub(crate) fn registration_errors(exchange: &Exchange) -> Finding {
    let check = Check::RegistrationErrors;
    judge_document(check, exchange, 400, |document| {
        let error = document["error"].as_str().unwrap_or_default();
        if matches!(error, "invalid_redirect_uri" | "invalid_client_metadata") {
            Ok(check.pass(format!("a dangerous redirect URI gets {error}")))
        } else {
            wrong(format!("a dangerous redirect URI gets error {error:?}"))
        }
    })
}

/// An authorization request that must not be redirected: the last answer on the way.
pub(crate) fn page_instead_of_redirect(check: Check, last: &Exchange) -> Finding {
    judge(check, last, |answer| {
        if answer.status.is_redirection() {
            return wrong("it redirects away");
        }
        if answer.status.is_server_error() {
            return wrong(format!("it answers {answer}"));
        }
        let refused = answer.status.is_client_error();
        Ok(match (refused, answer.is_html()) {
            (true, true) => check.pass(format!(
                "a page with {}, no redirect",
                answer.status.as_u16()
            )),
            (true, false) => check.warn(format!("no redirect, but no page: {answer}")),
            (false, _) => check.warn(format!("no redirect, but {answer} as if all were well")),
        })
    })
}

/// A finding about another answer of the same endpoint, unless a firewall gave both that answer and the one in
/// place of the page to log in.
pub(crate) fn unless_blocked(finding: Finding, last: &Exchange, login: &Exchange) -> Finding {
    let is_blocked = |exchange: &Exchange| exchange.answer().is_some_and(Answer::is_bot_page);
    if is_blocked(last) && is_blocked(login) {
        finding.check.after(Check::LoginPage)
    } else {
        finding
    }
}

/// An authorization request whose loopback port differs from the registered one.
pub(crate) fn loopback_port(last: &Exchange) -> Finding {
    let check = Check::LoopbackPort;
    judge(check, last, |answer| {
        Ok(check.pass_if(
            answer.status.is_success() || answer.status.is_redirection(),
            "another loopback port is accepted",
            format!("another loopback port gets {answer}"),
        ))
    })
}

/// The page that a user without a session sees: the last answer on the way. `landing`: where it
/// led back to the client; `is_loopback`: only programs of one machine reach the server.
pub(crate) fn login_page(
    last: &Exchange,
    landing: Option<&Landing>,
    is_loopback: bool,
) -> Vec<Finding> {
    let check = Check::LoginPage;
    if let Some(landing) = landing {
        return vec![without_login(landing, is_loopback)];
    }
    let judged = answer(last).and_then(|answer| {
        if answer.status.is_redirection() {
            return Ok((check.pass("another site does the login"), None));
        }
        if answer.is_challenge() {
            let summary =
                "a bot check stands before the page to log in: a person's browser may pass it";
            return Ok((check.warn(summary).seen(last.to_string()), None));
        }
        let page = Page::from_exchange(last);
        if answer.status.as_u16() != 200 || !answer.is_html() {
            let words = Page::words_of(last);
            return wrong(format!("the page to log in is {answer}: {words}"));
        }
        if page.is_none_or(|page| page.forms().is_empty()) {
            return wrong("the page to log in has no form");
        }
        Ok((check.pass("a page to log in"), Some(answer)))
    });
    let (page, answer) = match judged {
        Ok((finding, Some(answer))) => (finding, answer),
        Ok((finding, None)) => return vec![finding],
        Err(problem) => return vec![settle(check, [last], Err(problem))],
    };
    vec![
        page,
        no_store(Check::LoginPageCache, answer),
        framing(answer),
    ]
}

/// Somebody is sent back, though nobody logged in.
fn without_login(landing: &Landing, is_loopback: bool) -> Finding {
    let check = Check::LoginPage;
    let open = "a code is given without a login: whoever reaches this server gets in";
    let finding = match (landing.parameter("code"), is_loopback) {
        (Some(_), true) => check.warn(format!(
            "{open}. On this machine alone that is a demonstration"
        )),
        (Some(_), false) => check.fail(open),
        (None, _) => {
            let error = landing.parameter("error").unwrap_or_default();
            check.fail(format!(
                "the request is sent back with error {error:?} before anybody could log in"
            ))
        }
    };
    finding.seen(landing.names())
}

/// Whether another site may show the page to log in within its own.
fn framing(answer: &Answer) -> Finding {
    let policy = answer.header("content-security-policy").unwrap_or_default();
    let ancestors = policy
        .split(';')
        .filter_map(|directive| directive.trim().strip_prefix("frame-ancestors"))
        .any(|sources| matches!(sources.trim(), "'none'" | "'self'"));
    let options = answer
        .header("x-frame-options")
        .unwrap_or_default()
        .to_ascii_uppercase();
    let check = Check::LoginPageFraming;
    if ancestors || matches!(options.as_str(), "DENY" | "SAMEORIGIN") {
        check.pass("other sites can't frame it")
    } else {
        check
            .fail("any site may frame it")
            .seen(format!("content-security-policy: {policy}"))
    }
}

/// What came back to the client's redirect URI, and what was sent.
#[derive(Clone, Debug)]
pub(crate) struct Landing {
    pub(crate) url: Url,
    pub(crate) redirect_uri: Url,
    pub(crate) state: String,
}

impl Landing {
    /// A parameter that came exactly once.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let mut values = self.url.query_pairs().filter(|(key, _)| key == name);
        let value = values.next()?.1.into_owned();
        values.next().is_none().then_some(value)
    }

    /// Whether it is the client's own redirect URI, and not another site's page.
    pub(crate) fn is_at_redirect_uri(&self) -> bool {
        let mut bare = self.url.clone();
        bare.set_query(None);
        bare == self.redirect_uri
    }

    /// What is wrong besides `code`, `error` and `iss`.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if !self.is_at_redirect_uri() {
            wrong.push("the redirect goes elsewhere than to the redirect_uri".to_owned());
        }
        if self.parameter("state").as_deref() != Some(self.state.as_str()) {
            wrong.push("state did not come back as it was sent".to_owned());
        }
        wrong
    }

    /// The names of the parameters, for evidence; never the code.
    fn names(&self) -> String {
        let names: Vec<_> = self.url.query_pairs().map(|(name, _)| name).collect();
        format!("parameters of the redirect: {}", names.join(", "))
    }
}

/// The redirect after Deny.
pub(crate) fn deny(landing: &Landing) -> Finding {
    let mut wrong = landing.wrong();
    let error = landing.parameter("error").unwrap_or_default();
    if error != "access_denied" {
        wrong.push(format!("error is {error:?}, not access_denied"));
    }
    if landing.parameter("code").is_some() {
        wrong.push("a code came although the answer was Deny".to_owned());
    }
    all_well(Check::Deny, "Deny gives access_denied and state", wrong).seen(landing.names())
}

/// The redirect after Allow.
pub(crate) fn authorization_response(landing: &Landing) -> Finding {
    let mut wrong = landing.wrong();
    if landing.parameter("code").is_none_or(|code| code.is_empty()) {
        let error = landing.parameter("error").unwrap_or_default();
        wrong.push(format!("no code came, but error {error:?}"));
    }
    all_well(
        Check::AuthorizationResponse,
        "Allow gives code and state",
        wrong,
    )
    .seen(landing.names())
}

/// `iss` of every redirect. `issuers`: what the documents say; `advertised`: whether they say that
/// it comes.
pub(crate) fn iss(landings: &[Landing], issuers: &[String], advertised: bool) -> Finding {
    let check = Check::Iss;
    let mut wrong = Vec::new();
    for landing in landings {
        match landing.parameter("iss") {
            Some(iss) if issuers.contains(&iss) => {}
            Some(iss) => wrong.push(format!("iss is {iss:?}, the issuer {:?}", issuers.first())),
            None if advertised => wrong.push(format!("no iss came; {}", landing.names())),
            None => return check.after(Check::IssFlag),
        }
    }
    all_well(
        check,
        format!("equals the issuer in {} of {0} responses", landings.len()),
        wrong,
    )
}

/// Where a request without `code_challenge` led, with a session: back to the client, or a page.
pub(crate) fn pkce_required(landing: Option<&Landing>, last: &Exchange) -> Finding {
    let check = Check::PkceRequired;
    if let Some(landing) = landing {
        return match (landing.parameter("error"), landing.parameter("code")) {
            (Some(error), None) => check.pass(format!("a request without PKCE gets {error}")),
            _ => check
                .fail("a request without PKCE gets a code")
                .seen(landing.names()),
        };
    }
    judge(check, last, |answer| {
        let summary = format!("a request without PKCE gets {answer}");
        Ok(check.pass_if(answer.status.is_client_error(), &*summary, &*summary))
    })
}

#[cfg(test)]
mod tests;
