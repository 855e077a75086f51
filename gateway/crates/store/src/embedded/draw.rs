//! Quotas: what was drawn of them, in one step with every other write.

use redb::{Error, ReadableTable as _};

use super::tables::{Batch, Change, DRAWN};
use crate::key::CountKey;
use gateway_core::clock::Timestamp;
use gateway_core::limits::{Draw, Drawn, Kept, Quota};

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
        let present = table.get(key)?.map(|row| row.value());
        let kept = present.map(|(level, at, _)| Kept { level, at });
        let (drawn, kept, ends) = quota.draw(kept, draw, now);
        let ends = ends.millis();
        table.insert(key, (kept.level, kept.at, ends))?;
        drop(table);
        self.change = self.change.max(Change::Counts);
        let before = present.map(|(_, _, ends)| ends);
        if before != Some(ends) {
            if let Some(stale) = before {
                self.forget_expiry(stale, "count", key)?;
            }
            self.note_expiry(ends, "count", key)?;
        }
        Ok(drawn)
    }
}
