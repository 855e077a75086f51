//! Redirect URIs: which a client may register, and when a requested one is a registered one.
//!
//! The kinds: `https` anywhere; `http` on this computer's loopback, at any port (RFC 8252 §7.3,
//! OAuth 2.1 §8.4.2; `localhost` too, because native clients in wide use register it without the
//! port that they will listen on); the private-use schemes of known native apps and reverse-domain
//! schemes (RFC 8252 §7.1). Everything but a loopback port is compared byte for byte
//! (OAuth 2.1 §4.1.1, RFC 9700 §4.1.3).

use std::fmt;

use url::Url;

use crate::protocol::resource::names_a_user;
use crate::text_type::is_alphanumeric_or;

/// Longer ones are refused.
pub const MAX_LENGTH: usize = 2000;

/// The schemes of native apps that are in use with MCP and are no reverse domain names. Cursor
/// registers `grokbot` beside its own, and gives up if one of its URIs is refused.
const KNOWN_APPS: [&str; 4] = ["cursor", "grokbot", "vscode", "vscode-insiders"];

const LOOPBACK_HOSTS: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

/// Parameters of the authorization response (RFC 6749 §4.1.2, RFC 9207 §2). A registered query
/// that had one would put two into the response.
const RESPONSE_PARAMETERS: [&str; 6] = [
    "code",
    "error",
    "error_description",
    "error_uri",
    "iss",
    "state",
];

/// Schemes that the operator accepts besides the built-in ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrivateUseSchemes(Vec<String>);

impl PrivateUseSchemes {
    /// The operator's list. Schemes are compared in lower case.
    pub fn new(schemes: impl IntoIterator<Item = String>) -> Self {
        Self(
            schemes
                .into_iter()
                .map(|scheme| scheme.to_ascii_lowercase())
                .collect(),
        )
    }

    fn allow(&self, scheme: &str) -> bool {
        // No list can bring in a scheme whose URLs run script or read this computer's files.
        !is_dangerous(scheme)
            && (KNOWN_APPS.contains(&scheme)
                || is_reverse_domain(scheme)
                || self.0.iter().any(|allowed| allowed == scheme))
    }
}

/// Where a redirect leads, in the order of how much its host says about who receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A web site: the host as it is shown to the person, with a port if it is not 443.
    Web(String),
    /// A program on this computer, whichever listens: the host.
    Loopback(String),
    /// An app on this computer, whichever took the scheme: the scheme.
    App(String),
}

/// A redirect URI of an accepted kind, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri {
    text: String,
    destination: Destination,
}

/// Why a text is no redirect URI that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectUriError {
    /// Not an absolute URI, or not in its normal form (RFC 3986 §6): what two parsers could read
    /// differently is not accepted.
    #[error("is not an absolute URI in its normal form")]
    Malformed,
    /// Longer than [`MAX_LENGTH`].
    #[error("is too long")]
    TooLong,
    /// OAuth 2.1 §2.3.
    #[error("has a fragment")]
    Fragment,
    /// `https://known.example@evil.example/` deceives the reader.
    #[error("has a user name")]
    UserInfo,
    /// Nothing is matched by pattern.
    #[error("has a wildcard")]
    Wildcard,
    /// `http` to a host that is not this computer.
    #[error("must be https unless it is on a loopback address")]
    NotHttps,
    /// A scheme that is not accepted.
    #[error(
        "has a scheme that is not accepted; the operator of this gateway can add it to \
         clients.redirect_schemes"
    )]
    Scheme,
    /// A scheme that no operator can accept.
    #[error("has a scheme that is not accepted, and that no app can have")]
    DangerousScheme,
    /// Its query has a parameter of the response.
    #[error("has a query parameter that the authorization response uses")]
    ResponseParameter,
}

