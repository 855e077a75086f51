//! The operator's limits, and the budgets of narrowed tokens, where a request is let through: what it costs
//! whom, taken before it goes on.
//!
//! Nearly always what is taken is at hand in memory (`gateway_store::Shares`), and nothing is awaited. Where
//! a limit is reached the answer is 429; where nobody can say whether it is, 503: that is no fault of the
//! client's.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::mounted_backend::MountedBackend;
use super::rejection::Rejection;
use gateway_core::access_token::Budget;
use gateway_core::limits::{Asker, Charge, Limit, Meter, Unit, is_counted, wait_in_words};
use gateway_core::policy::Permit;
use gateway_core::reason::Reason;
use gateway_store::{CallLimits, CountKey, NotTaken, Shares, Taken};
use gateway_upstream::Catalogue;
use mcp_protocol::Id;
use mcp_protocol::calls::Call;

/// JSON-RPC 2.0 §5.1: one of those that a server defines for itself.
const LIMIT_REACHED: i64 = -32000;
const INTERNAL: i64 = -32603;

/// Why a request is not let through for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LimitRefusal {
    pub(super) why: Why,
    pub(super) calls: Vec<Call>,
    pub(super) is_batch: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A limit is reached.
    Reached {
        /// What it is called.
        limit: String,
        /// How much it is, in words.
        words: String,
        /// How long until there may be more.
        wait: Duration,
    },
    /// Whether one is can't be known, and why.
    Unknown(Reason),
}

impl LimitRefusal {
    pub(super) const fn reason(&self) -> Reason {
        match &self.why {
            Why::Reached { .. } => Reason::LimitReached,
            Why::Unknown(reason) => *reason,
        }
    }

    /// In seconds.
    pub(super) fn retry_after(&self) -> u64 {
        match &self.why {
            Why::Reached { wait, .. } => wait
                .as_millis()
                .div_ceil(1000)
                .try_into()
                .unwrap_or(u64::MAX)
                .max(1),
            Why::Unknown(_) => 2,
        }
    }

    pub(super) fn sentence(&self) -> String {
        match &self.why {
            Why::Reached { limit, words, wait } => format!(
                "The limit “{limit}” of {words} is reached. There may be more in {}.",
                wait_in_words(*wait)
            ),
            Why::Unknown(reason) => reason.sentence().to_owned(),
        }
    }

    /// What it is called where it is counted and written down.
    pub(super) fn limit(&self) -> Option<&str> {
        match &self.why {
            Why::Reached { limit, .. } => Some(limit),
            Why::Unknown(_) => None,
        }
    }

    /// An error for each request that waits for an answer; `None` where none does.
    pub(super) fn answer(&self, words: &str, request_id: &str) -> Option<Value> {
        let code = match &self.why {
            Why::Reached { .. } => LIMIT_REACHED,
            Why::Unknown(_) => INTERNAL,
        };
        let data = json!({
            "reason": self.reason().code(),
            "request_id": request_id,
            "retry_after": self.retry_after(),
        });
        let error = |id: &Id| {
            let error = json!({"code": code, "message": words, "data": data});
            json!({"jsonrpc": "2.0", "id": id, "error": error})
        };
        let mut answers = self.calls.iter().filter_map(|call| call.id.as_ref());
        if self.is_batch {
            let answers: Vec<_> = answers.map(error).collect();
            return (!answers.is_empty()).then_some(Value::Array(answers));
        }
        answers.next().map(error)
    }
}

/// What a request goes on to use up: bytes of its answer.
pub(super) struct ByteCharge {
    shares: Arc<Shares>,
    taken: Vec<Taken>,
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
            self.shares.charge(taken, bytes as u64);
        }
    }
}

/// Who counts what.
pub(super) struct Counters<'a> {
    pub(super) limits: &'a CallLimits,
    pub(super) catalogue: &'a Catalogue,
    pub(super) mounted: &'a MountedBackend,
}

/// Whether anything may be counted of a request.
pub(super) fn concern(limits: &CallLimits, permit: &Permit) -> bool {
    limits.is_any() || !permit.token().attenuation().budgets().is_empty()
}

