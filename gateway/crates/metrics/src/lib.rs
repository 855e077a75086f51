//! What the gateway counts, for whoever operates it: one table of metrics ([`Metrics::TABLE`]), and
//! handles that are looked up once, so that to count is an atomic addition.
//!
//! A label never has a value that somebody outside made up. Backends, endpoints, methods, reasons and
//! limits are lists of ours or the operator's; of tools only those count by name that their backend
//! lists, and no more than [`MOST_TOOLS`] of each. No metric names a person, a client or an address.
//!
//! Owns: names, labels and help of all metrics, what of them is resolved beforehand, and their text.
//! Not: when something is counted (whoever decides it), nor what the moment's gauges are set to (the
//! admin listener). Time comes in as durations.
//!
//! Begin at [`Metrics`].

mod backend;
mod decision;
mod exchange;
mod family;
mod table;

pub use self::backend::{BackendMetrics, MOST_TOOLS, RpcMethod};
pub use self::decision::Decision;
pub use self::exchange::{Ended, ExchangeMeter};
pub use self::family::{
    Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, Kind, NumberFamily,
    SecondsFamily,
};
pub use self::table::{Families, Metrics, Row};
