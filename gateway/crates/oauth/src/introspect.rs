//! `/introspect`: token introspection (RFC 7662) for the configured backends, each with a credential
//! of its own.
//!
//! A backend behind this gateway never sees an access token. This is for one that is given a token
//! by other means and wants to know what it says. It learns of tokens for itself alone: all others, and
//! whatever is no access token, are inactive, without a word more (§2.2, §4).

use std::sync::Arc;

use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderName};
use serde_json::{Value, json};

use crate::client_authentication::{basic, form, required};
use crate::kept_tools::with_kept_tools;
use crate::server::{AuthorizationServer, Settings};
use crate::{discovery, error_response};
use gateway_core::clock::Timestamp;
use gateway_core::policy::{AccessToken, Audience, TokenRejection};
use gateway_core::protocol::bearer::BearerToken;
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::protocol::resource::Mount;
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;

/// `POST /introspect`. 404 where no backend has a credential.
pub(super) async fn answer(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Response {
    if server.settings.introspection.is_empty() {
        return discovery::absent();
    }
    match introspect(server, request, now).await {
        Ok(answer) => {
            let response = web::json(StatusCode::OK, &answer);
            web::with_header(response, HeaderName::from_static("pragma"), "no-cache")
        }
        Err(error) => error_response::refused("introspection_refused", request, None, &error),
    }
}

async fn introspect(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Value, OAuthError> {
    let mount = caller(&server.settings, request)?;
    let form = form(request)?;
    let presented = required(&form, "token")?;
    let inactive = json!({ "active": false });
    let Some(bearer) = BearerToken::parse_token(presented) else {
        return Ok(inactive);
    };
    match confirmed(server, &bearer, mount, now).await {
        Ok(token) => Ok(described(&server.settings, &token, now)),
        Err(TokenRejection::Invalid(_)) => Ok(inactive),
        Err(TokenRejection::Unknown(reason)) => Err(OAuthError::fault(
            reason,
            "whether the token counts is not known",
        )),
    }
}

/// The backend that asks: its name and secret in a Basic header, and nothing else (§2.1).
fn caller<'a>(settings: &'a Settings, request: &Request) -> Result<&'a Mount, OAuthError> {
    let mut lines = request.headers.get_all(AUTHORIZATION).iter();
    let presented = match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok().and_then(basic),
        _ => None,
    };
    presented
        .and_then(|(name, secret)| {
            let expected = settings.introspection.get(&name)?;
            let known = secret.is_that_of(expected);
            let mut mounts = settings.mounts.iter();
            mounts.find(|mount| known && mount.name == name)
        })
        .ok_or_else(|| {
            OAuthError::described(
                ErrorCode::InvalidClient,
                Reason::IntrospectionUnauthenticated,
                "A backend's name and introspection secret are needed, as HTTP Basic.",
            )
        })
}

/// Confirmed as at the MCP endpoints, so that the two never differ.
async fn confirmed(
    server: &AuthorizationServer,
    bearer: &BearerToken,
    mount: &Mount,
    now: Timestamp,
) -> Result<AccessToken, TokenRejection> {
    let token = server.verified(bearer, now).await?;
    let (settings, records) = (&server.settings, &server.records);
    let view = records
        .view()
        .ok_or(TokenRejection::Unknown(Reason::StoreUnavailable))?;
    let status = view.status(&token, now);
    let audience = Audience {
        resource: &mount.resource(&settings.issuer),
        backend: &mount.name,
        members: server.catalogue.members(&mount.name),
        scopes: settings.scopes.at(&mount.name),
    };
    let token = AccessToken::confirm(Arc::new(token), audience, status, now)?;
    with_kept_tools(records, token, now).await
}

/// What an active token says (§2.2). A narrowed one ends when its holder wrote that it ends; what
/// else it was narrowed to has no member. `tools`: the names that the person chose, as they are granted
/// before any narrowing; absent where that is everything.
fn described(settings: &Settings, token: &AccessToken, now: Timestamp) -> Value {
    let claims = token.claims();
    let narrowed = token.attenuation().ends();
    let expires = narrowed.map_or(claims.expires, |ends| ends.min(claims.expires));
    let mut said = json!({
        "active": true,
        "client_id": claims.client.as_str(),
        "username": claims.user_name,
        "sub": claims.user.as_str(),
        "scope": claims.scope.to_string(),
        "aud": claims.resource.as_str(),
        "iss": settings.issuer.as_str(),
        "exp": expires.secs(),
        "iat": claims.issued.min(now).secs(),
        "token_type": "Bearer",
    });
    // An extension: a backend can't read from a token what is kept here.
    if !token.tools().is_all() {
        said["tools"] = token.tools().names().into();
    }
    said
}
