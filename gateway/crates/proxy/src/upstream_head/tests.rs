use std::time::Duration;

use http::header::AUTHORIZATION;

use super::*;
use gateway_core::access_token::Tools;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::{GrantId, UserId};
use gateway_core::protocol::resource::{Mount, Resource};
use gateway_core::protocol::scope::Scope;
use gateway_upstream::{AccountUse, Address};

fn backend() -> Backend {
    Backend {
        mount: Mount {
            name: "notes".into(),
            prefix: String::new(),
        },
        address: Address::Tcp {
            host: "127.0.0.1".into(),
            port: 9000,
            tls: false,
        },
        host: "127.0.0.1:9000".into(),
        mcp_path: "/mcp".into(),
        sse_path: "/sse".into(),
        headers: vec![(
            AUTHORIZATION,
            HeaderValue::from_static("Bearer backend's own"),
        )],
        approval_required: Default::default(),
        token_header: Some(HeaderName::from_static("x-gateway-token")),
        account: Some(AccountUse {
            header: HeaderName::from_static("x-api-key"),
            is_optional: false,
        }),
        connect_timeout: Duration::from_secs(5),
        response_timeout: Duration::from_secs(5),
        start_timeout: Duration::from_secs(5),
        is_on_stdio: false,
        starts_with_us: false,
        pages: None,
        aggregate: None,
    }
}

fn claims() -> Claims {
    Claims {
        user: UserId::new("u_1"),
        user_name: "älice".to_owned(),
        groups: Vec::new(),
        client: ClientId::new("c_1"),
        grant: GrantId::new("g_1"),
        resource: Resource::from_token("https://h/mcp"),
        scope: Scope::parse("mcp"),
        tools: Tools::All,
        issued: Timestamp::from_secs(1),
        expires: Timestamp::from_secs(2),
    }
}

fn input<'a>(
    claims: &'a Claims,
    client_headers: &'a HeaderMap,
    backend: &'a Backend,
    identity: &'a IdentityHeaders,
) -> UpstreamHead<'a> {
    UpstreamHead {
        trace: None,
        method: &Method::POST,
        target: "/mcp?x=1",
        client_headers,
        session: Some("s1"),
        body_length: Some(3),
        backend,
        identity,
        claims,
        token: Some("tok"),
        account: None,
    }
}

fn built(lines: &[(&str, &str)]) -> RequestHeader {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
    }
    let (claims, backend) = (claims(), backend());
    build(&input(
        &claims,
        &headers,
        &backend,
        &IdentityHeaders::default(),
    ))
    .unwrap()
}

#[test]
fn who_takes_anything_asks_for_what_strict_servers_want() {
    let accept = |method: &Method, lines: &[&str]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, line.parse().unwrap());
        }
        explicit_accept(method, &headers)
    };
    let pair = Some("application/json, text/event-stream");
    for lines in [
        &[][..],
        &["*/*"],
        &[""],
        &["application/json", " */* ;q=0.1"],
    ] {
        assert_eq!(accept(&Method::POST, lines), pair, "{lines:?}");
        assert_eq!(accept(&Method::GET, lines), Some("text/event-stream"));
        assert_eq!(accept(&Method::DELETE, lines), None);
    }
    assert_eq!(accept(&Method::POST, &["application/json"]), None);
    assert_eq!(accept(&Method::GET, &["text/*"]), None);
}

/// The credential of an account is the gateway's to say: nothing of that name comes from a client, also
/// where there is none.
#[test]
fn an_account_is_called_with_by_the_gateway_alone() {
    let mut headers = HeaderMap::new();
    for name in ["x-api-key", "X_Api_Key", "x.api.key", "x-api_key"] {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_static("the client's"));
    }
    headers.append("x-api-keys", HeaderValue::from_static("another"));
    let (claims, backend, identity) = (claims(), backend(), IdentityHeaders::default());
    let value = HeaderValue::from_static("alice's");
    for account in [None, Some(&value)] {
        let input = UpstreamHead {
            account,
            ..input(&claims, &headers, &backend, &identity)
        };
        let head = build(&input).unwrap();
        let said: Vec<_> = head.headers.get_all("x-api-key").iter().collect();
        assert_eq!(said, account.into_iter().collect::<Vec<_>>());
        let others = head
            .headers
            .iter()
            .filter(|(_, value)| *value == "the client's");
        assert_eq!(others.count(), 0);
        assert_eq!(head.headers["x-api-keys"], "another");
    }
}

