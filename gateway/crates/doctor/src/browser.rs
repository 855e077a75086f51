//! A browser without scripts, for an unattended login: pages, cookies, redirects on one origin.

use std::collections::BTreeMap;

use http::header::{LOCATION, SET_COOKIE};
use url::Url;

use super::exchange::Exchange;
use super::form::Form;
use super::http_client::{Ask, HttpClient};

/// More redirects in a row are a loop.
const MAX_STEPS: usize = 8;

/// Cookies of one visit.
#[derive(Clone, Debug, Default)]
pub(super) struct Browser {
    cookies: BTreeMap<String, String>,
}

impl Browser {
    /// Opens a URL and follows redirects while they stay on its origin. The last answer; when
    /// that is a redirect, it leads elsewhere (or in circles).
    pub(super) async fn visit(&mut self, wire: &HttpClient, url: &Url) -> Exchange {
        let first = self.exchange(wire, Ask::new(http::Method::GET, url)).await;
        self.settle(wire, first).await
    }

    /// Sends a form and follows on.
    pub(super) async fn submit(&mut self, wire: &HttpClient, form: &Form) -> Exchange {
        let ask = if form.post {
            let origin = form.action.origin().ascii_serialization();
            Ask::form(&form.action, &form.fields).with("origin", &origin)
        } else {
            let mut url = form.action.clone();
            url.set_query(None);
            url.query_pairs_mut().extend_pairs(&form.fields);
            Ask::new(http::Method::GET, &url)
        };
        let first = self.exchange(wire, ask).await;
        self.settle(wire, first).await
    }

    async fn settle(&mut self, wire: &HttpClient, mut exchange: Exchange) -> Exchange {
        for _ in 0..MAX_STEPS {
            let next = location(&exchange).filter(|next| next.origin() == exchange.url.origin());
            let Some(next) = next else { break };
            let ask = Ask::new(http::Method::GET, &next);
            exchange = self.exchange(wire, ask).await;
        }
        exchange
    }

    async fn exchange(&mut self, wire: &HttpClient, ask: Ask) -> Exchange {
        let mut ask = ask.for_browser();
        if !self.cookies.is_empty() {
            let pairs = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            ask = ask.with("cookie", &pairs.collect::<Vec<_>>().join("; "));
        }
        let exchange = wire.send(ask).await;
        if let Ok(answer) = &exchange.outcome {
            let lines = answer.headers.get_all(SET_COOKIE).iter();
            for line in lines.filter_map(|line| line.to_str().ok()) {
                self.keep(line);
            }
        }
        exchange
    }

    /// One Set-Cookie line. Domain, path and lifetime do not matter within one short visit.
    fn keep(&mut self, line: &str) {
        let mut parts = line.split(';');
        let Some((name, value)) = parts.next().and_then(|pair| pair.trim().split_once('=')) else {
            return;
        };
        let ends = parts.any(|part| part.trim().eq_ignore_ascii_case("max-age=0"));
        if ends || value.is_empty() {
            self.cookies.remove(name);
        } else {
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// Where an answer redirects to, absolute.
pub(super) fn location(exchange: &Exchange) -> Option<Url> {
    let redirect = exchange.answer()?;
    let location = redirect.header(LOCATION.as_str())?;
    let url = exchange.url.join(location).ok()?;
    redirect.status.is_redirection().then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_kept_replaced_and_removed() {
        let mut browser = Browser::default();
        browser.keep("__Host-session=a=b; Path=/; Secure; HttpOnly");
        browser.keep("other=1");
        assert_eq!(browser.cookies["__Host-session"], "a=b");
        browser.keep("__Host-session=c; Path=/");
        assert_eq!(browser.cookies["__Host-session"], "c");
        browser.keep("__Host-session=; Path=/; Max-Age=0");
        browser.keep("other=1; max-age=0");
        browser.keep("nonsense");
        assert!(browser.cookies.is_empty());
    }
}
