//! Quotas: running `draw.lua`.

use std::time::Duration;

use super::scripts::DRAW;
use super::{BACKSTOP, Redis, millis};
use crate::error::StoreError;
use crate::key::CountKey;
use gateway_core::clock::Timestamp;
use gateway_core::limits::{Answers, Draw, Drawn, Quota, SKEW};

impl Redis {
    /// What is drawn by Redis's own clock, which all replicas share. Of `now` only how long a total is still
    /// remembered is made.
    pub(super) async fn draw_from(
        &self,
        key: &CountKey,
        quota: Quota,
        draw: Draw,
        now: Timestamp,
    ) -> Result<Drawn, StoreError> {
        let space = self.spaces.of_count(key);
        let (kind, amount, period, burst) = match quota {
            Quota::Rate(rate) => ("rate", rate.count(), millis(rate.period()), rate.burst()),
            Quota::Day(amount) => ("day", amount, 0, 0),
            Quota::Total(amount, until) => ("total", amount, millis(until.since(now)), 0),
        };
        let mut script = DRAW.prepare_invoke();
        script
            .key(space.name(&format!("drawn:{}", key.name())))
            .arg(kind)
            .arg(amount)
            .arg(period)
            .arg(burst)
            .arg(draw.owed.min(Quota::MOST))
            .arg(draw.wanted.min(Quota::MOST))
            .arg(millis(SKEW))
            .arg(millis(BACKSTOP))
            .arg(draw.step.min(Quota::MOST))
            .arg(format!("{:x}", draw.id.holder))
            .arg(draw.id.number)
            .arg(Answers::MOST);
        let (granted, used, wait, lasts): (u64, u64, u64, u64) = self.script(space, script).await?;
        Ok(Drawn {
            granted,
            used,
            wait: Duration::from_millis(wait),
            lasts: Duration::from_millis(lasts),
        })
    }
}
