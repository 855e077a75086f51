//! Event streams: whether they are held back, cut, or lead elsewhere.

use std::time::Duration;

use url::Url;

use super::judgement::{all_well, answer, judge, wrong};
use crate::check::Check;
use crate::exchange::{Exchange, shown};
use crate::finding::{Finding, Verdict};
use crate::stream_recorder::Recording;
use crate::target::Target;

/// How long an event may take before it is given up: it is held back until a buffer is full.
pub(crate) const EVENT: Duration = Duration::from_secs(5);
/// An event that comes later is late.
const LATE: Duration = Duration::from_secs(1);
/// Boxes on the way forget connections that are silent for longer.
const SILENCE: Duration = Duration::from_secs(30);

/// How the first event of a stream came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstEvent {
    /// While the stream was open, so long after it was asked for.
    Came(Duration),
    /// Not within the seconds after which an app has given up: something holds events back.
    HeldBack,
    /// There was no stream: why, in words.
    NoStream(String),
}

/// The older transport, as it was tried with the token.
#[derive(Clone, Debug)]
pub(crate) struct SseTrial {
    /// The stream as far as it went, or the answer that was no stream.
    pub(crate) opened: Result<Recording, Exchange>,
    /// The message that was posted to the endpoint.
    pub(crate) posted: Option<Posted>,
}

/// A message posted while the stream was open. Times are since the stream's request.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) exchange: Exchange,
    pub(crate) accepted: Duration,
    pub(crate) answered: Option<Duration>,
}

/// The URL of the `endpoint` event, wherever it leads.
pub(crate) fn endpoint(target: &Target, recording: &Recording) -> Option<Url> {
    let (_, event) = recording
        .events
        .iter()
        .find(|(_, event)| event.name == "endpoint")?;
    target.sse.join(&event.data).ok()
}

/// All checks of the older transport.
pub(crate) fn sse(target: &Target, trial: &SseTrial) -> Vec<Finding> {
    let checks = [
        Check::SseFirstEvent,
        Check::SseEndpoint,
        Check::SseBuffering,
    ];
    let recording = match &trial.opened {
        Ok(recording) => recording,
        Err(exchange) => return checks.map(|check| not_opened(check, exchange)).to_vec(),
    };
    if compression([recording]).verdict == Verdict::Fail {
        return checks
            .map(|check| check.after(Check::StreamCompression))
            .to_vec();
    }
    let first = first_event(recording);
    if first.verdict == Verdict::Fail {
        return vec![
            first,
            Check::SseEndpoint.after(Check::SseFirstEvent),
            Check::SseBuffering.after(Check::SseFirstEvent),
        ];
    }
    let endpoint = endpoint_origin(target, recording);
    let buffering = if endpoint.verdict == Verdict::Fail {
        Check::SseBuffering.after(Check::SseEndpoint)
    } else {
        buffering(trial.posted.as_ref())
    };
    vec![first, endpoint, buffering]
}

fn not_opened(check: Check, exchange: &Exchange) -> Finding {
    let absent = answer(exchange).is_ok_and(|a| matches!(a.status.as_u16(), 400 | 404 | 405 | 406));
    if absent || check != Check::SseFirstEvent {
        return check.skip("the backend does not serve the older transport");
    }
    judge(check, exchange, |answer| {
        wrong(format!("GET /sse answers {answer}"))
    })
}

/// Whether any stream is compressed.
pub(crate) fn compression<'a>(recordings: impl IntoIterator<Item = &'a Recording>) -> Finding {
    let encodings: Vec<String> = recordings
        .into_iter()
        .filter_map(|recording| recording.headers.get(http::header::CONTENT_ENCODING))
        .filter_map(|value| value.to_str().ok())
        .filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
        .map(|encoding| format!("content-encoding: {encoding}"))
        .collect();
    all_well(
        Check::StreamCompression,
        "event streams are not compressed",
        encodings,
    )
}

fn first_event(recording: &Recording) -> Finding {
    let check = Check::SseFirstEvent;
    match recording.events.first() {
        Some((at, event)) if event.name == "endpoint" => {
            let summary = format!("the endpoint event came after {} ms", at.as_millis());
            timely(check, *at, summary)
        }
        Some((_, event)) => {
            check.fail(format!("the first event is {:?}, not endpoint", event.name))
        }
        None => check
            .fail(format!("no event came within {} s", EVENT.as_secs()))
            .seen(format!("{} pieces came", recording.arrivals.len() - 1)),
    }
}

/// What came after so long.
fn timely(check: Check, after: Duration, summary: String) -> Finding {
    if after < LATE {
        check.pass(summary)
    } else {
        check.warn(summary)
    }
}

/// The first event of a stream of any kind. One that was held back comes late, with the end of its stream.
pub(crate) fn first_arrival(recording: &Recording) -> FirstEvent {
    match recording.events.first() {
        Some((at, _)) if *at < EVENT => FirstEvent::Came(*at),
        _ => FirstEvent::HeldBack,
    }
}

fn endpoint_origin(target: &Target, recording: &Recording) -> Finding {
    let check = Check::SseEndpoint;
    match endpoint(target, recording) {
        Some(url) if url.origin() == target.mcp.origin() => {
            check.pass(format!("messages go to {}", url.path()))
        }
        Some(url) => {
            let elsewhere = url.origin().ascii_serialization();
            check
                .fail(format!("messages go to {elsewhere}"))
                .seen(format!("endpoint: {}", shown(&url)))
        }
        None => check.fail("the endpoint event holds no URL"),
    }
}

