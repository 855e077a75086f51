//! Redirect URIs: what is accepted, and thousands of variants that do not match.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::*;

fn parse(text: &str) -> Result<RedirectUri, RedirectUriError> {
    RedirectUri::parse(text, &PrivateUseSchemes::default())
}

#[test]
fn the_redirect_uris_of_clients_in_use_are_accepted() {
    let web = |host: &str| Destination::Web(host.to_owned());
    let loopback = |host: &str| Destination::Loopback(host.to_owned());
    let app = |scheme: &str| Destination::App(scheme.to_owned());
    for (text, destination) in [
        (
            "https://chatgpt.com/connector_platform_oauth_redirect",
            web("chatgpt.com"),
        ),
        ("https://claude.ai/api/mcp/auth_callback", web("claude.ai")),
        ("https://app.example.com", web("app.example.com")),
        ("https://app.example.com?a=b", web("app.example.com")),
        (
            "https://app.example.com:8443/cb?a=b%20c",
            web("app.example.com:8443"),
        ),
        ("http://localhost:8787/callback", loopback("localhost")),
        ("http://127.0.0.1/", loopback("127.0.0.1")),
        ("http://127.0.0.1:33418/", loopback("127.0.0.1")),
        ("http://[::1]:1/cb", loopback("[::1]")),
        (
            "cursor://anysphere.cursor-mcp/oauth/callback",
            app("cursor"),
        ),
        ("vscode-insiders://x/cb", app("vscode-insiders")),
        ("com.example.app:/oauth2redirect", app("com.example.app")),
        ("com.example.app://callback", app("com.example.app")),
    ] {
        let parsed = parse(text).unwrap();
        assert_eq!(parsed.as_str(), text);
        assert_eq!(parsed.destination(), &destination, "{text}");
    }
}

#[test]
fn schemes_that_run_or_read_something_are_refused_in_any_spelling() {
    for scheme in [
        "javascript",
        "JaVaScRiPt",
        "data",
        "vbscript",
        "blob",
        "file",
        "view-source",
        "intent",
        "about",
        "ftp",
        "ws",
        "wss",
        "http+unix",
        "x-apple.systempreferences",
        "myapp",
        "a.b",
    ] {
        for rest in ["alert(1)", "//x/y", "/x", "https://app.example.com/"] {
            let text = format!("{scheme}:{rest}");
            assert!(parse(&text).is_err(), "{text}");
        }
    }
    for text in [
        "java\tscript:alert(1)",
        "\tjavascript:alert(1)",
        "java\nscript:x",
        "\u{1}javascript:x",
        "javascript\u{0}:x",
        "https://a.example/\r\nSet-Cookie: x",
    ] {
        assert_eq!(parse(text), Err(RedirectUriError::Malformed), "{text:?}");
    }
    let listed = PrivateUseSchemes::new(["JavaScript".to_owned(), "MyApp".to_owned()]);
    assert!(RedirectUri::parse("javascript:alert(1)", &listed).is_err());
    assert!(RedirectUri::parse("myapp://cb", &listed).is_ok());
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    use RedirectUriError::{
        DangerousScheme, Fragment, Malformed, NotHttps, ResponseParameter, Scheme, TooLong,
        UserInfo, Wildcard,
    };
    for (text, error) in [
        ("", Malformed),
        ("/callback", Malformed),
        ("//a.example/cb", Malformed),
        ("a.example/cb", Malformed),
        ("https:a.example/cb", Malformed),
        ("https:/a.example/cb", Malformed),
        ("https:///a.example/cb", Malformed),
        ("HTTPS://a.example/cb", Malformed),
        ("https://A.example/cb", Malformed),
        ("https://a.example:443/cb", Malformed),
        ("https://a.example/../cb", Malformed),
        ("https://a.example/x/%2e%2e/cb", Malformed),
        ("https://a.example/./cb", Malformed),
        ("https://a.example\\cb", Malformed),
        ("https://a%2eexample/cb", Malformed),
        ("https://a.example/c b", Malformed),
        ("https://é.example/cb", Malformed),
        ("https://a.example/cb#x", Fragment),
        ("https://a.example/cb#", Fragment),
        ("https://user@a.example/cb", UserInfo),
        ("https://user:pw@a.example/cb", UserInfo),
        ("https://@a.example/cb", Malformed),
        ("https://*.example/cb", Wildcard),
        ("https://a.example/*", Wildcard),
        ("https://a.example/cb?code=1", ResponseParameter),
        ("https://a.example/cb?x=1&st%61te=1", ResponseParameter),
        ("http://a.example/cb", NotHttps),
        ("http://127.0.0.1.evil.example/cb", NotHttps),
        ("http://localhost.evil.example/cb", NotHttps),
        ("http://127.0.0.2/cb", NotHttps),
        ("http://0.0.0.0/cb", NotHttps),
        ("http://127.1/cb", NotHttps),
        ("http://2130706433/cb", NotHttps),
        ("http://localhost:0/cb", NotHttps),
        ("http://localhost:80/cb", Malformed),
        ("http://localhost:00081/cb", Malformed),
        ("urn:ietf:wg:oauth:2.0:oob", DangerousScheme),
        ("unlisted://cb", Scheme),
    ] {
        assert_eq!(parse(text), Err(error), "{text}");
    }
    let long = format!("https://a.example/{}", "a".repeat(MAX_LENGTH));
    assert_eq!(parse(&long), Err(TooLong));
}

