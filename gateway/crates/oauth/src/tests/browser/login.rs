//! Logging in and out.

use http::StatusCode;
use rand::rngs::OsRng;

use super::{Browser, PASSWORD, ask, location, server_of_alice, text, value};
use crate::identity::{self, LoginName, Password};
use crate::pages::Goal;
use crate::provider::{Providers, examples};
use crate::server::AuthorizationServer;
use crate::{login, session};
use gateway_core::browser_session::ProviderAccount;
use gateway_core::protocol::web::Response;
use gateway_core::secret::Secret;
use gateway_store::{Identity, Key};

#[tokio::test]
async fn a_login_opens_a_new_session_and_goes_on_with_the_request_it_was_for() {
    let server = server_of_alice().await;
    let mut browser = Browser::new();
    let planted = "planted-by-somebody-else-0123456789";
    browser
        .cookies
        .insert("__Host-session".to_owned(), planted.to_owned());
    let answer = browser
        .log_in(&server, Some("client_id=c&state=%20"), PASSWORD)
        .await;
    assert_eq!(location(&answer), "/authorize?client_id=c&state=%20");
    let first = browser.cookies["__Host-session"].clone();
    assert_ne!(first, planted);
    let now = server.clock.now();
    let live = session::current_session(server.ways_in(), &server.records, &browser.get("/"), now)
        .await
        .unwrap();
    assert_eq!(live.unwrap().1.user_name, "alice");

    let answer = browser.log_in(&server, None, PASSWORD).await;
    assert_eq!(location(&answer), "/");
    assert_ne!(browser.cookies["__Host-session"], first);
    browser.cookies.insert("__Host-session".to_owned(), first);
    let dead = session::current_session(server.ways_in(), &server.records, &browser.get("/"), now)
        .await
        .unwrap();
    assert!(dead.is_none());
}

#[tokio::test]
async fn a_session_ends_with_the_account_it_came_through_whatever_is_linked_at_its_provider() {
    let corp = examples::provider("*");
    let server = AuthorizationServer {
        providers: Providers::new(vec![examples::provider("*")]),
        ..super::server()
    };
    let (now, alice) = (examples::NOW, examples::person("$argon2id$", &[]));
    let first = alice.identities[0].clone();
    let second = Identity {
        subject: "second".into(),
        ..first.clone()
    };
    assert!(server.records.add_user(&alice, now).await.unwrap());
    let account = ProviderAccount {
        issuer: first.issuer.clone(),
        subject: first.subject.clone(),
    };
    let mut browser = Browser::new();
    let visit = browser.get("/");
    let opened = server.sessions();
    let opened = opened.open_by(&visit, &alice, &corp, account, "/", now);
    browser.keep(&opened.await.unwrap());
    let live = async || {
        let visit = browser.get("/");
        let live = session::current_session(server.ways_in(), &server.records, &visit, now).await;
        live.unwrap().map(|(_, session)| session)
    };
    let came_through_first = live().await.unwrap();
    assert!(session::came_through(&came_through_first, &first));
    assert!(!session::came_through(&came_through_first, &second));

    let link = |user: gateway_store::User| user.with_identity(second.clone());
    server
        .records
        .change_user("alice", now, link)
        .await
        .unwrap();
    assert!(live().await.is_some());
    let unlink = |user: gateway_store::User| user.without_identity(&first.issuer, &first.subject);
    server
        .records
        .change_user("alice", now, unlink)
        .await
        .unwrap();
    assert_eq!(live().await, None);

    // What an earlier version opened says the provider alone.
    let mut kept = serde_json::to_value(&came_through_first).unwrap();
    kept.as_object_mut().unwrap().remove("account").unwrap();
    let earlier = serde_json::from_value(kept).unwrap();
    assert!(session::came_through(&earlier, &second));
    let hash = Secret::presented(&browser.cookies["__Host-session"]).hash();
    server.records.open_session(&hash, &earlier).await.unwrap();
    assert_eq!(live().await, Some(earlier));
}

#[tokio::test]
async fn a_new_password_from_the_configuration_ends_the_sessions_of_the_old_one() {
    let server = server_of_alice().await;
    let mut browser = Browser::new();
    browser.log_in(&server, None, PASSWORD).await;
    let other = Password::new("another password").unwrap();
    let phc = server.passwords.hash(other).await.unwrap();
    let alice = LoginName::parse("Alice").unwrap();
    let now = server.clock.now();
    identity::ensure_owner(&server.records, &alice, &phc, now, &mut OsRng)
        .await
        .unwrap();
    let session =
        session::current_session(server.ways_in(), &server.records, &browser.get("/"), now)
            .await
            .unwrap();
    assert!(session.is_none());
    let answer = browser.log_in(&server, None, PASSWORD).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        location(&browser.log_in(&server, None, "another password").await),
        "/"
    );
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_read_the_same() {
    let server = server_of_alice().await;
    let mut browser = Browser::new();
    let wrong_password = browser.log_in(&server, None, "wrong").await;
    assert_eq!(wrong_password.status(), StatusCode::FORBIDDEN);
    assert!(text(&wrong_password).contains("The name or the password is wrong."));
    let seal = value(&wrong_password, "seal");
    let form = [
        ("seal", seal.as_str()),
        ("name", "nobody"),
        ("password", "wrong"),
    ];
    let wrong_name = ask(&server, &browser.post("/login", &form)).await;
    let neutral = |page: &Response, name: &str| {
        let seal = value(page, "seal");
        let page = text(page).replace(&seal, "").replace(name, "");
        // Each page asks for a passkey with a challenge of its own.
        let (before, asks) = page.split_once("<form class=\"passkey\"").unwrap();
        let (_, after) = asks.split_once("</form>").unwrap();
        format!("{before}{after}")
    };
    assert_eq!(
        neutral(&wrong_password, "alice"),
        neutral(&wrong_name, "nobody")
    );
}

