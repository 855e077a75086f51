//! A backend at its public place.

use std::sync::Arc;

use super::routes::McpEndpoint;
use super::settings::Settings;
use gateway_core::policy::{ScopeTable, Scopes};
use gateway_core::protocol::resource::Resource;
use gateway_metrics::{BackendMetrics, Counter, Metrics};
use gateway_upstream::{Backend, ProtocolSupport};

/// A backend and what is known about its public place.
pub(super) struct MountedBackend {
    pub(super) backend: Arc<Backend>,
    pub(super) protocols: Arc<ProtocolSupport>,
    pub(super) resource: Resource,
    pub(super) scopes: Arc<Scopes>,
    /// What is counted of it.
    pub(super) metrics: Arc<BackendMetrics>,
    /// Allowed requests, by endpoint.
    allowed: [Counter; 3],
}

impl MountedBackend {
    pub(super) fn new(
        backend: &Arc<Backend>,
        protocols: &Arc<ProtocolSupport>,
        scopes: &ScopeTable,
        settings: &Settings,
        metrics: &Metrics,
    ) -> Self {
        let name = backend.mount.name.as_str();
        let allowed = |endpoint: McpEndpoint| {
            let labels = [endpoint.as_str(), name, "allowed", ""];
            metrics.requests.with(labels)
        };
        Self {
            metrics: Arc::new(BackendMetrics::new(metrics, name)),
            allowed: McpEndpoint::ALL.map(allowed),
            scopes: Arc::clone(scopes.at(&backend.mount.name)),
            protocols: Arc::clone(protocols),
            resource: backend.mount.resource(&settings.issuer),
            backend: Arc::clone(backend),
        }
    }

    /// Counts allowed requests for one of its endpoints.
    pub(super) const fn allowed(&self, endpoint: McpEndpoint) -> &Counter {
        &self.allowed[endpoint as usize]
    }
}
