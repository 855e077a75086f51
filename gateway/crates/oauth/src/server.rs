//! The authorization server as a value: what the operator decided, and all that its endpoints need.
//!
//! Not: what any of them does with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::device::apps::DeviceApps;
use crate::identity::Passwords;
use crate::owner::visit::OwnerPagesHandle;
use crate::passkey::site::Passkeys;
use crate::provider::providers::Providers;
use gateway_accounts::Accounts;
use gateway_core::access_token::KeysHandle;
use gateway_core::client::service::ServiceClient;
use gateway_core::client::{Client, ClientId};
use gateway_core::clock::Clock;
use gateway_core::grants::refresh_token::Lifetimes;
use gateway_core::policy::{PolicyHandle, ScopeTable};
use gateway_core::protocol::redirect_uri::PrivateUseSchemes;
use gateway_core::protocol::resource::{Issuer, Mount, Resource};
use gateway_core::secret::{SecretHash, TagKey};
use gateway_fetch::Documents;
use gateway_metrics::Metrics;
use gateway_store::journal::Journal;
use gateway_store::{CallLimits, LastUse, Records, User};
use gateway_upstream::{Catalogue, PageReader};

/// How long a stream lives at most, where access tokens are short and refreshed. Without refresh
/// tokens a stream ends with its token.
pub const LONGEST_STREAM: Duration = Duration::from_secs(24 * 3600);

/// What the operator decides about the authorization server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The public origin.
    pub issuer: Issuer,
    /// The backends, in configuration order. At least one.
    pub mounts: Vec<Mount>,
    /// The name of this installation on pages and in the manifest.
    pub title: String,
    /// The lifetime of access tokens.
    pub access_ttl: Duration,
    /// What scopes there are.
    pub scopes: ScopeTable,
    /// Refresh tokens, where they are served.
    pub refresh: Option<Lifetimes>,
    /// Backends that may ask what a token says, by name.
    pub introspection: BTreeMap<String, SecretHash>,
    /// The token that the ChatGPT app directory asks for at `/.well-known/openai-apps-challenge`.
    pub apps_challenge: Option<String>,
    /// `Contact` of security.txt (RFC 9116), a URI.
    pub security_contact: Option<String>,
    /// Private-use schemes of redirect URIs that are accepted besides the built-in ones.
    pub redirect_schemes: PrivateUseSchemes,
    /// The clients that the operator registered.
    pub clients: Vec<Client>,
    /// What clients of the configuration may get for themselves.
    pub services: BTreeMap<ClientId, ServiceClient>,
    /// The names of all services of the configuration, also of those that no client acts as now.
    pub service_names: BTreeSet<String>,
    /// Which apps may ask from another machine.
    pub device_apps: DeviceApps,
    /// The hosts whose metadata documents are taken; all, if there is none.
    pub document_hosts: Vec<String>,
    /// How many registrations one address may make in an hour.
    pub registrations_per_hour: u64,
    /// How long a client that registered itself is kept while nobody has allowed it anything.
    pub unused_clients_for: Duration,
    /// How long a personal token may last; `None`: there are none.
    pub personal: Option<Duration>,
    /// Whether everybody may log in with a password; else the owner of the configuration alone.
    pub password_login: bool,
    /// The login name of the owner whom the configuration names, if it does.
    pub owner_name: Option<String>,
}

impl Settings {
    /// The backend that a resource is, if it is still served.
    pub(crate) fn mount_of(&self, resource: &Resource) -> Option<&Mount> {
        let mut mounts = self.mounts.iter();
        mounts.find(|mount| mount.resource(&self.issuer) == *resource)
    }

    /// Whether a person may log in with a password.
    pub(crate) fn takes_password_of(&self, user: &User) -> bool {
        user.password().is_some() && (self.password_login || user.configured)
    }

    /// Whether a service of the configuration has this name, which then no person may have.
    pub fn is_service(&self, name: &str) -> bool {
        self.service_names.contains(&name.to_lowercase())
    }

    /// The refresh tokens that a client may have.
    pub(crate) fn refresh_for(&self, client: &Client) -> Option<&Lifetimes> {
        self.refresh.as_ref().filter(|_| client.may_refresh)
    }

    /// How long a client may use what it is granted, without asking a person again.
    pub(crate) fn longest_grant(&self, client: &Client) -> Duration {
        self.refresh_for(client)
            .map_or(self.access_ttl, |refresh| refresh.absolute)
    }

    /// How long a token that nobody renews lives at most.
    pub fn longest_token(&self) -> Duration {
        let refresh = self.refresh.map_or(Duration::ZERO, |refresh| refresh.idle);
        self.access_ttl.max(refresh)
    }

    /// How long a stream may go on, whatever becomes of the token that opened it.
    pub fn longest_stream(&self) -> Duration {
        self.refresh.map_or(Duration::ZERO, |_| LONGEST_STREAM)
    }

    /// How long anything may go on that is given or begun at this moment: a token that nobody
    /// renews, or a stream.
    pub fn longest_use(&self) -> Duration {
        self.longest_token().max(self.longest_stream())
    }
}

/// The authorization server with all that it needs. Built once, by `app`.
#[derive(Debug)]
pub struct AuthorizationServer {
    /// What the operator decided.
    pub settings: Settings,
    /// What outlives a request.
    pub records: Records,
    /// When grants were used last.
    pub last_use: Arc<LastUse>,
    /// The keys that sign access tokens.
    pub keys: KeysHandle,
    /// The key for tags in forms; derive one a purpose.
    pub tags: TagKey,
    /// Password hashing on its bounded pool.
    pub passwords: Passwords,
    /// Passkeys, where they work.
    pub passkeys: Passkeys,
    /// People's own accounts at backends.
    pub accounts: Arc<Accounts>,
    /// What the backends offer, asked live.
    pub catalogue: Arc<Catalogue>,
    /// Metadata documents of clients; `None` switches them off.
    pub documents: Option<Documents>,
    /// The keys of clients that say where theirs are.
    pub key_sets: Documents,
    /// The identity providers.
    pub providers: Providers,
    /// Pages that backends publish for people.
    pub pages: PageReader,
    /// The operator's policy.
    pub policy: PolicyHandle,
    /// The limits of calls.
    pub limits: Arc<CallLimits>,
    /// What stands at `/admin`; nothing until the program says so.
    pub owner_pages: OwnerPagesHandle,
    /// The audit log.
    pub journal: Journal,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
}
