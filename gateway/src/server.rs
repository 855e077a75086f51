//! Pingora's server: listeners, threads, and a shutdown that ends streams properly.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::configuration::ServerConf;
use pingora::server::{
    ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
};
use pingora::services::listening::Service;

use crate::admin::{Admin, AdminPages, FrontDoor, Process};
use crate::app::App;
use crate::backup::held::HeldBackups;
use crate::config::{Config, Limits};
use crate::service_manager::{Notifier, ServiceManager, Sockets};
use crate::stop::{StopRequest, StopSignals};
use crate::tls::Tls;
use gateway_core::clock::Clock;
use gateway_core::open_files;
use gateway_core::reason::Reason;
use gateway_core::secret::SecretHash;
use gateway_oauth::LONGEST_STREAM;
use gateway_proxy::{Addresses, Bound, Dependencies, Drain, Proxy, Settings, Timeouts, memory};
use gateway_store::LastUse;

/// What Pingora sleeps after it closed the listeners, for requests of the last moment.
const LAST_MOMENT: u64 = 1;

/// How long the shutdown waits for the store to take when grants were used last.
const WRITING_DOWN: Duration = Duration::from_secs(2);

/// What else the shutdown takes: the last moment twice, and what runs beside.
const ENDING: Duration = Duration::from_secs(7);

/// How often it is looked whether the public listener takes connections.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Tries every address once, so that one in use is a clear error instead of a panic of a thread. Those
/// of `sockets` are open already, and the configuration has to name each of them.
pub fn can_listen(config: &Config, sockets: &Sockets) -> anyhow::Result<()> {
    let addresses = addresses(config);
    sockets
        .check(&addresses)
        .map_err(|sentence| anyhow::anyhow!(sentence))?;
    for (key, address) in addresses {
        if !sockets.listens_at(address) {
            try_listen(address, key)?;
        }
    }
    Ok(())
}

/// Where the configuration listens, each with its key.
fn addresses(config: &Config) -> Vec<(&'static str, SocketAddr)> {
    let listen = config.general.listen.iter().map(|at| ("listen", *at));
    let plain = config.tls.iter().flat_map(|tls| &tls.plain);
    let plain = plain.map(|at| ("tls.plain_listen", *at));
    let admin = ("admin_listen", config.general.admin_listen);
    listen.chain(plain).chain([admin]).collect()
}

fn try_listen(address: SocketAddr, key: &str) -> anyhow::Result<()> {
    let Err(error) = TcpListener::bind(address) else {
        return Ok(());
    };
    let remedy = match error.kind() {
        ErrorKind::AddrInUse => {
            "another program listens there, perhaps another gateway: end it, or name another address"
        }
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address: name one that it has, such as 127.0.0.1, or 0.0.0.0 for all"
        }
        ErrorKind::PermissionDenied => "this user may not use that port: name one above 1023",
        _ => "name another address",
    };
    let flag = match key {
        "listen" => "--listen",
        "admin_listen" => "--admin-listen",
        _ => "GATEWAY__TLS__PLAIN_LISTEN",
    };
    anyhow::bail!("can't listen on {address}: {error}; {remedy}, with `{key}` or {flag}")
}

/// What [`serve`] is told beside the configuration.
#[derive(Debug)]
pub struct ServeOptions {
    /// Whether the short road is open.
    pub lane: bool,
    /// What the operator's commands must show.
    pub admin_token: Option<SecretHash>,
    /// What opens the stream of `tunnel::probe`.
    pub stream_probe: Option<SecretHash>,
    /// Whether we were told to end before.
    pub stop: StopRequest,
    /// Who opened some of the sockets, and is told how the gateway stands.
    pub manager: ServiceManager,
}

