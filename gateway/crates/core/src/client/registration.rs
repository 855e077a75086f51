//! Dynamic client registration as a decision: RFC 7591 metadata in, what will be kept out.
//!
//! Owns: which metadata is accepted, replaced, dropped or refused. Not: how often one may register
//! (`oauth::register`), where clients are kept (`store`).

use serde_json::{Map, Value};
use url::Url;

use crate::client::keys::{KeySet, KeySetError, KeySource};
use crate::client::{Client, ClientAuthentication, ClientId, Registration};
use crate::clock::Timestamp;
use crate::protocol::redirect_uri::{PrivateUseSchemes, RedirectUri, RedirectUriError};
use crate::protocol::resource::{is_loopback, names_a_user};
use crate::secret::{Secret, TagKey};

/// More redirect URIs than any client registers.
pub const MAX_REDIRECT_URIS: usize = 50;

/// Characters of a name that is kept and shown.
pub const MAX_NAME: usize = 60;

/// Bytes of metadata that are kept for one client, so that registering cannot fill the store.
pub const MAX_KEPT: usize = 16 * 1024;

/// Members that are kept and echoed, and mean nothing to the gateway. All others are ignored
/// (RFC 7591 §2).
const ECHOED: [&str; 5] = [
    "application_type",
    "client_uri",
    "contacts",
    "software_id",
    "software_version",
];

/// Why client metadata is refused (RFC 7591 §3.2.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// `redirect_uris` is missing, empty or no list of texts.
    #[error("redirect_uris must be a list of at least one URI")]
    NoRedirectUris,
    /// More than [`MAX_REDIRECT_URIS`].
    #[error("redirect_uris must have at most {MAX_REDIRECT_URIS} URIs")]
    TooManyRedirectUris,
    /// One redirect URI can't be accepted; the first one at fault, by its place in the list.
    #[error("redirect_uris[{index}] {error}: {uri}")]
    RedirectUri {
        /// Its place.
        index: usize,
        /// As it was sent.
        uri: String,
        /// What is wrong.
        error: RedirectUriError,
    },
    /// A member is of the wrong JSON type.
    #[error("{0} must be {1}")]
    Type(String, &'static str),
    /// A member that is a URI is none, or has a scheme that could run in a browser.
    #[error("{0} must be an absolute https URI")]
    Uri(String),
    /// No authentication method that is served.
    #[error(
        "token_endpoint_auth_method must be none, client_secret_basic, client_secret_post, or \
         private_key_jwt with jwks or jwks_uri"
    )]
    AuthenticationMethod,
    /// Both `jwks` and `jwks_uri` (RFC 7591 §2).
    #[error("jwks and jwks_uri must not stand together")]
    KeysTwice,
    /// `jwks` can't be used.
    #[error("jwks {0}")]
    Keys(KeySetError),
    /// `response_types` without `code`: a client that can't use what is served.
    #[error("response_types must have code")]
    ResponseTypes,
    /// The metadata that would be kept is larger than [`MAX_KEPT`].
    #[error("the metadata is too large")]
    TooLarge,
}

impl RegistrationError {
    /// Whether a redirect URI is at fault (`invalid_redirect_uri`), else other metadata
    /// (`invalid_client_metadata`).
    pub const fn concerns_redirect_uris(&self) -> bool {
        matches!(
            self,
            Self::NoRedirectUris | Self::TooManyRedirectUris | Self::RedirectUri { .. }
        )
    }
}

/// The authentication methods that are served.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Method {
    None,
    ClientSecretPost,
    ClientSecretBasic,
    PrivateKeyJwt(KeySource),
}

/// Their names, as metadata lists them.
pub const METHODS: [&str; 4] = [
    "none",
    "client_secret_post",
    "client_secret_basic",
    "private_key_jwt",
];

/// Metadata that will be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedMetadata {
    name: Option<String>,
    redirect_uris: Vec<String>,
    method: Method,
    may_refresh: bool,
    echoed: Map<String, Value>,
}

