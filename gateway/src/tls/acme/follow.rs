//! Does what the plan says: serves what the store has, orders what is due, and waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway_core::clock::{Clock, Timestamp};
use gateway_core::secret::{self, Secret, TagKey};
use gateway_store::{KeptCertificate, ORDER_LEASE, OrderLease, Records, StoreError};
use rand::rngs::OsRng;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::order::{OrderFault, Ordered, Orders};
use super::plan::{self, Present, Step};
use crate::admin::front_door::FrontDoor;
use crate::tls::Tls;
use crate::tls::certificate::Certificate;
use crate::tls::files::remind;
use crate::tls::notice::Notice;
use crate::tls::settings::AcmeSettings;

/// How often the store is looked into for what another replica ordered.
const LOOKED: Duration = Duration::from_secs(30);

/// The same while another replica orders.
const AWAITED: Duration = Duration::from_secs(2);

/// How often it is looked whether the plain port is open.
const OPENED: Duration = Duration::from_millis(100);

/// How long an order may take in all: a server that answers nothing must not hold it for good.
const WHOLE: Duration = Duration::from_secs(150);

/// How often it is tried to keep a certificate that has come, and the pause in between, an hour in all:
/// each order counts at its server, so that none may be lost for a store that is away.
const KEPT_TRIES: usize = 720;
const KEPT_PAUSE: Duration = Duration::from_secs(5);

/// How often a lease is extended, and how soon again where the store did not answer.
const HELD: Duration = Duration::from_secs(ORDER_LEASE.as_secs() / 4);
const HELD_AGAIN: Duration = Duration::from_secs(5);

/// What is followed, and with what.
#[derive(Debug)]
pub struct Following {
    /// What to order.
    pub settings: AcmeSettings,
    /// Where it is kept.
    pub records: Records,
    /// The installation's key for what is kept.
    pub tags: TagKey,
    /// What is served.
    pub tls: Tls,
    /// The plain port, on which the challenge is answered: nothing is ordered before it is open.
    pub front: FrontDoor,
    /// An operator who wants no pause.
    pub again: Arc<Notify>,
}

impl Following {
    /// Where all of it is kept, and by which name.
    fn kept_as(&self) -> (&Records, &str) {
        (&self.records, &self.settings.name)
    }
}

/// Follows the certificate from now on.
pub fn follow(runtime: &Handle, mut following: Following) {
    following.tags = following.tags.derive("certificates");
    runtime.spawn(async move {
        let mut follower = Follower {
            holder: secret::identifier("o_", &mut OsRng),
            present: None,
            is_unusable: false,
            said: None,
            following,
        };
        while !follower.following.front.is_open().await {
            sleep(OPENED).await;
        }
        let mut is_asked = false;
        loop {
            let pause = follower.round(is_asked).await;
            is_asked = tokio::select! {
                () = follower.following.again.notified() => true,
                () = sleep(pause) => false,
            };
            remind(&follower.following.tls, &mut follower.said);
        }
    });
}

struct Follower {
    /// Our name among the replicas.
    holder: String,
    /// What is served, as it stands in the store, and what is known of it.
    present: Option<(KeptCertificate, Certificate)>,
    /// Whether the store has one that can't be served.
    is_unusable: bool,
    said: Option<(Notice, Timestamp)>,
    following: Following,
}

impl Follower {
    /// One look, and an order if one is due; how long to wait until the next.
    async fn round(&mut self, is_asked: bool) -> Duration {
        self.try_round(is_asked).await.unwrap_or_else(|error| {
            // What is served goes on; the store's own faults are told elsewhere, too.
            self.fail(&OrderFault::Store(error));
            AWAITED
        })
    }

