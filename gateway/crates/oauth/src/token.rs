//! `/token`: the phases that every grant type goes through (OAuth 2.1 §3.2): the form, the grant
//! type, the client's authentication, then what the grant type itself decides, then the access
//! token. What differs is in a file each: `authorization_code`, `refresh_token`,
//! `client_credentials`, `device_code`, `jwt_bearer`, `token_exchange`.

mod authorization_code;
mod client_credentials;
mod device_code;
mod jwt_bearer;
mod refresh_token;
mod token_exchange;

pub(crate) use self::device_code::NAME as DEVICE_CODE;
pub(crate) use self::jwt_bearer::NAME as JWT_BEARER;

use crate::provider::providers::Providers;
use http::StatusCode;
use http::header::HeaderName;
use rand::rngs::OsRng;
use serde_json::json;

use crate::audited::audited;
use crate::client_authentication::{authenticate, form, malformed, required};
use crate::device::DeviceApps;
use crate::error_response;
use crate::provider::{Membership, Memberships, is_absence};
use crate::server::{AuthorizationServer, Settings};
use gateway_core::access_token::{self, Claims, KeysHandle, Minted};
use gateway_core::audit::{Event, Record};
use gateway_core::client::{Client, ClientId};
use gateway_core::clock::Timestamp;
use gateway_core::grants::Grant;
use gateway_core::policy::Scopes;
use gateway_core::protocol::form::Form;
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::protocol::resource::{Resource, requested_mount_of_shown};
use gateway_core::protocol::scope::{NarrowError, Scope};
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::Secret;
use gateway_store::{Records, StoreError};

/// `POST /token`.
pub(super) async fn answer(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Response {
    let refused = |client: Option<&str>, error: &OAuthError| {
        match error.code {
            // Asked every few seconds, and nothing was refused.
            ErrorCode::AuthorizationPending | ErrorCode::PollSlowDown => error.to_response(),
            _ => error_response::refused("token_refused", request, client, error),
        }
    };
    let form = match form(request) {
        Ok(form) => form,
        Err(error) => return refused(None, &error),
    };
    let claimed = form.one("client_id").ok().flatten();
    let grant_type = match GrantType::from_form(&form, &server.settings, &server.providers) {
        Ok(grant_type) => grant_type,
        Err(error) => return refused(claimed, &error),
    };
    let granted = match granted(server, request, grant_type, &form, now).await {
        Ok(granted) => granted,
        Err((client, error)) => {
            return refused(client.as_ref().map(ClientId::as_str).or(claimed), &error);
        }
    };
    let pause = server.records.settles_in(now).unwrap_or_default();
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    let now = now + pause;
    let client = granted.grant.client.clone();
    let (settings, records) = (&server.settings, &server.records);
    match issue(settings, records, &server.keys, granted, now) {
        Ok(issued) => {
            issued.log(request, grant_type);
            let counted = &server.metrics.tokens_issued;
            counted.with([grant_type.name()]).increment();
            let response = issued.to_response(grant_type, now);
            audited(response, issued.record(grant_type))
        }
        Err(error) => refused(Some(client.as_str()), &error),
    }
}

/// What the request is given, after its client was authenticated where the grant type asks for one; or
/// why nothing, with the client that was.
async fn granted(
    server: &AuthorizationServer,
    request: &Request,
    grant_type: GrantType,
    form: &Form,
    now: Timestamp,
) -> Result<Granted, (Option<ClientId>, OAuthError)> {
    if grant_type == GrantType::TokenExchange {
        let exchanged =
            token_exchange::exchange(&server.settings, server.memberships(), form, now).await;
        return exchanged.map_err(|error| (None, error));
    }
    let client = authenticate(server, request, form, now)
        .await
        .map_err(|error| (None, error))?;
    let granted = match grant_type {
        GrantType::AuthorizationCode => {
            authorization_code::redeem(server, &client, form, now).await
        }
        GrantType::ClientCredentials => {
            client_credentials::give(&server.settings, &server.records, &client, form, now).await
        }
        GrantType::DeviceCode => device_code::redeem(server, &client, form, now).await,
        GrantType::JwtBearer => jwt_bearer::exchange(server, &client, form, now).await,
        GrantType::RefreshToken | GrantType::TokenExchange => {
            refresh_token::refresh(server, &client, form, now).await
        }
    };
    granted.map_err(|error| (Some(client.id), error))
}

/// What is served at `/token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GrantType {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
    DeviceCode,
    TokenExchange,
    JwtBearer,
}

