//! A fault of ours is 503 with `Retry-After`, and never a reason to forget a token or a client.

use super::*;
use gateway_store::StoreUrl;

/// The Redis store where no server listens.
fn without_store() -> AuthorizationServer {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    drop(listener);
    let url = url.parse::<StoreUrl>().unwrap();
    let store = gateway_store::open(&url, &tokio::runtime::Handle::current()).unwrap();
    AuthorizationServer {
        records: Records::new(store),
        ..server()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_endpoints_answer_503_and_metadata_stays() {
    let server = without_store();
    let answers = [
        redeem(&server, &redemption("c_1", "x"), NOW).await,
        post_metadata(&server, &json!({ "redirect_uris": [CALLBACK] })).await,
        ask(&server, &form("/revoke", &[], "client_id=c_1&token=x")).await,
    ];
    for response in answers {
        let expected = (503, "temporarily_unavailable".to_owned());
        assert_eq!(error(&response), expected);
        assert!(!header(&response, "retry-after").is_empty());
    }
    let query = "client_id=c_1&redirect_uri=https://app.example.com/cb";
    let page = get(&server, &format!("/authorize?{query}")).await;
    assert_eq!(page.status(), 503);
    let metadata = get(&server, "/.well-known/oauth-authorization-server").await;
    assert_eq!(metadata.status(), 200);
}
