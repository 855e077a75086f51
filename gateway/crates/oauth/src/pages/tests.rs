//! Every page, rendered with what strangers may send.

use std::time::Duration;

use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use super::*;
use gateway_core::client::Registration;
use gateway_core::clock::Timestamp;
use gateway_core::grants::consented_tools::Choice;
use gateway_core::protocol::redirect_uri::Destination;
use gateway_core::reason::Reason;

const FRAME: Frame<'static> = Frame {
    site: "Cupcake Gateway",
    authority: "mcp.example.com",
    request_id: "r_7Qm2Xw9LdT",
};
const REQUEST: &str = "response_type=code&client_id=c_1&state=%22%3E%3Cscript%3E";

fn consent<'a>(name: &'a str, destination: &'a Destination, tools: Vec<Tool>) -> Consent<'a> {
    Consent {
        frame: FRAME,
        client_name: Some(name),
        registration: Registration::SelfRegistered,
        is_proved: false,
        vouched_by: None,
        registered: Duration::from_secs(250),
        changed: None,
        client_as_shown: "",
        backend: "notes",
        scope: "mcp",
        scopes: Vec::new(),
        covers_everything: true,
        user_name: "alice",
        flow: AuthorizationFlow::Browser(destination),
        preset: Preset::first(&tools, false),
        capabilities: Capabilities::Tools(tools, 0),
        unfit: Vec::new(),
        shown: "[]",
        problem: None,
        find: None,
        lifetime: Duration::from_secs(24 * 3600),
        authorization_request: REQUEST,
        seal: "1795439140889.6OjDWf6eYxa283jaQoOQ_Q.wdh0iLzafWKR9DdVe_cz8g",
        log_out_seal: "1795439140889.7XpynyyXQaiiVw2aJjul0w.5H28EdTgWO986mgwWFSHWA",
    }
}

fn tool(name: &str, description: &str, read_only: Option<bool>, destructive: Option<bool>) -> Tool {
    Tool {
        name: name.to_owned(),
        title: None,
        description: Some(description.to_owned()),
        read_only,
        destructive,
    }
}

fn tools() -> Vec<Tool> {
    vec![
        tool(
            "search",
            "Finds documents by words.",
            Some(true),
            Some(true),
        ),
        tool("fetch", "Reads one document in full.", Some(true), None),
        tool(
            "create_note",
            "Writes a new note.",
            Some(false),
            Some(false),
        ),
        tool(
            "delete_note",
            "Removes a note for good.",
            Some(false),
            Some(true),
        ),
        tool("summarise", "Makes a summary.", None, None),
    ]
}

fn home(awaits_owner: bool, loopback: bool) -> Home<'static> {
    let urls = |name: &str, prefix: &str| MountUrls {
        name: name.to_owned(),
        mcp: format!("https://mcp.example.com{prefix}/mcp"),
        sse: format!("https://mcp.example.com{prefix}/sse"),
    };
    Home {
        frame: FRAME,
        mounts: vec![urls("notes", ""), urls("files", "/files")],
        awaits_owner: Some(awaits_owner),
        loopback,
        person: (!awaits_owner).then_some(("alice", "1.2.3")),
    }
}

fn login(problem: Option<LoginProblem>) -> Page {
    Login {
        frame: FRAME,
        goal: Goal::Authorize(REQUEST),
        seal: "1.2.3",
        name: "alice",
        problem,
        providers: &[],
        passkey: None,
        with_password: true,
    }
    .page()
}

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn ago_by(seconds: u64) -> Timestamp {
    NOW - Duration::from_secs(seconds)
}

fn connection(allowed: AllowedTools) -> Connection {
    Connection {
        name: None,
        place: GrantedResource::Backend("notes".to_owned()),
        scope: "mcp".to_owned(),
        scope_words: Vec::new(),
        allowed,
        allowed_by: None,
        since: ago_by(3 * 86_400),
        last_used: Some(ago_by(130)),
        ends: NOW + Duration::from_secs(20 * 3600),
        is_renewed: false,
        changed: Vec::new(),
        is_unknown: false,
        revoke: RevokeForm {
            grants: "g_1".to_owned(),
            seal: "1.2.3".to_owned(),
        },
    }
}

