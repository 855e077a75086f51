//! Which of the three dialogues a backend understands, from the first words of each.

use std::time::Duration;

use eras::{Era, Eras};
use http::{HeaderValue, Method};
use tokio::time::timeout;

use super::{Asker, SESSION, SESSIONS, STATELESS, VERSION, initialize};
use crate::backend::CatalogueError;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a backend was found to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::backend) struct Found {
    /// It does.
    pub(in crate::backend) speaks: Eras,
    /// It did not say: it was away, slow, or wanted to know who asks.
    pub(in crate::backend) unclear: Eras,
    /// It answered 401 or 403 to some of this: it is there, and wants to know who asks.
    pub(in crate::backend) is_reserved: bool,
}

impl Asker<'_> {
    /// Asks the first question of each dialogue.
    pub(in crate::backend) async fn eras(&self) -> Found {
        let mut found = Found::default();
        for (era, answer) in [
            (Era::Sessions, within(self.speaks_sessions()).await),
            (Era::Stateless, within(self.speaks_stateless()).await),
            (Era::HttpSse, within(self.speaks_http_sse()).await),
        ] {
            match answer {
                Said::Yes => found.speaks = found.speaks.and(era),
                Said::No => {}
                Said::Nothing => found.unclear = found.unclear.and(era),
                Said::NotToAnybody => {
                    found.unclear = found.unclear.and(era);
                    found.is_reserved = true;
                }
            }
        }
        found
    }

    async fn speaks_sessions(&self) -> Result<bool, CatalogueError> {
        let hello = self
            .post(&self.backend.mcp_path, &[], &initialize(SESSIONS), 1)
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
        Ok(eras::is_session_revision(version))
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
        let endpoint = stream.wait(|event| event.name == "endpoint").await;
        stream.connection.abandon().await;
        endpoint.map(|_| true)
    }
}

/// A fault is no statement about an era.
fn refuse_fault(status: u16) -> Result<(), CatalogueError> {
    match status {
        429 | 500.. => Err(CatalogueError::Refused(status)),
        _ => Ok(()),
    }
}

/// What a backend said about an era.
enum Said {
    Yes,
    No,
    /// 401 or 403.
    NotToAnybody,
    Nothing,
}

/// Whether the backend speaks an era: what it can't make sense of, it does not speak.
async fn within(question: impl Future<Output = Result<bool, CatalogueError>>) -> Said {
    match timeout(PATIENCE, question).await {
        Ok(Ok(true)) => Said::Yes,
        Ok(Ok(false) | Err(CatalogueError::NotUnderstood(_))) => Said::No,
        Ok(Err(CatalogueError::Refused(401 | 403))) => Said::NotToAnybody,
        Ok(Err(_)) | Err(_) => Said::Nothing,
    }
}
