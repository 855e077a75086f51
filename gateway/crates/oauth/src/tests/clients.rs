//! Registration, its limit, and how long a client lives.

use super::*;
use crate::clients::NotFound;
use gateway_core::client::{Client, ClientId, Registration};
use gateway_core::reason::Reason;
use gateway_fetch::{Documents, Fetcher, Limits};
use gateway_store::Key;

#[tokio::test]
async fn registering_the_same_again_is_the_same_client_and_floods_are_limited() {
    let server = server();
    let first = public_client(&server, "App").await;
    for _ in 0..10 {
        assert_eq!(public_client(&server, "App").await, first);
    }
    let register_another = |n: usize| {
        let metadata = json!({ "client_name": format!("App {n}"), "redirect_uris": [CALLBACK] });
        let server = &server;
        async move { post_metadata(server, &metadata).await }
    };
    for n in 1..5 {
        assert_eq!(register_another(n).await.status(), 201);
    }
    let response = register_another(5).await;
    assert_eq!(response.status(), 429);
    assert!(!header(&response, "retry-after").is_empty());
    // Whoever was there before is not locked out.
    assert_eq!(public_client(&server, "App").await, first);
}

#[tokio::test]
async fn registering_the_same_again_leaves_the_record_as_a_later_version_wrote_it() {
    let server = server();
    let id = ClientId::new(public_client(&server, "App").await);
    let (store, key) = (server.records.store(), Key::client(&id));
    let bytes = store.get(&key, super::NOW).await.unwrap().unwrap();
    let later = String::from_utf8(bytes).unwrap();
    let later = later.replacen('{', "{\"of_a_later_version\":1,", 1);
    let until = super::NOW + Duration::from_secs(60);
    store
        .put(&key, later.as_bytes(), Some(until))
        .await
        .unwrap();
    assert_eq!(public_client(&server, "App").await, id.as_str());
    // It is there beyond its earlier time, and nothing of it is lost.
    let kept = store.get(&key, until).await.unwrap();
    assert_eq!(kept.as_deref(), Some(later.as_bytes()));
}

#[tokio::test]
async fn a_registration_says_what_was_registered() {
    let server = server();
    let metadata = json!({
        "client_name": "App\u{202e}\n",
        "redirect_uris": [CALLBACK, "http://localhost:1/cb"],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "mcp admin",
        "application_type": "native",
        "logo_uri": "https://app.example.com/logo.png",
        "client_id": "mine",
        "client_secret": "mine",
    });
    let response = post_metadata(&server, &metadata).await;
    assert_eq!(response.status(), 201);
    assert_eq!(header(&response, "cache-control"), "no-store");
    let client = body(&response);
    assert_eq!(client["client_name"], "App");
    assert_eq!(client["redirect_uris"], metadata["redirect_uris"]);
    assert_eq!(client["grant_types"], json!(["authorization_code"]));
    assert_eq!(client["response_types"], json!(["code"]));
    assert_eq!(client["token_endpoint_auth_method"], "none");
    assert_eq!(client["scope"], "mcp");
    assert_eq!(client["application_type"], "native");
    assert!(client["client_id"].as_str().unwrap().starts_with("c_"));
    assert!(client.get("client_secret").is_none());
    let response = post_metadata(
        &server,
        &json!({ "redirect_uris": ["javascript:alert(1)"] }),
    )
    .await;
    assert_eq!(error(&response), (400, "invalid_redirect_uri".to_owned()));
    let response = post_metadata(&server, &json!([1])).await;
    assert_eq!(
        error(&response),
        (400, "invalid_client_metadata".to_owned())
    );
}

#[tokio::test]
async fn a_client_lives_ninety_days_from_its_last_approval() {
    let server = server();
    let client = public_client(&server, "App").await;
    let hour = |n: u64| super::NOW + Duration::from_secs(n * 3600);
    let (day, approved) = (24, 23);
    code(&server, &client, hour(approved)).await;
    let id = ClientId::new(client);
    let is_known = async |now| server.records.client(&id, now).await.unwrap().is_some();
    assert!(is_known(hour(approved + 90 * day - 1)).await);
    // Registering the same again takes nothing of it.
    public_client(&server, "App").await;
    assert!(is_known(hour(approved + 90 * day - 1)).await);
    assert!(!is_known(hour(approved + 90 * day + 1)).await);
}

