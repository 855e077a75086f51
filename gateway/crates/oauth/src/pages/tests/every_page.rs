//! What holds for every page.

use super::*;

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
        problem: Some(NotGranted::Changed(["fetch".to_owned()].into())),
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
