//! The domain's types on the store's promises: a file an entity, with its record, its key and what
//! is done with it. Owns: reading and writing a record. Not: what a record means (`gateway-core`).

mod clients;
mod codes;
mod counts;
mod encoding;
mod forms;
mod grants;
pub(crate) mod kept_tools;
mod last_use;
mod left_out;
mod login_locks;
mod marks;
mod page;
mod sessions;
mod setup;
mod signing_keys;
mod users;

use std::sync::Arc;

use serde::de::DeserializeOwned;

pub use self::codes::TakenCode;
pub use self::forms::{FormPage, Pressed};
pub use self::grants::{GrantsOf, KeptGrant};
pub use self::kept_tools::ToolsUnknown;
pub use self::login_locks::LoginSubject;
pub use self::page::{Page, Readable};
pub use self::setup::{KeptSetup, SetupOffer, SetupState};
pub use self::users::{Disabled, User};

pub(crate) use self::encoding::PROGRAM;

use self::encoding::{Record, decode, decode_value, encode, refuse_newer};
use self::kept_tools::KeptTools;
use self::left_out::LeftOut;
use crate::{Inserted, Key, RevocationView, Store, StoreError, unless_conflict};
use gateway_core::clock::Timestamp;

/// How often somebody else may come between reading a record and replacing it.
const ATTEMPTS: usize = 8;

/// Typed access to the store.
#[derive(Clone, Debug)]
pub struct Records {
    store: Arc<dyn Store>,
    view: Option<Arc<RevocationView>>,
    kept_tools: Arc<KeptTools>,
    left_out: Arc<LeftOut>,
}

impl Records {
    /// Records in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            view: None,
            kept_tools: Arc::default(),
            left_out: Arc::default(),
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

    /// A record, whatever format up to ours it has.
    async fn load<T: Record>(&self, key: &Key, now: Timestamp) -> Result<Option<T>, StoreError> {
        let found = self.store.get(key, now).await?;
        found.map(|bytes| decode(key.kind(), &bytes)).transpose()
    }

    /// A value that has no format.
    async fn load_value<T: DeserializeOwned>(
        &self,
        key: &Key,
        now: Timestamp,
    ) -> Result<Option<T>, StoreError> {
        let found = self.store.get(key, now).await?;
        found
            .map(|bytes| decode_value(key.kind(), &bytes))
            .transpose()
    }

    /// Sets a record, whatever was there; but nothing that a later version wrote is written over, also
    /// where a replica of that version writes at this moment. [`StoreError::Conflict`] where others kept
    /// changing it.
    async fn overwrite<T: Record>(
        &self,
        key: &Key,
        record: &T,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let value = encode(record);
        let inserted = self.store.insert(key, &value, expires, now).await?;
        let Inserted::Exists(mut seen) = inserted else {
            return Ok(());
        };
        for _ in 0..ATTEMPTS {
            refuse_newer::<T>(key.kind(), &seen)?;
            let replaced = self.store.replace(key, &seen, &value, expires, now).await;
            if unless_conflict(replaced)?.is_some() {
                return Ok(());
            }
            match self.store.insert(key, &value, expires, now).await? {
                Inserted::New => return Ok(()),
                Inserted::Exists(other) => seen = other,
            }
        }
        Err(StoreError::Conflict(key.kind()))
    }
}