fn app(name: &str, known: ClientOrigin, connections: Vec<Connection>) -> App {
    App {
        name: Some(name.to_owned()),
        known,
        connections,
        revoke: RevokeForm {
            grants: "g_1 g_2".to_owned(),
            seal: "1.2.3".to_owned(),
        },
    }
}

fn account(apps: Vec<App>, notice: Option<AccountNotice>) -> Page {
    Account {
        frame: FRAME,
        user_name: "alice",
        now: NOW,
        notice,
        apps,
        is_cut: false,
        log_out_seal: "1.2.3",
        logins: Logins::default(),
        has_tokens: true,
        withheld: vec![WithheldApp {
            name: "Helper <b>".to_owned(),
            client: "helper".to_owned(),
            seal: "1.2.3".to_owned(),
        }],
        elsewhere: vec![
            Elsewhere {
                backend: "notes".to_owned(),
                is_served: true,
                account: Some(ElsewhereAccount {
                    called: Some("<i>alice</i>".to_owned()),
                    since: NOW,
                    scopes: vec!["read".to_owned()],
                    renewed: Some(NOW),
                    lapsed: Some("its authorization server does not renew it"),
                    is_too_small: false,
                    seal: "1.2.3".to_owned(),
                }),
            },
            Elsewhere {
                backend: "mail".to_owned(),
                is_served: true,
                account: None,
            },
        ],
    }
    .page()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A connection with a tool that changed and one that is gone.
fn with_changes(name: &str, description: &str, whole: Option<&str>) -> Connection {
    let new = NewDefinition {
        tool: tool(name, description, Some(false), Some(true)),
        whole: whole.map(str::to_owned),
        grant: "g_1".to_owned(),
        pin: "0102030405060708".to_owned(),
        seal: "1.2.3".to_owned(),
    };
    let changed = vec![
        ChangedTool {
            name: name.to_owned(),
            now: Some(new),
        },
        ChangedTool {
            name: "gone".to_owned(),
            now: None,
        },
    ];
    Connection {
        changed,
        ..connection(AllowedTools::AsTheyWere(names(&[name, "gone", "search"])))
    }
}

fn account_pages() -> Vec<(&'static str, Page)> {
    let apps = vec![
        app(
            "Notes for Teams",
            ClientOrigin::SelfRegistered(ago_by(3 * 86_400)),
            vec![
                with_changes("fetch", "Returns a note.", Some("{\"name\":\"fetch\"}")),
                Connection {
                    last_used: None,
                    allowed_by: Some("Example <Inc.>".to_owned()),
                    is_renewed: true,
                    ..connection(AllowedTools::Everything)
                },
                Connection {
                    scope_words: vec!["Read <notes>".to_owned(), "Write notes".to_owned()],
                    ..connection(AllowedTools::EverythingOfItsScope)
                },
            ],
        ),
        app(
            "ChatGPT",
            ClientOrigin::Document("chatgpt.com".to_owned()),
            vec![
                Connection {
                    is_unknown: true,
                    ..connection(AllowedTools::AsTheyWere(names(&["search"])))
                },
                connection(AllowedTools::AsTheyWere(
                    (1..=30).map(|n| format!("tool_{n}")).collect(),
                )),
            ],
        ),
        app(
            "Deployer",
            ClientOrigin::Operator,
            vec![Connection {
                place: GrantedResource::Gone("https://mcp.example.com/old/mcp".to_owned()),
                ..connection(AllowedTools::Named(names(&["search", "fetch"])))
            }],
        ),
        App {
            name: None,
            ..app(
                "",
                ClientOrigin::Gone("c_1".to_owned()),
                vec![connection(AllowedTools::Everything)],
            )
        },
    ];
    let tool = || "fetch".to_owned();
    let said = [
        ("account-approved", AccountNotice::Approved(tool())),
        (
            "account-approved-before",
            AccountNotice::AlreadyApproved(tool()),
        ),
        ("account-changed-again", AccountNotice::ChangedAgain(tool())),
        ("account-withdrawn", AccountNotice::Withdrawn(tool())),
        ("account-not-asked", AccountNotice::NotAsked(tool())),
        ("account-expired", AccountNotice::PageExpired),
        ("account-over", AccountNotice::AlreadyOver),
    ];
    let said = said
        .into_iter()
        .map(|(name, notice)| (name, account(apps.clone(), Some(notice))));
    let revoked = AccountNotice::Revoked(Some("Notes for Teams".to_owned()));
    let mut pages: Vec<_> = said.collect();
    pages.push(("account", account(apps.clone(), None)));
    pages.push(("account-empty", account(Vec::new(), None)));
    pages.push(("account-revoked", account(apps, Some(revoked))));
    pages
}

fn new_token(problem: Option<NewTokenProblem>) -> NewTokenForm<'static> {
    NewTokenForm {
        frame: FRAME,
        user_name: "alice",
        backend: "notes",
        name: "nightly \"<job>\"",
        ends: &[30, 90],
        days: 30,
        needs_logins: true,
        preset: Preset::first(&tools(), false),
        capabilities: Capabilities::Tools(tools(), 0),
        unfit: Vec::new(),
        covers_everything: true,
        find: None,
        problem,
        shown: "[]",
        seal: "1.2.3",
    }
}

