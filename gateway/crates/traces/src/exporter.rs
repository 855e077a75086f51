//! The way of spans to the collector: a queue that never makes anybody wait, and one task that empties it.

use std::time::Duration;

use gateway_metrics::{Counter, Metrics};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::collector::{Collector, Failure};
use super::record::Finished;
use super::spans::{Sender, encode};

/// How many requests wait for the collector, of up to two spans each.
const QUEUED: usize = 2048;

/// How many are sent at once.
const BATCH: usize = 256;

/// How long the first of a batch waits for others.
const GATHERING: Duration = Duration::from_secs(5);

/// How long a batch is sent again, until it is dropped.
const PATIENCE: Duration = Duration::from_secs(60);

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How long a shutdown waits until what is left has been sent.
const FAREWELL: Duration = Duration::from_secs(3);

/// Takes what is kept of requests.
pub(crate) struct Exporter {
    queue: mpsc::Sender<Finished>,
    dropped: Counter,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Exporter {
    pub(crate) fn start(
        sender: Sender,
        collector: Collector,
        metrics: &Metrics,
        runtime: &Handle,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUED);
        let stop = watch::Sender::new(false);
        let dropped = |reason| metrics.spans_dropped.with([reason]);
        let courier = Courier {
            sender,
            collector,
            exported: metrics.spans_exported.with([]),
            failed: dropped("export_failed"),
            rejected: dropped("rejected"),
            is_failing: false,
            stop: stop.subscribe(),
        };
        Self {
            queue,
            dropped: dropped("queue_full"),
            stop,
            task: Mutex::new(Some(runtime.spawn(courier.run(waiting)))),
        }
    }

    /// Queues it; or drops it, where the queue is full or the end has come.
    pub(crate) fn keep(&self, finished: Finished) {
        if let Err(error) = self.queue.try_send(finished) {
            self.dropped.add(error.into_inner().spans());
        }
    }

    /// Ends the task, once it has sent what it has; not later than after [`FAREWELL`].
    pub(crate) async fn finish(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(mut task) = task
            && timeout(FAREWELL, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

/// The task that sends.
struct Courier {
    sender: Sender,
    collector: Collector,
    exported: Counter,
    failed: Counter,
    rejected: Counter,
    /// The last attempt failed, and the log has a line of it.
    is_failing: bool,
    stop: watch::Receiver<bool>,
}

impl Courier {
    async fn run(mut self, mut queue: mpsc::Receiver<Finished>) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.gather(&mut queue, &mut batch).await {
            self.deliver(&batch).await;
            batch.clear();
        }
        // What comes now is dropped; what is there already is sent.
        queue.close();
        loop {
            if !batch.is_empty() {
                self.deliver(&batch).await;
                batch.clear();
            }
            if queue.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
        }
    }

    /// Fills a batch. Whether it goes on afterwards: no, at the end.
    async fn gather(
        &mut self,
        queue: &mut mpsc::Receiver<Finished>,
        batch: &mut Vec<Finished>,
    ) -> bool {
        tokio::select! {
            biased;
            () = stopped(&mut self.stop) => return false,
            taken = queue.recv_many(batch, BATCH) => if taken == 0 {
                return false;
            },
        }
        let latest = Instant::now() + GATHERING;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return false,
                () = sleep_until(latest) => return true,
                taken = queue.recv_many(batch, room) => if taken == 0 {
                    return false;
                },
            }
        }
        true
    }

    /// Sends a batch, again and again where that may help. It is dropped in the end.
    async fn deliver(&mut self, batch: &[Finished]) {
        let spans = batch.iter().map(Finished::spans).sum::<u64>();
        let body = encode(&self.sender, batch);
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let failure = match self.collector.send(body.clone()).await {
                Ok(rejected) => {
                    let rejected = rejected.min(spans);
                    self.rejected.add(rejected);
                    self.exported.add(spans - rejected);
                    self.succeeded();
                    return;
                }
                Err(failure) => failure,
            };
            self.failed(&failure);
            let is_over = *self.stop.borrow();
            let is_hopeless = !failure.is_temporary() || began.elapsed() >= PATIENCE;
            if is_over || is_hopeless {
                self.failed.add(spans);
            }
            if is_over {
                return;
            }
            // Replicas that lost the same collector don't all come back at once.
            let spread = 0.5 + rand::random::<f64>() / 2.0;
            let wait = failure.pause().unwrap_or_else(|| pause.mul_f64(spread));
            tokio::select! {
                () = sleep(wait) => {}
                () = stopped(&mut self.stop) => {}
            }
            if is_hopeless {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn failed(&mut self, failure: &Failure) {
        if self.is_failing {
            return;
        }
        self.is_failing = true;
        log::warn!(
            event = "traces_failing",
            hint = "look at the collector, at traces.endpoint and traces.headers_file; calls go on without traces";
            "the collector of traces does not take them: {failure}"
        );
    }

    fn succeeded(&mut self) {
        if self.is_failing {
            self.is_failing = false;
            log::info!(event = "traces_sent_again"; "the collector takes traces again");
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could stop it is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}
