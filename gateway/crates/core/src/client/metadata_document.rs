//! Client ID Metadata Documents: a client id that is the address of the client's own description.
//!
//! Owns: which ids are such addresses, and what a document must say. Not: fetching it (`fetch`),
//! the documents that are built in (`known_documents`).

use serde_json::{Map, Value};
use url::Url;

use crate::client::registration::{self, RegistrationError};
use crate::client::{Client, ClientAuthentication, ClientId, Registration};
use crate::clock::Timestamp;
use crate::protocol::redirect_uri::PrivateUseSchemes;
use crate::protocol::resource::names_a_user;

/// Why a client id is not the address of a document (CIMD §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a client_id that is a URL must be https with a path, and have no fragment, user name or dot segment"
)]
pub struct DocumentUrlError;

/// The address of a metadata document, which is also the client id, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DocumentUrl {
    url: Url,
    id: ClientId,
}

impl DocumentUrl {
    /// `None` for an id that is no URL: such a client is looked up in the store.
    pub fn parse(id: &ClientId) -> Option<Result<Self, DocumentUrlError>> {
        let text = id.as_str();
        if !text.to_ascii_lowercase().starts_with("https:") {
            return None;
        }
        Some(Self::strictly(text).ok_or(DocumentUrlError))
    }

    fn strictly(text: &str) -> Option<Self> {
        let plain = text.len() <= 1024
            && text.starts_with("https://")
            && text
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'#');
        let url = Url::parse(text).ok().filter(|_| plain)?;
        let path = url.path();
        // The parser resolves dot segments and lower-cases the host: only what it leaves alone is
        // one identifier and not several (CIMD §3, simple string comparison).
        let normal =
            url.as_str() == text && path != "/" && !path.to_ascii_lowercase().contains("%2e");
        (normal && !names_a_user(&url)).then(|| Self {
            id: ClientId::new(text),
            url,
        })
    }

    /// What to fetch.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// The client id.
    pub const fn id(&self) -> &ClientId {
        &self.id
    }

    /// Whom a person can hold responsible for the document.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

/// Why a document is refused. Nothing of it is used then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// No JSON object.
    #[error("the document is no JSON object")]
    NotAnObject,
    /// Its `client_id` is not its own address (CIMD §4.1).
    #[error("the document's client_id is not its own address")]
    OtherClient,
    /// A member that a document must not have: everybody can read it (CIMD §4.1).
    #[error("the document has {0}")]
    Secret(&'static str),
    /// It lacks `client_name`, which the consent page shows.
    #[error("the document has no client_name")]
    Nameless,
    /// It offers no authentication method that is served.
    #[error(
        "the document offers no token_endpoint_auth_method that is served: none, or \
         private_key_jwt with jwks or jwks_uri"
    )]
    AuthenticationMethod,
    /// Its redirect URIs or other members can't be accepted.
    #[error("the document's {0}")]
    Metadata(#[from] RegistrationError),
}

/// Judges the document at `address`.
pub fn judge(
    address: &DocumentUrl,
    document: &[u8],
    schemes: &PrivateUseSchemes,
    now: Timestamp,
) -> Result<Client, DocumentError> {
    let document: Map<String, Value> =
        serde_json::from_slice(document).map_err(|_| DocumentError::NotAnObject)?;
    if document.get("client_id").and_then(Value::as_str) != Some(address.id().as_str()) {
        return Err(DocumentError::OtherClient);
    }
    for member in ["client_secret", "client_secret_expires_at"] {
        if document.contains_key(member) {
            return Err(DocumentError::Secret(member));
        }
    }
    let name = document
        .get("client_name")
        .and_then(Value::as_str)
        .and_then(registration::displayable)
        .ok_or(DocumentError::Nameless)?;
    registration::judge_uris(&document)?;
    Ok(Client {
        id: address.id().clone(),
        name: Some(name),
        redirect_uris: registration::redirect_uris(document.get("redirect_uris"), schemes)?,
        authentication: authentication(&document)?,
        registration: Registration::MetadataDocument,
        registered: now,
        may_refresh: registration::may_refresh(&document)?,
        may_ask_from_elsewhere: true,
        echoed: Map::new(),
    })
}