#[tokio::test]
async fn the_right_password_is_refused_while_its_address_has_to_wait() {
    let server = server_of_alice().await;
    let mut browser = Browser::new();
    for _ in 0..10 {
        browser.log_in(&server, None, "wrong").await;
    }
    let refused = browser.log_in(&server, None, PASSWORD).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(
        text(&refused).contains("Wait 5 minutes"),
        "{}",
        text(&refused)
    );
    let mut elsewhere = Browser::new();
    elsewhere.address = "192.0.2.2";
    assert_eq!(
        location(&elsewhere.log_in(&server, None, PASSWORD).await),
        "/"
    );
}

#[tokio::test]
async fn a_login_form_of_another_browser_request_or_site_is_refused() {
    let server = server_of_alice().await;
    let mut browser = Browser::new();
    let page = login::page(
        server.login_form(),
        &browser.get("/login"),
        Goal::Authorize("client_id=c"),
    )
    .await
    .unwrap();
    browser.keep(&page);
    let seal = value(&page, "seal");
    let form = |request: &'static str| {
        let fields = [
            ("request", request),
            ("name", "alice"),
            ("password", PASSWORD),
        ];
        [&fields[..], &[("seal", seal.as_str())]].concat()
    };
    let submit = async |browser: &Browser, request| {
        let form = form(request);
        ask(&server, &browser.post("/login", &form)).await.status()
    };
    assert_eq!(
        submit(&Browser::new(), "client_id=c").await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(submit(&browser, "client_id=d").await, StatusCode::FORBIDDEN);
    for headers in [
        vec![("sec-fetch-site", "cross-site")],
        vec![("origin", "https://evil.example")],
        vec![("origin", "null")],
    ] {
        let mut crossing = Browser::new();
        crossing.cookies = browser.cookies.clone();
        crossing.headers = headers;
        assert_eq!(
            submit(&crossing, "client_id=c").await,
            StatusCode::FORBIDDEN
        );
    }
    assert_eq!(submit(&browser, "client_id=c").await, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn no_form_leads_to_another_origin() {
    let server = server_of_alice().await;
    for goal in [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "x\r\ny: z",
    ] {
        let mut browser = Browser::new();
        let page = login::page(
            server.login_form(),
            &browser.get("/login"),
            Goal::Authorize(goal),
        )
        .await
        .unwrap();
        browser.keep(&page);
        let form = [
            ("seal", &*value(&page, "seal")),
            ("request", goal),
            ("return_to", goal),
            ("next", goal),
            ("name", "alice"),
            ("password", PASSWORD),
        ];
        let answer = ask(&server, &browser.post("/login", &form)).await;
        let location = location(&answer);
        assert!(
            location == "/" || location.starts_with("/authorize?"),
            "{location}"
        );
    }
}

#[tokio::test]
async fn logging_out_needs_the_form_of_a_page_and_ends_the_session() {
    let server = server_of_alice().await;
    let mut browser = Browser::new();
    browser.log_in(&server, None, PASSWORD).await;
    let forged = ask(&server, &browser.post("/logout", &[("seal", "1.2.3")])).await;
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    let home = ask(&server, &browser.get("/")).await;
    assert!(text(&home).contains("alice"));
    let seal = value(&home, "seal");
    let form = [("seal", seal.as_str()), ("request", "client_id=c")];
    let answer = ask(&server, &browser.post("/logout", &form)).await;
    assert_eq!(location(&answer), "/authorize?client_id=c");
    let now = server.clock.now();
    assert!(
        session::current_session(server.ways_in(), &server.records, &browser.get("/"), now)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn the_record_of_somebody_else_that_cannot_be_read_costs_nobody_their_login() {
    let server = server_of_alice().await;
    let store = server.records.store();
    store.put(&Key::user("aaron"), b"{", None).await.unwrap();
    let mut browser = Browser::new();
    let wrong = browser.log_in(&server, None, "wrong").await;
    assert_eq!(wrong.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        location(&browser.log_in(&server, None, PASSWORD).await),
        "/"
    );
    // Nor does the time of a name that nobody has depend on it.
    let decoy = server.records.any_user(server.clock.now()).await.unwrap();
    assert_eq!(decoy.unwrap().name, "alice");
}
