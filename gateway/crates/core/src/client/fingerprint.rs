//! What a person relied on when an app was allowed: where its answers go, and how it proves itself.
//!
//! A metadata document can say something else tomorrow. What was given to the old one (an
//! authorization code, a grant) is then refused to the new one: whoever changed the document may
//! have taken the host over, and would otherwise reach with keys and redirect URIs of their own for
//! what a person allowed somebody else. Refused, and not revoked: a document that is wrong for an
//! hour must not end what was allowed to the right one. A new consent, on a page that tells of the
//! change, gives the new document its own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::client::{Client, Registration};
use crate::clock::Timestamp;

/// Of a client whose description can change under its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Over its redirect URIs, in any order.
    pub redirect_uris: String,
    /// Over its authentication: methods, and keys or where they are. Keys at a URL may be rotated
    /// there: the document vouches for the URL.
    pub authentication: String,
}

impl Client {
    /// `None` for a client that can't change: one that registered itself has another id with other
    /// metadata, and one of the configuration is what the operator says.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        if self.registration != Registration::MetadataDocument {
            return None;
        }
        let mut redirect_uris: Vec<_> = self.redirect_uris.iter().collect();
        redirect_uris.sort();
        Some(Fingerprint {
            redirect_uris: digest(&redirect_uris),
            authentication: digest(&self.authentication),
        })
    }
}

impl Fingerprint {
    /// One text for both, to bind a form to.
    pub fn to_text(&self) -> String {
        format!("{}.{}", self.redirect_uris, self.authentication)
    }
}

/// What a person allowed a client last, as far as it shows whether the client has changed since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// The name that it gave itself.
    pub name: Option<String>,
    /// What it was.
    pub fingerprint: Fingerprint,
    /// When.
    pub at: Timestamp,
}

/// How a client differs from what a person allowed last. At least one of them is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it was allowed.
    pub allowed: Timestamp,
    /// It had this name.
    pub name: Option<String>,
    /// It had other redirect URIs.
    pub redirect_uris: bool,
    /// It authenticated in another way, or with other keys.
    pub authentication: bool,
}

impl Allowed {
    /// A client that is allowed now; `None` for one that can't change.
    pub fn now(client: &Client, now: Timestamp) -> Option<Self> {
        Some(Self {
            name: client.name.clone(),
            fingerprint: client.fingerprint()?,
            at: now,
        })
    }

    /// How `client` has changed since. What was built in here is no change of the client's when the
    /// real document is at hand again.
    pub fn change(&self, client: &Client, built_in: Option<&Client>) -> Option<Change> {
        let now = client.fingerprint()?;
        if built_in.and_then(Client::fingerprint).as_ref() == Some(&self.fingerprint) {
            return None;
        }
        let change = Change {
            allowed: self.at,
            name: self.name.clone().filter(|_| self.name != client.name),
            redirect_uris: self.fingerprint.redirect_uris != now.redirect_uris,
            authentication: self.fingerprint.authentication != now.authentication,
        };
        let any = change.name.is_some() || change.redirect_uris || change.authentication;
        any.then_some(change)
    }
}

fn digest(value: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(value).expect("texts and lists of texts serialise");
    URL_SAFE_NO_PAD.encode(&Sha256::digest(bytes)[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::keys::KeySource;
    use crate::client::{ClientAuthentication, ClientId};

    fn client(registration: Registration, redirect_uris: &[&str]) -> Client {
        Client {
            id: ClientId::new("https://app.example.com/c"),
            name: None,
            redirect_uris: redirect_uris.iter().map(|&uri| uri.to_owned()).collect(),
            authentication: ClientAuthentication::None,
            registration,
            registered: Timestamp::from_secs(1),
            may_refresh: true,
            may_ask_from_elsewhere: true,
            echoed: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_fingerprint_changes_with_redirects_and_keys_and_nothing_else() {
        let document = |uris: &[&str]| client(Registration::MetadataDocument, uris);
        let before = document(&["https://a/", "https://b/"]);
        let mut same = document(&["https://b/", "https://a/"]);
        same.name = Some("New name".to_owned());
        same.registered = Timestamp::from_secs(2);
        assert_eq!(before.fingerprint(), same.fingerprint());
        let more = document(&["https://a/", "https://b/", "https://c/"]);
        let [before_print, more_print] =
            [&before, &more].map(|client| client.fingerprint().unwrap());
        assert_ne!(before_print.redirect_uris, more_print.redirect_uris);
        assert_eq!(before_print.authentication, more_print.authentication);
        let mut keyed = before.clone();
        let keys = KeySource::JwksUri("https://a/keys".to_owned());
        keyed.authentication = ClientAuthentication::PrivateKeyJwt { keys: keys.clone() };
        assert_ne!(keyed.fingerprint(), before.fingerprint());
        let mut both = keyed.clone();
        both.authentication = ClientAuthentication::NoneOrPrivateKeyJwt { keys };
        assert_ne!(keyed.fingerprint(), both.fingerprint());
    }

    #[test]
    fn what_changed_since_it_was_allowed_is_told_apart() {
        let at = Timestamp::from_secs(5);
        let mut before = client(Registration::MetadataDocument, &["https://a/"]);
        before.name = Some("App".to_owned());
        let allowed = Allowed::now(&before, at).unwrap();
        assert_eq!(allowed.change(&before, None), None);
        let mut renamed = before.clone();
        renamed.name = Some("Other".to_owned());
        let change = allowed.change(&renamed, None).unwrap();
        assert_eq!(change.name.as_deref(), Some("App"));
        assert!(!change.redirect_uris && !change.authentication);
        let mut moved = before.clone();
        moved.redirect_uris = vec!["https://evil.example/".to_owned()];
        let change = allowed.change(&moved, None).unwrap();
        assert_eq!(change.allowed, at);
        assert!(change.redirect_uris && !change.authentication && change.name.is_none());
        // The one that was allowed was the one built in.
        assert_eq!(allowed.change(&moved, Some(&before)), None);
    }

    #[test]
    fn a_client_that_cannot_change_has_none() {
        for registration in [Registration::SelfRegistered, Registration::PreRegistered] {
            assert_eq!(client(registration, &["https://a/"]).fingerprint(), None);
        }
    }
}
