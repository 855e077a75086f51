//! What the operator decides about an identity provider.

use std::collections::BTreeSet;
use std::time::Duration;

use url::Url;

use super::tenant::{is_for_everybody, is_issuer};
use gateway_core::client::ClientId;
use gateway_core::login_rules::AllowRule;
use gateway_core::protocol::scope::Scope;

/// An identity provider that people log in with.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in paths and in what is kept: lower-case letters, digits and `-`.
    pub name: String,
    /// Its name for people.
    pub words: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// The id of this gateway at the provider.
    pub client_id: String,
    /// How the gateway shows there who it is.
    pub authentication: Authentication,
    /// Who is let in.
    pub allow: Vec<AllowRule>,
    /// The groups that anything here goes by; no others are kept.
    pub known_groups: BTreeSet<String>,
    /// How long what the provider said of a person holds; `None`: until the person logs in again.
    pub max_age: Option<Duration>,
    /// What ends with a person who leaves the provider, besides browser sessions.
    pub on_leave: OnLeave,
    /// Which apps its word connects without asking the person, if any.
    pub id_jag: Option<IdJagRules>,
}

/// What an identity provider may give apps of its people by its word alone (Identity Assertion JWT
/// Authorization Grant).
#[derive(Clone, Debug)]
pub struct IdJagRules {
    /// The apps, by their ids here.
    pub clients: Vec<ClientId>,
    /// The most that one gets.
    pub scopes: Scope,
}

/// What a provider speaks.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// OpenID Connect with discovery.
    OpenId(OpenId),
    /// GitHub's own OAuth.
    GitHub(GitHub),
}

/// A provider that everybody knows, and whose particularities a login must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WellKnown {
    /// `accounts.google.com`
    Google,
    /// `github.com`
    GitHub,
    /// `login.microsoftonline.com`
    Microsoft,
}

/// An OpenID provider.
#[derive(Clone, Debug)]
pub struct OpenId {
    /// The issuer, byte for byte as its discovery document has it.
    pub issuer: String,
    /// What is particular to it.
    pub flavour: Flavour,
    /// The scopes that are asked for.
    pub scopes: Vec<String>,
    /// The claim with the person's groups.
    pub groups_claim: Option<String>,
}

/// What is particular to a large provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Nothing.
    Plain,
    /// Anybody may have an account with any address: only `hd` says that it is of the domain.
    Google,
    /// Addresses are not verified unless it says so (`xms_edov`); one document can stand for every
    /// tenant; a long list of groups is left out.
    Entra,
}

/// GitHub, or a GitHub Enterprise Server.
#[derive(Clone, Debug)]
pub struct GitHub {
    /// Where people log in: `https://github.com`.
    pub site: Url,
    /// Its API: `https://api.github.com`, or `/api/v3` of the server.
    pub api: Url,
}

/// How the gateway authenticates at a provider.
#[derive(Clone)]
pub enum Authentication {
    /// With a secret.
    Secret(String),
    /// With a signature by the key that the gateway publishes at `/login/NAME/keys`.
    PrivateKey,
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret(…)",
            Self::PrivateKey => "PrivateKey",
        })
    }
}

/// What becomes of what a person allowed apps, when the provider says that the person has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLeave {
    /// It goes on until its time.
    Keep,
    /// It is revoked, and its streams end.
    Revoke,
}

impl Provider {
    /// What names the provider's people for good: with a subject it is a person.
    pub fn issuer(&self) -> &str {
        match &self.protocol {
            Protocol::OpenId(open_id) => &open_id.issuer,
            Protocol::GitHub(github) => github.site.as_str(),
        }
    }

    /// Whether an account of this issuer is one of its people's.
    pub(super) fn is_of(&self, issuer: &str) -> bool {
        match &self.protocol {
            Protocol::OpenId(open_id) => is_issuer(issuer, open_id),
            Protocol::GitHub(github) => issuer == github.site.as_str(),
        }
    }

    /// Whether anybody may have an account there who likes, however the provider was written.
    pub fn is_for_everybody(&self) -> bool {
        let host = self.well_known_host();
        match host {
            Some(WellKnown::Google | WellKnown::GitHub) => true,
            Some(WellKnown::Microsoft) => is_for_everybody(self.issuer()),
            None => false,
        }
    }

    /// Whose it is, by its host, if it is one of the providers that everybody knows.
    pub fn well_known_host(&self) -> Option<WellKnown> {
        let url = Url::parse(self.issuer()).ok()?;
        match url.host_str()?.trim_end_matches('.') {
            "accounts.google.com" => Some(WellKnown::Google),
            "github.com" | "www.github.com" => Some(WellKnown::GitHub),
            "login.microsoftonline.com"
            | "login.microsoft.com"
            | "login.windows.net"
            | "sts.windows.net" => Some(WellKnown::Microsoft),
            _ => None,
        }
    }

    /// Whether it is GitHub, which answers for no domain.
    pub const fn is_github(&self) -> bool {
        matches!(self.protocol, Protocol::GitHub(_))
    }

    /// The URLs that the operator wrote, which are trusted to be where they say.
    pub fn origins(&self) -> Vec<Url> {
        match &self.protocol {
            Protocol::OpenId(open_id) => Url::parse(&open_id.issuer).into_iter().collect(),
            Protocol::GitHub(github) => vec![github.site.clone(), github.api.clone()],
        }
    }
}
