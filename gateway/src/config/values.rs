//! Values as people write them. What is compared with something later is brought into the form that it
//! is compared in, or refused with what to write instead: one that is taken and never matches is found
//! out by nobody.

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use http::HeaderName;
use ipnet::{IpNet, Ipv4Net};
use url::Url;

use gateway_core::client::registration;
use gateway_core::policy::Pattern;
use gateway_core::protocol::redirect_uri;
use gateway_core::protocol::resource::is_loopback;
use gateway_oauth::identity::LoginName;

/// As it stands.
pub(super) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

pub(super) fn flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

pub(super) fn count<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse()
        .map_err(|_| "must be a whole number".to_owned())
}

/// A count of something that nothing goes without.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match count(text)? {
        0 => Err("must be at least 1".to_owned()),
        number => Ok(number),
    }
}

/// One of a few words, as what it stands for.
pub(super) fn one_of<T: Clone>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, meant)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(meant.clone());
    }
    let words: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    let (last, others) = words.split_last().expect("there are some words");
    Err(format!("must be {} or {last}", others.join(", ")))
}

/// Whether a text has nothing but letters, digits and `others`.
pub(super) fn is_plain(text: &str, others: &[u8]) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

/// A name, in which `*` stands for any characters.
pub(super) fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).ok_or_else(|| "is no name and no pattern".to_owned())
}

/// Whether nobody on the way reads what goes to a URL.
pub(super) fn check_secure(url: &Url) -> Result<(), String> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        _ => Err("must be https, or http on a loopback address".to_owned()),
    }
}

/// A text for people: without what can't be seen.
pub(super) fn displayable(text: &str) -> Result<String, String> {
    registration::displayable(text).ok_or_else(|| "has nothing to show".to_owned())
}

/// The path of a URL.
pub(super) fn url_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("must be an absolute path".to_owned());
    }
    if text.contains('#') {
        return Err("has a fragment, which is never sent".to_owned());
    }
    Ok(text.to_owned())
}

/// A URI scheme as in `workbuddy`, `workbuddy:` or `WorkBuddy://`.
pub(super) fn scheme(text: &str) -> Result<String, String> {
    let name = text
        .strip_suffix("://")
        .or(text.strip_suffix(':'))
        .unwrap_or(text);
    if let Some((name, _)) = name.split_once(':') {
        return Err(format!("is a whole URI; write its scheme alone, `{name}`"));
    }
    let mut bytes = name.bytes();
    let is_scheme = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !is_scheme {
        return Err(
            "is no scheme, such as `workbuddy`: a letter, then letters, digits, `+`, `-` and `.`"
                .to_owned(),
        );
    }
    let name = name.to_ascii_lowercase();
    match redirect_uri::why_never(&name) {
        Some(why) => Err(why.to_owned()),
        None => Ok(name),
    }
}

