//! Registration metadata, member by member.

use super::*;
use serde_json::json;

fn accept(metadata: &Value) -> Result<AcceptedMetadata, RegistrationError> {
    let Value::Object(metadata) = metadata else {
        panic!("metadata of tests are objects")
    };
    AcceptedMetadata::accept(metadata, &PrivateUseSchemes::default(), true)
}

fn with(name: &str, value: Value) -> Value {
    let mut metadata = json!({ "redirect_uris": ["https://app.example.com/cb"] });
    metadata[name] = value;
    metadata
}

#[test]
fn several_redirect_uris_of_all_kinds_register_together() {
    let uris = [
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://www.cursor.com/agents/mcp/oauth/callback",
        "http://localhost:8787/callback",
    ];
    let accepted = accept(&json!({ "redirect_uris": uris })).unwrap();
    assert_eq!(accepted.redirect_uris, uris);
    assert!(!accepted.needs_secret());
}

#[test]
fn the_redirect_uri_at_fault_is_named() {
    let error = accept(&json!({ "redirect_uris": ["https://a.example/", "http://b.example/"] }))
        .unwrap_err();
    assert!(error.concerns_redirect_uris());
    assert_eq!(
        error.to_string(),
        "redirect_uris[1] must be https unless it is on a loopback address: http://b.example/"
    );
    for bad in [
        json!({}),
        json!({ "redirect_uris": [] }),
        json!({ "redirect_uris": "https://a.example/" }),
        json!({ "redirect_uris": [1] }),
        json!({ "redirect_uris": vec!["https://a.example/"; MAX_REDIRECT_URIS + 1] }),
    ] {
        assert!(accept(&bad).unwrap_err().concerns_redirect_uris(), "{bad}");
    }
}

#[test]
fn a_script_scheme_is_refused_in_every_uri_member() {
    for scheme in [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\tscript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "blob:https://a.example/x",
        "file:///etc/passwd",
        "view-source:https://a.example/",
        "intent://x",
        "/relative",
    ] {
        for member in [
            "client_uri",
            "logo_uri",
            "tos_uri",
            "policy_uri",
            "jwks_uri",
            "initiate_login_uri",
            "client_uri#de",
        ] {
            let error = accept(&with(member, json!(scheme))).unwrap_err();
            assert!(!error.concerns_redirect_uris());
            assert!(error.to_string().contains(member), "{error}");
        }
        assert!(accept(&json!({ "redirect_uris": [scheme] })).is_err());
    }
}

#[test]
fn a_plain_http_home_page_is_left_out_and_not_refused() {
    let echoed = |uri: &str| accept(&with("client_uri", json!(uri))).unwrap().echoed;
    assert!(echoed("http://a.example/").is_empty());
    assert!(echoed("").is_empty());
    assert_eq!(
        echoed("https://a.example/")["client_uri"],
        "https://a.example/"
    );
    assert!(!echoed("http://localhost:3000/").is_empty());
}

#[test]
fn the_method_is_none_unless_a_served_one_is_asked_for() {
    let method = |metadata: Value| accept(&metadata).map(|accepted| accepted.method);
    let named = |name: &str| method(with("token_endpoint_auth_method", json!(name)));
    assert_eq!(method(with("x", json!(1))), Ok(Method::None));
    assert_eq!(named("none"), Ok(Method::None));
    assert_eq!(named("client_secret_post"), Ok(Method::ClientSecretPost));
    assert_eq!(named("client_secret_basic"), Ok(Method::ClientSecretBasic));
    assert_eq!(
        named("private_key_jwt"),
        Err(RegistrationError::AuthenticationMethod)
    );
    let mut both = with("token_endpoint_auth_method", json!("private_key_jwt"));
    both["token_endpoint_auth_methods_supported"] = json!(["private_key_jwt", "none"]);
    assert_eq!(method(both), Ok(Method::None));
}

