//! A moment on a command line.

use std::time::UNIX_EPOCH;

use gateway_core::clock::Timestamp;

/// A moment in RFC 3339, or a day, which begins at midnight. Where no offset is said it is in UTC.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    parsed(text.trim()).ok_or_else(|| {
        format!(
            "`{text}` is no moment: give one such as 2026-11-24T10:00:00Z, 2026-11-24T12:00:00+02:00 or 2026-11-24"
        )
    })
}

fn parsed(text: &str) -> Option<Timestamp> {
    // Both letters may be small (RFC 3339 §5.6).
    let text = text.to_ascii_uppercase();
    let is_day = text.len() == "2026-11-24".len();
    let (local, offset) = match with_offset(&text) {
        Some((local, millis)) => (local.to_owned(), millis),
        None if is_day => (format!("{text}T00:00:00"), 0),
        None => (text.strip_suffix('Z').unwrap_or(&text).to_owned(), 0),
    };
    // Behind the seconds humantime takes more than a fraction.
    let fraction = local.get("2026-11-24T10:00:00".len()..)?;
    let mut digits = fraction.strip_prefix('.').unwrap_or("-").bytes();
    if !fraction.is_empty() && !digits.all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let since = humantime::parse_rfc3339_weak(&local).ok()?;
    let since = since.duration_since(UNIX_EPOCH).ok()?.as_millis();
    let utc = u64::try_from(since).ok()?.checked_add_signed(-offset)?;
    Some(Timestamp::from_millis(utc))
}

/// What stands before an offset such as `+02:00`, and the offset in milliseconds.
fn with_offset(text: &str) -> Option<(&str, i64)> {
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+02:00".len())?)?;
    let sign = match offset.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let number = |text: &str, below: i64| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: i64 = text.parse().ok().filter(|_| is_number)?;
        (number < below).then_some(number)
    };
    let minutes = number(hours, 24)? * 60 + number(minutes, 60)?;
    Some((local, sign * minutes * 60_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_in_each_form_of_it() {
        for text in [
            "2026-11-24T10:00:00Z",
            "2026-11-24t10:00:00.000z",
            "2026-11-24 10:00:00",
            "2026-11-24T12:00:00+02:00",
            "2026-11-24T04:30:00.000-05:30",
            "2026-11-25T09:59:00+23:59",
        ] {
            let expected = Timestamp::from_secs(1_795_514_400);
            assert_eq!(moment(text).unwrap(), expected, "{text}");
        }
        let midnight = moment("2026-11-24").unwrap();
        assert_eq!(midnight, moment("2026-11-24T00:00:00Z").unwrap());
        assert_eq!(
            moment("2026-11-24T00:00:00.5Z")
                .unwrap()
                .since(midnight)
                .as_millis(),
            500
        );
    }

    #[test]
    fn what_is_no_moment_is_refused_with_an_example_of_one() {
        for text in [
            "",
            "24h",
            "yesterday",
            "2026-11",
            "2026-13-24",
            "2026-11-24T10:00",
            "2026-11-24T10:00:00ZZ",
            "2026-11-24T10:00:00Z+02:00",
            "2026-11-24+02:00",
            "2026-11-24T10:00:00+24:00",
            "2026-11-24T10:00:00+0200",
            "1970-01-01T01:00:00+02:00",
            "1969-12-31",
            "24. Nov. é",
        ] {
            let sentence = moment(text).unwrap_err();
            assert!(sentence.contains("2026-11-24T10:00:00Z"), "{text}");
        }
    }
}
