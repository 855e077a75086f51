//! The tokens that an OpenID provider signs: ID tokens (OpenID Connect Core §3.1.3.7), logout tokens
//! (Back-Channel Logout §2.6) and assertions for apps (ID-JAG). The library of the field verifies them; here stands what it
//! leaves to its user: which algorithms and keys are taken, the authorized party, the clock.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use openidconnect::core::{
    CoreGenderClaim, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
};
use openidconnect::{
    AdditionalClaims, ClaimsVerificationError, ClientId, IdToken, IdTokenClaims, IssuerUrl,
    JsonWebTokenType, Nonce, NonceVerifier as _, SignatureVerificationError,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::tenant::ANY;
use gateway_core::client::keys::{KeySet, KeySetError};
use gateway_core::clock::Timestamp;
use gateway_core::reason::Reason;

/// How far the clock of a provider may be off.
const LEEWAY: Duration = Duration::from_secs(60);

/// How a token may be signed. HMAC and `none` are never taken: whoever verifies could sign.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 3] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// The claims that are not in the library's own list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ExtraClaims(pub(super) Map<String, Value>);

impl AdditionalClaims for ExtraClaims {}

/// What a verified token says.
pub(super) type Claims = IdTokenClaims<ExtraClaims, CoreGenderClaim>;

type Token = IdToken<
    ExtraClaims,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

/// The keys of a provider that a token may be signed with.
#[derive(Clone, Debug)]
pub(super) struct Keys(CoreJsonWebKeySet);

impl Keys {
    /// Reads a JWK Set. Keys that are too weak or for something else are left out; a set that gives a
    /// secret away is refused.
    pub(super) fn parse(set: &Value) -> Result<Self, String> {
        /// More than any provider publishes.
        const MOST: usize = 64;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or("is no JWK Set")?;
        if keys.len() > MOST {
            return Err(format!("has more than {MOST} keys"));
        }
        let mut usable = Vec::new();
        for key in keys {
            // One rule for what a key must be, clients' and providers' alike.
            match KeySet::parse(&json!({ "keys": [key] })) {
                Ok(_) => usable.push(key.clone()),
                Err(KeySetError::Secret) => return Err("has a key that must be secret".to_owned()),
                Err(_) if key["kty"] == "OKP" && key["crv"] == "Ed25519" => {
                    usable.push(key.clone());
                }
                Err(_) => {}
            }
        }
        if usable.is_empty() {
            return Err("has no key for RS256 (2048 bits or more), ES256 or EdDSA".to_owned());
        }
        let set = serde_json::from_value(json!({ "keys": usable }));
        set.map(Self).map_err(|_| "is no JWK Set".to_owned())
    }
}

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub(super) struct TokenRefusal {
    pub(super) reason: Reason,
    /// For the operator.
    said: String,
}

impl TokenRefusal {
    fn new(reason: Reason, said: impl Into<String>) -> Self {
        let said = said.into();
        Self { reason, said }
    }

    /// Whether newer keys may change it.
    pub(super) const fn may_need_newer_keys(&self) -> bool {
        matches!(
            self.reason,
            Reason::IdTokenKeyUnknown | Reason::IdTokenSignature
        )
    }
}

/// Whom a token must be from and for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// `{tenantid}` stands for the tenant that the token names.
    pub(super) issuer: &'a str,
    /// The id of this gateway at the provider.
    pub(super) client_id: &'a str,
    pub(super) now: Timestamp,
}

/// Believes an ID token that belongs to the login with this nonce; `None`: that came for a refresh token.
pub(super) fn verify(
    text: &str,
    nonce: Option<&str>,
    keys: &Keys,
    expected: Expected<'_>,
) -> Result<Claims, TokenRefusal> {
    let nonce = nonce.map(|nonce| Nonce::new(nonce.to_owned()));
    let belongs = |found: Option<&Nonce>| match &nonce {
        Some(nonce) => nonce.verify(found),
        None => Ok(()),
    };
    let token = parse(text)?;
    let verifier = verifier(keys, expected)?;
    let claims = token.into_claims(&verifier, belongs).map_err(refusal)?;
    judge(&claims, expected)?;
    Ok(claims)
}

