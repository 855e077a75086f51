//! Client assertions: `private_key_jwt` (RFC 7521 §4.2, RFC 7523 §2.2 and §3).
//!
//! Owns: what an assertion must say, when, and to whom, and that the client's key signed it. Not:
//! that it is used once, which the store promises.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny};
use sha2::{Digest as _, Sha256};

use crate::client::ClientId;
use crate::client::keys::{Algorithm, KeySet, Verified};
use crate::clock::Timestamp;

/// `client_assertion_type` (RFC 7523 §2.2).
pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Longer ones are refused unread.
pub const MAX_LENGTH: usize = 8 * 1024;

/// How far ahead an assertion may end, and how old it may be: until then its id is remembered.
/// Libraries sign for one to five minutes; an hour is what authorization servers in wide use take.
pub const LONGEST: Duration = Duration::from_secs(3600);

/// How far the clock of a client may be off.
const LEEWAY: Duration = Duration::from_secs(60);

/// The longest `jti`, in bytes.
const MAX_ID: usize = 512;

/// An assertion that was read and not yet believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    algorithm: Algorithm,
    kid: Option<String>,
    claims: Claims,
    signed: String,
    signature: Vec<u8>,
}

/// Repeated members are errors: two parsers could take either (RFC 7519 §4).
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Extensions that must be understood (RFC 7515 §4.1.11): none is.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    iat: Option<f64>,
    nbf: Option<f64>,
    jti: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Why an assertion does not authenticate a client. The texts are for the client's developer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Not a JWT in compact serialization, or a claim is missing or of the wrong type.
    #[error("is no JWT with iss, sub, aud, exp and jti")]
    Malformed,
    /// Longer than [`MAX_LENGTH`].
    #[error("is too long")]
    TooLong,
    /// `none`, a symmetric algorithm, or another one that is not served.
    #[error("must be signed with RS256 or ES256")]
    Algorithm,
    /// `crit` names something.
    #[error("has a critical header, and none is understood")]
    Critical,
    /// It is a token of another kind.
    #[error("has a typ that is not JWT")]
    Type,
    /// No key of that type and id is in the set.
    #[error("is signed with a key that the client does not publish")]
    UnknownKey,
    /// None of the client's keys made the signature.
    #[error("has a signature that none of the client's keys made")]
    Signature,
    /// `iss` and `sub` are not both the client.
    #[error("must have the client_id as iss and as sub")]
    Client,
    /// It is for somebody else, or for several.
    #[error("must have the issuer or the token endpoint as its only aud")]
    Audience,
    /// `exp` is over.
    #[error(
        "has expired: the client sent an old one, or a clock is wrong, its own or the gateway's"
    )]
    Expired,
    /// `exp` is further off than [`LONGEST`], or `iat` longer ago.
    #[error("must be made within the last hour and end within the next, by the gateway's clock")]
    NotNear,
    /// `nbf` or `iat` is yet to come.
    #[error("is not valid yet: the client's clock is ahead, or the gateway's behind")]
    NotYet,
    /// `jti` is empty or too long.
    #[error("has a jti that is empty or too long")]
    Id,
}

/// A believed assertion. Made by [`Assertion::verify`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAssertion {
    /// Names it among all assertions of all clients, for the store: it may be used once.
    pub once: String,
    /// Until when it would be believed again.
    pub until: Timestamp,
}

