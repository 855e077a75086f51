//! The endpoints: path, methods, body limit and CORS policy of each, written once. Metadata prints
//! the paths, routes match them. Not: what is answered (`dispatch`).

use http::Method;

use gateway_core::protocol::resource::{Mount, default_mount, mount_at};

/// The paths of the public listener that are the gateway's own.
pub mod path {
    /// For people.
    pub const HOME: &str = "/";
    /// Files of the pages.
    pub const ASSETS: &str = "/assets/";
    /// OAuth 2.1 §3.1
    pub const AUTHORIZE: &str = "/authorize";
    /// OAuth 2.1 §3.2
    pub const TOKEN: &str = "/token";
    /// RFC 7591
    pub const REGISTER: &str = "/register";
    /// RFC 7009
    pub const REVOKE: &str = "/revoke";
    /// RFC 7662
    pub const INTROSPECT: &str = "/introspect";
    /// The login form's target.
    pub const LOGIN: &str = "/login";
    /// Ends the browser session.
    pub const LOGOUT: &str = "/logout";
    /// The consent form's target.
    pub const CONSENT: &str = "/consent";
    /// The first owner's set-up.
    pub const SETUP: &str = "/setup";
    /// A person's apps.
    pub const ACCOUNT: &str = "/account";
    /// Takes an app's access back.
    pub const ACCOUNT_REVOKE: &str = "/account/revoke";
    /// Approves a changed tool.
    pub const ACCOUNT_APPROVE: &str = "/account/approve";
    /// For load balancers.
    pub const HEALTH: &str = "/healthz";
    /// RFC 8414 §3
    pub const AUTHORIZATION_SERVER_METADATA: &str = "/.well-known/oauth-authorization-server";
    /// RFC 9728 §3; the path of the resource follows.
    pub const PROTECTED_RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";
    /// A convention of 2025.
    pub const MANIFEST: &str = "/.well-known/mcp/manifest.json";
    /// What directories look for today.
    pub const SERVER_CARD: &str = "/.well-known/mcp/server-card.json";
    /// The public keys that verify tokens, as the Biscuit project publishes such.
    pub const WEB_KEYS: &str = "/.well-known/biscuit-web-keys";
    /// ChatGPT's app directory.
    pub const APPS_CHALLENGE: &str = "/.well-known/openai-apps-challenge";
    /// RFC 9116
    pub const SECURITY_TXT: &str = "/.well-known/security.txt";
    /// RFC 9309
    pub const ROBOTS: &str = "/robots.txt";
    /// For language models that read sites.
    pub const LLMS: &str = "/llms.txt";
    /// Asked for unasked.
    pub const FAVICON: &str = "/favicon.ico";
}

/// Something that the gateway itself answers on the public listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// [`path::HEALTH`]
    Health,
    /// [`path::HOME`]
    Home,
    /// Below [`path::ASSETS`]
    Asset,
    /// [`path::AUTHORIZE`]
    Authorize,
    /// [`path::LOGIN`]
    Login,
    /// [`path::LOGOUT`]
    Logout,
    /// [`path::CONSENT`]
    Consent,
    /// [`path::SETUP`]
    Setup,
    /// [`path::ACCOUNT`]
    Account,
    /// [`path::ACCOUNT_REVOKE`]
    AccountRevoke,
    /// [`path::ACCOUNT_APPROVE`]
    AccountApprove,
    /// [`path::TOKEN`]
    Token,
    /// [`path::REGISTER`]
    Register,
    /// [`path::REVOKE`]
    Revoke,
    /// [`path::INTROSPECT`]
    Introspect,
    /// [`path::AUTHORIZATION_SERVER_METADATA`]
    AuthorizationServerMetadata,
    /// [`path::PROTECTED_RESOURCE_METADATA`] with the path of one of a mount's endpoints
    ProtectedResourceMetadata {
        /// As asked for: empty, or with its slashes.
        path: String,
        /// The name of the mount that it belongs to.
        mount: String,
    },
    /// [`path::MANIFEST`]
    Manifest,
    /// [`path::SERVER_CARD`], about the default mount
    WellKnownServerCard(Mount),
    /// `{mcp}/server-card`
    ServerCard(Mount),
    /// [`path::WEB_KEYS`]
    WebKeys,
    /// [`path::APPS_CHALLENGE`]
    AppsChallenge,
    /// [`path::SECURITY_TXT`]
    SecurityTxt,
    /// [`path::ROBOTS`]
    Robots,
    /// [`path::LLMS`]
    Llms,
    /// [`path::FAVICON`]
    Favicon,
    /// Anything else under `/.well-known/`, at the origin or below a mount: never a backend's, so
    /// that a probe is answered with 404 and not with a challenge.
    Absent,
}

