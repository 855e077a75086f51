//! What a backend doubts of the account in whose name the lane called it.

use super::exchange::{LaneExchange, Stage};
use crate::exchange;
use crate::rejection::Rejection;

impl LaneExchange {
    /// Settles what the backend doubts of the account: whether the request is sent once more.
    pub(super) async fn settle(&mut self) -> Result<(), Rejection> {
        let (Stage::Admitted(admitted), Some(doubt)) = (&self.stage, self.doubt.take()) else {
            return Err(Rejection::Unspeakable);
        };
        let (state, mounted) = (&self.road.service.state, &self.request.route.mounted);
        let is_second = self.doubts > 0;
        self.doubts += 1;
        let sent = (self.sent.as_ref(), is_second);
        exchange::settle(state, mounted, admitted, &doubt, sent).await
    }
}