impl GrantType {
    fn from_form(
        form: &Form,
        settings: &Settings,
        providers: &Providers,
    ) -> Result<Self, OAuthError> {
        match required(form, "grant_type")? {
            "authorization_code" => Ok(Self::AuthorizationCode),
            "refresh_token" if settings.refresh.is_some() => Ok(Self::RefreshToken),
            // It was switched off since. An app forgets a token that is good no more and asks a person
            // anew; one that hears of a grant type that is not served keeps it, and tries for ever.
            "refresh_token" => Err(invalid_grant(Reason::GrantTypeUnsupported)),
            "client_credentials" if !settings.services.is_empty() => Ok(Self::ClientCredentials),
            device_code::NAME if settings.device_apps != DeviceApps::Off => Ok(Self::DeviceCode),
            token_exchange::NAME if settings.personal.is_some() => Ok(Self::TokenExchange),
            JWT_BEARER if providers.connect_apps() => Ok(Self::JwtBearer),
            _ => Err(OAuthError::new(
                ErrorCode::UnsupportedGrantType,
                Reason::GrantTypeUnsupported,
            )),
        }
    }

    /// What metrics call it.
    const fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "device_code",
            Self::TokenExchange => "token_exchange",
            Self::JwtBearer => "jwt_bearer",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "an authorization code was redeemed",
            Self::RefreshToken => "a refresh token was exchanged",
            Self::ClientCredentials => "a client got a token for itself",
            Self::DeviceCode => "an app on another machine came for its answer",
            Self::TokenExchange => "a personal token was exchanged",
            Self::JwtBearer => "an identity provider's assertion was exchanged",
        }
    }
}

/// What a grant type decided that a client gets. It is durable.
struct Granted {
    grant: Grant,
    /// Of this access token; the grant's own or less.
    scope: Scope,
    refresh_token: Option<Secret>,
    /// What holds of the person.
    membership: Membership,
}

impl Granted {
    /// Keeps a new grant, with refresh tokens where its client gets them, before anything is given of it.
    async fn keep(
        memberships: Memberships<'_>,
        client: &Client,
        grant: Grant,
        membership: Membership,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let settings = memberships.ways.settings;
        let grant = match settings.refresh_for(client) {
            Some(lifetimes) => grant.with_refresh_tokens(lifetimes, now, &mut OsRng),
            None => grant,
        };
        memberships.records.put_grant(&grant).await?;
        Ok(Self {
            scope: grant.scope.clone(),
            refresh_token: grant.first_refresh_token(memberships.tags),
            grant,
            membership,
        })
    }
}

/// What holds of the person who allowed this a while ago, or why it counts no more.
async fn still_stands(
    memberships: Memberships<'_>,
    grant: &Grant,
    now: Timestamp,
) -> Result<Membership, OAuthError> {
    let membership = memberships.of(&grant.user, &grant.user_name, now).await?;
    let membership = membership.map_err(without_membership)?;
    let view = memberships.records.view();
    if view.is_some_and(|view| view.revokes_grant(grant)) {
        return Err(invalid_grant(Reason::GrantRevoked));
    }
    Ok(membership)
}

/// The canonical resource that the request names, if it names one (RFC 8707 §2.2) beside what it shows, whose
/// own stays the audience.
fn resource(settings: &Settings, form: &Form) -> Result<Option<Resource>, OAuthError> {
    requested_mount_of_shown(form.all("resource"), &settings.issuer, &settings.mounts)
        .map(|mount| mount.map(|mount| mount.resource(&settings.issuer)))
        .map_err(|error| unknown_resource(error.to_string()))
}

fn unknown_resource(description: String) -> OAuthError {
    let (code, reason) = (ErrorCode::InvalidTarget, Reason::ResourceUnknown);
    OAuthError::described(code, reason, description)
}

struct Issued {
    granted: Granted,
    minted: Minted,
    expires: Timestamp,
}

