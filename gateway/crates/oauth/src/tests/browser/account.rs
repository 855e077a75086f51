//! The page of a person's apps, and who can press its buttons.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use http::{Method, StatusCode};
use rand::rngs::OsRng;

use super::{Browser, ORIGIN, PASSWORD, ask, location, server_of_alice, text, value};
use crate::account;
use crate::audited::take_records;
use crate::form_token::{self, Purpose};
use crate::identity::{self, LoginName, Password, people};
use crate::pages::Goal;
use crate::server::AuthorizationServer;
use crate::tests::revocations;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::{Grant, GrantId, Pin, Tools, UserId};
use gateway_core::protocol::scope::Scope;
use gateway_core::protocol::web::Response;
use gateway_core::reason::Reason;
use gateway_store::{Disabled, Key};

/// Bob, too, with the same password.
async fn server_of_two() -> AuthorizationServer {
    let server = server_of_alice().await;
    let phc = server
        .passwords
        .hash(Password::new(PASSWORD).unwrap())
        .await;
    let (bob, now) = (LoginName::parse("bob").unwrap(), server.clock.now());
    people::add(&server.records, &bob, Some(&phc.unwrap()), now, &mut OsRng)
        .await
        .unwrap();
    server
}

async fn user(server: &AuthorizationServer, name: &str) -> UserId {
    let user = server.records.user(name, server.clock.now()).await;
    user.unwrap().unwrap().id
}

/// A grant of this person's for the client `client`.
async fn granted(server: &AuthorizationServer, name: &str, id: &str, client: &str) -> Grant {
    let now = server.clock.now();
    let pins = BTreeMap::from([("search".to_owned(), Pin::new([1; 8]))]);
    let grant = Grant {
        id: GrantId::new(id),
        user: user(server, name).await,
        user_name: name.to_owned(),
        client: ClientId::new(client),
        client_fingerprint: None,
        resource: server.settings.mounts[0].resource(&server.settings.issuer),
        scope: Scope::parse("mcp"),
        tools: Tools::Pinned(pins),
        allowed_by: None,
        created: now - Duration::from_secs(60),
        redeemed: None,
        expires: now + Duration::from_secs(3600),
        refresh: None,
        personal: None,
    };
    server.records.put_grant(&grant).await.unwrap();
    grant
}

async fn logged_in(server: &AuthorizationServer, name: &str) -> Browser {
    let mut browser = Browser::new();
    let page =
        super::login_page::page(server.login_form(), &browser.get("/login"), Goal::Account).await;
    let page = page.unwrap();
    browser.keep(&page);
    let form = [
        ("goal", "account"),
        ("seal", &value(&page, "seal")),
        ("name", name),
        ("password", PASSWORD),
    ];
    let answer = ask(server, &browser.post("/login", &form)).await;
    assert_eq!(location(&answer), "/account");
    browser.keep(&answer);
    browser
}

async fn account(server: &AuthorizationServer, browser: &mut Browser) -> Response {
    let page = ask(server, &browser.get("/account")).await;
    assert_eq!(page.status(), StatusCode::OK, "{}", text(&page));
    browser.keep(&page);
    page
}

