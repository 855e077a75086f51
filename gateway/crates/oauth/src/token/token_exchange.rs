//! From a personal token to an access token of the same grant (RFC 8693), for whoever wants to narrow
//! it: a personal token is one short text and can hold no conditions.
//!
//! The personal token is all the proof there is: whoever holds it may do the same without the exchange.
//! The access token ends with the grant, and with what an identity provider said of the person.

use crate::client_authentication::{invalid, malformed, required};
use crate::personal::presented_personally;
use crate::provider::{Membership, Memberships};
use crate::server::Settings;
use crate::token::{Granted, invalid_grant, narrowed_scope, resource};
use gateway_core::clock::Timestamp;
use gateway_core::policy::TokenRejection;
use gateway_core::protocol::form::Form;
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::reason::Reason;

/// The grant type.
pub(super) const NAME: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// What is presented, and what is given.
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// What the personal token of a request gives.
pub(super) async fn exchange(
    settings: &Settings,
    memberships: Memberships<'_>,
    form: &Form,
    now: Timestamp,
) -> Result<Granted, OAuthError> {
    for (name, is_needed) in [
        ("subject_token_type", true),
        ("requested_token_type", false),
    ] {
        let said = form.one(name).map_err(malformed)?;
        if said.is_some_and(|said| said != ACCESS_TOKEN) || said.is_none() && is_needed {
            return Err(invalid(format!("{name} must be {ACCESS_TOKEN}.")));
        }
    }
    if form.one("actor_token").map_err(malformed)?.is_some() {
        return Err(invalid("No actor_token is taken."));
    }
    let presented = required(form, "subject_token")?;
    let resource = resource(settings, form)?;
    let (_, grant, membership) = presented_personally(settings, memberships, presented, now)
        .await
        .map_err(refusal)?;
    if resource.is_some_and(|resource| resource != grant.resource) {
        let reason = Reason::ResourceMismatch;
        return Err(OAuthError::new(ErrorCode::InvalidTarget, reason));
    }
    let mount = settings.mount_of(&grant.resource);
    let mount = mount.ok_or_else(|| invalid_grant(Reason::ResourceUnknown))?;
    let scopes = settings.scopes.at(&mount.name);
    let scope = narrowed_scope(scopes, &grant, form)?;
    Ok(Granted {
        scope,
        refresh_token: None,
        membership: Membership {
            until: Some(membership.end(grant.expires)),
            ..membership
        },
        grant,
    })
}

/// RFC 8693 §2.2.2: a subject token that is no good makes the request invalid; RFC 6749's
/// `invalid_grant` says the same more clearly and is what clients know.
fn refusal(rejection: TokenRejection) -> OAuthError {
    match rejection {
        TokenRejection::Invalid(reason) => invalid_grant(reason),
        TokenRejection::Unknown(reason) => OAuthError::fault(reason, reason.sentence()),
    }
}
