//! The operator's limits, and the budgets of narrowed tokens, where a request is let through: what it costs
//! whom, taken before it goes on.
//!
//! Nearly always what is taken is at hand in memory (`gateway_store::Shares`), and nothing is awaited. Where
//! a limit is reached the answer is 429; where nobody can say whether it is, 503: that is no fault of the
//! client's.

mod refusal;

pub(super) use refusal::{LIMIT_REACHED, LimitRefusal, Why};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::mounted_backend::MountedBackend;
use super::rejection::Rejection;
use gateway_core::access_token::Budget;
use gateway_core::grants::GrantId;
use gateway_core::limits::{Asker, Meter, Per, Quota, Unit, is_counted};
use gateway_core::policy::Permit;
use gateway_core::reason::Reason;
use gateway_store::{CallLimits, CountKey, NotTaken, Shares, Taken};
use gateway_upstream::{Caller, Catalogue};
use mcp_protocol::calls::Call;

/// How long the store is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a request goes on to use up: bytes of its answer.
pub(super) struct ByteCharge {
    shares: Arc<Shares>,
    taken: Vec<Taken>,
    /// Ends the answer where all is used up, if that is a stream which would go on for ever.
    ends: Option<CancellationToken>,
}

impl std::fmt::Debug for ByteCharge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ByteCharge({})", self.taken.len())
    }
}

impl ByteCharge {
    /// So many bytes of the answer went to the client.
    pub(super) fn sent(&self, bytes: usize) {
        for taken in &self.taken {
            let is_spent = self.shares.charge(taken, bytes as u64);
            if let (true, Some(ends)) = (is_spent, &self.ends) {
                ends.cancel();
            }
        }
    }
}

/// What was taken for a request. Given back, unless it is kept: also where nobody waits for the request any
/// more.
#[must_use]
pub(super) struct Cost {
    shares: Arc<Shares>,
    calls: Vec<Held>,
    bytes: Vec<Held>,
}

impl Cost {
    /// The request goes on. What is given back is to be told of what its answer costs; `ends` ends that, where
    /// it is a stream that waits for events.
    pub(super) fn kept(self, ends: Option<&CancellationToken>) -> Option<Box<ByteCharge>> {
        for held in self.calls {
            held.kept();
        }
        let taken: Vec<Taken> = self.bytes.into_iter().filter_map(Held::kept).collect();
        (!taken.is_empty()).then(|| {
            Box::new(ByteCharge {
                shares: self.shares,
                taken,
                ends: ends.cloned(),
            })
        })
    }
}

/// A part of a cost.
struct Held {
    shares: Arc<Shares>,
    taken: Option<Taken>,
}

impl Held {
    fn kept(mut self) -> Option<Taken> {
        self.taken.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            self.shares.give_back(&taken);
        }
    }
}

/// Who counts what.
pub(super) struct Counters<'a> {
    pub(super) limits: &'a CallLimits,
    pub(super) catalogue: &'a Arc<Catalogue>,
    pub(super) mounted: &'a MountedBackend,
    /// As the backend knows who asks.
    pub(super) caller: Caller<'a>,
}

/// Whether anything may be counted of a request.
pub(super) fn concern(limits: &CallLimits, permit: &Permit) -> bool {
    limits.is_any() || !permit.token().attenuation().budgets().is_empty()
}

/// A part of what a request costs.
struct Wanted {
    key: CountKey,
    meter: Meter,
    /// What the limit is called.
    limit: String,
    /// What people know its subject by.
    label: String,
    cost: u64,
    /// Whether a holder of the token has set it.
    is_budget: bool,
}

