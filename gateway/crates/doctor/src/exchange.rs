//! What was asked and what came back, as recorded: the facts that judgements are made of.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use mcp_protocol::media_type;
use serde_json::Value;
use url::Url;

use super::check::Check;

/// Who an answer is for: the bot check is judged on what programs get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Program,
    Browser,
}

/// One request and its outcome.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) reader: Reader,
    pub(super) outcome: Result<Answer, Failure>,
}

/// Whether this gateway gave one of the answers: its refusals name a reason and the request.
pub(super) fn are_ours(log: &[Exchange]) -> bool {
    log.iter().any(|exchange| {
        exchange
            .json()
            .is_some_and(|body| body["reason"].is_string() && body["request_id"].is_string())
    })
}

/// A response, read to its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// From the start of the connection to the last byte.
    pub(super) took: Duration,
}

/// Why there was no whole response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("the name does not resolve: {0}")]
    Name(String),
    #[error("no connection: {0}")]
    Connect(String),
    #[error("no TLS: {0}")]
    Tls(TlsFailure),
    #[error("no whole answer within {0:?}")]
    TimedOut(Duration),
    #[error("the answer broke off or is no HTTP: {0}")]
    Broken(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// Why a TLS handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TlsFailure {
    #[error("{0}")]
    Certificate(String),
    #[error("no common version or cipher: {0}")]
    Protocol(String),
    #[error("{0}")]
    Other(String),
}

impl Exchange {
    /// The answer, whatever it is.
    pub(super) fn answer(&self) -> Option<&Answer> {
        self.outcome.as_ref().ok()
    }

    /// The JSON of the answer, whatever it says.
    pub(super) fn json(&self) -> Option<Value> {
        self.answer()?.json()
    }

    /// The answer, unless something stands in front that has a check of its own. That check goes by what
    /// programs get, so that what browsers get is judged where it was asked for.
    pub(super) fn reached(&self) -> Result<&Answer, Obstacle> {
        match &self.outcome {
            Err(failure) => Err(Obstacle::Failed(failure.clone())),
            Ok(answer) if self.reader == Reader::Browser => Ok(answer),
            Ok(answer) if answer.is_bot_page() => Err(Obstacle::Known(Check::BotPage)),
            Ok(answer) if answer.status.is_redirection() => Err(Obstacle::Known(Check::NoRedirect)),
            Ok(answer) => Ok(answer),
        }
    }
}

/// Why an answer can't be judged for what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// That check fails on it.
    Known(Check),
    /// There is no answer.
    Failed(Failure),
}

/// One line of evidence: no query (it may hold a code), no body that may hold a token.
impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → ", self.method, shown(&self.url))?;
        let answer = match &self.outcome {
            Ok(answer) => answer,
            Err(failure) => return write!(f, "{failure}"),
        };
        write!(f, "{}", answer.status.as_u16())?;
        for name in ["content-type", "www-authenticate"] {
            if let Some(value) = answer.header(name) {
                write!(f, ", {name}: {value}")?;
            }
        }
        if let Some(location) = answer.header("location") {
            let location = match self.url.join(location) {
                Ok(url) => shown(&url),
                Err(_) => "not a URL".to_owned(),
            };
            write!(f, ", location: {location}")?;
        }
        let beginning = answer.beginning();
        let tells = !answer.status.is_success() || answer.is_html();
        if tells && self.reader == Reader::Program && !beginning.is_empty() {
            write!(f, ": {beginning}")?;
        }
        Ok(())
    }
}

/// A URL without what may be secret in it.
pub(super) fn shown(url: &Url) -> String {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    // Only URLs that can't be a base refuse, and they carry no user.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    let more = if url.query().is_some() { "?…" } else { "" };
    format!("{bare}{more}")
}

/// Status and media type in words.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.as_u16();
        match self.media_type() {
            kind if kind.is_empty() => write!(f, "{status} without a media type"),
            kind => write!(f, "{status} with {kind}"),
        }
    }
}

impl Answer {
    /// The first value of a header, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The media type in lower case, without parameters.
    pub(super) fn media_type(&self) -> String {
        media_type::essence(&self.headers)
    }

