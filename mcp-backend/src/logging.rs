//! The log on stderr: one JSON object a line, or a line for people. stdout stays free for the
//! protocol and for the address.

use std::io::Write;

use env_logger::{Builder, Env};
use log::Record;
use log::kv::{self, Key, VisitSource};
use serde_json::{Map, Value, json};

use crate::options::LogFormat;

/// Starts the log. `RUST_LOG` changes what is logged; by default it is what an operator needs.
pub fn start(format: LogFormat) {
    let mut builder = Builder::from_env(Env::default().default_filter_or("warn,mcp_backend=info"));
    if format == LogFormat::Json {
        builder.format(|out, record| {
            let time = out.timestamp_millis().to_string();
            writeln!(out, "{}", line(&time, record))
        });
    }
    // A second start in one program (tests) keeps the first.
    let _ = builder.try_init();
}

/// One JSON object: time, level and event first, where a reader looks for them.
fn line(time: &str, record: &Record<'_>) -> String {
    let mut fields = Map::new();
    // The collector never fails.
    let _ = record.key_values().visit(&mut Collector(&mut fields));
    let event = fields
        .remove("event")
        .unwrap_or_else(|| json!(record.target()));
    let mut line = format!(
        r#"{{"ts":{},"level":{},"event":{event},"message":{}"#,
        json!(time),
        json!(record.level().as_str().to_ascii_lowercase()),
        json!(record.args().to_string()),
    );
    for (name, value) in fields {
        line.push_str(&format!(",{}:{value}", json!(name)));
    }
    line.push('}');
    line
}

struct Collector<'a>(&'a mut Map<String, Value>);

impl<'kvs> VisitSource<'kvs> for Collector<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
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
    fn a_line_is_one_json_object_with_time_level_and_event_first() {
        let fields = [
            ("event", kv::Value::from("folder\nchanged")),
            ("files", kv::Value::from(3)),
        ];
        let record = Record::builder()
            .level(log::Level::Warn)
            .args(format_args!("a \"quoted\"\nmessage"))
            .key_values(&fields)
            .build();
        let line = line("2026-01-01T00:00:00.000Z", &record);
        assert!(!line.contains('\n'));
        assert!(
            line.starts_with(r#"{"ts":"2026-01-01T00:00:00.000Z","level":"warn","event":"folder"#)
        );
        let parsed: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["message"], "a \"quoted\"\nmessage");
        assert_eq!(parsed["files"], 3);
    }
}
