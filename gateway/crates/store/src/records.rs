//! The domain's types on the store's promises: a file an entity, with its record, its key and what
//! is done with it. Owns: reading and writing a record. Not: what a record means (`gateway-core`).

mod clients;
mod codes;
mod counts;
mod forms;
mod grants;
pub(crate) mod kept_tools;
mod last_use;
mod login_locks;
mod marks;
mod page;
mod sessions;
mod setup;
mod signing_keys;
mod users;

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::error::Category;

pub use self::codes::TakenCode;
pub use self::forms::{FormPage, Pressed};
pub use self::grants::{GrantsOf, KeptGrant};
pub use self::kept_tools::ToolsUnknown;
pub use self::login_locks::LoginSubject;
pub use self::page::Page;
pub use self::setup::{KeptSetup, SetupOffer, SetupState};
pub use self::users::{Disabled, User};

use self::kept_tools::KeptTools;
use crate::{Corrupt, Key, KeyKind, RevocationView, Store, StoreError};
use gateway_core::clock::Timestamp;

/// Typed access to the store.
#[derive(Clone, Debug)]
pub struct Records {
    store: Arc<dyn Store>,
    view: Option<Arc<RevocationView>>,
    kept_tools: Arc<KeptTools>,
}

impl Records {
    /// Records in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            view: None,
            kept_tools: Arc::default(),
        }
    }

    /// The same records; what is revoked through them is known to `view` at once, so that this
    /// replica refuses the next call without waiting for its own reading.
    #[must_use]
    pub fn with_view(self, view: Arc<RevocationView>) -> Self {
        Self {
            view: Some(view),
            ..self
        }
    }

    /// The promises themselves.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The view that knows of revocations without a round trip, where there is one.
    pub fn view(&self) -> Option<&RevocationView> {
        self.view.as_deref()
    }

    async fn load<T: DeserializeOwned>(
        &self,
        key: &Key,
        now: Timestamp,
    ) -> Result<Option<T>, StoreError> {
        match self.store.get(key, now).await? {
            Some(bytes) => decode(key.kind(), &bytes).map(Some),
            None => Ok(None),
        }
    }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records have text keys only, so they serialise")
}

fn decode<T: DeserializeOwned>(kind: KeyKind, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| malformed(kind, &error))
}

/// Where it is wrong and how. The parser's own sentence stays out: it repeats what it found.
fn malformed(kind: KeyKind, error: &serde_json::Error) -> StoreError {
    let what = match error.classify() {
        Category::Syntax => "no JSON",
        Category::Eof => "cut short",
        Category::Data | Category::Io => "a member is missing or of another form",
    };
    let fault = format!("{what} (at byte {})", error.column());
    Corrupt::Record { kind, fault }.into()
}
