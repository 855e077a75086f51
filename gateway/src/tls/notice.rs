//! When the log says how a certificate stands.

use std::time::Duration;

use gateway_core::clock::Timestamp;

use super::certificate::CertificateFacts;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// So long before its end the operator is told.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// What the log is to say of a certificate's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// It ends soon.
    Ends,
    /// It has ended: no client connects any more.
    Ended,
}

/// Whether something is due that was last said at `said`. Once a day is enough for what lasts.
pub(super) fn due(
    facts: &CertificateFacts,
    said: Option<(Notice, Timestamp)>,
    now: Timestamp,
) -> Option<Notice> {
    let notice = if now >= facts.ends {
        Notice::Ended
    } else if facts.ends.since(now) < soon(facts) {
        Notice::Ends
    } else {
        return None;
    };
    let is_known = said.is_some_and(|(last, at)| last == notice && now.since(at) < DAY);
    (!is_known).then_some(notice)
}

/// A fifth of a certificate's life, where that is short: some live for a week.
fn soon(facts: &CertificateFacts) -> Duration {
    SOON.min(facts.ends.since(facts.begins) / 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_told_once_a_day_from_two_weeks_before() {
        let day = |days: u64| Timestamp::from_secs(days * 86_400);
        let facts = CertificateFacts {
            names: Vec::new(),
            begins: day(10),
            ends: day(100),
        };
        assert_eq!(due(&facts, None, day(80)), None);
        assert_eq!(due(&facts, None, day(87)), Some(Notice::Ends));
        let said = Some((Notice::Ends, day(87)));
        assert_eq!(due(&facts, said, day(87)), None);
        assert_eq!(due(&facts, said, day(88)), Some(Notice::Ends));
        assert_eq!(
            due(&facts, Some((Notice::Ends, day(99))), day(100)),
            Some(Notice::Ended)
        );
        let short = CertificateFacts {
            ends: day(15),
            ..facts
        };
        assert_eq!(due(&short, None, day(13)), None);
    }
}
