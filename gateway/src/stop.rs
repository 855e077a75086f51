//! The signals that end the gateway, SIGTERM and SIGINT.
//!
//! A process that is told to end before it listens for them just dies, and leaves behind what it has
//! started. So whatever starts something that does not end with us listens first.

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Whether the gateway was told to end; clones know the same.
#[derive(Clone, Debug)]
pub struct StopRequest(Option<watch::Receiver<bool>>);

impl StopRequest {
    /// One that is never made: the signals do what they do by themselves.
    pub const fn never() -> Self {
        Self(None)
    }

    /// Listens from now on, on this runtime. The signals end the process no more.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn listen(runtime: &Handle) -> std::io::Result<Self> {
        let _entered = runtime.enter();
        let mut signals = StopSignals::listen()?;
        let (sender, receiver) = watch::channel(false);
        runtime.spawn(async move {
            signals.next().await;
            sender.send_replace(true);
            // For as long as anybody asks.
            sender.closed().await;
        });
        Ok(Self(Some(receiver)))
    }

    /// Ends once it is made.
    pub async fn made(&mut self) {
        if let Some(receiver) = &mut self.0
            && receiver.wait_for(|is_made| *is_made).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

/// The signals as they come from now on.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Listens on the runtime of the caller.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Ends with the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
