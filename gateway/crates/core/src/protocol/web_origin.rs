//! Web origins (RFC 6454): which pages may call the MCP endpoints with a token that they have.
//!
//! A token is sent by a page on purpose, never by the browser for it, so this list is no
//! protection of the token; it is what MCP asks of servers that a page could otherwise use by where
//! they stand (DNS rebinding).

use url::{Host, Url};

use crate::protocol::resource::names_a_user;

/// Stands in the configuration for [`WELL_KNOWN`].
pub const WELL_KNOWN_NAME: &str = "well-known";
/// Stands in the configuration for no origin at all.
pub const NONE: &str = "none";

/// The pages of apps that are in wide use with MCP, editors in the browser, and programs on the
/// person's own computer, such as MCP Inspector.
pub const WELL_KNOWN: [&str; 21] = [
    "https://claude.ai",
    "https://claude.com",
    "https://chatgpt.com",
    "https://chat.openai.com",
    "https://platform.openai.com",
    "https://gemini.google.com",
    "https://aistudio.google.com",
    "https://copilot.microsoft.com",
    "https://m365.cloud.microsoft",
    "https://chat.mistral.ai",
    "https://www.perplexity.ai",
    "https://grok.com",
    "https://vscode.dev",
    "https://insiders.vscode.dev",
    "https://*.vscode-cdn.net",
    "https://github.dev",
    "https://*.github.dev",
    "vscode-file://vscode-app",
    "http://localhost:*",
    "http://127.0.0.1:*",
    "http://[::1]:*",
];

/// The origins whose pages may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    /// As a browser writes it.
    Exact(String),
    /// Scheme and host, at any port.
    AnyPort(String),
    /// `https://` and `.example.com`.
    Below(String, String),
}

impl AllowedOrigins {
    /// The list as it is written, each with what is wrong with it.
    pub fn parse<'a>(
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Vec<(String, &'static str)>> {
        let texts: Vec<&str> = texts.into_iter().map(str::trim).collect();
        if texts == [NONE] {
            return Ok(Self::default());
        }
        let (mut patterns, mut problems) = (Vec::new(), Vec::new());
        for text in texts {
            let entries = match text {
                WELL_KNOWN_NAME => &WELL_KNOWN[..],
                _ => &[text],
            };
            for entry in entries {
                match pattern(entry) {
                    Ok(pattern) => patterns.push(pattern),
                    Err(sentence) => problems.push((text.to_owned(), sentence)),
                }
            }
        }
        if problems.is_empty() {
            Ok(Self(patterns))
        } else {
            Err(problems)
        }
    }

    /// Whether the value of an Origin header is one of them.
    pub fn contain(&self, origin: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(origin))
    }
}

impl Pattern {
    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => origin == exact,
            Self::AnyPort(host) => origin.strip_prefix(host.as_str()).is_some_and(|port| {
                port.is_empty()
                    || port.strip_prefix(':').is_some_and(|digits| {
                        (1..=5).contains(&digits.len())
                            && digits.bytes().all(|b| b.is_ascii_digit())
                    })
            }),
            Self::Below(scheme, end) => origin
                .strip_prefix(scheme.as_str())
                .and_then(|rest| rest.strip_suffix(end.as_str()))
                .is_some_and(|name| {
                    !name.is_empty()
                        && name.bytes().all(|b| {
                            b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b)
                        })
                }),
        }
    }
}

fn pattern(text: &str) -> Result<Pattern, &'static str> {
    if text == "*" {
        return Ok(Pattern::Any);
    }
    if text == NONE {
        return Err("means no origin at all and stands alone");
    }
    const WRONG: &str = "is no origin, such as https://example.com or http://localhost:*";
    let (scheme, rest) = text.split_once("://").ok_or(WRONG)?;
    if let Some(host) = rest.strip_suffix(":*") {
        return match exact(&format!("{scheme}://{host}"))? {
            host if host.contains("://") && !host.contains('*') => Ok(Pattern::AnyPort(host)),
            _ => Err(WRONG),
        };
    }
    if let Some(end) = rest.strip_prefix("*.") {
        let origin = exact(&format!("{scheme}://{end}"))?;
        let (scheme, end) = origin.split_once("://").ok_or(WRONG)?;
        return Ok(Pattern::Below(format!("{scheme}://"), format!(".{end}")));
    }
    exact(text).map(Pattern::Exact)
}