impl Counters<'_> {
    /// Takes what a request costs, all of it or nothing. `body`: the length of its body, in bytes. What is
    /// given back is to be told of what the answer costs.
    pub(super) async fn take(
        &self,
        permit: &Permit,
        body: usize,
        is_batch: bool,
    ) -> Result<Option<Box<ByteCharge>>, Rejection> {
        let mut taking = Taking {
            shares: self.limits.shares(),
            taken: Vec::new(),
            of_bytes: Vec::new(),
        };
        match self.each(permit, body, &mut taking).await {
            Ok(()) => Ok(taking.kept()),
            Err(why) => {
                taking.undo();
                Err(Rejection::Limit(Box::new(LimitRefusal {
                    why,
                    calls: permit.calls().to_vec(),
                    is_batch,
                })))
            }
        }
    }

    async fn each(&self, permit: &Permit, body: usize, taking: &mut Taking<'_>) -> Result<(), Why> {
        let claims = permit.token().claims();
        let backend = self.mounted.backend.mount.name.as_str();
        let asker = Asker {
            user: &claims.user,
            user_name: &claims.user_name,
            groups: &claims.groups,
            client: &claims.client,
            grant: &claims.grant,
            backend,
        };
        let is_listed = |tool: &str| self.catalogue.is_listed(backend, &claims.user_name, tool);
        for limit in self.limits.current().iter() {
            for charge in limit.charges(&asker, permit.calls(), is_listed) {
                for meter in &limit.meters {
                    let cost = match meter.unit {
                        Unit::Calls => charge.calls,
                        Unit::Bytes => (body as u64).max(1),
                    };
                    taking.one(limit, meter, &charge, cost).await?;
                }
            }
        }
        let budgets = permit.token().attenuation().budgets();
        if budgets.is_empty() {
            return Ok(());
        }
        let calls = permit.calls().iter().filter(|call| is_counted(call));
        let calls = calls.count() as u64;
        // Not when this one ends: a child that ends soon would have the others' count forgotten.
        let remembered = permit.token().verified().longest_ends();
        for budget in budgets {
            taking
                .budget(budget, budget.meter(remembered), calls)
                .await?;
        }
        Ok(())
    }
}

/// What was taken so far.
struct Taking<'a> {
    shares: &'a Arc<Shares>,
    taken: Vec<Taken>,
    of_bytes: Vec<Taken>,
}

impl Taking<'_> {
    async fn one(
        &mut self,
        limit: &Limit,
        meter: &Meter,
        charge: &Charge,
        cost: u64,
    ) -> Result<(), Why> {
        if cost == 0 {
            return Ok(());
        }
        let key = CallLimits::key(limit, meter, &charge.subject);
        let taken = self
            .shares
            .take(&key, meter.quota, &charge.label, cost)
            .await;
        let taken = taken.map_err(|not| not_taken(not, &limit.name, || meter.words()))?;
        match meter.unit {
            Unit::Calls => self.taken.push(taken),
            Unit::Bytes => self.of_bytes.push(taken),
        }
        Ok(())
    }

    async fn budget(&mut self, budget: &Budget, meter: Meter, cost: u64) -> Result<(), Why> {
        if cost == 0 {
            return Ok(());
        }
        let key = CountKey::narrowed_budget(&budget.block, &meter.key());
        let taken = self.shares.take(&key, meter.quota, "", cost).await;
        let taken = taken.map_err(|not| not_taken(not, Budget::NAME, || meter.words()))?;
        self.taken.push(taken);
        Ok(())
    }

    fn undo(&self) {
        for taken in self.taken.iter().chain(&self.of_bytes) {
            self.shares.give_back(taken);
        }
    }

    fn kept(self) -> Option<Box<ByteCharge>> {
        (!self.of_bytes.is_empty()).then(|| {
            Box::new(ByteCharge {
                shares: Arc::clone(self.shares),
                taken: self.of_bytes,
            })
        })
    }
}

fn not_taken(not: NotTaken, limit: &str, words: impl FnOnce() -> String) -> Why {
    match not {
        NotTaken::Reached(wait) => Why::Reached {
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

    fn refusal(calls: &[Call], is_batch: bool) -> LimitRefusal {
        LimitRefusal {
            why: Why::Reached {
                limit: "calls".to_owned(),
                words: "100 calls a minute".to_owned(),
                wait: Duration::from_millis(600),
            },
            calls: calls.to_vec(),
            is_batch,
        }
    }

    #[test]
    fn every_request_that_waits_is_told_under_its_id() {
        let call = |id: i64| Call {
            id: Some(Id::Number(id)),
            ..Call::named("tools/call")
        };
        let one = refusal(&[call(7)], false);
        assert_eq!(one.retry_after(), 1);
        assert_eq!(
            one.sentence(),
            "The limit “calls” of 100 calls a minute is reached. There may be more in 1 second."
        );
        let answer = one.answer("No.", "r1").unwrap();
        assert_eq!(
            answer,
            json!({"jsonrpc": "2.0", "id": 7, "error": {
                "code": -32000, "message": "No.",
                "data": {"reason": "limit_reached", "request_id": "r1", "retry_after": 1},
            }})
        );
        let batch = refusal(&[call(7), Call::named("ping"), call(8)], true);
        assert_eq!(
            batch.answer("No.", "r1").unwrap().as_array().unwrap().len(),
            3
        );
        assert_eq!(refusal(&[], false).answer("No.", "r1"), None);
    }
}
