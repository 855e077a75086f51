//! An event stream followed in the background: what came, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::http_client::Opened;
use mcp_protocol::sse::{Event, Splitter};

/// More of one event is no event of a handshake.
const EVENT_LIMIT: usize = 1024 * 1024;

/// What a stream did so far. Times are since the request was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Recording {
    pub(super) headers: HeaderMap,
    /// Events that a reader dispatches.
    pub(super) events: Vec<(Duration, Event)>,
    /// When anything came, comments included; the head is the first.
    pub(super) arrivals: Vec<Duration>,
    /// When it ended, and what was wrong with it if it did not end properly.
    pub(super) end: Option<(Duration, Option<String>)>,
}

impl Recording {
    /// The longest time without a byte until `now`, since the request.
    pub(super) fn longest_silence(&self, now: Duration) -> Duration {
        let until = self.end.as_ref().map_or(now, |(at, _)| *at);
        let starts = self.arrivals.iter();
        let ends = self.arrivals.iter().skip(1).chain([&until]);
        starts
            .zip(ends)
            .map(|(start, end)| end.saturating_sub(*start))
            .max()
            .unwrap_or(until)
    }
}

/// A stream that is being followed. Dropping it closes the connection.
pub(super) struct StreamRecorder {
    recording: Arc<Mutex<Recording>>,
    started: Instant,
    task: JoinHandle<()>,
}

impl Drop for StreamRecorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StreamRecorder {
    pub(super) fn follow(opened: Opened) -> Self {
        let started = opened.started;
        let recording = Arc::new(Mutex::new(Recording {
            headers: opened.headers.clone(),
            arrivals: vec![started.elapsed()],
            ..Recording::default()
        }));
        let task = tokio::spawn(record(opened, recording.clone()));
        Self {
            recording,
            started,
            task,
        }
    }

    /// What it did so far.
    pub(super) fn recording(&self) -> Recording {
        self.recording.lock().clone()
    }

    /// Since the request.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until `enough` or the end, at most `patience`.
    pub(super) async fn until(
        &self,
        patience: Duration,
        enough: impl Fn(&Recording) -> bool,
    ) -> Recording {
        let deadline = Instant::now() + patience;
        loop {
            let recording = self.recording();
            if recording.end.is_some() || enough(&recording) || Instant::now() >= deadline {
                return recording;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn record(opened: Opened, recording: Arc<Mutex<Recording>>) {
    let Opened {
        mut body,
        started,
        connection: _open,
        ..
    } = opened;
    let mut splitter = Splitter::default();
    let failure = loop {
        match body.frame().await {
            None => break None,
            Some(Err(error)) => break Some(error.to_string()),
            Some(Ok(frame)) => {
                let Ok(bytes) = frame.into_data() else {
                    continue;
                };
                let at = started.elapsed();
                let Ok(events) = splitter.split(&bytes, EVENT_LIMIT) else {
                    break Some("an event without an end".to_owned());
                };
                let mut recording = recording.lock();
                recording.arrivals.push(at);
                let events = events.iter().filter_map(|event| Event::parse(event));
                recording.events.extend(events.map(|event| (at, event)));
            }
        }
    };
    recording.lock().end = Some((started.elapsed(), failure));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_the_longest_gap_up_to_now_or_the_end() {
        let seconds = |list: &[u64]| list.iter().map(|s| Duration::from_secs(*s)).collect();
        let mut recording = Recording {
            arrivals: seconds(&[0, 15, 30]),
            ..Recording::default()
        };
        assert_eq!(
            recording.longest_silence(Duration::from_secs(60)),
            Duration::from_secs(30)
        );
        recording.end = Some((Duration::from_secs(31), None));
        assert_eq!(
            recording.longest_silence(Duration::from_secs(60)),
            Duration::from_secs(15)
        );
    }
}
