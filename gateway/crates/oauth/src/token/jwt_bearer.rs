//! From an identity provider's assertion to a grant (RFC 7523 §2.1 with an ID-JAG): the provider has
//! decided, so no person is asked.
//!
//! The app gets the tools of the moment, as they are, and no refresh token: it comes with a new
//! assertion, so that the provider decides each time. The assertion is used up last: a fault before
//! that leaves it good, and what was done till then may be done twice.

use rand::rngs::OsRng;

use crate::authorize::consent::tools::{NotToday, today};
use crate::client_authentication::{malformed, required};
use crate::provider::{Failure, IdJag, is_fault, may_be_given, membership, read_id_jag};
use crate::revoke::end_grant;
use crate::server::{AuthorizationServer, Settings};
use crate::token::{Granted, invalid_grant, without_membership};
use gateway_core::client::{Client, REMEMBERED, Registration};
use gateway_core::clock::Timestamp;
use gateway_core::grants::{Grant, GrantId};
use gateway_core::policy::Scopes;
use gateway_core::protocol::form::Form;
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::protocol::resource::{Mount, ResourceError, requested_mount};
use gateway_core::protocol::scope::Scope;
use gateway_core::reason::Reason;
use gateway_store::{Records, StoreError, User};

/// The grant type.
pub(crate) const NAME: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// What the assertion of a request gives.
pub(super) async fn exchange(
    server: &AuthorizationServer,
    client: &Client,
    form: &Form,
    now: Timestamp,
) -> Result<Granted, OAuthError> {
    let (settings, records) = (&server.settings, &server.records);
    let text = required(form, "assertion")?;
    let asked = form.one("scope").map_err(malformed)?;
    let assertion = read_id_jag(settings, &server.providers, client, text, now).await;
    let assertion = assertion.map_err(refusal)?;
    let mount = mount(settings, form, &assertion)?;
    let scope = scope(settings.scopes.at(&mount.name), asked, &assertion)?;
    let user = assertion.person(server.memberships(), client, now).await;
    let user = user.map_err(refusal)?;
    let membership = membership(server.ways_in(), &user, now).map_err(without_membership)?;
    let tools = today(&server.catalogue, settings, mount, &scope, &user.name).await;
    let tools = tools.map_err(without_tools)?;
    let grant = Grant {
        id: GrantId::draw(&mut OsRng),
        user: user.id.clone(),
        user_name: user.name.clone(),
        client: client.id.clone(),
        client_fingerprint: client.fingerprint(),
        resource: mount.resource(&settings.issuer),
        scope,
        tools,
        allowed_by: Some(assertion.provider.name.clone()),
        personal: None,
        created: now,
        redeemed: Some(now),
        expires: membership.end(now + settings.access_ttl),
        refresh: None,
    };
    assertion.use_up(records, now).await.map_err(refusal)?;
    keep(records, client, &grant, now).await?;
    still_given(records, settings, client, &user, &grant, now).await?;
    Ok(Granted {
        scope: grant.scope.clone(),
        refresh_token: None,
        grant,
        membership,
    })
}

/// The backend that the assertion is for; the request may name it, and no other.
fn mount<'s>(
    settings: &'s Settings,
    form: &Form,
    assertion: &IdJag<'_>,
) -> Result<&'s Mount, OAuthError> {
    let said = [assertion.claims.resource.as_str()].into_iter();
    let both = said.chain(form.all("resource"));
    let mount = requested_mount(both, &settings.issuer, &settings.mounts).map_err(|error| {
        let reason = match error {
            ResourceError::Several => Reason::ResourceMismatch,
            _ => Reason::ResourceUnknown,
        };
        OAuthError::described(ErrorCode::InvalidTarget, reason, error.to_string())
    })?;
    mount.ok_or_else(|| OAuthError::new(ErrorCode::InvalidTarget, Reason::ResourceUnknown))
}

/// What is asked for, what the assertion names and what the operator lists have in common, as far as
/// the backend has it.
fn scope(scopes: &Scopes, asked: Option<&str>, assertion: &IdJag<'_>) -> Result<Scope, OAuthError> {
    let error = |reason| OAuthError::new(ErrorCode::InvalidScope, reason);
    let asked = asked.map(Scope::strictly).transpose();
    let asked = asked.map_err(|_| error(Reason::RequestMalformed))?;
    let asked = asked.filter(|asked| !asked.is_empty());
    let limits = [asked.as_ref(), assertion.claims.scope.as_ref()];
    let most = scopes.in_common(&scopes.supported(), &assertion.rules.scopes);
    let scope = limits
        .into_iter()
        .flatten()
        .fold(most, |scope, limit| scopes.in_common(&scope, limit));
    if scope.is_empty() {
        Err(error(Reason::IdJagScopeEmpty))
    } else {
        Ok(scope)
    }
}

/// The client is kept first, for longer: a grant must never outlive it.
async fn keep(
    records: &Records,
    client: &Client,
    grant: &Grant,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (records, until) = (records, grant.expires.max(now + REMEMBERED));
    match client.registration {
        Registration::PreRegistered => {}
        Registration::SelfRegistered => {
            records.extend_client(&client.id, until, now).await?;
        }
        Registration::MetadataDocument => {
            records.keep_client(client, until, now).await?;
        }
    }
    records.put_grant(grant).await
}

/// Whoever takes access back at this moment notes it first and then ends the grants that there are:
/// either finds the other.
async fn still_given(
    records: &Records,
    settings: &Settings,
    client: &Client,
    user: &User,
    grant: &Grant,
    now: Timestamp,
) -> Result<(), OAuthError> {
    let present = records.user(&user.name, now).await?;
    let present = present.filter(|present| present.id == user.id);
    let refused = match &present {
        Some(user) => may_be_given(user, client).err().map(refusal),
        None => Some(invalid_grant(Reason::UserDisabled)),
    };
    let Some(error) = refused else { return Ok(()) };
    end_grant(records, settings, &grant.id, grant.expires, now).await?;
    Err(error)
}

fn without_tools(error: NotToday) -> OAuthError {
    match error {
        NotToday::Unknown(error) => OAuthError::fault(Reason::ToolsUnknown, error),
        NotToday::NotGranted(error) => {
            let said = format!("At this backend {error}.");
            OAuthError::described(ErrorCode::InvalidScope, Reason::IdJagScopeEmpty, said)
        }
    }
}

/// A fault of ours, or of the provider's, is one that passes.
fn refusal(failure: Failure) -> OAuthError {
    let (reason, detail) = match failure.explained() {
        Ok(explained) => explained,
        Err(error) => return error.into(),
    };
    if is_fault(reason) {
        return OAuthError::fault(reason, detail);
    }
    let code = match reason {
        Reason::IdJagClientNotAllowed => ErrorCode::UnauthorizedClient,
        _ => ErrorCode::InvalidGrant,
    };
    let line = detail.lines().next().unwrap_or_default();
    let described = match reason {
        // Who it is stands in the log alone.
        Reason::PersonNotAllowed => reason.sentence().to_owned(),
        _ => format!("{} {line}", reason.sentence()),
    };
    OAuthError {
        cause: Some(detail.replace('\n', "; ")).filter(|cause| !cause.is_empty()),
        ..OAuthError::described(code, reason, described.trim_end())
    }
}
