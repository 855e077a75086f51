//! Allow and Deny.

use std::time::Duration;

use http::StatusCode;
use http::header::LOCATION;

use super::{
    Browser, ORIGIN, PASSWORD, ask, location, offered, server, server_of_alice, text, value,
};
use crate::server::AuthorizationServer;
use gateway_core::client::{Client, ClientAuthentication, ClientId, Registration};
use gateway_core::protocol::web::Response;

/// A request for alice's notes, from a client that the operator registered under `name`: no backend
/// answers here, and an app that registered itself gets nothing unseen.
async fn register(server: &AuthorizationServer, name: &str) -> String {
    register_as(server, name, Registration::PreRegistered).await
}

async fn register_as(
    server: &AuthorizationServer,
    name: &str,
    registration: Registration,
) -> String {
    let now = server.clock.now();
    let client = Client {
        id: ClientId::new("c_app"),
        name: Some(name.to_owned()),
        redirect_uris: vec!["https://app.example/callback".to_owned()],
        authentication: ClientAuthentication::None,
        registration,
        registered: now - Duration::from_secs(240),
        may_refresh: true,
        may_ask_from_elsewhere: true,
        echoed: serde_json::Map::new(),
    };
    let keep_until = now + Duration::from_secs(3600);
    server
        .records
        .register_client(&client, keep_until, now)
        .await
        .unwrap();
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    format!(
        "response_type=code&client_id=c_app&redirect_uri=https%3A%2F%2Fapp.example%2Fcallback\
         &code_challenge={challenge}&code_challenge_method=S256&state=s%20%26"
    )
}

/// A browser in which alice is logged in, and the consent page it shows.
async fn at_consent(server: &AuthorizationServer, goal: &str) -> (Browser, Response) {
    let mut browser = Browser::new();
    browser.log_in(server, Some(goal), PASSWORD).await;
    let page = ask(server, &browser.get(&format!("/authorize?{goal}"))).await;
    assert_eq!(page.status(), StatusCode::OK, "{}", text(&page));
    browser.keep(&page);
    (browser, page)
}

