//! What a client is told whose request is not let through for a limit.

use std::time::Duration;

use serde_json::{Value, json};

use crate::mcp_error::answers;
use gateway_core::limits::{Meter, wait_in_words};
use gateway_core::reason::Reason;
use mcp_protocol::calls::Call;
use mcp_protocol::code;

/// JSON-RPC 2.0 §5.1: one of those that a server defines for itself.
pub(crate) const LIMIT_REACHED: i64 = -32000;

/// Why a request is not let through for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitRefusal {
    pub(crate) why: Why,
    pub(crate) calls: Vec<Call>,
    pub(crate) is_batch: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// A limit is reached.
    Reached {
        /// What it is called.
        limit: String,
        /// How much it is, in words.
        words: String,
        /// How long until there may be more.
        wait: Duration,
    },
    /// A limit that never begins anew has less than the request costs.
    UsedUp {
        /// What it is called.
        limit: String,
        /// How much it is, in words.
        words: String,
        /// How many calls the request is.
        cost: u64,
    },
    /// The request alone is more than there ever is at once.
    TooMuch {
        /// What the limit is called.
        limit: String,
        /// Which of its counts it is.
        meter: Meter,
        /// How much the request is.
        cost: u64,
    },
    /// Whether one is can't be known, and why.
    Unknown(Reason),
}

impl LimitRefusal {
    pub(crate) const fn reason(&self) -> Reason {
        match &self.why {
            Why::Unknown(reason) => *reason,
            Why::Reached { .. } | Why::UsedUp { .. } | Why::TooMuch { .. } => Reason::LimitReached,
        }
    }

    /// In seconds; `None` where waiting does not help.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match &self.why {
            Why::Reached { wait, .. } => {
                let seconds = wait.as_millis().div_ceil(1000);
                Some(seconds.try_into().unwrap_or(u64::MAX).max(1))
            }
            Why::UsedUp { .. } | Why::TooMuch { .. } => None,
            Why::Unknown(_) => Some(2),
        }
    }

    pub(crate) fn sentence(&self) -> String {
        match &self.why {
            Why::Reached { limit, words, wait } => format!(
                "The limit “{limit}” of {words} is reached. There may be more in {}.",
                wait_in_words(*wait)
            ),
            Why::UsedUp { limit, words, cost } => match cost {
                1 => format!("The limit “{limit}” of {words} is used up: waiting does not help."),
                cost => format!(
                    "The limit “{limit}” of {words} has fewer than {cost} left: waiting does not help."
                ),
            },
            Why::TooMuch { limit, meter, cost } => {
                let (words, most) = (meter.words(), meter.quota.most());
                match most {
                    0 => format!("The limit “{limit}” of {words} lets nothing through."),
                    most => format!(
                        "The limit “{limit}” of {words} lets {} through at once, and this request has {}: \
                         waiting does not help, send fewer at once.",
                        meter.amount(most),
                        meter.amount(*cost),
                    ),
                }
            }
            Why::Unknown(reason) => reason.sentence().to_owned(),
        }
    }

    /// What it is called where it is counted and written down.
    pub(crate) fn limit(&self) -> Option<&str> {
        match &self.why {
            Why::Reached { limit, .. } | Why::UsedUp { limit, .. } | Why::TooMuch { limit, .. } => {
                Some(limit)
            }
            Why::Unknown(_) => None,
        }
    }

    /// An error for each request that waits for an answer; `None` where none does.
    pub(crate) fn answer(&self, words: &str, request_id: &str) -> Option<Value> {
        let number = match &self.why {
            Why::Unknown(_) => code::INTERNAL,
            Why::Reached { .. } | Why::UsedUp { .. } | Why::TooMuch { .. } => LIMIT_REACHED,
        };
        let mut data = json!({"reason": self.reason().code(), "request_id": request_id});
        if let Some(seconds) = self.retry_after() {
            data["retry_after"] = json!(seconds);
        }
        let error = json!({"code": number, "message": words, "data": data});
        let waiting = self.calls.iter().filter_map(|call| call.id.as_ref());
        answers(self.is_batch, waiting.map(|id| (id, Err(error.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::limits::{Quota, Unit};
    use mcp_protocol::Id;

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
        assert_eq!(one.retry_after(), Some(1));
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

    #[test]
    fn where_waiting_does_not_help_nobody_is_told_to_wait() {
        let too_much = |unit, quota, cost| LimitRefusal {
            why: Why::TooMuch {
                limit: "calls".to_owned(),
                meter: Meter { unit, quota },
                cost,
            },
            ..refusal(&[Call::named("tools/call")], false)
        };
        let used_up = |cost| LimitRefusal {
            why: Why::UsedUp {
                limit: "token".to_owned(),
                words: "10 calls".to_owned(),
                cost,
            },
            ..refusal(&[Call::named("tools/call")], false)
        };
        for (refusal, words) in [
            (
                used_up(1),
                "The limit “token” of 10 calls is used up: waiting does not help.",
            ),
            (
                used_up(3),
                "The limit “token” of 10 calls has fewer than 3 left: waiting does not help.",
            ),
            (
                too_much(Unit::Calls, Quota::Day(20), 25),
                "The limit “calls” of 20 calls a day lets 20 through at once, and this request has 25: \
                 waiting does not help, send fewer at once.",
            ),
            (
                too_much(Unit::Calls, Quota::Day(0), 1),
                "The limit “calls” of 0 calls a day lets nothing through.",
            ),
        ] {
            assert_eq!(refusal.sentence(), words);
            assert_eq!(refusal.retry_after(), None);
        }
    }
}
