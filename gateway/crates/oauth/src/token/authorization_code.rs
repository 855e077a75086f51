//! From an authorization code to a grant (OAuth 2.1 §4.1.3).
//!
//! A code is looked at and judged before it is taken, so that a request without the proof (another
//! client, another verifier, another resource) neither uses it up nor revokes anything: codes leak,
//! and whoever finds one must not be able to disturb its owner. The same request sent again with
//! the proof is a replay and revokes the grant (OAuth 2.1 §7.5.2), unless it comes with the first or
//! right after it: that is a client's retry. The grant is durable before the token leaves.

use crate::client_authentication::{malformed, required};
use crate::revoke::{Reused, end_reused};
use crate::server::{AuthorizationServer, Settings};
use crate::token::{Granted, invalid_grant, resource, still_stands};
use gateway_core::client::Client;
use gateway_core::clock::Timestamp;
use gateway_core::grants::authorization_code::{AuthorizationCode, CodeRedemption, CodeReuse};
use gateway_core::protocol::form::Form;
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::protocol::pkce::CodeVerifier;
use gateway_core::reason::Reason;
use gateway_core::secret::Secret;
use gateway_store::journal::Journal;
use gateway_store::{Records, StoreError, TakenCode};

/// The grant that the code of a request makes, with a refresh token for every client that may have
/// one: many don't ask and need it all the same (OAuth 2.1 §4.3 leaves it to the server).
pub(super) async fn redeem(
    server: &AuthorizationServer,
    client: &Client,
    form: &Form,
    now: Timestamp,
) -> Result<Granted, OAuthError> {
    let settings = &server.settings;
    let code = Secret::presented(required(form, "code")?).hash();
    let verifier = form.one("code_verifier").map_err(malformed)?;
    let verifier = verifier.and_then(CodeVerifier::parse);
    let resource = resource(&server.settings, form)?;
    let fingerprint = client.fingerprint();
    let presented = CodeRedemption {
        client: &client.id,
        client_fingerprint: fingerprint.as_ref(),
        redirect_uri: form.one("redirect_uri").map_err(malformed)?,
        verifier: verifier.as_ref(),
        resource: resource.as_ref(),
    };
    let records = &server.records;
    if let Some(code) = records.code(&code, now).await? {
        code.prove(&presented).map_err(refusal)?;
    }
    match records.take_code(&code, now).await? {
        TakenCode::Fresh(code) => {
            let proven = code.prove(&presented).map_err(refusal)?;
            let grant = proven.redeem(settings.access_ttl, now).map_err(refusal)?;
            let memberships = server.memberships();
            let membership = still_stands(memberships, &grant, now).await?;
            Ok(Granted::keep(memberships, client, grant, membership, now).await?)
        }
        TakenCode::Replayed(code) => {
            code.prove(&presented).map_err(refusal)?;
            let journal = &server.journal;
            Err(invalid_grant(
                again(records, settings, journal, &code, now).await?,
            ))
        }
        TakenCode::Unknown => Err(invalid_grant(Reason::CodeUnknown)),
    }
}

/// Why a code that was redeemed is refused; a replay ends the grant first.
async fn again(
    records: &Records,
    settings: &Settings,
    journal: &Journal,
    code: &AuthorizationCode,
    now: Timestamp,
) -> Result<Reason, StoreError> {
    let grant = records.grant(&code.grant, now).await?;
    let view = records.view();
    if view.is_some_and(|view| view.is_revoked(&code.grant)) {
        return Ok(Reason::CodeReused);
    }
    match code.presented_again(grant.as_ref(), now) {
        CodeReuse::Retry => Ok(Reason::CodeRetried),
        CodeReuse::Replay => {
            let reused = Reused {
                reason: Reason::CodeReused,
                grant: &code.grant,
                client: &code.client,
                user: &code.user,
                last_token_ends: code.remember_until(settings.longest_token()),
            };
            end_reused(records, settings, journal, reused, now).await?;
            Ok(Reason::CodeReused)
        }
        // Nobody may have redeemed it: one that nobody comes for is taken to find that out.
        CodeReuse::Over => Ok(Reason::CodeExpired),
    }
}

/// Of what is judged of the grant alone: a fault is no `Reason` here.
fn refusal(reason: Reason) -> OAuthError {
    let code = match reason {
        Reason::ResourceMismatch => ErrorCode::InvalidTarget,
        _ => ErrorCode::InvalidGrant,
    };
    OAuthError::new(code, reason)
}
