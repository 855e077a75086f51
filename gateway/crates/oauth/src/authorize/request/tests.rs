//! Authorization requests, parameter by parameter.

use super::*;
use gateway_core::client::{ClientAuthentication, Registration};
use gateway_core::clock::Timestamp;

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn client(redirect_uris: &[&str]) -> Client {
    Client {
        id: ClientId::new("c_1"),
        name: None,
        redirect_uris: redirect_uris.iter().map(|&uri| uri.to_owned()).collect(),
        authentication: ClientAuthentication::None,
        registration: Registration::SelfRegistered,
        registered: Timestamp::from_secs(0),
        may_refresh: true,
        may_ask_from_elsewhere: true,
        echoed: serde_json::Map::new(),
    }
}

fn judged_for(client: Client, query: &str) -> Result<AuthorizationRequest, AuthorizeRefusal> {
    let mounts = [("notes", ""), ("files", "/files")].map(|(name, prefix)| Mount {
        name: name.to_owned(),
        prefix: prefix.to_owned(),
    });
    let rules = Rules {
        issuer: &Issuer::parse("https://mcp.example.com").unwrap(),
        mounts: &mounts,
        schemes: &PrivateUseSchemes::default(),
        scopes: &ScopeTable::default(),
        refresh: false,
    };
    judge(
        query,
        &Form::parse(query.as_bytes()).unwrap(),
        client,
        rules,
    )
}

fn judged(query: &str) -> Result<AuthorizationRequest, AuthorizeRefusal> {
    judged_for(client(&["https://app.example.com/cb?keep=1"]), query)
}

/// All that is needed but the redirect URI.
fn parameters() -> String {
    format!(
        "client_id=c_1&response_type=code&code_challenge={CHALLENGE}&code_challenge_method=S256"
    )
}

fn valid() -> String {
    parameters() + "&redirect_uri=https://app.example.com/cb?keep=1"
}

fn location(response: &Response) -> &str {
    response.headers()["location"].to_str().unwrap()
}

/// What a request of a browser carries besides what is asked.
fn in_browser(request: &AuthorizationRequest) -> (Callback, CodeChallenge) {
    match request.flow() {
        AuthorizationFlow::Browser(callback, challenge) => (callback.clone(), challenge.clone()),
        AuthorizationFlow::Device(_) => panic!("no app on another machine"),
    }
}

