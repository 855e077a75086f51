//! One HTTP exchange and its whole answer. No redirect is followed, no cookie is
//! kept, no proxy is asked, and nothing waits longer than half a minute.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// A response read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Names in lower case, values in order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body, lossily decoded.
    pub text: String,
    /// From the first byte sent to the last byte received.
    pub took: Duration,
}

impl Reply {
    /// Every value of a header.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The only value of a header; empty when it is absent. Panics when it came twice.
    pub fn header(&self, name: &str) -> &str {
        let values = self.header_values(name);
        assert!(
            values.len() <= 1,
            "{name} came {} times: {values:?}",
            values.len()
        );
        values.first().copied().unwrap_or_default()
    }

    /// The body as JSON. Panics when it is none, with the body in the message.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| {
            panic!("not JSON ({error}), status {}: {}", self.status, self.text)
        })
    }

    /// The `error` member of an OAuth error body.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }
}

/// A client with the habits this module's first lines name.
pub fn client() -> Client {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .expect("no TLS and no system configuration is involved")
}

/// Send a request and read the whole answer.
pub async fn send(request: RequestBuilder) -> Result<Reply> {
    let start = Instant::now();
    let response = request.send().await.context("no response")?;
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let text = String::from_utf8_lossy(&response.bytes().await.context("the body broke off")?)
        .into_owned();
    Ok(Reply {
        status,
        headers,
        text,
        took: start.elapsed(),
    })
}

/// A request without a body.
pub async fn ask(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<Reply> {
    let mut request = client().request(Method::from_bytes(method.as_bytes())?, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request).await
}

/// GET without headers of ours.
pub async fn get(url: &str) -> Result<Reply> {
    ask("GET", url, &[]).await
}

/// POST a body of some media type.
pub async fn post(
    url: &str,
    content_type: &str,
    body: impl Into<reqwest::Body>,
    headers: &[(&str, &str)],
) -> Result<Reply> {
    let mut request = client()
        .post(url)
        .header("Content-Type", content_type)
        .body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request).await
}

/// POST a form, as `/token` and `/revoke` want it.
pub async fn post_form(url: &str, fields: &[(&str, &str)]) -> Result<Reply> {
    send(client().post(url).form(fields)).await
}

/// POST JSON, as `/register` wants it.
pub async fn post_json(url: &str, body: &Value) -> Result<Reply> {
    post(url, "application/json", body.to_string(), &[]).await
}
