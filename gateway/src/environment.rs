//! What around the gateway endangers what it promises, each in a sentence with what to change: said
//! at the start, by `gateway check` and by `/readyz`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::config::{CertificateSource, Config};
use crate::tls::certificate::Certificate;
use gateway_core::clock::Timestamp;
use gateway_store::{Store, StoreEpoch};

/// A machine whose clock is before this was never set (2026-01-01).
const NOT_BEFORE: Timestamp = Timestamp::from_secs(1_767_225_600);

/// By how much the clocks of replicas may differ before that is worth a word.
const SKEW: Duration = Duration::from_secs(30);

/// All of it.
pub async fn dangers(
    store: &dyn Store,
    keys: &Path,
    epoch: Option<&StoreEpoch>,
    now: Timestamp,
) -> Vec<String> {
    let mut found = store.examine().await.unsafe_settings;
    found.extend(readable_by_others(keys));
    found.extend(clock(epoch, now));
    found
}

/// Without passwords nobody comes in while the identity providers are away, if there is no owner of the
/// configuration, whose password is always taken.
pub fn no_way_in_alone(password_login: bool, has_owner: bool) -> Option<String> {
    (!password_login && !has_owner).then(|| {
        "password_login is off and no owner is configured (owner.name, owner.password_hash_file): while \
         the identity providers are away nobody can log in"
            .to_owned()
    })
}

/// What is unsafe about the certificate that is served from files.
pub fn certificate_doubts(config: &Config, certificate: Option<&Certificate>) -> Vec<String> {
    let (Some(tls), Some(certificate)) = (&config.tls, certificate) else {
        return Vec::new();
    };
    match &tls.source {
        CertificateSource::Files(files) => files.doubts(certificate, config.issuer.host()),
        CertificateSource::Acme(_) => Vec::new(),
    }
}

/// A folder of keys that others on this machine can enter or list.
pub fn readable_by_others(folder: &Path) -> Option<String> {
    let mode = std::fs::metadata(folder).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        format!(
            "keys_dir {folder} is open to others of this machine (mode {mode:o}): run chmod 700 {folder}",
            folder = folder.display()
        )
    })
}

/// A clock that can't be right. Everything that ends or begins at a time is judged by it.
pub fn clock(epoch: Option<&StoreEpoch>, now: Timestamp) -> Option<String> {
    if now < NOT_BEFORE {
        return Some(format!(
            "this machine's clock says {now}, which is long past: set it (timedatectl, chrony); logins, \
             tokens and certificates are judged by it"
        ));
    }
    let born = epoch?.at;
    (born > now + SKEW).then(|| {
        format!(
            "this machine's clock says {now}, but the store was first used at {born}: one of the clocks is \
             wrong. Set it (timedatectl, chrony); every token is refused until then"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_passwords_an_owner_of_the_configuration_is_the_way_in() {
        assert!(no_way_in_alone(false, false).is_some());
        assert!(no_way_in_alone(false, true).is_none());
        assert!(no_way_in_alone(true, false).is_none());
    }

    #[test]
    fn a_clock_that_can_not_be_right_is_named() {
        let epoch = |secs| StoreEpoch {
            id: "b".to_owned(),
            at: Timestamp::from_secs(secs),
        };
        let now = Timestamp::from_secs(1_800_000_000);
        assert_eq!(clock(None, now), None);
        assert_eq!(clock(Some(&epoch(1_800_000_030)), now), None);
        assert!(clock(Some(&epoch(1_800_000_031)), now).is_some());
        assert!(clock(None, Timestamp::from_secs(0)).is_some());
    }
}
