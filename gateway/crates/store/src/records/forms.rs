//! What the forms of our pages were answered with first, so that an answer counts once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::Records;
use super::encoding::{Record, decode, encode};
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use crate::store::Inserted;
use gateway_core::access_token::LEEWAY;
use gateway_core::clock::Timestamp;

/// What noting a press of a form met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// Nobody had pressed it.
    First,
    /// It was pressed within the last minute, with the same answer: a double click, or a browser that
    /// sent it again.
    Again,
    /// It was pressed with another answer, or longer ago.
    Before,
}

/// The page that a form stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormPage {
    /// The consent page.
    Consent,
    /// `/account`.
    Account,
    /// One of `/admin`.
    Admin,
    /// The login page, where a passkey answers it.
    Login,
}

/// For so long a form that is pressed again with the same answer is answered as the first time.
const DOUBLE: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize, Deserialize)]
struct Press {
    answer: String,
    at: Timestamp,
}

/// The mark of earlier versions, which says that the form was pressed and nothing of the answer.
const BARE_MARK: &[u8] = b"1";

impl Press {
    fn decode(form: &Key, bytes: &[u8]) -> Result<Option<Self>, StoreError> {
        if bytes == BARE_MARK {
            return Ok(None);
        }
        decode(form.kind(), bytes).map(Some)
    }

    /// The clocks of replicas differ a little.
    fn is_recent(&self, now: Timestamp) -> bool {
        now < self.at + DOUBLE && self.at <= now + LEEWAY
    }

    fn compared_with(&self, answer: &str, now: Timestamp) -> Submission {
        if self.answer == answer && self.is_recent(now) {
            Submission::Again
        } else {
            Submission::Before
        }
    }
}

impl Record for Press {}

impl Key {
    /// Of one rendering of a form.
    pub fn form_answer(page: FormPage, nonce: &str) -> Self {
        let page = match page {
            FormPage::Consent => "consent",
            FormPage::Account => "account",
            FormPage::Admin => "admin",
            FormPage::Login => "login",
        };
        Self::new(KeyKind::FormAnswer, format!("{page}:{nonce}"))
    }
}

impl Records {
    /// Notes that a form was pressed, and with which answer; what it was pressed with first stays.
    pub async fn press(
        &self,
        form: &Key,
        answer: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Submission, StoreError> {
        let press = Press {
            answer: answer.to_owned(),
            at: now,
        };
        let value = encode(&press);
        let inserted = self.store.insert(form, &value, Some(until), now);
        Ok(match inserted.await? {
            Inserted::New => Submission::First,
            Inserted::Exists(bytes) => Press::decode(form, &bytes)?
                .map_or(Submission::Before, |first| first.compared_with(answer, now)),
        })
    }

    /// Whether a form was pressed at all.
    pub async fn was_pressed(&self, form: &Key, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.store.get(form, now).await?.is_some())
    }

    /// What a form was pressed with within the last minute.
    pub async fn pressed_lately(
        &self,
        form: &Key,
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let Some(bytes) = self.store.get(form, now).await? else {
            return Ok(None);
        };
        let first = Press::decode(form, &bytes)?.filter(|press| press.is_recent(now));
        Ok(first.map(|press| press.answer))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::Memory;

    #[tokio::test]
    async fn a_form_is_pressed_once_and_for_a_minute_again_with_the_same_answer() {
        let records = Records::new(Arc::new(Memory::new()));
        let now = Timestamp::from_secs(1_000_000);
        let at = |secs| now + Duration::from_secs(secs);
        let form = Key::form_answer(FormPage::Consent, "n");
        let press = async |answer, secs| {
            let pressed = records.press(&form, answer, at(600), at(secs)).await;
            pressed.unwrap()
        };
        assert!(!records.was_pressed(&form, now).await.unwrap());
        assert_eq!(press("allow", 0).await, Submission::First);
        assert!(records.was_pressed(&form, at(599)).await.unwrap());
        assert_eq!(press("allow", 0).await, Submission::Again);
        assert_eq!(press("deny", 1).await, Submission::Before);
        assert_eq!(press("allow", 59).await, Submission::Again);
        assert_eq!(press("allow", 60).await, Submission::Before);
        let lately = async |secs| records.pressed_lately(&form, at(secs)).await.unwrap();
        assert_eq!(lately(59).await.as_deref(), Some("allow"));
        assert_eq!(lately(60).await, None);
        // What an earlier version noted says nothing of its answer.
        let form = Key::form_answer(FormPage::Consent, "o");
        let once = records.store().put(&form, b"1", Some(at(600)));
        once.await.unwrap();
        let pressed = records.press(&form, "allow", at(600), now).await;
        assert_eq!(pressed.unwrap(), Submission::Before);
    }
}
