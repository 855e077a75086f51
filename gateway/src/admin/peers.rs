//! The streams of all replicas: each holds its own, and asks the others through the store.
//!
//! Owns: what is asked and answered. Not: the way (`gateway_store::PeerQuestion`).

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::operator_api::StreamEntry;
use gateway_core::clock::Clock;
use gateway_core::secret;
use gateway_proxy::{StreamView, Streams};
use gateway_store::{PeerQuestion, Records, RevocationView, StoreError};

/// How long others have to answer. Each looks once a second, or sooner.
const PATIENCE: Duration = Duration::from_millis(1_800);

/// Between two looks for answers.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The most streams that one replica tells of.
const MOST: usize = 1_000;

/// Which streams; where nothing is said, all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Filter {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) number: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grant: Option<String>,
}

impl Filter {
    fn includes(&self, number: u64, stream: &StreamView) -> bool {
        let is = |wanted: &Option<String>, it: &str| wanted.as_deref().is_none_or(|w| w == it);
        self.number.is_none_or(|wanted| wanted == number)
            && is(&self.user, stream.user.as_str())
            && is(&self.client, stream.client.as_str())
            && is(&self.grant, stream.grant.as_str())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    from: String,
    /// Whether they are to be closed.
    close: bool,
    streams: Filter,
}

/// What one replica has, or has closed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) streams: Vec<StreamEntry>,
    /// How many there are in all.
    pub(super) count: usize,
}

/// The streams of this process, and the way to those of others.
#[derive(Clone, Debug)]
pub struct PeerStreams {
    here: Streams,
    records: Records,
    /// Its name, for people.
    replica: Arc<str>,
    /// No other process has it.
    id: Arc<str>,
    /// Whether there may be others.
    has_peers: bool,
}

impl PeerStreams {
    /// Those of this process; `has_peers`: others may hold some on the same store.
    pub fn new(here: Streams, records: Records, has_peers: bool) -> Self {
        let process = std::process::id();
        // In Kubernetes the name of the pod.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            here,
            records,
            replica: format!("{}/{process}", host.trim()).into(),
            id: secret::identifier("r_", &mut rand::rngs::OsRng).into(),
            has_peers,
        }
    }

    /// The streams of this process alone.
    pub const fn here(&self) -> &Streams {
        &self.here
    }

    /// Answers what others ask, for as long as there is a view.
    pub fn follow(
        &self,
        view: &Arc<RevocationView>,
        clock: Clock,
        runtime: &tokio::runtime::Handle,
    ) {
        let (streams, mut questions) = (self.clone(), view.questions());
        runtime.spawn(async move {
            use tokio::sync::broadcast::error::RecvError;
            loop {
                match questions.recv().await {
                    Ok(question) => streams.answer(&question, clock).await,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    async fn answer(&self, asked: &PeerQuestion, clock: Clock) {
        // What another version asks may be more than this one knows.
        let Ok(question) = serde_json::from_str::<Question>(&asked.text) else {
            return;
        };
        if question.from == *self.id {
            return;
        }
        let answer = self.do_here(question.close, &question.streams);
        if answer.count == 0 {
            return;
        }
        let answer = serde_json::to_vec(&answer).expect("texts, numbers and lists of them");
        let answered = self
            .records
            .answer_peer(&asked.nonce, &self.id, &answer, clock.now());
        if let Err(error) = answered.await {
            log::debug!(event = "peer_not_answered"; "{error}");
        }
    }

    /// Lists or closes those of this process.
    pub(super) fn do_here(&self, close: bool, filter: &Filter) -> Answer {
        let mut streams = self.here.list();
        streams.retain(|(number, stream)| filter.includes(*number, stream));
        if close {
            streams.retain(|(number, _)| self.here.close(*number).is_some());
        }
        let count = streams.len();
        let entries = streams.iter().take(MOST);
        let entries = entries.map(|(number, stream)| self.entry(*number, stream));
        Answer {
            streams: entries.collect(),
            count,
        }
    }

    /// Has all others list or close theirs.
    ///
    /// # Errors
    ///
    /// The store's: some may have been closed.
    pub(super) async fn do_elsewhere(
        &self,
        close: bool,
        filter: &Filter,
        clock: Clock,
    ) -> Result<Vec<Answer>, StoreError> {
        if !self.has_peers {
            return Ok(Vec::new());
        }
        let question = Question {
            from: self.id.to_string(),
            close,
            streams: filter.clone(),
        };
        let question = PeerQuestion {
            nonce: secret::identifier("", &mut rand::rngs::OsRng),
            text: serde_json::to_string(&question).expect("texts and numbers"),
        };
        self.records.ask_peers(&question, clock.now()).await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            sleep(LOOK_AGAIN).await;
            let answers = self
                .records
                .peer_answers(&question.nonce, clock.now())
                .await?;
            // A number is one replica's.
            let is_whole = filter.number.is_some() && !answers.is_empty();
            if is_whole || Instant::now() >= deadline {
                let read = answers.iter().map(|answer| serde_json::from_slice(answer));
                return Ok(read.filter_map(Result::ok).collect());
            }
        }
    }

    fn entry(&self, number: u64, stream: &StreamView) -> StreamEntry {
        StreamEntry {
            stream: number,
            replica: self.replica.to_string(),
            backend: stream.backend.to_string(),
            user: stream.user.as_str().to_owned(),
            user_name: stream.user_name.to_string(),
            client: stream.client.as_str().to_owned(),
            grant: stream.grant.as_str().to_owned(),
            since: stream.since.to_string(),
        }
    }
}