/// What the client offers and we serve. The plural list is what it offers (SEP-3149); the singular
/// member of RFC 7591 is its preference, and all there is in older documents. A document with
/// neither is one of RFC 7591's default, `client_secret_basic`, which no document can have: taken as
/// `none`, like its authors mean it.
fn authentication(document: &Map<String, Value>) -> Result<ClientAuthentication, DocumentError> {
    let offered = match registration::texts(document, "token_endpoint_auth_methods_supported")? {
        Some(offered) => offered,
        None => vec![
            registration::text(document, "token_endpoint_auth_method")?
                .unwrap_or("none")
                .to_owned(),
        ],
    };
    let offers = |method: &str| offered.iter().any(|offered| offered == method);
    let keys = if offers("private_key_jwt") {
        registration::keys(document)?
    } else {
        None
    };
    match (offers("none"), keys) {
        (true, None) => Ok(ClientAuthentication::None),
        (true, Some(keys)) => Ok(ClientAuthentication::NoneOrPrivateKeyJwt { keys }),
        (false, Some(keys)) => Ok(ClientAuthentication::PrivateKeyJwt { keys }),
        (false, None) => Err(DocumentError::AuthenticationMethod),
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom as _;
    use rand::{Rng as _, SeedableRng as _};
    use serde_json::json;

    use super::*;
    use crate::protocol::redirect_uri::RedirectUri;

    const ID: &str = "https://app.example.com/oauth/client.json";

    fn address(text: &str) -> Option<Result<DocumentUrl, DocumentUrlError>> {
        DocumentUrl::parse(&ClientId::new(text))
    }

    fn judged(change: impl FnOnce(&mut Value)) -> Result<Client, DocumentError> {
        let mut document = json!({
            "client_id": ID,
            "client_name": "App",
            "redirect_uris": ["https://app.example.com/callback"],
            "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
            "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
            "unknown_member": {"a": [1]},
        });
        change(&mut document);
        judge(
            &address(ID).unwrap().unwrap(),
            document.to_string().as_bytes(),
            &PrivateUseSchemes::default(),
            Timestamp::from_secs(1),
        )
    }

    #[test]
    fn only_an_https_url_with_a_path_is_the_address_of_a_document() {
        for good in [
            ID,
            "https://a.example/x?y=z",
            "https://localhost:8443/client.json",
        ] {
            assert_eq!(address(good).unwrap().unwrap().id().as_str(), good);
        }
        for bad in [
            "https://a.example",
            "https://a.example/",
            "https://a.example/#x",
            "https://a.example/x#",
            "https://u@a.example/x",
            "https://u:p@a.example/x",
            "https://a.example/./x",
            "https://a.example/a/../x",
            "https://a.example/%2e%2e/x",
            "https://a.example/a/%2E./x",
            "HTTPS://a.example/x",
            "https://A.example/x",
            "https://a.example:443/x",
            "https:/a.example/x",
            "https:\\\\a.example\\x",
            "https://a.example/x y",
            "https://a.example/\u{fc}",
            "https://",
        ] {
            assert_eq!(address(bad), Some(Err(DocumentUrlError)), "{bad}");
        }
        for other in ["c_1", "http://a.example/x", "urn:x", ""] {
            assert_eq!(address(other), None, "{other}");
        }
    }

    #[test]
    fn a_document_that_prefers_a_key_and_offers_none_is_taken_as_public() {
        let client = judged(|_| ()).unwrap();
        assert_eq!(client.authentication, ClientAuthentication::None);
        assert_eq!(client.registration, Registration::MetadataDocument);
        assert_eq!(client.name.as_deref(), Some("App"));
    }

    #[test]
    fn a_document_must_be_its_own_and_keep_no_secret() {
        assert_eq!(
            judged(|document| document["client_id"] =
                json!("https://app.example.com/oauth/client.json?")),
            Err(DocumentError::OtherClient)
        );
        assert_eq!(
            judged(|document| document["client_secret"] = json!("x")),
            Err(DocumentError::Secret("client_secret"))
        );
        assert_eq!(
            judged(
                |document| document["token_endpoint_auth_methods_supported"] =
                    json!(["client_secret_post"])
            ),
            Err(DocumentError::AuthenticationMethod)
        );
        assert_eq!(
            judged(|document| document["client_name"] = json!(7)),
            Err(DocumentError::Nameless)
        );
        assert!(matches!(
            judged(|document| document["redirect_uris"] = json!(["javascript:alert(1)"])),
            Err(DocumentError::Metadata(_))
        ));
        assert!(matches!(
            judged(|document| document["logo_uri"] = json!("javascript:alert(1)")),
            Err(DocumentError::Metadata(_))
        ));
    }

    fn keys() -> Value {
        let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
        json!({ "keys": [{ "kty": "RSA", "n": n, "e": "AQAB" }] })
    }

    #[test]
    fn what_is_offered_and_served_is_what_the_client_is_held_to() {
        let method =
            |singular: Option<&str>, plural: Option<Value>, keys: Option<(&str, Value)>| {
                judged(|document| {
                    let members = document.as_object_mut().unwrap();
                    members.remove("token_endpoint_auth_method");
                    members.remove("token_endpoint_auth_methods_supported");
                    if let Some(singular) = singular {
                        members.insert("token_endpoint_auth_method".to_owned(), json!(singular));
                    }
                    if let Some(plural) = plural {
                        members.insert("token_endpoint_auth_methods_supported".to_owned(), plural);
                    }
                    if let Some((name, value)) = keys {
                        members.insert(name.to_owned(), value);
                    }
                })
                .map(|client| client.authentication)
            };
        let at = || Some(("jwks_uri", json!("https://app.example.com/keys")));
        let here = || Some(("jwks", keys()));
        let both = || Some(json!(["client_secret_post", "private_key_jwt", "none"]));
        let refused = Err(DocumentError::AuthenticationMethod);
        assert_eq!(method(None, None, None), Ok(ClientAuthentication::None));
        assert_eq!(
            method(Some("none"), None, at()),
            Ok(ClientAuthentication::None)
        );
        assert_eq!(
            method(Some("private_key_jwt"), both(), None),
            Ok(ClientAuthentication::None)
        );
        for keys in [at(), here()] {
            assert!(matches!(
                method(Some("private_key_jwt"), both(), keys.clone()),
                Ok(ClientAuthentication::NoneOrPrivateKeyJwt { .. })
            ));
            assert!(matches!(
                method(Some("private_key_jwt"), None, keys.clone()),
                Ok(ClientAuthentication::PrivateKeyJwt { .. })
            ));
            // The plural list is what it offers, whatever the singular member prefers.
            assert!(matches!(
                method(Some("none"), Some(json!(["private_key_jwt"])), keys),
                Ok(ClientAuthentication::PrivateKeyJwt { .. })
            ));
        }
        assert_eq!(method(Some("private_key_jwt"), None, None), refused);
        assert_eq!(method(Some("client_secret_basic"), None, at()), refused);
        assert_eq!(method(None, Some(json!([])), at()), refused);
        for (singular, plural, keys) in [
            (Some("none"), Some(json!("none")), None),
            (Some("none"), Some(json!([1])), None),
            (
                None,
                both(),
                Some(("jwks_uri", json!("http://app.example.com/keys"))),
            ),
            (
                None,
                both(),
                Some(("jwks", json!({ "keys": [{ "kty": "oct", "k": "AQ" }] }))),
            ),
        ] {
            let judged = method(singular, plural, keys);
            assert!(
                matches!(judged, Err(DocumentError::Metadata(_))),
                "{judged:?}"
            );
        }
        let twice = judged(|document| {
            document["jwks_uri"] = json!("https://app.example.com/keys");
            document["jwks"] = keys();
        });
        assert_eq!(
            twice,
            Err(DocumentError::Metadata(RegistrationError::KeysTwice))
        );
    }

    /// Documents with members swapped for JSON of every shape, and bytes cut and changed: never a
    /// panic, and what is accepted is still the document's own, with redirects of accepted kinds.
    #[test]
    fn no_generated_document_gets_past_the_rules() {
        const NAMES: [&str; 10] = [
            "client_id",
            "client_name",
            "redirect_uris",
            "token_endpoint_auth_method",
            "token_endpoint_auth_methods_supported",
            "jwks",
            "jwks_uri",
            "client_secret",
            "logo_uri",
            "response_types",
        ];
        let schemes = PrivateUseSchemes::default();
        let address = address(ID).unwrap().unwrap();
        let mut random = StdRng::seed_from_u64(7591);
        let mut accepted = 0;
        for round in 0..5_000 {
            let mut document = json!({
                "client_id": ID, "client_name": "App", "jwks": keys(),
                "redirect_uris": ["https://app.example.com/callback"],
            });
            for _ in 0..random.gen_range(0..3) {
                document[*NAMES.choose(&mut random).unwrap()] = shape(&mut random, 3);
            }
            let mut bytes = document.to_string().into_bytes();
            if round % 3 == 0 {
                let at = random.gen_range(0..bytes.len());
                bytes[at] = random.r#gen();
                bytes.truncate(random.gen_range(at..=bytes.len()));
            }
            let Ok(client) = judge(&address, &bytes, &schemes, Timestamp::from_secs(1)) else {
                continue;
            };
            accepted += 1;
            let read: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(read["client_id"], ID);
            assert!(read.get("client_secret").is_none());
            assert!(client.name.is_some_and(|name| !name.is_empty()));
            assert!(!client.redirect_uris.is_empty());
            for uri in &client.redirect_uris {
                assert!(RedirectUri::parse(uri, &schemes).is_ok(), "{uri}");
            }
        }
        assert!(accepted > 100, "{accepted}");
    }

    fn shape(random: &mut StdRng, depth: u8) -> Value {
        const TEXTS: [&str; 10] = [
            "none",
            "private_key_jwt",
            ID,
            "javascript:alert(1)",
            "https://app.example.com/x",
            "http://127.0.0.1/cb",
            "\u{202e}",
            "",
            "code",
            "data:,x",
        ];
        match random.gen_range(0..if depth == 0 { 4 } else { 7 }) {
            0 => Value::Null,
            1 => json!(random.r#gen::<i32>()),
            2 | 3 => json!(*TEXTS.choose(random).unwrap()),
            4 | 5 => (0..random.gen_range(0..4))
                .map(|_| shape(random, depth - 1))
                .collect(),
            _ => json!({ "keys": shape(random, depth - 1), "kty": shape(random, depth - 1) }),
        }
    }
}