/// The seal of the form that has Deny and Allow: the last on the page.
fn consent_seal(page: &Response) -> String {
    let (_, form) = text(page).split_once("action=\"/consent\"").unwrap();
    let (_, rest) = form.split_once("name=\"seal\" value=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

async fn decide(
    server: &AuthorizationServer,
    browser: &Browser,
    goal: &str,
    seal: &str,
    decision: &str,
) -> Response {
    let form = [
        ("request", goal),
        ("seal", seal),
        ("shown", ""),
        ("tools", "all"),
        ("decision", decision),
    ];
    ask(server, &browser.post("/consent", &form)).await
}

#[tokio::test]
async fn allow_gives_one_code_and_the_page_counts_once() {
    let server = server_of_alice().await;
    let goal = register(&server, "App").await;
    let (browser, page) = at_consent(&server, &goal).await;
    let seal = consent_seal(&page);
    let answer = decide(&server, &browser, &goal, &seal, "allow").await;
    let callback = location(&answer);
    assert!(
        callback.starts_with("https://app.example/callback?code="),
        "{callback}"
    );
    assert!(
        callback.contains("&iss=https%3A%2F%2Fmcp.example.com"),
        "{callback}"
    );
    // Pressed twice: the same answer, with the same code.
    let again = decide(&server, &browser, &goal, &seal, "allow").await;
    assert_eq!(location(&again), callback);
    {
        let again = decide(&server, &browser, &goal, &seal, "deny").await;
        assert_eq!(again.status(), StatusCode::FORBIDDEN);
        assert!(text(&again).contains("page_expired"));
        let way_back = format!("href=\"/authorize?{}\"", goal.replace('&', "&#38;"));
        assert!(text(&again).contains(&way_back), "{}", text(&again));
    }
}

#[tokio::test]
async fn deny_tells_the_client_and_gives_no_code() {
    let server = server_of_alice().await;
    let goal = register(&server, "App").await;
    let (browser, page) = at_consent(&server, &goal).await;
    let answer = decide(&server, &browser, &goal, &consent_seal(&page), "deny").await;
    let callback = location(&answer);
    assert!(callback.contains("error=access_denied"), "{callback}");
    assert!(!callback.contains("code="), "{callback}");
}

#[tokio::test]
async fn a_tampered_consent_gives_no_code() {
    let server = server_of_alice().await;
    let goal = register(&server, "App").await;
    let (browser, page) = at_consent(&server, &goal).await;
    let seal = consent_seal(&page);
    let (_, other_page) = at_consent(&server, &goal).await;
    let other = consent_seal(&other_page);
    let log_out = value(&page, "seal");
    let wider = goal.replace("app.example", "evil.example");
    let mut cut = seal.clone();
    cut.pop();
    for (goal, seal) in [
        (goal.as_str(), "".to_owned()),
        (&goal, cut),
        (&goal, other),
        (&goal, log_out),
        (&wider, seal.clone()),
        (&format!("{goal}&x=1"), seal.clone()),
    ] {
        let answer = decide(&server, &browser, goal, &seal, "allow").await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{goal} {seal}");
        assert!(!answer.headers().contains_key(LOCATION));
    }
    let undecided = decide(&server, &browser, &goal, &seal, "yes").await;
    assert_eq!(undecided.status(), StatusCode::FORBIDDEN);
    let mut crossing = Browser::new();
    crossing.cookies = browser.cookies.clone();
    crossing.headers = vec![("sec-fetch-site", "cross-site"), ("origin", ORIGIN)];
    let answer = decide(&server, &crossing, &goal, &seal, "allow").await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(text(&answer).contains("cross_site_form"));
    let answer = decide(&server, &browser, &goal, &seal, "allow").await;
    assert!(
        location(&answer).contains("code="),
        "the person's own answer still counts"
    );
}

#[tokio::test]
async fn a_second_login_in_another_tab_does_not_break_the_first_tabs_page() {
    let server = server_of_alice().await;
    let goal = register(&server, "App").await;
    let (mut browser, page) = at_consent(&server, &goal).await;
    browser.log_in(&server, Some(&goal), PASSWORD).await;
    let second = ask(&server, &browser.get(&format!("/authorize?{goal}"))).await;
    for page in [&page, &second] {
        let answer = decide(&server, &browser, &goal, &consent_seal(page), "allow").await;
        assert!(location(&answer).contains("code="));
    }
}

#[tokio::test]
async fn a_consent_page_is_worth_nothing_after_log_out() {
    let server = server_of_alice().await;
    let goal = register(&server, "App").await;
    let (browser, page) = at_consent(&server, &goal).await;
    let (seal, log_out) = (consent_seal(&page), value(&page, "seal"));
    let form = [("seal", log_out.as_str()), ("request", &goal)];
    let answer = ask(&server, &browser.post("/logout", &form)).await;
    assert_eq!(location(&answer), format!("/authorize?{goal}"));
    let answer = decide(&server, &browser, &goal, &seal, "allow").await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(text(&answer).contains("Your login has ended"));
}

#[tokio::test]
async fn an_unverified_app_gets_nothing_of_a_backend_that_cannot_be_asked() {
    let server = server_of_alice().await;
    let goal = register_as(&server, "App", Registration::SelfRegistered).await;
    let (browser, page) = at_consent(&server, &goal).await;
    assert!(text(&page).contains("could not be asked for its tools"));
    assert!(
        text(&page).contains("registered itself 4 minutes ago"),
        "{}",
        text(&page)
    );
    assert!(!text(&page).contains(">Allow<"));
    let seal = consent_seal(&page);
    let answer = decide(&server, &browser, &goal, &seal, "allow").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(text(&answer).contains("Nothing was allowed"));
    let denied = decide(&server, &browser, &goal, &seal, "deny").await;
    assert!(location(&denied).contains("error=access_denied"));
}

#[tokio::test]
async fn without_an_owner_an_app_is_shown_the_way_to_the_setup() {
    let server = server();
    let code = offered(&server).await;
    let goal = register(&server, "App").await;
    let page = ask(&server, &Browser::new().get(&format!("/authorize?{goal}"))).await;
    assert!(text(&page).contains("Nobody owns this gateway yet"));
    assert!(!text(&page).contains(&code));
}
