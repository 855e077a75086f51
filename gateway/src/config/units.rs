//! Durations and sizes always carry their unit.

use std::time::Duration;

/// `15s`, `24h`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "must be a number with a unit, such as 15s, 10m or 24h".to_owned())
}

/// One that is no shorter than `least`.
pub(super) fn at_least(text: &str, least: Duration) -> Result<Duration, String> {
    match duration(text)? {
        found if found < least => {
            let least = humantime::format_duration(least);
            Err(format!("must be at least {least}"))
        }
        found => Ok(found),
    }
}

/// `64KiB`, `4MiB`, `512B`; decimal units (`kB`, `MB`) as well. In bytes.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let wrong = || "must be a number with a unit, such as 64KiB or 4MiB".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let factor: usize = match unit.trim() {
        "B" => 1,
        "kB" => 1000,
        "KiB" => 1024,
        "MB" => 1000 * 1000,
        "MiB" => 1024 * 1024,
        "GB" => 1000 * 1000 * 1000,
        "GiB" => 1024 * 1024 * 1024,
        _ => return Err(wrong()),
    };
    number
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_need_units() {
        assert_eq!(size("4MiB"), Ok(4 << 20));
        assert_eq!(size("512 B"), Ok(512));
        assert!(size("4").is_err());
        assert!(size("99999999999GiB").is_err());
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert!(duration("24").is_err());
    }
}
