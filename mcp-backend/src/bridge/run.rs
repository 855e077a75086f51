//! Runs the bridge: listens, serves, and at the end leaves no process behind.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::time::Duration;

use anyhow::Context;
use axum::serve::ListenerExt;
use rustix::fs::Mode;
use rustix::process::umask;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::bridge::child::CommandSpec;
use crate::bridge::http::{BridgeState, IdentityHeaders, router};
use crate::bridge::options::{BridgeOptions, Listen, environment};
use crate::bridge::pool::Pool;
use crate::bridge::pool::process_slots::ProcessSlots;
use crate::bridge::pool::server::SharedConfig;
use crate::hosts::Hosts;
use crate::{limits, run};

/// After the signal to end, answers under way have this long.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Processes have this long to end.
const LAST_PROCESSES: Duration = Duration::from_secs(10);

/// Serves until a signal, or until stdin closes where that was asked for.
///
/// # Errors
/// The address can't be listened on.
pub async fn serve(options: BridgeOptions) -> anyhow::Result<()> {
    let ending = CancellationToken::new();
    run::end_on_signals(&ending)?;
    limits::raise_open_files();
    if options.until_stdin_closes {
        run::end_with(tokio::io::stdin(), &ending);
    }
    let pool = Pool::new(config(&options)?, options.process, options.warm_up);
    tokio::spawn(Arc::clone(&pool).keep(ending.clone()));
    if options.warm_up {
        tokio::spawn(Arc::clone(&pool).warm_up());
    }
    let is_private = match &options.listen {
        Listen::Unix(_) => true,
        Listen::Tcp(address) => address.ip().is_loopback() || options.trust_identity_headers,
    };
    if !is_private {
        log::warn!(event = "identity_not_believed"; "anybody can reach this address, so nobody is believed to speak for a person: clients without sessions share a process. Where only the gateway can reach it: --trust-identity-headers");
    }
    let bridge = BridgeState {
        pool: Arc::clone(&pool),
        hosts: Arc::new(Hosts::new(&options.allowed_host)),
        identity: is_private.then(|| IdentityHeaders {
            user: options.user_header.clone(),
            client: options.client_header.clone(),
            grant: options.grant_header.clone(),
        }),
        ending: ending.clone(),
        numbers: Arc::new(AtomicU64::new(1)),
    };
    let router = router(bridge, options.largest_body);
    let served = match &options.listen {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await.with_context(|| {
                format!("cannot listen on {address}; name another address with --listen")
            })?;
            say(&format!("http://{}", listener.local_addr()?));
            let listener = listener.tap_io(|connection| {
                // Events are small and must not wait for the next one to fill a packet.
                let _ = connection.set_nodelay(true);
            });
            run::serve_until(listener, router, &ending, LAST_ANSWERS).await
        }
        Listen::Unix(path) => {
            let listener = bind(path).await.with_context(|| {
                let path = path.display();
                format!("cannot listen on {path}; name another path with --listen unix:PATH")
            })?;
            say(&format!("unix:{}", path.display()));
            let served = run::serve_until(listener, router, &ending, LAST_ANSWERS).await;
            let _ = std::fs::remove_file(path);
            served
        }
    };
    pool.close();
    let _ = timeout(LAST_PROCESSES, pool.config().slots.all_free()).await;
    log::info!(event = "ended"; "ended");
    served
}

fn config(options: &BridgeOptions) -> anyhow::Result<SharedConfig> {
    let (environment, missing) = environment(&options.env, |name| std::env::var(name).ok());
    for name in missing {
        log::warn!(event = "variable_not_set", name = name.as_str(); "--env {name}: there is no such variable here");
    }
    if let Some(folder) = &options.working_directory {
        anyhow::ensure!(folder.is_dir(), "{} is no folder", folder.display());
    }
    let program = options.command.first().map_or("", String::as_str);
    let name = options.name.clone().unwrap_or_else(|| {
        let file = Path::new(program).file_name().unwrap_or_default();
        file.to_string_lossy().into_owned()
    });
    Ok(SharedConfig {
        spec: CommandSpec {
            name,
            command: options.command.clone(),
            environment,
            working_directory: options.working_directory.clone(),
            longest_line: options.longest_line,
        },
        start: options.start_timeout,
        silence: options.answer_timeout,
        idle: options.idle,
        slots: ProcessSlots::new(options.limits()),
        families: AtomicU8::new(0),
        is_proven: AtomicBool::new(false),
        initialize_first: AtomicBool::new(false),
    })
}

/// A socket that only this user can connect to, in place of one that a killed bridge left behind.
async fn bind(path: &Path) -> std::io::Result<UnixListener> {
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => return Err(std::io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)?;
        }
        Err(_) => {}
    }
    // Set before the socket exists, so that there is no moment in which others could connect.
    let usual = umask(Mode::RWXG | Mode::RWXO);
    let listener = UnixListener::bind(path);
    umask(usual);
    listener
}

fn say(address: &str) {
    log::info!(event = "listening", address = address; "listening on {address}");
    // Nobody may be reading; that is no reason to fail.
    let _ = writeln!(std::io::stdout(), "listening on {address}");
}
