//! Whether requests are traced, and where what is kept of them goes.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use gateway_core::clock::Clock;
use gateway_metrics::Metrics;
use http::{HeaderMap, Method, Version};
use tokio::runtime::Handle;

use super::collector::{Collector, Endpoint};
use super::exporter::Exporter;
use super::record::Finished;
use super::request::RequestTrace;
use super::spans::Sender;

/// What the operator decides about traces.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where spans are sent.
    pub endpoint: Endpoint,
    /// How many of the requests are kept that bring no decision: 0 none, 1 all.
    pub sample: f64,
    /// Whether what a request says about keeping its trace counts for nothing.
    pub ignore_parent: bool,
    /// The gateway's name to the collector.
    pub service_name: String,
}

/// Makes traces of requests; or nothing, where there is no collector. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Tracer>>);

/// What requests share.
pub(crate) struct Tracer {
    sample: f64,
    pub(crate) ignore_parent: bool,
    pub(crate) clock: Clock,
    exporter: Exporter,
}

impl Traces {
    /// Nothing is traced.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Requests are traced, and sent to the collector by tasks of `runtime`.
    pub fn start(settings: Settings, clock: Clock, metrics: &Metrics, runtime: &Handle) -> Self {
        let sender = Sender {
            service_name: settings.service_name,
            instance: format!("{:016x}", rand::random::<u64>()),
        };
        let collector = Collector::new(settings.endpoint);
        Self(Some(Arc::new(Tracer {
            sample: settings.sample,
            ignore_parent: settings.ignore_parent,
            clock,
            exporter: Exporter::start(sender, collector, metrics, runtime),
        })))
    }

    /// Begins the trace of a request, whose head is there since `began`.
    #[inline]
    pub fn begin(
        &self,
        method: &Method,
        headers: &HeaderMap,
        version: Version,
        request_id: &str,
        began: Instant,
    ) -> Option<Box<RequestTrace>> {
        let tracer = self.0.as_ref()?;
        let trace = RequestTrace::new(tracer, method, headers, version, request_id, began);
        Some(Box::new(trace))
    }

    /// Sends what is left, within a short bound. What ends afterwards is not sent.
    pub async fn finish(&self) {
        if let Some(tracer) = &self.0 {
            tracer.exporter.finish().await;
        }
    }
}

impl Tracer {
    /// Whether a request is kept, by chance.
    pub(crate) fn draw(&self) -> bool {
        self.sample >= 1.0 || rand::random::<f64>() < self.sample
    }

    pub(crate) fn keep(&self, finished: Finished) {
        self.exporter.keep(finished);
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer")
            .field("sample", &self.sample)
            .field("ignore_parent", &self.ignore_parent)
            .finish_non_exhaustive()
    }
}
