//! Clients: what is registered about one. How a registration is decided is `client::registration`.

pub mod assertion;
pub mod fingerprint;
pub mod keys;
pub mod known_documents;
pub mod metadata_document;
pub mod own_key;
pub mod registration;
pub mod secret_basic;
pub mod service;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::assertion::Assertion;
use crate::client::keys::KeySource;
use crate::client::secret_basic::BasicSecret;
use crate::clock::Timestamp;
use crate::secret::{Secret, SecretHash};
use crate::text_type::shown_as_text;

pub use self::fingerprint::{Allowed, Change, Fingerprint};

/// How long a client is remembered after it was last allowed something. Apps keep the client id that
/// they once got for as long as the connection exists.
pub const REMEMBERED: Duration = Duration::from_secs(90 * 24 * 3600);

/// A client identifier.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(String);

impl ClientId {
    /// Stands for whoever holds a personal token, where an app has its own. Nobody can register it.
    pub const PERSONAL_TOKEN: &str = "personal_token";

    /// An identifier from a request, a token or the store.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

shown_as_text!(ClientId);

/// How a client proves at the token endpoint who it is (RFC 7591 §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// A public client; PKCE alone binds the code.
    None,
    /// `client_secret_basic`.
    ClientSecretBasic {
        /// Of the secret that was issued.
        secret: SecretHash,
        /// Of another one that is taken as well, while the client changes from one to the other.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        second: Option<SecretHash>,
    },
    /// `client_secret_post`.
    ClientSecretPost {
        /// Of the secret that was issued.
        secret: SecretHash,
        /// Of another one that is taken as well, while the client changes from one to the other.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        second: Option<SecretHash>,
    },
    /// `private_key_jwt`.
    PrivateKeyJwt {
        /// Of the client.
        keys: KeySource,
    },
    /// Either `none` or `private_key_jwt`, as the client's metadata document offers both: without
    /// an assertion PKCE alone binds the code, with one it must be good.
    NoneOrPrivateKeyJwt {
        /// Of the client.
        keys: KeySource,
    },
}

impl ClientAuthentication {
    /// The registered name of the method; of the two, the one that shows nothing.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::None | Self::NoneOrPrivateKeyJwt { .. } => "none",
            Self::ClientSecretBasic { .. } => "client_secret_basic",
            Self::ClientSecretPost { .. } => "client_secret_post",
            Self::PrivateKeyJwt { .. } => "private_key_jwt",
        }
    }

    /// The keys that an assertion of the client must be signed with; `None` where it can't
    /// authenticate with one.
    pub const fn keys(&self) -> Option<&KeySource> {
        match self {
            Self::PrivateKeyJwt { keys } | Self::NoneOrPrivateKeyJwt { keys } => Some(keys),
            _ => None,
        }
    }

    /// Whether everybody is the client who says so, and no secret or key has to be shown.
    pub const fn asks_for_no_proof(&self) -> bool {
        matches!(self, Self::None | Self::NoneOrPrivateKeyJwt { .. })
    }

    /// Whether `presented` authenticates the client. Only the registered method does: a client
    /// that could also use a weaker one would be as weak as that (OAuth 2.1 §2.4). Where the secret
    /// stands, in the header or in the body, makes it no weaker, and whoever issued one must take it
    /// in the header (RFC 6749 §2.3.1). An assertion is judged with the keys of [`Self::keys`], and
    /// never here.
    pub fn is_met_by(&self, presented: &Credential) -> bool {
        match (self, presented) {
            (Self::None | Self::NoneOrPrivateKeyJwt { .. }, Credential::None) => true,
            (
                Self::ClientSecretBasic { secret, second }
                | Self::ClientSecretPost { secret, second },
                presented,
            ) => {
                // Both are compared whatever the first comparison gave.
                let is_first = presented.is_secret_of(secret);
                let second = second.as_ref();
                is_first | second.is_some_and(|second| presented.is_secret_of(second))
            }
            _ => false,
        }
    }
}

/// What a request shows to authenticate its client, by method.
#[derive(Clone, Debug, PartialEq)]
pub enum Credential {
    /// A `client_id` alone.
    None,
    /// A secret in the Authorization header.
    Basic(BasicSecret),
    /// A secret in the body.
    Post(Secret),
    /// A signed assertion.
    Assertion(Box<Assertion>),
}

impl Credential {
    /// Whether it is the secret that was hashed.
    fn is_secret_of(&self, hash: &SecretHash) -> bool {
        match self {
            Self::Basic(presented) => presented.is_that_of(hash),
            Self::Post(presented) => hash.matches(presented),
            Self::None | Self::Assertion(_) => false,
        }
    }
}

/// How the gateway came to know a client, which decides how far its name is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// It registered itself; its name is its own claim.
    SelfRegistered,
    /// The operator wrote it into the configuration.
    PreRegistered,
    /// Its id is the address of its metadata document, whose host vouches for it.
    MetadataDocument,
}

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its identifier.
    pub id: ClientId,
    /// The name it gives itself; untrusted, already stripped of control characters and shortened.
    pub name: Option<String>,
    /// The redirect URIs as registered, byte for byte.
    pub redirect_uris: Vec<String>,
    /// How it authenticates.
    pub authentication: ClientAuthentication,
    /// How it is known.
    pub registration: Registration,
    /// When it was registered.
    pub registered: Timestamp,
    /// Whether it may have refresh tokens: it named the grant type, or no grant types at all.
    #[serde(default = "yes")]
    pub may_refresh: bool,
    /// Whether it may ask people from another machine (RFC 8628), as far as it is its own matter: one of
    /// the configuration names the grant type. Only `false` is written down.
    #[serde(default = "yes", skip_serializing_if = "bool::clone")]
    pub may_ask_from_elsewhere: bool,
    /// Members of the registration request that are echoed and otherwise not used
    /// (`client_uri`, `application_type`, `scope`, `software_id`, …).
    #[serde(default)]
    pub echoed: serde_json::Map<String, serde_json::Value>,
}

const fn yes() -> bool {
    true
}
