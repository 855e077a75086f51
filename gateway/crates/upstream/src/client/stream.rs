//! An event stream that a question is answered on.

use mcp_protocol::sse::{Event, Splitter};
use mcp_protocol::{Id, Message};
use serde_json::Value;

use super::answer::{self, result_text};
use super::{LARGEST_ANSWER, garbled, readable};
use crate::catalogue_error::CatalogueError;
use crate::connection::Connection;
use crate::request::Reached;

/// An event stream that is being read.
pub(super) struct Stream {
    /// Its path and query.
    pub(super) target: String,
    pub(super) connection: Connection,
    splitter: Splitter,
    events: std::vec::IntoIter<Vec<u8>>,
}

impl Stream {
    pub(super) fn new(reached: Reached) -> Self {
        Self {
            target: reached.target,
            connection: reached.connection,
            splitter: Splitter::default(),
            events: Vec::new().into_iter(),
        }
    }

    pub(super) async fn wait(
        &mut self,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event, CatalogueError> {
        loop {
            for bytes in self.events.by_ref() {
                if let Some(event) = Event::parse(&bytes)
                    && wanted(&event)
                {
                    return Ok(event);
                }
            }
            let chunk = self.connection.read_body().await?.ok_or_else(garbled)?;
            let events = self
                .splitter
                .split(&chunk, LARGEST_ANSWER)
                .map_err(|_| garbled())?;
            self.events = events.into_iter();
        }
    }

    pub(super) async fn message(&mut self, id: u64) -> Result<Message, CatalogueError> {
        loop {
            let event = self.wait(|event| event.name == "message").await?;
            if let Some(message) = answer::message(&event.data)
                && message.id() == Some(Id::number(id))
            {
                return Ok(message);
            }
        }
    }

    pub(super) async fn answer(&mut self, id: u64) -> Result<Value, CatalogueError> {
        let message = self.message(id).await?;
        Ok(readable(&result_text(&message)?))
    }
}
