//! `[traces]`: where spans of requests are sent, and of how many.

use http::{HeaderName, HeaderValue};

use crate::config::reader::Reader;
use crate::config::settings::settings;
use crate::config::values;
use gateway_traces::{Endpoint, Settings};

settings! {
    /// `[traces]`
    pub(super) struct TraceKeys in "traces." {
        /// Where spans of requests are sent: the URL of a collector that takes OTLP over HTTP, such as
        /// `http://127.0.0.1:4318/v1/traces`. Default: nowhere, and nothing is traced.
        endpoint: Option<String>, values::text;
        /// How many of the requests are traced that bring no decision: from 0, none, to 1, all.
        sample: f64 = "0.1", share;
        /// Whether what a request with a valid token says in `traceparent` about keeping its trace counts for
        /// nothing. Without a token it never counts.
        ignore_parent: bool = "false", values::flag;
        /// A file with headers for the collector, each a line `Name: value`, as for a credential. It is read
        /// at the start.
        headers_file: Option<String>, values::file;
        /// The gateway's name to the collector, `service.name`.
        service_name: String = "cupcake-gateway", values::displayable;
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

impl TraceKeys {
    /// What is traced; `None` where nothing is, or a problem was noted.
    pub(super) fn settings(self, reader: &mut Reader<'_>) -> Option<Settings> {
        let headers = match &self.headers_file {
            Some(file) => headers(file, reader),
            None => Vec::new(),
        };
        let Some(url) = &self.endpoint else {
            let keys = ["sample", "ignore_parent", "headers_file", "service_name"];
            let sentence =
                "says how to trace, and nothing is traced: name a collector in `traces.endpoint`";
            reader.refuse("traces", keys, sentence);
            return None;
        };
        let endpoint = Endpoint::new(url, headers);
        Some(Settings {
            // The text is not told: it may hold a password.
            endpoint: reader.noted("traces.endpoint", endpoint)?,
            sample: self.sample,
            ignore_parent: self.ignore_parent,
            service_name: self.service_name,
        })
    }
}

/// The headers in a file; none with a problem noted, which shows nothing of what is in it.
fn headers(file: &str, reader: &mut Reader<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let path = "traces.headers_file";
    let Some(text) = reader.file(path, file) else {
        return Vec::new();
    };
    let mut headers = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match header(line) {
            Some(header) => headers.push(header),
            None => {
                let at = at + 1;
                let sentence = format!(
                    "has no header in line {at}, which is written as `Name: value`, and none that frames \
                     the request; it is `{file}`"
                );
                reader.wrong(path, sentence);
                return Vec::new();
            }
        }
    }
    headers
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let name = values::free_header(name.trim()).ok()?;
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}
