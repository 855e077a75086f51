//! What anybody may ask: documents, and the authorization endpoint before login.

use super::*;

#[tokio::test]
async fn a_visitor_is_asked_to_log_in_before_a_client_hears_anything() {
    let server = server();
    let client = public_client(&server, "App").await;
    let valid = format!(
        "/authorize?client_id={client}&redirect_uri={CALLBACK}&response_type=code\
         &code_challenge={CHALLENGE}&code_challenge_method=S256"
    );
    for path in [
        valid.clone(),
        valid.replace("response_type=code", "response_type=token"),
        format!("{valid}&prompt=none"),
        format!("{valid}&scope=%22"),
    ] {
        let response = get(&server, &path).await;
        assert_eq!(header(&response, "location"), "", "{path}");
        assert_eq!(header(&response, "access-control-allow-origin"), "");
    }
    for path in [
        "/authorize".to_owned(),
        valid.replace(&client, "c_nobody"),
        valid.replace(CALLBACK, "https://evil.example/"),
        format!("{valid}&client_id={client}"),
        format!("{valid}&x=%ff"),
    ] {
        let response = get(&server, &path).await;
        assert_eq!(response.status(), 400, "{path}");
        assert_eq!(header(&response, "location"), "");
    }
    let query = valid.split_once('?').unwrap().1;
    let posted = ask(&server, &form("/authorize", &[], query)).await;
    assert_ne!(posted.status(), 400);
    let both = ask(&server, &form(&valid, &[], query)).await;
    assert_eq!(both.status(), 400);
}

#[tokio::test]
async fn metadata_names_the_configured_origin_and_nothing_else() {
    let server = server();
    let response = get(&server, "/.well-known/oauth-authorization-server").await;
    assert_eq!(header(&response, "content-type"), "application/json");
    assert_eq!(header(&response, "access-control-allow-origin"), "*");
    let metadata = body(&response);
    assert_eq!(metadata["issuer"], ORIGIN);
    assert_eq!(metadata["scopes_supported"], json!(["mcp"]));
    assert_eq!(
        metadata["grant_types_supported"],
        json!([
            "authorization_code",
            "urn:ietf:params:oauth:grant-type:device_code"
        ])
    );
    assert_eq!(
        metadata["code_challenge_methods_supported"],
        json!(["S256"])
    );
    for (member, value) in metadata.as_object().unwrap() {
        if member.ends_with("_endpoint") {
            let path = value.as_str().unwrap().strip_prefix(ORIGIN).unwrap();
            assert!(Endpoint::find(path, &[]).is_some(), "{member}");
        }
    }
    for path in ["", "/", "/mcp", "/mcp/", "/sse", "/files", "/files/mcp/"] {
        let response = get(
            &server,
            &format!("/.well-known/oauth-protected-resource{path}"),
        )
        .await;
        let metadata = body(&response);
        assert_eq!(metadata["resource"], format!("{ORIGIN}{path}"));
        assert_eq!(metadata["authorization_servers"], json!([ORIGIN]));
    }
}

#[tokio::test]
async fn documents_answer_head_and_conditions_and_absent_ones_answer_json() {
    let server = server();
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/mcp/manifest.json",
        "/.well-known/mcp/server-card.json",
        "/.well-known/security.txt",
        "/files/mcp/server-card",
        "/robots.txt",
        "/llms.txt",
        "/favicon.ico",
    ] {
        let full = get(&server, path).await;
        assert_eq!(full.status(), 200, "{path}");
        assert!(header(&full, "cache-control").starts_with("public"));
        let head = ask(&server, &request(Method::HEAD, path, &[], "")).await;
        assert_eq!(head.status(), 200);
        assert_eq!(head.headers(), full.headers());
        let etag = format!("\"x\", W/{}", header(&full, "etag"));
        let again = request(Method::GET, path, &[("if-none-match", &etag)], "");
        let again = ask(&server, &again).await;
        assert_eq!(again.status(), 304, "{path}");
        assert!(again.body().is_empty());
        let preflight = ask(&server, &request(Method::OPTIONS, path, &[], "")).await;
        assert_eq!(preflight.status(), 204);
        assert_eq!(header(&preflight, "access-control-allow-origin"), "*");
        let posted = ask(&server, &request(Method::POST, path, &[], "")).await;
        assert_eq!(posted.status(), 405);
        assert_eq!(header(&posted, "allow"), "GET, HEAD, OPTIONS");
    }
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/openai-apps-challenge",
        "/.well-known/oauth-authorization-server/mcp",
        "/mcp/.well-known/oauth-protected-resource",
    ] {
        let response = get(&server, path).await;
        assert_eq!(error(&response), (404, "not_found".to_owned()), "{path}");
        assert_eq!(header(&response, "content-type"), "application/json");
        assert_eq!(header(&response, "access-control-allow-origin"), "*");
    }
}
