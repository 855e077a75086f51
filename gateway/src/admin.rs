//! The admin listener: health, readiness, metrics and the operator's API, on an address that is
//! never public. Health and metrics are open to whoever reaches it and name nobody; the API wants
//! the token of the keys folder.

mod accounts;
mod api;
mod backups;
mod clients;
mod failure;
pub(crate) mod front_door;
mod grants;
mod guard;
mod keys;
mod lookup;
mod measurement;
mod outcome;
mod pages;
mod passkeys;
mod peers;
mod personal_tokens;
mod process;
mod request;
mod streams;
mod tokens;
mod users;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use tokio::time::timeout;

pub use self::front_door::FrontDoor;
pub use self::pages::AdminPages;
pub use self::peers::PeerStreams;
pub use self::process::Process;

use crate::environment;
use crate::tls::{CertificateState, CertificateStatus};
use gateway_core::clock::Timestamp;
use gateway_core::policy::VIEW_LIFETIME;
use gateway_metrics::Metrics;
use gateway_oauth::AuthorizationServer;
use gateway_proxy::Proxy;
use gateway_store::RevocationView;
use gateway_upstream::{BackendStatus, Lookout, Observation};

/// A probe that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Said where the public listener does not take connections.
const NOT_OPEN: &str = "the public address does not take connections yet";

/// What the listener answers from.
pub struct Admin {
    /// What endpoints answer from: the store, the audit log, the keys.
    pub server: Arc<AuthorizationServer>,
    /// Asked by `/readyz`.
    pub revocations: Arc<RevocationView>,
    /// Asked by `/readyz`: how the backends stand.
    pub lookout: Arc<Lookout>,
    /// Whether the public listener takes connections.
    pub front: FrontDoor,
    /// Looked at by `/readyz`.
    pub keys_dir: PathBuf,
    /// Measured by `/metrics`.
    pub proxy: Proxy,
    /// What the operator asks of this process.
    pub process: Process,
    /// Printed by `/metrics`.
    pub metrics: Metrics,
    /// How the certificate stands, where https is served.
    pub certificate: Option<Arc<CertificateStatus>>,
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        match (&request.method, request.uri.path()) {
            (&Method::GET | &Method::HEAD, "/healthz" | "/livez") => self.healthy().await,
            (&Method::GET | &Method::HEAD, "/readyz") => self.ready().await,
            (&Method::GET, "/metrics") => self.metrics().await,
            // Boxed: probes need not have room for it.
            (_, path) if path.starts_with("/v1/") => {
                let answering = api::answer(&self.server, &self.process, session);
                Box::pin(answering).await.map(Vec::from)
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "try /healthz, /readyz or /metrics\n".to_owned(),
            ),
        }
    }
}

impl Admin {
    /// Healthy from when the public listener takes connections.
    async fn healthy(&self) -> Response<Vec<u8>> {
        if self.front.is_open().await {
            text(StatusCode::OK, "ok\n".to_owned())
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, format!("{NOT_OPEN}\n"))
        }
    }

    /// Ready while new logins and calls can both be served. Each check has a line. A backend that
    /// does not answer has one, too, and is no reason to send people away from the others.
    async fn ready(&self) -> Response<Vec<u8>> {
        let now = self.server.clock.now();
        let store = match timeout(PATIENCE, self.server.records.store().ping(now)).await {
            Ok(answered) => answered.err().map(|error| error.to_string()),
            Err(_) => Some("the store did not answer in time".to_owned()),
        };
        let is_stale = self.revocations.age(now) > VIEW_LIFETIME;
        let view = is_stale.then(|| {
            let why = self.revocations.fault().map(|fault| format!(": {fault}"));
            let why = why.unwrap_or_default();
            format!("the list of revocations is out of date{why}")
        });
        let said = |fault: bool, sentence: &str| fault.then(|| sentence.to_owned());
        let is_ending = self.proxy.drain().is_announced();
        let (is_open, is_failing) = (self.front.is_open().await, self.server.journal.is_failing());
        let mut body = String::new();
        let mut status = StatusCode::OK;
        for (name, fault) in [
            ("running", said(is_ending, "the gateway was told to end")),
            ("listener", said(!is_open, NOT_OPEN)),
            ("store", store),
            ("revocations", view),
            ("audit", said(is_failing, "the audit log can't be written")),
        ] {
            match fault {
                None => body.push_str(&format!("{name}: ok\n")),
                Some(sentence) => {
                    status = StatusCode::SERVICE_UNAVAILABLE;
                    body.push_str(&format!("{name}: FAILED, {sentence}\n"));
                }
            }
        }
        if let Some(certificate) = &self.certificate {
            let (is_good, line) = certificate_line(&certificate.state(), now);
            body.push_str(&line);
            if !is_good {
                status = StatusCode::SERVICE_UNAVAILABLE;
            }
        }
        // It serves with what it has, and so is no reason to send people away.
        if let Some(fault) = self.process.keys.fault() {
            body.push_str(&format!("keys: those of before stay in use, {fault}\n"));
        }
        body.push_str(&self.backends());
        let epoch = self.revocations.epoch();
        let store = self.server.records.store().as_ref();
        let dangers = environment::dangers(store, &self.keys_dir, epoch.as_ref(), now);
        // It serves all the same; whoever watches it is told.
        for sentence in timeout(PATIENCE, dangers).await.unwrap_or_default() {
            body.push_str(&format!("unsafe: {sentence}\n"));
        }
        text(status, body)
    }

    /// A line for each backend.
    fn backends(&self) -> String {
        let line = |(name, standing): (&str, BackendStatus)| {
            let for_seconds = standing.since.elapsed().as_secs();
            match standing.seen {
                Observation::Answers(offer) => {
                    format!("backend {name}: ok, {} tools\n", offer.tools.len())
                }
                Observation::AsksWhoCalls => {
                    format!("backend {name}: ok, called with everybody's own account\n")
                }
                Observation::Pending => {
                    format!("backend {name}: pending, no answer for {for_seconds} s yet\n")
                }
                Observation::Failed(error) => {
                    let error = error.to_string().replace(char::is_control, " ");
                    format!("backend {name}: failed for {for_seconds} s, {error}\n")
                }
            }
        };
        self.lookout.statuses().map(line).collect()
    }

    /// The state of this moment in Prometheus' text format.
    async fn metrics(&self) -> Response<Vec<u8>> {
        let now = self.server.clock.now();
        let sizes = timeout(PATIENCE, self.server.records.store().sizes()).await;
        let sizes = sizes.ok().and_then(Result::ok);
        self.proxy.measure();
        self.measure(sizes.as_ref(), now);
        text(StatusCode::OK, self.metrics.exposition())
    }
}

/// Whether clients can connect by what is served, and the line for it.
fn certificate_line(state: &CertificateState, now: Timestamp) -> (bool, String) {
    let fault = state.fault.as_deref();
    let more = fault.map_or_else(String::new, |fault| {
        format!(", and there is no newer one: {fault}")
    });
    match &state.served {
        Some(facts) if now < facts.ends => {
            let days = facts.ends.since(now).as_secs() / 86_400;
            let line = format!(
                "certificate: ok, ends {}, in {days} days{more}\n",
                facts.ends
            );
            (true, line)
        }
        Some(facts) => {
            let line = format!("certificate: FAILED, it ended {}{more}\n", facts.ends);
            (false, line)
        }
        None => {
            let why = fault.unwrap_or("it is being ordered");
            let line = format!("certificate: FAILED, there is none yet: {why}\n");
            (false, line)
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Vec<u8>> {
    let length = body.len();
    let mut response = Response::new(body.into_bytes());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}
