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

/// So many refusals an operator's word may follow at once, and then how long after the last one it may.
/// Programs that renew or rotate something send SIGHUP as well, and Let's Encrypt takes five failures an
/// hour.
const ASKED_AT_ONCE: u32 = 3;
const BETWEEN_ASKED: Duration = Duration::from_secs(15 * 60);

/// How much the clocks of replicas may differ. What is said to be of a later moment was written by a
/// clock that was wrong, and is no measure for any pause.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(5 * 60);

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

/// What is to be done for the certificate of `name`. Where an operator asks, the pauses after failures
/// are short.
pub(super) fn next(
    present: Option<Present<'_>>,
    failed: Option<&FailedOrders>,
    name: &str,
    is_asked: bool,
    now: Timestamp,
) -> Step {
    let due = match present {
        Some(present) if present.facts.covers(name) => {
            let due = renewal(present.facts);
            let ordered = Some(present.ordered).filter(|at| has_been(*at, now));
            ordered.map_or(due, |ordered| due.max(ordered + BETWEEN_ORDERS))
        }
        // There is none, or it is for what the gateway was called before.
        _ => now,
    };
    let failed = failed.filter(|failed| has_been(failed.last, now));
    let due = failed.map_or(due, |failed| {
        let pause = if is_asked {
            pause_when_asked(failed)
        } else {
            pause_after(failed)
        };
        due.max(failed.last + pause)
    });
    if now < due {
        Step::Wait(due)
    } else {
        Step::Order
    }
}

/// Whether a moment that was written down can have been.
fn has_been(at: Timestamp, now: Timestamp) -> bool {
    at.since(now) <= CLOCK_DIFFERENCE
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

fn pause_when_asked(failed: &FailedOrders) -> Duration {
    if failed.is_away || failed.count < ASKED_AT_ONCE {
        Duration::ZERO
    } else {
        BETWEEN_ASKED
    }
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
    fn after_refusals_the_pause_grows_to_a_day() {
        let mut failed = None;
        let mut now = 0;
        for pause in [1, 6, 24, 24, 24] {
            let kept = after_failure(failed, false, String::new(), at(now));
            let plan = |hours| next(None, Some(&kept), NAME, false, at(hours));
            assert_eq!(plan(now), Step::Wait(at(now + pause)));
            assert_eq!(plan(now + pause), Step::Order);
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
    fn an_operator_cuts_the_pause_short_at_once_after_three_refusals_and_then_each_quarter_of_an_hour()
     {
        let mut failed = None;
        for count in 1..=6 {
            let kept = after_failure(failed, false, String::new(), at(0));
            let asked = |now| next(None, Some(&kept), NAME, true, now);
            let expected = if count < 3 {
                Step::Order
            } else {
                Step::Wait(at(0) + BETWEEN_ASKED)
            };
            assert_eq!(asked(at(0)), expected, "{count}");
            assert_eq!(asked(at(0) + BETWEEN_ASKED), Step::Order, "{count}");
            failed = Some(kept);
        }
        // That the server can't be asked costs nobody anything.
        let mut failed = None;
        for _ in 0..10 {
            failed = Some(after_failure(failed, true, String::new(), at(0)));
        }
        assert_eq!(next(None, failed.as_ref(), NAME, true, at(0)), Step::Order);
    }

    #[test]
    fn what_a_clock_wrote_that_was_ahead_delays_nothing() {
        let failed = after_failure(None, false, String::new(), at(1000));
        assert_eq!(next(None, Some(&failed), NAME, false, at(0)), Step::Order);
        // It was wrong by three years when the certificate was ordered.
        assert_eq!(plan(&facts(0, 2160), 26_000, None, 1440), Step::Order);
        // Another replica's may be ahead of ours by a little.
        let moment = at(0) + Duration::from_secs(2);
        let failed = after_failure(None, false, String::new(), moment);
        let expected = Step::Wait(moment + HOUR);
        assert_eq!(next(None, Some(&failed), NAME, false, at(0)), expected);
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
