//! Counters, gauges and histograms, by the values of their labels.

use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{
    CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
};

/// What kind of metric a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Durations, counted by their length.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Held while what was counted elsewhere is taken over: two who ask at the same moment must not both add
/// what is new.
static ADVANCING: Mutex<()> = Mutex::new(());

/// Something that only grows.
#[derive(Clone, Debug)]
pub struct Counter(prometheus::IntCounter);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.0.inc();
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.inc_by(count);
    }

    /// How many by now.
    pub fn value(&self) -> u64 {
        self.0.get()
    }

    /// So many by now, counted elsewhere. It never falls.
    pub fn advance_to(&self, count: u64) {
        let _advancing = ADVANCING.lock();
        self.0.inc_by(count.saturating_sub(self.0.get()));
    }
}

/// Something that rises and falls, in whole numbers.
#[derive(Clone, Debug)]
pub struct Gauge(prometheus::IntGauge);

impl Gauge {
    /// So many now.
    pub fn set(&self, count: usize) {
        self.0.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// One more.
    pub fn increment(&self) {
        self.0.inc();
    }

    /// One less.
    pub fn decrement(&self) {
        self.0.dec();
    }
}

/// How long something took, each time.
#[derive(Clone, Debug)]
pub struct Histogram(prometheus::Histogram);

impl Histogram {
    /// Once more, for so long.
    pub fn observe(&self, duration: Duration) {
        self.0.observe(duration.as_secs_f64());
    }
}

/// The counters of one name, by `N` labels.
#[derive(Clone, Debug)]
pub struct CounterFamily<const N: usize>(IntCounterVec);

/// The gauges of one name.
#[derive(Clone, Debug)]
pub struct GaugeFamily<const N: usize>(IntGaugeVec);

/// The same, where what they say is no whole number.
#[derive(Clone, Debug)]
pub struct NumberFamily<const N: usize>(GaugeVec);

/// Counters of seconds of one name.
#[derive(Clone, Debug)]
pub struct SecondsFamily<const N: usize>(CounterVec);

/// The histograms of one name.
#[derive(Clone, Debug)]
pub struct HistogramFamily<const N: usize>(HistogramVec);

impl<const N: usize> CounterFamily<N> {
    /// The one with these values of its labels. To be kept where it is often counted.
    pub fn with(&self, labels: [&str; N]) -> Counter {
        Counter(self.0.with_label_values(&labels))
    }
}

impl<const N: usize> GaugeFamily<N> {
    /// The one with these values of its labels.
    pub fn with(&self, labels: [&str; N]) -> Gauge {
        Gauge(self.0.with_label_values(&labels))
    }
}

impl<const N: usize> NumberFamily<N> {
    /// Sets the one with these values of its labels.
    pub fn set(&self, labels: [&str; N], number: f64) {
        self.0.with_label_values(&labels).set(number);
    }
}

impl<const N: usize> SecondsFamily<N> {
    /// So many by now in the one with these values of its labels, counted elsewhere. It never falls.
    pub fn advance_to(&self, labels: [&str; N], seconds: f64) {
        let counter = self.0.with_label_values(&labels);
        let _advancing = ADVANCING.lock();
        counter.inc_by((seconds - counter.get()).max(0.0));
    }
}

impl<const N: usize> HistogramFamily<N> {
    /// The one with these values of its labels. To be kept where it is often used.
    pub fn with(&self, labels: [&str; N]) -> Histogram {
        Histogram(self.0.with_label_values(&labels))
    }
}

/// Makes a family and enters it where all are gathered. Names and labels are those of the table, which a
/// test makes once: nothing here fails afterwards.
pub(crate) trait Family: Sized {
    /// What its rows are.
    const KIND: Kind;
    fn register(
        registry: &Registry,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> prometheus::Result<Self>;
}

macro_rules! families_without_buckets {
    ($($family:ident: $kind:ident, $vector:ident;)*) => {
        $(impl<const N: usize> Family for $family<N> {
            const KIND: Kind = Kind::$kind;
            fn register(
                registry: &Registry,
                name: &str,
                help: &str,
                labels: &[&str],
                _: &[f64],
            ) -> prometheus::Result<Self> {
                let family = $vector::new(Opts::new(name, help), labels)?;
                registry.register(Box::new(family.clone()))?;
                Ok(Self(family))
            }
        })*
    };
}

families_without_buckets! {
    CounterFamily: Counter, IntCounterVec;
    GaugeFamily: Gauge, IntGaugeVec;
    NumberFamily: Gauge, GaugeVec;
    SecondsFamily: Counter, CounterVec;
}

impl<const N: usize> Family for HistogramFamily<N> {
    const KIND: Kind = Kind::Histogram;
    fn register(
        registry: &Registry,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> prometheus::Result<Self> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let family = HistogramVec::new(options, labels)?;
        registry.register(Box::new(family.clone()))?;
        Ok(Self(family))
    }
}
