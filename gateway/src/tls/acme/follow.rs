//! Does what the plan says: serves what the store has, orders what is due, and waits.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::clock::{Clock, Timestamp};
use gateway_core::secret::{self, Secret, TagKey};
use gateway_store::{KeptCertificate, ORDER_LEASE, OrderLease, Records, StoreError};
use rand::rngs::OsRng;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::AcmeSettings;
use super::order::{OrderFault, Ordered, Orders};
use super::plan::{self, Present, Step};
use crate::admin::FrontDoor;
use crate::tls::Tls;
use crate::tls::certificate::Certificate;
use crate::tls::files::remind;
use crate::tls::notice::Notice;

/// How often the store is looked into for what another replica ordered.
const LOOKED: Duration = Duration::from_secs(30);

/// The same while another replica orders.
const AWAITED: Duration = Duration::from_secs(2);

/// How often it is looked whether the plain port is open.
const OPENED: Duration = Duration::from_millis(100);

/// How long an order may take in all: a server that answers nothing must not hold it for good.
const WHOLE: Duration = Duration::from_secs(150);

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

/// Follows the certificate from now on.
pub fn follow(runtime: &Handle, mut following: Following) {
    following.tags = following.tags.derive("certificates");
    runtime.spawn(async move {
        let mut follower = Follower {
            holder: secret::identifier("o_", &mut OsRng),
            present: None,
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
    said: Option<(Notice, Timestamp)>,
    following: Following,
}

impl Follower {
    /// One look, and an order if one is due; how long to wait until the next.
    async fn round(&mut self, is_asked: bool) -> Duration {
        match self.try_round(is_asked).await {
            Ok(pause) => pause,
            Err(error) => {
                // What is served goes on; the store's own faults are told elsewhere, too.
                self.fail(&OrderFault::Store(error));
                AWAITED
            }
        }
    }

    async fn try_round(&mut self, is_asked: bool) -> Result<Duration, StoreError> {
        self.look().await?;
        let Step::Order = self.plan(is_asked).await? else {
            return Ok(LOOKED);
        };
        let Following {
            records, settings, ..
        } = &self.following;
        let lease = records
            .take_order(&settings.name, &self.holder, Clock.now())
            .await?;
        let Some(lease) = lease else {
            return Ok(AWAITED);
        };
        // Whoever had it before may have been done a moment ago.
        self.look().await?;
        if let Step::Order = self.plan(is_asked).await? {
            self.order(lease).await?;
        } else {
            self.following
                .records
                .give_order_back(lease, Clock.now())
                .await?;
        }
        Ok(AWAITED)
    }

    async fn plan(&self, is_asked: bool) -> Result<Step, StoreError> {
        let (name, now) = (&self.following.settings.name, Clock.now());
        let failed = self.following.records.failed_orders(name, now).await?;
        if let Some(failed) = &failed {
            self.following.tls.status.fails(failed.why.clone());
        }
        let present = self.present.as_ref().map(|(kept, certificate)| Present {
            facts: &certificate.facts,
            ordered: kept.ordered,
        });
        Ok(plan::next(present, failed.as_ref(), name, is_asked, now))
    }

    /// Serves what the store has, if that is news.
    async fn look(&mut self) -> Result<(), StoreError> {
        let Following {
            records,
            settings,
            tls,
            ..
        } = &self.following;
        let Some(kept) = records.certificate(&settings.name, Clock.now()).await? else {
            return Ok(());
        };
        if self
            .present
            .as_ref()
            .is_some_and(|(present, _)| *present == kept)
        {
            return Ok(());
        }
        match self.read(&kept) {
            Ok(certificate) => {
                tls.served.replace(Arc::clone(&certificate.key));
                tls.status.serves(certificate.facts.clone());
                let ends = certificate.facts.ends.to_string();
                log::info!(event = "certificate_served", name = settings.name, ends = ends; "the certificate of the store is served");
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
        };
        log::info!(event = "certificate_ordered", name = settings.name, directory = settings.directory; "a certificate is being ordered");
        let begun = Instant::now();
        let ordering = timeout(WHOLE, orders.order());
        let outcome = tokio::select! {
            outcome = ordering => outcome.unwrap_or_else(|_| {
                Err(OrderFault::Away(settings.directory.clone(), format!("it took longer than {WHOLE:?}")))
            }),
            lost = keep_lease(records, &mut lease) => {
                // Somebody else orders now, or the store is away.
                return lost;
            }
        };
        match outcome.and_then(|ordered| self.judge(ordered)) {
            Ok(kept) => {
                let records = &self.following.records;
                records
                    .keep_certificate(&settings.name, &kept, Clock.now())
                    .await?;
                let took = format!("{:.1} s", begun.elapsed().as_secs_f64());
                log::info!(event = "certificate_came", name = settings.name, took = took; "the certificate has come");
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

    async fn keep_failure(&self, fault: &OrderFault, lease: OrderLease) -> Result<(), StoreError> {
        let Following {
            records, settings, ..
        } = &self.following;
        let now = Clock.now();
        self.fail(fault);
        let before = records.failed_orders(&settings.name, now).await?;
        let failed = plan::after_failure(before, fault.is_away(), fault.to_string(), now);
        records
            .keep_failed_orders(&settings.name, &failed, now)
            .await?;
        records.give_order_back(lease, now).await
    }

    fn fail(&self, fault: &OrderFault) {
        let why = fault.to_string();
        if self.following.tls.status.fails(why.clone()) {
            log::error!(event = "certificate_order_failed", name = self.following.settings.name, why = why; "no certificate could be ordered");
        }
    }
}

/// Keeps the order ours for as long as it is polled; ends when it is ours no more.
async fn keep_lease(records: &Records, lease: &mut OrderLease) -> Result<(), StoreError> {
    loop {
        sleep(ORDER_LEASE / 4).await;
        if !records.hold_order(lease, Clock.now()).await? {
            log::warn!(event = "certificate_order_lost"; "another replica orders the certificate now");
            return Ok(());
        }
    }
}