fn token_pages() -> Vec<(&'static str, Page)> {
    let made = |token| MadeToken {
        frame: FRAME,
        user_name: "alice",
        name: "nightly <job>",
        token,
        lasts: Duration::from_secs(30 * 86_400),
        backend: "notes",
        mcp: "https://mcp.example.com/mcp",
    };
    let tokens = |notice, names: &[&str], backends: &[&'static str]| Tokens {
        frame: FRAME,
        user_name: "alice",
        now: NOW,
        notice,
        tokens: names
            .iter()
            .map(|name| OwnToken {
                name: (*name).to_owned(),
                from: Some([192, 0, 2, 7].into()),
                connection: connection(AllowedTools::AsTheyWere(vec!["search".to_owned()])),
            })
            .collect(),
        backends: backends.to_vec(),
        log_out_seal: "1.2.3",
    };
    let ended = AccountNotice::TokenEnded("ci <script>".to_owned());
    vec![
        (
            "tokens",
            tokens(None, &["ci <script>", "cron"], &["notes"]).page(),
        ),
        (
            "tokens-empty",
            tokens(None, &[], &["notes", "a & \"b\""]).page(),
        ),
        ("tokens-ended", tokens(Some(ended), &["cron"], &[]).page()),
        ("token-new", new_token(None).page()),
        (
            "token-nameless",
            new_token(Some(NewTokenProblem::Nameless)).page(),
        ),
        (
            "token-nothing",
            new_token(Some(NewTokenProblem::Tools(ConsentProblem::Nothing))).page(),
        ),
        (
            "token-made",
            made(Some(
                "cupgw_0123456789012345678901234567890123456789012345678901234",
            ))
            .page(),
        ),
        ("token-shown", made(None).page()),
    ]
}

fn device_pages() -> Vec<(&'static str, Page)> {
    let form = |code, problem| DeviceForm {
        frame: FRAME,
        code,
        problem,
    };
    let done = |is_allowed| DeviceDone {
        frame: FRAME,
        app: Some("Notes <b>for</b> Teams"),
        backend: "notes",
        is_allowed,
    };
    let web = Destination::Web("chatgpt.com".to_owned());
    let asks = Consent {
        flow: AuthorizationFlow::Device {
            address: [192, 0, 2, 7].into(),
            asked: "2 minutes ago".to_owned(),
            code: "BCDF-GHJK".to_owned(),
        },
        ..consent("Notes for Teams", &web, tools())
    };
    let described = Consent {
        registration: Registration::MetadataDocument,
        vouched_by: Some("chatgpt.com"),
        ..asks.clone()
    };
    let limited = DeviceProblem::Limited(Duration::from_secs(300));
    vec![
        ("device", form(None, None).page()),
        ("device-code", form(Some("BCDF-GHJK"), None).page()),
        (
            "device-unknown",
            form(None, Some(DeviceProblem::Unknown)).page(),
        ),
        ("device-limited", form(None, Some(limited)).page()),
        ("device-allowed", done(true).page()),
        ("device-denied", done(false).page()),
        ("consent-device", asks.page()),
        ("consent-device-described", described.page()),
    ]
}

fn setup(code: &str, problem: Option<SetupProblem>) -> Page {
    SetupForm {
        frame: FRAME,
        code,
        name: "",
        passkey: None,
        user: "u_1",
        problem,
    }
    .page()
}