#[tokio::test]
async fn a_client_that_nobody_allowed_anything_lives_for_the_configured_time() {
    let server = server();
    let id = ClientId::new(public_client(&server, "App").await);
    let hour = |n: u64| super::NOW + Duration::from_secs(n * 3600);
    let is_known = async |now| server.records.client(&id, now).await.unwrap().is_some();
    assert!(is_known(hour(23)).await);
    assert!(!is_known(hour(24)).await);
}

const NOW: Timestamp = Timestamp::from_secs(1_000);

/// A fetcher that has no time to fetch anything: what is not known otherwise is unreachable.
fn unreachable_documents() -> Documents {
    let limits = Limits {
        total: Duration::ZERO,
        ..Limits::default()
    };
    Documents::new(Fetcher::new(limits, []))
}

async fn found(server: &AuthorizationServer, id: &str) -> Result<Client, Reason> {
    match server.clients().find(&ClientId::new(id), NOW).await {
        Ok(client) => Ok(client),
        Err(NotFound::Unknown(reason, _) | NotFound::NotNow(reason, _)) => Err(reason),
        Err(NotFound::Fault(error)) => panic!("{error}"),
    }
}

const CHATGPT: &str = "https://chatgpt.com/oauth/client.json";

#[tokio::test]
async fn a_well_known_app_is_known_even_while_its_document_cannot_be_fetched() {
    let mut server = server();
    server.documents = Some(unreachable_documents());
    let client = found(&server, CHATGPT).await.unwrap();
    assert_eq!(client.name.as_deref(), Some("ChatGPT"));
    assert_eq!(client.registration, Registration::MetadataDocument);
    assert_eq!(
        found(&server, "https://app.example.com/client.json").await,
        Err(Reason::ClientDocumentUnreachable)
    );
}

#[tokio::test]
async fn an_app_that_was_allowed_is_known_as_it_was_then_while_its_document_is_away() {
    let mut server = server();
    server.documents = Some(unreachable_documents());
    let id = "https://app.example.com/client.json";
    let allowed = Client {
        id: gateway_core::client::ClientId::new(id),
        ..found(&server, CHATGPT).await.unwrap()
    };
    server
        .records
        .keep_client(&allowed, NOW + Duration::from_secs(60), NOW)
        .await
        .unwrap();
    assert_eq!(found(&server, id).await, Ok(allowed));
}

#[tokio::test]
async fn who_comes_while_no_document_can_be_asked_for_is_told_503_and_never_invalid_client() {
    // It takes connections and says nothing, so that the places of its host stay taken.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits {
        total: Duration::from_secs(3),
        ..Limits::default()
    };
    let mut server = server();
    let fetcher = Fetcher::new(limits, [address.ip().to_string()]);
    server.documents = Some(Documents::new(fetcher));
    let ids: Vec<_> = (0..6).map(|n| format!("https://{address}/{n}")).collect();
    let slow = futures_util::future::join_all(ids[..4].iter().map(|id| found(&server, id)));
    let device = form(
        "/device_authorization",
        &[],
        &format!("client_id={}", ids[4]),
    );
    let page = format!("/authorize?client_id={}", ids[5]);
    let (slow, device, page) = tokio::join!(slow, ask(&server, &device), get(&server, &page));
    for found in slow {
        assert_eq!(found, Err(Reason::ClientDocumentUnreachable));
    }
    assert_eq!(error(&device), (503, "temporarily_unavailable".to_owned()));
    assert_eq!(page.status(), 503);
    for response in [device, page] {
        assert!(!header(&response, "retry-after").is_empty());
    }
}

#[tokio::test]
async fn documents_can_be_switched_off_or_limited_to_some_hosts() {
    let mut server = server();
    assert_eq!(found(&server, CHATGPT).await, Err(Reason::ClientUnknown));
    server.documents = Some(unreachable_documents());
    server.settings.document_hosts = vec!["claude.ai".to_owned()];
    assert_eq!(
        found(&server, CHATGPT).await,
        Err(Reason::ClientDocumentHostNotAllowed)
    );
    let claude = "https://claude.ai/oauth/mcp-oauth-client-metadata";
    assert!(found(&server, claude).await.is_ok());
    assert_eq!(
        found(&server, "https://claude.ai/../x").await,
        Err(Reason::ClientDocumentInvalid)
    );
}
