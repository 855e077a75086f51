//! Every page, rendered with what strangers may send.

mod consent_page;
mod every_page;

use std::time::Duration;

use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use super::*;
use gateway_core::client::Registration;
use gateway_core::clock::Timestamp;
use gateway_core::grants::consented_tools::{Choice, NotGranted};
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
        members: Vec::new(),
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
        of: None,
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
        awaits_owner,
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

/// `left`: nothing where the store is away.
fn limit_use(left: Option<&str>) -> LimitUse {
    LimitUse {
        name: "calls".to_owned(),
        whose: "<i>you</i>".to_owned(),
        words: "100 calls a minute".to_owned(),
        backend: Some("notes".to_owned()),
        tool: Some("delete_<b>".to_owned()),
        used: None,
        left: left.map(str::to_owned),
        is_rate: true,
        is_reached: left.is_some(),
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
        limits: LimitsInUse {
            lines: vec![limit_use(Some("0")), limit_use(None)],
            is_cut: true,
        },
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
        members: Vec::new(),
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
            new_token(Some(NewTokenProblem::Tools(NotGranted::Nothing))).page(),
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
        "reached</span> 0 left at this moment",
        "<p class=\"hint\">How much is used can’t be said right now.</p>",
        "You have more apps, whose limits are not listed here.",
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
