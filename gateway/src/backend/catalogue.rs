//! What a backend offers: its live `tools/list`, for the consent page, the start-up summary, and to
//! tell whether a tool is still the one that was allowed.
//!
//! Owns: how long asking may take. Not: the dialogue (`conversation`), what is remembered and how
//! long it is believed (`definitions`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::timeout;

use super::connection::{Connections, Failure};
use super::conversation::Asker;
use super::definitions::{AGEING, BELIEVED, Definitions, Known};
use super::{Backend, IdentityHeaders};
use crate::grants::{Current, Pin, PinKey};
use crate::protocol::tool_definition::{Definition, Labels};

/// How long asking may take, all requests together.
const PATIENCE: Duration = Duration::from_secs(5);

/// From this many on, questions that nobody waits for are forgotten.
const WAITING: usize = 256;

/// A tool as the backend describes it. Everything is the backend's own claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// What is shown of it.
    pub shown: Shown,
    /// All that it says.
    pub definition: Definition,
    /// Stands for all that it says.
    pub pin: Pin,
    /// All that it says, as JSON, for people who want to see it; `None` if that is very long.
    pub whole: Option<Box<str>>,
    /// The resources that it names as its user interface (`ui://…`).
    pub interfaces: Vec<String>,
}

/// The longest definition that is kept to be shown, in bytes.
const LONGEST_SHOWN: usize = 16 * 1024;

/// What people are shown of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Shown {
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
    /// Reads one element of `tools`. `None` for one that can be read in two ways.
    pub(super) fn read(value: &serde_json::Value, pins: &PinKey) -> Option<Self> {
        let whole = value.to_string();
        let definition = Definition::read(&whole)?;
        Some(Self {
            shown: Shown::deserialize(value).ok()?,
            pin: pins.pin(&definition),
            definition,
            whole: (whole.len() <= LONGEST_SHOWN).then(|| whole.into_boxed_str()),
            interfaces: interfaces(value),
        })
    }
}

/// Where a tool names its user interface: MCP Apps in two spellings, and ChatGPT's.
const INTERFACES: [&str; 3] = [
    "/_meta/ui/resourceUri",
    "/_meta/ui~1resourceUri",
    "/_meta/openai~1outputTemplate",
];

fn interfaces(tool: &serde_json::Value) -> Vec<String> {
    INTERFACES
        .iter()
        .filter_map(|place| tool.pointer(place)?.as_str())
        .filter(|uri| is_interface(uri))
        .map(str::to_owned)
        .collect()
}

/// Whether a URI is one of a user interface that leads nowhere else, whoever reads it.
fn is_interface(uri: &str) -> bool {
    let Some(path) = uri.strip_prefix("ui://") else {
        return false;
    };
    let folded = path.to_ascii_lowercase();
    let is_plain = path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let is_spelled_out = !["%2e", "%2f", "%5c", "%25"]
        .iter()
        .any(|code| folded.contains(code));
    let is_inside = !path
        .split(['/', '?', '#'])
        .any(|part| part == "." || part == "..");
    is_plain && is_spelled_out && is_inside
}

impl std::ops::Deref for Tool {
    type Target = Shown;

    fn deref(&self) -> &Shown {
        &self.shown
    }
}

impl Shown {
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

impl Offer {
    /// The tool of this name, if it is there.
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// What a tool says about its effects. `None` if it is not there.
    pub fn labels(&self, name: &str) -> Option<Labels> {
        let tools = self.tools.iter().filter(|tool| tool.name == name);
        tools
            .map(|tool| tool.definition.labels())
            .reduce(Labels::of_both)
    }

    /// How a tool stands.
    pub fn current(&self, name: &str) -> Current {
        self.tool(name)
            .map_or(Current::Gone, |tool| Current::Defined(tool.pin))
    }
}

/// A backend's name and the person who asked.
type Key = (String, Option<String>);

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

/// Asks backends for their tools, and remembers how the tools stand.
#[derive(Debug)]
pub struct Catalogue {
    backends: Vec<Arc<Backend>>,
    connections: Arc<Connections>,
    identity: IdentityHeaders,
    pins: PinKey,
    known: Definitions,
    /// One question at a time for each backend and person: a crowd of calls waits for one answer.
    asking: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
}

impl Catalogue {
    /// A catalogue of these backends, on the connections that calls use, too.
    pub fn new(
        backends: Vec<Arc<Backend>>,
        connections: Arc<Connections>,
        identity: IdentityHeaders,
        pins: PinKey,
    ) -> Self {
        Self {
            backends,
            connections,
            identity,
            pins,
            known: Definitions::default(),
            asking: Mutex::default(),
        }
    }

    /// Makes the pins of this installation.
    pub const fn pins(&self) -> &PinKey {
        &self.pins
    }

    /// How tools stand, as far as it is known without asking.
    pub const fn definitions(&self) -> &Definitions {
        &self.known
    }

    /// Who the backend `name` is and what it offers to the person with the login name `user`. At
    /// most 30 s old; takes at most 5 s.
    pub async fn offer(
        &self,
        name: &str,
        user: Option<&str>,
    ) -> Result<Arc<Offer>, CatalogueError> {
        self.offer_within(name, user, BELIEVED).await
    }

    /// The same, at most a second old: what is there at this moment.
    pub async fn offer_now(
        &self,
        name: &str,
        user: Option<&str>,
    ) -> Result<Arc<Offer>, CatalogueError> {
        self.offer_within(name, user, Duration::from_secs(1)).await
    }

