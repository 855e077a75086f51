//! What the server does once it serves, until it ends: it takes over, hands over, and says farewell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};

use crate::admin::FrontDoor;
use crate::config::Timeouts;
use crate::service_manager::Notifier;
use crate::stop::{StopRequest, StopSignals};
use crate::upgrade::{Predecessor, Succession};
use gateway_core::clock::Clock;
use gateway_proxy::Drain;
use gateway_store::LastUse;

/// How long the shutdown waits for the store to take when grants were used last.
const WRITING_DOWN: Duration = Duration::from_secs(2);

/// What else the shutdown takes: the last moment twice, and what runs beside.
const ENDING: Duration = Duration::from_secs(7);

/// How often it is looked whether the public listener takes connections.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What is done once, when everything else has begun.
pub(super) struct Beginning {
    pub(super) succession: Succession,
    pub(super) predecessor: Option<Predecessor>,
}

/// Waits for a signal. SIGTERM and SIGINT: `/readyz` says so and all is served as before for `unready`, then
/// streams are ended, open requests get `shutdown`, then the listeners close. A second signal: at once. Where another
/// process takes over, everything that is open gets `upgrade` before that.
pub(super) struct Farewell {
    pub(super) stop: StopRequest,
    pub(super) drain: Drain,
    pub(super) timeouts: Timeouts,
    pub(super) beginning: Mutex<Option<Beginning>>,
    pub(super) last_use: Arc<LastUse>,
    pub(super) clock: Clock,
    pub(super) front: FrontDoor,
    pub(super) public_url: String,
    pub(super) notifier: Notifier,
    pub(super) never_began: Arc<AtomicBool>,
}

impl Farewell {
    /// What is nice to have, within a time that nobody minds.
    async fn write_down(&self) {
        let written = self.last_use.write_all(self.clock.now());
        let _ = tokio::time::timeout(WRITING_DOWN, written).await;
    }

    /// Takes over from the process before, tells the service manager once connections are taken, and goes
    /// on for ever. It ends where it could not take over.
    async fn announce(&self) {
        let beginning = self.beginning.lock().take();
        if let Some(beginning) = beginning {
            let follows = beginning.predecessor.is_some();
            let listening = beginning.succession.listen(follows).await;
            if let Some(predecessor) = beginning.predecessor {
                let process = predecessor.process();
                if let Err(error) = predecessor.serving().await {
                    log::error!(event = "upgrade_failed", cause = format!("{error:#}").as_str(); "this process can't take over, and ends");
                    return;
                }
                log::info!(event = "took_over", predecessor = process; "took over from process {process}");
            }
            listening.serves();
        }
        while self.notifier.is_listened_to() && !self.front.is_open().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.notifier.serving(&self.public_url);
        std::future::pending().await
    }

    /// Until everything that is open here has ended, or a signal ends it.
    async fn leave(&self, told: &mut Told) {
        let running = self.drain.running();
        log::info!(event = "leaving", running = running; "another process serves; what is open here goes on");
        let leaving = async {
            self.write_down().await;
            self.drain.leave(self.timeouts.upgrade).await;
        };
        tokio::select! {
            () = leaving => {}
            () = told.again() => {}
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Farewell {
    async fn recv(&self) -> ShutdownSignal {
        // From here on no signal is missed, whatever is done when it comes.
        let mut told = Told::listen(self.stop.clone());
        tokio::select! {
            () = told.again() => {
                let running = self.drain.running();
                self.drain.announce();
                let Timeouts { unready, shutdown, .. } = self.timeouts;
                let longest = unready + shutdown + WRITING_DOWN + ENDING;
                self.notifier.stopping(running, longest);
                tokio::select! {
                    () = tokio::time::sleep(unready) => {}
                    () = told.again() => return ShutdownSignal::FastShutdown,
                }
            }
            () = self.drain.taken_over() => self.leave(&mut told).await,
            // It could not take over itself, and the one before may serve on.
            () = self.announce() => {
                self.never_began.store(true, Ordering::Relaxed);
                return ShutdownSignal::FastShutdown;
            }
        }
        let running = self.drain.running();
        log::info!(event = "shutdown_started", running = running; "shutdown started");
        tokio::select! {
            left = self.drain.finish(self.timeouts.shutdown) => {
                log::info!(event = "shutdown_drained", left = left; "shutdown drained");
                self.write_down().await;
                ShutdownSignal::GracefulTerminate
            }
            () = told.again() => ShutdownSignal::FastShutdown,
        }
    }
}

/// Whether the process is told to end, once more each time.
struct Told {
    /// Without handlers the signals end the process by themselves.
    signals: Option<StopSignals>,
    /// What was told before there were any, once.
    earlier: StopRequest,
}

impl Told {
    fn listen(earlier: StopRequest) -> Self {
        Self {
            signals: StopSignals::listen().ok(),
            earlier,
        }
    }

    /// Ends the next time that it is told.
    async fn again(&mut self) {
        let by_signal = async {
            match &mut self.signals {
                Some(signals) => signals.next().await,
                None => std::future::pending().await,
            }
        };
        let was_earlier = tokio::select! {
            () = by_signal => false,
            () = self.earlier.made() => true,
        };
        // Both hear of the same signal: it counts once.
        self.earlier = StopRequest::never();
        if was_earlier {
            self.signals = StopSignals::listen().ok();
        }
    }
}
