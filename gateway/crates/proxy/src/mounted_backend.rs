//! A backend at its public place.

use std::sync::Arc;

use super::settings::Settings;
use gateway_core::policy::{ScopeTable, Scopes};
use gateway_core::protocol::resource::Resource;
use gateway_upstream::{Backend, ProtocolSupport};

/// A backend and what is known about its public place.
pub(super) struct MountedBackend {
    pub(super) backend: Arc<Backend>,
    pub(super) protocols: Arc<ProtocolSupport>,
    pub(super) resource: Resource,
    pub(super) scopes: Arc<Scopes>,
}

impl MountedBackend {
    pub(super) fn new(
        backend: &Arc<Backend>,
        protocols: &Arc<ProtocolSupport>,
        scopes: &ScopeTable,
        settings: &Settings,
    ) -> Self {
        Self {
            scopes: Arc::clone(scopes.at(&backend.mount.name)),
            protocols: Arc::clone(protocols),
            resource: backend.mount.resource(&settings.issuer),
            backend: Arc::clone(backend),
        }
    }
}
