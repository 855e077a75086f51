use super::super::judgement::verdict_of;
use super::*;
use crate::exchange::tests::exchange;
use crate::finding::Verdict;

const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
const ISSUER: &str = "https://mcp.example.com";

fn landing(query: &str) -> Landing {
    Landing {
        url: format!("http://127.0.0.1:9/callback?{query}")
            .parse()
            .unwrap(),
        redirect_uri: "http://127.0.0.1:9/callback".parse().unwrap(),
        state: "s /?&".to_owned(),
    }
}

#[test]
fn a_registration_is_judged_by_what_came_back() {
    let reply = |status, body: &str| {
        let headers = [("content-type", "application/json")];
        let exchange = exchange(
            "POST",
            "https://mcp.example.com/register",
            status,
            &headers,
            body,
        );
        registration(&exchange, "http://127.0.0.1/cb").verdict
    };
    assert_eq!(
        reply(
            201,
            r#"{"client_id":"c","redirect_uris":["http://127.0.0.1/cb"]}"#
        ),
        Verdict::Pass
    );
    assert_eq!(
        reply(
            201,
            r#"{"client_id":"c","redirect_uris":["http://127.0.0.1/"]}"#
        ),
        Verdict::Fail
    );
    assert_eq!(
        reply(201, r#"{"redirect_uris":["http://127.0.0.1/cb"]}"#),
        Verdict::Fail
    );
    assert_eq!(reply(405, "{}"), Verdict::Fail);
}

#[test]
fn a_redirect_where_a_page_belongs_fails() {
    let last = |status, headers: &[(&'static str, &str)]| {
        let mut exchange = exchange(
            "GET",
            "https://mcp.example.com/authorize?x",
            status,
            headers,
            "<p>",
        );
        exchange.reader = crate::exchange::Reader::Browser;
        page_instead_of_redirect(Check::BadRedirect, &exchange).verdict
    };
    assert_eq!(last(400, &[HTML]), Verdict::Pass);
    assert_eq!(
        last(302, &[("location", "https://evil.example/")]),
        Verdict::Fail
    );
    assert_eq!(last(500, &[HTML]), Verdict::Fail);
    assert_eq!(last(200, &[HTML]), Verdict::Warn);
}

#[test]
fn a_login_page_that_is_cached_or_framed_is_told_by_its_own_check() {
    let page = |headers: &[(&'static str, &str)]| {
        let headers = [&[HTML], headers].concat();
        let form = "<form method=post><input name=n><input type=password name=p><button>Log in</button></form>";
        login_page(
            &exchange(
                "GET",
                "https://mcp.example.com/authorize",
                200,
                &headers,
                form,
            ),
            None,
            true,
        )
    };
    let good = [
        ("cache-control", "no-store"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ];
    assert!(page(&good).iter().all(|f| f.verdict == Verdict::Pass));
    let cached = page(&[("cache-control", "public, max-age=600"), good[1]]);
    assert_eq!(verdict_of(&cached, Check::LoginPageCache), Verdict::Fail);
    assert_eq!(verdict_of(&cached, Check::LoginPageFraming), Verdict::Pass);
    let framed = page(&[good[0]]);
    assert_eq!(verdict_of(&framed, Check::LoginPageFraming), Verdict::Fail);
}

#[test]
fn a_code_without_a_login_is_no_login_by_another_site() {
    let mut there = exchange(
        "GET",
        "https://mcp.example.com/authorize",
        302,
        &[("location", "https://login.example.org/")],
        "",
    );
    there.reader = crate::exchange::Reader::Browser;
    let of = |query: &str, is_loopback| {
        let landing = landing(query);
        verdict_of(
            &login_page(&there, Some(&landing), is_loopback),
            Check::LoginPage,
        )
    };
    assert_eq!(of("code=x&state=s", true), Verdict::Warn);
    assert_eq!(of("code=x&state=s", false), Verdict::Fail);
    assert_eq!(of("error=server_error", true), Verdict::Fail);
    let elsewhere = login_page(&there, None, false);
    assert_eq!(verdict_of(&elsewhere, Check::LoginPage), Verdict::Pass);
}

#[test]
fn deny_needs_the_error_the_state_and_no_code() {
    for (query, verdict) in [
        ("error=access_denied&state=s+%2F%3F%26", Verdict::Pass),
        ("error=access_denied", Verdict::Fail),
        ("error=server_error&state=s+%2F%3F%26", Verdict::Fail),
        (
            "error=access_denied&state=s+%2F%3F%26&code=x",
            Verdict::Fail,
        ),
    ] {
        assert_eq!(deny(&landing(query)).verdict, verdict, "{query}");
    }
}

#[test]
fn allow_needs_a_code_and_the_state_as_it_was_sent() {
    for (query, verdict) in [
        ("code=x&state=s+%2F%3F%26", Verdict::Pass),
        ("code=x&state=s", Verdict::Fail),
        ("code=x&code=y&state=s+%2F%3F%26", Verdict::Fail),
        ("error=server_error&state=s+%2F%3F%26", Verdict::Fail),
    ] {
        let finding = authorization_response(&landing(query));
        assert_eq!(finding.verdict, verdict, "{query}");
        assert!(!format!("{finding:?}").contains("code=x"));
    }
}

#[test]
fn iss_must_come_and_equal_the_issuer() {
    let issuers = [ISSUER.to_owned()];
    let judged = |queries: &[&str], advertised| {
        let landings: Vec<Landing> = queries.iter().map(|query| landing(query)).collect();
        iss(&landings, &issuers, advertised).verdict
    };
    let good = "code=x&iss=https%3A%2F%2Fmcp.example.com";
    assert_eq!(judged(&[good], true), Verdict::Pass);
    assert_eq!(judged(&[good, "error=access_denied"], true), Verdict::Fail);
    assert_eq!(
        judged(&["code=x&iss=https%3A%2F%2Fmcp.example.com%2F"], true),
        Verdict::Fail
    );
    assert_eq!(judged(&["code=x"], false), Verdict::Skip);
}

#[test]
fn a_consent_page_for_a_request_without_pkce_fails() {
    let page = |status| {
        exchange(
            "GET",
            "https://mcp.example.com/authorize",
            status,
            &[HTML],
            "<p>",
        )
    };
    assert_eq!(pkce_required(None, &page(200)).verdict, Verdict::Fail);
    assert_eq!(pkce_required(None, &page(400)).verdict, Verdict::Pass);
    let back = |query| pkce_required(Some(&landing(query)), &page(303)).verdict;
    assert_eq!(back("error=invalid_request"), Verdict::Pass);
    assert_eq!(back("code=x"), Verdict::Fail);
}

#[test]
fn a_login_page_that_a_firewall_blocks_fails_and_what_is_behind_it_is_not_judged() {
    let of = |status, headers: &[(&'static str, &str)]| {
        let url = "https://mcp.example.com/authorize";
        let mut page = exchange("GET", url, status, headers, "<p>Access denied");
        page.reader = crate::exchange::Reader::Browser;
        page
    };
    let blocked = of(403, &[HTML]);
    let findings = login_page(&blocked, None, false);
    assert_eq!(verdict_of(&findings, Check::LoginPage), Verdict::Fail);
    assert!(findings[0].summary.contains("Access denied"));
    let other = |last: &Exchange, login: &Exchange| {
        let check = Check::BadRedirect;
        unless_blocked(page_instead_of_redirect(check, last), last, login).verdict
    };
    assert_eq!(other(&blocked, &blocked), Verdict::Skip);
    assert_eq!(other(&blocked, &of(200, &[HTML])), Verdict::Pass);
    // A person's browser passes this one, which the doctor can't tell.
    let challenged = of(403, &[HTML, ("cf-mitigated", "challenge")]);
    let findings = login_page(&challenged, None, false);
    assert_eq!(verdict_of(&findings, Check::LoginPage), Verdict::Warn);
}
