//! Runs the server: serves on a socket or on stdin until told to end, and reads the folder beside.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::serve::ListenerExt;
use rmcp::ServiceExt;
use rmcp::transport::stdio_pipes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::address::{AddressTemplate, Addresses};
use crate::folder::Folder;
use crate::hosts::Hosts;
use crate::http::{self, Served};
use crate::indexer::Indexer;
use crate::limits;
use crate::options::ServeOptions;
use crate::server::DocumentServer;
use crate::tools::Tools;
use crate::watch;

/// After the signal to end, answers under way have this long.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// Serves until a signal, or until stdin closes where that was asked for.
///
/// # Errors
/// The folder cannot be read or the address not be listened on.
pub async fn serve(options: ServeOptions) -> anyhow::Result<()> {
    let ending = CancellationToken::new();
    end_on_signals(&ending)?;
    limits::raise_open_files();
    let documents = options.documents.clone();
    let indexer = tokio::task::spawn_blocking(move || open(&documents)).await??;
    if options.stdio {
        serve_stdio(options, indexer, ending).await
    } else {
        serve_http(options, indexer, ending).await
    }
}

fn open(documents: &std::path::Path) -> anyhow::Result<Indexer> {
    let folder =
        Folder::open(documents).context("name the folder of documents with --documents")?;
    Ok(Indexer::new(folder)?)
}

async fn serve_http(
    options: ServeOptions,
    indexer: Indexer,
    ending: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen).await.with_context(|| {
        let listen = options.listen;
        format!("cannot listen on {listen}; name another address with --listen")
    })?;
    let address = listener.local_addr()?;
    let addresses = Addresses::new(options.base_url, own_address(address)?);
    if options.until_stdin_closes {
        end_with(tokio::io::stdin(), &ending);
    }
    if !address.ip().is_loopback() && options.allowed_host.is_empty() {
        log::warn!(event = "only_loopback_hosts"; "requests that name another Host than localhost are refused; see --allowed-host");
    }

    let library = indexer.library();
    watch::follow(indexer)?;
    let server = DocumentServer::new(Tools::new(std::sync::Arc::clone(&library), addresses));
    let hosts = Hosts::new(&options.allowed_host);
    let router = http::router(Served {
        server,
        library,
        hosts,
        ending: ending.clone(),
    });

    // Events are small and must not wait for the next one to fill a packet.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            log::debug!(event = "nodelay"; "{error}");
        }
    });
    log::info!(event = "listening", address = address.to_string().as_str(); "listening on http://{address}");
    // Nobody may be reading; that is no reason to fail.
    let _ = writeln!(std::io::stdout(), "listening on http://{address}");

    serve_until(listener, router, &ending, LAST_ANSWERS).await?;
    log::info!(event = "ended"; "ended");
    Ok(())
}

async fn serve_stdio(
    options: ServeOptions,
    indexer: Indexer,
    ending: CancellationToken,
) -> anyhow::Result<()> {
    let addresses = Addresses::new(options.base_url, own_address(options.listen)?);
    let server = DocumentServer::new(Tools::new(indexer.library(), addresses));
    watch::follow(indexer)?;
    let session = async {
        match server.serve_with_ct(stdio_pipes(), ending.clone()).await {
            Ok(running) => drop(running.waiting().await),
            Err(error) => log::warn!(event = "session_not_started"; "{error}"),
        }
    };
    tokio::select! {
        () = session => {}
        () = ending.cancelled() => {}
    }
    Ok(())
}

/// The viewer of this server, as a person on this machine reaches it.
fn own_address(listen: SocketAddr) -> anyhow::Result<AddressTemplate> {
    let host = match listen.ip() {
        ip if ip.is_unspecified() => "localhost".to_owned(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        std::net::IpAddr::V4(ip) => ip.to_string(),
    };
    Ok(format!("http://{host}:{}", listen.port()).parse()?)
}

pub(crate) fn end_on_signals(ending: &CancellationToken) -> std::io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind)?;
        let ending = ending.clone();
        tokio::spawn(async move {
            signals.recv().await;
            ending.cancel();
        });
    }
    Ok(())
}

/// Ends when a stream is closed; what comes before is ignored.
pub(crate) fn end_with(
    mut input: impl AsyncRead + Unpin + Send + 'static,
    ending: &CancellationToken,
) {
    let ending = ending.clone();
    tokio::spawn(async move {
        let mut ignored = [0; 512];
        while matches!(input.read(&mut ignored).await, Ok(1..)) {}
        log::info!(event = "stdin_closed"; "stdin is closed: ending");
        ending.cancel();
    });
}

/// Serves until `ending`; answers under way have `last_answers` then.
pub(crate) async fn serve_until<L>(
    listener: L,
    router: Router,
    ending: &CancellationToken,
    last_answers: Duration,
) -> anyhow::Result<()>
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    let serving =
        axum::serve(listener, router).with_graceful_shutdown(ending.clone().cancelled_owned());
    let patience = async {
        ending.cancelled().await;
        tokio::time::sleep(last_answers).await;
    };
    tokio::select! {
        served = serving.into_future() => Ok(served?),
        () = patience => Ok(()),
    }
}
