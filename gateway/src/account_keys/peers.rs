//! The keys that other replicas seal accounts with, as far as they can be compared. Asked only where the keys
//! of this one are others than the store knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use gateway_core::account::seal::SealKeys;
use gateway_core::clock::Clock;
use gateway_core::secret;
use gateway_store::{PeerQuestion, Records, StoreError};

/// How long others have to answer. Each looks once a second, or sooner.
const PATIENCE: Duration = Duration::from_millis(1_800);

/// Between two looks for answers.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    from: String,
    /// What tells it from other questions.
    account_keys: bool,
}

/// What tells each key from others of its number.
type Fingerprints = BTreeMap<u32, String>;

/// The keys of this process, and the way to those of others.
#[derive(Clone, Debug)]
pub(super) struct PeerKeys {
    here: Arc<Fingerprints>,
    records: Records,
    /// No other process has it.
    id: Arc<str>,
}

impl PeerKeys {
    pub(super) fn new(keys: &SealKeys, records: &Records) -> Self {
        let here = keys.fingerprints();
        let here: Fingerprints = here.map(|(id, text)| (id, text.to_owned())).collect();
        Self {
            here: Arc::new(here),
            records: records.clone(),
            id: secret::identifier("r_", &mut rand::rngs::OsRng).into(),
        }
    }

    /// Answers what others ask, for as long as there is a view.
    pub(super) fn follow(&self, clock: Clock, runtime: &Handle) -> Option<JoinHandle<()>> {
        let mut questions = self.records.view()?.questions();
        let keys = self.clone();
        Some(runtime.spawn(async move {
            use tokio::sync::broadcast::error::RecvError;
            loop {
                match questions.recv().await {
                    Ok(question) => keys.answer(&question, clock).await,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        }))
    }

    async fn answer(&self, asked: &PeerQuestion, clock: Clock) {
        match serde_json::from_str::<Question>(&asked.text) {
            Ok(question) if question.account_keys && question.from != *self.id => {}
            // Its own, or another question.
            Ok(_) | Err(_) => return,
        }
        let answer =
            serde_json::to_vec(&*self.here).expect("a map of numbers to texts is always JSON");
        let (records, now) = (&self.records, clock.now());
        let answered = records.answer_peer(&asked.nonce, &self.id, &answer, now);
        if let Err(error) = answered.await {
            log::debug!(event = "peer_not_answered"; "{error}");
        }
    }

    /// The number of a key with which another replica serves, and which is another one here, or is not here.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(super) async fn other(&self, clock: Clock) -> Result<Option<u32>, StoreError> {
        let question = Question {
            from: self.id.to_string(),
            account_keys: true,
        };
        let question = PeerQuestion {
            nonce: secret::identifier("", &mut rand::rngs::OsRng),
            text: serde_json::to_string(&question).expect("a text and a flag are always JSON"),
        };
        self.records.ask_peers(&question, clock.now()).await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            sleep(LOOK_AGAIN).await;
            let answers = self.records.peer_answers(&question.nonce, clock.now());
            let answers = answers.await?;
            let read = answers
                .iter()
                .filter_map(|answer| serde_json::from_slice::<Fingerprints>(answer).ok());
            let mut others = read.flat_map(|theirs| self.differing(&theirs));
            if let Some(id) = others.next() {
                return Ok(Some(id));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    fn differing(&self, theirs: &Fingerprints) -> Option<u32> {
        let mut theirs = theirs.iter();
        let other = theirs.find(|(id, text)| self.here.get(id) != Some(text));
        other.map(|(id, _)| *id)
    }
}