impl Counters<'_> {
    /// Takes what a request costs, all of it or nothing. `body`: the length of its body, in bytes.
    pub(super) async fn take(
        &self,
        permit: &Permit,
        body: usize,
        is_batch: bool,
    ) -> Result<Cost, Rejection> {
        self.each(permit, body).await.map_err(|why| {
            Rejection::Limit(Box::new(LimitRefusal {
                why,
                calls: permit.calls().to_vec(),
                is_batch,
            }))
        })
    }

    async fn each(&self, permit: &Permit, body: usize) -> Result<Cost, Why> {
        let shares = self.limits.shares();
        let mut wanted = self.wanted_of_limits(permit, body).await;
        wanted.extend(wanted_of_budgets(permit));
        let grant = &permit.token().claims().grant;
        // Together: where nothing is at hand each of them waits for the store.
        let taking: Vec<_> = wanted.iter().map(|part| part.take(shares, grant)).collect();
        let taken = join_all(taking).await;
        let mut cost = Cost {
            shares: Arc::clone(shares),
            calls: Vec::new(),
            bytes: Vec::new(),
        };
        for (wanted, held) in wanted.iter().zip(taken) {
            match wanted.meter.unit {
                Unit::Calls => cost.calls.push(held?),
                Unit::Bytes => cost.bytes.push(held?),
            }
        }
        Ok(cost)
    }

    async fn wanted_of_limits(&self, permit: &Permit, body: usize) -> Vec<Wanted> {
        let claims = permit.token().claims();
        let asker = Asker {
            user: &claims.user,
            user_name: &claims.user_name,
            groups: &claims.groups,
            client: &claims.client,
            grant: &claims.grant,
            backend: self.mounted.backend.mount.name.as_str(),
        };
        let limits = self.limits.current();
        let goes_by_tool = limits
            .iter()
            .any(|limit| limit.per == Per::Tool && limit.concerns(&asker));
        let listed = if goes_by_tool {
            self.listed(permit).await
        } else {
            BTreeSet::new()
        };
        let mut wanted = Vec::new();
        for limit in limits.iter() {
            for charge in limit.charges(&asker, permit.calls(), |tool| listed.contains(tool)) {
                wanted.extend(limit.meters.iter().map(|meter| Wanted {
                    key: CallLimits::key(limit, meter, &charge.subject),
                    meter: meter.clone(),
                    limit: limit.name.clone(),
                    label: charge.label.clone(),
                    cost: match meter.unit {
                        Unit::Calls => charge.calls,
                        Unit::Bytes => (body as u64).max(1),
                    },
                    is_budget: false,
                }));
            }
        }
        wanted.retain(|wanted| wanted.cost > 0);
        wanted
    }

    /// Those of the called tools that the backend lists, or may take for one that it does.
    async fn listed<'p>(&self, permit: &'p Permit) -> BTreeSet<&'p str> {
        let backend = &self.mounted.backend;
        let called: BTreeSet<&str> = permit.calls().iter().filter_map(Call::tool).collect();
        let mut listed = BTreeSet::new();
        for tool in called {
            // Boxed: hardly any request needs room for it.
            let asked = self
                .catalogue
                .lists_alike(&backend.mount.name, self.caller, tool);
            if Box::pin(asked).await {
                listed.insert(tool);
            }
        }
        listed
    }
}

fn wanted_of_budgets(permit: &Permit) -> Vec<Wanted> {
    let calls = permit.calls().iter().filter(|call| is_counted(call));
    let cost = calls.count() as u64;
    if cost == 0 {
        return Vec::new();
    }
    // Not when this one ends: a child that ends soon would have the others' count forgotten.
    let remembered = permit.token().verified().longest_ends();
    let budgets = permit.token().attenuation().budgets().iter();
    let wanted = budgets.map(|budget| {
        let meter = budget.meter(remembered);
        Wanted {
            key: CountKey::narrowed_budget(&budget.block, &meter.key()),
            meter,
            limit: Budget::NAME.to_owned(),
            label: String::new(),
            cost,
            is_budget: true,
        }
    });
    wanted.collect()
}

impl Wanted {
    async fn take(&self, shares: &Arc<Shares>, grant: &GrantId) -> Result<Held, Why> {
        let most = self.meter.quota.most();
        if self.cost > most {
            return Err(Why::TooMuch {
                limit: self.limit.clone(),
                meter: self.meter.clone(),
                cost: self.cost,
            });
        }
        if self.is_budget {
            self.begin(shares, grant).await?;
        }
        let reached = |not| match (not, self.meter.quota) {
            (NotTaken::Reached(_), Quota::Total(..)) => Why::UsedUp {
                limit: self.limit.clone(),
                words: self.meter.words(),
                cost: self.cost,
            },
            _ => not_taken(not, &self.limit, || self.meter.words()),
        };
        self.held(shares, &self.key, self.meter.quota, self.cost)
            .await
            .map_err(reached)
    }

    async fn held(
        &self,
        shares: &Arc<Shares>,
        key: &CountKey,
        quota: Quota,
        cost: u64,
    ) -> Result<Held, NotTaken> {
        let taken = shares.take(key, quota, &self.label, cost).await?;
        Ok(Held {
            shares: Arc::clone(shares),
            taken: Some(taken),
        })
    }