    async fn try_round(&mut self, is_asked: bool) -> Result<Duration, StoreError> {
        self.look().await?;
        if let Step::Wait(until) = self.plan(is_asked).await? {
            if is_asked {
                let until = until.to_string();
                log::info!(event = "certificate_order_not_due", name = self.following.settings.name, until = until; "no certificate is ordered before then");
            }
            return Ok(LOOKED);
        }
        let (records, name) = self.following.kept_as();
        let lease = records.take_order(name, &self.holder, Clock.now());
        let Some(lease) = lease.await? else {
            return Ok(AWAITED);
        };
        // Whoever had it before may have been done a moment ago.
        self.look().await?;
        if let Step::Order = self.plan(is_asked).await? {
            self.order(lease).await?;
        } else {
            let (records, _) = self.following.kept_as();
            records.give_order_back(lease, Clock.now()).await?;
        }
        Ok(AWAITED)
    }

    async fn plan(&self, is_asked: bool) -> Result<Step, StoreError> {
        let ((records, name), now) = (self.following.kept_as(), Clock.now());
        let failed = records.failed_orders(name, now).await?;
        let status = &self.following.tls.status;
        // Without a failure the store was all that could be wrong, and it has just answered.
        let is_well = failed.is_none() && self.present.is_some() && !self.is_unusable;
        if let Some(failed) = &failed {
            status.fails(failed.why.clone());
        } else if is_well && status.recovers() {
            log::info!(event = "certificate_recovered", name = name; "nothing is wrong with the certificate any more");
        }
        let present = self.present.as_ref().map(|(kept, certificate)| Present {
            facts: &certificate.facts,
            ordered: kept.ordered,
        });
        Ok(plan::next(present, failed.as_ref(), name, is_asked, now))
    }

    /// Serves what the store has, if that is news.
    async fn look(&mut self) -> Result<(), StoreError> {
        let ((records, name), tls) = (self.following.kept_as(), &self.following.tls);
        let Some(kept) = records.certificate(name, Clock.now()).await? else {
            return Ok(());
        };
        let present = self.present.as_ref();
        if present.is_some_and(|(present, _)| *present == kept) {
            self.is_unusable = false;
            return Ok(());
        }
        let read = self.read(&kept);
        self.is_unusable = read.is_err();
        match read {
            Ok(certificate) => {
                tls.served.replace(Arc::clone(&certificate.key));
                tls.status.serves(certificate.facts.clone());
                let ends = certificate.facts.ends.to_string();
                log::info!(event = "certificate_served", name = name, ends = ends; "the certificate of the store is served");
                self.present = Some((kept, certificate));
            }
            // Another one is ordered in its place.
            Err(why) => {
                if tls.status.fails(why.clone()) {
                    log::error!(event = "certificate_unusable", why = why; "the certificate of the store can't be served");
                }
            }
        }
        Ok(())
    }

    fn read(&self, kept: &KeptCertificate) -> Result<Certificate, String> {
        let Following { tags, settings, .. } = &self.following;
        let key = tags.decrypt(&kept.key, settings.name.as_bytes());
        let key = key.ok_or("its key was encrypted with another keys_dir")?;
        Certificate::parse(kept.chain.as_bytes(), key.reveal().as_bytes(), Clock.now())
            .map_err(|fault| format!("the store {fault}"))
    }

    /// Orders, and keeps what comes of it.
    async fn order(&mut self, mut lease: OrderLease) -> Result<(), StoreError> {
        let Following {
            records,
            settings,
            tags,
            ..
        } = &self.following;
        let orders = Orders {
            settings,
            records,
            tags,
            is_finalized: AtomicBool::new(false),
        };
        log::info!(event = "certificate_ordered", name = settings.name, directory = settings.directory; "a certificate is being ordered");
        let begun = Instant::now();
        let outcome = {
            let ordering = timeout(WHOLE, orders.order());
            tokio::pin!(ordering);
            tokio::select! {
                outcome = &mut ordering => outcome,
                lost = keep_lease(records, &mut lease) => {
                    // Somebody else orders now, or the store is away. What the server counts already is
                    // waited for all the same.
                    if !orders.is_finalized.load(Ordering::Relaxed) {
                        return lost;
                    }
                    ordering.await
                }
            }
        };
        let outcome = outcome.unwrap_or_else(|_| Err(orders.overdue(WHOLE)));
        match outcome.and_then(|ordered| self.judge(ordered)) {
            Ok(kept) => {
                self.keep(&kept, &mut lease).await?;
                let (records, name) = self.following.kept_as();
                let took = format!("{:.1} s", begun.elapsed().as_secs_f64());
                log::info!(event = "certificate_came", name = name, took = took; "the certificate has come");
                records.give_order_back(lease, Clock.now()).await?;
                self.look().await?;
            }
            Err(fault) => self.keep_failure(&fault, lease).await?,
        }
        Ok(())
    }

