//! Seals of forms: proof that a form was made by a page of ours for one browser and one purpose,
//! not long ago. Pure: `now` and the nonce are arguments.
//!
//! Nothing is stored for a page that was only looked at: a seal is a keyed tag over what it binds.

use std::time::Duration;

use rand::RngCore;

use gateway_core::clock::Timestamp;
use gateway_core::secret::{TagKey, identifier};

/// What a form does. A seal for one purpose is worth nothing for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Log in.
    Login,
    /// Allow or deny.
    Consent,
    /// Log out.
    LogOut,
    /// Take access back.
    Revoke,
    /// Approve a changed tool.
    Approve,
    /// Make a personal token.
    MakeToken,
    /// Log in with an account at an identity provider from now on.
    Link,
    /// Do so no more.
    Unlink,
    /// Let an identity provider's word connect an app again.
    Readmit,
    /// Do something at `/admin`.
    Administer,
    /// Answer an app on another machine, whose code was typed.
    Device,
    /// Log in with a passkey.
    PasskeyLogin,
    /// Add a passkey.
    AddPasskey,
    /// Become the owner, or set oneself up by a link, with a passkey.
    PasskeySetup,
    /// Remove a passkey.
    RemovePasskey,
    /// Do without a password from now on.
    RemovePassword,
    /// Connect an account at a backend.
    Connect,
    /// Remove one.
    Disconnect,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Login => "form login",
            Self::Consent => "form consent",
            Self::LogOut => "form log out",
            Self::Revoke => "form revoke",
            Self::Approve => "form approve",
            Self::MakeToken => "form make token",
            Self::Link => "form link",
            Self::Unlink => "form unlink",
            Self::Readmit => "form readmit",
            Self::Administer => "form administer",
            Self::Device => "typed user code",
            Self::PasskeyLogin => "passkey login",
            Self::AddPasskey => "passkey add",
            Self::PasskeySetup => "passkey set-up",
            Self::RemovePasskey => "form remove passkey",
            Self::RemovePassword => "form remove password",
            Self::Connect => "form connect",
            Self::Disconnect => "form disconnect",
        }
    }

    /// How long a page may stay open.
    const fn lifetime(self) -> Duration {
        match self {
            Self::Consent
            | Self::Approve
            | Self::Link
            | Self::Readmit
            | Self::Device
            | Self::PasskeyLogin
            | Self::AddPasskey
            | Self::PasskeySetup
            | Self::RemovePassword => Duration::from_secs(10 * 60),
            Self::Login
            | Self::LogOut
            | Self::Revoke
            | Self::MakeToken
            | Self::Unlink
            | Self::RemovePasskey
            | Self::Connect
            | Self::Disconnect
            | Self::Administer => Duration::from_secs(60 * 60),
        }
    }
}

/// Why a form is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    /// Not sealed by us for this browser, person and content.
    #[error("forged, or of another browser, person or content")]
    Broken,
    /// Sealed by us, too long ago.
    #[error("expired")]
    Expired,
}

/// A seal that held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsealed {
    /// Names this one rendering of the form.
    pub nonce: String,
    /// When the form was made.
    pub made: Timestamp,
    /// When it stops being taken.
    pub expires: Timestamp,
}

/// Seals a form over `bound`: everything that must be the same when it comes back.
pub(super) fn seal(
    key: &TagKey,
    purpose: Purpose,
    bound: &[&[u8]],
    now: Timestamp,
    random: &mut dyn RngCore,
) -> String {
    let made = now.millis().to_string();
    let nonce = identifier("", random);
    let tag = tag(key, purpose, bound, &made, &nonce);
    format!("{made}.{nonce}.{tag}")
}

/// Opens a seal that came back with a form.
pub(super) fn unseal(
    key: &TagKey,
    purpose: Purpose,
    bound: &[&[u8]],
    presented: &str,
    now: Timestamp,
) -> Result<Unsealed, SealError> {
    let mut parts = presented.splitn(3, '.');
    let (Some(made), Some(nonce), Some(presented)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(SealError::Broken);
    };
    let expected = tag(key, purpose, bound, made, nonce);
    if !bool::from(subtle::ConstantTimeEq::ct_eq(
        expected.as_bytes(),
        presented.as_bytes(),
    )) {
        return Err(SealError::Broken);
    }
    let made = Timestamp::from_millis(made.parse().map_err(|_| SealError::Broken)?);
    let expires = made + purpose.lifetime();
    if now >= expires {
        return Err(SealError::Expired);
    }
    Ok(Unsealed {
        nonce: nonce.to_owned(),
        made,
        expires,
    })
}

fn tag(key: &TagKey, purpose: Purpose, bound: &[&[u8]], made: &str, nonce: &str) -> String {
    let mut parts = vec![made.as_bytes(), nonce.as_bytes()];
    parts.extend_from_slice(bound);
    key.derive(purpose.name()).tag(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::OsRng;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn key() -> TagKey {
        TagKey::new([7; 32])
    }

    #[test]
    fn a_seal_holds_for_what_it_binds_until_its_time_is_over() {
        let bound: &[&[u8]] = &[b"browser", b"u_1", b"client_id=c"];
        let seal = seal(&key(), Purpose::Consent, bound, NOW, &mut OsRng);
        let open = |bound, at| unseal(&key(), Purpose::Consent, bound, &seal, at);
        let last = NOW + Duration::from_millis(599_999);
        assert!(open(bound, NOW).is_ok());
        assert_eq!(open(bound, last), open(bound, NOW));
        assert_eq!(
            open(bound, NOW + Duration::from_secs(600)),
            Err(SealError::Expired)
        );
        for other in [
            &[b"other".as_slice(), b"u_1", b"client_id=c"],
            &[b"browser", b"u_2", b"client_id=c"],
            &[b"browser", b"u_1", b"client_id=d"],
            &[b"browse", b"ru_1", b"client_id=c"],
        ] {
            assert_eq!(open(other, NOW), Err(SealError::Broken));
        }
        let login = unseal(&key(), Purpose::Login, bound, &seal, NOW);
        assert_eq!(login, Err(SealError::Broken));
        let elsewhere = unseal(&TagKey::new([8; 32]), Purpose::Consent, bound, &seal, NOW);
        assert_eq!(elsewhere, Err(SealError::Broken));
    }

    #[test]
    fn no_changed_character_of_a_seal_is_accepted() {
        let seal = seal(&key(), Purpose::Consent, &[b"b"], NOW, &mut OsRng);
        for at in 0..seal.len() {
            for replacement in ["A", "1", ".", ""] {
                let mut changed = seal.clone();
                changed.replace_range(at..=at, replacement);
                if changed != seal {
                    let opened = unseal(&key(), Purpose::Consent, &[b"b"], &changed, NOW);
                    assert!(opened.is_err(), "{changed} for {seal}");
                }
            }
        }
        for text in [
            "",
            ".",
            "..",
            "...",
            &"9".repeat(5_000),
            "99999999999999999999.x.y",
        ] {
            assert!(unseal(&key(), Purpose::Consent, &[b"b"], text, NOW).is_err());
        }
    }

    #[test]
    fn two_pages_have_two_nonces() {
        let nonce = || {
            let seal = seal(&key(), Purpose::Consent, &[b"b"], NOW, &mut OsRng);
            unseal(&key(), Purpose::Consent, &[b"b"], &seal, NOW)
                .unwrap()
                .nonce
        };
        assert_ne!(nonce(), nonce());
    }
}
