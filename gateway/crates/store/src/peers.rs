//! What one replica asks all others, and what they answer: through the store, which is all that they share.
//! A question goes the way of revocations, so that it is heard within a second, and each answer is a record
//! of its own. Both end within a minute. What is asked is for the caller to say and to read.
//!
//! Owns: the way. Not: who asks what.

use std::time::Duration;

use tokio::sync::broadcast;

use crate::error::StoreError;
use crate::key::{Key, KeyKind, Table};
use crate::peer_question::PeerQuestion;
use crate::records::Records;
use crate::revocation::Revocation;
use crate::revocation_view::RevocationView;
use crate::store::Listing;
use gateway_core::clock::Timestamp;

/// How long a question and its answers are kept.
const LIFE: Duration = Duration::from_secs(60);

/// The most answers that are read.
const MOST: usize = 2_000;

impl RevocationView {
    /// What other replicas ask from now on. Whoever is too slow misses some.
    pub fn questions(&self) -> broadcast::Receiver<PeerQuestion> {
        self.questions.subscribe()
    }
}

impl Key {
    /// Of what a replica answered.
    pub fn peer_answer(nonce: &str, replica: &str) -> Self {
        Self::new(
            KeyKind::PeerAnswer,
            format!("{}{replica}", answers_to(nonce)),
        )
    }
}

fn answers_to(nonce: &str) -> String {
    format!("peer-answer:{nonce}:")
}

impl Records {
    /// Asks all other replicas.
    ///
    /// # Errors
    ///
    /// The store's: whether somebody was asked is unknown.
    pub async fn ask_peers(
        &self,
        question: &PeerQuestion,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let entry = Revocation {
            id: question.entry(),
            expires: now + LIFE,
        };
        self.store().revoke(&entry, now).await
    }

    /// Answers another one's question, in the name of this replica.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn answer_peer(
        &self,
        nonce: &str,
        replica: &str,
        answer: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = Key::peer_answer(nonce, replica);
        self.store().put(&key, answer, Some(now + LIFE)).await
    }

    /// What was answered so far.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn peer_answers(
        &self,
        nonce: &str,
        now: Timestamp,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let prefix = answers_to(nonce);
        let listing = Listing::of(Table::Once, Some(&prefix), MOST);
        let answers = self.store().list(listing, now).await?.into_iter();
        let answers = answers.take_while(|(key, _)| key.starts_with(&prefix));
        Ok(answers.map(|(_, answer)| answer).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::Memory;
    use crate::store::Store;
    use gateway_core::clock::Clock;
    use tokio::runtime::Handle;

    #[tokio::test]
    async fn a_question_is_heard_once_and_its_answers_are_found() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let (records, now) = (Records::new(Arc::clone(&store)), Clock.now());
        let question = |nonce: &str| PeerQuestion {
            nonce: nonce.to_owned(),
            text: "{\"a\":1}".to_owned(),
        };
        records.ask_peers(&question("before"), now).await.unwrap();
        let view = RevocationView::follow(store, Clock, &Handle::current());
        let mut heard = view.questions();
        while view.epoch().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        records.ask_peers(&question("n1"), now).await.unwrap();
        records.ask_peers(&question("n1"), now).await.unwrap();
        records.ask_peers(&question("n2"), now).await.unwrap();
        for nonce in ["n1", "n2"] {
            let next = tokio::time::timeout(Duration::from_secs(5), heard.recv());
            assert_eq!(next.await.unwrap().unwrap(), question(nonce));
        }
        records.answer_peer("n1", "r1", b"1", now).await.unwrap();
        records.answer_peer("n1", "r2", b"2", now).await.unwrap();
        records.answer_peer("n10", "r1", b"3", now).await.unwrap();
        let answers = records.peer_answers("n1", now).await.unwrap();
        assert_eq!(answers, [b"1", b"2"]);
        assert!(
            records
                .peer_answers("n1", now + LIFE)
                .await
                .unwrap()
                .is_empty()
        );
    }
}
