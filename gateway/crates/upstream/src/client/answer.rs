//! The answer to one question.

use http::{HeaderValue, StatusCode};
use mcp_protocol::Message;
use serde_json::Value;

use super::{garbled, readable};
use crate::catalogue_error::CatalogueError;

/// How much of an error's words is kept, in characters.
const LONGEST_ERROR: usize = 300;

/// An answer, read whole or up to the message that was waited for.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) session: Option<HeaderValue>,
    pub(super) message: Option<Message>,
}

impl Answer {
    /// The result, as far as it can be read.
    pub(super) fn result(self) -> Result<Value, CatalogueError> {
        self.text().map(|text| readable(&text))
    }

    pub(super) fn text(self) -> Result<String, CatalogueError> {
        if matches!(
            self.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            return Err(CatalogueError::Refused(self.status.as_u16()));
        }
        let status = self.status.as_u16();
        match self.message {
            Some(message) if self.status.is_success() => result_text(&message),
            _ => Err(CatalogueError::NotUnderstood(format!("status {status}"))),
        }
    }
}

/// Reads a message; RFC 8259 §8.1 lets a reader skip a byte-order mark.
pub(super) fn message(text: &str) -> Option<Message> {
    Message::parse(text.strip_prefix('\u{feff}').unwrap_or(text)).ok()
}

/// The text of the result in a response.
pub(super) fn result_text(message: &Message) -> Result<String, CatalogueError> {
    // null of an optional member says what absence says.
    let said = |text: Option<&str>| text.filter(|text| *text != "null").map(str::to_owned);
    match (said(message.result_text()), said(message.error_text())) {
        (Some(result), None) => Ok(result),
        // A server without tools answers "method not found" where it did not declare them.
        (_, Some(_)) => {
            let (code, words) = message
                .failure()
                .map(|error| (error.code(), error.message()))
                .unwrap_or_default();
            let words: String = words.chars().take(LONGEST_ERROR).collect();
            Err(CatalogueError::NotUnderstood(format!(
                "error {code}: {words}"
            )))
        }
        (None, None) => Err(garbled()),
    }
}
