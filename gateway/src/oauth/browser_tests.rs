//! The pages as a browser meets them: cookies, forms and seals together, on the store in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode};
use rand::rngs::OsRng;

use crate::access_token::Keys;
use crate::backend::Catalogue;
use crate::client::{Client, ClientAuthentication, ClientId, Registration};
use crate::clock::Clock;
use crate::identity::{self, LoginName, Password, Passwords, Setup};
use crate::oauth::endpoint::Endpoint;
use crate::oauth::{AuthorizationServer, Settings, home, login, setup};
use crate::protocol::resource::{Issuer, Mount};
use crate::protocol::web::{Request, Response};
use crate::secret::TagKey;
use crate::store::{Memory, Records};

const PASSWORD: &str = "correct horse battery";
const ISSUER: &str = "https://mcp.example.com";

fn server() -> AuthorizationServer {
    let pair = biscuit_auth::KeyPair::new();
    AuthorizationServer {
        settings: settings(),
        records: Records::new(Arc::new(Memory::default())),
        keys: Arc::new(Keys::new(BTreeMap::from([(1, pair)])).unwrap()),
        tags: TagKey::new([7; 32]),
        passwords: Passwords::default(),
        setup: Setup,
        catalogue: Arc::new(Catalogue::default()),
        clock: Clock,
    }
}

fn settings() -> Settings {
    Settings {
        issuer: Issuer::parse(ISSUER).unwrap(),
        mounts: vec![Mount {
            name: "notes".to_owned(),
            prefix: String::new(),
        }],
        title: "Cupcake Gateway".to_owned(),
        access_ttl: Duration::from_secs(24 * 3600),
        apps_challenge: None,
        security_contact: None,
        redirect_schemes: Default::default(),
        registrations_per_hour: 100,
    }
}

async fn server_of_alice() -> AuthorizationServer {
    let server = server();
    let password = Password::new(PASSWORD).unwrap();
    let phc = server.passwords.hash(password).await.unwrap();
    let alice = LoginName::parse("alice").unwrap();
    let now = server.clock.now();
    identity::ensure_owner(&server.records, &alice, &phc, now, &mut OsRng)
        .await
        .unwrap();
    server
}

/// A browser: keeps cookies, and sends what browsers send with a form.
struct Browser {
    cookies: BTreeMap<String, String>,
    address: &'static str,
    headers: Vec<(&'static str, &'static str)>,
}

impl Browser {
    fn new() -> Self {
        Self {
            cookies: BTreeMap::new(),
            address: "192.0.2.1",
            headers: vec![("sec-fetch-site", "same-origin"), ("origin", ISSUER)],
        }
    }

