//! What was decided about something, as labels say it.

use gateway_core::audit::{Event, Outcome, Record};
use gateway_core::reason::Reason;

use super::table::Metrics;

/// What was decided about something, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused.
    pub reason: Option<Reason>,
}

impl Decision {
    /// It goes on.
    pub const ALLOWED: Self = Self {
        outcome: Outcome::Allowed,
        reason: None,
    };

    /// It does not; `is_fault` tells our own faults apart.
    pub const fn refused(reason: Option<Reason>, is_fault: bool) -> Self {
        Self {
            outcome: if is_fault {
                Outcome::Failed
            } else {
                Outcome::Refused
            },
            reason,
        }
    }

    /// The label `outcome`.
    pub const fn outcome(self) -> &'static str {
        match self.outcome {
            Outcome::Allowed => "allowed",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        }
    }

    /// The label `reason`; empty where there is none.
    pub fn reason(self) -> &'static str {
        self.reason.map_or("", Reason::code)
    }
}

impl<T> From<&Record<T>> for Decision {
    fn from(record: &Record<T>) -> Self {
        Self {
            outcome: record.outcome,
            reason: record.reason,
        }
    }
}

impl Metrics {
    /// Counts what a record of the audit log tells of access. Calls and requests are counted where they are
    /// decided, tokens that are given where their grant type is known.
    pub fn count_record<T>(&self, record: &Record<T>) {
        let decision = Decision::from(record);
        let family = match record.event {
            Event::Login => &self.logins,
            Event::Consent => &self.consents,
            Event::Registration => &self.registrations,
            Event::Revocation => &self.revocations,
            Event::Account => &self.accounts,
            Event::Operator => &self.operator_commands,
            Event::Token if decision.outcome != Outcome::Allowed => &self.tokens_refused,
            _ => return,
        };
        family
            .with([decision.outcome(), decision.reason()])
            .increment();
    }
}