#[test]
fn only_the_port_of_a_loopback_uri_is_free() {
    let matches =
        |requested: &str, registered: &str| parse(requested).unwrap().is_registered_as(registered);
    for (requested, registered) in [
        ("http://127.0.0.1:5555/cb", "http://127.0.0.1/cb"),
        ("http://127.0.0.1:5555/cb", "http://127.0.0.1:1/cb"),
        ("http://localhost/cb?a=b", "http://localhost:99/cb?a=b"),
        ("http://[::1]:5555/cb", "http://[::1]/cb"),
    ] {
        assert!(matches(requested, registered), "{requested}");
    }
    for (requested, registered) in [
        ("http://127.0.0.1:5555/cb", "http://localhost:5555/cb"),
        ("http://127.0.0.1:5555/cb", "http://[::1]:5555/cb"),
        ("http://127.0.0.1:5555/cb/", "http://127.0.0.1/cb"),
        ("http://127.0.0.1:5555/cb?a=c", "http://127.0.0.1/cb?a=b"),
        ("http://127.0.0.1:5555/CB", "http://127.0.0.1/cb"),
        ("https://localhost:5555/cb", "https://localhost:5556/cb"),
        ("https://a.example:5555/cb", "https://a.example/cb"),
        (
            "http://localhost:5555/cb",
            "http://localhost.evil.example/cb",
        ),
        ("https://a.example", "https://a.example/"),
    ] {
        assert!(!matches(requested, registered), "{requested}");
    }
}

