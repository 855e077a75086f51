//! A process among those on the same store: it asks the others, and answers them.
//!
//! Owns: who asks, and how long is waited for answers. Not: what is asked and answered (`account_keys`,
//! `admin`), nor the way (`gateway_store::PeerQuestion`).

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::OsRng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use gateway_core::clock::Clock;
use gateway_core::secret;
use gateway_store::{PeerQuestion, Records, StoreError};

/// How long others have to answer. Each looks once a second, or sooner.
const PATIENCE: Duration = Duration::from_millis(1_800);

/// Between two looks for answers.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// This process, and the way to the others. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Peer {
    records: Records,
    /// No other process has it.
    id: Arc<str>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Asked<Q> {
    from: String,
    #[serde(flatten)]
    question: Q,
}

impl Peer {
    /// One on this store.
    pub fn new(records: Records) -> Self {
        Self {
            records,
            id: secret::identifier("r_", &mut OsRng).into(),
        }
    }

    /// Answers what others ask, for as long as there is a view, where `answer` gives something.
    pub fn follow<Q: DeserializeOwned, A: Serialize>(
        &self,
        clock: Clock,
        runtime: &Handle,
        answer: impl Fn(Q) -> Option<A> + Send + 'static,
    ) -> Option<JoinHandle<()>> {
        let (peer, mut questions) = (self.clone(), self.records.view()?.questions());
        Some(runtime.spawn(async move {
            loop {
                let asked = match questions.recv().await {
                    Ok(asked) => asked,
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                };
                // What another version asks may be more than this one knows.
                let asked_us = serde_json::from_str::<Asked<Q>>(&asked.text).ok();
                let asked_us = asked_us.filter(|read| read.from != *peer.id);
                let answer = asked_us.and_then(|read| answer(read.question));
                let text = answer.map(|answer| serde_json::to_vec(&answer).expect("plain data"));
                if let Some(text) = text {
                    peer.answer(&asked.nonce, &text, clock).await;
                }
            }
        }))
    }

    async fn answer(&self, nonce: &str, answer: &[u8], clock: Clock) {
        let (records, now) = (&self.records, clock.now());
        if let Err(error) = records.answer_peer(nonce, &self.id, answer, now).await {
            log::debug!(event = "peer_not_answered"; "{error}");
        }
    }

    /// Asks all others, and gives them time to answer, unless what is there is enough. What can't be read
    /// is left out.
    ///
    /// # Errors
    ///
    /// The store's: some may have done what they were asked.
    pub async fn ask<A: DeserializeOwned>(
        &self,
        question: impl Serialize,
        clock: Clock,
        is_enough: impl Fn(&[A]) -> bool,
    ) -> Result<Vec<A>, StoreError> {
        let asked = Asked {
            from: self.id.to_string(),
            question,
        };
        let question = PeerQuestion {
            nonce: secret::identifier("", &mut OsRng),
            text: serde_json::to_string(&asked).expect("plain data"),
        };
        self.records.ask_peers(&question, clock.now()).await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            sleep(LOOK_AGAIN).await;
            let answers = self.records.peer_answers(&question.nonce, clock.now());
            let answers = answers.await?;
            let read = answers.iter().map(|answer| serde_json::from_slice(answer));
            let read: Vec<A> = read.filter_map(Result::ok).collect();
            if is_enough(&read) || Instant::now() >= deadline {
                return Ok(read);
            }
        }
    }
}