/// The error that is redirected, with the location.
fn redirected(query: &str) -> (&'static str, String) {
    match judged(query) {
        Err(AuthorizeRefusal::Redirect(callback, error)) => (
            error.code.as_str(),
            location(&callback.refused(&error)).to_owned(),
        ),
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn a_request_with_the_least_that_clients_send_is_valid() {
    let request = judged(&valid()).unwrap();
    assert_eq!(request.mount().name, "notes");
    assert_eq!(request.resource().as_str(), "https://mcp.example.com/mcp");
    assert_eq!(request.scope().to_string(), "mcp");
    let (_, challenge) = in_browser(&request);
    assert_eq!(challenge, CodeChallenge::parse(CHALLENGE).unwrap());
}

#[test]
fn what_other_providers_know_is_tolerated() {
    let query = format!(
        "{}&prompt=none&id_token_hint=x&login_hint=a&audience=b&nonce=n&nonce=n&scope=openid+mcp",
        valid()
    );
    assert_eq!(judged(&query).unwrap().scope().to_string(), "mcp");
}

#[test]
fn state_comes_back_byte_for_byte_and_iss_with_every_answer() {
    for (sent, value) in [
        ("state=a%2Bb%20c", Some("a+b c")),
        (
            "state=%26iss%3Dhttps%3A%2F%2Fevil.example",
            Some("&iss=https://evil.example"),
        ),
        ("state=%C3%A9%00", Some("é\0")),
        ("state=", None),
        ("", None),
    ] {
        let request = judged(&format!("{}&{sent}", valid())).unwrap();
        let code = Secret::presented("the-code");
        let (callback, _) = in_browser(&request);
        for response in [callback.granted(&code), callback.denied()] {
            assert_eq!(response.status(), 303);
            let url = url::Url::parse(location(&response)).unwrap();
            assert!(location(&response).starts_with("https://app.example.com/cb?keep=1&"));
            let all = |name: &str| -> Vec<String> {
                url.query_pairs()
                    .filter(|(key, _)| key == name)
                    .map(|(_, value)| value.into_owned())
                    .collect()
            };
            assert_eq!(all("iss"), ["https://mcp.example.com"]);
            assert_eq!(all("state"), value.into_iter().collect::<Vec<_>>());
            assert_eq!(all("code").len() + all("error").len(), 1);
        }
    }
}

#[test]
fn without_a_registered_redirect_uri_nothing_redirects() {
    for query in [
        "",
        "redirect_uri=",
        "redirect_uri=https://evil.example/cb",
        "redirect_uri=https://app.example.com/cb",
        "redirect_uri=https://app.example.com/cb?keep=1%26x",
        "redirect_uri=https://app.example.com/cb?keep=1&redirect_uri=https://evil.example/",
        "redirect_uri=https://app.example.com/cb?keep=1%23x",
        "redirect_uri=javascript:alert(1)",
        "redirect_uri=/cb",
    ] {
        let refusal = judged(&format!("{}&{query}", parameters())).unwrap_err();
        assert!(matches!(refusal, AuthorizeRefusal::Page(..)), "{query}");
    }
    // Registered once, refused by today's rules.
    let script = client(&["javascript:alert(1)"]);
    let query = parameters() + "&redirect_uri=javascript:alert(1)";
    let refusal = judged_for(script, &query).unwrap_err();
    assert!(matches!(refusal, AuthorizeRefusal::Page(..)));
}

#[test]
fn other_errors_go_to_the_client_with_state_and_iss() {
    let without = |name: &str| {
        let valid = valid();
        let kept: Vec<_> = valid
            .split('&')
            .filter(|pair| !pair.starts_with(&format!("{name}=")))
            .collect();
        kept.join("&")
    };
    for (query, error) in [
        (without("response_type"), "invalid_request"),
        (
            without("response_type") + "&response_type=token",
            "unsupported_response_type",
        ),
        (
            without("response_type") + "&response_type=code+token",
            "unsupported_response_type",
        ),
        (without("code_challenge"), "invalid_request"),
        (
            without("code_challenge") + "&code_challenge=",
            "invalid_request",
        ),
        (
            without("code_challenge") + "&code_challenge=short",
            "invalid_request",
        ),
        (without("code_challenge_method"), "invalid_request"),
        (
            without("code_challenge_method") + "&code_challenge_method=plain",
            "invalid_request",
        ),
        (
            without("code_challenge_method") + "&code_challenge_method=s256",
            "invalid_request",
        ),
        (valid() + "&code_challenge_method=plain", "invalid_request"),
        (valid() + "&response_mode=fragment", "invalid_request"),
        (valid() + "&scope=mcp&scope=mcp", "invalid_request"),
        (valid() + "&scope=%22", "invalid_scope"),
        (
            valid() + "&resource=https://evil.example/mcp",
            "invalid_target",
        ),
        (
            valid() + "&resource=https://mcp.example.com/mcp2",
            "invalid_target",
        ),
        (
            valid()
                + "&resource=https://mcp.example.com/mcp&resource=https://mcp.example.com/files/mcp",
            "invalid_target",
        ),
    ] {
        let (code, location) = redirected(&format!("{query}&state=s"));
        assert_eq!(code, error, "{query}");
        assert!(location.starts_with("https://app.example.com/cb?keep=1&error="));
        assert!(
            location.ends_with("&state=s&iss=https%3A%2F%2Fmcp.example.com"),
            "{location}"
        );
    }
    let (code, location) = redirected(&(valid() + "&state=a&state=b"));
    assert_eq!(code, "invalid_request");
    assert!(!location.contains("state="), "{location}");
}

#[test]
fn resource_values_of_one_mount_may_repeat() {
    let query = valid()
        + "&resource=https://mcp.example.com/files/mcp&resource=HTTPS://MCP.example.com/files/sse/";
    assert_eq!(judged(&query).unwrap().mount().name, "files");
}

/// Fifty thousand mutations from a fixed seed: whatever else becomes of a request, nobody is sent
/// anywhere but to the registered URI, with one code or error, the issuer, and at most one state.
#[test]
fn no_mutated_request_redirects_elsewhere_or_says_anything_twice() {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    const REGISTERED: &str = "https://app.example.com/cb?keep=1";
    const PIECES: [&str; 24] = [
        "&",
        "=",
        "%",
        "%26",
        "%3D",
        "%23",
        "#",
        "+",
        "%00",
        "%0d%0a",
        "\\",
        "@evil.example",
        "//evil.example/",
        "&redirect_uri=https://evil.example/",
        "&redirect_uri=https://app.example.com/cb?keep=1",
        "&state=x",
        "&state=%26code%3D1",
        "&iss=https://evil.example",
        "&code=1",
        "&client_id=c_1",
        "&response_type=token",
        "&response_mode=fragment",
        "&resource=https://mcp.example.com/files",
        "&scope=%22",
    ];
    let mut random = StdRng::seed_from_u64(7636);
    let (mut pages, mut errors, mut granted) = (0, 0, 0);
    for _ in 0..50_000 {
        let mut query = valid().into_bytes();
        for _ in 0..random.gen_range(1..=3) {
            let at = random.gen_range(0..query.len());
            match random.gen_range(0..4) {
                0 => drop(query.splice(at..at, PIECES[random.gen_range(0..24)].bytes())),
                1 => drop(query.remove(at)),
                2 => query[at] = random.gen_range(b' '..=b'~'),
                _ => query[at] ^= 0x20,
            }
        }
        let query = String::from_utf8_lossy(&query).into_owned();
        let Ok(form) = Form::parse(query.as_bytes()) else {
            pages += 1;
            continue;
        };
        if client_id(&form).is_err() {
            pages += 1;
            continue;
        }
        let (callback, response) = match judged(&query) {
            Ok(request) => {
                granted += 1;
                let code = Secret::presented("the-code");
                let (callback, _) = in_browser(&request);
                let response = callback.granted(&code);
                (callback, response)
            }
            Err(AuthorizeRefusal::Redirect(callback, error)) => {
                errors += 1;
                let response = callback.refused(&error);
                (*callback, response)
            }
            Err(_) => {
                pages += 1;
                continue;
            }
        };
        assert_eq!(callback.redirect_uri().as_str(), REGISTERED, "{query}");
        let location = location(&response);
        assert!(location.starts_with(&format!("{REGISTERED}&")), "{query}");
        let answer = url::Url::parse(location).unwrap();
        let count = |name: &str| answer.query_pairs().filter(|(key, _)| key == name).count();
        assert_eq!(count("code") + count("error"), 1, "{query}");
        assert_eq!(count("iss"), 1, "{query}");
        assert!(count("state") <= 1, "{query}");
    }
    // All three ways were taken, often.
    assert!(pages > 1_000 && errors > 1_000 && granted > 1_000);
}
