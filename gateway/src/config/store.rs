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
        let url = match self.url.parse::<StoreUrl>() {
            Ok(url) => url,
            Err(error) => {
                // The text may hold a password.
                reader.wrong("store.url", &format!("can't be used: {error}"));
                return None;
            }
        };
        let password = reader.secret(
            ("store.password", self.password.0.as_deref()),
            ("store.password_file", self.password_file.as_deref()),
        );
        let of_sentinels = reader.secret(
            (
                "store.sentinel_password",
                self.sentinel_password.0.as_deref(),
            ),
            (
                "store.sentinel_password_file",
                self.sentinel_password_file.as_deref(),
            ),
        );
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