    /// What comes is looked at as what is in files is: what can't be served is not kept.
    fn judge(&self, ordered: Ordered) -> Result<KeptCertificate, OrderFault> {
        let Following { tags, settings, .. } = &self.following;
        let now = Clock.now();
        let parsed = Certificate::parse(ordered.chain.as_bytes(), ordered.key.as_bytes(), now);
        let refused = |why: String| OrderFault::Refused(format!("what it gave {why}"));
        let certificate = parsed.map_err(|fault| refused(fault.to_string()))?;
        if !certificate.facts.covers(&settings.name) {
            return Err(refused("is for another name".to_owned()));
        }
        let key = Secret::presented(&ordered.key);
        Ok(KeptCertificate {
            chain: ordered.chain,
            key: tags.encrypt(&key, settings.name.as_bytes(), &mut OsRng),
            ordered: now,
        })
    }

    /// Keeps a certificate that has come, as soon as the store takes it. The order stays ours meanwhile,
    /// as far as the store lets us.
    async fn keep(&self, kept: &KeptCertificate, lease: &mut OrderLease) -> Result<(), StoreError> {
        let (records, name) = self.following.kept_as();
        let keeping = async {
            let mut tries = 1;
            loop {
                let stored = records.keep_certificate(name, kept, Clock.now());
                match stored.await {
                    Err(error) if tries < KEPT_TRIES => {
                        tries += 1;
                        self.fail(&OrderFault::Store(error));
                        sleep(KEPT_PAUSE).await;
                    }
                    ended => return ended,
                }
            }
        };
        tokio::pin!(keeping);
        tokio::select! {
            ended = &mut keeping => ended,
            // It is good and paid for, whoever orders now.
            _ = keep_lease(records, lease) => keeping.await,
        }
    }

    async fn keep_failure(&self, fault: &OrderFault, lease: OrderLease) -> Result<(), StoreError> {
        let ((records, name), now) = (self.following.kept_as(), Clock.now());
        self.fail(fault);
        let before = records.failed_orders(name, now).await?;
        let failed = plan::after_failure(before, fault.is_away(), fault.to_string(), now);
        records.keep_failed_orders(name, &failed, now).await?;
        records.give_order_back(lease, now).await
    }

    fn fail(&self, fault: &OrderFault) {
        let why = fault.to_string();
        if self.following.tls.status.fails(why.clone()) {
            log::error!(event = "certificate_order_failed", name = self.following.settings.name, why = why; "no certificate could be ordered");
        }
    }
}

/// Keeps the order ours for as long as it is polled; ends when it is ours no more. A store that does not
/// answer is asked again for as long as what it said last holds.
async fn keep_lease(records: &Records, lease: &mut OrderLease) -> Result<(), StoreError> {
    let (mut held, mut pause) = (Instant::now(), HELD);
    loop {
        sleep(pause).await;
        let begun = Instant::now();
        match records.hold_order(lease, Clock.now()).await {
            Ok(true) => (held, pause) = (begun, HELD),
            Ok(false) => {
                log::warn!(event = "certificate_order_lost"; "another replica orders the certificate now");
                return Ok(());
            }
            Err(error) if held.elapsed() + HELD_AGAIN >= ORDER_LEASE => return Err(error),
            Err(_) => pause = HELD_AGAIN,
        }
    }
}
