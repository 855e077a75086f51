//! Which of the three dialogues a backend understands, from the first words of each.

use std::time::Duration;

use http::{HeaderValue, Method};
use mcp_protocol::{LATEST_STATEFUL, RevisionFamilies, RevisionFamily, STATELESS};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{McpClient, SESSION, VERSION, initialize};
use crate::catalogue_error::CatalogueError;
use crate::connection::Failure;

/// How long one question may take. A server on stdio answers none before it has started.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an open stream may take to name its endpoint: servers of the legacy transport say it first
/// of all. Streamable HTTP has a stream of the same kind, which may be silent for ever; it is not to be
/// opened again and again because of that.
const ENDPOINT: Duration = Duration::from_secs(3);

/// What a backend was found to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProbeReport {
    /// It understood.
    pub(crate) speaks: RevisionFamilies,
    /// It did not say: it was away, slow, or wanted to know who asks.
    pub(crate) unclear: RevisionFamilies,
    /// Whether anybody takes connections there, or at least does not refuse them.
    pub(crate) is_there: bool,
}

impl McpClient<'_> {
    /// Asks the first question of each dialogue, side by side. `heard` is told what is known after
    /// each answer.
    pub(crate) async fn families(&self, heard: impl Fn(ProbeReport) + Sync) -> ProbeReport {
        let found = Mutex::new(ProbeReport {
            unclear: RevisionFamily::ALL.into_iter().collect(),
            ..ProbeReport::default()
        });
        let note = |family: RevisionFamily, outcome: ProbeOutcome| {
            let mut found = found.lock();
            found.is_there |= !matches!(outcome, ProbeOutcome::Unreachable);
            if matches!(outcome, ProbeOutcome::Supported | ProbeOutcome::Unsupported) {
                let others = RevisionFamily::ALL
                    .into_iter()
                    .filter(|other| *other != family);
                found.unclear = others.filter(|other| found.unclear.has(*other)).collect();
            }
            if matches!(outcome, ProbeOutcome::Supported) {
                found.speaks = found.speaks.and(family);
            }
            let found = *found;
            heard(found);
        };
        let patience = if self.backend.is_on_stdio {
            self.backend.longest_start()
        } else {
            PATIENCE
        };
        tokio::join!(
            async {
                let outcome = self.probe(patience, self.speaks_sessions()).await;
                note(RevisionFamily::Stateful, outcome);
            },
            async {
                let outcome = self.probe(patience, self.speaks_stateless()).await;
                note(RevisionFamily::Stateless, outcome);
            },
            async {
                let outcome = self.probe(patience, self.speaks_http_sse()).await;
                note(RevisionFamily::HttpSse, outcome);
            },
        );
        found.into_inner()
    }

    async fn speaks_sessions(&self) -> Result<bool, CatalogueError> {
        let hello = self
            .post(&self.backend.mcp_path, &[], &initialize(LATEST_STATEFUL), 1)
            .await?;
        refuse_fault(hello.status.as_u16())?;
        let session = hello.session.clone();
        let hello = hello.result()?;
        let version = hello["protocolVersion"].as_str().unwrap_or_default();
        if let Some(session) = session
            && let Ok(version) = HeaderValue::from_str(version)
        {
            // Courtesy; a backend that knows no DELETE answers 405.
            let headers = [(VERSION, version), (SESSION, session)];
            let path = &self.backend.mcp_path;
            let _ = self.request(Method::DELETE, path, &headers, None, 0).await;
        }
        Ok(mcp_protocol::is_stateful_revision(version))
    }

    async fn speaks_stateless(&self) -> Result<bool, CatalogueError> {
        let discovered = self.discover().await?;
        refuse_fault(discovered.status.as_u16())?;
        let discovered = discovered.result()?;
        let versions = discovered["supportedVersions"].as_array();
        Ok(versions.is_some_and(|versions| versions.iter().any(|version| version == STATELESS)))
    }

    async fn speaks_http_sse(&self) -> Result<bool, CatalogueError> {
        let mut stream = self.open_stream().await?;
        let endpoint = timeout(ENDPOINT, stream.wait(|event| event.name == "endpoint")).await;
        stream.connection.abandon().await;
        endpoint.map_or(Ok(false), |event| event.map(|_| true))
    }

    /// Whether the backend speaks a revision family: what it can't make sense of, it does not speak. That
    /// its process does not run says nothing of what it speaks.
    async fn probe(
        &self,
        patience: Duration,
        question: impl Future<Output = Result<bool, CatalogueError>>,
    ) -> ProbeOutcome {
        match timeout(patience, question).await {
            Ok(Ok(true)) => ProbeOutcome::Supported,
            Ok(Err(CatalogueError::NotUnderstood(why))) if self.not_running(&why).is_some() => {
                ProbeOutcome::Inconclusive
            }
            Ok(Ok(false) | Err(CatalogueError::NotUnderstood(_))) => ProbeOutcome::Unsupported,
            Ok(Err(CatalogueError::Failed(Failure::Unreachable(_)))) => ProbeOutcome::Unreachable,
            Ok(Err(_)) | Err(_) => ProbeOutcome::Inconclusive,
        }
    }
}

/// A fault is no statement about a revision family.
fn refuse_fault(status: u16) -> Result<(), CatalogueError> {
    match status {
        429 | 500.. => Err(CatalogueError::Refused(status)),
        _ => Ok(()),
    }
}

/// What a probe of one revision family came to.
enum ProbeOutcome {
    Supported,
    Unsupported,
    /// It was slow, had a fault, or wanted to know who asks.
    Inconclusive,
    /// It takes no connections.
    Unreachable,
}
