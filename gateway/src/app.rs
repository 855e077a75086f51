//! The composition root: concrete types meet here and nowhere else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::OsRng;
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::account_keys::{self, NoteError};
use crate::config::{Clients, Config, ConfiguredBackend};
use crate::keys::ring::{KeyRing, RingError, RingSettings};
use crate::keys::{KeysError, KeysFolder};
use gateway_accounts::{Accounts, Parts};
use gateway_core::account::seal::SealKeys;
use gateway_core::account::settings::AccountSettings;
use gateway_core::clock::Clock;
use gateway_core::grants::PinKey;
use gateway_core::policy::PolicyHandle;
use gateway_core::protocol::redirect_uri::PrivateUseSchemes;
use gateway_core::secret::{self, SecretHash};
use gateway_fetch::{Documents, Fetcher, Limits};
use gateway_metrics::Metrics;
use gateway_oauth::identity::Passwords;
use gateway_oauth::owner::OwnerPagesHandle;
use gateway_oauth::passkey::Passkeys;
use gateway_oauth::provider::Providers;
use gateway_oauth::{AuthorizationServer, Settings};
use gateway_store::journal::{self, Journal};
use gateway_store::{
    CallLimits, LastUse, Movable, OpenError, Records, RevocationView, Shares, Store, StoreEpoch,
    StoreError, StoreUrl,
};
use gateway_traces::Traces;
use gateway_upstream::{Backend, Catalogue, Connections, Lookout, PageReader, ProtocolSupport};

/// How long a start waits for a store that is not up yet, as in a compose file.
const STORE_START: Duration = Duration::from_secs(30);

/// Everything that is built once and shared.
pub struct App {
    /// The endpoints, with what they answer from: the store, the audit log, the policy and its limits.
    pub server: Arc<AuthorizationServer>,
    /// The store, if only one process may have it open.
    pub movable: Option<Arc<Movable>>,
    /// The signing keys.
    pub keys: KeyRing,
    /// What was revoked.
    pub revocations: Arc<RevocationView>,
    /// How the backends stand.
    pub lookout: Arc<Lookout>,
    /// The backends.
    pub backends: Vec<Arc<Backend>>,
    /// What each of them speaks.
    pub protocols: Vec<Arc<ProtocolSupport>>,
    /// The connections to them.
    pub connections: Arc<Connections>,
    /// What is traced.
    pub traces: Traces,
}

/// Why the gateway can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store can't be opened at all.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The audit log can't be opened.
    #[error(
        "the audit log can't be written: name a file that the gateway's user may write with `audit.file`, or switch it `off`"
    )]
    Audit(#[from] journal::OpenError),
    /// The store does not answer.
    #[error("{url} does not answer: {error}; start it, or name another with `store.url`")]
    StoreAway {
        /// The store, its password masked.
        url: String,
        /// What the last attempt met.
        error: StoreError,
    },
    /// The store will never work as it is set up.
    #[error("{url} can't be used: {sentence}")]
    StoreUnusable {
        /// The store, its password masked.
        url: String,
        /// Why, and what to change.
        sentence: String,
    },
    /// A person has the name of a service.
    #[error(
        "a person has the name of the service `{0}`: give the [[service]] another name, or neither could be told from the other"
    )]
    ServiceIsPerson(String),
    /// Another gateway signs with another key under the same number.
    #[error(
        "the store belongs to a gateway with other keys: signing key {0} differs. \
         Replicas must share one keys_dir; to start anew with these keys, use an empty store"
    )]
    OtherKeys(u32),
    /// Another gateway seals accounts with another key under the same number.
    #[error(
        "the store belongs to a gateway with other keys: accounts-{0}.key of the replicas that serve is another \
         one, or is not here. Replicas must share one keys_dir: copy their accounts-*.key here, in place of what \
         is here; to start anew with these keys, stop all others first"
    )]
    OtherAccountKeys(u32),
    /// The keys folder can't be used: signing keys, or those that seal accounts.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

impl StartError {
    /// Waiting helps against an outage only.
    fn of_store(url: &str, error: StoreError) -> Self {
        let url = url.to_owned();
        if error.is_corrupt() {
            let sentence = format!("{error}. {}", error.reason().remedy());
            return Self::StoreUnusable { url, sentence };
        }
        Self::StoreAway { url, error }
    }
}

