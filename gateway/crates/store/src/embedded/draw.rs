//! Quotas: what was drawn of them, in one step with every other write.

use redb::{Error, ReadableTable as _};

use super::tables::{ANSWERS, Batch, Change, DRAWN};
use crate::key::CountKey;
use gateway_core::clock::Timestamp;
use gateway_core::limits::{Answers, Draw, Drawn, Kept, Quota};

impl Batch<'_> {
    pub(super) fn draw(
        &mut self,
        key: &CountKey,
        quota: Quota,
        draw: Draw,
        now: Timestamp,
    ) -> Result<Drawn, Error> {
        let key = key.name();
        let mut table = self.transaction.open_table(DRAWN)?;
        let mut last = self.transaction.open_table(ANSWERS)?;
        let present = table.get(key)?.map(|row| row.value());
        let answers: Option<Answers> = last
            .get(key)?
            .and_then(|row| serde_json::from_slice(row.value()).ok());
        let kept = present.map(|(level, at, _)| Kept {
            level,
            at,
            answers: answers.unwrap_or_default(),
        });
        let (drawn, kept, ends) = quota.draw(kept, draw, now);
        if draw.is_look() {
            return Ok(drawn);
        }
        let ends = ends.millis();
        table.insert(key, (kept.level, kept.at, ends))?;
        let answers = serde_json::to_vec(&kept.answers)
            .map_err(|error| Error::Corrupted(error.to_string()))?;
        last.insert(key, answers.as_slice())?;
        drop((table, last));
        self.change = self.change.max(Change::Counts);
        if let Some((_, _, stale)) = present
            && stale != ends
        {
            self.forget_expiry(stale, "count", key)?;
        }
        // Also where it should be there: an earlier version may have swept it, and left the rest.
        self.note_expiry(ends, "count", key)?;
        Ok(drawn)
    }
}