/// The event that makes a token one for logging out.
const LOGGED_OUT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Believes a logout token. Who is meant is its subject, and it is used up by its `jti`.
pub(super) fn verify_logout(
    text: &str,
    keys: &Keys,
    expected: Expected<'_>,
) -> Result<Claims, TokenRefusal> {
    let malformed = |said: &str| TokenRefusal::new(Reason::LogoutTokenInvalid, said);
    let types = ["logout+jwt", "jwt"].into_iter();
    let types = types.filter_map(|it| JsonWebTokenType::new(it.to_owned()).normalize().ok());
    let verifier = verifier(keys, expected)?.set_allowed_jose_types(types);
    // An ID token has one; else it could be sent back as a logout token.
    let no_nonce = |nonce: Option<&Nonce>| match nonce {
        None => Ok(()),
        Some(_) => Err("a logout token has no nonce".to_owned()),
    };
    let token = parse(text).map_err(|refusal| {
        if names_a_session_alone(text) {
            TokenRefusal::new(Reason::LogoutTokenWithoutSubject, "it has a sid and no sub")
        } else {
            refusal
        }
    })?;
    let claims = token.into_claims(&verifier, no_nonce).map_err(refusal)?;
    judge(&claims, expected)?;
    let others = &claims.additional_claims().0;
    let event = others.get("events").and_then(|all| all.get(LOGGED_OUT));
    if !event.is_some_and(Value::is_object) {
        return Err(malformed("it does not say that somebody logged out"));
    }
    let id = others.get("jti").and_then(Value::as_str);
    if id.is_none_or(str::is_empty) {
        return Err(malformed("it has no jti"));
    }
    Ok(claims)
}

/// What the header of an assertion for an app says that it is.
const ID_JAG: &str = "oauth-id-jag+jwt";

/// Believes an assertion for an app, whoever it is for: the audience is the caller's to judge.
pub(super) fn verify_id_jag(
    text: &str,
    keys: &Keys,
    expected: Expected<'_>,
) -> Result<Claims, TokenRefusal> {
    let malformed = |said: &str| TokenRefusal::new(Reason::IdJagInvalid, said);
    // Else an ID token, which the app has as well, would be one (RFC 8725 §3.11).
    let header = unverified(text, 0).unwrap_or_default();
    let said = header.get("typ").and_then(Value::as_str);
    let said = said.unwrap_or_default().to_ascii_lowercase();
    if said.strip_prefix("application/").unwrap_or(&said) != ID_JAG {
        return Err(malformed("its typ is not oauth-id-jag+jwt"));
    }
    let token = parse(text)?;
    let types = JsonWebTokenType::new(ID_JAG.to_owned()).normalize();
    let verifier = verifier(keys, expected)?
        .set_allowed_jose_types(types.ok())
        .require_audience_match(false);
    let any_nonce = |_: Option<&Nonce>| Ok(());
    let claims = token.into_claims(&verifier, any_nonce).map_err(refusal)?;
    judge_always(&claims, expected)?;
    Ok(claims)
}

/// A part of a token that was not verified: the first is its header, the second its claims.
fn unverified(text: &str, part: usize) -> Option<Map<String, Value>> {
    let part = URL_SAFE_NO_PAD.decode(text.split('.').nth(part)?).ok()?;
    serde_json::from_slice(&part).ok()
}

/// The issuer that a token names which was not verified.
pub(super) fn claimed_issuer(text: &str) -> Option<String> {
    if text.len() > LONGEST {
        return None;
    }
    unverified(text, 1)?.get("iss")?.as_str().map(str::to_owned)
}

/// Whether a logout token that was not verified names a session of the provider, and no person.
fn names_a_session_alone(text: &str) -> bool {
    let claims = unverified(text, 1).unwrap_or_default();
    claims.contains_key("sid") && !claims.contains_key("sub")
}

/// A moment that a token names.
pub(super) fn moment(said: DateTime<Utc>) -> Timestamp {
    Timestamp::from_millis(u64::try_from(said.timestamp_millis()).unwrap_or_default())
}

/// Longer ones are refused unread.
const LONGEST: usize = 256 * 1024;

fn parse(text: &str) -> Result<Token, TokenRefusal> {
    if text.len() > LONGEST {
        let said = "it is too long";
        return Err(TokenRefusal::new(Reason::IdTokenMalformed, said));
    }
    // The library reads an algorithm that it does not know as an error of its own.
    text.parse().map_err(|error: serde_json::Error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => {
                "a claim or the header is missing or of another kind"
            }
            _ => "it is no JWT",
        };
        TokenRefusal::new(Reason::IdTokenMalformed, what)
    })
}

