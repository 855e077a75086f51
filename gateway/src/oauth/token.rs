//! `/token`: from an authorization code to an access token (OAuth 2.1 §3.2, §4.1.3).
//!
//! A code is looked at and judged before it is taken, so that a request without the proof (another
//! client, another verifier, another resource) neither uses it up nor revokes anything: codes leak,
//! and whoever finds one must not be able to disturb its owner. The same request sent again with
//! the proof is a replay and revokes the grant (OAuth 2.1 §7.5.2). The grant is durable before the
//! token leaves.

use http::StatusCode;
use http::header::HeaderName;
use serde_json::json;

use crate::access_token::{self, Claims, Minted};
use crate::audit::{Event, Record};
use crate::client::Client;
use crate::clock::Timestamp;
use crate::grants::Grant;
use crate::grants::authorization_code::{AuthorizationCode, Presented, RedeemError};
use crate::oauth::audited::audited;
use crate::oauth::client_authentication::{authenticate, form, malformed};
use crate::oauth::revoke::end_grant;
use crate::oauth::{AuthorizationServer, outcome};
use crate::protocol::form::Form;
use crate::protocol::oauth::{ErrorCode, OAuthError};
use crate::protocol::pkce::CodeVerifier;
use crate::protocol::resource::{Resource, requested_mount};
use crate::protocol::web::{self, Request, Response};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::store::{StoreError, TakenCode};