/// An origin as browsers write it: host in lower case and ASCII, no default port, no slash.
fn exact(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "is no origin, such as https://example.com";
    let url = Url::parse(text).map_err(|_| WRONG)?;
    let empty = matches!(url.path(), "" | "/");
    if !empty || url.query().is_some() || url.fragment().is_some() {
        return Err("has more than scheme, host and port, and an Origin header has not");
    }
    if names_a_user(&url) {
        return Err("has a user name, and an Origin header has not");
    }
    if text.contains('*') {
        return Err(
            "has a `*` elsewhere than at the head of the host (https://*.example.com) or as the port",
        );
    }
    match url.host() {
        // Schemes that are none of the web's are compared as they are written.
        Some(Host::Domain(host)) if !url.origin().is_tuple() && !host.is_empty() => {
            let port = url
                .port()
                .map_or_else(String::new, |port| format!(":{port}"));
            Ok(format!("{}://{}{port}", url.scheme(), host.to_lowercase()))
        }
        Some(_) if matches!(url.scheme(), "http" | "https") => {
            Ok(url.origin().ascii_serialization())
        }
        _ => Err(WRONG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(texts: &[&str]) -> AllowedOrigins {
        AllowedOrigins::parse(texts.iter().copied()).unwrap()
    }

    #[test]
    fn what_is_written_is_what_counts() {
        for (written, origin, counts) in [
            ("https://example.com", "https://example.com", true),
            ("https://example.com/", "https://example.com", true),
            ("HTTPS://Example.com:443", "https://example.com", true),
            (
                "https://bücher.example",
                "https://xn--bcher-kva.example",
                true,
            ),
            ("https://example.com", "https://example.com:8443", false),
            ("https://example.com", "http://example.com", false),
            ("https://example.com", "https://a.example.com", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            (
                "https://*.example.com",
                "https://evil.test/.example.com",
                false,
            ),
            (
                "https://*.example.com",
                "https://evil.test:1@a.example.com",
                false,
            ),
            ("http://localhost:*", "http://localhost", true),
            ("http://localhost:*", "http://localhost:6274", true),
            (
                "http://localhost:*",
                "http://localhost:6274.evil.test",
                false,
            ),
            ("http://localhost:*", "http://localhost.evil.test", false),
            ("http://localhost:*", "http://localhost:", false),
            ("http://[::1]:*", "http://[::1]:3000", true),
            ("vscode-file://vscode-app", "vscode-file://vscode-app", true),
            ("app://Obsidian.md", "app://obsidian.md", true),
            ("*", "https://anybody.example", true),
            ("none", "https://example.com", false),
            (WELL_KNOWN_NAME, "https://claude.ai", true),
            (WELL_KNOWN_NAME, "https://chatgpt.com", true),
            (WELL_KNOWN_NAME, "http://localhost:6274", true),
            (WELL_KNOWN_NAME, "https://evil.example", false),
            (WELL_KNOWN_NAME, "null", false),
        ] {
            assert_eq!(
                allowed(&[written]).contain(origin),
                counts,
                "{written} {origin}"
            );
        }
        let both = allowed(&[WELL_KNOWN_NAME, "https://example.com"]);
        assert!(both.contain("https://claude.ai") && both.contain("https://example.com"));
        assert!(!allowed(&[]).contain("https://claude.ai"));
    }

    #[test]
    fn what_could_never_count_is_refused() {
        for text in [
            "example.com",
            "localhost:3000",
            "null",
            "https://example.com/app",
            "https://example.com?x",
            "https://example.com#x",
            "https://u@example.com",
            "https://",
            "https://ex*mple.com",
            "https://example.*",
            "https://*.*.example.com",
            "file:///home",
            "mailto:a@example.com",
            "",
        ] {
            let problems = AllowedOrigins::parse([text]).unwrap_err();
            assert_eq!(problems.len(), 1, "{text}");
        }
        let problems = AllowedOrigins::parse(["none", "https://example.com"]).unwrap_err();
        assert!(problems[0].1.contains("stands alone"), "{problems:?}");
    }
}