impl App {
    /// Opens the store, waits for the first reading of the revocations, and wires the rest.
    pub async fn build(
        config: &Config,
        keys: KeysFolder,
        admin_token: Option<SecretHash>,
        runtime: &Handle,
    ) -> Result<Self, StartError> {
        let clock = Clock;
        let metrics = Metrics::new();
        let (records, revocations, movable) = opened(config, clock, &metrics, runtime).await?;
        let ring = key_ring(config, admin_token, &records, &revocations, clock).await?;
        ring.follow(runtime);
        let journal = match &config.audit {
            Some(settings) => Journal::open(settings, &keys.tags, clock)?,
            None => Journal::off(),
        }
        .counted(&metrics);
        let backends = backends(config);
        let connections = Arc::new(Connections::default());
        let protocols = protocols(config, &backends, &connections, runtime);
        let accounts = Accounts::new(Parts {
            backends: with_accounts(config, &backends),
            records: records.clone(),
            keys: seal_keys(config, &records, clock, runtime).await?,
            connections: connections.clone(),
            issuer: config.issuer.clone(),
            title: config.general.title.clone(),
            tags: keys.tags.clone(),
            journal: journal.clone(),
            clock,
            metrics: metrics.clone(),
        });
        let (identity, pins) = (&config.identity, PinKey::new(&keys.tags));
        let (all, pool) = (backends.clone(), connections.clone());
        let catalogue = Catalogue::new(all, pool, identity.clone(), pins);
        let catalogue = Arc::new(catalogue.with_accounts(accounts.clone()));
        let lookout = Lookout::follow(&catalogue, runtime);
        let traces = match config.traces.clone() {
            Some(settings) => Traces::start(settings, clock, &metrics, runtime),
            None => Traces::off(),
        };
        let (all, pool) = (backends.clone(), connections.clone());
        let shares = Shares::new(records.clone(), clock);
        let registration = &config.registration;
        let server = Arc::new(AuthorizationServer {
            settings: settings(config),
            last_use: LastUse::follow(records.clone(), longest_rest(config), clock, runtime),
            limits: CallLimits::new(config.call_limits.clone(), shares),
            records,
            keys: ring.handle(),
            tags: keys.tags,
            passwords: Passwords::default(),
            passkeys: Passkeys::new(&config.issuer, &config.general.title),
            catalogue,
            accounts,
            documents: (registration.metadata_documents).then(|| documents(registration)),
            key_sets: documents(registration),
            providers: Providers::new(config.providers.clone()),
            pages: PageReader::new(all, pool, identity.clone()),
            policy: PolicyHandle::new(config.policy.clone()),
            owner_pages: OwnerPagesHandle::default(),
            journal,
            clock,
            metrics,
        });
        Ok(Self {
            server,
            movable,
            keys: ring,
            revocations,
            lookout,
            backends,
            protocols,
            connections,
            traces,
        })
    }
}

/// The configured backends, told where the gateway itself has pages.
fn backends(config: &Config) -> Vec<Arc<Backend>> {
    let configured = config.backends.iter().map(|one| one.backend.clone());
    let told = configured.map(|backend| backend.told_of_pages(&config.issuer));
    told.map(Arc::new).collect()
}

type Opened = (Records, Arc<RevocationView>, Option<Arc<Movable>>);

/// The store, once it answers and belongs to these keys, and the revocations after their first reading.
async fn opened(
    config: &Config,
    clock: Clock,
    metrics: &Metrics,
    runtime: &Handle,
) -> Result<Opened, StartError> {
    let url = config.store.to_string();
    let store = gateway_store::open(&config.store, runtime)?;
    let movable = Arc::new(Movable::new(store, metrics));
    let store: Arc<dyn Store> = movable.clone();
    answering(&url, store.as_ref(), clock).await?;
    let records = Records::new(store.clone()).counted(metrics);
    for service in &config.service_names {
        let person = records.user(service, clock.now()).await;
        let person = person.map_err(|error| StartError::of_store(&url, error))?;
        if person.is_some() {
            return Err(StartError::ServiceIsPerson(service.clone()));
        }
    }
    gateway_store::keep_swept(&store, clock, runtime);
    gateway_store::keep_indexed(&records, clock, runtime);
    let revocations = RevocationView::follow(store, clock, runtime);
    first_reading(&url, &revocations, clock).await?;
    let records = records.with_view(revocations.clone());
    let moves = matches!(config.store, StoreUrl::Folder(_));
    Ok((records, revocations, moves.then_some(movable)))
}

/// The backends that are called with everybody's own account.
fn with_accounts(
    config: &Config,
    backends: &[Arc<Backend>],
) -> Vec<(Arc<Backend>, AccountSettings)> {
    let both = config.backends.iter().zip(backends);
    let with = both.filter_map(|(configured, backend)| {
        let account = configured.account.clone()?;
        Some((backend.clone(), account))
    });
    with.collect()
}

/// The keys that seal accounts. Where no backend has any, none is kept.
async fn seal_keys(
    config: &Config,
    records: &Records,
    clock: Clock,
    runtime: &Handle,
) -> Result<SealKeys, StartError> {
    let has_accounts = config.backends.iter().any(|it| it.account.is_some());
    if !has_accounts {
        return Ok(SealKeys::none(&mut OsRng));
    }
    let keys = account_keys::open(&config.keys_dir, &mut OsRng)?;
    match account_keys::note(&keys, records, clock, runtime).await {
        Ok(()) => Ok(keys),
        Err(NoteError::Other(number)) => Err(StartError::OtherAccountKeys(number)),
        Err(NoteError::Store(error)) => Err(StartError::of_store(&config.store.to_string(), error)),
    }
}

