//! `[store]`: where state is kept, and what else lies in its folder.

use std::path::PathBuf;

use crate::config::reader::Reader;
use crate::config::settings::{SecretText, settings};
use crate::config::values;
use gateway_store::StoreUrl;

settings! {
    /// `[store]`
    pub(super) struct StoreKeys in "store." {
        /// `file:DIR`, `redis://…`, `rediss://…`, `redis+unix://…`, `redis+sentinel://HOST,HOST/NAME`, `redis+cluster://HOST,HOST` (`rediss+…` with TLS) or `memory:`.
        url: String = "file:./state", values::text;
        /// The password for Redis, if it is not in the URL.
        password: SecretText, values::text;
        /// A file that holds it.
        password_file: Option<String>, values::file;
        /// The password for the sentinels themselves, if they have one.
        sentinel_password: SecretText, values::text;
        /// A file that holds it.
        sentinel_password_file: Option<String>, values::file;
    }
}

impl StoreKeys {
    /// The store; `None` with a problem noted.
    pub(super) fn url(&self, reader: &mut Reader<'_>) -> Option<StoreUrl> {
        // The text is not told: it may hold a password.
        let url = self.url.parse::<StoreUrl>();
        let url = url.map_err(|error| format!("can't be used: {error}"));
        let url = reader.noted("store.url", url)?;
        let password = reader.secret("store.password", &self.password.0, &self.password_file);
        let (inline, file) = (&self.sentinel_password.0, &self.sentinel_password_file);
        let of_sentinels = reader.secret("store.sentinel_password", inline, file);
        let url = match password {
            Some(password) => url.with_password(&password),
            None => url,
        };
        Some(match of_sentinels {
            Some(password) => url.with_sentinel_password(&password),
            None => url,
        })
    }
}

/// Where what belongs to a running gateway is kept.
pub(super) fn state_folder(store: Option<&StoreUrl>) -> PathBuf {
    match store {
        Some(StoreUrl::Folder(folder)) => folder.clone(),
        _ => PathBuf::from("./state"),
    }
}
