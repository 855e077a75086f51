//! What requests share: the proxy's dependencies, its settings, and what it remembers.

use std::net::IpAddr;
use std::sync::Arc;

use super::aggregates::Aggregates;
use super::audit::AdmissionLog;
use super::backend_tokens::BackendTokens;
use super::confirmation::TokenConfirmation;
use super::drain::Draining;
use super::in_flight::Budget;
use super::known_lists::KnownLists;
use super::legacy_outbox::LegacyOutboxes;
use super::mounted_backend::MountedBackend;
use super::routes::Routes;
use super::sessions::Sessions;
use super::settings::Settings;
use super::stream_probe::StreamProbe;
use super::streams::Streams;
use super::tasks::Tasks;
use super::tool_list_filter::FilterDependencies;
use gateway_core::access_token::KeysHandle;
use gateway_core::clock::Clock;
use gateway_core::policy::{AccessToken, PolicyHandle};
use gateway_core::secret::TagKey;
use gateway_metrics::{Counter, Metrics};
use gateway_oauth::AuthorizationServer;
use gateway_store::RevocationView;
use gateway_store::journal::Journal;
use gateway_traces::Traces;
use gateway_upstream::{Backend, Catalogue, Connections, ProtocolSupport};

/// What the proxy works with.
#[derive(Debug)]
pub struct Dependencies {
    /// Answers everything that is not for a backend.
    pub server: Arc<AuthorizationServer>,
    /// Verify access tokens.
    pub keys: KeysHandle,
    /// What was revoked.
    pub revocations: Arc<RevocationView>,
    /// The key for tags on session ids.
    pub tags: TagKey,
    /// The time.
    pub clock: Clock,
    /// The audit log.
    pub journal: Journal,
    /// The operator's policy.
    pub policy: PolicyHandle,
    /// The backends, in configuration order.
    pub backends: Vec<Arc<Backend>>,
    /// What each of them speaks, in the same order.
    pub protocols: Vec<Arc<ProtocolSupport>>,
    /// The connections to them, shared with the catalogue.
    pub connections: Arc<Connections>,
    /// What is counted.
    pub metrics: Metrics,
    /// What is traced.
    pub traces: Traces,
}

/// Everything that a request needs, shared by all of them.
pub(super) struct ProxyState {
    pub(super) settings: Settings,
    pub(super) server: Arc<AuthorizationServer>,
    pub(super) confirmation: TokenConfirmation,
    pub(super) revocations: Arc<RevocationView>,
    pub(super) clock: Clock,
    pub(super) admissions: AdmissionLog,
    pub(super) policy: PolicyHandle,
    pub(super) routes: Routes,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) connections: Arc<Connections>,
    pub(super) sessions: Sessions,
    pub(super) backend_tokens: BackendTokens,
    pub(super) streams: Streams,
    pub(super) stream_probe: StreamProbe,
    pub(super) draining: Draining,
    pub(super) legacy_outboxes: Arc<LegacyOutboxes>,
    pub(super) tasks: Tasks,
    pub(super) known_lists: KnownLists,
    pub(super) aggregates: Aggregates,
    pub(super) budget: Arc<Budget>,
    /// Requests that the lane has taken.
    pub(super) lane_requests: Counter,
    pub(super) metrics: Metrics,
    pub(super) traces: Traces,
}

impl ProxyState {
    /// Puts it together. Needs no runtime.
    pub(super) fn new(settings: Settings, dependencies: Dependencies) -> Self {
        let Dependencies {
            server,
            keys,
            revocations,
            tags,
            clock,
            journal,
            policy,
            backends,
            protocols,
            connections,
            metrics,
            traces,
        } = dependencies;
        let mounted_backends = backends.iter().zip(&protocols).map(|(backend, protocols)| {
            let scopes = &server.settings.scopes;
            MountedBackend::new(backend, protocols, scopes, &settings, &metrics)
        });
        Self {
            routes: Routes::new(mounted_backends.collect()),
            catalogue: Arc::clone(&server.catalogue),
            sessions: Sessions::new(&tags, &settings.issuer),
            confirmation: TokenConfirmation::new(
                Arc::clone(&revocations),
                Arc::clone(&server),
                &metrics,
            ),
            backend_tokens: BackendTokens::new(keys),
            streams: Streams::default(),
            stream_probe: StreamProbe::new(settings.stream_probe.clone()),
            lane_requests: metrics.lane_requests.with([]),
            draining: Draining::default(),
            legacy_outboxes: Arc::default(),
            tasks: Tasks::default(),
            known_lists: KnownLists::default(),
            aggregates: Aggregates::default(),
            budget: Arc::new(Budget::new(
                settings.in_flight,
                settings.request_body,
                &settings.trusted_proxies,
            )),
            admissions: AdmissionLog::new(journal, Arc::clone(&server.catalogue), metrics.clone()),
            server,
            revocations,
            clock,
            policy,
            connections,
            settings,
            metrics,
            traces,
        }
    }

    /// Notes that the grant of a token is used, and by a personal token from where.
    pub(super) fn note_use(&self, token: &AccessToken, from: Option<IpAddr>) {
        let (grant, uses) = (&token.claims().grant, &self.server.last_use);
        uses.note(grant, self.clock.now());
        if let Some(from) = from.filter(|_| token.verified().is_stand_in()) {
            uses.note_from(grant, from);
        }
    }

    /// What lists of tools are judged by.
    pub(super) fn filter_dependencies(&self) -> FilterDependencies<'_> {
        FilterDependencies {
            catalogue: &self.catalogue,
            policy: &self.policy,
            revocations: &self.revocations,
            sessions: &self.sessions,
            tasks: &self.tasks,
            known_lists: &self.known_lists,
            clock: self.clock,
        }
    }
}