/// The fields of the first form that takes an app back.
fn revoke_form(page: &Response) -> (String, String) {
    let (_, form) = text(page).split_once("class=\"end\"").unwrap();
    let field = |name: &str| {
        let (_, rest) = form
            .split_once(&format!("name=\"{name}\" value=\""))
            .unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    (field("grants"), field("seal"))
}

async fn press(
    server: &AuthorizationServer,
    browser: &Browser,
    grants: &str,
    seal: &str,
) -> Response {
    let form = [("grants", grants), ("seal", seal)];
    ask(server, &browser.post("/account/revoke", &form)).await
}

async fn is_there(server: &AuthorizationServer, grant: &Grant) -> bool {
    let found = server.records.grant(&grant.id, server.clock.now()).await;
    found.unwrap().is_some()
}

#[tokio::test]
async fn whoever_is_not_logged_in_is_asked_to_and_nothing_is_kept_of_the_page() {
    let server = server_of_alice().await;
    let mut browser = Browser::new();
    let page = ask(&server, &browser.get("/account")).await;
    assert!(text(&page).contains("name=\"password\""));
    assert!(text(&page).contains("which apps may act in your name"));
    browser = logged_in(&server, "alice").await;
    for method in [Method::GET, Method::HEAD] {
        let request = browser.request(method, "/account", &[]);
        let page = ask(&server, &request).await;
        assert_eq!(page.headers()[CACHE_CONTROL], "no-store");
        let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("form-action 'self'"), "{policy}");
        assert!(text(&page).contains("No app may use anything in your name"));
    }
    let posted = ask(&server, &browser.post("/account", &[])).await;
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    for path in ["/account/revoke", "/account/approve"] {
        // Opened by its address, a button does nothing.
        let opened = ask(&server, &browser.get(&format!("{path}?grants=g_1"))).await;
        assert_eq!(location(&opened), "/account");
    }
}

#[tokio::test]
async fn nobody_sees_or_takes_back_what_another_person_allowed() {
    let server = server_of_two().await;
    let of_alice = granted(&server, "alice", "g_alice", "c_1").await;
    let of_bob = granted(&server, "bob", "g_bob", "c_1").await;
    let mut alice = logged_in(&server, "alice").await;
    let mut bob = logged_in(&server, "bob").await;
    let (page, other) = (
        account(&server, &mut alice).await,
        account(&server, &mut bob).await,
    );
    assert!(text(&page).contains("g_alice") && !text(&page).contains("g_bob"));
    assert!(text(&other).contains("g_bob") && !text(&other).contains("g_alice"));
    let (grants, seal) = revoke_form(&page);
    let (bobs, bobs_seal) = revoke_form(&other);
    // Another's form, another's seal, another's grant under one's own seal, and none at all.
    for (browser, grants, seal) in [
        (&bob, &grants, &seal),
        (&bob, &grants, &bobs_seal),
        (&alice, &bobs, &seal),
        (&alice, &format!("{grants} {bobs}"), &seal),
        (&alice, &grants, &String::new()),
        (&alice, &grants, &value(&page, "seal")[1..].to_owned()),
    ] {
        let answer = press(&server, browser, grants, seal).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert!(text(&answer).contains("cross_site_form"));
    }
    // Log-out seals are for logging out.
    let (_, foot) = text(&page).split_once("action=\"/logout\"").unwrap();
    let (_, rest) = foot.split_once("name=\"seal\" value=\"").unwrap();
    let log_out = rest.split('"').next().unwrap();
    let answer = press(&server, &alice, &grants, log_out).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let mut crossing = Browser::new();
    crossing.cookies = alice.cookies.clone();
    crossing.headers = vec![("sec-fetch-site", "cross-site"), ("origin", ORIGIN)];
    let answer = press(&server, &crossing, &grants, &seal).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(is_there(&server, &of_alice).await && is_there(&server, &of_bob).await);

    let answer = press(&server, &alice, &grants, &seal).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(
        text(&answer).contains("lost its access"),
        "{}",
        text(&answer)
    );
    assert!(text(&answer).contains("No app may use anything"));
    assert!(!is_there(&server, &of_alice).await && is_there(&server, &of_bob).await);
    assert_eq!(revocations(&server, server.clock.now()).await, ["g_alice"]);
}