fn issue(
    settings: &Settings,
    records: &Records,
    keys: &KeysHandle,
    granted: Granted,
    now: Timestamp,
) -> Result<Issued, OAuthError> {
    let grant = &granted.grant;
    // No longer than what an identity provider said of the person holds.
    let expires = granted.membership.end(now + settings.access_ttl);
    let claims = Claims {
        user: grant.user.clone(),
        user_name: grant.user_name.clone(),
        groups: granted.membership.groups.clone(),
        client: grant.client.clone(),
        grant: grant.id.clone(),
        resource: grant.resource.clone(),
        scope: granted.scope.for_resource(),
        tools: grant.tools.clone(),
        issued: records.dated(now),
        expires,
    };
    let keys = keys.current();
    let minted = access_token::mint(&claims, &keys).map_err(|error| {
        let reason = match keys.active_id() {
            Some(_) => Reason::Internal,
            None => Reason::SigningKeyMissing,
        };
        OAuthError::fault(reason, error)
    })?;
    Ok(Issued {
        granted,
        minted,
        expires,
    })
}

impl Issued {
    fn log(&self, request: &Request, grant_type: GrantType) {
        let grant = &self.granted.grant;
        log::info!(
            event = "token_issued", client = grant.client.as_str(), grant = grant.id.as_str(),
            user = grant.user.as_str(), resource = grant.resource.as_str(),
            allowed_by = grant.allowed_by.as_deref(), token = self.minted.id.as_str(),
            expires:% = self.expires, refresh = self.granted.refresh_token.is_some(),
            request_id = request.request_id.as_str();
            "{}", grant_type.done()
        );
    }

    fn record(&self, grant_type: GrantType) -> Record {
        let grant = &self.granted.grant;
        Record {
            user: Some(grant.user.as_str().to_owned()),
            client: Some(grant.client.as_str().to_owned()),
            grant: Some(grant.id.as_str().to_owned()),
            token: Some(self.minted.id.chars().take(16).collect()),
            detail: Some(self.detail(grant_type)),
            ..Record::new(Event::Token)
        }
    }

    /// Where no person was asked, nothing else says what was allowed.
    fn detail(&self, grant_type: GrantType) -> String {
        let grant = &self.granted.grant;
        let (resource, done) = (grant.resource.as_str(), grant_type.done());
        let given = format!("resource {resource}, {done}");
        match &grant.allowed_by {
            None => given,
            Some(provider) => format!(
                "{given}; allowed by {provider}: scope {}; tools {}",
                grant.scope,
                grant.tools.in_words()
            ),
        }
    }

    fn to_response(&self, grant_type: GrantType, now: Timestamp) -> Response {
        let mut body = json!({
            "access_token": self.minted.token,
            "token_type": "Bearer",
            "expires_in": self.expires.since(now).as_secs(),
            "scope": self.granted.scope.to_string(),
        });
        if let Some(token) = &self.granted.refresh_token {
            body["refresh_token"] = token.reveal().into();
        }
        if grant_type == GrantType::TokenExchange {
            body["issued_token_type"] = token_exchange::ACCESS_TOKEN.into();
        }
        let response = web::json(StatusCode::OK, &body);
        web::with_header(response, HeaderName::from_static("pragma"), "no-cache")
    }
}

/// The scope of an access token that a request asks for less with. The grant's own is not changed by a
/// narrower one: the next request may ask for all of it again (RFC 6749 §6).
fn narrowed_scope(scopes: &Scopes, grant: &Grant, form: &Form) -> Result<Scope, OAuthError> {
    let requested = form.one("scope").map_err(malformed)?;
    scopes.narrowed(&grant.scope, requested).map_err(|error| {
        let reason = match error {
            NarrowError::Malformed(_) => Reason::RequestMalformed,
            NarrowError::Wider => Reason::RefreshScopeWider,
        };
        OAuthError::described(ErrorCode::InvalidScope, reason, error.to_string())
    })
}

/// A client must not forget what it was given because a provider is away.
fn without_membership(reason: Reason) -> OAuthError {
    if is_absence(reason) {
        OAuthError::fault(reason, reason.sentence())
    } else {
        invalid_grant(reason)
    }
}

fn invalid_grant(reason: Reason) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidGrant, reason)
}