#[test]
fn the_backend_learns_who_calls_from_the_gateway_only() {
    let spellings = [
        "x-forwarded-user",
        "X-Forwarded-User",
        "X_Forwarded_User",
        "x-forwarded_user",
        "x.forwarded.user",
        "x-forwarded-grant",
        "x_forwarded_for",
        "x-forwarded-host",
        "forwarded",
        "x-real-ip",
        "X_REAL_IP",
        "authorization",
        "cookie",
        "origin",
        "mcp-session-id",
        "mcp_session_id",
        "remote_user",
        "x-remote-user",
        "x-forwarded-anything",
        "x-gateway-token",
        "X_Gateway.Token",
    ];
    for name in spellings {
        let head = built(&[(name, "mallory"), (name, "mallory")]);
        assert!(
            head.headers.values().all(|value| value != "mallory"),
            "{name} went through: {:?}",
            head.headers
        );
    }
    let head = built(&[]);
    assert_eq!(
        head.headers["x-forwarded-user"].as_bytes(),
        "älice".as_bytes()
    );
    assert_eq!(head.headers["x-forwarded-client"], "c_1");
    assert_eq!(head.headers["x-forwarded-grant"], "g_1");
    assert_eq!(head.headers["x-gateway-token"], "tok");
    assert_eq!(head.headers["mcp-session-id"], "s1");
    assert_eq!(head.headers["authorization"], "Bearer backend's own");
    assert_eq!(head.headers["host"], "127.0.0.1:9000");
    assert_eq!(head.headers["content-length"], "3");
}

#[test]
fn every_family_is_dropped_whatever_its_spelling_and_none_stands_twice() {
    for (at, family) in NEVER_STARTING.iter().enumerate() {
        let others = NEVER.iter().chain(&NEVER_STARTING[at + 1..]);
        for other in others {
            assert!(
                !other.starts_with(family) && !family.starts_with(other),
                "{family} and {other}"
            );
        }
        for rest in ["", "user", "groups", "email", "anything-at-all"] {
            for joint in ['-', '_', '.'] {
                let name = format!("{family}{rest}").replace('-', &joint.to_string());
                let head = built(&[(&name, "mallory")]);
                let mut values = head.headers.values();
                assert!(
                    values.all(|value| value != "mallory"),
                    "{name} went through"
                );
            }
        }
    }
    for (at, name) in NEVER.iter().enumerate() {
        assert!(!NEVER[at + 1..].contains(name), "{name} stands twice");
    }
    // Of one proxy: Authelia, and whoever follows it.
    for name in ["Remote-Groups", "Remote-Name", "Remote_Email"] {
        assert!(is_never_forwarded(&name.to_ascii_lowercase()), "{name}");
    }
    for name in ["remote", "x-webauthor", "x-remoteness", "x-forward"] {
        assert!(!is_never_forwarded(name), "{name}");
    }
}

#[test]
fn of_our_own_headers_the_later_one_counts_and_each_stands_once() {
    let names = IdentityHeaders::default();
    let own = |name: &HeaderName| (name.clone(), HeaderValue::from_static("configured"));
    let mut backend = backend();
    backend.headers = [&HOST, &ACCEPT, &HeaderName::from_static("x-a")]
        .into_iter()
        .chain([&names.user, &names.user])
        .map(own)
        .collect();
    let mut client = HeaderMap::new();
    for name in [
        HOST,
        ACCEPT,
        HeaderName::from_static("x-a"),
        names.user.clone(),
    ] {
        client.append(name, HeaderValue::from_static("*/*"));
    }
    let claims = claims();
    let headers = headers(&input(&claims, &client, &backend, &names)).unwrap();
    for name in [HOST, ACCEPT, HeaderName::from_static("x-a")] {
        let values: Vec<_> = headers.get_all(&name).iter().collect();
        assert_eq!(values, ["configured"], "{name}");
    }
    let users: Vec<_> = headers.get_all(&names.user).iter().collect();
    assert_eq!(users, ["älice".as_bytes()]);
}