    /// How a tool stands at the backend `name` for a person. Known from the last answer and from
    /// lists that passed by; asked, and waited for, only where nothing is known or it is too old.
    pub async fn current(self: &Arc<Self>, name: &str, user: &str, tool: &str) -> Current {
        match self.known.of(name, user, tool) {
            Known::Fresh(current) => current,
            Known::Ageing(current) => {
                self.refresh(name, user);
                current
            }
            Known::Nothing => match self.offer(name, Some(user)).await {
                Ok(offer) => offer.current(tool),
                Err(_) => Current::Unknown,
            },
        }
    }

    /// The same without waiting: where nothing is known, it is not.
    pub fn known_current(&self, name: &str, user: &str, tool: &str) -> Current {
        match self.known.of(name, user, tool) {
            Known::Fresh(current) | Known::Ageing(current) => current,
            Known::Nothing => Current::Unknown,
        }
    }

    /// What the backend `name` offers to a person, for what tools say about their effects: known and
    /// asked for as in [`Self::current`]. To be taken once for each request.
    pub async fn believed(
        self: &Arc<Self>,
        name: &str,
        user: &str,
    ) -> Result<Arc<Offer>, CatalogueError> {
        if let Some(offer) = self.known.offer(name, Some(user), AGEING) {
            if self.known.offer(name, Some(user), BELIEVED).is_none() {
                self.refresh(name, user);
            }
            return Ok(offer);
        }
        self.offer(name, Some(user)).await
    }

    /// What the backend `name` offers to a person, as far as it is known without asking.
    pub fn known_offer(&self, name: &str, user: &str) -> Option<Arc<Offer>> {
        self.known.offer(name, Some(user), AGEING)
    }

    /// What a tool says about its effects, as far as it is known without asking.
    pub fn known_labels(&self, name: &str, user: &str, tool: &str) -> Option<Labels> {
        self.known.offer(name, Some(user), AGEING)?.labels(tool)
    }

    /// Asks in the background, once at a time. What is known stays in force for its time if the
    /// backend is away.
    fn refresh(self: &Arc<Self>, name: &str, user: &str) {
        if self.known.begin_refresh(name, user) {
            let (catalogue, name, user) = (Arc::clone(self), name.to_owned(), user.to_owned());
            tokio::spawn(async move {
                let _ = catalogue.offer_now(&name, Some(&user)).await;
                catalogue.known.end_refresh(&name, &user);
            });
        }
    }

    /// How a tool stands at this moment: at most a second old.
    pub async fn current_now(&self, name: &str, user: &str, tool: &str) -> Current {
        match self.offer_now(name, Some(user)).await {
            Ok(offer) => offer.current(tool),
            Err(_) => Current::Unknown,
        }
    }

    async fn offer_within(
        &self,
        name: &str,
        user: Option<&str>,
        age: Duration,
    ) -> Result<Arc<Offer>, CatalogueError> {
        let backend = self
            .backends
            .iter()
            .find(|backend| backend.mount.name == name)
            .ok_or(CatalogueError::UnknownBackend)?;
        if let Some(offer) = self.known.offer(name, user, age) {
            return Ok(offer);
        }
        let turn = self.turn(name, user);
        let _turn = turn.lock().await;
        if let Some(offer) = self.known.offer(name, user, age) {
            return Ok(offer);
        }
        let identity = user
            .and_then(|user| HeaderValue::from_bytes(user.as_bytes()).ok())
            .map(|value| (self.identity.user.clone(), value));
        let asker = Asker {
            connections: &self.connections,
            backend,
            identity: identity.into_iter().collect(),
            pins: Some(&self.pins),
        };
        let offer = timeout(PATIENCE, asker.ask())
            .await
            .unwrap_or(Err(CatalogueError::TooSlow))?;
        let offer = Arc::new(offer);
        self.known.learn(name, user, Arc::clone(&offer));
        Ok(offer)
    }

    fn turn(&self, name: &str, user: Option<&str>) -> Arc<tokio::sync::Mutex<()>> {
        let mut asking = self.asking.lock();
        // Those that nobody waits for.
        if asking.len() >= WAITING {
            asking.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(
            asking
                .entry((name.to_owned(), user.map(str::to_owned)))
                .or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_names_its_interface_in_one_of_three_places() {
        for meta in [
            json!({"ui": {"resourceUri": "ui://a/b.html?v=2"}}),
            json!({"ui/resourceUri": "ui://a/b.html?v=2"}),
            json!({"openai/outputTemplate": "ui://a/b.html?v=2"}),
        ] {
            let tool = json!({"name": "look", "_meta": meta});
            assert_eq!(interfaces(&tool), ["ui://a/b.html?v=2"]);
        }
        for uri in [
            "file:///etc/passwd",
            "UI://a",
            "ui:/a",
            "https://a/ui://b",
            "ui://a/../b",
            "ui://a/.",
            "ui://../b",
            "ui://a/%2E%2e/b",
            "ui://a%2fb",
            "ui://a%252e",
            "ui://a\\..\\b",
            "ui://a\u{0}b",
            "ui://a b",
            "ui://\u{ff0e}\u{ff0e}/a",
        ] {
            let meta = json!({"ui": {"resourceUri": uri}, "openai/outputTemplate": [uri]});
            assert!(interfaces(&json!({"_meta": meta})).is_empty(), "{uri}");
        }
    }
}