impl AcceptedMetadata {
    /// Judges a registration request. Clients register of the grant types those that are offered at that
    /// moment: one refuses refresh tokens only where `refresh_is_offered`.
    pub fn accept(
        metadata: &Map<String, Value>,
        schemes: &PrivateUseSchemes,
        refresh_is_offered: bool,
    ) -> Result<Self, RegistrationError> {
        let redirect_uris = redirect_uris(metadata.get("redirect_uris"), schemes)?;
        response_types(metadata)?;
        let dropped = judge_uris(metadata)?;
        let accepted = Self {
            name: text(metadata, "client_name")?.and_then(displayable),
            redirect_uris,
            method: method(metadata)?,
            may_refresh: may_refresh(metadata)? || !refresh_is_offered,
            echoed: echoed(metadata, &dropped)?,
        };
        if accepted.canonical().len() > MAX_KEPT {
            return Err(RegistrationError::TooLarge);
        }
        Ok(accepted)
    }

    /// Whether the client is issued a secret.
    pub const fn needs_secret(&self) -> bool {
        matches!(
            self.method,
            Method::ClientSecretPost | Method::ClientSecretBasic
        )
    }

    /// The client id of a client that is issued no secret: a tag over its metadata, so that
    /// registering the same metadata again gives the same client. It is no secret and starts with
    /// `c_`, never with `https://`, which would be taken for a metadata document's address.
    pub fn derived_id(&self, key: &TagKey) -> ClientId {
        ClientId::new(format!("c_{}", key.tag(&[&self.canonical()])))
    }

    /// The client, which authenticates with the secret that it was issued, if it was, by the method it asked
    /// for.
    pub fn into_client(
        self,
        id: ClientId,
        secret: Option<&Secret>,
        registered: Timestamp,
    ) -> Client {
        let second = None;
        let authentication = match (self.method, secret.map(Secret::hash)) {
            (Method::PrivateKeyJwt(keys), _) => ClientAuthentication::PrivateKeyJwt { keys },
            (Method::ClientSecretPost, Some(secret)) => {
                ClientAuthentication::ClientSecretPost { secret, second }
            }
            (_, Some(secret)) => ClientAuthentication::ClientSecretBasic { secret, second },
            (_, None) => ClientAuthentication::None,
        };
        Client {
            id,
            name: self.name,
            redirect_uris: self.redirect_uris,
            authentication,
            registration: Registration::SelfRegistered,
            registered,
            may_refresh: self.may_refresh,
            may_ask_from_elsewhere: true,
            echoed: self.echoed,
        }
    }

    /// One text for one meaning: members in a fixed order.
    fn canonical(&self) -> Vec<u8> {
        let echoed: Vec<_> = ECHOED.iter().map(|name| self.echoed.get(*name)).collect();
        // Public clients have the number 0 alone here, as ever: their ids must not change.
        let (method, keys) = match &self.method {
            Method::None => (0, None),
            Method::ClientSecretPost => (1, None),
            Method::ClientSecretBasic => (2, None),
            Method::PrivateKeyJwt(keys) => (3, Some(keys)),
        };
        let mut canonical = serde_json::to_vec(&(&self.name, &self.redirect_uris, method, echoed))
            .expect("texts and lists of texts serialise");
        if let Some(keys) = keys {
            canonical.extend(serde_json::to_vec(keys).expect("keys are texts"));
        }
        // Clients that don't refuse refresh tokens keep the id that they had before there were any.
        if !self.may_refresh {
            canonical.extend(b"no refresh");
        }
        canonical
    }
}

