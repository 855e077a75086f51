//! What time it is for sure, where something is forgotten for good. A machine may boot with a clock that is
//! hours ahead, which is set right seconds later: what was thrown away by it, revocations among it, would be
//! missing then. What is thrown away late costs space alone.
//!
//! Owns: how long a clock has to go on steadily before it is believed. Not: what has expired for a request,
//! which goes by the clock as it is.

use std::time::Duration;

use gateway_core::clock::Timestamp;

/// For so long a clock has to go on without a step before it is believed; after a step forward it takes
/// twice that at most.
const PROOF: Duration = Duration::from_secs(30 * 60);

/// How the wall clock has gone beside one that never jumps.
#[derive(Debug, Default)]
pub(crate) struct SureTime {
    /// How much further the wall clock was in the last whole [`PROOF`], at least, in milliseconds.
    proved: Option<i128>,
    /// Since when the present one is, and the same in it.
    present: Option<(Duration, i128)>,
}

impl SureTime {
    /// The time that it is at least, if the wall clock says `wall` when the steady one says `steady`; `None` as
    /// long as nothing is sure. To be asked every few seconds.
    pub(crate) fn at(&mut self, wall: Timestamp, steady: Duration) -> Option<Timestamp> {
        let elapsed = i128::try_from(steady.as_millis()).unwrap_or(i128::MAX);
        let ahead = i128::from(wall.millis()) - elapsed;
        let (since, least) = match self.present {
            None => (steady, ahead),
            Some((since, least)) => (since, least.min(ahead)),
        };
        self.present = if steady.saturating_sub(since) < PROOF {
            Some((since, least))
        } else {
            self.proved = Some(least);
            Some((steady, ahead))
        };
        let sure = self.proved?.min(least) + elapsed;
        u64::try_from(sure).ok().map(Timestamp::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_000_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const STEP: Duration = Duration::from_secs(10);

    /// What was sure at each moment of so many steps, from the first that is given, where the clock is `ahead`
    /// by so much at each.
    fn sure(
        time: &mut SureTime,
        steps: std::ops::Range<u32>,
        ahead: Duration,
    ) -> Vec<Option<Timestamp>> {
        let at = |step| time.at(START + STEP * step + ahead, STEP * step);
        steps.map(at).collect()
    }

    #[test]
    fn a_clock_that_goes_on_steadily_is_believed_after_half_an_hour_and_then_always() {
        let mut time = SureTime::default();
        let known = sure(&mut time, 0..1000, Duration::ZERO);
        for (step, known) in (0..).zip(known) {
            let expected = (step >= 180).then(|| START + STEP * step);
            assert_eq!(known, expected, "{step}");
        }
    }

    #[test]
    fn a_clock_that_is_ahead_for_a_while_is_not_believed_at_the_start_or_later() {
        for (before, ahead) in [
            (0, 4),
            (0, 179),
            (400, 4),
            (359, 170),
            (360, 170),
            (361, 179),
        ] {
            let mut time = SureTime::default();
            sure(&mut time, 0..before, Duration::ZERO);
            let meanwhile = sure(&mut time, before..before + ahead, 9 * HOUR);
            for (step, known) in (before..).zip(meanwhile) {
                let is_true = known.is_none_or(|known| known <= START + STEP * step);
                assert!(is_true, "{before} {ahead} {step}: {known:?}");
            }
            // Set right, it is believed as before.
            let after = before + ahead;
            for (step, known) in (after..).zip(sure(&mut time, after..after + 720, Duration::ZERO))
            {
                let is_true = known.is_none_or(|known| known <= START + STEP * step);
                assert!(is_true, "{before} {ahead} {step}: {known:?}");
            }
            let last = after + 720;
            assert_eq!(
                sure(&mut time, last..last + 1, Duration::ZERO),
                [Some(START + STEP * last)]
            );
        }
    }

    #[test]
    fn a_clock_that_was_behind_is_believed_an_hour_after_it_was_set() {
        let mut time = SureTime::default();
        sure(&mut time, 0..400, Duration::ZERO);
        let later = sure(&mut time, 400..800, 9 * HOUR);
        assert_eq!(later[0], Some(START + STEP * 400));
        assert_eq!(later[361], Some(START + STEP * 761 + 9 * HOUR));
    }
}