fn buffering(posted: Option<&Posted>) -> Finding {
    let check = Check::SseBuffering;
    let Some(posted) = posted else {
        return check.skip("no message was posted");
    };
    judge(check, &posted.exchange, |answer| {
        if !answer.status.is_success() {
            return wrong(format!("a message is answered with {answer}"));
        }
        let Some(answered) = posted.answered else {
            return wrong(format!(
                "no answer came on the open stream within {} s",
                EVENT.as_secs()
            ));
        };
        let delay = answered.saturating_sub(posted.accepted);
        let summary = format!("an answer came {} ms after its message", delay.as_millis());
        Ok(timely(check, delay, summary))
    })
}

/// A stream that nobody wrote to, watched for a while.
pub(crate) fn idle(recording: &Recording, watched: Duration) -> Finding {
    let check = Check::StreamIdle;
    if let Some((end, why)) = &recording.end {
        let summary = format!(
            "the stream was cut after {} s of silence",
            recording.longest_silence(*end).as_secs()
        );
        return check
            .fail(summary)
            .seen(why.clone().unwrap_or_else(|| "ended properly".to_owned()));
    }
    let silence = recording.longest_silence(watched);
    let (open, silent) = (watched.as_secs(), silence.as_secs());
    if silence > SILENCE {
        check.warn(format!(
            "open after {open} s, but nothing came for {silent} s"
        ))
    } else {
        check.pass(format!(
            "open after {open} s, never silent for more than {silent} s"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::judgement::verdict_of;
    use super::*;
    use crate::exchange::tests::exchange;
    use mcp_protocol::sse::Event;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn opened(at: u64, endpoint: &str) -> Recording {
        let event = Event {
            name: "endpoint".into(),
            data: endpoint.into(),
        };
        Recording {
            arrivals: vec![ms(5), ms(at)],
            events: vec![(ms(at), event)],
            ..Recording::default()
        }
    }

    fn posted(answered: Option<u64>) -> Option<Posted> {
        let url = "https://mcp.example.com/messages";
        Some(Posted {
            exchange: exchange("POST", url, 202, &[], ""),
            accepted: ms(500),
            answered: answered.map(ms),
        })
    }

    /// What is not well, with its verdict.
    fn unwell(recording: Recording, posted: Option<Posted>) -> Vec<(Check, Verdict)> {
        let target = Target::parse("https://mcp.example.com/mcp").unwrap();
        let trial = SseTrial {
            opened: Ok(recording),
            posted,
        };
        sse(&target, &trial)
            .into_iter()
            .filter(|finding| matches!(finding.verdict, Verdict::Fail | Verdict::Warn))
            .map(|finding| (finding.check, finding.verdict))
            .collect()
    }

    #[test]
    fn each_fault_of_the_older_transport_has_its_own_check() {
        let path = "/messages?x";
        assert_eq!(unwell(opened(20, path), posted(Some(520))), []);
        let silent = Recording {
            arrivals: vec![ms(5)],
            ..Recording::default()
        };
        for (recording, posted, check) in [
            (silent, None, Check::SseFirstEvent),
            (
                opened(20, "http://10.0.0.1:9000/messages"),
                None,
                Check::SseEndpoint,
            ),
            (opened(20, path), posted(None), Check::SseBuffering),
        ] {
            assert_eq!(unwell(recording, posted), [(check, Verdict::Fail)]);
        }
    }

    #[test]
    fn an_event_that_comes_with_the_end_of_its_stream_was_held_back() {
        assert_eq!(
            first_arrival(&opened(20, "/messages")),
            FirstEvent::Came(ms(20))
        );
        let held_back = opened(10_003, "/messages");
        assert_eq!(first_arrival(&held_back), FirstEvent::HeldBack);
        let silent = Recording::default();
        assert_eq!(first_arrival(&silent), FirstEvent::HeldBack);
    }

    #[test]
    fn events_that_come_late_are_a_warning() {
        let path = "/messages?x";
        let late = unwell(opened(3000, path), posted(Some(3100)));
        assert_eq!(late[0], (Check::SseFirstEvent, Verdict::Warn));
        let late = unwell(opened(20, path), posted(Some(4000)));
        assert_eq!(late, [(Check::SseBuffering, Verdict::Warn)]);
    }

    #[test]
    fn a_compressed_stream_is_judged_for_nothing_else() {
        let mut zipped = opened(20, "/messages");
        let encoding = "gzip".parse().unwrap();
        zipped.headers.insert("content-encoding", encoding);
        assert_eq!(compression([&zipped]).verdict, Verdict::Fail);
        assert_eq!(unwell(zipped, None), []);
    }

    #[test]
    fn a_backend_without_the_older_transport_is_not_blamed() {
        let target = Target::parse("https://mcp.example.com/mcp").unwrap();
        let json = [("content-type", "application/json")];
        let tried = |status| SseTrial {
            opened: Err(exchange(
                "GET",
                "https://mcp.example.com/sse",
                status,
                &json,
                "{}",
            )),
            posted: None,
        };
        assert_eq!(
            verdict_of(&sse(&target, &tried(404)), Check::SseFirstEvent),
            Verdict::Skip
        );
        assert_eq!(
            verdict_of(&sse(&target, &tried(502)), Check::SseFirstEvent),
            Verdict::Fail
        );
    }

    #[test]
    fn an_idle_stream_must_stay_and_should_not_be_silent() {
        let second = Duration::from_secs;
        let mut recording = Recording {
            arrivals: vec![second(0), second(15), second(30), second(45)],
            ..Recording::default()
        };
        assert_eq!(idle(&recording, second(60)).verdict, Verdict::Pass);
        recording.arrivals.truncate(1);
        assert_eq!(idle(&recording, second(60)).verdict, Verdict::Warn);
        recording.end = Some((second(20), None));
        assert_eq!(idle(&recording, second(60)).verdict, Verdict::Fail);
    }
}