/// Serves until SIGTERM or SIGINT. `tls`: the certificate, where https is served.
pub fn serve(config: &Config, app: App, tls: Option<&Tls>, options: ServeOptions) {
    let ServeOptions {
        lane,
        admin_token,
        stream_probe,
        stop,
        manager,
    } = options;
    open_files::raise();
    let mut server = pingora(config);
    let clock = app.clock;
    let authorization_server = app.authorization_server.clone();
    let revocations = app.revocations.clone();
    let last_use = app.authorization_server.last_use.clone();
    let lookout = app.lookout.clone();
    let metrics = app.metrics.clone();
    let settings = Settings {
        stream_probe,
        ..settings(config, lane)
    };
    let proxy = Proxy::new(settings, dependencies(app));
    let process = Process {
        streams: proxy.streams().clone(),
        backups: HeldBackups::default(),
    };
    authorization_server
        .owner_pages
        .set(Box::new(AdminPages::new(
            config.clone(),
            process.clone(),
            revocations.clone(),
            lookout.clone(),
        )));
    let admin = Admin {
        server: authorization_server,
        revocations,
        lookout,
        front: FrontDoor::new(&config.general.listen),
        proxy: proxy.clone(),
        process,
        metrics: metrics.clone(),
        token: admin_token,
        certificate: tls.map(|tls| Arc::clone(&tls.status)),
        keys_dir: config.keys_dir.clone(),
    };
    let mut open = manager.sockets.into_listeners();
    let admin_socket = open.remove(&config.general.admin_listen);
    let addresses = Addresses {
        served: config.general.listen.clone(),
        certificate: tls.map(|tls| Arc::clone(&tls.served)),
        plain: config
            .tls
            .as_ref()
            .map_or_else(Vec::new, |tls| tls.plain.clone()),
        open,
    };
    let public = proxy.listeners(&server.configuration, addresses);
    let mut loopback = Service::new("admin".to_owned(), admin);
    loopback.threads = Some(1);
    loopback.add_tcp(&config.general.admin_listen.to_string());
    server.add_service(public);
    server.add_service(AdminListener {
        service: loopback,
        address: config.general.admin_listen,
        socket: admin_socket,
    });
    log::info!(event = "serving", public_url = config.issuer.as_str(); "serving");
    server.run(RunArgs {
        shutdown_signal: Box::new(Farewell {
            stop,
            drain: proxy.drain(),
            grace: config.timeouts.shutdown,
            last_use,
            clock,
            front: FrontDoor::new(&config.general.listen),
            public_url: config.issuer.as_str().to_owned(),
            notifier: manager.notifier,
        }),
    });
}

fn pingora(config: &Config) -> Server {
    let configuration = ServerConf {
        threads: config.threads,
        grace_period_seconds: Some(LAST_MOMENT),
        graceful_shutdown_timeout_seconds: Some(LAST_MOMENT),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    server
}

/// Pingora's service of the admin listener, on a socket that may be open already.
struct AdminListener {
    service: Service<Admin>,
    address: SocketAddr,
    socket: Option<TcpListener>,
}

#[async_trait]
impl pingora::services::Service for AdminListener {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        if let (Some(fds), Some(socket)) = (&fds, self.socket.take()) {
            // Pingora looks there before it opens one, and owns it then.
            fds.lock()
                .add(self.address.to_string(), socket.into_raw_fd());
        }
        self.service
            .start_service(fds, shutdown, listeners_per_fd)
            .await;
    }

    fn name(&self) -> &str {
        self.service.name()
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads()
    }
}

/// Whether plain requests for MCP are served on the lane, by this value of `GATEWAY_LANE`: they are,
/// unless it forces the other road.
///
/// # Errors
///
/// It is neither `on` nor `off`: what is wrong with it.
pub fn lane(switch: Option<&OsStr>) -> Result<bool, String> {
    match switch.map(OsStr::to_string_lossy).as_deref() {
        None | Some("" | "on") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => Err(format!(
            "GATEWAY_LANE is {other:?}: write off to have all requests served through Pingora, or take \
             the variable out of the environment"
        )),
    }
}

/// What the environment says of it.
///
/// # Errors
///
/// As for [`lane`].
pub fn lane_of_environment() -> Result<bool, String> {
    lane(std::env::var_os("GATEWAY_LANE").as_deref())
}

fn settings(config: &Config, lane: bool) -> Settings {
    let (connections, bound) = connections(&config.limits);
    Settings {
        issuer: config.issuer.clone(),
        allowed_origins: config.allowed_origins.clone(),
        trusted_proxies: config.general.trusted_proxies.clone(),
        identity_headers: config.identity.clone(),
        request_body: config.limits.request_body,
        request_header: config.limits.request_header,
        in_flight: config.limits.in_flight(),
        connections,
        bound,
        connections_per_address: config.limits.connections_per_address,
        keep_alive: config.timeouts.keepalive,
        lane,
        h2c: config.general.h2c,
        stream_probe: None,
        streams_outlast_tokens: config.refresh.map(|_| LONGEST_STREAM),
        timeouts: Timeouts {
            head: config.timeouts.header,
            body: config.timeouts.body,
            ..Timeouts::default()
        },
    }
}