#[tokio::test]
async fn a_form_takes_back_what_it_showed_and_nothing_that_came_later() {
    let server = server_of_alice().await;
    granted(&server, "alice", "g_1", "c_1").await;
    granted(&server, "alice", "g_2", "c_1").await;
    let kept = granted(&server, "alice", "g_3", "c_2").await;
    let mut alice = logged_in(&server, "alice").await;
    let page = account(&server, &mut alice).await;
    let (_, card) = text(&page).split_once("c_1").unwrap();
    assert!(card.contains("Revoke all 2") && card.contains("Revoke this one alone"));
    let (_, form) = card.split_once("class=\"end\"").unwrap();
    let field = |name: &str| {
        let (_, rest) = form
            .split_once(&format!("name=\"{name}\" value=\""))
            .unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let (grants, seal) = (field("grants"), field("seal"));
    press(&server, &alice, &grants, &seal).await;
    let mut revoked = revocations(&server, server.clock.now()).await;
    revoked.sort();
    assert_eq!(revoked, ["g_1", "g_2"]);
    let later = granted(&server, "alice", "g_4", "c_1").await;
    let again = press(&server, &alice, &grants, &seal).await;
    // Pressed twice it says the same, and does nothing more.
    assert!(text(&again).contains("lost its access"), "{}", text(&again));
    assert!(is_there(&server, &later).await && is_there(&server, &kept).await);
    assert_eq!(revocations(&server, server.clock.now()).await.len(), 2);
}

#[tokio::test]
async fn a_page_that_was_open_for_too_long_does_nothing_and_is_entered_whichever_it_is() {
    let server = server_of_alice().await;
    let grant = granted(&server, "alice", "g_1", "c_1").await;
    let mut alice = logged_in(&server, "alice").await;
    account(&server, &mut alice).await;
    let new = ask(&server, &alice.get("/account/tokens/new?backend=notes")).await;
    let (backend, shown) = (value(&new, "backend"), value(&new, "shown"));
    let (user, opened) = (
        user(&server, "alice").await,
        server.clock.now() - Duration::from_secs(2 * 3600),
    );
    let seal = |purpose, fields: &[&str]| {
        let who = [alice.cookies["__Host-browser"].as_str(), user.as_str()];
        let bound = who.iter().chain(fields).map(|field| field.as_bytes());
        let bound: Vec<_> = bound.collect();
        form_token::seal(&server.tags, purpose, &bound, opened, &mut OsRng)
    };
    let revoke = seal(Purpose::Revoke, &["g_1"]);
    let revoke = [("grants", "g_1"), ("seal", &*revoke)];
    let make = seal(Purpose::MakeToken, &[&backend, &shown]);
    let make = [
        ("backend", &*backend),
        ("shown", &shown),
        ("name", "cron"),
        ("tools", "all"),
        ("seal", &make),
    ];
    let now = server.clock.now();
    let revoke = alice.post("/account/revoke", &revoke);
    let make = alice.post("/account/tokens/new", &make);
    for answer in [
        account::revoke(&server, &revoke, now).await,
        account::revoke_token(&server, &revoke, now).await,
        account::make_token(&server, &make, now).await,
    ] {
        let mut answer = answer.unwrap();
        assert!(text(&answer).contains("open for too long"));
        let records = take_records(&mut answer).into_iter();
        let reasons: Vec<_> = records.map(|record| record.reason).collect();
        assert_eq!(reasons, [Some(Reason::PageExpired)], "{}", text(&answer));
    }
    assert!(is_there(&server, &grant).await);
}

#[tokio::test]
async fn without_a_login_no_button_does_anything() {
    let server = server_of_alice().await;
    let grant = granted(&server, "alice", "g_1", "c_1").await;
    let mut browser = logged_in(&server, "alice").await;
    let page = account(&server, &mut browser).await;
    let (grants, seal) = revoke_form(&page);
    // A changed password ends the login.
    let phc = server
        .passwords
        .hash(Password::new("another password").unwrap())
        .await;
    let (alice, now) = (LoginName::parse("alice").unwrap(), server.clock.now());
    identity::ensure_owner(&server.records, &alice, &phc.unwrap(), now, &mut OsRng)
        .await
        .unwrap();
    let answer = press(&server, &browser, &grants, &seal).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(text(&answer).contains("Your login has ended"));
    assert!(text(&answer).contains("name=\"goal\" value=\"account\""));
    let form = [
        ("grant", "g_1"),
        ("tool", "search"),
        ("pin", "0202020202020202"),
        ("seal", &*seal),
    ];
    let answer = ask(&server, &browser.post("/account/approve", &form)).await;
    assert!(text(&answer).contains("Your login has ended"));
    assert!(is_there(&server, &grant).await);
}

#[tokio::test]
async fn whoever_is_kept_out_sees_nothing_and_presses_nothing() {
    let server = server_of_two().await;
    let grant = granted(&server, "bob", "g_bob", "c_1").await;
    let mut bob = logged_in(&server, "bob").await;
    let page = account(&server, &mut bob).await;
    let (grants, seal) = revoke_form(&page);
    let (why, now) = (Disabled::ByOperator, server.clock.now());
    people::disable(&server.records, "bob", why, now, &mut OsRng)
        .await
        .unwrap();
    let page = ask(&server, &bob.get("/account")).await;
    assert!(text(&page).contains("name=\"password\"") && !text(&page).contains("g_bob"));
    let answer = press(&server, &bob, &grants, &seal).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(text(&answer).contains("Your login has ended"));
    assert!(is_there(&server, &grant).await);
}

#[tokio::test]
async fn logging_out_everywhere_ends_every_browser_of_that_person_and_no_other() {
    let server = server_of_two().await;
    let mut here = logged_in(&server, "alice").await;
    let there = logged_in(&server, "alice").await;
    let mut bob = logged_in(&server, "bob").await;
    let page = account(&server, &mut here).await;
    let form = [
        ("seal", value(&page, "seal")),
        ("where", "everywhere".to_owned()),
    ];
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, &**value)).collect();
    let answer = ask(&server, &here.post("/logout", &form)).await;
    assert_eq!(location(&answer), "/");
    for browser in [&here, &there] {
        let page = ask(&server, &browser.get("/account")).await;
        assert!(text(&page).contains("name=\"password\""), "{}", text(&page));
    }
    account(&server, &mut bob).await;
}

