//! What the operator says of everybody's own account at a backend, and the header that a credential goes
//! into.

use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use url::Url;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// `[backend.account]`: what the operator says of everybody's own account at a backend.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// How a person connects one.
    pub kind: AccountKind,
    /// The header that the credential goes into.
    pub header: CredentialHeader,
    /// Whether the backend is called without one for whoever has connected none.
    pub optional: bool,
}

impl AccountSettings {
    /// The URLs that the operator wrote for a backend whose origin this is, which are trusted to be where
    /// they say.
    pub fn written(&self, origin: &str) -> Vec<Url> {
        let server = match &self.kind {
            AccountKind::OAuth(server) | AccountKind::Exchange(server) => server,
            AccountKind::Key { .. } => return Vec::new(),
        };
        let issuer = server.issuer.as_deref();
        let texts = [Some(origin), issuer].into_iter().flatten();
        let endpoints = [
            &server.authorization_endpoint,
            &server.token_endpoint,
            &server.revocation_endpoint,
        ];
        let endpoints = endpoints.into_iter().flatten().cloned();
        texts
            .filter_map(|text| Url::parse(text).ok())
            .chain(endpoints)
            .collect()
    }
}

/// How a person connects an account.
#[derive(Clone, Debug)]
pub enum AccountKind {
    /// With OAuth: the gateway is a client of the backend's authorization server.
    OAuth(Box<OAuthAccount>),
    /// The person pastes a key.
    Key {
        /// Where to get one, for the page.
        hint: Option<String>,
    },
    /// The backend's authorization server exchanges what the gateway says of who calls (RFC 8693); nobody
    /// connects anything.
    Exchange(Box<OAuthAccount>),
}

impl AccountKind {
    /// Its name in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OAuth(_) => "oauth",
            Self::Key { .. } => "key",
            Self::Exchange(_) => "exchange",
        }
    }
}

/// What the operator says of a backend's authorization server. What is not said is found by asking the
/// backend, as an MCP client would.
#[derive(Clone, Debug)]
pub struct OAuthAccount {
    /// The issuer of the authorization server.
    pub issuer: Option<String>,
    /// Where a person allows it.
    pub authorization_endpoint: Option<Url>,
    /// Where codes and refresh tokens are exchanged.
    pub token_endpoint: Option<Url>,
    /// Where tokens are taken back (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// The scopes to ask for.
    pub scopes: Option<Vec<String>>,
    /// Further parameters of the authorization request.
    pub extra: Vec<(String, String)>,
    /// Whether `resource` is sent (RFC 8707).
    pub resource: bool,
    /// The client to be, where it is registered there by hand.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<Secret>,
}

/// The header that a credential goes into, and what stands around it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialHeader {
    name: HeaderName,
    before: String,
    after: String,
}

impl CredentialHeader {
    /// Reads a line like `X-Api-Key: {}`, where `{}` stands for the credential.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong, to follow the name of the setting.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "must be a header with {} where the credential goes, such as `Authorization: Bearer {}`";
        let (name, value) = text.split_once(':').ok_or(FORM)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| FORM)?;
        let (before, after) = value.trim_start().split_once("{}").ok_or(FORM)?;
        let is_plain = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if after.contains("{}") || !is_plain(before) || !is_plain(after) {
            return Err(FORM);
        }
        Ok(Self {
            name,
            before: before.to_owned(),
            after: after.trim_end().to_owned(),
        })
    }

    /// Its name. What a client sends under it never reaches the backend.
    pub const fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The header of a credential; `None` for one that no header can hold.
    pub fn with(&self, credential: &str) -> Option<HeaderValue> {
        if credential.is_empty() || !credential.bytes().all(|b| (b'!'..=b'~').contains(&b)) {
            return None;
        }
        let mut line = Zeroizing::new(Vec::with_capacity(
            self.before.len() + credential.len() + self.after.len(),
        ));
        line.extend_from_slice(self.before.as_bytes());
        line.extend_from_slice(credential.as_bytes());
        line.extend_from_slice(self.after.as_bytes());
        // Shared and never copied: the last one to let go of it wipes it.
        let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(line)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Display for CredentialHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{{}}{}", self.name, self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_and_one_place_for_the_credential() {
        let header = CredentialHeader::parse("X-Api-Key: {}").unwrap();
        assert_eq!(header.name(), "x-api-key");
        assert_eq!(header.with("k-1").unwrap(), "k-1");
        let header = CredentialHeader::parse("Authorization: token {} ").unwrap();
        assert_eq!(header.with("k-1").unwrap(), "token k-1");
        let header = CredentialHeader::parse("Authorization: Bearer {}").unwrap();
        assert_eq!(header.name(), "authorization");
        assert_eq!(header.with("k-1").unwrap(), "Bearer k-1");
        for text in [
            "",
            "X-Api-Key",
            "X-Api-Key:",
            "X-Api-Key: key",
            "X-Api-Key: {}{}",
            "X Api: {}",
            ": {}",
            "X: \u{e9}{}",
            "X: a\n{}",
        ] {
            assert!(CredentialHeader::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_credential_ends_a_header_and_none_is_printed() {
        let header = CredentialHeader::parse("Authorization: Bearer {}").unwrap();
        for text in ["", "a b", "a\r\nX: 1", "a\u{e9}", "a\0"] {
            assert_eq!(header.with(text), None, "{text:?}");
        }
        let value = header.with("s3cret").unwrap();
        assert!(value.is_sensitive());
        assert!(!format!("{value:?}").contains("s3cret"));
    }
}
