//! `[tokens]`: how long access lasts.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::settings::settings;
use crate::config::{units, values};
use gateway_core::grants::refresh_token::Lifetimes;

settings! {
    /// `[tokens]`
    pub(super) struct TokenKeys in "tokens." {
        /// The lifetime of access tokens. Default: 24h, and 1h with `tokens.refresh`.
        access_ttl: Option<Duration>, units::duration;
        /// Refresh tokens: apps renew their access without asking a person.
        refresh: bool = "false", values::flag;
        /// How long a refresh token lives that is not used; each use begins this time anew.
        refresh_idle: Duration = "30d", units::duration;
        /// How long after its consent an app must ask a person again, however often it refreshed.
        refresh_max: Duration = "180d", units::duration;
        /// How long a used refresh token gives the same successor again, for parallel requests and lost
        /// answers. A later use revokes the grant.
        refresh_grace: Duration = "60s", units::duration;
        /// Personal tokens: people make tokens at `/account/tokens` for programs that have no browser.
        personal: bool = "true", values::flag;
        /// How long a personal token may last, up to 365d.
        personal_max: Duration = "90d", units::duration;
    }
}

impl TokenKeys {
    /// The lifetime of access tokens. Whoever can refresh needs none that lives long.
    pub(super) fn access_ttl(&self, reader: &mut Reader<'_>) -> Duration {
        let hours = if self.refresh { 1 } else { 24 };
        let usual = Duration::from_secs(hours * 3600);
        let ttl = self.access_ttl.unwrap_or(usual);
        if ttl < Duration::from_secs(60) {
            reader.wrong("tokens.access_ttl", "must be at least 60s");
        }
        ttl
    }

    /// How long a personal token may last, if there are any.
    pub(super) fn personal(&self, reader: &mut Reader<'_>) -> Option<Duration> {
        let day = Duration::from_secs(24 * 3600);
        if self.personal_max < day || self.personal_max > 365 * day {
            reader.wrong("tokens.personal_max", "must be between 1d and 365d");
        }
        self.personal.then_some(self.personal_max)
    }

    /// Those of refresh tokens, if there are any.
    pub(super) fn lifetimes(
        &self,
        access_ttl: Duration,
        reader: &mut Reader<'_>,
    ) -> Option<Lifetimes> {
        if !self.refresh {
            return None;
        }
        let lifetimes = Lifetimes {
            idle: self.refresh_idle,
            absolute: self.refresh_max,
            grace: self.refresh_grace,
        };
        if lifetimes.idle <= access_ttl && !reader.is_wrong("tokens.access_ttl") {
            let sentence = "must be longer than access tokens live";
            reader.conflict("tokens.refresh_idle", sentence);
        }
        if lifetimes.absolute < lifetimes.idle && !reader.is_wrong("tokens.refresh_idle") {
            let sentence = "must not be shorter than tokens.refresh_idle";
            reader.conflict("tokens.refresh_max", sentence);
        }
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(300));
        if lifetimes.grace < least || lifetimes.grace > most {
            reader.conflict("tokens.refresh_grace", "must be between 1s and 5m");
        }
        Some(lifetimes)
    }
}
