//! A collector of traces of the test's own, and what it was sent, as OpenTelemetry's own package reads it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::program::{run, workspace};
use crate::recorder::{Answer, Recorded, Recorder};

/// How long spans may take to come: they are gathered for 5 s.
const SENT: Duration = Duration::from_secs(30);

/// A collector that takes OTLP over HTTP.
pub struct Collector(pub Recorder);

/// One span.
#[derive(Clone, Debug)]
pub struct Span(pub Value);

impl Span {
    /// A member that is a text.
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// An attribute.
    pub fn attribute(&self, name: &str) -> &Value {
        &self.0["attributes"][name]
    }

    /// Whether it serves a request, rather than making one.
    pub fn is_server(&self) -> bool {
        self.text("kind") == "SPAN_KIND_SERVER"
    }
}

/// An answer that takes all spans.
pub fn taken() -> Answer {
    Answer::Full(
        200,
        vec![("Content-Type".into(), "application/x-protobuf".into())],
        Vec::new(),
    )
}

impl Collector {
    /// One that takes everything.
    pub async fn start() -> Result<Self> {
        Ok(Self(Recorder::start(|_| taken()).await?))
    }

    /// `[traces]` for it.
    pub fn configuration(&self, more: &str) -> String {
        let url = self.0.url();
        format!("[traces]\nendpoint = \"{url}/v1/traces\"\n{more}\n")
    }

    /// What it was sent so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.0.requests()
    }

    /// All spans that it was sent so far.
    pub async fn spans(&self) -> Result<Vec<Span>> {
        let lines = self.requests().into_iter().map(|request| {
            let mut line = STANDARD.encode(request.body);
            line.push('\n');
            line
        });
        let script = workspace().join("tests/traces/spans.py");
        let arguments = [script.display().to_string()];
        let lines: String = lines.collect();
        let (code, out, errors) = run(&python(), &arguments, &lines).await?;
        ensure!(code == 0, "spans.py: {out}{errors}");
        let spans: Vec<Value> = serde_json::from_str(&out).context("spans.py prints JSON")?;
        Ok(spans.into_iter().map(Span).collect())
    }

    /// All spans, once something holds of them. An error that shows them, if it never does.
    pub async fn until(&self, holds: impl Fn(&[Span]) -> bool) -> Result<Vec<Span>> {
        let begun = Instant::now();
        let mut read = usize::MAX;
        loop {
            let requests = self.requests().len();
            if requests != read {
                read = requests;
                let spans = self.spans().await?;
                if holds(&spans) {
                    return Ok(spans);
                }
            }
            if begun.elapsed() > SENT {
                bail!("it never came to hold: {:#?}", self.spans().await?);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The Python that has the package; `tests/run` makes it.
fn python() -> PathBuf {
    workspace().join("tests/.work/python-traces/bin/python")
}