#[test]
fn hop_by_hop_headers_stay_on_their_hop() {
    let head = built(&[
        ("connection", "keep-alive, X-Secret"),
        ("connection", "x-other"),
        ("x-secret", "1"),
        ("x-other", "1"),
        ("te", "trailers"),
        ("upgrade", "websocket"),
        ("transfer-encoding", "chunked"),
        ("content-length", "99"),
        ("accept-encoding", "gzip"),
        ("expect", "100-continue"),
        ("proxy-authorization", "x"),
        ("host", "evil"),
    ]);
    let names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
    for name in [
        "connection",
        "x-secret",
        "x-other",
        "te",
        "upgrade",
        "transfer-encoding",
        "accept-encoding",
        "expect",
        "proxy-authorization",
    ] {
        assert!(!names.contains(&name), "{name}");
    }
    assert_eq!(head.headers["content-length"], "3");
    assert_eq!(head.headers.get_all("host").iter().count(), 1);
}

#[test]
fn everything_else_goes_on_unchanged() {
    let lines = [
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "=?base64?w6Q=?="),
        ("mcp-param-q", "x"),
        ("last-event-id", "7"),
        ("user-agent", "test"),
        ("x-custom", "1"),
        ("traceparent", "00-x"),
    ];
    let head = built(&lines);
    for (name, value) in lines {
        assert_eq!(head.headers[name], value);
    }
}

#[test]
fn where_the_gateway_has_a_trace_the_backend_is_told_of_it_alone() {
    let claims = claims();
    let mut headers = HeaderMap::new();
    headers.append("traceparent", HeaderValue::from_static("00-x"));
    headers.append("tracestate", HeaderValue::from_static("a=1"));
    let collector = gateway_traces::Endpoint::new("http://127.0.0.1:9", Vec::new()).unwrap();
    let settings = gateway_traces::Settings {
        endpoint: collector,
        sample: 0.0,
        ignore_parent: false,
        service_name: "test".to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let clock = gateway_core::clock::Clock;
    let metrics = gateway_metrics::Metrics::new();
    let traces = gateway_traces::Traces::start(settings, clock, &metrics, runtime.handle());
    let begun = std::time::Instant::now();
    let version = http::Version::HTTP_11;
    // What the client said is no context, so it goes no further.
    let trace = traces.begin(&Method::POST, &headers, version, "1", begun);
    let told = trace.and_then(|trace| trace.propagated()).unwrap();
    let (backend, identity) = (backend(), IdentityHeaders::default());
    let input = UpstreamHead {
        trace: Some(&told),
        ..input(&claims, &headers, &backend, &identity)
    };
    let sent = super::headers(&input).unwrap();
    assert_eq!(sent.get_all("traceparent").iter().count(), 1);
    assert!(sent["traceparent"].to_str().unwrap().ends_with("-00"));
    assert!(!sent.contains_key("tracestate"));
}

#[test]
fn a_query_that_may_hold_a_token_goes_nowhere() {
    assert_eq!(forwarded_query(Some("a=1&b=2")), Some("a=1&b=2"));
    for query in [
        "access_token=x",
        "a=1&ACCESS_TOKEN=x",
        "a=1&access%5ftoken=x",
        "token=x",
        "acces%73_t%6fken",
    ] {
        assert_eq!(forwarded_query(Some(query)), None, "{query}");
    }
    assert_eq!(forwarded_query(Some("")), None);
    assert_eq!(forwarded_query(None), None);
}
