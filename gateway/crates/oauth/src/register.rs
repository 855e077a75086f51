//! `/register`: dynamic client registration (RFC 7591). What is accepted is decided in
//! `client::registration`; here are the limits, and the answer.

use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use http::header::HeaderName;
use rand::rngs::OsRng;
use serde_json::{Map, Value, json};

use crate::audited::audited;
use crate::error_response;
use crate::request_limit::{RequestLimit, network};
use crate::server::{AuthorizationServer, Settings};
use gateway_core::audit::{Event, Record};
use gateway_core::client::keys::KeySource;
use gateway_core::client::registration::{AcceptedMetadata, RegistrationError};
use gateway_core::client::{Client, ClientId};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::form::has_media_type;
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::{Secret, TagKey, identifier};
use gateway_store::{CountKey, Records, StoreError};

const WINDOW: Duration = Duration::from_secs(3600);

/// New registrations from all addresses in [`WINDOW`]: with `clients.unused_for` and [`RENEWALS`] it bounds
/// what strangers can make the store keep.
const IN_ALL: u64 = 10_000;

/// For so many times `clients.unused_for` a client that nobody allows anything is kept at most, however
/// often it registers again. After that it is a new one.
const RENEWALS: u32 = 2;

/// `POST /register`.
pub(super) async fn answer(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Response {
    let (settings, records) = (&server.settings, &server.records);
    match register(settings, records, &server.tags, request, now).await {
        Ok(registered) => {
            let client = &registered.client;
            log::info!(
                event = "client_registered", client = client.id.as_str(), name = client.name.as_deref(),
                method = client.authentication.method(), new = registered.new, peer:% = request.peer,
                request_id = request.request_id.as_str();
                "a client registered itself"
            );
            let record = Record {
                client: Some(client.id.as_str().to_owned()),
                detail: client.name.clone(),
                ..Record::new(Event::Registration)
            };
            audited(registered.to_response(settings), record)
        }
        Err(error) => error_response::refused("registration_refused", request, None, &error),
    }
}

struct Registered {
    client: Client,
    secret: Option<Secret>,
    new: bool,
}

async fn register(
    settings: &Settings,
    records: &Records,
    tags: &TagKey,
    request: &Request,
    now: Timestamp,
) -> Result<Registered, OAuthError> {
    let metadata = metadata(request)?;
    let refresh_is_offered = settings.refresh.is_some();
    let accepted =
        AcceptedMetadata::accept(&metadata, &settings.redirect_schemes, refresh_is_offered)
            .map_err(|error| refusal(&error))?;
    let (client, secret) = if accepted.needs_secret() {
        let id = ClientId::new(identifier("c_", &mut OsRng));
        let secret = Secret::draw(&mut OsRng);
        let client = accepted.into_client(id, Some(&secret), now);
        (client, Some(secret))
    } else {
        // Apps register at every attempt to connect: what is known is counted apart, so that a flood of
        // new registrations from its address can't lock it out.
        let id = accepted.derived_id(&tags.derive("client_id"));
        if let Some(client) = records.client(&id, now).await? {
            within(count_repeated(records, settings, request.peer, now).await?)?;
            // Its record stays as it is: a later version may have written it, and one that the operator
            // removed at this moment stays removed. One that somebody allowed something is kept for longer.
            let unused = settings.unused_clients_for;
            let until = (now + unused).min(client.registered + unused * RENEWALS);
            records.extend_client(&client.id, until, now).await?;
            return Ok(Registered {
                client,
                secret: None,
                new: false,
            });
        }
        (accepted.into_client(id, None, now), None)
    };
    within(count_new(records, settings, request.peer, now).await?)?;
    let until = now + settings.unused_clients_for;
    Ok(Registered {
        client: records.register_client(&client, until, now).await?,
        secret,
        new: true,
    })
}

fn metadata(request: &Request) -> Result<Map<String, Value>, OAuthError> {
    if !has_media_type(&request.headers, "application/json") {
        let code = ErrorCode::InvalidClientMetadata;
        return Err(OAuthError::new(code, Reason::MediaTypeWrong));
    }
    serde_json::from_slice(&request.body)
        .map_err(|error| invalid_metadata(format!("The body is not a JSON object: {error}.")))
}

fn refusal(error: &RegistrationError) -> OAuthError {
    if error.concerns_redirect_uris() {
        let (code, reason) = (ErrorCode::InvalidRedirectUri, Reason::RedirectUriInvalid);
        OAuthError::described(code, reason, error.to_string())
    } else {
        invalid_metadata(error.to_string())
    }
}

fn invalid_metadata(description: String) -> OAuthError {
    let code = ErrorCode::InvalidClientMetadata;
    OAuthError::described(code, Reason::ClientMetadataInvalid, description)
}

/// Registering the same again adds nothing to the store, so it may happen more often.
const REPEATED: u64 = 10;

/// Counts a registration of what is known against its address. Why it is one too many, if it is.
async fn count_repeated(
    records: &Records,
    settings: &Settings,
    peer: IpAddr,
    now: Timestamp,
) -> Result<Option<Reason>, StoreError> {
    let key = CountKey::repeated_registrations(&network(peer));
    let count = records.count(&key, WINDOW, now).await?;
    let most = settings.registrations_per_hour.saturating_mul(REPEATED);
    Ok((count > most).then_some(Reason::RateLimited))
}

/// Counts a new one against where it comes from, and against all.
async fn count_new(
    records: &Records,
    settings: &Settings,
    peer: IpAddr,
    now: Timestamp,
) -> Result<Option<Reason>, StoreError> {
    let per_network = settings.registrations_per_hour;
    let limit = RequestLimit {
        per_network,
        in_all: IN_ALL.max(per_network),
        window: WINDOW,
    };
    let all = CountKey::all_registrations();
    limit
        .count_from(records, peer, CountKey::registrations, &all, now)
        .await
}

fn within(reason: Option<Reason>) -> Result<(), OAuthError> {
    match reason {
        Some(Reason::Overloaded) => {
            let cause = "too many clients register themselves";
            Err(OAuthError::fault(Reason::Overloaded, cause))
        }
        Some(reason) => Err(OAuthError::new(ErrorCode::SlowDown, reason)),
        None => Ok(()),
    }
}

impl Registered {
    /// RFC 7591 §3.2.1: all that is registered, also what was replaced.
    fn to_response(&self, settings: &Settings) -> Response {
        let client = &self.client;
        let grant_types = match settings.refresh_for(client) {
            Some(_) => json!(["authorization_code", "refresh_token"]),
            None => json!(["authorization_code"]),
        };
        let mut body = client.echoed.clone();
        let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
        set("client_id", json!(client.id.as_str()));
        set("client_id_issued_at", json!(client.registered.secs()));
        set("redirect_uris", json!(client.redirect_uris));
        set("grant_types", grant_types);
        set("response_types", json!(["code"]));
        set(
            "token_endpoint_auth_method",
            json!(client.authentication.method()),
        );
        set("scope", json!(settings.scopes.supported().to_string()));
        if let Some(name) = &client.name {
            set("client_name", json!(name));
        }
        match client.authentication.keys() {
            Some(KeySource::Jwks(keys)) => drop(set("jwks", json!(keys))),
            Some(KeySource::JwksUri(uri)) => drop(set("jwks_uri", json!(uri))),
            None => {}
        }
        if let Some(secret) = &self.secret {
            set("client_secret", json!(secret.reveal()));
            set("client_secret_expires_at", json!(0));
        }
        let response = web::json(StatusCode::CREATED, &body);
        web::with_header(response, HeaderName::from_static("pragma"), "no-cache")
    }
}