fn refusal(status: StatusCode, reason: Reason, detail: Option<&str>) -> Page {
    Refusal {
        frame: FRAME,
        status,
        reason,
        detail,
        reopen: (reason == Reason::PageExpired).then_some(REQUEST),
    }
    .page()
}

/// One of each, as people meet them.
fn every_page() -> Vec<(&'static str, Page)> {
    let web = Destination::Web("chatgpt.com".to_owned());
    let loopback = Destination::Loopback("127.0.0.1".to_owned());
    let app = Destination::App("cursor".to_owned());
    let limited = LoginProblem::Limited(Duration::from_secs(290));
    let unknown = Consent {
        capabilities: Capabilities::Unknown,
        ..consent("ChatGPT", &web, Vec::new())
    };
    let changed_client = Consent {
        registration: Registration::MetadataDocument,
        is_proved: true,
        vouched_by: Some("chatgpt.com"),
        changed: Some(Changed {
            allowed: Duration::from_secs(3 * 24 * 3600),
            name: Some("ChatGPT Classic"),
            redirect_uris: true,
            authentication: true,
        }),
        ..consent("ChatGPT", &web, tools())
    };
    let unknown_verified = Consent {
        registration: Registration::PreRegistered,
        is_proved: true,
        ..unknown.clone()
    };
    let changed = Consent {
        problem: Some(ConsentProblem::Changed(["fetch".to_owned()].into())),
        preset: Preset {
            choice: Some(Choice::Chosen(Default::default())),
            ticked: ["search".to_owned(), "fetch".to_owned()].into(),
        },
        ..consent("ChatGPT", &web, tools())
    };
    let verified = Consent {
        registration: Registration::MetadataDocument,
        is_proved: true,
        vouched_by: Some("chatgpt.com"),
        preset: Preset::first(&tools(), true),
        ..consent("ChatGPT", &web, tools())
    };
    let wrong =
        "redirect_uri: https://evil.example/cb?x=<script>\nregistered: https://app.example/cb";
    let for_account = Login {
        frame: FRAME,
        goal: Goal::Account,
        seal: "1.2.3",
        name: "",
        problem: None,
        providers: &[],
        passkey: None,
        with_password: true,
    };
    let mut pages = account_pages();
    pages.extend(token_pages());
    pages.extend(device_pages());
    pages.extend([
        ("login-account", for_account.page()),
        ("home", home(false, false).page()),
        ("home-new", home(true, true).page()),
        ("login", login(None)),
        ("login-failed", login(Some(LoginProblem::Failed))),
        ("login-limited", login(Some(limited))),
        (
            "login-ownerless",
            Ownerless {
                frame: FRAME,
                authorization_request: Some(REQUEST),
            }
            .page(),
        ),
        ("setup", setup("H7K2-9QWM", None)),
        ("setup-code", setup("H7K2-9QWM", Some(SetupProblem::Code))),
        (
            "setup-short",
            setup("H7K2-9QWM", Some(SetupProblem::PasswordShort)),
        ),
        ("consent", consent("ChatGPT", &web, tools()).page()),
        (
            "consent-loopback",
            consent("Claude Code", &loopback, tools()).page(),
        ),
        ("consent-app", consent("", &app, Vec::new()).page()),
        ("consent-verified", verified.page()),
        ("consent-changed", changed.page()),
        ("consent-unknown", unknown.page()),
        ("consent-changed-client", changed_client.page()),
        ("consent-unknown-verified", unknown_verified.page()),
        (
            "error-redirect",
            refusal(
                StatusCode::BAD_REQUEST,
                Reason::RedirectUriMismatch,
                Some(wrong),
            ),
        ),
        (
            "error-expired",
            refusal(StatusCode::FORBIDDEN, Reason::PageExpired, None),
        ),
        (
            "error-store",
            refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                Reason::StoreUnavailable,
                None,
            ),
        ),
        (
            "error-setup-done",
            refusal(StatusCode::NOT_FOUND, Reason::SetupDone, None),
        ),
    ]);
    pages
}

