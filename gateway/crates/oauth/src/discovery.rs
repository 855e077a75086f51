//! Descriptions of the MCP servers behind this gateway for directories and crawlers, and the
//! other small public files of an origin. None of them says what a backend offers or where it
//! really is.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::cacheable_response;
use crate::endpoint::Endpoint;
use crate::server::Settings;
use gateway_core::access_token::KeysHandle;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::resource::{Issuer, Mount, default_mount};
use gateway_core::protocol::web::{self, Request, Response};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const TEXT: &str = "text/plain; charset=utf-8";
const DAY: u64 = 24 * 3600;

/// How far ahead security.txt promises to be right; RFC 9116 §2.5.5 recommends less than a year.
const SECURITY_TXT_DAYS: u64 = 180;

/// `{mcp}/server-card`: the card of one server, as SEP-2127 describes it.
pub(super) fn server_card(settings: &Settings, request: &Request, mount: &Mount) -> Response {
    let card = card(settings, mount);
    cacheable_response::json(request, "application/mcp-server-card+json", &card)
}

/// `/.well-known/mcp/server-card.json`: the same card with the members that older readers look
/// for. Tools are not listed: their names tell what somebody runs.
pub(super) fn well_known_server_card(
    settings: &Settings,
    request: &Request,
    mount: &Mount,
) -> Response {
    let mut card = card(settings, mount);
    card["serverInfo"] = json!({ "name": settings.title, "version": VERSION });
    card["authentication"] = json!({ "required": true, "schemes": ["oauth2"] });
    cacheable_response::json(request, "application/json", &card)
}

/// `/.well-known/mcp/manifest.json`: a convention of 2025 that was never a standard, for readers
/// that know nothing else.
pub(super) fn manifest(settings: &Settings, request: &Request) -> Response {
    let issuer = &settings.issuer;
    let endpoints = |mount: &Mount| {
        json!({
            "streamable_http": issuer.join(&mount.mcp_path()),
            "sse": issuer.join(&mount.sse_path()),
        })
    };
    let servers: Vec<Value> = settings
        .mounts
        .iter()
        .map(|mount| json!({ "name": mount.name, "endpoints": endpoints(mount) }))
        .collect();
    let first = default_mount(&settings.mounts);
    let manifest = json!({
        "name": settings.title,
        "version": VERSION,
        "description": description(&settings.title),
        "endpoints": first.map(endpoints),
        "servers": servers,
        "authentication": {
            "type": "oauth2",
            "authorization_server": issuer.as_str(),
            "authorization_server_metadata": issuer.join(Endpoint::AuthorizationServerMetadata.path()),
            "protected_resource_metadata": first.map(|mount| {
                issuer.join(&format!("{}{}", Endpoint::ProtectedResourceMetadata.path(), mount.mcp_path()))
            }),
        },
        "deprecated": true,
        "superseded_by": issuer.join(Endpoint::WellKnownServerCard.path()),
    });
    cacheable_response::json(request, "application/json", &manifest)
}

/// `/.well-known/biscuit-web-keys`: every key that verifies a token of ours, so that a backend can
/// check offline what the gateway tells it.
pub(super) fn web_keys(settings: &Settings, keys: &KeysHandle, request: &Request) -> Response {
    let keys: Vec<Value> = keys
        .current()
        .public_keys()
        .map(|(id, key)| {
            json!({
                "algorithm": key.algorithm_string(),
                "key_bytes": key.to_bytes_hex(),
                "key_id": id,
                "issuer": settings.issuer.as_str(),
            })
        })
        .collect();
    cacheable_response::json(request, "application/json", &Value::Array(keys))
}

/// `/.well-known/openai-apps-challenge`
pub(super) fn apps_challenge(request: &Request, token: &str) -> Response {
    cacheable_response::answer(request, TEXT, token.to_owned())
}

/// `/.well-known/security.txt` (RFC 9116).
pub(super) fn security_txt(
    issuer: &Issuer,
    request: &Request,
    contact: &str,
    now: Timestamp,
) -> Response {
    // From midnight on, so that the document changes once a day only.
    let midnight = Timestamp::from_secs(now.secs() / DAY * DAY);
    let expires = midnight + Duration::from_secs(SECURITY_TXT_DAYS * DAY);
    let canonical = issuer.join(Endpoint::SecurityTxt.path());
    let text = format!(
        "Contact: {contact}\nExpires: {expires}\nCanonical: {canonical}\nPreferred-Languages: en\n"
    );
    cacheable_response::answer(request, TEXT, text)
}

/// `/robots.txt`: nothing here is for search engines.
pub(super) fn robots(request: &Request) -> Response {
    cacheable_response::answer(request, TEXT, "User-agent: *\nDisallow: /\n")
}

/// `/llms.txt`
pub(super) fn llms(settings: &Settings, request: &Request) -> Response {
    let mut text = format!(
        "# {}\n\n> MCP servers behind one OAuth sign-in. Nothing here can be read without it.\n\n\
         Connect an MCP client to one of these URLs (Streamable HTTP; the legacy SSE stream is at /sse):\n",
        settings.title
    );
    for mount in &settings.mounts {
        let url = settings.issuer.join(&mount.mcp_path());
        text.push_str(&format!("- {}: {url}\n", mount.name));
    }
    cacheable_response::answer(request, TEXT, text)
}

/// `/favicon.ico`: browsers ask for it unasked; they take SVG by its media type.
pub(super) fn favicon(request: &Request) -> Response {
    const ICON: &str = concat!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">"##,
        r##"<path fill="#e8739b" d="M5 15a6 6 0 0 1 4-8 8 8 0 0 1 14 0 6 6 0 0 1 4 8z"/>"##,
        r##"<path fill="#8a5a3c" d="M6 17h20l-3 12H9z"/>"##,
        r##"<circle cx="16" cy="4" r="2.5" fill="#c9302c"/></svg>"##
    );
    cacheable_response::answer(request, "image/svg+xml", ICON)
}

/// The answer where nothing is: JSON for every client, whatever it accepts, so that a client that
/// only tried never takes a page for a document.
pub(super) fn absent() -> Response {
    use gateway_core::reason::Reason;
    let body = json!({
        "error": Reason::NotFound.code(),
        "error_description": Reason::NotFound.sentence(),
    });
    web::json(StatusCode::NOT_FOUND, &body)
}

fn card(settings: &Settings, mount: &Mount) -> Value {
    let issuer = &settings.issuer;
    json!({
        "$schema": "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json",
        "name": format!("{}/{}", reverse_host(issuer), mount.name),
        "version": VERSION,
        "title": format!("{} ({})", settings.title, mount.name),
        "description": description(&settings.title),
        "websiteUrl": issuer.join(Endpoint::Home.path()),
        "remotes": [
            { "type": "streamable-http", "url": issuer.join(&mount.mcp_path()) },
            { "type": "sse", "url": issuer.join(&mount.sse_path()) },
        ],
    })
}

/// At most 100 characters, which is what a card may have.
fn description(title: &str) -> String {
    let title: String = title.chars().take(60).collect();
    format!("{title}: an MCP server behind OAuth")
}

/// `mcp.example.com` as `com.example.mcp`; an address stays as it is.
fn reverse_host(issuer: &Issuer) -> String {
    let authority = issuer.authority();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    if host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok() {
        return "localhost".to_owned();
    }
    let labels: Vec<_> = host.split('.').rev().collect();
    labels.join(".")
}