impl Assertion {
    /// Reads an assertion.
    pub fn parse(text: &str) -> Result<Self, AssertionError> {
        use AssertionError::Malformed;
        if text.len() > MAX_LENGTH {
            return Err(AssertionError::TooLong);
        }
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Malformed);
        };
        let signed = text[..header.len() + 1 + claims.len()].to_owned();
        let header: Header = object(header).ok_or(Malformed)?;
        let algorithm = Algorithm::named(&header.alg).ok_or(AssertionError::Algorithm)?;
        if header.crit {
            return Err(AssertionError::Critical);
        }
        if !header.typ.as_deref().is_none_or(is_assertion_type) {
            return Err(AssertionError::Type);
        }
        Ok(Self {
            algorithm,
            kid: header.kid,
            claims: object(claims).ok_or(Malformed)?,
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| Malformed)?,
        })
    }

    /// Which client it claims to be. Not believed before [`Assertion::verify`].
    pub fn claimed(&self) -> ClientId {
        ClientId::new(self.claims.sub.as_str())
    }

    /// Whether a newer set of keys could have the one that signed it.
    pub fn may_need_newer_keys(&self, error: AssertionError) -> bool {
        error == AssertionError::UnknownKey
            || (error == AssertionError::Signature && self.kid.is_none())
    }

    /// Believes it, or says why not. `audiences` are the names under which this authorization
    /// server may be addressed.
    pub fn verify(
        &self,
        client: &ClientId,
        keys: &KeySet,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<VerifiedAssertion, AssertionError> {
        let verified = keys.verify(
            self.algorithm,
            self.kid.as_deref(),
            self.signed.as_bytes(),
            &self.signature,
        );
        match verified {
            Verified::Yes => {}
            Verified::UnknownKey => return Err(AssertionError::UnknownKey),
            Verified::No => return Err(AssertionError::Signature),
        }
        let claims = &self.claims;
        if claims.iss != client.as_str() || claims.sub != client.as_str() {
            return Err(AssertionError::Client);
        }
        let audience = match &claims.aud {
            Audience::One(one) => Some(one),
            Audience::Several(several) => several.first().filter(|_| several.len() == 1),
        };
        if !audience.is_some_and(|audience| audiences.contains(audience)) {
            return Err(AssertionError::Audience);
        }
        let expires = self.times(now)?;
        if claims.jti.is_empty() || claims.jti.len() > MAX_ID {
            return Err(AssertionError::Id);
        }
        Ok(VerifiedAssertion {
            once: once(client, &claims.jti),
            // Later than any clock of a replica would believe it.
            until: expires + 2 * LEEWAY,
        })
    }

    /// When it ends, if now is a time for it (RFC 7523 §3, points 4 to 6).
    fn times(&self, now: Timestamp) -> Result<Timestamp, AssertionError> {
        let claims = &self.claims;
        let expires = moment(claims.exp).ok_or(AssertionError::Malformed)?;
        if now >= expires + LEEWAY {
            return Err(AssertionError::Expired);
        }
        if expires > now + LONGEST + LEEWAY {
            return Err(AssertionError::NotNear);
        }
        for (claim, must_be_recent) in [(claims.iat, true), (claims.nbf, false)] {
            let Some(claim) = claim else { continue };
            let begins = moment(claim).ok_or(AssertionError::Malformed)?;
            if begins > now + LEEWAY {
                return Err(AssertionError::NotYet);
            }
            if must_be_recent && begins + LONGEST + LEEWAY < now {
                return Err(AssertionError::NotNear);
            }
        }
        Ok(expires)
    }
}

/// Explicit types: a plain JWT, or one for this use (RFC 7515 §4.1.9 lets `application/` stand
/// first). Whatever else the same key signed is no assertion.
fn is_assertion_type(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    typ == "jwt" || typ == "client-authentication+jwt"
}

fn object<T: DeserializeOwned>(part: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    // A derived reader would take a list of values for an object.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(&bytes).ok()
}

/// A NumericDate (RFC 7519 §2); parts of a second are allowed.
fn moment(seconds: f64) -> Option<Timestamp> {
    // Further than any clock: no cast below can overflow.
    const END: f64 = 1e12;
    let sound = seconds.is_finite() && (0.0..END).contains(&seconds);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    sound.then(|| Timestamp::from_millis((seconds * 1000.0) as u64))
}

/// Two clients may use the same id: both are hashed, apart.
fn once(client: &ClientId, id: &str) -> String {
    let name = serde_json::to_vec(&(client.as_str(), id)).expect("two texts serialise");
    format!("assertion:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(name)))
}

#[cfg(test)]
mod tests;