    fn request(&self, method: Method, target: &str, form: &[(&str, &str)]) -> Request {
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(p, q)| (p, Some(q)));
        let mut headers = HeaderMap::new();
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        headers.insert(COOKIE, cookies.join("; ").parse().unwrap());
        if method == Method::POST {
            let media_type = "application/x-www-form-urlencoded";
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
            for &(name, value) in &self.headers {
                headers.insert(HeaderName::from_static(name), value.parse().unwrap());
            }
        }
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        Request {
            method,
            path: path.to_owned(),
            query: query.map(str::to_owned),
            headers,
            body: Bytes::from(body),
            peer: self.address.parse().unwrap(),
            request_id: "r_test".to_owned(),
        }
    }

    fn get(&self, target: &str) -> Request {
        self.request(Method::GET, target, &[])
    }

    fn post(&self, target: &str, form: &[(&str, &str)]) -> Request {
        self.request(Method::POST, target, form)
    }

    fn keep(&mut self, response: &Response) {
        for line in response.headers().get_all(SET_COOKIE) {
            let line = line.to_str().unwrap();
            for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
                assert!(line.contains(attribute), "{line}");
            }
            assert!(line.starts_with("__Host-"), "{line}");
            let (name, rest) = line.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    async fn log_in(
        &mut self,
        server: &AuthorizationServer,
        goal: Option<&str>,
        password: &str,
    ) -> Response {
        let page = login::page(server, &self.get("/login"), goal).await;
        self.keep(&page);
        let seal = value(&page, "seal");
        let form = [
            ("request", goal.unwrap_or_default()),
            ("seal", &seal),
            ("name", "alice"),
            ("password", password),
        ];
        let answer = login::submit(server, &self.post("/login", &form)).await;
        self.keep(&answer);
        answer
    }
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

/// The value of the first hidden field of this name.
fn value(response: &Response, name: &str) -> String {
    let mark = format!("name=\"{name}\" value=\"");
    let (_, rest) = text(response)
        .split_once(&mark)
        .expect("the page has the field");
    rest.split('"').next().unwrap().to_owned()
}

fn location(response: &Response) -> &str {
    assert_eq!(
        response.status(),
        StatusCode::SEE_OTHER,
        "{}",
        text(response)
    );
    response.headers()[LOCATION].to_str().unwrap()
}

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
    let live = login::session(&server, &browser.get("/"), now)
        .await
        .unwrap();
    assert_eq!(live.unwrap().1.user_name, "alice");

    let answer = browser.log_in(&server, None, PASSWORD).await;
    assert_eq!(location(&answer), "/");
    assert_ne!(browser.cookies["__Host-session"], first);
    browser.cookies.insert("__Host-session".to_owned(), first);
    let dead = login::session(&server, &browser.get("/"), now)
        .await
        .unwrap();
    assert!(dead.is_none());
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
    let session = login::session(&server, &browser.get("/"), now)
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
    let wrong_name = login::submit(&server, &browser.post("/login", &form)).await;
    let neutral = |page: &Response, name: &str| {
        let seal = value(page, "seal");
        text(page).replace(&seal, "").replace(name, "")
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
    let page = login::page(&server, &browser.get("/login"), Some("client_id=c")).await;
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
        login::submit(&server, &browser.post("/login", &form))
            .await
            .status()
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
        let page = login::page(&server, &browser.get("/login"), Some(goal)).await;
        browser.keep(&page);
        let form = [
            ("seal", &*value(&page, "seal")),
            ("request", goal),
            ("return_to", goal),
            ("next", goal),
            ("name", "alice"),
            ("password", PASSWORD),
        ];
        let answer = login::submit(&server, &browser.post("/login", &form)).await;
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
    let forged = login::logout(&server, &browser.post("/logout", &[("seal", "1.2.3")])).await;
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    let home = home::page(&server, &browser.get("/")).await;
    assert!(text(&home).contains("alice"));
    let seal = value(&home, "seal");
    let form = [("seal", seal.as_str()), ("request", "client_id=c")];
    let answer = login::logout(&server, &browser.post("/logout", &form)).await;
    assert_eq!(location(&answer), "/authorize?client_id=c");
    let now = server.clock.now();
    assert!(
        login::session(&server, &browser.get("/"), now)
            .await
            .unwrap()
            .is_none()
    );
}

async fn set_up(server: &AuthorizationServer, form: &[(&str, &str)]) -> Response {
    setup::submit(server, &Browser::new().post("/setup", form)).await
}

async fn offered(server: &AuthorizationServer) -> String {
    let now = server.clock.now();
    let code = server.setup.offer(&server.records, now, &mut OsRng).await;
    code.unwrap().unwrap().reveal().to_owned()
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
    let page = setup::page(&server, &Browser::new().get(&format!("/setup?code={code}"))).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(value(&page, "code"), code);
    assert!(!text(&home::page(&server, &Browser::new().get("/")).await).contains(&code));

    let lower = code.to_lowercase().replace('-', " ");
    let answer = set_up(&server, &setup_form(&lower, "alice")).await;
    assert_eq!(location(&answer), "/");
    let mut browser = Browser::new();
    browser.keep(&answer);
    let now = server.clock.now();
    assert!(
        login::session(&server, &browser.get("/"), now)
            .await
            .unwrap()
            .is_some()
    );

    let gone = setup::page(&server, &browser.get(&format!("/setup?code={code}"))).await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    let again = set_up(&server, &setup_form(&code, "mallory")).await;
    assert_eq!(again.status(), StatusCode::NOT_FOUND);
    assert!(server.records.user("mallory", now).await.unwrap().is_none());
    let offer = server.setup.offer(&server.records, now, &mut OsRng).await;
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
    let first = server
        .setup
        .offer(&server.records, now, &mut OsRng)
        .await
        .unwrap()
        .unwrap();
    let accept = async |code, at| server.setup.accept(&server.records, code, at).await.is_ok();
    assert!(accept(&first, now + Duration::from_secs(899)).await);
    assert!(!accept(&first, now + Duration::from_secs(900)).await);
    let second = server
        .setup
        .offer(&server.records, now, &mut OsRng)
        .await
        .unwrap()
        .unwrap();
    assert!(!accept(&first, now).await);
    assert!(accept(&second, now).await);
}

/// A request for alice's notes, from a client that registered itself under `name`.
async fn register(server: &AuthorizationServer, name: &str) -> String {
    let now = server.clock.now();
    let client = Client {
        id: ClientId::new("c_app"),
        name: Some(name.to_owned()),
        redirect_uris: vec!["https://app.example/callback".to_owned()],
        authentication: ClientAuthentication::None,
        registration: Registration::SelfRegistered,
        registered: now - Duration::from_secs(240),
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

async fn ask(server: &AuthorizationServer, request: &Request) -> Response {
    let endpoint = Endpoint::find(&request.path, &server.settings.mounts).unwrap();
    server.answer(endpoint, request).await
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
    let form = [("request", goal), ("seal", seal), ("decision", decision)];
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
    for decision in ["allow", "deny"] {
        let again = decide(&server, &browser, &goal, &seal, decision).await;
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
    crossing.headers = vec![("sec-fetch-site", "cross-site"), ("origin", ISSUER)];
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
async fn a_backend_that_cannot_be_asked_is_no_secret_on_the_consent_page() {
    let server = server_of_alice().await;
    let goal = register(&server, "App").await;
    let (_, page) = at_consent(&server, &goal).await;
    assert!(text(&page).contains("could not be asked for its tools"));
    assert!(
        text(&page).contains("registered itself 4 minutes ago"),
        "{}",
        text(&page)
    );
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
