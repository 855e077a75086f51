//! The log: one line a decision on stderr, JSON or for people.

use std::io::Write as _;

use env_logger::fmt::Formatter;
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use log::{LevelFilter, Record};
use serde_json::{Map, json};

use crate::config::LogFormat;
use gateway_core::audit::bounded;
use gateway_core::clock::Clock;

/// So many bytes of a message, and of each value, are written: much of it is what strangers sent.
const LONGEST: usize = 2048;

/// Sets the logger for the rest of the process.
pub(super) fn start(format: LogFormat, level: LevelFilter) {
    let mut builder = env_logger::Builder::new();
    // Libraries write what passes through them, tokens and cookies too, into their finer levels.
    builder.filter_level(level.min(LevelFilter::Warn));
    builder.filter_module("gateway", level);
    // Pingora logs every client that goes away as an error, and its own start-up at length.
    if level < LevelFilter::Debug {
        for module in ["pingora_core", "pingora_proxy", "pingora_pool", "rustls"] {
            builder.filter_module(module, LevelFilter::Off);
        }
    }
    match format {
        LogFormat::Json => builder.format(json_line),
        LogFormat::Pretty => builder.format(pretty_line),
    };
    builder.target(env_logger::Target::Stderr).init();
}

fn json_line(buffer: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let mut line = Map::new();
    line.insert(
        "ts".to_owned(),
        json!(humantime::format_rfc3339_millis(Clock.now().to_system_time()).to_string()),
    );
    line.insert(
        "level".to_owned(),
        json!(record.level().as_str().to_lowercase()),
    );
    let mut fields = Fields(Vec::new());
    let _ = record.key_values().visit(&mut fields);
    for (name, value) in fields.0 {
        line.insert(name, value);
    }
    line.insert("message".to_owned(), json!(message(record)));
    line.insert("module".to_owned(), json!(record.target()));
    serde_json::to_writer(&mut *buffer, &line)?;
    buffer.write_all(b"\n")
}

fn pretty_line(buffer: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let style = buffer.default_level_style(record.level());
    let at = humantime::format_rfc3339_seconds(Clock.now().to_system_time());
    write!(buffer, "{at} {style}{:5}{style:#} ", record.level())?;
    // A line break in a value would forge a line.
    write!(buffer, "{}", message(record).escape_debug())?;
    let mut fields = Fields(Vec::new());
    let _ = record.key_values().visit(&mut fields);
    for (name, value) in fields.0 {
        write!(buffer, " {name}={value}")?;
    }
    buffer.write_all(b"\n")
}

fn message(record: &Record<'_>) -> String {
    bounded(record.args().to_string(), LONGEST)
}

struct Fields(Vec<(String, serde_json::Value)>);

/// Succeeds for a value that is not there: an `Option` that is `None` is no field.
struct Null;

impl<'v> VisitValue<'v> for Null {
    fn visit_any(&mut self, _value: Value<'_>) -> Result<(), Error> {
        Err(Error::msg("not null"))
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if value.visit(Null).is_ok() {
            return Ok(());
        }
        let value = if let Some(number) = value.to_u64() {
            json!(number)
        } else if let Some(flag) = value.to_bool() {
            json!(flag)
        } else {
            json!(bounded(value.to_string(), LONGEST))
        };
        self.0.push((key.as_str().to_owned(), value));
        Ok(())
    }
}