impl RedirectUri {
    /// Judges a redirect URI that a client registers or asks for.
    pub fn parse(text: &str, schemes: &PrivateUseSchemes) -> Result<Self, RedirectUriError> {
        if text.len() > MAX_LENGTH {
            return Err(RedirectUriError::TooLong);
        }
        // Before any parser sees it: URL parsers drop tabs and line breaks and turn backslashes.
        if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
            return Err(RedirectUriError::Malformed);
        }
        if text.contains('#') {
            return Err(RedirectUriError::Fragment);
        }
        if text.contains('*') {
            return Err(RedirectUriError::Wildcard);
        }
        let url = Url::parse(text).map_err(|_| RedirectUriError::Malformed)?;
        if names_a_user(&url) {
            return Err(RedirectUriError::UserInfo);
        }
        let destination = destination(text, &url, schemes)?;
        if !is_normal(text, &url) {
            return Err(RedirectUriError::Malformed);
        }
        if url
            .query_pairs()
            .any(|(name, _)| RESPONSE_PARAMETERS.contains(&name.as_ref()))
        {
            return Err(RedirectUriError::ResponseParameter);
        }
        Ok(Self {
            text: text.to_owned(),
            destination,
        })
    }

    /// The text, byte for byte.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where it leads, for the person who decides.
    pub const fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Whether this is the registered one: the same bytes, or the same loopback URI at another
    /// port.
    pub fn is_registered_as(&self, registered: &str) -> bool {
        self.text == registered
            || without_port(&self.text)
                .is_some_and(|requested| without_port(registered) == Some(requested))
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn destination(
    text: &str,
    url: &Url,
    schemes: &PrivateUseSchemes,
) -> Result<Destination, RedirectUriError> {
    match url.scheme() {
        "https" => {
            let host = url.host_str().ok_or(RedirectUriError::Malformed)?;
            Ok(Destination::Web(match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            }))
        }
        "http" => match without_port(text) {
            Some((host, _)) => Ok(Destination::Loopback(host.to_owned())),
            None => Err(RedirectUriError::NotHttps),
        },
        scheme if schemes.allow(scheme) => Ok(Destination::App(scheme.to_owned())),
        scheme if is_dangerous(scheme) => Err(RedirectUriError::DangerousScheme),
        _ => Err(RedirectUriError::Scheme),
    }
}

/// Host and the rest of an `http` URI on loopback, without its port.
fn without_port(text: &str) -> Option<(&str, &str)> {
    let after_scheme = text.strip_prefix("http://")?;
    let host = LOOPBACK_HOSTS
        .into_iter()
        .find(|host| after_scheme.starts_with(host))?;
    let after_host = &after_scheme[host.len()..];
    let rest = match after_host.strip_prefix(':') {
        Some(after_colon) => {
            let digits = after_colon.bytes().take_while(u8::is_ascii_digit).count();
            let port: u16 = after_colon[..digits].parse().ok()?;
            if port == 0 {
                return None;
            }
            &after_colon[digits..]
        }
        None => after_host,
    };
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest))
}

/// Whether the text is what a parser would write for what it read: no dot segments, no default
/// port, no other spelling of a host. Only the slash of an empty path may be left out.
fn is_normal(text: &str, url: &Url) -> bool {
    let written = url.as_str();
    written == text
        || (url.path() == "/" && {
            let (origin, query) = text
                .split_once('?')
                .map_or((text, None), |(origin, query)| (origin, Some(query)));
            !origin.ends_with('/')
                && query == url.query()
                && written.split('?').next() == Some(&format!("{origin}/"))
        })
}

/// `com.example.app` (RFC 8252 §7.1): what stands first is a top-level domain.
fn is_reverse_domain(scheme: &str) -> bool {
    let mut labels = scheme.split('.');
    let top = labels.next().unwrap_or_default();
    let mut below = 0;
    let well_formed = labels.all(|label| {
        below += 1;
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && is_alphanumeric_or(label, b"-")
    });
    well_formed
        && below > 0
        && (2..=63).contains(&top.len())
        && top.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Schemes that a browser runs, reads local things with, or hands to the system.
fn is_dangerous(scheme: &str) -> bool {
    const DANGEROUS: [&str; 20] = [
        "about",
        "blob",
        "content",
        "data",
        "file",
        "filesystem",
        "ftp",
        "intent",
        "jar",
        "javascript",
        "mailto",
        "ms-settings",
        "resource",
        "sms",
        "tel",
        "urn",
        "vbscript",
        "view-source",
        "ws",
        "wss",
    ];
    DANGEROUS.contains(&scheme)
}

/// Why a scheme can't be one that the operator adds for an app.
pub fn why_never(scheme: &str) -> Option<&'static str> {
    match scheme {
        "https" => Some("is always accepted and need not be listed"),
        "http" => {
            Some("is accepted on loopback addresses only, and for those it need not be listed")
        }
        _ if is_dangerous(scheme) => Some(
            "belongs to no app: a browser would run it, read this computer's files with it, or hand \
             it to the system",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