/// What each backend speaks, found out from now on.
fn protocols(
    config: &Config,
    backends: &[Arc<Backend>],
    connections: &Arc<Connections>,
    runtime: &Handle,
) -> Vec<Arc<ProtocolSupport>> {
    let follow = |(configured, backend): (&ConfiguredBackend, &Arc<Backend>)| {
        let (families, answers) = (configured.families, configured.answer_discover);
        let protocols = ProtocolSupport::for_backend(backend, families, answers);
        protocols.follow(backend.clone(), connections.clone(), runtime);
        protocols
    };
    config.backends.iter().zip(backends).map(follow).collect()
}

/// What the authorization server needs of the configuration.
fn settings(config: &Config) -> Settings {
    let mounts = config.backends.iter();
    let mounts = mounts.map(|configured| configured.backend.mount.clone());
    let schemes = config.registration.redirect_schemes.iter().cloned();
    Settings {
        issuer: config.issuer.clone(),
        mounts: mounts.collect(),
        title: config.general.title.clone(),
        access_ttl: config.access_ttl,
        scopes: config.scopes.clone(),
        refresh: config.refresh,
        personal: config.personal,
        introspection: introspection(config),
        apps_challenge: config.discovery.apps_challenge.clone(),
        security_contact: config.discovery.security_contact.clone(),
        redirect_schemes: PrivateUseSchemes::new(schemes),
        clients: config.clients.clone(),
        services: config.services.clone(),
        service_names: config.service_names.clone(),
        device_apps: config.registration.device,
        document_hosts: config.registration.metadata_hosts.clone(),
        registrations_per_hour: config.limits.registrations_per_hour,
        unused_clients_for: config.registration.unused_for,
        password_login: config.general.password_login,
        owner_name: config
            .owner
            .as_ref()
            .map(|owner| owner.name.as_str().to_owned()),
    }
}

/// How long a grant can rest and still be used.
fn longest_rest(config: &Config) -> Duration {
    let idle = config
        .refresh
        .map_or(Duration::ZERO, |refresh| refresh.idle);
    let personal = config.personal.unwrap_or_default();
    config.access_ttl.max(idle).max(personal)
}

/// What is fetched from addresses that anonymous clients name.
fn documents(clients: &Clients) -> Documents {
    let private_hosts = clients.private_hosts.iter().cloned();
    Documents::new(Fetcher::new(Limits::default(), private_hosts))
}

/// The backends that may introspect, by name.
fn introspection(config: &Config) -> BTreeMap<String, SecretHash> {
    let credential = |configured: &ConfiguredBackend| {
        let hash = configured.introspection.clone()?;
        Some((configured.backend.mount.name.clone(), hash))
    };
    config.backends.iter().filter_map(credential).collect()
}

/// Waits until the store answers and has its epoch.
async fn answering(url: &str, store: &dyn Store, clock: Clock) -> Result<(), StartError> {
    let started = Instant::now();
    loop {
        let candidate = StoreEpoch {
            id: secret::identifier("b_", &mut OsRng),
            at: clock.now(),
        };
        match store.epoch(&candidate).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_corrupt() || started.elapsed() > STORE_START => {
                return Err(StartError::of_store(url, error));
            }
            Err(error) => {
                if let Some(sentence) = store.examine().await.hopeless {
                    return Err(StartError::StoreUnusable {
                        url: url.to_owned(),
                        sentence,
                    });
                }
                log::warn!(event = "store_awaited", store = url, error = error.to_string(), hint = "start it, or name another with store.url (--store)"; "the store does not answer yet");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Two gateways with different keys on one store would refuse each other's tokens at random: the
/// second one does not start.
/// The keys of access tokens, as the folder and the store have them.
async fn key_ring(
    config: &Config,
    admin_token: Option<SecretHash>,
    records: &Records,
    revocations: &Arc<RevocationView>,
    clock: Clock,
) -> Result<KeyRing, StartError> {
    let settings = RingSettings {
        folder: config.keys_dir.clone(),
        approvers: config.approvers.clone(),
        access_ttl: config.access_ttl,
        admin_token,
    };
    let opened = KeyRing::open(settings, records.clone(), revocations.clone(), clock).await;
    opened.map_err(|error| match error {
        RingError::Other(number) => StartError::OtherKeys(number),
        RingError::Keys(error) => error.into(),
        RingError::Store(error) => StartError::of_store(&config.store.to_string(), error),
    })
}

/// No call is served before the revocations were read once.
async fn first_reading(
    url: &str,
    revocations: &RevocationView,
    clock: Clock,
) -> Result<(), StartError> {
    let started = Instant::now();
    while revocations.age(clock.now()) == Duration::MAX {
        let fault = revocations.fault();
        let is_corrupt = fault.as_ref().is_some_and(StoreError::is_corrupt);
        if is_corrupt || started.elapsed() > STORE_START {
            let unread = || StoreError::Away("the revocations could not be read".to_owned());
            return Err(StartError::of_store(url, fault.unwrap_or_else(unread)));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