    pub(super) fn is_html(&self) -> bool {
        self.media_type() == "text/html"
    }

    pub(super) fn is_event_stream(&self) -> bool {
        media_type::is_event_stream(&self.headers)
    }

    /// Whether it says that it is JSON.
    pub(super) fn says_json(&self) -> bool {
        let kind = self.media_type();
        kind == "application/json" || kind.ends_with("+json")
    }

    /// The body, if it says that it is JSON and is.
    pub(super) fn json(&self) -> Option<Value> {
        self.says_json()
            .then(|| serde_json::from_slice(&self.body).ok())
            .flatten()
    }

    /// Whether Cache-Control has a directive, in any case.
    pub(super) fn has_cache_directive(&self, directive: &str) -> bool {
        self.headers
            .get_all(http::header::CACHE_CONTROL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(directive))
    }

    /// A page of a firewall or bot check.
    pub(super) fn is_bot_page(&self) -> bool {
        let refused = matches!(self.status.as_u16(), 403 | 429 | 503);
        self.is_challenge() || (refused && self.is_html())
    }

    /// A bot check that lets through who runs its script: a person's browser does.
    pub(super) fn is_challenge(&self) -> bool {
        self.headers.contains_key("cf-mitigated")
    }

    /// The first words of the body, on one line.
    pub(super) fn beginning(&self) -> String {
        let start = &self.body[..self.body.len().min(400)];
        let text = String::from_utf8_lossy(start);
        let blank = |c: char| c.is_control() || c.is_whitespace();
        let words = text.split(blank).filter(|word| !word.is_empty());
        let words = words.collect::<Vec<_>>().join(" ");
        words.chars().take(120).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    /// An exchange for the tests of judgements.
    pub(crate) fn exchange(
        method: &str,
        url: &str,
        status: u16,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Exchange {
        let mut answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            took: Duration::from_millis(5),
            ..Answer::default()
        };
        for (name, value) in headers {
            answer.headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        Exchange {
            method: method.parse().unwrap(),
            url: url.parse().unwrap(),
            reader: Reader::Program,
            outcome: Ok(answer),
        }
    }

    /// A 200 with a JSON body.
    pub(crate) fn json(url: &str, body: &Value) -> Exchange {
        let headers = [
            ("content-type", "application/json"),
            ("access-control-allow-origin", "*"),
        ];
        exchange("GET", url, 200, &headers, &body.to_string())
    }

    #[test]
    fn evidence_shows_no_code_and_no_token() {
        let location = "https://app.example/cb?code=SECRET&state=x";
        let url = "https://u:SECRET@mcp.example.com/authorize?code_challenge=SECRET";
        let redirect = exchange("GET", url, 303, &[("location", location)], "");
        let token = exchange(
            "POST",
            "https://mcp.example.com/token",
            200,
            &[("content-type", "application/json")],
            r#"{"access_token":"SECRET"}"#,
        );
        assert_eq!(
            redirect.to_string(),
            "GET https://mcp.example.com/authorize?… → 303, location: https://app.example/cb?…"
        );
        assert!(!token.to_string().contains("SECRET"), "{token}");
    }

    #[test]
    fn a_redirect_and_a_bot_page_are_the_matter_of_their_own_checks() {
        let url = "https://mcp.example.com/mcp";
        let html = [("content-type", "text/html")];
        let found = |status, headers: &[(&'static str, &str)]| {
            exchange("GET", url, status, headers, "").reached().err()
        };
        let known = |check| Some(Obstacle::Known(check));
        assert_eq!(found(301, &[]), known(Check::NoRedirect));
        assert_eq!(found(403, &html), known(Check::BotPage));
        assert_eq!(found(404, &html), None);
        assert_eq!(found(403, &[("content-type", "application/json")]), None);
    }

    #[test]
    fn what_a_browser_gets_is_judged_where_it_was_asked_for() {
        let html = [("content-type", "text/html")];
        for status in [301, 403, 429, 503] {
            let url = "https://mcp.example.com/authorize";
            let mut page = exchange("GET", url, status, &html, "");
            page.reader = Reader::Browser;
            assert_eq!(page.reached().err(), None, "{status}");
        }
    }
}
