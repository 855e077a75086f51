//! The date in the heads of answers (RFC 9110 §6.6.1), spelled once a second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// How long a date is.
pub(crate) const LENGTH: usize = 29;

/// The date of the present second.
#[derive(Debug)]
pub(crate) struct Dates(Mutex<(Duration, [u8; LENGTH])>);

impl Dates {
    pub(crate) fn new() -> Self {
        Self(Mutex::new((Duration::MAX, [0; LENGTH])))
    }

    /// The date at this moment.
    pub(crate) fn at(&self, now: SystemTime) -> [u8; LENGTH] {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = Duration::from_secs(since.as_secs());
        let mut known = self.0.lock();
        if known.0 != second {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + second);
            if let Ok(text) = text.as_bytes().try_into() {
                *known = (second, text);
            }
        }
        known.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_spelled_as_http_has_it() {
        let dates = Dates::new();
        for (millis, text) in [
            (784_111_777_000, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_777_999, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778_000, "Sun, 06 Nov 1994 08:49:38 GMT"),
        ] {
            let date = dates.at(UNIX_EPOCH + Duration::from_millis(millis));
            assert_eq!(date, text.as_bytes());
        }
    }
}
