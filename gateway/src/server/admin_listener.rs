//! The admin listener, on a socket that may be open already and can be handed over.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd as _;

use async_trait::async_trait;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::listening::Service;
use tokio::sync::watch;

use crate::admin::Admin;
use gateway_proxy::{Drain, ListenSockets};

/// Pingora's service of the admin listener, on a socket that may be open already.
pub(super) struct AdminListener {
    pub(super) service: Service<Admin>,
    pub(super) address: SocketAddr,
    pub(super) socket: Option<TcpListener>,
    pub(super) sockets: ListenSockets,
    pub(super) drain: Drain,
}

impl AdminListener {
    /// A socket for Pingora, which is noted for a process that takes over.
    async fn open(&mut self) -> std::io::Result<TcpListener> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => gateway_proxy::listen(self.address).await?,
        };
        self.sockets.add(self.address, &socket)?;
        Ok(socket)
    }
}

#[async_trait]
impl pingora::services::Service for AdminListener {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        match self.open().await {
            Ok(socket) => {
                if let Some(fds) = &fds {
                    // Pingora looks there before it opens one, and owns it then.
                    fds.lock()
                        .add(self.address.to_string(), socket.into_raw_fd());
                }
            }
            Err(error) => {
                let address = self.address;
                log::error!(event = "listen_failed"; "can't listen on {address}: {error}");
                std::process::exit(1);
            }
        }
        let (stop, stopped) = watch::channel(false);
        let drain = self.drain.clone();
        tokio::spawn(async move {
            let mut shutdown = shutdown;
            tokio::select! {
                () = drain.taken_over() => {}
                _ = shutdown.wait_for(|is_shut| *is_shut) => {}
            }
            stop.send_replace(true);
            // For as long as somebody looks.
            stop.closed().await;
        });
        self.service
            .start_service(fds, stopped, listeners_per_fd)
            .await;
    }

    fn name(&self) -> &str {
        self.service.name()
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads()
    }
}
