//! The log: one line a decision on stderr, JSON or for people.

mod batched;

use std::borrow::Cow;
use std::cell::Cell;
use std::io::Write as _;

use env_logger::fmt::Formatter;
use env_logger::{Target, WriteStyle};
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use log::{Level, LevelFilter, Record};
use serde::Serialize;
use serde_json::json;

use self::batched::Batched;
use crate::config::LogFormat;
use gateway_core::audit::bounded;
use gateway_core::clock::Clock;

/// So many bytes of a message, and of each value, are written: much of it is what anonymous clients sent.
const LONGEST: usize = 2048;

/// A text of so many bytes is within that however it is escaped.
const SHORT: usize = LONGEST / 6;

/// So many bytes of room are kept for a thread's next line, which is more than most need.
const ROOM: usize = 4096;

/// Writes what is still to be written when it is dropped, at the end of the process: whatever else goes to
/// standard error comes after it.
pub(super) struct Logging(Option<Batched>);

impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(batched) = &self.0 {
            batched.flush();
        }
    }
}

/// What led to a panic is read before what it says itself.
fn flush_before_panics(batched: &Batched) {
    let batched = batched.clone();
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        batched.flush_if_free();
        tell(panic);
    }));
}

/// Sets the logger for the rest of the process.
pub(super) fn start(format: LogFormat, level: LevelFilter) -> Logging {
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
    let batched = match format {
        LogFormat::Json => {
            let batched = Batched::start();
            flush_before_panics(&batched);
            builder.format(|buffer, record| {
                if record.level() <= Level::Warn {
                    Batched::urgent();
                }
                json_line(buffer, record)
            });
            // Nothing is styled: looking for styles to strip would cost more than the line.
            builder.write_style(WriteStyle::Always);
            builder.target(Target::Pipe(Box::new(batched.clone())));
            Some(batched)
        }
        LogFormat::Pretty => {
            builder.format(pretty_line).target(Target::Stderr);
            None
        }
    };
    builder.init();
    Logging(batched)
}

thread_local! {
    /// The room of this thread's last line, for its next one.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn json_line(buffer: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let mut line = Line::over(SPARE.take(), record.level());
    let _ = record.key_values().visit(&mut line);
    let line = line.finish(&message(record), record.target());
    let written = buffer.write_all(&line);
    if line.capacity() <= ROOM {
        SPARE.set(line);
    }
    written
}

/// The line that stands for others, which standard error did not take.
fn lost_line(lines: u64) -> Vec<u8> {
    let mut line = Line::over(Vec::new(), Level::Error);
    line.member("event", "log_lines_lost");
    line.member("lines", &lines);
    let message = "standard error did not take the lines that stood here";
    line.finish(message, module_path!())
}

/// A JSON object that is being written.
struct Line(Vec<u8>);

impl Line {
    /// A line in the room of another one.
    fn over(mut room: Vec<u8>, level: Level) -> Self {
        room.clear();
        let mut line = Self(room);
        let at = humantime::format_rfc3339_millis(Clock.now().to_system_time());
        line.member("ts", &format_args!("{at}"));
        let level = match level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        line.member("level", level);
        line
    }

    fn finish(mut self, message: &str, module: &str) -> Vec<u8> {
        self.member("message", message);
        self.member("module", module);
        self.0.extend_from_slice(b"}\n");
        self.0
    }

    fn member(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        let Self(bytes) = self;
        bytes.push(if bytes.is_empty() { b'{' } else { b',' });
        // Texts, numbers and truth values are written into memory: nothing fails.
        if name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            bytes.push(b'"');
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b'"');
        } else {
            let _ = serde_json::to_writer(&mut *bytes, name);
        }
        bytes.push(b':');
        let _ = serde_json::to_writer(&mut *bytes, value);
    }
}

impl<'kvs> VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if value.visit(Null).is_ok() {
            return Ok(());
        }
        let name = key.as_str();
        if let Some(number) = value.to_u64() {
            self.member(name, &number);
        } else if let Some(flag) = value.to_bool() {
            self.member(name, &flag);
        } else if let Some(text) = value.to_borrowed_str().filter(|text| text.len() <= SHORT) {
            self.member(name, text);
        } else {
            self.member(name, &bounded(&value.to_string(), LONGEST));
        }
        Ok(())
    }
}

fn pretty_line(buffer: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let style = buffer.default_level_style(record.level());
    let at = humantime::format_rfc3339_seconds(Clock.now().to_system_time());
    write!(buffer, "{at} {style}{:5}{style:#} ", record.level())?;
    // A line break in a value would forge a line.
    write!(buffer, "{}", message(record).escape_debug())?;
    record
        .key_values()
        .visit(&mut Fields(buffer))
        .map_err(std::io::Error::other)?;
    buffer.write_all(b"\n")
}

fn message<'r>(record: &Record<'r>) -> Cow<'r, str> {
    match record.args().as_str() {
        Some(text) => bounded(text, LONGEST),
        None => bounded(&record.args().to_string(), LONGEST)
            .into_owned()
            .into(),
    }
}

/// Writes each as ` name=value`, texts as JSON has them.
struct Fields<'b>(&'b mut Formatter);

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

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if value.visit(Null).is_ok() {
            return Ok(());
        }
        let value = if let Some(number) = value.to_u64() {
            json!(number)
        } else if let Some(flag) = value.to_bool() {
            json!(flag)
        } else {
            json!(bounded(&value.to_string(), LONGEST))
        };
        Ok(write!(self.0, " {key}={value}")?)
    }
}