/// An address or a network, which addresses are compared with in their plain form.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let network = bare
        .parse::<IpNet>()
        .or_else(|_| bare.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "is no address and no network, such as 192.0.2.7 or 10.0.0.0/8".to_owned())?;
    Ok(plain(network).trunc())
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`: nobody arrives from the longer form.
fn plain(network: IpNet) -> IpNet {
    let IpNet::V6(long) = network else {
        return network;
    };
    let bits = long.prefix_len().checked_sub(96);
    let (Some(bits), Some(short)) = (bits, Ipv6Addr::to_ipv4_mapped(&long.addr())) else {
        return network;
    };
    Ipv4Net::new(short, bits).map_or(network, IpNet::V4)
}

/// A host as it stands in a URL that was parsed.
pub(super) fn host(text: &str) -> Result<String, String> {
    if text.contains("://") || text.contains('/') {
        return Err("is more than a host; write its name alone, such as `example.com`".to_owned());
    }
    if text.contains('*') {
        return Err("has a `*`, and each host is named by itself".to_owned());
    }
    match url::Host::parse(text.strip_suffix('.').unwrap_or(text)) {
        Ok(host) => Ok(host.to_string()),
        Err(_) => Err("is no host name without a port, such as `example.com`".to_owned()),
    }
}

/// The name of one tool. An approval that is asked for by a pattern would be asked for by nobody.
pub(super) fn tool(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("names no tool".to_owned());
    }
    if text.contains('*') {
        return Err("has a `*`, and each tool is named by itself here".to_owned());
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("has a blank or a control character, which no tool's name has".to_owned());
    }
    Ok(text.to_owned())
}

/// A login name, in the case that it was written in.
pub(super) fn person(text: &str) -> Result<LoginName, String> {
    let sentence = "is no login name: 1 to 64 letters, digits and `._-+@`, and no `*`";
    LoginName::parse(text).ok_or_else(|| sentence.to_owned())
}

/// The same in the case that it is compared in.
pub(super) fn login_name(text: &str) -> Result<String, String> {
    Ok(person(text)?.as_str().to_lowercase())
}

/// An address of RFC 9116 §2.5.3: a URI. A bare mail address is one without its scheme.
pub(super) fn contact(text: &str) -> Result<String, String> {
    let text = text.trim();
    let plain = text.bytes().all(|b| b.is_ascii_graphic());
    let has_scheme = ["mailto:", "https://", "tel:"].iter().any(|scheme| {
        text.len() > scheme.len() && text[..].to_ascii_lowercase().starts_with(scheme)
    });
    match (plain, has_scheme) {
        (true, true) => Ok(text.to_owned()),
        (true, false) if !text.contains(':') && is_mail(text) => Ok(format!("mailto:{text}")),
        _ => Err("is no mailto:, https:// or tel: address".to_owned()),
    }
}

fn is_mail(text: &str) -> bool {
    text.split_once('@').is_some_and(|(who, host)| {
        !who.is_empty() && host.contains('.') && !host.contains(['@', '/'])
    })
}

/// The name of a header that is free to be given a value for the backend.
pub(super) fn free_header(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::try_from(text).map_err(|_| "is no header name".to_owned())?;
    // What frames a message, and what the gateway says itself.
    const TAKEN: [&str; 14] = [
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "accept",
        "cookie",
        "origin",
    ];
    if TAKEN.contains(&name.as_str()) || name.as_str().starts_with("mcp-") {
        return Err(format!("`{name}` has another meaning"));
    }
    Ok(name)
}

/// A path of this machine. `~` is the shell's, and no shell reads the configuration.
pub(super) fn file(text: &str) -> Result<String, String> {
    if text == "~" || text.starts_with("~/") {
        return Err(
            "begins with `~`, which stands for nothing here; write the whole path".to_owned(),
        );
    }
    if let Some((name, _)) = text
        .strip_prefix("${")
        .and_then(|rest| rest.split_once('}'))
        .or_else(|| text.strip_prefix('$').and_then(|rest| rest.split_once('/')))
    {
        return Err(format!(
            "begins with the variable `{name}`, which is not filled in here; write the whole path"
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    file(text).map(PathBuf::from)
}

/// A text file that may begin with a byte-order mark, as some editors write it.
pub fn read_text(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("can't be read: {error}"))?;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("is in UTF-16; save it as UTF-8".to_owned());
    }
    let text =
        String::from_utf8(bytes).map_err(|_| "is not in UTF-8; save it as that".to_owned())?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_read_as_it_is_meant() {
        for text in [
            "workbuddy",
            "workbuddy:",
            "workbuddy://",
            "WorkBuddy",
            "WORKBUDDY://",
        ] {
            assert_eq!(scheme(text), Ok("workbuddy".to_owned()), "{text}");
        }
        assert_eq!(scheme("com.example.app:"), Ok("com.example.app".to_owned()));
        for text in [
            "",
            ":",
            "://",
            "http",
            "https://",
            "JavaScript",
            "data:",
            "file",
            "vbscript",
            "blob",
            "about",
            "ws",
            "wss",
            "ftp",
            "mailto",
            "intent",
            "workbuddy://callback",
            "work buddy",
            "1password",
            "*",
            "work*",
            "urn",
        ] {
            assert!(scheme(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_holds_the_addresses_that_are_meant() {
        for (text, inside) in [
            ("10.0.0.0/8", "10.9.9.9"),
            ("10.1.2.3/8", "10.9.9.9"),
            ("192.0.2.7", "192.0.2.7"),
            ("[::1]", "::1"),
            ("::ffff:10.0.0.0/104", "10.9.9.9"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8::/32", "2001:db8::9"),
        ] {
            let network = network(text).unwrap();
            assert!(
                network.contains(&inside.parse::<IpAddr>().unwrap()),
                "{text}"
            );
        }
        for text in [
            "",
            "10.0.0.*",
            "localhost",
            "10.0.0.0-10.0.0.9",
            "10.0.0.0/33",
            "*",
        ] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_tools_users_and_contacts_are_compared_as_they_are_written() {
        assert_eq!(host("Example.COM."), Ok("example.com".to_owned()));
        assert_eq!(
            host("bücher.example"),
            Ok("xn--bcher-kva.example".to_owned())
        );
        for text in [
            "https://example.com",
            "example.com/x",
            "example.com:8443",
            "*.example.com",
            "",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
        assert_eq!(tool("delete_note"), Ok("delete_note".to_owned()));
        for text in ["delete_*", "", "delete note", "deploy\n"] {
            assert!(tool(text).is_err(), "{text}");
        }
        assert_eq!(login_name("Alice"), Ok("alice".to_owned()));
        assert!(
            login_name("*").is_err() && login_name("alice bob").is_err() && login_name("").is_err()
        );
        assert_eq!(
            contact("a@example.com"),
            Ok("mailto:a@example.com".to_owned())
        );
        assert_eq!(
            contact("https://example.com/s"),
            Ok("https://example.com/s".to_owned())
        );
        for text in [
            "security team",
            "http://example.com",
            "a@b\nX: y",
            "mailto:",
        ] {
            assert!(contact(text).is_err(), "{text}");
        }
        for text in ["~/state", "~", "$HOME/state", "${HOME}/state"] {
            assert!(file(text).is_err(), "{text}");
        }
        assert!(file("./~x").is_ok());
        assert!(free_header("Host").is_err() && free_header("X-User").is_ok());
    }
}
