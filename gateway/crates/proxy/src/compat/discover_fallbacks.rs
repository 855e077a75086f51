//! How clients of 2026-07-28 take a refusal of `server/discover`.

use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use gateway_upstream::ProtocolSupport;

/// What is known of a client: a grant and a backend.
pub(super) type FallbackKey = (String, String);

/// A second question this soon after the first is of another conversation of the same client, not
/// of somebody who tries again.
const AT_ONCE: Duration = Duration::from_secs(2);

/// How many clients are remembered.
const CLIENTS: usize = 8192;

#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Its `server/discover` was refused by the backend.
    Refused(Instant),
    /// It falls back to `initialize`.
    FallsBack,
    /// It does not.
    Stays,
}

/// How clients of 2026-07-28 take a refusal of `server/discover`.
pub(super) struct DiscoverFallbacks(Cache<FallbackKey, Habit>);

impl Default for DiscoverFallbacks {
    fn default() -> Self {
        Self(Cache::new(CLIENTS))
    }
}

impl DiscoverFallbacks {
    /// Whether `server/discover` of this client is answered in the backend's stead.
    pub(super) fn is_answered(
        &self,
        fallback_key: FallbackKey,
        protocols: &ProtocolSupport,
        now: Instant,
    ) -> bool {
        if protocols.answers_discover() {
            return true;
        }
        match self.0.get(&fallback_key) {
            Some(Habit::Stays) => true,
            Some(Habit::FallsBack) => false,
            Some(Habit::Refused(at)) if now.duration_since(at) >= AT_ONCE => {
                self.0.insert(fallback_key, Habit::Stays);
                true
            }
            Some(Habit::Refused(_)) => false,
            None => {
                self.0.insert(fallback_key, Habit::Refused(now));
                false
            }
        }
    }

    /// It said `initialize`.
    pub(super) fn falls_back(&self, fallback_key: &FallbackKey) {
        // Only of interest for one that was refused: most clients never ask.
        if self.0.get(fallback_key).is_some() {
            self.0.insert(fallback_key.clone(), Habit::FallsBack);
        }
    }
}

#[cfg(test)]
mod tests {
    use mcp_protocol::{RevisionFamilies, RevisionFamily};

    use super::*;

    #[test]
    fn a_client_that_can_fall_back_is_let() {
        let discover_fallbacks = DiscoverFallbacks::default();
        let protocols =
            ProtocolSupport::new(RevisionFamilies::NONE.and(RevisionFamily::Stateful), false);
        let fallback_key = |grant: &str| (grant.to_owned(), "b".to_owned());
        let now = Instant::now();
        let later = now + AT_ONCE;
        assert!(!discover_fallbacks.is_answered(fallback_key("c"), &protocols, now));
        // Two conversations begin at once.
        assert!(!discover_fallbacks.is_answered(fallback_key("c"), &protocols, now));
        discover_fallbacks.falls_back(&fallback_key("c"));
        assert!(!discover_fallbacks.is_answered(fallback_key("c"), &protocols, later));

        assert!(!discover_fallbacks.is_answered(fallback_key("d"), &protocols, now));
        assert!(discover_fallbacks.is_answered(fallback_key("d"), &protocols, later));
        assert!(discover_fallbacks.is_answered(fallback_key("d"), &protocols, later));

        let answering =
            ProtocolSupport::new(RevisionFamilies::NONE.and(RevisionFamily::Stateful), true);
        assert!(discover_fallbacks.is_answered(fallback_key("c"), &answering, now));
    }
}
