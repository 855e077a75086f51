//! Event streams with the token, and the end of the grant.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use tokio::time::sleep;
use url::Url;

use super::examination::{Examination, Grant};
use super::session::{Session, initialize_message, message, post};
use crate::check::Check;
use crate::checks::discovery::Endpoints;
use crate::checks::streams::{EVENT, Posted, SseTrial, compression, endpoint, idle, sse};
use crate::checks::token::{self, STREAM_END};
use crate::finding::Verdict;
use crate::http_client::Ask;
use crate::stream_recorder::{Recording, StreamRecorder};

/// How long a quiet stream is watched.
const IDLE: Duration = Duration::from_secs(60);
/// How long a revoked token may still be taken before that is a failure.
const REVOKED: Duration = Duration::from_secs(5);

/// The streams that are open when the grant ends.
struct Streams {
    mcp: Option<StreamRecorder>,
    sse: Option<StreamRecorder>,
}

impl Examination<'_> {
    /// Opens streams, watches them, and takes the grant back.
    pub(super) async fn stream_and_end(
        &mut self,
        endpoints: &Endpoints,
        grant: &Grant,
        session: Session,
    ) {
        let mcp = session.ask(stream(&self.target.mcp), grant);
        let mcp = self.http.follow(mcp).await.ok();
        let sse = self.try_sse(grant).await;
        let mut streams = Streams { mcp, sse };
        self.watch(&streams, grant).await;
        let recordings: Vec<_> = [&streams.mcp, &streams.sse]
            .into_iter()
            .flatten()
            .map(StreamRecorder::recording)
            .collect();
        if recordings.is_empty() {
            self.found(Check::StreamCompression.skip("there is no stream"));
        } else {
            self.found(compression(&recordings));
        }
        if streams.sse.is_some() {
            // One stream is enough for the end; a session can't be closed after it.
            streams.mcp = None;
            self.close_session(grant, &session).await;
        }
        self.revoke(endpoints, grant, streams.sse.or(streams.mcp))
            .await;
    }

    /// The older transport: first event, endpoint, a message and its answer.
    async fn try_sse(&mut self, grant: &Grant) -> Option<StreamRecorder> {
        let ask = stream(&self.target.sse).bearer(&grant.token);
        let live = match self.http.follow(ask).await {
            Ok(live) => live,
            Err(exchange) => {
                let trial = SseTrial {
                    opened: Err(exchange),
                    posted: None,
                };
                self.findings.extend(sse(self.target, &trial));
                return None;
            }
        };
        let recording = live.until(EVENT, |recording| !recording.events.is_empty());
        let recording = recording.await;
        let endpoint = endpoint(self.target, &recording);
        let posted = match endpoint.filter(|url| url.origin() == self.target.mcp.origin()) {
            Some(url) => Some(self.converse(&live, &url, grant).await),
            None => None,
        };
        let trial = SseTrial {
            opened: Ok(recording),
            posted,
        };
        self.findings.extend(sse(self.target, &trial));
        Some(live)
    }

    /// Posts a message and waits for its answer on the stream.
    async fn converse(&self, live: &StreamRecorder, url: &Url, grant: &Grant) -> Posted {
        let ask = post(url, &initialize_message(1)).bearer(&grant.token);
        let exchange = self.http.send(ask).await;
        let accepted = live.age();
        let answered = |recording: &Recording| {
            let mut events = recording.events.iter();
            events.find_map(|(at, event)| (event.name == "message").then_some(*at))
        };
        let recording = live.until(EVENT, |recording| answered(recording).is_some());
        Posted {
            exchange,
            accepted,
            answered: answered(&recording.await),
        }
    }

    /// A minute of silence on a stream of its own.
    async fn watch(&mut self, streams: &Streams, grant: &Grant) {
        if self.options.quick {
            return self.found(Check::StreamIdle.skip("left out by --quick"));
        }
        let quiet = match (&streams.mcp, &streams.sse) {
            (Some(_), _) => None,
            // A second one: the first has had a conversation.
            (None, Some(_)) => {
                let ask = stream(&self.target.sse).bearer(&grant.token);
                self.http.follow(ask).await.ok()
            }
            (None, None) => None,
        };
        let Some(live) = streams.mcp.as_ref().or(quiet.as_ref()) else {
            return self.found(Check::StreamIdle.skip("there is no stream"));
        };
        (self.say)(&format!(
            "Watching a quiet stream for {} s …",
            IDLE.as_secs()
        ));
        let left = IDLE.saturating_sub(live.age());
        let recording = live.until(left, |_| false).await;
        self.found(idle(&recording, live.age()));
    }

    /// Revokes the token (RFC 7009) and sees what still works.
    async fn revoke(&mut self, endpoints: &Endpoints, grant: &Grant, live: Option<StreamRecorder>) {
        let Some(url) = &endpoints.revocation else {
            let summary = "there is no revocation_endpoint: the test token lives until it expires";
            return self.found(Check::Revocation.warn(summary));
        };
        let fields = [("token", &grant.token), ("client_id", &grant.client_id)];
        // The stream may end before the answer is here.
        let at = live.as_ref().map(StreamRecorder::age);
        self.http.send(Ask::form(url, &fields)).await;
        let revoked = Instant::now();
        let call = loop {
            let list = message(40, "tools/list", json!({}));
            let ask = post(&self.target.mcp, &list).bearer(&grant.token);
            let call = self.http.send(ask).await;
            let refused = call.answer().is_some_and(|it| it.status.as_u16() == 401);
            if refused || revoked.elapsed() >= REVOKED {
                break call;
            }
            sleep(Duration::from_millis(200)).await;
        };
        let finding = token::revocation(&call, revoked.elapsed());
        let works = finding.verdict == Verdict::Pass;
        self.found(finding);
        self.found(match (live, at) {
            (Some(live), Some(at)) if works => {
                let recording = live.until(STREAM_END, |_| false).await;
                token::revocation_stream(&recording, at)
            }
            (Some(_), _) => Check::RevocationStream.after(Check::Revocation),
            (None, _) => Check::RevocationStream.skip("there is no stream"),
        });
    }

    /// The code that gave the grant, once more.
    pub(super) async fn redeem_again(&mut self, endpoints: &Endpoints, grant: &Grant) {
        if let Some(url) = &endpoints.token {
            let exchange = self.http.send(Ask::form(url, &grant.redeemed)).await;
            self.found(token::code_single_use(&exchange));
        }
    }
}

/// GET of an event stream, by a client that could read a compressed one.
fn stream(url: &Url) -> Ask {
    Ask::new(Method::GET, url).with("accept-encoding", "gzip, deflate")
}
