//! One count of a limit, and how people are told of it.

use std::time::Duration;

use super::quota::{Quota, Rate};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Calls.
    Calls,
    /// Bytes of requests and answers.
    Bytes,
}

/// One count of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// What is counted.
    pub unit: Unit,
    /// How much of it there may be.
    pub quota: Quota,
}

impl Meter {
    /// What tells its counts from those of the same limit's others. With another rate counting begins anew;
    /// with another budget the day goes on.
    pub fn key(&self) -> String {
        match (self.quota, self.unit) {
            (Quota::Rate(rate), _) => format!(
                "rate {} {} {}",
                rate.count(),
                rate.period().as_millis(),
                rate.burst()
            ),
            (Quota::Day(_), Unit::Calls) => "calls a day".to_owned(),
            (Quota::Day(_), Unit::Bytes) => "bytes a day".to_owned(),
            (Quota::Total(..), _) => "calls".to_owned(),
        }
    }

    /// As people say it: `100 calls a minute`.
    pub fn words(&self) -> String {
        match (self.quota, self.unit) {
            (Quota::Rate(rate), _) => format!("{} {}", calls(rate.count()), each(rate)),
            (Quota::Day(amount), Unit::Calls) => format!("{} a day", calls(amount)),
            (Quota::Day(amount), Unit::Bytes) => format!("{} a day", bytes(amount)),
            (Quota::Total(amount, _), _) => calls(amount),
        }
    }

    /// An amount of what is counted.
    pub fn amount(&self, amount: u64) -> String {
        match self.unit {
            Unit::Calls => amount.to_string(),
            Unit::Bytes => bytes(amount),
        }
    }
}

fn calls(count: u64) -> String {
    match count {
        1 => "1 call".to_owned(),
        count => format!("{count} calls"),
    }
}

fn each(rate: Rate) -> String {
    match rate.period().as_secs() {
        1 => "a second".to_owned(),
        60 => "a minute".to_owned(),
        3_600 => "an hour".to_owned(),
        86_400 => "a day".to_owned(),
        _ => format!("in {}", humantime::format_duration(rate.period())),
    }
}

fn bytes(amount: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match UNITS.iter().find(|(unit, _)| amount >= *unit) {
        Some((unit, name)) => {
            let tenths = amount / (unit / 10);
            match (tenths / 10, tenths % 10) {
                (whole, 0) => format!("{whole} {name}"),
                (whole, tenth) => format!("{whole}.{tenth} {name}"),
            }
        }
        None => format!("{amount} bytes"),
    }
}

/// How long to wait, in words.
pub fn wait_in_words(wait: Duration) -> String {
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    match seconds {
        1 => "1 second".to_owned(),
        2..=120 => format!("{seconds} seconds"),
        121..=7_200 => format!("{} minutes", seconds.div_ceil(60)),
        _ => format!("{} hours", seconds.div_ceil(3_600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_as_people_say_it() {
        let rate = Rate::new(100, Duration::from_secs(60), 20).unwrap();
        let meter = |unit, quota| Meter { unit, quota };
        for (meter, words) in [
            (meter(Unit::Calls, Quota::Rate(rate)), "100 calls a minute"),
            (meter(Unit::Calls, Quota::Day(1)), "1 call a day"),
            (meter(Unit::Bytes, Quota::Day(50_000_000)), "50 MB a day"),
            (meter(Unit::Bytes, Quota::Day(1_570)), "1.5 kB a day"),
        ] {
            assert_eq!(meter.words(), words);
        }
        for (seconds, words) in [(0, "1 second"), (90, "90 seconds"), (7_201, "3 hours")] {
            assert_eq!(wait_in_words(Duration::from_secs(seconds)), words);
        }
    }
}
