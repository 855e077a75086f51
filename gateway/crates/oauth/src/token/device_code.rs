//! From a device code to a grant (RFC 8628 §3.4, §3.5).
//!
//! An app asks every five seconds until the person has answered; whoever asks faster is told to slow down.
//! The code is looked at, and whether anything can be given, before it is taken: a provider that is away
//! costs an app no answer. It is taken before anything is given, so that it is good once on all replicas.

use std::time::Duration;

use crate::client_authentication::required;
use crate::server::AuthorizationServer;
use crate::token::{Granted, invalid_grant, resource, still_stands};
use gateway_core::client::Client;
use gateway_core::clock::Timestamp;
use gateway_core::grants::device::{INTERVAL, Presenter};
use gateway_core::protocol::form::Form;
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::reason::Reason;
use gateway_core::secret::Secret;
use gateway_store::{CountKey, SingleUse};

/// The grant type.
pub(crate) const NAME: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Networks deliver two questions a little closer together than they were asked.
const HASTE: Duration = Duration::from_millis(700);

/// What the device code of a request gives.
pub(super) async fn redeem(
    server: &AuthorizationServer,
    client: &Client,
    form: &Form,
    now: Timestamp,
) -> Result<Granted, OAuthError> {
    let (settings, records) = (&server.settings, &server.records);
    let code = Secret::presented(required(form, "device_code")?).hash();
    let resource = resource(&server.settings, form)?;
    let Some(kept) = records.device(&code, now).await? else {
        // It is forgotten when it ends.
        return Err(refusal(Reason::DeviceCodeExpired));
    };
    let polls = CountKey::device_polls(&code);
    if records.count(&polls, INTERVAL - HASTE, now).await? > 1 {
        let (code, reason) = (ErrorCode::PollSlowDown, Reason::DevicePending);
        return Err(OAuthError::described(code, reason, "Ask less often."));
    }
    let fingerprint = client.fingerprint();
    let presenter = Presenter {
        client: &client.id,
        fingerprint: fingerprint.as_ref(),
        resource: resource.as_ref(),
    };
    let allowed = kept.asked.answered(presenter, now).map_err(refusal)?;
    let grant = kept.asked.grant(allowed, settings.access_ttl, now);
    let memberships = server.memberships();
    let membership = still_stands(memberships, &grant, now).await?;
    let SingleUse::Fresh(asked) = records.take_device(&code, now).await? else {
        return Err(invalid_grant(Reason::DeviceCodeUsed));
    };
    let allowed = asked.answered(presenter, now).map_err(refusal)?;
    let grant = asked.grant(allowed, settings.access_ttl, now);
    Ok(Granted::keep(memberships, client, grant, membership, now).await?)
}

/// Of what is judged of the grant alone: a fault is no `Reason` here.
fn refusal(reason: Reason) -> OAuthError {
    let code = match reason {
        Reason::DevicePending => ErrorCode::AuthorizationPending,
        Reason::UserDenied => ErrorCode::AccessDenied,
        Reason::DeviceCodeExpired => ErrorCode::ExpiredToken,
        Reason::ResourceMismatch => ErrorCode::InvalidTarget,
        _ => ErrorCode::InvalidGrant,
    };
    OAuthError::new(code, reason)
}