/// How many connections there may be, and what bounds them. Where that is not the setting, the log
/// says it.
fn connections(limits: &Limits) -> (usize, Bound) {
    let files = open_files::limit();
    let by_files = open_files::connections(files);
    let by_memory = memory::connections(limits.memory, limits.in_flight().all).max(1);
    let configured = limits.connections;
    if configured <= by_files.min(by_memory) {
        return (configured, Bound::Setting);
    }
    if by_files <= by_memory {
        let reason = Reason::OpenFilesExhausted;
        log::warn!(
            event = "connections_limited", reason = reason.code(), hint = reason.remedy(),
            configured = configured, connections = by_files, open_files = files;
            "the limit of open files is enough for {by_files} connections, not for limits.connections"
        );
        return (by_files, Bound::OpenFiles);
    }
    let reason = Reason::ConnectionsFull;
    log::warn!(
        event = "connections_limited", reason = reason.code(), hint = reason.remedy(),
        configured = configured, connections = by_memory, memory = limits.memory;
        "limits.memory is enough for {by_memory} connections, not for limits.connections"
    );
    (by_memory, Bound::Memory)
}

fn dependencies(app: App) -> Dependencies {
    Dependencies {
        server: app.authorization_server,
        keys: app.keys,
        revocations: app.revocations,
        tags: app.tags,
        clock: app.clock,
        journal: app.journal,
        policy: app.policy,
        backends: app.backends,
        protocols: app.protocols,
        connections: app.connections,
        metrics: app.metrics,
        traces: app.traces,
    }
}

/// Waits for a signal. SIGTERM and SIGINT: streams are ended, open requests get `grace`, then the
/// listeners close. A second signal: at once.
struct Farewell {
    stop: StopRequest,
    drain: Drain,
    grace: Duration,
    last_use: Arc<LastUse>,
    clock: Clock,
    front: FrontDoor,
    public_url: String,
    notifier: Notifier,
}

impl Farewell {
    /// What is nice to have, within a time that nobody minds.
    async fn write_down(&self) {
        let written = self.last_use.write_all(self.clock.now());
        let _ = tokio::time::timeout(WRITING_DOWN, written).await;
    }

    /// Tells the service manager once connections are taken, and goes on for ever.
    async fn announce(&self) {
        while self.notifier.is_listened_to() && !self.front.is_open().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.notifier.serving(&self.public_url);
        std::future::pending().await
    }
}

#[async_trait]
impl ShutdownSignalWatch for Farewell {
    async fn recv(&self) -> ShutdownSignal {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = stop_signal() => {}
            () = stop.made() => {}
            () = self.announce() => {}
        }
        let running = self.drain.running();
        log::info!(event = "shutdown_started", running = running; "shutdown started");
        self.notifier
            .stopping(running, self.grace + WRITING_DOWN + ENDING);
        tokio::select! {
            left = self.drain.finish(self.grace) => {
                log::info!(event = "shutdown_drained", left = left; "shutdown drained");
                self.write_down().await;
                ShutdownSignal::GracefulTerminate
            }
            () = stop_signal() => ShutdownSignal::FastShutdown,
        }
    }
}

/// Ends with the next signal from now on.
async fn stop_signal() {
    match StopSignals::listen() {
        Ok(mut signals) => signals.next().await,
        // Without handlers the signals end the process by themselves.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_forces_a_road_or_is_refused() {
        for (value, is_open) in [
            (None, Ok(true)),
            (Some(""), Ok(true)),
            (Some("on"), Ok(true)),
            (Some("off"), Ok(false)),
            (Some("Off"), Err(())),
            (Some("0"), Err(())),
        ] {
            let read = lane(value.map(OsStr::new));
            assert_eq!(read.clone().map_err(|_| ()), is_open, "{value:?}");
            if let Err(sentence) = read {
                assert!(sentence.contains("write off"), "{sentence}");
            }
        }
    }
}
