//! Which hosts only a private network knows.

use serde_json::Value;
use url::{Host, Url};

use super::target::{Target, is_loopback};
use gateway_core::address::is_public;

/// Endings of names that no public name server answers (RFC 6761, RFC 6762, RFC 8375, RFC 9476,
/// and what container platforms use).
const PRIVATE_ENDINGS: &[&str] = &[
    "localhost",
    "local",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
    "test",
    "invalid",
    "home.arpa",
    "svc",
    "alt",
    "onion",
];

/// Whether only a private network knows the host: a special address, a name without a dot, or one
/// with a private ending.
pub(super) fn is_private(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => !is_public(ip.into()),
        Some(Host::Ipv6(ip)) => !is_public(ip.into()),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            !name.contains('.')
                || PRIVATE_ENDINGS
                    .iter()
                    .any(|ending| name.ends_with(&format!(".{ending}")))
        }
        None => false,
    }
}

/// A private host that is not the one that was typed: whoever reaches the one reaches the other, on
/// whatever port. On this machine all its names are one.
pub(super) fn is_stray(target: &Target, url: &Url) -> bool {
    let is_same = url.host() == target.mcp.host() || (target.is_loopback() && is_loopback(url));
    is_private(url) && !is_same
}

/// Every http or https URL among the strings of a document, with the path of its member.
pub(super) fn urls(document: &Value) -> Vec<(String, Url)> {
    let mut found = Vec::new();
    collect(document, String::new(), &mut found);
    found
}

fn collect(value: &Value, path: String, found: &mut Vec<(String, Url)>) {
    match value {
        Value::String(text) if text.starts_with("http://") || text.starts_with("https://") => {
            if let Ok(url) = Url::parse(text) {
                found.push((path, url));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{path}[{index}]"), found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                collect(member, format!("{path}{dot}{name}"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hosts_of_private_networks_are_told_from_public_ones() {
        for (url, private) in [
            ("https://mcp.example.com/", false),
            ("https://1.1.1.1/", false),
            ("https://[2606:4700::1111]/", false),
            ("http://localhost:8080/", true),
            ("http://gateway:8080/", true),
            ("http://gateway.internal/", true),
            ("http://gateway.default.svc/", true),
            ("http://printer.local./", true),
            ("http://10.0.0.7/", true),
            ("http://127.0.0.1/", true),
            ("http://[fd00::1]/", true),
            ("http://0.0.0.0:8080/", true),
        ] {
            assert_eq!(is_private(&Url::parse(url).unwrap()), private, "{url}");
        }
    }

    #[test]
    fn the_host_that_was_typed_is_not_stray() {
        for (typed, url, stray) in [
            ("http://127.0.0.1:9090/mcp", "http://127.0.0.1:8080/", false),
            ("http://127.0.0.1:9090/mcp", "http://localhost:8080/", false),
            ("http://10.0.0.7/mcp", "https://10.0.0.7:9000/", false),
            ("http://10.0.0.7/mcp", "https://10.0.0.8/", true),
            ("http://10.0.0.7/mcp", "http://127.0.0.1/", true),
            ("http://127.0.0.1/mcp", "http://gateway:8080/", true),
            (
                "https://mcp.example.com/mcp",
                "http://localhost:8080/",
                true,
            ),
            (
                "https://mcp.example.com/mcp",
                "https://login.example.org/",
                false,
            ),
        ] {
            let target = Target::parse(typed).unwrap();
            assert_eq!(
                is_stray(&target, &Url::parse(url).unwrap()),
                stray,
                "{typed} {url}"
            );
        }
    }

    #[test]
    fn urls_are_found_wherever_they_stand() {
        let document = json!({"a": "https://x.example/", "b": [{"c": "http://y/"}], "d": "no URL"});
        let found: Vec<String> = urls(&document)
            .into_iter()
            .map(|(path, url)| format!("{path}={url}"))
            .collect();
        assert_eq!(found, ["a=https://x.example/", "b[0].c=http://y/"]);
    }
}
