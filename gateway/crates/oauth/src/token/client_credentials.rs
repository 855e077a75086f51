//! A client of the configuration gets a token for itself (RFC 6749 §4.4), in the name of a service: an
//! hour, no refresh token, one backend. Never one that registered itself or that a document describes:
//! nobody vouched for what it may do.
//!
//! Its tokens of a day are one grant, so that a program that asks for a token with each call fills
//! nothing; a grant that was revoked gives no more tokens, and the next request begins another.

use std::time::Duration;

use rand::rngs::OsRng;

use crate::client_authentication::malformed;
use crate::provider::Membership;
use crate::server::Settings;
use crate::token::{Granted, unknown_resource};
use gateway_core::client::service::{ServiceClient, ServiceRefusal};
use gateway_core::client::{Client, Registration};
use gateway_core::clock::Timestamp;
use gateway_core::grants::{Grant, GrantId, UserId};
use gateway_core::protocol::form::Form;
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::protocol::resource::{Mount, requested_mount};
use gateway_core::protocol::scope::{NarrowError, Scope};
use gateway_core::reason::Reason;
use gateway_store::{Records, ServiceGrantKey, StoreError};

/// How long a token lives at most.
const TOKEN: Duration = Duration::from_secs(3600);

/// How long a grant gives tokens.
const GRANT: Duration = Duration::from_secs(24 * 3600);

/// What the client of a request gets for itself.
pub(super) async fn give(
    settings: &Settings,
    records: &Records,
    client: &Client,
    form: &Form,
    now: Timestamp,
) -> Result<Granted, OAuthError> {
    let service = settings
        .services
        .get(&client.id)
        .filter(|_| client.registration == Registration::PreRegistered)
        .ok_or_else(|| {
            let reason = Reason::ClientCredentialsNotConfigured;
            OAuthError::new(ErrorCode::UnauthorizedClient, reason)
        })?;
    let named = requested_mount(form.all("resource"), &settings.issuer, &settings.mounts);
    let named = named.map_err(|error| unknown_resource(error.to_string()))?;
    let mount = service.mount(named, &settings.mounts).map_err(refusal)?;
    let requested = form.one("scope").map_err(malformed)?;
    let scopes = settings.scopes.at(&mount.name);
    let scope = service.granted(scopes, requested).map_err(refusal)?;
    // A person of this name came after the service: nobody may stand for the other.
    if records.user(&service.service, now).await?.is_some() {
        let reason = Reason::ServiceNameTaken;
        return Err(OAuthError::new(ErrorCode::UnauthorizedClient, reason));
    }
    let asked = ServiceRequest {
        client,
        service,
        mount,
        scope,
    };
    let grant = asked.grant(records, settings, now).await?;
    Ok(Granted {
        scope: grant.scope.clone(),
        refresh_token: None,
        membership: Membership {
            until: Some((now + TOKEN).min(grant.expires)),
            ..Membership::default()
        },
        grant,
    })
}

/// What is given, judged.
struct ServiceRequest<'a> {
    client: &'a Client,
    service: &'a ServiceClient,
    mount: &'a Mount,
    scope: Scope,
}

impl ServiceRequest<'_> {
    /// The grant that gives it: the one of before while that is good for a whole token more, or a new
    /// one, which is durable then.
    async fn grant(
        &self,
        records: &Records,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Grant, StoreError> {
        let resource = self.mount.resource(&settings.issuer);
        let key = ServiceGrantKey {
            client: &self.client.id,
            resource: &resource,
            scope: &self.scope,
            tools: self.service.tools.digest(),
        };
        let user = UserId::of_service(&self.service.service);
        let seen = records.service_grant(&key, now).await?;
        if let Some(grant) = &seen {
            let view = records.view();
            let is_revoked = view.is_some_and(|view| view.revokes_grant(grant));
            if !is_revoked && grant.user == user && now + TOKEN <= grant.expires {
                return Ok(grant.clone());
            }
        }
        let grant = Grant {
            id: GrantId::draw(&mut OsRng),
            user,
            user_name: self.service.service.clone(),
            client: self.client.id.clone(),
            client_fingerprint: None,
            resource: resource.clone(),
            scope: self.scope.clone(),
            tools: self.service.tools.clone(),
            created: records.dated(now),
            redeemed: None,
            expires: now + GRANT,
            refresh: None,
            personal: None,
            allowed_by: None,
        };
        let seen = seen.map(|seen| seen.id);
        records
            .put_service_grant(&key, seen.as_ref(), grant, now)
            .await
    }
}

fn refusal(refused: ServiceRefusal) -> OAuthError {
    match refused {
        ServiceRefusal::ResourceNeeded | ServiceRefusal::ResourceNotAllowed => {
            unknown_resource(refused.to_string())
        }
        ServiceRefusal::Scope(error) => {
            let reason = match error {
                NarrowError::Malformed(_) => Reason::RequestMalformed,
                NarrowError::Wider => Reason::ScopeNotConfigured,
            };
            OAuthError::described(ErrorCode::InvalidScope, reason, error.to_string())
        }
    }
}
