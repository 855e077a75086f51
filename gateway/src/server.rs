//! Pingora's server: listeners, threads, and a shutdown that ends streams properly.

mod admin_listener;
mod farewell;

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::listening::Service;
use tokio::runtime::Handle;

use self::admin_listener::AdminListener;
use self::farewell::{Beginning, Farewell};
use crate::admin::{Admin, AdminPages, FrontDoor, PeerStreams, Process};
use crate::app::App;
use crate::backup::held::HeldBackups;
use crate::config::{Config, Limits};
use crate::service_manager::{ServiceManager, Sockets};
use crate::stop::StopRequest;
use crate::supervisor::Programs;
use crate::tls::Tls;
use crate::upgrade::{self, Predecessor, Succession};
use gateway_core::open_files;
use gateway_core::reason::Reason;
use gateway_core::secret::SecretHash;
use gateway_oauth::LONGEST_STREAM;
use gateway_proxy::{
    Addresses, Bound, Dependencies, ListenSockets, Proxy, Settings, Timeouts, memory,
};

/// What Pingora sleeps after it closed the listeners, for requests of the last moment.
const LAST_MOMENT: u64 = 1;

/// Tries every address once, so that one in use is a clear error instead of a panic of a thread. Those
/// of `sockets` are open already, and the configuration has to name each of them.
pub fn can_listen(config: &Config, sockets: &Sockets) -> anyhow::Result<()> {
    missing(config, sockets)?
        .into_iter()
        .try_for_each(|(key, address)| try_listen(address, key).map(drop))
}

/// Listens at every address at which none of `sockets` does, from now on.
///
/// # Errors
///
/// As for [`can_listen`].
pub fn listen_elsewhere(config: &Config, sockets: &mut Sockets) -> anyhow::Result<()> {
    let mut opened = Vec::new();
    for (key, address) in missing(config, sockets)? {
        let listener = try_listen(address, key)?;
        listener.set_nonblocking(true)?;
        opened.push((address, listener));
    }
    sockets.inherit(opened);
    Ok(())
}

/// Where the configuration listens and none of these sockets does.
fn missing(config: &Config, sockets: &Sockets) -> anyhow::Result<Vec<(&'static str, SocketAddr)>> {
    let mut addresses = addresses(config);
    sockets.check(&addresses).map_err(anyhow::Error::msg)?;
    addresses.retain(|(_, address)| !sockets.listens_at(*address));
    Ok(addresses)
}

/// Where the configuration listens, each with its key.
pub fn addresses(config: &Config) -> Vec<(&'static str, SocketAddr)> {
    let listen = config.general.listen.iter().map(|at| ("listen", *at));
    let plain = config.tls.iter().flat_map(|tls| &tls.plain);
    let plain = plain.map(|at| ("tls.plain_listen", *at));
    let admin = ("admin_listen", config.general.admin_listen);
    listen.chain(plain).chain([admin]).collect()
}

fn try_listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let error = match TcpListener::bind(address) {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
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
    /// What opens the stream of `tunnel::probe`.
    pub stream_probe: Option<SecretHash>,
    /// Whether we were told to end before.
    pub stop: StopRequest,
    /// Who opened some of the sockets, and is told how the gateway stands.
    pub manager: ServiceManager,
    /// What the next process takes over.
    pub legacy: Legacy,
    /// The process that is taken over from.
    pub predecessor: Option<Predecessor>,
}

/// What there is beside the server for a process that takes over.
#[derive(Debug)]
pub struct Legacy {
    /// The programs beside us.
    pub programs: Programs,
    /// What nobody else can go on with, if there is something.
    pub kept: Option<&'static str>,
    /// Where whoever takes over is answered.
    pub runtime: Handle,
}