fn verifier<'k>(
    keys: &Keys,
    expected: Expected<'_>,
) -> Result<CoreIdTokenVerifier<'k>, TokenRefusal> {
    let is_fixed = !expected.issuer.contains(ANY);
    let issuer = if is_fixed {
        expected.issuer
    } else {
        "https://tenant.invalid"
    };
    let issuer = IssuerUrl::new(issuer.to_owned())
        .map_err(|_| TokenRefusal::new(Reason::IdTokenIssuer, "the issuer is no URL"))?;
    let client_id = ClientId::new(expected.client_id.to_owned());
    let at = |moment: Timestamp| {
        let millis = i64::try_from(moment.millis()).unwrap_or(i64::MAX);
        DateTime::<Utc>::from_timestamp_millis(millis).unwrap_or_default()
    };
    let (lenient, latest) = (at(expected.now - LEEWAY), at(expected.now + LEEWAY));
    let verifier = CoreIdTokenVerifier::new_public_client(client_id, issuer, keys.0.clone());
    Ok(verifier
        .set_allowed_algs(ALGORITHMS)
        .require_issuer_match(is_fixed)
        // Several audiences are fine where the authorized party is this gateway (`judge`).
        .set_other_audience_verifier_fn(|_| true)
        .set_time_fn(move || lenient)
        .set_issue_time_verifier_fn(move |issued| {
            if issued <= latest {
                Ok(())
            } else {
                Err("it was issued later than now".to_owned())
            }
        }))
}

/// What the library leaves to its user, of tokens for this gateway as a client.
fn judge(claims: &Claims, expected: Expected<'_>) -> Result<(), TokenRefusal> {
    // OpenID Connect Core §2: the party that it was issued to.
    let party = claims.authorized_party().map(|party| party.as_str());
    let is_ours = match party {
        Some(party) => party == expected.client_id,
        None => claims.audiences().len() == 1,
    };
    if !is_ours {
        let said = format!("its authorized party is {}", party.unwrap_or("not said"));
        return Err(TokenRefusal::new(Reason::IdTokenAudience, said));
    }
    judge_always(claims, expected)
}

/// The same of all tokens.
fn judge_always(claims: &Claims, expected: Expected<'_>) -> Result<(), TokenRefusal> {
    let others = &claims.additional_claims().0;
    if expected.issuer.contains(ANY) {
        let tenant = others.get("tid").and_then(Value::as_str);
        let tenant = tenant.unwrap_or_default();
        let of_tenant = expected.issuer.replace(ANY, tenant);
        if tenant.is_empty() || claims.issuer().as_str() != of_tenant {
            let found = claims.issuer().as_str();
            let said = format!("expected {}, found {found}", expected.issuer);
            return Err(TokenRefusal::new(Reason::IdTokenIssuer, said));
        }
    }
    let begins = others.get("nbf").and_then(Value::as_f64);
    let begins = begins.unwrap_or_default();
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let latest = (expected.now + LEEWAY).secs() as f64;
    if begins > latest {
        let said = "it is not valid yet";
        return Err(TokenRefusal::new(Reason::IdTokenExpired, said));
    }
    if claims.subject().as_str().is_empty() || claims.subject().as_str().len() > 512 {
        let said = "its subject is empty or too long";
        return Err(TokenRefusal::new(Reason::IdTokenMalformed, said));
    }
    Ok(())
}

fn refusal(error: ClaimsVerificationError) -> TokenRefusal {
    use ClaimsVerificationError as Claims;
    use SignatureVerificationError as Signature;
    let reason = match &error {
        Claims::Expired(_) => Reason::IdTokenExpired,
        Claims::InvalidAudience(_) => Reason::IdTokenAudience,
        Claims::InvalidIssuer(_) => Reason::IdTokenIssuer,
        Claims::InvalidNonce(_) => Reason::IdTokenNonce,
        Claims::SignatureVerification(error) => match error {
            Signature::DisallowedAlg(_) | Signature::UnsupportedAlg(_) | Signature::NoSignature => {
                Reason::IdTokenAlgorithm
            }
            Signature::AmbiguousKeyId(_) | Signature::NoMatchingKey => Reason::IdTokenKeyUnknown,
            _ => Reason::IdTokenSignature,
        },
        _ => Reason::IdTokenMalformed,
    };
    let said = match &error {
        Claims::SignatureVerification(error) => error.to_string(),
        error => error.to_string(),
    };
    TokenRefusal::new(reason, said)
}
