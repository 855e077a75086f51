//! How each backend stands: whether it has answered since the start, and what it said or met last.
//! Nothing waits for it. Backends are asked side by side, again after a pause while one does not
//! answer, and again when a call met something odd.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::catalogue::Catalogue;
use super::catalogue_error::CatalogueError;
use super::tool::ToolListing;

/// What whoever reads that a backend does not answer can do.
const REMEDY: &str = "Check that it runs, and its url in the configuration.";

/// The pause before a backend that does not answer is asked again: it doubles from the first to the
/// last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// Doubts that come within this time are one.
const SETTLE: Duration = Duration::from_secs(1);

/// How a backend stands.
#[derive(Clone, Debug)]
pub struct BackendStatus {
    /// Since when.
    pub since: Instant,
    /// What was seen of it.
    pub seen: Observation,
}

/// What was seen of a backend.
#[derive(Clone, Debug)]
pub enum Observation {
    /// It was asked and has not answered yet.
    Pending,
    /// It answers.
    Answers(Arc<ToolListing>),
    /// It is there, and asks who calls: it is called with everybody's own account.
    AsksWhoCalls,
    /// It does not, for this reason. It is asked again.
    Failed(CatalogueError),
}

/// Looks at all backends.
#[derive(Debug)]
pub struct Lookout {
    names: Vec<String>,
    statuses: Vec<watch::Receiver<BackendStatus>>,
}

impl Lookout {
    /// Looks from now on, for as long as the runtime runs.
    pub fn follow(catalogue: &Arc<Catalogue>, runtime: &Handle) -> Arc<Self> {
        let backends = catalogue.backends();
        let names = backends.iter().map(|backend| backend.mount.name.clone());
        let statuses = (0..backends.len()).map(|at| {
            let pending = BackendStatus {
                since: Instant::now(),
                seen: Observation::Pending,
            };
            let (seen, standing) = watch::channel(pending);
            runtime.spawn(look(Arc::clone(catalogue), at, seen));
            standing
        });
        Arc::new(Self {
            names: names.collect(),
            statuses: statuses.collect(),
        })
    }

    /// Each backend by name, and how it stands.
    pub fn statuses(&self) -> impl Iterator<Item = (&str, BackendStatus)> {
        let statuses = self.statuses.iter().map(|seen| seen.borrow().clone());
        self.names.iter().map(String::as_str).zip(statuses)
    }

    /// How the backend at this place stands, from now on.
    pub fn watch(&self, at: usize) -> Option<watch::Receiver<BackendStatus>> {
        self.statuses.get(at).cloned()
    }
}

async fn look(catalogue: Arc<Catalogue>, at: usize, standing: watch::Sender<BackendStatus>) {
    let backend = Arc::clone(&catalogue.backends()[at]);
    let mut pause = FIRST_PAUSE;
    loop {
        match catalogue.look(&backend).await {
            Ok(listing) => {
                pause = FIRST_PAUSE;
                let seen = listing.map_or(Observation::AsksWhoCalls, Observation::Answers);
                note(&backend.mount.name, &standing, seen);
                catalogue.doubted(at).await;
                sleep(SETTLE).await;
            }
            Err(error) => {
                note(&backend.mount.name, &standing, Observation::Failed(error));
                // A call that comes meanwhile need not wait for the whole pause.
                let _ = timeout(pause, catalogue.doubted(at)).await;
                sleep(FIRST_PAUSE).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }
}

/// Takes note of what was seen, and says what changed.
fn note(name: &str, standing: &watch::Sender<BackendStatus>, seen: Observation) {
    let before = standing.borrow().seen.clone();
    match (&before, &seen) {
        (Observation::Answers(_) | Observation::AsksWhoCalls, Observation::Failed(error)) => {
            log::warn!(event = "backend_away", backend = name, error:% = error, hint = REMEDY; "the backend no longer answers; it is asked again");
        }
        (Observation::Pending, Observation::Failed(error)) => {
            log::warn!(event = "backend_failed", backend = name, error:% = error, hint = REMEDY; "the backend does not answer; it is asked again");
        }
        (Observation::Pending | Observation::Failed(_), Observation::Answers(listing)) => {
            log::info!(event = "backend_answers", backend = name, tools = listing.tools.len(); "the backend answers");
        }
        (Observation::Pending | Observation::Failed(_), Observation::AsksWhoCalls) => {
            log::info!(event = "backend_answers", backend = name; "the backend asks who calls: it is called with everybody's own account");
        }
        _ => {}
    }
    let since = match (&before, &seen) {
        (Observation::Answers(_), Observation::Answers(_))
        | (Observation::AsksWhoCalls, Observation::AsksWhoCalls)
        | (Observation::Failed(_), Observation::Failed(_)) => standing.borrow().since,
        _ => Instant::now(),
    };
    standing.send_replace(BackendStatus { since, seen });
}
