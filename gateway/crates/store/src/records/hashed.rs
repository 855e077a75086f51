//! Names of keys that are made of what strangers say: hashed, because it is as long and as odd as they like.

use gateway_core::secret::Secret;

pub(super) fn hashed(text: &str) -> String {
    Secret::presented(text).hash().as_str().to_owned()
}

/// Of two texts, each hashed by itself, so that none can be taken for a part of the other.
pub(super) fn hashed_together(one: &str, other: &str) -> String {
    hashed(&format!("{} {}", hashed(one), hashed(other)))
}
