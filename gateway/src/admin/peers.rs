//! The streams of all replicas: each holds its own, and asks the others through the store.
//!
//! Owns: what is asked and answered. Not: the way (`peer`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::operator_api::StreamEntry;
use crate::peer::Peer;
use gateway_core::clock::Clock;
use gateway_proxy::{StreamView, Streams};
use gateway_store::{Records, StoreError};

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
    /// Its name, for people.
    replica: Arc<str>,
    peer: Peer,
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
            replica: format!("{}/{process}", host.trim()).into(),
            peer: Peer::new(records),
            has_peers,
        }
    }

    /// The streams of this process alone.
    pub const fn here(&self) -> &Streams {
        &self.here
    }

    /// Answers what others ask, for as long as there is a view.
    pub fn follow(&self, clock: Clock, runtime: &Handle) {
        let streams = self.clone();
        self.peer.follow(clock, runtime, move |asked: Question| {
            let answer = streams.do_here(asked.close, &asked.streams);
            (answer.count > 0).then_some(answer)
        });
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
            close,
            streams: filter.clone(),
        };
        // A number is one replica's.
        let is_whole = |answers: &[Answer]| filter.number.is_some() && !answers.is_empty();
        self.peer.ask(question, clock, is_whole).await
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
