//! The log on stderr: one JSON object a line, or a line for people. stdout stays free for the
//! protocol and for the address.

use std::io::Write;

use env_logger::{Builder, Env};
use log::Record;
use log::kv::{Error, Key, Value, VisitSource};
use serde_json::{Map, json};

use crate::options::LogFormat;

/// Starts the log. `RUST_LOG` changes what is logged; by default it is what an operator needs.
pub fn start(format: LogFormat) {
    let mut builder = Builder::from_env(Env::default().default_filter_or("warn,mcp_backend=info"));
    if format == LogFormat::Json {
        builder.format(|out, record| {
            let mut line = line(record);
            line.insert("ts".to_owned(), json!(out.timestamp_millis().to_string()));
            writeln!(out, "{}", serde_json::Value::Object(line))
        });
    }
    // A second start in one program (tests) keeps the first.
    let _ = builder.try_init();
}

fn line(record: &Record<'_>) -> Map<String, serde_json::Value> {
    let mut line = Map::new();
    line.insert(
        "level".to_owned(),
        json!(record.level().as_str().to_ascii_lowercase()),
    );
    line.insert("message".to_owned(), json!(record.args().to_string()));
    // The collector never fails.
    let _ = record.key_values().visit(&mut Collector(&mut line));
    line
}

struct Collector<'a>(&'a mut Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Collector<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let value = value
            .to_u64()
            .map_or_else(|| json!(value.to_string()), |number| json!(number));
        self.0.insert(key.to_string(), value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_level_message_and_fields_and_stays_one_line() {
        let fields = [
            ("event", Value::from("folder\nchanged")),
            ("files", Value::from(3)),
        ];
        let record = Record::builder()
            .level(log::Level::Warn)
            .args(format_args!("a \"quoted\"\nmessage"))
            .key_values(&fields)
            .build();
        let text = serde_json::Value::Object(line(&record)).to_string();
        assert!(!text.contains('\n'));
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["level"], "warn");
        assert_eq!(parsed["files"], 3);
        assert_eq!(parsed["event"], "folder\nchanged");
    }
}
