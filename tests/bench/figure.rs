//! Single figures of a run, which the tables of rounds do not have: each with what it may differ by
//! until the next run.

use serde_json::{Value, json};

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    /// What it is of: the same in every run.
    name: String,
    value: f64,
    unit: &'static str,
    more_is_better: bool,
    /// The share of it that it may differ by.
    noise: f64,
    /// What it may differ by whatever its size, in its unit.
    least: f64,
    /// Whether it grows on a slower machine, as time does.
    is_time: bool,
}

impl Figure {
    const fn new(name: String, value: f64, unit: &'static str) -> Self {
        Self {
            name,
            value,
            unit,
            more_is_better: false,
            noise: 0.25,
            least: 0.0,
            is_time: false,
        }
    }

    /// CPU time, in microseconds.
    pub(crate) fn cpu(name: impl Into<String>, micros: f64) -> Self {
        Self {
            least: 10.0,
            is_time: true,
            ..Self::new(name.into(), micros, "µs of CPU")
        }
    }

    /// How long calls take, in microseconds: a percentile of them. Whatever else the machine does shows
    /// in it.
    pub(crate) fn latency(name: impl Into<String>, micros: f64) -> Self {
        Self {
            noise: 1.0,
            least: 300.0,
            is_time: true,
            ..Self::new(name.into(), micros, "µs")
        }
    }

    /// How long something takes that is done once, in milliseconds. What else the machine does shows in it,
    /// too.
    pub(crate) fn duration(name: impl Into<String>, millis: f64) -> Self {
        Self {
            noise: 1.0,
            least: 50.0,
            is_time: true,
            ..Self::new(name.into(), millis, "ms")
        }
    }

    /// Memory, in bytes.
    pub(crate) fn memory(name: impl Into<String>, bytes: f64) -> Self {
        Self {
            least: 1024.0,
            ..Self::new(name.into(), bytes, "bytes")
        }
    }

    /// The size of a file that the compiler made, in bytes.
    pub(crate) fn file_size(name: impl Into<String>, bytes: f64) -> Self {
        Self {
            noise: 0.05,
            ..Self::new(name.into(), bytes, "bytes")
        }
    }

    /// A share of which more is better, 0 to 1.
    pub(crate) fn share(name: impl Into<String>, share: f64) -> Self {
        Self {
            more_is_better: true,
            noise: 0.0,
            least: 0.1,
            ..Self::new(name.into(), share, "of 1")
        }
    }

    /// As saved runs have it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "more_is_better": self.more_is_better,
            "noise": self.noise,
            "least": self.least,
            "is_time": self.is_time,
        })
    }
}

/// Whether a figure of this run is worse than that of the run before by more than noise; both as
/// saved. `slower`: how many times as long this run's machine takes for the same. The two values then.
pub(crate) fn got_worse(before: &Value, after: &Value, slower: f64) -> Option<(f64, f64)> {
    let number = |name: &str| after[name].as_f64();
    let was = before["value"].as_f64()?;
    let is = after["value"].as_f64()?;
    let is = if after["is_time"] == true {
        is / slower
    } else {
        is
    };
    let (noise, least) = (number("noise")?, number("least")?);
    let more = if after["more_is_better"] == true {
        was - is
    } else {
        is - was
    };
    (more > noise * was.abs() && more > least).then_some((was, is))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_worse_only_beyond_its_share_and_its_least() {
        let told =
            |was: Figure, is: Figure, slower| got_worse(&was.json(), &is.json(), slower).is_some();
        let cpu = |micros| Figure::cpu("it", micros);
        assert!(!told(cpu(100.0), cpu(120.0), 1.0));
        assert!(told(cpu(100.0), cpu(130.0), 1.0));
        // Less than the kernel counts.
        assert!(!told(cpu(2.0), cpu(9.0), 1.0));
        // The machine is slower.
        assert!(!told(cpu(100.0), cpu(130.0), 1.5));
        assert!(told(cpu(100.0), cpu(90.0), 0.5));
        let share = |share| Figure::share("it", share);
        assert!(!told(share(0.9), share(0.95), 1.0));
        assert!(!told(share(0.9), share(0.85), 1.0));
        assert!(told(share(0.9), share(0.5), 1.0));
        let memory = |bytes| Figure::memory("it", bytes);
        assert!(told(memory(8000.0), memory(12_000.0), 3.0));
    }
}