#[tokio::test]
async fn a_grant_that_ended_is_not_shown_and_a_lost_client_does_not_hide_one() {
    let server = server_of_alice().await;
    let mut ended = granted(&server, "alice", "g_ended", "c_1").await;
    ended.expires = Timestamp::from_secs(1);
    server.records.put_grant(&ended).await.unwrap();
    granted(&server, "alice", "g_2", "c_<script>").await;
    let mut alice = logged_in(&server, "alice").await;
    let page = account(&server, &mut alice).await;
    assert!(!text(&page).contains("g_ended"));
    assert!(text(&page).contains("Not known any more"));
    assert!(!text(&page).contains("<script"));
    assert!(text(&page).contains("The backend does not answer right now"));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_costs_the_page_and_the_buttons_nothing_else() {
    let server = server_of_alice().await;
    // The card of the newest grant comes first, where a second passes in between.
    let other = granted(&server, "alice", "g_3", "c_2").await;
    let broken = granted(&server, "alice", "g_1", "c_1").await;
    let sound = granted(&server, "alice", "g_2", "c_1").await;
    let mut browser = logged_in(&server, "alice").await;
    let store = server.records.store();
    let client = ClientId::new("c_1");
    for key in [Key::client(&client), Key::last_use(&sound.id)] {
        store.put(&key, b"{", None).await.unwrap();
    }
    let (grants, seal) = revoke_form(&account(&server, &mut browser).await);
    // The newest first, which may be either.
    assert!(
        ["g_1 g_2", "g_2 g_1"].contains(&grants.as_str()),
        "{grants}"
    );
    store
        .put(&Key::grant(&broken.id), b"{", None)
        .await
        .unwrap();
    account(&server, &mut browser).await;
    let answer = press(&server, &browser, &grants, &seal).await;
    assert_eq!(answer.status(), StatusCode::OK, "{}", text(&answer));
    let mut revoked = revocations(&server, server.clock.now()).await;
    revoked.sort();
    assert_eq!(revoked, ["g_1", "g_2"]);
    assert!(!is_there(&server, &broken).await && !is_there(&server, &sound).await);
    assert!(is_there(&server, &other).await);
}
