//! What the challenge of a refusal refers to.

use super::routes::{BackendRoute, McpEndpoint};
use gateway_core::protocol::resource::{Issuer, identifying_query};
use gateway_core::protocol::scope::Scope;

/// What a challenge refers to.
pub(super) struct Challenge {
    /// The URL of the protected resource metadata of the path that was asked for.
    pub(super) resource_metadata: String,
    /// The scope that a client is to ask for: what it has, or what one begins with.
    pub(super) scope: Scope,
}

impl Challenge {
    /// The metadata that belongs to path and query as they were asked for. Messages of the legacy
    /// transport belong to its stream. The scope is the one that the token has, so that whoever asks
    /// for it loses nothing; without a token, the one to begin with.
    pub(super) fn new(issuer: &Issuer, route: BackendRoute<'_>, scope: &Scope) -> Self {
        let (mounted, target) = (route.mounted, route.target);
        let query = || identifying_query(target.query);
        let path = match route.endpoint {
            McpEndpoint::Messages => mounted.backend.mount.sse_path(),
            _ if target.path == "/" => query(),
            _ => format!("{}{}", target.path, query()),
        };
        let path = format!("/.well-known/oauth-protected-resource{path}");
        Self {
            resource_metadata: issuer.join(&path),
            scope: mounted.scopes.to_ask_for(scope),
        }
    }

    /// The same for a request that is a part of one to the endpoint at this path.
    pub(super) fn at(self, issuer: &Issuer, path: &str) -> Self {
        let path = format!("/.well-known/oauth-protected-resource{path}");
        Self {
            resource_metadata: issuer.join(&path),
            ..self
        }
    }
}
