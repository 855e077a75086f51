//! What is to be done about a certificate at a moment. Pure: no store, no clock, no network.

use std::time::Duration;

use gateway_core::clock::Timestamp;
use gateway_store::FailedOrders;

use crate::tls::certificate::CertificateFacts;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// How long after an order another one may follow, whatever the certificate says: a clock that is wrong
/// by years must not order without end.
const BETWEEN_ORDERS: Duration = Duration::from_secs(12 * 3600);

/// The pauses after orders that the server refused, or whose challenge failed. Let's Encrypt counts them
/// against the account.
const AFTER_REFUSALS: [Duration; 3] = [
    HOUR,
    Duration::from_secs(6 * 3600),
    Duration::from_secs(24 * 3600),
];

/// The pauses while the server can't be asked, which costs nobody anything.
const WHILE_AWAY: [Duration; 3] = [
    MINUTE,
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
];

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing before this moment.
    Wait(Timestamp),
    /// A certificate is to be ordered.
    Order,
}

/// The certificate that there is, as far as the plan looks at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present<'a> {
    pub(super) facts: &'a CertificateFacts,
    /// When it was ordered, by our clock.
    pub(super) ordered: Timestamp,
}

/// What is to be done for the certificate of `name`. Where an operator asks, pauses after failures don't
/// count.
pub(super) fn next(
    present: Option<Present<'_>>,
    failed: Option<&FailedOrders>,
    name: &str,
    is_asked: bool,
    now: Timestamp,
) -> Step {
    let due = match present {
        Some(present) if present.facts.covers(name) => {
            renewal(present.facts).max(present.ordered + BETWEEN_ORDERS)
        }
        // There is none, or it is for what the gateway was called before.
        _ => now,
    };
    let pause = failed.filter(|_| !is_asked);
    let due = pause.map_or(due, |failed| due.max(failed.last + pause_after(failed)));
    if now < due {
        Step::Wait(due)
    } else {
        Step::Order
    }
}

/// When a certificate is renewed: at two thirds of its life.
fn renewal(facts: &CertificateFacts) -> Timestamp {
    facts.begins + facts.ends.since(facts.begins) / 3 * 2
}

fn pause_after(failed: &FailedOrders) -> Duration {
    let pauses = if failed.is_away {
        WHILE_AWAY
    } else {
        AFTER_REFUSALS
    };
    let last = pauses.len() - 1;
    let at = usize::try_from(failed.count.saturating_sub(1)).unwrap_or(last);
    pauses[at.min(last)]
}

/// What there is to keep once an order has failed. What failed in another way before is no measure for
/// the pause.
pub(super) fn after_failure(
    before: Option<FailedOrders>,
    is_away: bool,
    why: String,
    now: Timestamp,
) -> FailedOrders {
    let count = before.filter(|before| before.is_away == is_away);
    FailedOrders {
        count: count.map_or(0, |before| before.count).saturating_add(1),
        last: now,
        is_away,
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "mcp.example.com";

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + hours * 3600)
    }

    fn facts(begins: u64, ends: u64) -> CertificateFacts {
        CertificateFacts {
            names: vec![NAME.to_owned()],
            begins: at(begins),
            ends: at(ends),
        }
    }

    fn plan(
        facts: &CertificateFacts,
        ordered: u64,
        failed: Option<&FailedOrders>,
        now: u64,
    ) -> Step {
        let present = Present {
            facts,
            ordered: at(ordered),
        };
        next(Some(present), failed, NAME, false, at(now))
    }

    #[test]
    fn without_a_certificate_one_is_ordered_at_once() {
        assert_eq!(next(None, None, NAME, false, at(0)), Step::Order);
        let other = CertificateFacts {
            names: vec!["old.example.com".to_owned()],
            ..facts(0, 2160)
        };
        assert_eq!(plan(&other, 0, None, 1), Step::Order);
    }

    #[test]
    fn it_is_renewed_at_two_thirds_of_its_life() {
        let quarter = facts(0, 2160);
        assert_eq!(plan(&quarter, 0, None, 1), Step::Wait(at(1440)));
        assert_eq!(plan(&quarter, 0, None, 1439), Step::Wait(at(1440)));
        assert_eq!(plan(&quarter, 0, None, 1440), Step::Order);
        let week = facts(0, 168);
        assert_eq!(plan(&week, 0, None, 112), Step::Order);
    }

    #[test]
    fn a_clock_that_is_wrong_by_years_does_not_order_without_end() {
        let quarter = facts(0, 2160);
        assert_eq!(plan(&quarter, 20_000, None, 20_001), Step::Wait(at(20_012)));
    }

    #[test]
    fn after_refusals_the_pause_grows_to_a_day_and_an_operator_may_cut_it_short() {
        let mut failed = None;
        let mut now = 0;
        for pause in [1, 6, 24, 24, 24] {
            let kept = after_failure(failed, false, String::new(), at(now));
            let plan = |is_asked, hours| next(None, Some(&kept), NAME, is_asked, at(hours));
            assert_eq!(plan(false, now), Step::Wait(at(now + pause)));
            assert_eq!(plan(true, now), Step::Order);
            assert_eq!(plan(false, now + pause), Step::Order);
            now += pause;
            failed = Some(kept);
        }
        // The first refusal after the server was away has the first pause.
        let away = after_failure(failed, true, String::new(), at(now));
        assert_eq!(away.count, 1);
        let minute = at(now) + MINUTE;
        assert_eq!(
            next(None, Some(&away), NAME, false, at(now)),
            Step::Wait(minute)
        );
        assert_eq!(
            after_failure(Some(away), false, String::new(), at(now)).count,
            1
        );
    }

    #[test]
    fn a_certificate_that_is_good_for_long_waits_for_nothing_that_failed_before() {
        let failed = after_failure(None, false, String::new(), at(0));
        assert_eq!(
            plan(&facts(0, 2160), 0, Some(&failed), 1),
            Step::Wait(at(1440))
        );
    }
}