/// Thousands of mutations of registered URIs: whatever is not the same bytes is refused,
/// except digits of a loopback port.
#[test]
fn no_variant_of_a_registered_uri_matches_it() {
    let registered = [
        "https://app.example.com/cb",
        "https://app.example.com/a/b?x=1",
        "http://127.0.0.1:8080/cb",
        "http://localhost/cb",
        "cursor://anysphere.cursor-mcp/oauth/callback",
    ];
    let inserts = [
        "/",
        "//",
        ".",
        "..",
        "/..",
        "/.",
        "%2f",
        "%2e%2e",
        "\\",
        "@",
        "@evil.example",
        ":",
        ":80",
        ":443",
        ".evil.example",
        "evil.example",
        "?",
        "?x",
        "&",
        ";",
        "#",
        "%00",
        "\0",
        "\t",
        "\n",
        "\r\n",
        " ",
        "%20",
        "+",
        "*",
        "a",
        "A",
        "é",
        "。",
        "\u{ff0e}",
        "%",
        "evil.example/",
        "//evil.example",
        "http://",
        "https://evil.example/",
    ];
    let mut tried = 0;
    let mut check = |variant: String, original: &str| {
        tried += 1;
        if variant == original {
            return;
        }
        let Ok(parsed) = parse(&variant) else { return };
        if parsed.is_registered_as(original) {
            let port_only = matches!(parsed.destination(), Destination::Loopback(_))
                && strip_digits(&variant) == strip_digits(original);
            assert!(port_only, "{variant} matched {original}");
        }
    };
    for original in registered {
        for at in 0..=original.len() {
            for insert in inserts {
                check(
                    format!("{}{insert}{}", &original[..at], &original[at..]),
                    original,
                );
                if at < original.len() {
                    check(
                        format!("{}{insert}{}", &original[..at], &original[at + 1..]),
                        original,
                    );
                }
            }
            for end in at..=original.len() {
                check(format!("{}{}", &original[..at], &original[end..]), original);
            }
            if at < original.len() {
                let upper = original[at..=at].to_ascii_uppercase();
                check(
                    format!("{}{upper}{}", &original[..at], &original[at + 1..]),
                    original,
                );
                let encoded = format!("%{:02x}", original.as_bytes()[at]);
                check(
                    format!("{}{encoded}{}", &original[..at], &original[at + 1..]),
                    original,
                );
            }
        }
    }
    assert!(tried > 10_000, "{tried}");
}

/// A hundred thousand variants of several edits each, drawn with a fixed seed: edits that undo one
/// another's refusal are what single ones miss.
#[test]
fn no_variant_of_several_edits_matches_either() {
    const REGISTERED: [&str; 7] = [
        "https://app.example.com/cb",
        "https://app.example.com:8443/a/b?x=1",
        "http://127.0.0.1:8080/cb",
        "http://[::1]/cb",
        "http://localhost/cb",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "com.example.app:/oauth2redirect",
    ];
    const PIECES: [&str; 40] = [
        "/",
        "//",
        ".",
        "..",
        "/../",
        "/./",
        "%2f",
        "%2e",
        "%5c",
        "\\",
        "@",
        "a:b@",
        ":",
        ":80",
        ":443",
        ":0",
        ":65536",
        ".evil.example",
        "evil.example",
        "?",
        "?x=1",
        "&",
        ";",
        "#",
        "%00",
        "\t",
        "\n",
        " ",
        "+",
        "*",
        "A",
        "1",
        "[",
        "]",
        "[::1]",
        "127.0.0.1",
        "localhost",
        "http://",
        "https://",
        "\u{ff0e}",
    ];
    let mut random = StdRng::seed_from_u64(8252);
    let mut accepted = 0;
    for _ in 0..100_000 {
        let original = *REGISTERED.choose(&mut random).unwrap();
        let mut variant: Vec<char> = original.chars().collect();
        for _ in 0..random.gen_range(1..5) {
            let at = random.gen_range(0..=variant.len());
            let end = (at + random.gen_range(0..4)).min(variant.len());
            match random.gen_range(0..4) {
                0 => drop(variant.drain(at..end)),
                1 => {
                    let copied = variant[at..end].to_vec();
                    let to = random.gen_range(0..=variant.len());
                    variant.splice(to..to, copied);
                }
                2 => {
                    let piece = PIECES.choose(&mut random).unwrap();
                    variant.splice(at..end, piece.chars());
                }
                _ => {
                    let piece = PIECES.choose(&mut random).unwrap();
                    variant.splice(at..at, piece.chars());
                }
            }
        }
        let variant: String = variant.into_iter().collect();
        let Ok(parsed) = parse(&variant) else {
            continue;
        };
        accepted += 1;
        for registered in REGISTERED {
            let same = variant == registered
                || (matches!(parsed.destination(), Destination::Loopback(_))
                    && strip_digits(&variant) == strip_digits(registered));
            assert_eq!(
                parsed.is_registered_as(registered),
                same,
                "{variant} {registered}"
            );
        }
    }
    // The search is one of variants that get past the parser, too.
    assert!(accepted > 1_000, "{accepted}");
}

/// Host, path and query without the port, written independently of the code under test.
fn strip_digits(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(authority, |(host, _)| host);
    format!("{scheme}://{host}{path}")
}