#[test]
fn every_page_forbids_script_framing_storing_and_foreign_content() {
    for (name, page) in every_page() {
        let response = respond(StatusCode::OK, page.clone(), true);
        let headers = response.headers();
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        for directive in [
            "default-src 'none'",
            "style-src 'self'",
            "img-src 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(
                policy.split("; ").any(|part| part == directive),
                "{name}: {policy}"
            );
        }
        assert!(
            !policy.contains("script-src") && !policy.contains("unsafe"),
            "{name}: {policy}"
        );
        let redirects = name.starts_with("consent") || name.starts_with("login");
        let leaves = redirects && name != "login-ownerless";
        assert_eq!(policy.contains("form-action"), !leaves, "{name}: {policy}");
        assert_eq!(headers[X_FRAME_OPTIONS], "DENY");
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[REFERRER_POLICY], "same-origin");
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        assert!(headers.contains_key(STRICT_TRANSPORT_SECURITY));
        let plain = respond(StatusCode::OK, page, false);
        assert!(!plain.headers().contains_key(STRICT_TRANSPORT_SECURITY));
    }
}

#[test]
fn every_page_works_without_script_and_can_be_read_aloud() {
    for (name, page) in every_page() {
        let html = page.html();
        assert!(html.contains("<html lang=\"en\">"), "{name}");
        assert_eq!(html.matches("<h1>").count(), 1, "{name}");
        assert_eq!(html.matches("<main>").count(), 1, "{name}");
        assert!(html.contains(FRAME.request_id), "{name}");
        for absent in [
            "<script",
            "style=\"",
            " onclick",
            "javascript:",
            "autofocus",
            "src=\"http",
        ] {
            assert!(!html.contains(absent), "{name} has {absent}");
        }
        for input in html.split("<input ").skip(1) {
            let tag = input.split('>').next().unwrap();
            if tag.contains("type=\"hidden\"") {
                continue;
            }
            let id = tag
                .split("id=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .unwrap();
            assert!(
                html.contains(&format!("<label for=\"{id}\">")),
                "{name}: {id}"
            );
            let is_choice = tag.contains("type=\"radio\"") || tag.contains("type=\"checkbox\"");
            assert!(is_choice || tag.contains("autocomplete=\""), "{name}: {id}");
        }
        for described in html.split("aria-describedby=\"").skip(1) {
            for id in described.split('"').next().unwrap().split(' ') {
                assert!(html.contains(&format!("id=\"{id}\"")), "{name}: {id}");
            }
        }
    }
}

#[test]
fn what_a_stranger_sends_is_text_and_nothing_more() {
    let hostile = "<script>alert(1)</script>\"'>&\u{202E}✓</bdi></p>{{7*7}}";
    let web = Destination::Web("evil.example\"><script>".to_owned());
    let mut tools = tools();
    tools.push(tool(hostile, hostile, None, None));
    let mut asked = consent(hostile, &web, tools);
    asked.backend = hostile;
    asked.user_name = hostile;
    asked.authorization_request = "a=\"><script>";
    let mut hostile_app = app(
        hostile,
        ClientOrigin::Document(hostile.to_owned()),
        vec![with_changes(hostile, hostile, Some(hostile))],
    );
    hostile_app.connections[0].scope = hostile.to_owned();
    hostile_app.connections[0].scope_words = vec![hostile.to_owned()];
    hostile_app.connections[0].place = GrantedResource::Backend(hostile.to_owned());
    let gone = app(hostile, ClientOrigin::Gone(hostile.to_owned()), Vec::new());
    let revoked = AccountNotice::Revoked(Some(hostile.to_owned()));
    let pages = [
        asked.page(),
        account(vec![hostile_app, gone], Some(revoked)),
        refusal(
            StatusCode::BAD_REQUEST,
            Reason::RequestMalformed,
            Some(hostile),
        ),
        setup(hostile, Some(SetupProblem::Code)),
        Login {
            frame: FRAME,
            goal: Goal::Authorize("a=\"><script>"),
            seal: hostile,
            name: hostile,
            problem: Some(LoginProblem::Failed),
            providers: &[],
            passkey: None,
            with_password: true,
        }
        .page(),
    ];
    for page in pages {
        assert!(!page.html().contains("<script"), "{}", page.html());
        assert!(!page.html().contains("\"'>"), "{}", page.html());
    }
}

#[test]
fn a_long_name_is_cut_and_cannot_claim_to_be_set_up_by_the_operator() {
    let web = Destination::Web("evil.example".to_owned());
    let long = "x".repeat(10_000);
    let page = consent(&long, &web, Vec::new()).page();
    assert!(page.html().len() < 9_000);
    assert!(page.html().contains("x…"));
    let page = consent("ChatGPT ✓ Set up by the operator", &web, Vec::new()).page();
    assert!(page.html().contains("Unverified name"));
    assert!(!page.html().contains("class=\"badge good\""));
    assert!(!page.html().contains('✓'));
}

#[test]
fn deny_stands_before_allow_and_both_are_of_one_size() {
    let web = Destination::Web("chatgpt.com".to_owned());
    let page = consent("ChatGPT", &web, tools()).page();
    let html = page.html();
    let (deny, allow) = (html.find(">Deny<").unwrap(), html.find(">Allow<").unwrap());
    assert!(deny < allow);
    assert_eq!(html.matches("name=\"decision\"").count(), 2);
}

#[test]
fn tools_are_grouped_by_what_the_backend_says_they_do() {
    let web = Destination::Web("chatgpt.com".to_owned());
    let page = consent("ChatGPT", &web, tools()).page();
    let groups: Vec<_> = page.html().split("<details").skip(1).collect();
    assert_eq!(groups.len(), 3);
    for (group, heading, names) in [
        (groups[0], "Read", ["search", "fetch"].as_slice()),
        (groups[1], "Change things", &["create_note", "delete_note"]),
        (groups[2], "Not labelled: may change things", &["summarise"]),
    ] {
        assert!(group.contains(&format!("<strong>{heading}</strong>")));
        for tool in tools() {
            let here = names.contains(&tool.name.as_str());
            assert_eq!(
                group.contains(&tool.name),
                here,
                "{} in {heading}",
                tool.name
            );
        }
    }
    assert_eq!(page.html().matches("may delete or overwrite").count(), 1);
}

/// The values of the radio buttons that can be pressed, and those that are.
fn choices(page: &Page) -> (Vec<&str>, Vec<&str>) {
    let tags = page
        .html()
        .split("<input type=\"radio\" name=\"tools\" value=\"");
    let tags: Vec<(&str, &str)> = tags
        .skip(1)
        .filter_map(|rest| rest.split('>').next()?.split_once('"'))
        .collect();
    let with = |mark: &str, wanted: bool| {
        let found = tags.iter().filter(|(_, tag)| tag.contains(mark) == wanted);
        found.map(|(value, _)| *value).collect()
    };
    (with(" disabled", false), with(" checked", true))
}

fn ticked(page: &Page) -> Vec<String> {
    let tags = page
        .html()
        .split("<input type=\"checkbox\" name=\"tool\" value=\"")
        .skip(1);
    tags.filter(|rest| rest.split('>').next().unwrap().ends_with(" checked"))
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

#[test]
fn reading_is_what_an_unverified_app_is_offered_first() {
    let web = Destination::Web("chatgpt.com".to_owned());
    let page = consent("ChatGPT", &web, tools()).page();
    assert_eq!(
        choices(&page),
        (vec!["read", "today", "chosen", "all"], vec!["read"])
    );
    assert_eq!(ticked(&page), ["search", "fetch"]);
    let verified = Consent {
        registration: Registration::PreRegistered,
        is_proved: true,
        preset: Preset::first(&tools(), true),
        ..consent("ChatGPT", &web, tools())
    };
    let page = verified.page();
    assert_eq!(choices(&page).1, ["today"]);
    assert_eq!(ticked(&page).len(), 5);
    // Nothing reads: then nothing is ticked.
    let writers = tools().split_off(2);
    let page = consent("ChatGPT", &web, writers).page();
    assert_eq!(
        choices(&page),
        (vec!["today", "chosen", "all"], vec!["chosen"])
    );
    assert!(ticked(&page).is_empty());
}

#[test]
fn an_app_that_nobody_can_check_is_not_called_verified_whoever_describes_it() {
    let web = Destination::Web("chatgpt.com".to_owned());
    for registration in [Registration::MetadataDocument, Registration::PreRegistered] {
        let asks = Consent {
            registration,
            vouched_by: Some("chatgpt.com"),
            ..consent("ChatGPT", &web, tools())
        };
        let (proved, unproved) = (
            Consent {
                is_proved: true,
                ..asks.clone()
            },
            asks,
        );
        let is_called_so =
            |html: &str| html.contains("Verified:") || html.contains("Set up by the operator");
        assert!(is_called_so(proved.page().html()));
        let page = unproved.page();
        assert!(!is_called_so(page.html()), "{}", page.html());
        assert!(page.html().contains("nobody can check that here"));
    }
}

#[test]
fn nothing_that_is_not_known_can_be_allowed_to_an_unverified_app() {
    let web = Destination::Web("chatgpt.com".to_owned());
    let unknown = Consent {
        capabilities: Capabilities::Unknown,
        ..consent("ChatGPT", &web, Vec::new())
    };
    let page = unknown.page();
    assert!(choices(&page).0.is_empty());
    assert!(!page.html().contains("value=\"allow\""));
    assert!(page.html().contains(">Try again<"));
    let verified = Consent {
        registration: Registration::PreRegistered,
        is_proved: true,
        ..unknown
    };
    assert_eq!(choices(&verified.page()), (vec!["all"], vec![]));
    // A list that is empty is known; what comes later has to be wanted.
    let page = consent("ChatGPT", &web, Vec::new()).page();
    assert_eq!(choices(&page), (vec!["all"], vec![]));
}

#[test]
fn the_account_says_of_each_app_who_it_is_what_it_may_and_what_changed() {
    let pages = account_pages();
    let of = |name: &str| {
        let (_, page) = pages.iter().find(|(found, _)| *found == name).unwrap();
        page.html()
    };
    for said in [
        "Unverified name",
        "registered itself 3 days ago",
        "Verified: <bdi>chatgpt.com</bdi>",
        "Set up by the operator",
        "Not known any more",
        "2 minutes ago",
        "Not yet",
        "ends in <time datetime=\"1970-01-13T09:46:40Z\">20 hours</time> unless it is used",
        "Everything, also what comes later",
        "<li><bdi>Read &#60;notes&#62;</bdi></li>",
        "Everything that is covered above, also what comes later",
        "These 3, as they were when you allowed them",
        "This one, as it was when you allowed it",
        "These 2, however the backend changes them",
        "<summary>These 30, as they were when you allowed them</summary>",
        "has changed since you allowed it",
        "is not offered any more",
        "may delete or overwrite",
        "which is not served here any more",
        "The backend does not answer right now",
    ] {
        assert!(of("account").contains(said), "{said}");
    }
    // One button an app, one a connection where there are several, one a tool that can be approved.
    let forms = |action: &str| of("account").matches(action).count();
    assert_eq!(forms("action=\"/account/revoke\""), 4 + 3 + 2);
    assert_eq!(forms("action=\"/account/approve\""), 1);
    assert!(of("account-empty").contains("No app may use anything in your name"));
    assert!(of("account-revoked").contains("“Notes for Teams” lost its access"));
    for (name, role) in [
        ("account-revoked", "class=\"done\" role=\"status\""),
        ("account-over", "class=\"said\" role=\"status\""),
        ("account-changed-again", "class=\"alert\" role=\"alert\""),
    ] {
        assert!(of(name).contains(role), "{name}");
    }
}

#[test]
fn the_start_page_names_every_url_and_never_a_code() {
    let page = home(true, true).page();
    for url in [
        "https://mcp.example.com/mcp",
        "https://mcp.example.com/files/sse",
    ] {
        assert!(page.html().contains(url));
    }
    assert!(page.html().contains("Nobody owns this gateway yet"));
    assert!(page.html().contains("Reachable from this computer only"));
    assert!(!page.html().contains("code="));
}

#[test]
fn the_consent_page_names_what_a_document_changed() {
    let pages = every_page();
    let (_, page) = pages
        .iter()
        .find(|(name, _)| *name == "consent-changed-client")
        .unwrap();
    let html = page.html();
    for said in [
        "Changed since you allowed it",
        "3 days ago",
        "ChatGPT Classic",
        "its name, where it may send you and how it proves who it is",
    ] {
        assert!(html.contains(said), "{said}");
    }
    for (name, page) in &pages {
        let says = page.html().contains("Changed since");
        assert_eq!(says, *name == "consent-changed-client", "{name}");
    }
}
