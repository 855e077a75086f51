//! From a refresh token to the next one (OAuth 2.1 §4.3).
//!
//! What is judged is the grant's record; what is decided replaces exactly that record, so that of
//! parallel requests one moves the grant on and the others find that it has been. A request without
//! the proof (another client, a forged token) changes nothing and revokes nothing. A fault of the
//! store is 503: whether the grant was moved on or not, the same token gives the same successor
//! when it is sent again.

use crate::client_authentication::required;
use crate::provider::Membership;
use crate::revoke::{Reused, end_reused};
use crate::server::AuthorizationServer;
use crate::token::{Granted, invalid_grant, narrowed_scope, resource, without_membership};
use gateway_core::client::{Client, REMEMBERED};
use gateway_core::clock::Timestamp;
use gateway_core::grants::refresh_token::{Exchange, Lifetimes, Presenter, RefreshToken};
use gateway_core::grants::{Grant, GrantId};
use gateway_core::protocol::form::Form;
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::reason::Reason;
use gateway_store::{KeptGrant, KeyKind, Records, StoreError, unless_conflict};

/// How often somebody else may move the grant on between our reading and our writing. Whoever
/// presents one token is beaten once, and then finds it exchanged.
const ATTEMPTS: usize = 8;

/// What the refresh token of a request gives.
pub(super) async fn refresh(
    server: &AuthorizationServer,
    client: &Client,
    form: &Form,
    now: Timestamp,
) -> Result<Granted, OAuthError> {
    let Some(lifetimes) = server.settings.refresh_for(client) else {
        let reason = Reason::RefreshNotRegistered;
        return Err(OAuthError::new(ErrorCode::UnauthorizedClient, reason));
    };
    let token = RefreshToken::parse(required(form, "refresh_token")?)
        .ok_or_else(|| gone(Reason::RefreshUnknown))?;
    let records = &server.records;
    for _ in 0..ATTEMPTS {
        let Some(kept) = records.kept_grant(&token.grant, now).await? else {
            return Err(absent(&server.records, &token.grant));
        };
        let person = (&kept.grant.user, &kept.grant.user_name);
        let turned = turn(server, client, &token, &kept.grant, lifetimes, form, now);
        match turned {
            Ok(Rotation { next, mut granted }) => {
                // Only to whoever has shown the proof is it told what became of the person.
                let membership = server.memberships().of(person.0, person.1, now).await?;
                granted.membership = membership.map_err(without_membership)?;
                let Some(next) = next else {
                    return Ok(granted);
                };
                let replaced = replace(&server.records, client, &kept, &next, now).await;
                if unless_conflict(replaced)?.is_some() {
                    return Ok(granted);
                }
            }
            Err(Refused::Reused) => {
                let grant = &kept.grant;
                let reused = Reused {
                    reason: Reason::RefreshReused,
                    grant: &grant.id,
                    client: &grant.client,
                    user: &grant.user,
                    last_token_ends: grant.expires,
                };
                end_reused(records, &server.settings, &server.journal, reused, now).await?;
                return Err(gone(Reason::RefreshReused));
            }
            Err(Refused::Error(error)) => return Err(error),
        }
    }
    Err(StoreError::Conflict(KeyKind::Grant).into())
}

/// What a request decides about the grant as it was read.
struct Rotation {
    /// What to store first, if the grant moves on.
    next: Option<Box<Grant>>,
    granted: Granted,
}

enum Refused {
    /// The grant must end.
    Reused,
    Error(OAuthError),
}

/// Of what is judged of the grant alone: a fault is no `Reason` here.
impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::RefreshReused => Self::Reused,
            reason => Self::Error(gone(reason)),
        }
    }
}

/// The questions, in order.
fn turn(
    server: &AuthorizationServer,
    client: &Client,
    token: &RefreshToken,
    grant: &Grant,
    lifetimes: &Lifetimes,
    form: &Form,
    now: Timestamp,
) -> Result<Rotation, Refused> {
    let settings = &server.settings;
    let fingerprint = client.fingerprint();
    let presenter = Presenter {
        client: &client.id,
        fingerprint: fingerprint.as_ref(),
    };
    let proven = token.prove(grant, presenter, &server.tags)?;
    let view = server.records.view();
    if view.is_some_and(|view| view.revokes_grant(grant)) {
        return Err(Refused::Error(invalid_grant(Reason::GrantRevoked)));
    }
    let exchange = proven.exchange(lifetimes, settings.access_ttl, now)?;
    // Clients recover from `invalid_grant` when a backend is gone, not from `invalid_target`.
    let Some(mount) = settings.mount_of(&grant.resource) else {
        return Err(Refused::Error(invalid_grant(Reason::ResourceUnknown)));
    };
    let resource = resource(&server.settings, form).map_err(Refused::Error)?;
    proven.covers(resource.as_ref())?;
    let scopes = settings.scopes.at(&mount.name);
    let scope = narrowed_scope(scopes, grant, form).map_err(Refused::Error)?;
    let next = match exchange {
        Exchange::Rotated(next) => Some(next),
        Exchange::Repeated => None,
    };
    Ok(Rotation {
        granted: Granted {
            grant: next.as_deref().unwrap_or(grant).clone(),
            scope,
            refresh_token: Some(proven.successor(&server.tags)),
            membership: Membership::default(),
        },
        next,
    })
}

/// The client is kept for longer first: a grant must never outlive its client.
async fn replace(
    records: &Records,
    client: &Client,
    kept: &KeptGrant,
    next: &Grant,
    now: Timestamp,
) -> Result<(), StoreError> {
    let until = next.expires.max(now + REMEMBERED);
    records.extend_client(&client.id, until, now).await?;
    records.replace_grant(kept, next, now).await
}

/// Nothing is stored under the grant that the token names.
fn absent(records: &Records, grant: &GrantId) -> OAuthError {
    let view = records.view();
    if view.is_some_and(|view| view.is_revoked(grant)) {
        return invalid_grant(Reason::GrantRevoked);
    }
    gone(Reason::RefreshUnknown)
}

fn gone(reason: Reason) -> OAuthError {
    let code = match reason {
        Reason::ResourceMismatch => ErrorCode::InvalidTarget,
        _ => ErrorCode::InvalidGrant,
    };
    OAuthError::new(code, reason)
}
