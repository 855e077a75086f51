//! What an exchange of the lane's holds: its place among the streams, and memory for its client.

use super::answer::AnswerState;
use super::exchange::{LaneExchange, Stage};
use crate::admission::Admitted;
use crate::exchange_log::ExchangeLog;
use crate::in_flight::{Full, Hold};
use crate::streams::StreamView;

impl LaneExchange {
    /// Enters the stream that this is into the registry, if it is not there yet.
    pub(super) fn enter(&mut self) {
        let (Stage::Admitted(admitted), None) = (&self.stage, &self.held) else {
            return;
        };
        let state = &self.road.service.state;
        let name = &self.request.route.mounted.backend.mount.name;
        let view = StreamView::new(name, admitted.permit.token().claims(), state.clock.now());
        let closing = admitted.lifetime.closing();
        self.held = Some(state.streams.hold(view, closing, &self.context));
    }

    pub(super) fn log<'a>(
        &'a self,
        admitted: &'a Admitted,
        answer: &AnswerState,
    ) -> ExchangeLog<'a> {
        ExchangeLog {
            mounted: &self.request.route.mounted,
            context: &self.context,
            token: admitted.permit.token(),
            status: answer.status,
        }
    }

    /// No more of the answer may be held.
    pub(super) fn cut(&mut self, full: Full) {
        self.full = Some(full);
        if let (Stage::Admitted(admitted), Some(answer)) = (&self.stage, &self.answer) {
            self.log(admitted, answer).cut(full);
        }
    }

    /// Makes sure that so much may be held.
    pub(super) fn grow(&mut self, grow: impl FnOnce(&mut Hold) -> Result<(), Full>) -> bool {
        let state = &self.road.service.state;
        let hold = self
            .hold
            .get_or_insert_with(|| self.context.hold(&state.budget));
        match grow(hold) {
            Ok(()) => true,
            Err(full) => {
                self.full = Some(full);
                false
            }
        }
    }
}
