//! Authentication by a signed assertion (RFC 7523): the client's keys are had, the assertion is
//! judged, and its id is used up.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use crate::endpoint::Endpoint;
use crate::server::{AuthorizationServer, Settings};
use gateway_core::client::assertion::{Assertion, AssertionError, VerifiedAssertion};
use gateway_core::client::keys::{KeySet, KeySetError, KeySource};
use gateway_core::client::{Client, Registration};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::protocol::web::Request;
use gateway_core::reason::Reason;
use gateway_fetch::{Documents, FetchError, Unusable};
use gateway_store::{CountKey, Key, Records};

/// The window of the limits below.
const WINDOW: Duration = Duration::from_secs(60);
/// Assertions of one client that registered itself, in a window. Each is remembered until it ends,
/// and anybody can register: this bounds what a stranger's key can fill the store with.
const SELF_REGISTERED: u64 = 60;
/// Of one client that is known otherwise; it may speak for all of its users.
const KNOWN: u64 = 6_000;

/// Believes that `assertion` comes from `client`, once.
pub(super) async fn verify(
    server: &AuthorizationServer,
    request: &Request,
    client: &Client,
    assertion: &Assertion,
    keys: &KeySource,
    now: Timestamp,
) -> Result<(), OAuthError> {
    let judge = |keys: &KeySet| {
        assertion.verify(&client.id, keys, &audiences(&server.settings, request), now)
    };
    let believed = match keys {
        KeySource::Jwks(keys) => judge(keys),
        KeySource::JwksUri(uri) => at(&server.key_sets, uri, assertion, judge, now).await?,
    };
    let believed = believed.map_err(refusal)?;
    use_up(&server.records, client, &believed, now).await
}

/// With the keys at `uri`; with newer ones if the key that signed is not among those.
async fn at(
    key_sets: &Documents,
    uri: &str,
    assertion: &Assertion,
    judge: impl Fn(&KeySet) -> Result<VerifiedAssertion, AssertionError>,
    now: Timestamp,
) -> Result<Result<VerifiedAssertion, AssertionError>, OAuthError> {
    let url = Url::parse(uri).map_err(|error| OAuthError::fault(Reason::Internal, error))?;
    let had = key_sets.get(&url, now, key_set).await;
    let judged = judge(&had.map_err(without_keys)?);
    match judged {
        Err(error) if assertion.may_need_newer_keys(error) => {
            match key_sets.renew(&url, now, key_set).await {
                Some(newer) => Ok(judge(&newer.map_err(without_keys)?)),
                None => Ok(judged),
            }
        }
        judged => Ok(judged),
    }
}

fn key_set(document: &[u8]) -> Result<KeySet, KeySetError> {
    let set: Value = serde_json::from_slice(document).map_err(|_| KeySetError::Form)?;
    KeySet::parse(&set)
}

/// What stands at the URL is the client's fault; that it can't be reached may be anybody's, and a
/// client that heard `invalid_client` would forget who it is.
fn without_keys(error: Unusable<KeySetError>) -> OAuthError {
    match error {
        Unusable::Fetch(error @ FetchError::NoFiles(_)) => {
            OAuthError::fault(Reason::OpenFilesExhausted, error)
        }
        Unusable::Fetch(error) => OAuthError::fault(Reason::ClientKeysUnreachable, error),
        Unusable::Document(error) => OAuthError::described(
            ErrorCode::InvalidClient,
            Reason::ClientAssertionInvalid,
            format!("The document at the client's jwks_uri {error}."),
        ),
    }
}

/// How this server may be addressed: as its issuer, also with the slash that URL types put behind
/// an origin, or as the endpoint that is asked, which stands for the token endpoint too (RFC 7523
/// §3, point 3).
fn audiences(settings: &Settings, request: &Request) -> Vec<String> {
    let issuer = &settings.issuer;
    vec![
        issuer.as_str().to_owned(),
        issuer.join("/"),
        issuer.join(Endpoint::Token.path()),
        issuer.join(&request.path),
    ]
}

/// Marks the assertion as used, on every replica. The one who sends it again has found it somewhere.
async fn use_up(
    records: &Records,
    client: &Client,
    assertion: &VerifiedAssertion,
    now: Timestamp,
) -> Result<(), OAuthError> {
    let limit = match client.registration {
        Registration::SelfRegistered => SELF_REGISTERED,
        Registration::PreRegistered | Registration::MetadataDocument => KNOWN,
    };
    let key = CountKey::assertions(&client.id);
    if records.count(&key, WINDOW, now).await? > limit {
        return Err(OAuthError::new(ErrorCode::SlowDown, Reason::RateLimited));
    }
    let key = Key::used_assertion(&assertion.once);
    if records.once(&key, assertion.until, now).await? {
        return Ok(());
    }
    Err(OAuthError::new(
        ErrorCode::InvalidClient,
        Reason::ClientAssertionReused,
    ))
}

/// An assertion that is not believed.
pub(super) fn refusal(error: AssertionError) -> OAuthError {
    OAuthError::described(
        ErrorCode::InvalidClient,
        Reason::ClientAssertionInvalid,
        format!("client_assertion {error}."),
    )
}
