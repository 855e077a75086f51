//! The endpoints over the memory store: registration, approval, redemption, revocation.

mod browser;
mod clients;
mod discovery;
mod faults;
mod introspect;
mod refresh;
mod revoked;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biscuit_auth::KeyPair;
use bytes::Bytes;
use http::{HeaderMap, Method};
use rand::rngs::OsRng;
use serde_json::{Value, json};

use crate::authorize::next_step::Consented;
use crate::endpoint::Endpoint;
use crate::identity::Passwords;
use crate::server::{AuthorizationServer, Settings};
use crate::{authorize, register, revoke, token};
use gateway_core::access_token::{self, Keys, KeysHandle, Tools};
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::grants::{PinKey, UserId};
use gateway_core::protocol::bearer::BearerToken;
use gateway_core::protocol::redirect_uri::PrivateUseSchemes;
use gateway_core::protocol::resource::{Issuer, Mount};
use gateway_core::protocol::web::{Request, Response};
use gateway_core::secret::{Secret, TagKey};
use gateway_fetch::{Documents, Fetcher, Limits};
use gateway_store::{Cursor, Memory, Records, User};
use gateway_upstream::{Catalogue, IdentityHeaders};

/// Where no clock is asked. Far ahead, so that what was made at this time is there for those that
/// ask the clock.
const NOW: Timestamp = Timestamp::from_secs(4_000_000_000);
const ORIGIN: &str = "https://mcp.example.com";
const CALLBACK: &str = "https://app.example.com/cb";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub(crate) fn server() -> AuthorizationServer {
    let mounts = [("notes", ""), ("files", "/files")].map(|(name, prefix)| Mount {
        name: name.to_owned(),
        prefix: prefix.to_owned(),
    });
    AuthorizationServer {
        settings: Settings {
            issuer: Issuer::parse(ORIGIN).unwrap(),
            mounts: mounts.to_vec(),
            title: "Test".to_owned(),
            access_ttl: Duration::from_secs(86_400),
            scopes: Default::default(),
            refresh: None,
            introspection: BTreeMap::new(),
            apps_challenge: None,
            security_contact: Some("mailto:security@example.com".to_owned()),
            redirect_schemes: PrivateUseSchemes::default(),
            clients: Vec::new(),
            services: BTreeMap::new(),
            service_names: BTreeSet::new(),
            device_apps: crate::device::DeviceApps::Verified,
            document_hosts: Vec::new(),
            registrations_per_hour: 5,
            unused_clients_for: Duration::from_secs(86_400),
            personal: Some(Duration::from_secs(90 * 86_400)),
            password_login: true,
            owner_name: None,
        },
        accounts: gateway_accounts::Accounts::none(
            Records::new(Arc::new(Memory::new())),
            Issuer::parse(ORIGIN).unwrap(),
        ),
        records: Records::new(Arc::new(Memory::new())),
        last_use: Arc::default(),
        keys: KeysHandle::new(Keys::new(BTreeMap::from([(1, KeyPair::new())])).unwrap()),
        tags: TagKey::new([3; 32]),
        passwords: Passwords::default(),
        passkeys: crate::passkey::Passkeys::new(&Issuer::parse(ORIGIN).unwrap(), "Test"),
        catalogue: Arc::new(Catalogue::new(
            Vec::new(),
            Arc::default(),
            IdentityHeaders::default(),
            PinKey::new(&TagKey::new([3; 32])),
        )),
        documents: None,
        key_sets: Documents::new(Fetcher::new(Limits::default(), [])),
        providers: crate::provider::Providers::new(Vec::new()),
        pages: gateway_upstream::PageReader::new(
            Vec::new(),
            Arc::default(),
            IdentityHeaders::default(),
        ),
        policy: Default::default(),
        limits: gateway_store::CallLimits::new(
            Vec::new(),
            gateway_store::Shares::new(Records::new(Arc::new(Memory::new())), Clock),
        ),
        owner_pages: Default::default(),
        journal: gateway_store::journal::Journal::off(),
        clock: Clock,
        metrics: Default::default(),
    }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let (path, query) = path
        .split_once('?')
        .map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
    Request {
        method,
        path: path.to_owned(),
        query,
        headers: headers
            .iter()
            .map(|(name, value)| {
                let name: http::HeaderName = name.parse().unwrap();
                (name, value.parse().unwrap())
            })
            .collect::<HeaderMap>(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        peer: "192.0.2.1".parse().unwrap(),
        request_id: "r".to_owned(),
    }
}

fn form(path: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let mut headers = headers.to_vec();
    headers.push(("content-type", "application/x-www-form-urlencoded"));
    request(Method::POST, path, &headers, body)
}

async fn ask(server: &AuthorizationServer, request: &Request) -> Response {
    let matched = Endpoint::find(&request.path, &server.settings.mounts).unwrap();
    server.answer(matched, request).await
}

async fn get(server: &AuthorizationServer, path: &str) -> Response {
    ask(server, &request(Method::GET, path, &[], "")).await
}

fn body(response: &Response) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

fn error(response: &Response) -> (u16, String) {
    assert_eq!(header(response, "cache-control"), "no-store");
    let error = body(response)["error"].as_str().unwrap().to_owned();
    (response.status().as_u16(), error)
}

async fn post_metadata(server: &AuthorizationServer, metadata: &Value) -> Response {
    let headers = [("content-type", "application/json")];
    let request = request(Method::POST, "/register", &headers, &metadata.to_string());
    register::answer(server, &request, NOW).await
}

async fn registered(server: &AuthorizationServer, name: &str, method: &str) -> Value {
    let metadata = json!({
        "client_name": name,
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": method,
    });
    let response = post_metadata(server, &metadata).await;
    assert_eq!(response.status(), 201);
    body(&response)
}

async fn public_client(server: &AuthorizationServer, name: &str) -> String {
    let client = registered(server, name, "none").await;
    client["client_id"].as_str().unwrap().to_owned()
}

/// A code for `client`, made `now`.
async fn code(server: &AuthorizationServer, client: &str, now: Timestamp) -> String {
    let query = format!(
        "client_id={client}&redirect_uri={CALLBACK}&response_type=code&state=s\
         &code_challenge={CHALLENGE}&code_challenge_method=S256&resource={ORIGIN}/files/sse"
    );
    let visit = request(Method::GET, "/authorize", &[], "");
    let asked = authorize::validate::validate(server.clients(), &server.tags, &visit, &query, now)
        .await
        .unwrap();
    let user = UserId::new("u_1");
    let alice = User::new(user.clone(), "alice", "$argon2id", now);
    server.records.add_user(&alice, now).await.unwrap();
    let session = BrowserSession::begin(user, "alice".to_owned(), "$argon2id", now);
    let tools = Tools::Only(BTreeSet::from(["search".to_owned()]));
    let request = request(Method::POST, "/consent", &[], "");
    let consented = Consented {
        session,
        asked,
        tools,
        code: Secret::draw(&mut OsRng),
    };
    let response = authorize::allowed(server, &request, consented, now).await;
    let response = response.unwrap();
    assert_eq!(response.status(), 303);
    let location = url::Url::parse(header(&response, "location")).unwrap();
    let parameters: BTreeMap<_, _> = location.query_pairs().into_owned().collect();
    assert_eq!(parameters["iss"], ORIGIN);
    assert_eq!(parameters["state"], "s");
    parameters["code"].clone()
}

fn redemption(client: &str, code: &str) -> String {
    format!(
        "grant_type=authorization_code&client_id={client}&code={code}&code_verifier={VERIFIER}\
         &redirect_uri={CALLBACK}"
    )
}

async fn redeem(server: &AuthorizationServer, body: &str, now: Timestamp) -> Response {
    token::answer(server, &form("/token", &[], body), now).await
}

async fn revocations(server: &AuthorizationServer, now: Timestamp) -> Vec<String> {
    let store = server.records.store();
    let (revocations, _) = store.revocations(Cursor::default(), now).await.unwrap();
    revocations.into_iter().map(|entry| entry.id).collect()
}

fn claims(server: &AuthorizationServer, answer: &Value) -> access_token::Claims {
    let token = answer["access_token"].as_str().unwrap();
    let bearer = BearerToken::parse_token(token).unwrap();
    let verified = access_token::verify(&bearer, &server.keys.current()).unwrap();
    verified.claims().clone()
}
