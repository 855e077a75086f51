//! `gateway serve`: start, say what was done, serve until told to stop.

mod owner;

use std::ffi::OsStr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use rand::rngs::OsRng;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Notify, watch};

use crate::admin::FrontDoor;
use crate::app::App;
use crate::cli::configuration::Configuration;
use crate::cli::failed::Failed;
use crate::cli::{logging, reload, summary};
use crate::config::{self, CertificateSource, Config};
use crate::environment;
use crate::keys;
use crate::server;
use crate::server::{Legacy, ServeOptions};
use crate::service_manager::{Notifier, ServiceManager};
use crate::stop::StopRequest;
use crate::supervisor::{self, Programs};
use crate::tls::Tls;
use crate::tls::acme::{self, Following};
use crate::tls::certificate::Certificate;
use crate::tls::files;
use crate::tunnel::probe::StreamProbe;
use crate::tunnel::{self, Tunnel, TunnelKind};
use crate::upgrade::Predecessor;
use gateway_core::clock::Clock;
use gateway_core::secret::SecretHash;

/// What `gateway serve` is told.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    /// Have an installed program lead a public https URL here, which becomes the public URL: the first of
    /// cloudflared, ngrok and tailscale that is there, or the one named
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        conflicts_with_all = ["public_url", "domain"]
    )]
    tunnel: Option<Option<TunnelKind>>,
    /// Take over from the gateway that serves from the same state folder, without anybody noticing; what
    /// `gateway upgrade` starts
    #[arg(long, conflicts_with = "tunnel")]
    upgrade: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<ExitCode, Failed> {
    let config = arguments.configuration.resolve()?;
    let lane = server::lane_of_environment().map_err(Failed::usage)?;
    let manager = ServiceManager::from_environment().map_err(Failed::usage)?;
    // Ends before a failure is told: what led to it is read before.
    let _logging = logging::start(config.log.format, config.log.level);
    let served = begin(arguments, config, lane, manager);
    served.map_err(|error| Failed::unavailable(format_args!("{error:#}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Looks whom it takes over from, or opens a tunnel, and starts.
fn begin(
    arguments: Arguments,
    mut config: Config,
    lane: bool,
    mut manager: ServiceManager,
) -> anyhow::Result<()> {
    let mut configuration = arguments.configuration;
    let origin = match arguments.tunnel {
        None if arguments.upgrade => predecessor(&config, &mut manager)?,
        None => Origin::nothing()?,
        Some(kind) => {
            let Some(origin) = open_tunnel(kind, &config, &manager)? else {
                return Ok(());
            };
            configuration.tunnel_url = origin.tunnel.as_ref().map(|tunnel| tunnel.url.clone());
            config = config::resolve(&configuration.layers()).map_err(|problems| {
                let problems = problems.iter().map(ToString::to_string);
                anyhow::anyhow!(problems.collect::<Vec<_>>().join("\n"))
            })?;
            origin
        }
    };
    start(&configuration, &config, lane, origin, manager)
}

/// What there is before the start.
struct Origin {
    tunnel: Option<Tunnel>,
    /// Another process serves, and hands over.
    predecessor: Option<Box<Predecessor>>,
    /// The store's connection and the programs beside us run on it: Pingora makes its own runtimes only
    /// once it serves.
    runtime: Runtime,
    /// Whether we are told to end. Listened for since before a tunnel's program was started, which would
    /// otherwise stay behind.
    request: StopRequest,
}

impl Origin {
    fn nothing() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("background")
            .enable_all()
            .build()?;
        Ok(Self {
            tunnel: None,
            predecessor: None,
            runtime,
            request: StopRequest::never(),
        })
    }
}

/// Asks the process that serves. Nothing changes for it yet.
fn predecessor(config: &Config, manager: &mut ServiceManager) -> anyhow::Result<Origin> {
    let mut origin = Origin::nothing()?;
    let mut predecessor = origin.runtime.block_on(Predecessor::ask(config))?;
    log::info!(event = "taking_over", predecessor = predecessor.process(), version = predecessor.version(); "taking over from process {}", predecessor.process());
    let addresses = server::addresses(config).into_iter();
    let addresses: Vec<_> = addresses.map(|(_, address)| address).collect();
    manager.sockets.inherit(predecessor.listeners(&addresses));
    if let Some(name) = predecessor.notify()
        && !manager.notifier.is_listened_to()
    {
        manager.notifier = Notifier::named(OsStr::new(name))?;
    }
    origin.predecessor = Some(Box::new(predecessor));
    Ok(origin)
}

/// Opens a tunnel; `None` where we were told to end before it was open.
fn open_tunnel(
    kind: Option<TunnelKind>,
    config: &Config,
    manager: &ServiceManager,
) -> anyhow::Result<Option<Origin>> {
    // What would keep the gateway from starting is found before anybody is told of a URL.
    anyhow::ensure!(
        config.tls.is_none(),
        "--tunnel leads plain HTTP here, and [tls] is on: take one of them"
    );
    let port = tunnel::reached_port(&config.general.listen)?;
    server::can_listen(config, &manager.sockets)?;
    let mut origin = Origin::nothing()?;
    origin.request = StopRequest::listen(origin.runtime.handle())?;
    let opened = origin.runtime.block_on(async {
        tokio::select! {
            opened = Tunnel::open(kind, port) => Some(opened),
            // What was begun ends with the future that began it.
            () = origin.request.made() => None,
        }
    });
    let Some(opened) = opened else {
        log::info!(event = "stopped_early"; "told to end before the tunnel was open");
        return Ok(None);
    };
    origin.tunnel = Some(opened?);
    Ok(Some(origin))
}

/// What a start that succeeded has made, which lives as long as the process.
struct Started {
    app: App,
    certificate: Option<Certificate>,
    origin: Origin,
    programs: Programs,
    /// Ends what runs beside us.
    stop: watch::Sender<bool>,
}

fn start(
    configuration: &Configuration,
    config: &Config,
    lane: bool,
    mut origin: Origin,
    mut manager: ServiceManager,
) -> anyhow::Result<()> {
    match &origin.predecessor {
        // What it does not hand over is opened here, before it lets go of anything.
        Some(_) => server::listen_elsewhere(config, &mut manager.sockets)?,
        None => server::can_listen(config, &manager.sockets)?,
    }
    // One that is wrong ends the start.
    let certificate = files::configured(config, Clock.now()).transpose()?;
    let keys = keys::open(&config.keys_dir, &mut OsRng)?;
    let keys_created = keys.created;
    let admin_token = keys::make_admin_token(&config.keys_dir, &mut OsRng)?;
    let admin_token = admin_token.map(|token| token.hash());
    let programs = Programs::default();
    let stop = watch::Sender::new(false);
    let starting = async {
        if let Some(predecessor) = &mut origin.predecessor {
            // All that can be wrong before anything is opened was looked at.
            predecessor.take().await?;
        }
        let runtime = origin.runtime.handle();
        let app = App::build(config, keys, admin_token, runtime).await?;
        dangers(config, &app, certificate.as_ref()).await;
        owner::of_configuration(config, &app).await?;
        let beside = (&programs, origin.predecessor.as_deref_mut());
        start_programs(config, runtime, &stop, beside).await?;
        let (certificate, tunnel) = (certificate.as_ref(), origin.tunnel.as_ref());
        summary::print(config, &app, keys_created, certificate, tunnel).await?;
        anyhow::Ok(app)
    };
    let started = origin.runtime.block_on(async {
        tokio::select! {
            started = starting => Some(started),
            () = origin.request.made() => None,
        }
    });
    let Some(app) = started.transpose()? else {
        log::info!(event = "stopped_early"; "told to end before anything was served");
        stop.send_replace(true);
        origin.runtime.block_on(programs.ended());
        if let Some(tunnel) = origin.tunnel {
            origin.runtime.block_on(tunnel.close());
        }
        return Ok(());
    };
    let started = Started {
        app,
        certificate,
        origin,
        programs,
        stop,
    };
    serve(configuration, config, lane, manager, started)
}

/// Serves until we are told to end, and ends what was started.
fn serve(
    configuration: &Configuration,
    config: &Config,
    lane: bool,
    manager: ServiceManager,
    started: Started,
) -> anyhow::Result<()> {
    let Started {
        app,
        certificate,
        origin,
        programs,
        stop,
    } = started;
    let Origin {
        runtime,
        tunnel,
        predecessor,
        request,
    } = origin;
    // Beside all else: nothing waits for a backend.
    runtime.spawn(summary::fill_in(
        config.scopes.clone(),
        app.backends.clone(),
        Arc::clone(&app.lookout),
    ));
    let (journal, traces) = (app.server.journal.clone(), app.traces.clone());
    let call_limits = Arc::clone(&app.server.limits);
    let handle = runtime.handle();
    let hangup = Arc::new(Notify::new());
    let tls = follow_certificate(config, &app, certificate.as_ref(), handle, &hangup);
    let reloading = reload::Reloading {
        configuration: configuration.clone(),
        policy: app.server.policy.clone(),
        call_limits: Arc::clone(&call_limits),
        journal: journal.clone(),
        certificate: tls.is_some().then_some(hangup),
        keys: app.keys.clone(),
        notifier: manager.notifier.clone(),
    };
    reload::follow(handle, reloading)?;
    let is_lost = Arc::new(AtomicBool::new(false));
    let stream_probe = tunnel.as_ref().and_then(|_| probe_streams(config, handle));
    let tunnel = tunnel.map(|tunnel| tunnel.keep(handle, stop.subscribe(), Arc::clone(&is_lost)));
    let beside = programs.clone();
    let options = ServeOptions {
        lane,
        stream_probe,
        stop: request,
        manager,
        legacy: Legacy {
            programs,
            kept: tunnel.as_ref().map(|_| "a tunnel"),
            runtime: handle.clone(),
        },
        predecessor: predecessor.map(|predecessor| *predecessor),
    };
    let served = server::serve(config, app, tls.as_ref(), options);
    runtime.block_on(call_limits.shares().finish());
    journal.close();
    runtime.block_on(traces.finish());
    if served.is_err() {
        // The process before serves on, with its programs.
        beside.give_back();
        runtime.block_on(beside.ended());
    }
    stop.send_replace(true);
    runtime.block_on(beside.ended());
    if let Some(tunnel) = tunnel {
        // It is ended before the runtime that could.
        let _ = runtime.block_on(tunnel);
    }
    runtime.shutdown_timeout(Duration::from_secs(5));
    served?;
    anyhow::ensure!(
        !is_lost.load(Ordering::Relaxed),
        "the tunnel came back with another URL: start again, and connect the apps to the new one"
    );
    Ok(())
}

/// Tries whether streams come through the tunnel; the secret tells its own requests.
fn probe_streams(config: &Config, runtime: &Handle) -> Option<SecretHash> {
    let probe = StreamProbe::new(&config.issuer, &mut OsRng)?;
    let secret = probe.secret();
    probe.start(runtime);
    Some(secret)
}

/// Follows the certificate from now on, where https is served.
fn follow_certificate(
    config: &Config,
    app: &App,
    first: Option<&Certificate>,
    runtime: &Handle,
    again: &Arc<Notify>,
) -> Option<Tls> {
    let settings = config.tls.as_ref()?;
    let (tls, again) = (Tls::default(), Arc::clone(again));
    match &settings.source {
        CertificateSource::Files(source) => {
            files::follow(runtime, source.clone(), first?, &tls, again);
        }
        CertificateSource::Acme(acme) => {
            let following = Following {
                settings: acme.clone(),
                front: FrontDoor::new(&settings.plain),
                records: app.server.records.clone(),
                tags: app.server.tags.clone(),
                tls: tls.clone(),
                again,
            };
            acme::follow(runtime, following);
        }
    }
    Some(tls)
}

/// What around us endangers what we promise.
async fn dangers(config: &Config, app: &App, certificate: Option<&Certificate>) {
    let epoch = app.revocations.epoch();
    let store = app.server.records.store().as_ref();
    let now = app.server.clock.now();
    let found = environment::dangers(store, &config.keys_dir, epoch.as_ref(), now).await;
    let password_login = config.general.password_login;
    let alone = environment::no_way_in_alone(password_login, config.owner.is_some());
    let doubts = environment::certificate_doubts(config, certificate);
    for sentence in found.into_iter().chain(alone).chain(doubts) {
        log::warn!(event = "environment_unsafe"; "{sentence}");
        println!("! unsafe     {sentence}");
    }
}

/// Starts the programs of the backends that have one.
async fn start_programs(
    config: &Config,
    runtime: &Handle,
    stop: &watch::Sender<bool>,
    (programs, mut predecessor): (&Programs, Option<&mut Predecessor>),
) -> anyhow::Result<()> {
    for program in config.backends.iter().filter_map(|it| it.program.clone()) {
        let name = program.name.clone();
        let running = predecessor.as_mut().and_then(|one| one.adopt(&program));
        supervisor::supervise(runtime, program, running, programs, stop.subscribe())
            .await
            .map_err(|error| {
                anyhow::anyhow!(
                    "backend {name}: its `command` can't be started: {error}; a program is looked for beside \
                     the gateway and on the PATH"
                )
            })?;
    }
    Ok(())
}
