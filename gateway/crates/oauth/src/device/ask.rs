//! `POST /device_authorization`: an app asks, and gets its two codes (RFC 8628 §3.1, §3.2).

use http::StatusCode;
use http::header::HeaderName;
use rand::rngs::OsRng;
use serde_json::json;

use super::apps::DeviceApps;
use crate::authorize::request;
use crate::client_authentication::{authenticate, form};
use crate::discovery;
use crate::endpoint::Endpoint;
use crate::error_response;
use crate::request_limit::RequestLimit;
use crate::server::{AuthorizationServer, Settings};
use gateway_core::clock::Timestamp;
use gateway_core::grants::device::{DeviceAuthorization, INTERVAL, LIFETIME, UserCode};
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::Secret;
use gateway_store::CountKey;

/// Each request is kept for ten minutes, and anybody can say that it is an app without a secret.
const LIMIT: RequestLimit = RequestLimit {
    per_network: 30,
    in_all: 20_000,
    window: LIFETIME,
};

/// How often another code is drawn where one is taken.
const DRAWS: usize = 4;

/// `POST /device_authorization`. 404 where no app may.
pub(crate) async fn ask(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Response {
    if server.settings.device_apps == DeviceApps::Off {
        return discovery::absent();
    }
    match begin(server, request, now).await {
        Ok((code, asked)) => {
            log::info!(
                event = "device_asked", client = asked.client.as_str(),
                resource = asked.resource.as_str(), scope:% = asked.scope, peer:% = request.peer,
                request_id = request.request_id.as_str();
                "an app on another machine asks; a person has {} s to type its code at /device",
                LIFETIME.as_secs()
            );
            answer(&server.settings, &code, &asked)
        }
        Err(error) => error_response::refused("token_refused", request, None, &error),
    }
}

fn answer(settings: &Settings, code: &Secret, asked: &DeviceAuthorization) -> Response {
    let place = settings.issuer.join(Endpoint::Device.path());
    let user_code = asked.user_code.shown();
    let body = json!({
        "device_code": code.reveal(),
        "user_code": user_code,
        "verification_uri": place,
        "verification_uri_complete": format!("{place}?user_code={user_code}"),
        "expires_in": LIFETIME.as_secs(),
        "interval": INTERVAL.as_secs(),
    });
    let response = web::json(StatusCode::OK, &body);
    web::with_header(response, HeaderName::from_static("pragma"), "no-cache")
}

async fn begin(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<(Secret, DeviceAuthorization), OAuthError> {
    let (settings, records) = (&server.settings, &server.records);
    let form = form(request)?;
    let client = authenticate(server, request, &form, now).await?;
    let (from, all) = (CountKey::device_requests, CountKey::all_device_requests());
    let counted = LIMIT.count_from(records, request.peer, from, &all, now);
    match counted.await? {
        Some(Reason::Overloaded) => {
            let cause = "too many apps on other machines ask";
            return Err(OAuthError::fault(Reason::Overloaded, cause));
        }
        Some(reason) => return Err(OAuthError::new(ErrorCode::SlowDown, reason)),
        None => {}
    }
    if !settings.device_apps.include(&client) {
        let (code, reason) = (ErrorCode::UnauthorizedClient, Reason::DeviceNotAllowed);
        return Err(OAuthError::new(code, reason));
    }
    let mount = request::mount(&form, &settings.issuer, &settings.mounts)?;
    let refresh = settings.refresh_for(&client).is_some();
    let scope = request::scope(&form, settings.scopes.at(&mount.name), refresh)?;
    let mut asked = DeviceAuthorization {
        client: client.id.clone(),
        client_fingerprint: client.fingerprint(),
        resource: mount.resource(&settings.issuer),
        scope,
        user_code: UserCode::draw(&mut OsRng),
        address: request.peer,
        asked: now,
        expires: now + LIFETIME,
        answer: None,
    };
    for _ in 0..DRAWS {
        let code = Secret::draw(&mut OsRng);
        if records.add_device(&code.hash(), &asked, now).await? {
            return Ok((code, asked));
        }
        asked.user_code = UserCode::draw(&mut OsRng);
    }
    let cause = "no user code is free";
    Err(OAuthError::fault(Reason::Overloaded, cause))
}