#[test]
fn unknown_members_and_grant_types_are_ignored() {
    let metadata = json!({
        "redirect_uris": ["https://app.example.com/cb"],
        "grant_types": ["authorization_code", "refresh_token",
            "urn:ietf:params:oauth:grant-type:jwt-bearer"],
        "response_types": ["code"],
        "scope": "mcp admin",
        "application_type": "native",
        "nested": { "deep": [[[{}]]] },
        "client_name#ja": "名前",
    });
    let accepted = accept(&metadata).unwrap();
    assert_eq!(accepted.echoed.len(), 1);
    assert_eq!(accepted.echoed["application_type"], "native");
    let strange = accept(&with("application_type", json!("toaster"))).unwrap();
    assert!(strange.echoed.is_empty());
}

#[test]
fn a_client_refuses_refresh_tokens_only_where_they_are_offered() {
    for (types, says_yes) in [
        (json!(["authorization_code"]), false),
        (json!(["authorization_code", "refresh_token"]), true),
        (json!([]), true),
    ] {
        let Value::Object(metadata) = with("grant_types", types) else {
            panic!("metadata of tests are objects")
        };
        let may_refresh = |offered| {
            let schemes = PrivateUseSchemes::default();
            let accepted = AcceptedMetadata::accept(&metadata, &schemes, offered);
            accepted.unwrap().may_refresh
        };
        assert_eq!(may_refresh(true), says_yes, "{metadata:?}");
        assert!(may_refresh(false), "{metadata:?}");
    }
}

/// Clients mix kinds, and what they say of themselves decides nothing about their redirect URIs.
#[test]
fn the_application_type_is_told_back_and_changes_no_rule() {
    for kind in ["native", "web"] {
        let mut metadata = with("application_type", json!(kind));
        metadata["redirect_uris"] = json!(["https://a.example/cb", "http://localhost/cb"]);
        assert_eq!(accept(&metadata).unwrap().echoed["application_type"], kind);
        metadata["redirect_uris"] = json!(["http://a.example/cb"]);
        assert!(accept(&metadata).unwrap_err().concerns_redirect_uris());
    }
}

#[test]
fn members_of_the_wrong_type_are_named() {
    for (name, value) in [
        ("client_name", json!(1)),
        ("contacts", json!("a")),
        ("contacts", json!([1])),
        ("application_type", json!({})),
        ("logo_uri", json!(["x"])),
        ("token_endpoint_auth_method", json!(["none"])),
        ("response_types", json!("code")),
        ("response_types", json!(["token"])),
    ] {
        let error = accept(&with(name, value)).unwrap_err();
        assert!(error.to_string().starts_with(name), "{error}");
    }
    let large = json!(vec!["x".repeat(1000); 20]);
    assert_eq!(
        accept(&with("contacts", large)),
        Err(RegistrationError::TooLarge)
    );
}

#[test]
fn identical_metadata_give_one_client_id_and_any_difference_another() {
    let key = TagKey::new([1; 32]);
    let id = |metadata: &Value| accept(metadata).unwrap().derived_id(&key);
    let base = with("client_name", json!("App"));
    let reordered = json!({
        "client_name": "App",
        "ignored": true,
        "redirect_uris": ["https://app.example.com/cb"],
    });
    assert_eq!(id(&base), id(&reordered));
    assert!(id(&base).as_str().starts_with("c_"));
    assert_ne!(id(&base), id(&with("client_name", json!("Ap"))));
    assert_ne!(id(&base), id(&with("software_id", json!("App"))));
    assert_ne!(
        id(&base),
        accept(&base).unwrap().derived_id(&TagKey::new([2; 32]))
    );
}

#[test]
fn a_name_is_shown_without_what_hides_or_turns_it() {
    for (name, shown) in [
        ("ChatGPT", Some("ChatGPT")),
        ("  Chat\tGPT\u{a0} x\r\n", Some("Chat GPT x")),
        ("\u{202e}TPGtahC\u{200b}", Some("TPGtahC")),
        ("\u{0}\u{7}\u{1b}[31m", Some("[31m")),
        ("\u{200b}\u{feff}\u{e0041}", None),
        ("", None),
    ] {
        assert_eq!(displayable(name).as_deref(), shown, "{name:?}");
    }
    let long = displayable(&"é".repeat(500)).unwrap();
    assert_eq!(long.chars().count(), MAX_NAME);
    assert!(long.ends_with('…'));
}
