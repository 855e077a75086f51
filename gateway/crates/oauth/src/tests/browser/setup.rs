//! The first owner.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use rand::rngs::OsRng;

use super::{Browser, PASSWORD, ask, location, offered, server, text, value};
use crate::identity::SetupCode;
use crate::server::AuthorizationServer;
use crate::session;
use gateway_core::protocol::web::Response;

async fn set_up(server: &AuthorizationServer, form: &[(&str, &str)]) -> Response {
    ask(server, &Browser::new().post("/setup", form)).await
}

fn setup_form<'a>(code: &'a str, name: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("code", code),
        ("name", name),
        ("password", PASSWORD),
        ("again", PASSWORD),
    ]
}

#[tokio::test]
async fn the_setup_code_makes_one_owner_who_is_logged_in_and_then_the_page_is_gone() {
    let server = server();
    let code = offered(&server).await;
    let page = ask(&server, &Browser::new().get(&format!("/setup?code={code}"))).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(value(&page, "code"), code);
    let home = ask(&server, &Browser::new().get("/")).await;
    assert!(!text(&home).contains(&code));

    let lower = code.to_lowercase().replace('-', " ");
    let answer = set_up(&server, &setup_form(&lower, "alice")).await;
    assert_eq!(location(&answer), "/");
    let mut browser = Browser::new();
    browser.keep(&answer);
    let now = server.clock.now();
    assert!(
        session::current_session(server.ways_in(), &server.records, &browser.get("/"), now)
            .await
            .unwrap()
            .is_some()
    );

    let gone = ask(&server, &browser.get(&format!("/setup?code={code}"))).await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    let again = set_up(&server, &setup_form(&code, "mallory")).await;
    assert_eq!(again.status(), StatusCode::NOT_FOUND);
    assert!(server.records.user("mallory", now).await.unwrap().is_none());
    let offer = SetupCode::offer(&server.records, now, &mut OsRng).await;
    assert!(offer.unwrap().is_none());
}

#[tokio::test]
async fn five_wrong_codes_close_the_right_one() {
    let server = server();
    let code = offered(&server).await;
    for wrong in ["2222-2222", "3333-3333", "4444-4444", "5555-5555"] {
        let answer = set_up(&server, &setup_form(wrong, "alice")).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    }
    // Not tries: a form that is wrong elsewhere, and a code that can't be one.
    for form in [
        setup_form("not a code", "alice"),
        setup_form("6666-6666", "no blanks allowed"),
        [
            ("code", "6666-6666"),
            ("name", "alice"),
            ("password", "short"),
            ("again", "short"),
        ],
        [
            ("code", "6666-6666"),
            ("name", "alice"),
            ("password", PASSWORD),
            ("again", "differs"),
        ],
    ] {
        assert_ne!(set_up(&server, &form).await.status(), StatusCode::SEE_OTHER);
    }
    let answer = set_up(&server, &setup_form("7777-7777", "alice")).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let answer = set_up(&server, &setup_form(&code, "alice")).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let next = offered(&server).await;
    assert_eq!(
        location(&set_up(&server, &setup_form(&next, "alice")).await),
        "/"
    );
}

#[tokio::test]
async fn of_racing_setups_with_the_right_code_one_becomes_the_owner() {
    let server = Arc::new(server());
    let code = offered(&server).await;
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..8 {
        let (server, code) = (Arc::clone(&server), code.clone());
        racers.spawn(async move {
            let name = format!("racer{racer}");
            set_up(&server, &setup_form(&code, &name)).await.status()
        });
    }
    let statuses = racers.join_all().await;
    let owners = statuses
        .iter()
        .filter(|&&status| status == StatusCode::SEE_OTHER);
    assert_eq!(owners.count(), 1, "{statuses:?}");
}

#[tokio::test]
async fn a_setup_code_is_open_for_15_minutes_and_until_the_next_one() {
    let server = server();
    let now = server.clock.now();
    let first = SetupCode::offer(&server.records, now, &mut OsRng)
        .await
        .unwrap()
        .unwrap();
    let accept = async |code: &SetupCode, at| code.accept(&server.records, at).await.is_ok();
    assert!(accept(&first, now + Duration::from_secs(899)).await);
    assert!(!accept(&first, now + Duration::from_secs(900)).await);
    let second = SetupCode::offer(&server.records, now, &mut OsRng)
        .await
        .unwrap()
        .unwrap();
    assert!(!accept(&first, now).await);
    assert!(accept(&second, now).await);
}