impl Endpoint {
    /// The endpoint at a canonical path, if the gateway answers there itself. Everything under
    /// `/.well-known/` is the gateway's, known or not.
    pub fn find(path: &str, mounts: &[Mount]) -> Option<Self> {
        Some(match path {
            path::HEALTH => Self::Health,
            path::HOME => Self::Home,
            path::AUTHORIZE => Self::Authorize,
            path::LOGIN => Self::Login,
            path::LOGOUT => Self::Logout,
            path::CONSENT => Self::Consent,
            path::SETUP => Self::Setup,
            path::ACCOUNT => Self::Account,
            path::ACCOUNT_REVOKE => Self::AccountRevoke,
            path::ACCOUNT_APPROVE => Self::AccountApprove,
            path::TOKEN => Self::Token,
            path::REGISTER => Self::Register,
            path::REVOKE => Self::Revoke,
            path::INTROSPECT => Self::Introspect,
            path::AUTHORIZATION_SERVER_METADATA => Self::AuthorizationServerMetadata,
            path::MANIFEST => Self::Manifest,
            path::SERVER_CARD => Self::WellKnownServerCard(default_mount(mounts)?.clone()),
            path::WEB_KEYS => Self::WebKeys,
            path::APPS_CHALLENGE => Self::AppsChallenge,
            path::SECURITY_TXT => Self::SecurityTxt,
            path::ROBOTS => Self::Robots,
            path::LLMS => Self::Llms,
            path::FAVICON => Self::Favicon,
            _ if path.starts_with(path::ASSETS) => Self::Asset,
            _ => return Self::find_variable(path, mounts),
        })
    }

    fn find_variable(path: &str, mounts: &[Mount]) -> Option<Self> {
        if let Some(resource_path) = path.strip_prefix(path::PROTECTED_RESOURCE_METADATA) {
            let well_formed = resource_path.is_empty() || resource_path.starts_with('/');
            return Some(
                match mount_at(resource_path, mounts).filter(|_| well_formed) {
                    Some(mount) => Self::ProtectedResourceMetadata {
                        path: resource_path.to_owned(),
                        mount: mount.name.clone(),
                    },
                    None => Self::Absent,
                },
            );
        }
        if path.split('/').any(|segment| segment == ".well-known") {
            return Some(Self::Absent);
        }
        let mcp_path = path.strip_suffix("/server-card")?;
        let mount = mounts.iter().find(|mount| mount.mcp_path() == mcp_path)?;
        Some(Self::ServerCard(mount.clone()))
    }

    /// The largest body that the endpoint reads, in bytes; 0 where it reads none. Anybody can send
    /// one: forms are small, but for the lists of tools that people choose from.
    pub const fn body_limit(&self) -> usize {
        match self {
            Self::Consent | Self::AccountApprove => 64 * 1024,
            Self::Register
            | Self::Authorize
            | Self::Token
            | Self::Revoke
            | Self::Introspect
            | Self::Login
            | Self::Logout
            | Self::Setup
            | Self::AccountRevoke => 16 * 1024,
            _ => 0,
        }
    }

    /// Whether it takes a method, besides OPTIONS.
    pub fn takes(&self, method: &Method) -> bool {
        self.methods().contains(method)
    }

    /// The methods it takes, besides OPTIONS.
    const fn methods(&self) -> &'static [Method] {
        const READ: &[Method] = &[Method::GET, Method::HEAD];
        const SUBMIT: &[Method] = &[Method::POST];
        const BOTH: &[Method] = &[Method::GET, Method::HEAD, Method::POST];
        match self {
            Self::Token
            | Self::Register
            | Self::Revoke
            | Self::Introspect
            | Self::Consent
            | Self::Logout => SUBMIT,
            Self::Authorize
            | Self::Login
            | Self::Setup
            | Self::AccountRevoke
            | Self::AccountApprove => BOTH,
            _ => READ,
        }
    }

    /// Whether scripts of any site may call it (OAuth 2.1 §3.2): what programs use, never what
    /// people see (§3.1). Cookies are not sent along.
    pub(crate) const fn is_cross_origin(&self) -> bool {
        match self {
            Self::Health
            | Self::Home
            | Self::Asset
            | Self::Authorize
            | Self::Login
            | Self::Logout
            | Self::Consent
            | Self::Introspect
            | Self::Setup
            | Self::Account
            | Self::AccountRevoke
            | Self::AccountApprove => false,
            Self::Token
            | Self::Register
            | Self::Revoke
            | Self::AuthorizationServerMetadata
            | Self::ProtectedResourceMetadata { .. }
            | Self::Manifest
            | Self::WellKnownServerCard(_)
            | Self::ServerCard(_)
            | Self::WebKeys
            | Self::AppsChallenge
            | Self::SecurityTxt
            | Self::Robots
            | Self::Llms
            | Self::Favicon
            | Self::Absent => true,
        }
    }

    /// The methods it takes, as `Allow` names them.
    pub(crate) fn allow(&self) -> String {
        let mut names: Vec<_> = self.methods().iter().map(Method::as_str).collect();
        names.push(Method::OPTIONS.as_str());
        names.join(", ")
    }
}

#[cfg(test)]
mod tests;