    /// Before a budget is used that is not known here. Holders make budgets offline, and each is something to
    /// be kept, so those of a grant are counted themselves: but for one that others know already.
    async fn begin(&self, shares: &Arc<Shares>, grant: &GrantId) -> Result<(), Why> {
        let allowed = async {
            let used = shares.used(&self.key, self.meter.quota).await;
            if used.map_err(Why::Unknown)? > 0 {
                return Ok(());
            }
            let key = CountKey::narrowed_budgets(grant);
            let new = self.held(shares, &key, Budget::new_ones(), 1).await;
            let words = || format!("{} new budgets an hour", Budget::NEW_OF_A_GRANT);
            new.map_err(|not| not_taken(not, &self.limit, words))?
                .kept();
            Ok(())
        };
        let begun = timeout(PATIENCE, shares.begin(&self.key, allowed)).await;
        begun.unwrap_or(Err(Why::Unknown(Reason::StoreUnavailable)))
    }
}

fn not_taken(not: NotTaken, limit: &str, words: impl FnOnce() -> String) -> Why {
    match not {
        NotTaken::Reached(wait) | NotTaken::Overtaken(wait) => Why::Reached {
            limit: limit.to_owned(),
            words: words(),
            wait,
        },
        NotTaken::Unknown(reason) => Why::Unknown(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::clock::Clock;
    use gateway_store::{Memory, Records, Store};

    /// Whoever goes away while it waits has used nothing.
    #[tokio::test]
    async fn what_is_not_kept_is_given_back() {
        let records = Records::new(Arc::new(Memory::new()));
        let shares = Shares::new(records, Clock);
        let wanted = |cost| Wanted {
            key: CountKey::limit("calls", "calls a day", "u_1"),
            meter: Meter {
                unit: Unit::Calls,
                quota: Quota::Day(3),
            },
            limit: "calls".to_owned(),
            label: "alice".to_owned(),
            cost,
            is_budget: false,
        };
        let grant = GrantId::new("g_1");
        for _ in 0..5 {
            drop(wanted(3).take(&shares, &grant).await.unwrap());
        }
        wanted(3).take(&shares, &grant).await.unwrap().kept();
        let none = wanted(1).take(&shares, &grant).await.err();
        assert!(matches!(none, Some(Why::Reached { .. })), "{none:?}");
        let never = wanted(4).take(&shares, &grant).await.err();
        assert!(matches!(never, Some(Why::TooMuch { .. })), "{never:?}");
    }

    fn budget(name: &str, calls: u64) -> Wanted {
        let until = Clock.now() + Duration::from_secs(3_600);
        Wanted {
            key: CountKey::limit("budget", "calls", name),
            meter: Meter {
                unit: Unit::Calls,
                quota: Quota::Total(calls, until),
            },
            limit: Budget::NAME.to_owned(),
            label: String::new(),
            cost: 1,
            is_budget: true,
        }
    }

    /// A grant begins so many budgets: one for each, however many calls come first together, and none for one
    /// that another replica knows.
    #[tokio::test]
    async fn a_budget_begins_once() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let replica = || Shares::new(Records::new(Arc::clone(&store)), Clock);
        let (shares, grant) = (replica(), GrantId::new("g_1"));
        let one = budget("one", 100);
        // All of them ask before any is answered.
        for held in join_all((0..80).map(|_| one.take(&shares, &grant))).await {
            held.unwrap().kept();
        }
        let mut went = 1;
        let refused = loop {
            match budget(&went.to_string(), 5).take(&shares, &grant).await {
                Ok(held) => drop(held.kept()),
                Err(why) => break why,
            }
            went += 1;
        };
        assert_eq!(went, Budget::NEW_OF_A_GRANT);
        assert!(matches!(refused, Why::Reached { .. }), "{refused:?}");
        let other = replica();
        one.take(&other, &grant).await.unwrap().kept();
        let unknown = budget("another", 5).take(&other, &grant).await.err();
        assert!(matches!(unknown, Some(Why::Reached { .. })), "{unknown:?}");
    }

    #[tokio::test]
    async fn of_a_budget_in_all_nobody_waits_for_more() {
        let store = Records::new(Arc::new(Memory::new()));
        let (shares, grant) = (Shares::new(store, Clock), GrantId::new("g_1"));
        budget("one", 1).take(&shares, &grant).await.unwrap().kept();
        let none = budget("one", 1).take(&shares, &grant).await.err();
        assert!(matches!(none, Some(Why::UsedUp { .. })), "{none:?}");
    }
}
