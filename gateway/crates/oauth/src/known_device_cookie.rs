//! Device cookies: proof that somebody has logged in to an account with this browser before. It
//! lets nobody in; it only takes the browser out of the account's count of wrong passwords.

use std::time::Duration;

use rand::RngCore;

use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::secret::{TagKey, identifier};

/// How long a browser is known.
pub(super) const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// A new proof for `user`: time, nonce and tag.
pub(super) fn prove(
    key: &TagKey,
    user: &UserId,
    now: Timestamp,
    random: &mut dyn RngCore,
) -> String {
    let made = now.secs().to_string();
    let nonce = identifier("", random);
    let tag = key.derive(PURPOSE).tag(&parts(user, &made, &nonce));
    format!("{made}.{nonce}.{tag}")
}

/// The nonce of a proof, if it is one for `user`.
pub(super) fn verify<'p>(
    key: &TagKey,
    user: &UserId,
    proof: &'p str,
    now: Timestamp,
) -> Option<&'p str> {
    let (made, rest) = proof.split_once('.')?;
    let (nonce, tag) = rest.split_once('.')?;
    if !key.derive(PURPOSE).verify(&parts(user, made, nonce), tag) {
        return None;
    }
    let made = Timestamp::from_secs(made.parse().ok()?);
    (now < made + LIFETIME).then_some(nonce)
}

const PURPOSE: &str = "device";

fn parts<'a>(user: &'a UserId, made: &'a str, nonce: &'a str) -> [&'a [u8]; 3] {
    [user.as_str().as_bytes(), made.as_bytes(), nonce.as_bytes()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::OsRng;

    #[test]
    fn a_device_is_known_to_its_own_account_for_a_year() {
        let key = TagKey::new([7; 32]);
        let now = Timestamp::from_secs(1_000_000);
        let alice = UserId::new("u_1");
        let proof = prove(&key, &alice, now, &mut OsRng);
        assert!(verify(&key, &alice, &proof, now).is_some());
        assert!(verify(&key, &alice, &proof, now + LIFETIME).is_none());
        assert!(verify(&key, &UserId::new("u_2"), &proof, now).is_none());
        let later = proof.replacen("1000000", "2000000", 1);
        assert!(verify(&key, &alice, &later, now).is_none());
        assert!(verify(&key, &alice, "x", now).is_none());
    }
}
