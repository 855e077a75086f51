//! What a backend offers: its live `tools/list`, for the consent page and the start-up summary.
//!
//! Owns: how long asking may take and an answer is believed. Not: the dialogue (`conversation`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::connection::{Connections, Failure};
use super::conversation::Asker;
use super::{Backend, IdentityHeaders};

/// How long asking may take, all requests together.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an answer is believed.
const BELIEVED: Duration = Duration::from_secs(30);

/// How many answers are kept.
const KEPT: usize = 256;

/// A tool as the backend describes it. Everything is the backend's own claim.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Tool {
    /// What calls name it by.
    pub name: String,
    /// What people may call it.
    #[serde(default)]
    pub title: Option<String>,
    /// What it does, written for a model.
    #[serde(default)]
    pub description: Option<String>,
    /// Hints about its effects.
    #[serde(default)]
    pub annotations: Annotations,
}

impl Tool {
    /// What to call it before people.
    pub fn display_name(&self) -> &str {
        let title = self.title.as_deref().or(self.annotations.title.as_deref());
        title
            .filter(|title| !title.trim().is_empty())
            .unwrap_or(&self.name)
    }
}

/// Tool annotations (MCP schema, `ToolAnnotations`): hints, not promises.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Annotations {
    /// Another place for a title.
    pub title: Option<String>,
    /// It changes nothing.
    pub read_only_hint: Option<bool>,
    /// It may destroy something. Where absent, it may.
    pub destructive_hint: Option<bool>,
    /// Doing it twice is doing it once.
    pub idempotent_hint: Option<bool>,
    /// It reaches beyond the backend, such as to the internet. Where absent, it may.
    pub open_world_hint: Option<bool>,
}

/// Who a backend says it is, and its tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// `serverInfo.name`.
    pub name: String,
    /// `serverInfo.version`.
    pub version: String,
    /// All pages of its `tools/list`.
    pub tools: Vec<Tool>,
}

/// Why a backend's tools are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// There is no backend of this name.
    #[error("no backend has this name")]
    UnknownBackend,
    /// The exchange failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// It did not answer in time.
    #[error("the backend did not answer within 5 s")]
    TooSlow,
    /// It refused, with this status.
    #[error("the backend refused with status {0}")]
    Refused(u16),
    /// It answers, but not what MCP says.
    #[error("the backend was not understood: {0}")]
    NotUnderstood(String),
}

/// A backend's name and the person who asked.
type Key = (String, Option<String>);

/// Asks backends for their tools.
#[derive(Debug, Default)]
pub struct Catalogue {
    backends: Vec<Arc<Backend>>,
    connections: Arc<Connections>,
    identity: IdentityHeaders,
    known: Mutex<HashMap<Key, (Instant, Offer)>>,
}

impl Catalogue {
    /// A catalogue of these backends, on the connections that calls use, too.
    pub fn new(
        backends: Vec<Arc<Backend>>,
        connections: Arc<Connections>,
        identity: IdentityHeaders,
    ) -> Self {
        Self {
            backends,
            connections,
            identity,
            known: Mutex::default(),
        }
    }

    /// The tools of the backend `name`, as it shows them to the person with the login name `user`.
    pub async fn tools(&self, name: &str, user: Option<&str>) -> Result<Vec<Tool>, CatalogueError> {
        self.offer(name, user).await.map(|offer| offer.tools)
    }

    /// Who the backend `name` is and what it offers. At most 30 s old; takes at most 5 s.
    pub async fn offer(&self, name: &str, user: Option<&str>) -> Result<Offer, CatalogueError> {
        let backend = self
            .backends
            .iter()
            .find(|backend| backend.mount.name == name)
            .ok_or(CatalogueError::UnknownBackend)?;
        let key = (name.to_owned(), user.map(str::to_owned));
        if let Some(offer) = self.believed(&key) {
            return Ok(offer);
        }
        let identity = user
            .and_then(|user| HeaderValue::from_bytes(user.as_bytes()).ok())
            .map(|value| (self.identity.user.clone(), value));
        let asker = Asker {
            connections: &self.connections,
            backend,
            identity: identity.into_iter().collect(),
        };
        let offer = timeout(PATIENCE, asker.ask())
            .await
            .unwrap_or(Err(CatalogueError::TooSlow))?;
        self.remember(key, offer.clone());
        Ok(offer)
    }

    fn believed(&self, key: &Key) -> Option<Offer> {
        let known = self.known.lock();
        let (at, offer) = known.get(key)?;
        (at.elapsed() < BELIEVED).then(|| offer.clone())
    }

    fn remember(&self, key: Key, offer: Offer) {
        let mut known = self.known.lock();
        if known.len() >= KEPT {
            known.retain(|_, (at, _)| at.elapsed() < BELIEVED);
        }
        if known.len() < KEPT {
            known.insert(key, (Instant::now(), offer));
        }
    }
}