/// Serves until SIGTERM or SIGINT, or until another process has taken over and what was open here has
/// ended. `tls`: the certificate, where https is served.
///
/// # Errors
///
/// It could not take over from the process that served before.
pub fn serve(
    config: &Config,
    app: App,
    tls: Option<&Tls>,
    options: ServeOptions,
) -> anyhow::Result<()> {
    let ServeOptions {
        manager, legacy, ..
    } = options;
    open_files::raise();
    let mut server = pingora(config);
    let settings = settings(config, options.lane, options.stream_probe);
    let proxy = Proxy::new(settings, dependencies(&app));
    let store = Arc::clone(app.server.records.store());
    let backups = HeldBackups::default();
    let has_peers = store.is_shared() || options.predecessor.is_some();
    let streams = (&legacy.runtime, has_peers);
    let admin = admin(config, &app, (&proxy, &backups), tls, streams);
    let sockets = ListenSockets::default();
    let beginning = Beginning {
        succession: Succession {
            socket: upgrade::socket_in(&config.state),
            url: config.store.clone(),
            store,
            movable: app.movable,
            journal: app.server.journal.clone(),
            backups,
            sockets: sockets.clone(),
            drain: proxy.drain(),
            programs: legacy.programs,
            notifier: manager.notifier.clone(),
            kept: legacy.kept,
            runtime: legacy.runtime,
        },
        predecessor: options.predecessor,
    };
    let open = (manager.sockets, sockets);
    add_listeners(&mut server, config, tls, admin, open);
    log::info!(event = "serving", public_url = config.issuer.as_str(); "serving");
    let never_began = Arc::new(AtomicBool::new(false));
    server.run(RunArgs {
        shutdown_signal: Box::new(Farewell {
            stop: options.stop,
            drain: proxy.drain(),
            timeouts: config.timeouts.clone(),
            beginning: Mutex::new(Some(beginning)),
            last_use: app.server.last_use.clone(),
            clock: app.server.clock,
            front: FrontDoor::new(&config.general.listen),
            public_url: config.issuer.as_str().to_owned(),
            notifier: manager.notifier,
            never_began: Arc::clone(&never_began),
        }),
    });
    anyhow::ensure!(
        !never_began.load(Ordering::Relaxed),
        "the gateway that served before did not hand over"
    );
    Ok(())
}

/// What the admin listener answers, and the owner's pages.
fn admin(
    config: &Config,
    app: &App,
    (proxy, backups): (&Proxy, &HeldBackups),
    tls: Option<&Tls>,
    (runtime, has_peers): (&Handle, bool),
) -> Admin {
    let (server, revocations, lookout) = (&app.server, &app.revocations, &app.lookout);
    // With the embedded store that is a process which left, if there is one.
    let streams = PeerStreams::new(proxy.streams().clone(), server.records.clone(), has_peers);
    streams.follow(server.clock, runtime);
    let process = Process {
        streams,
        backups: backups.clone(),
        keys: app.keys.clone(),
    };
    server.owner_pages.set(Box::new(AdminPages::new(
        config.clone(),
        process.clone(),
        revocations.clone(),
        lookout.clone(),
    )));
    Admin {
        server: server.clone(),
        revocations: revocations.clone(),
        lookout: lookout.clone(),
        front: FrontDoor::new(&config.general.listen),
        proxy: proxy.clone(),
        process,
        metrics: server.metrics.clone(),
        certificate: tls.map(|tls| Arc::clone(&tls.status)),
        keys_dir: config.keys_dir.clone(),
    }
}

/// The public listeners and that of the admin, on the sockets that are open already where there are some.
fn add_listeners(
    server: &mut Server,
    config: &Config,
    tls: Option<&Tls>,
    admin: Admin,
    (open, sockets): (Sockets, ListenSockets),
) {
    let proxy = admin.proxy.clone();
    let mut open = open.into_listeners();
    let admin_socket = open.remove(&config.general.admin_listen);
    let addresses = Addresses {
        served: config.general.listen.clone(),
        certificate: tls.map(|tls| Arc::clone(&tls.served)),
        plain: config
            .tls
            .as_ref()
            .map_or_else(Vec::new, |tls| tls.plain.clone()),
        open,
        sockets: sockets.clone(),
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
        sockets,
        drain: proxy.drain(),
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

fn settings(config: &Config, lane: bool, stream_probe: Option<SecretHash>) -> Settings {
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
        stream_probe,
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

fn dependencies(app: &App) -> Dependencies {
    let server = &app.server;
    Dependencies {
        server: server.clone(),
        keys: server.keys.clone(),
        revocations: app.revocations.clone(),
        tags: server.tags.clone(),
        clock: server.clock,
        journal: server.journal.clone(),
        policy: server.policy.clone(),
        backends: app.backends.clone(),
        protocols: app.protocols.clone(),
        connections: app.connections.clone(),
        metrics: server.metrics.clone(),
        traces: app.traces.clone(),
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