/// `POST /token`.
pub(super) async fn answer(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Response {
    let refused = |client: Option<&str>, error: &OAuthError| {
        outcome::refused("token_refused", request, client, error)
    };
    let form = match form(request) {
        Ok(form) => form,
        Err(error) => return refused(None, &error),
    };
    let claimed = form.one("client_id").ok().flatten();
    if let Err(error) = grant_type(&form) {
        return refused(claimed, &error);
    }
    let client = match authenticate(server, request, &form, now).await {
        Ok(client) => client,
        Err(error) => return refused(claimed, &error),
    };
    match redeem(server, &client, &form, now).await {
        Ok(issued) => {
            issued.log(request);
            audited(issued.to_response(now), issued.record())
        }
        Err(error) => refused(Some(client.id.as_str()), &error),
    }
}

fn grant_type(form: &Form) -> Result<(), OAuthError> {
    match required(form, "grant_type")? {
        "authorization_code" => Ok(()),
        _ => Err(OAuthError::new(
            ErrorCode::UnsupportedGrantType,
            Reason::GrantTypeUnsupported,
        )),
    }
}

async fn redeem(
    server: &AuthorizationServer,
    client: &Client,
    form: &Form,
    now: Timestamp,
) -> Result<Issued, OAuthError> {
    let code = Secret::presented(required(form, "code")?).hash();
    let verifier = form.one("code_verifier").map_err(malformed)?;
    let verifier = verifier.and_then(CodeVerifier::parse);
    let resource = resource(server, form)?;
    let fingerprint = client.fingerprint();
    let presented = Presented {
        client: &client.id,
        client_fingerprint: fingerprint.as_ref(),
        redirect_uri: form.one("redirect_uri").map_err(malformed)?,
        verifier: verifier.as_ref(),
        resource: resource.as_ref(),
    };
    let records = &server.records;
    if let Some(code) = records.code(&code, now).await.map_err(unavailable)? {
        code.prove(&presented).map_err(refusal)?;
    }
    match records.take_code(&code, now).await.map_err(unavailable)? {
        TakenCode::Fresh(code) => {
            let proven = code.prove(&presented).map_err(refusal)?;
            let grant = proven
                .redeem(server.settings.access_ttl, now)
                .map_err(refusal)?;
            records.put_grant(&grant).await.map_err(unavailable)?;
            issue(server, grant, now)
        }
        TakenCode::Replayed(code) => {
            code.prove(&presented).map_err(refusal)?;
            revoke(server, &code, now).await.map_err(unavailable)?;
            Err(OAuthError::new(ErrorCode::InvalidGrant, Reason::CodeReused))
        }
        TakenCode::Unknown => Err(OAuthError::new(
            ErrorCode::InvalidGrant,
            Reason::CodeUnknown,
        )),
    }
}

/// The canonical resource that the request names, if it names one (RFC 8707 §2.2).
fn resource(server: &AuthorizationServer, form: &Form) -> Result<Option<Resource>, OAuthError> {
    let settings = &server.settings;
    requested_mount(form.all("resource"), &settings.issuer, &settings.mounts)
        .map(|mount| mount.map(|mount| mount.resource(&settings.issuer)))
        .map_err(|error| {
            OAuthError::described(
                ErrorCode::InvalidTarget,
                Reason::ResourceUnknown,
                error.to_string(),
            )
        })
}

async fn revoke(
    server: &AuthorizationServer,
    code: &AuthorizationCode,
    now: Timestamp,
) -> Result<(), StoreError> {
    let last_token_ends = code.remember_until(server.settings.access_ttl);
    end_grant(server, &code.grant, last_token_ends, now).await?;
    log::warn!(
        event = "grant_revoked",
        reason = Reason::CodeReused,
        hint = Reason::CodeReused.remedy(),
        client = code.client.as_str(),
        grant = code.grant.as_str(),
        user = code.user.as_str();
        "an authorization code was redeemed twice"
    );
    Ok(())
}

struct Issued {
    grant: Grant,
    minted: Minted,
}

fn issue(server: &AuthorizationServer, grant: Grant, now: Timestamp) -> Result<Issued, OAuthError> {
    let claims = Claims {
        user: grant.user.clone(),
        user_name: grant.user_name.clone(),
        client: grant.client.clone(),
        grant: grant.id.clone(),
        resource: grant.resource.clone(),
        scope: grant.scope.clone(),
        tools: grant.tools.clone(),
        issued: now,
        expires: grant.expires,
    };
    let minted = access_token::mint(&claims, &server.keys)
        .map_err(|error| OAuthError::fault(Reason::Internal, error))?;
    Ok(Issued { grant, minted })
}

impl Issued {
    fn log(&self, request: &Request) {
        log::info!(
            event = "token_issued",
            client = self.grant.client.as_str(),
            grant = self.grant.id.as_str(),
            user = self.grant.user.as_str(),
            resource = self.grant.resource.as_str(),
            token = self.minted.id.as_str(),
            expires:% = self.grant.expires,
            request_id = request.request_id.as_str();
            "an authorization code was redeemed"
        );
    }

    fn record(&self) -> Record {
        let grant = &self.grant;
        Record {
            user: Some(grant.user.as_str().to_owned()),
            client: Some(grant.client.as_str().to_owned()),
            grant: Some(grant.id.as_str().to_owned()),
            token: Some(self.minted.id.chars().take(16).collect()),
            detail: Some(format!("resource {}", grant.resource.as_str())),
            ..Record::of(Event::Token)
        }
    }

    fn to_response(&self, now: Timestamp) -> Response {
        let body = json!({
            "access_token": self.minted.token,
            "token_type": "Bearer",
            "expires_in": self.grant.expires.since(now).as_secs(),
            "scope": self.grant.scope.to_string(),
        });
        let response = web::json(StatusCode::OK, &body);
        web::with_header(response, HeaderName::from_static("pragma"), "no-cache")
    }
}

fn required<'a>(form: &'a Form, name: &'static str) -> Result<&'a str, OAuthError> {
    form.one(name).map_err(malformed)?.ok_or_else(|| {
        OAuthError::described(
            ErrorCode::InvalidRequest,
            Reason::RequestMalformed,
            format!("The parameter {name} is missing."),
        )
    })
}

fn refusal(error: RedeemError) -> OAuthError {
    let code = match error {
        RedeemError::ResourceMismatch => ErrorCode::InvalidTarget,
        _ => ErrorCode::InvalidGrant,
    };
    OAuthError::new(code, error.reason())
}

fn unavailable(error: StoreError) -> OAuthError {
    OAuthError::fault(Reason::StoreUnavailable, error)
}