/// The redirect URIs of a client, byte for byte, each once.
pub(super) fn redirect_uris(
    member: Option<&Value>,
    schemes: &PrivateUseSchemes,
) -> Result<Vec<String>, RegistrationError> {
    let uris = member
        .and_then(Value::as_array)
        .filter(|uris| !uris.is_empty())
        .ok_or(RegistrationError::NoRedirectUris)?;
    if uris.len() > MAX_REDIRECT_URIS {
        return Err(RegistrationError::TooManyRedirectUris);
    }
    let mut accepted = Vec::<String>::with_capacity(uris.len());
    for (index, uri) in uris.iter().enumerate() {
        let uri = uri.as_str().ok_or(RegistrationError::NoRedirectUris)?;
        let parsed = RedirectUri::parse(uri, schemes).map_err(|error| {
            let uri = uri.chars().take(100).collect();
            RegistrationError::RedirectUri { index, uri, error }
        })?;
        if !accepted.iter().any(|earlier| earlier == parsed.as_str()) {
            accepted.push(parsed.as_str().to_owned());
        }
    }
    Ok(accepted)
}

/// Judges every member that is a URI by its name, known or not; returns those to leave out. A
/// scheme that a browser would run is never worth guessing about (RFC 7591 §5).
pub(super) fn judge_uris(metadata: &Map<String, Value>) -> Result<Vec<&str>, RegistrationError> {
    let mut dropped = Vec::new();
    for (name, value) in metadata {
        let base_name = name.split('#').next().unwrap_or_default();
        if !base_name.ends_with("_uri") || value.is_null() {
            continue;
        }
        let refused = || RegistrationError::Uri(short(name));
        let uri = value
            .as_str()
            .ok_or_else(|| RegistrationError::Type(short(name), "a text"))?;
        if uri.is_empty() {
            dropped.push(name.as_str());
            continue;
        }
        // URL parsers drop tabs and line breaks: looked for first.
        if uri.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refused());
        }
        let url = Url::parse(uri).map_err(|_| refused())?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => dropped.push(name),
            _ => return Err(refused()),
        }
    }
    Ok(dropped)
}

/// The first of the client's wishes that is served; `none` where it has none (clients that leave
/// it out are public ones that would not use a secret).
fn method(metadata: &Map<String, Value>) -> Result<Method, RegistrationError> {
    let wish = text(metadata, "token_endpoint_auth_method")?;
    // Clients with a preferred method and others that they can do name those in the plural member.
    let others = texts(metadata, "token_endpoint_auth_methods_supported")?.unwrap_or_default();
    let mut wishes = wish.into_iter().chain(others.iter().map(String::as_str));
    // Keys that are of no use are not worth a refusal.
    let keys = if wishes.clone().any(|name| name == "private_key_jwt") {
        keys(metadata)?
    } else {
        None
    };
    let served = |name| match name {
        "none" => Some(Method::None),
        "client_secret_post" => Some(Method::ClientSecretPost),
        "client_secret_basic" => Some(Method::ClientSecretBasic),
        "private_key_jwt" => keys.clone().map(Method::PrivateKeyJwt),
        _ => None,
    };
    if wish.is_none() {
        return Ok(Method::None);
    }
    wishes
        .find_map(served)
        .ok_or(RegistrationError::AuthenticationMethod)
}

/// Where the client's keys are, if it names any (RFC 7591 §2).
pub(super) fn keys(metadata: &Map<String, Value>) -> Result<Option<KeySource>, RegistrationError> {
    let uri = text(metadata, "jwks_uri")?;
    match (metadata.get("jwks").filter(|set| !set.is_null()), uri) {
        (Some(_), Some(_)) => Err(RegistrationError::KeysTwice),
        (Some(set), None) => KeySet::parse(set)
            .map(|set| Some(KeySource::Jwks(set)))
            .map_err(RegistrationError::Keys),
        (None, Some(uri)) => keys_at(uri).map(Some),
        (None, None) => Ok(None),
    }
}

