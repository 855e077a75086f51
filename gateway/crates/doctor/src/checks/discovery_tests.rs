//! Each fault of the documents is told by its own check, and by no other.

use serde_json::json;

use super::super::judgement::verdict_of;
use super::*;
use crate::exchange::tests::{exchange, json as json_exchange};
use crate::finding::Verdict;

const ORIGIN: &str = "https://mcp.example.com";

fn server() -> Value {
    json!({
        "issuer": ORIGIN,
        "authorization_endpoint": format!("{ORIGIN}/authorize"),
        "token_endpoint": format!("{ORIGIN}/token"),
        "registration_endpoint": format!("{ORIGIN}/register"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "scopes_supported": ["mcp", "offline_access"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "authorization_response_iss_parameter_supported": true,
        "client_id_metadata_document_supported": true,
    })
}

fn resource(path: &str) -> Value {
    json!({
        "resource": format!("{ORIGIN}{path}"),
        "authorization_servers": [ORIGIN],
        "scopes_supported": ["mcp"],
    })
}

fn at(path: &str) -> String {
    format!("{ORIGIN}/.well-known/{path}")
}

fn healthy() -> Discovery {
    let not_found = |path: &str| {
        let headers = [("content-type", "application/json")];
        exchange("GET", &at(path), 404, &headers, "{}")
    };
    let resource_mcp = json_exchange(&at("oauth-protected-resource/mcp"), &resource("/mcp"));
    let resource_root = json_exchange(&at("oauth-protected-resource"), &resource("/"));
    let server = json_exchange(&at("oauth-authorization-server"), &server());
    Discovery {
        heads: vec![resource_mcp.clone(), resource_root.clone(), server.clone()],
        forwarded: vec![resource_mcp.clone(), server.clone()],
        resource: resource_mcp,
        resource_root,
        server,
        openid: not_found("openid-configuration"),
        manifest: json_exchange(&at("mcp/manifest.json"), &json!({"name": "x"})),
        guessed: vec![not_found("oauth-authorization-server/mcp")],
    }
}

fn target() -> Target {
    Target::parse("https://mcp.example.com/mcp").unwrap()
}

/// The ids that are not well.
fn unwell(facts: &Discovery) -> Vec<(Check, Verdict)> {
    discovery(&target(), facts)
        .into_iter()
        .filter(|finding| matches!(finding.verdict, Verdict::Fail | Verdict::Warn))
        .map(|finding| (finding.check, finding.verdict))
        .collect()
}

/// `healthy` with one member of the authorization server metadata replaced.
fn with_server(member: &str, value: Value) -> Discovery {
    let mut document = server();
    document[member] = value;
    let mut facts = healthy();
    facts.server = json_exchange(&at("oauth-authorization-server"), &document);
    facts.forwarded[1] = facts.server.clone();
    facts
}

#[test]
fn a_healthy_deployment_passes_every_check() {
    for finding in discovery(&target(), &healthy()) {
        assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
    }
}

#[test]
fn each_wrong_member_is_told_by_its_own_check() {
    for (member, value, check, verdict) in [
        (
            "issuer",
            json!("https://mcp.example.com/"),
            Check::Issuer,
            Verdict::Fail,
        ),
        (
            "code_challenge_methods_supported",
            json!(["plain"]),
            Check::PkceS256,
            Verdict::Fail,
        ),
        (
            "token_endpoint_auth_methods_supported",
            json!(["client_secret_post"]),
            Check::PublicClients,
            Verdict::Fail,
        ),
        (
            "response_types_supported",
            json!(["token"]),
            Check::CodeFlow,
            Verdict::Fail,
        ),
        (
            "scopes_supported",
            json!(["mcp"]),
            Check::OfflineAccess,
            Verdict::Fail,
        ),
        (
            "registration_endpoint",
            Value::Null,
            Check::RegistrationEndpoint,
            Verdict::Fail,
        ),
        (
            "authorization_response_iss_parameter_supported",
            json!(false),
            Check::IssFlag,
            Verdict::Fail,
        ),
        (
            "client_id_metadata_document_supported",
            Value::Null,
            Check::ClientIdMetadataDocuments,
            Verdict::Warn,
        ),
        (
            "token_endpoint",
            json!("http://gateway:8080/token"),
            Check::PrivateHost,
            Verdict::Fail,
        ),
        (
            "token_endpoint",
            json!("https://login.example.org/token"),
            Check::EndpointsOrigin,
            Verdict::Fail,
        ),
        (
            "token_endpoint",
            Value::Null,
            Check::AuthorizationServerMetadata,
            Verdict::Fail,
        ),
    ] {
        assert_eq!(
            unwell(&with_server(member, value.clone())),
            [(check, verdict)],
            "{member}: {value}"
        );
    }
}

#[test]
fn html_where_json_belongs_is_told_by_the_document_s_own_check() {
    let html = [
        ("content-type", "text/html"),
        ("access-control-allow-origin", "*"),
    ];
    let page = |path: &str, status| exchange("GET", &at(path), status, &html, "<!doctype html>");
    for status in [200, 404] {
        let mut facts = healthy();
        facts.server = page("oauth-authorization-server", status);
        assert_eq!(
            unwell(&facts),
            [(Check::AuthorizationServerMetadata, Verdict::Fail)]
        );
        assert_eq!(facts.endpoints(&target()), None);
        let mut facts = healthy();
        facts.resource = page("oauth-protected-resource/mcp", status);
        assert_eq!(
            unwell(&facts),
            [(Check::ProtectedResourceMetadata, Verdict::Fail)]
        );
        let mut facts = healthy();
        facts.resource_root = page("oauth-protected-resource", status);
        let expected = match status {
            // Clients have found the form with the path by then.
            404 => Vec::new(),
            _ => vec![(Check::ProtectedResourceMetadataRoot, Verdict::Fail)],
        };
        assert_eq!(unwell(&facts), expected);
    }
    let mut facts = healthy();
    facts.openid = page("openid-configuration", 200);
    assert_eq!(
        unwell(&facts),
        [(Check::OpenidConfiguration, Verdict::Fail)]
    );
    let mut facts = healthy();
    facts.guessed = vec![page("oauth-authorization-server/mcp", 200)];
    assert_eq!(unwell(&facts), [(Check::UnknownWellKnown, Verdict::Fail)]);
    let mut facts = healthy();
    facts.manifest = page("mcp/manifest.json", 200);
    assert_eq!(unwell(&facts), [(Check::Manifest, Verdict::Fail)]);
}

#[test]
fn another_resource_than_the_one_typed_fails() {
    let mut facts = healthy();
    facts.resource = json_exchange(&at("oauth-protected-resource/mcp"), &resource(""));
    facts.forwarded[0] = facts.resource.clone();
    assert_eq!(unwell(&facts), [(Check::Resource, Verdict::Fail)]);
}

#[test]
fn head_cors_speed_and_forwarded_headers_have_checks_of_their_own() {
    let mut facts = healthy();
    facts.heads[2] = exchange("HEAD", &at("oauth-authorization-server"), 405, &[], "");
    assert_eq!(unwell(&facts), [(Check::MetadataHead, Verdict::Fail)]);

    let mut facts = healthy();
    facts
        .server
        .outcome
        .as_mut()
        .unwrap()
        .headers
        .remove("access-control-allow-origin");
    assert_eq!(unwell(&facts), [(Check::MetadataCors, Verdict::Fail)]);

    let mut facts = healthy();
    facts.server.outcome.as_mut().unwrap().took = Duration::from_secs(3);
    assert_eq!(unwell(&facts), [(Check::MetadataSpeed, Verdict::Warn)]);

    let mut facts = healthy();
    let mut evil = server();
    evil["token_endpoint"] = json!("https://attacker.example/token");
    facts.forwarded[1] = json_exchange(&at("oauth-authorization-server"), &evil);
    assert_eq!(unwell(&facts), [(Check::MetadataStable, Verdict::Fail)]);
}

#[test]
fn half_an_openid_document_fails() {
    let mut facts = healthy();
    facts.openid = json_exchange(&at("openid-configuration"), &server());
    assert_eq!(
        unwell(&facts),
        [(Check::OpenidConfiguration, Verdict::Fail)]
    );
}

#[test]
fn an_endpoint_on_a_private_host_is_never_asked() {
    let facts = with_server("token_endpoint", json!("http://10.0.0.5/token"));
    let endpoints = facts.endpoints(&target()).unwrap();
    assert_eq!(endpoints.token, None);
    assert!(endpoints.authorization.is_some());
    assert_eq!(
        verdict_of(&discovery(&target(), &facts), Check::EndpointsOrigin),
        Verdict::Pass
    );
}

#[test]
fn a_loopback_deployment_may_name_itself() {
    let text = serde_json::to_string(&server()).unwrap();
    let local = text.replace(ORIGIN, "http://127.0.0.1:8080");
    let mut facts = healthy();
    facts.server = json_exchange(
        "http://127.0.0.1:8080/.well-known/oauth-authorization-server",
        &serde_json::from_str(&local).unwrap(),
    );
    let target = Target::parse("http://127.0.0.1:8080/mcp").unwrap();
    assert_eq!(private_host(&target, &facts).verdict, Verdict::Pass);
    let other = Target::parse("http://127.0.0.1:9090/mcp").unwrap();
    assert_eq!(private_host(&other, &facts).verdict, Verdict::Pass);
    let public = Target::parse("https://mcp.example.com/mcp").unwrap();
    assert_eq!(private_host(&public, &facts).verdict, Verdict::Fail);
}
