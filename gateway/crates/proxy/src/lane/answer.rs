//! Answers on the lane: what is known of a backend's, and what the gateway gives of its own.

use gateway_lane::{Answer, Unfit};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};

use crate::event_filter::EventFilter;
use gateway_core::protocol::web::Response;
use mcp_protocol::sse::Boundary;

/// An answer whose head is judged.
pub(super) struct AnswerState {
    pub(super) status: u16,
    /// The session that it belongs to; empty where there is none.
    pub(super) conversation: String,
    /// Judges its events, for a restricted token.
    pub(super) filter: Option<EventFilter>,
    pub(super) boundary: Boundary,
}

impl AnswerState {
    /// What judges its events, to be put back once it has. Without it no event goes on.
    pub(super) fn take_filter(&mut self) -> Result<EventFilter, Unfit> {
        let filter = self.filter.take();
        filter.ok_or_else(|| unfit(&"nothing is there to judge its events"))
    }
}

pub(super) fn unfit(why: &impl ToString) -> Unfit {
    Unfit {
        what: why.to_string(),
        last: None,
    }
}

/// An answer of the gateway's own, but for what frames it.
pub(super) fn answer(response: Response) -> Answer {
    let (mut parts, body) = response.into_parts();
    for name in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
        closes: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_go_nowhere_without_what_judges_them() {
        let mut answer = AnswerState {
            status: 200,
            conversation: String::new(),
            filter: None,
            boundary: Boundary::default(),
        };
        assert!(answer.take_filter().is_err());
    }
}