/// Keys are asked for by https alone, also on this computer: who answers is what they prove.
pub fn keys_at(uri: &str) -> Result<KeySource, RegistrationError> {
    let refused = || RegistrationError::Uri("jwks_uri".to_owned());
    let plain = uri.len() <= MAX_URI && uri.bytes().all(|b| b.is_ascii_graphic());
    let url = Url::parse(uri)
        .ok()
        .filter(|url| plain && url.scheme() == "https")
        .ok_or_else(refused)?;
    if names_a_user(&url) || url.fragment().is_some() {
        return Err(refused());
    }
    Ok(KeySource::JwksUri(url.into()))
}

/// The longest URI that is fetched.
const MAX_URI: usize = 2000;

/// Grant types that are not served are left out of the answer, but a client that expects another
/// response than a code is told at once.
fn response_types(metadata: &Map<String, Value>) -> Result<(), RegistrationError> {
    match texts(metadata, "response_types")? {
        Some(types) if !types.is_empty() && !types.iter().any(|name| name == "code") => {
            Err(RegistrationError::ResponseTypes)
        }
        _ => Ok(()),
    }
}

/// Whether the client may have refresh tokens. One that does not say may: the default of RFC 7591
/// §2 is older than the clients that leave it out and refresh all the same.
pub(super) fn may_refresh(metadata: &Map<String, Value>) -> Result<bool, RegistrationError> {
    let types = texts(metadata, "grant_types")?.unwrap_or_default();
    Ok(types.is_empty() || types.iter().any(|name| name == "refresh_token"))
}

fn echoed(
    metadata: &Map<String, Value>,
    dropped: &[&str],
) -> Result<Map<String, Value>, RegistrationError> {
    let mut echoed = Map::new();
    for name in ECHOED {
        if dropped.contains(&name) {
            continue;
        }
        let value = match name {
            "contacts" => texts(metadata, name)?.map(Value::from),
            // Redirect URIs are held to the same rules whatever a client says that it is: this is
            // for servers of OpenID Connect, and clients mix kinds (OpenID Connect Registration §2).
            "application_type" => text(metadata, name)?
                .filter(|kind| matches!(*kind, "native" | "web"))
                .map(Value::from),
            _ => text(metadata, name)?.map(Value::from),
        };
        if let Some(value) = value {
            echoed.insert(name.to_owned(), value);
        }
    }
    Ok(echoed)
}

pub(super) fn text<'a>(
    metadata: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a str>, RegistrationError> {
    match metadata.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(RegistrationError::Type(name.to_owned(), "a text")),
    }
}

pub(super) fn texts(
    metadata: &Map<String, Value>,
    name: &str,
) -> Result<Option<Vec<String>>, RegistrationError> {
    let wrong = || RegistrationError::Type(name.to_owned(), "a list of texts");
    match metadata.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(values)) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<Vec<_>, _>>()
            .map(Some),
        Some(_) => Err(wrong()),
    }
}

fn short(name: &str) -> String {
    name.chars().take(60).collect()
}

/// A name as it may be shown: without characters that are invisible or that turn the direction of
/// what follows, spaces joined, at most [`MAX_NAME`] characters. `None` if nothing is left.
pub fn displayable(name: &str) -> Option<String> {
    let visible: String = name
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|&c| !c.is_control() && !is_invisible(c))
        .collect();
    let words: Vec<_> = visible.split(' ').filter(|word| !word.is_empty()).collect();
    let joined = words.join(" ");
    if joined.is_empty() {
        return None;
    }
    if joined.chars().count() <= MAX_NAME {
        return Some(joined);
    }
    // The cut is visible, so that a long name can't hide its end.
    let cut: String = joined.chars().take(MAX_NAME - 1).collect();
    Some(format!("{}…", cut.trim_end()))
}

/// Format characters (Unicode category Cf), fillers, variation selectors and private use: none
/// shows as itself, some reorder or imitate what stands beside.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
            | '\u{f0000}'..='\u{10ffff}'
    )
}

#[cfg(test)]
mod tests;
