//! What clients discover: authorization server metadata (RFC 8414) and protected resource
//! metadata (RFC 9728).
//!
//! Every URL comes from the configured issuer; no request header changes a byte (RFC 9700 §4.13).
//!
//! Authorization server metadata stands at the root form alone. Some clients also try the form
//! with the MCP path in it (`/.well-known/oauth-authorization-server/mcp`), which is the address of
//! another issuer, `{origin}/mcp`: strict ones must not use a document there whose `issuer` is the
//! bare origin (RFC 8414 §3.3) and give up, while each client that tries that form goes on to the
//! root form after a 404. The same holds for `/.well-known/openid-configuration`: a document
//! without `jwks_uri` and its like makes some clients fail, 404 makes all go on.

use serde_json::json;

use crate::device::DeviceApps;
use crate::endpoint::Endpoint;
use crate::provider::providers::Providers;
use crate::server::Settings;
use crate::{cacheable_response, token};
use gateway_core::client::keys::Algorithm;
use gateway_core::client::registration;
use gateway_core::protocol::resource::identifying_query;
use gateway_core::protocol::web::{Request, Response};
use gateway_fetch::Documents;

/// What clients look for that come with an identity provider's assertion (id-jag §7.2).
const ID_JAG_PROFILE: &str = "urn:ietf:params:oauth:grant-profile:id-jag";

/// `/.well-known/oauth-authorization-server`
pub(super) fn authorization_server(
    settings: &Settings,
    providers: &Providers,
    documents: Option<&Documents>,
    request: &Request,
) -> Response {
    let issuer = &settings.issuer;
    let methods = registration::METHODS;
    let algorithms = Algorithm::NAMES;
    let with_devices = settings.device_apps != DeviceApps::Off;
    let by_assertion = providers.connect_apps();
    let served = [
        Some("authorization_code"),
        settings.refresh.map(|_| "refresh_token"),
        Some("client_credentials").filter(|_| !settings.services.is_empty()),
        Some(token::DEVICE_CODE).filter(|_| with_devices),
        Some(token::JWT_BEARER).filter(|_| by_assertion),
    ];
    let grant_types: Vec<&str> = served.into_iter().flatten().collect();
    let mut metadata = json!({
        "issuer": issuer.as_str(),
        "authorization_endpoint": issuer.join(Endpoint::Authorize.path()),
        "token_endpoint": issuer.join(Endpoint::Token.path()),
        "registration_endpoint": issuer.join(Endpoint::Register.path()),
        "revocation_endpoint": issuer.join(Endpoint::Revoke.path()),
        "scopes_supported": settings.scopes.advertised(settings.refresh.is_some()),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": grant_types,
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "authorization_response_iss_parameter_supported": true,
        "service_documentation": issuer.join(Endpoint::Home.path()),
    });
    if with_devices {
        let place = issuer.join(Endpoint::DeviceAuthorization.path());
        metadata["device_authorization_endpoint"] = place.into();
    }
    // Absent rather than false while it is off: some clients look at its presence.
    if documents.is_some() {
        metadata["client_id_metadata_document_supported"] = true.into();
    }
    if by_assertion {
        metadata["authorization_grant_profiles_supported"] = json!([ID_JAG_PROFILE]);
    }
    if !settings.introspection.is_empty() {
        metadata["introspection_endpoint"] = issuer.join(Endpoint::Introspect.path()).into();
        metadata["introspection_endpoint_auth_methods_supported"] = json!(["client_secret_basic"]);
    }
    cacheable_response::json(request, "application/json", &metadata)
}

/// `/.well-known/oauth-protected-resource{path}`: `resource` is the origin with exactly the path
/// and the query that were asked for, because clients compare it with the URL that was typed
/// (RFC 9728 §3.1, §3.3).
pub(super) fn protected_resource(
    settings: &Settings,
    request: &Request,
    resource_path: &str,
    mount: &str,
) -> Response {
    let issuer = &settings.issuer;
    let query = identifying_query(request.query.as_deref());
    let metadata = json!({
        "resource": issuer.join(&format!("{resource_path}{query}")),
        "authorization_servers": [issuer.as_str()],
        "scopes_supported": settings.scopes.at(mount).supported(),
        "bearer_methods_supported": ["header"],
        "resource_name": format!("{} ({mount})", settings.title),
        "resource_documentation": issuer.join(Endpoint::Home.path()),
    });
    cacheable_response::json(request, "application/json", &metadata)
}
