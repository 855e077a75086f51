//! How the certificate stands, for whoever asks: `/readyz` and `/metrics`.

use parking_lot::Mutex;

use super::certificate::CertificateFacts;

/// How the certificate stands.
#[derive(Debug, Default)]
pub struct CertificateStatus(Mutex<CertificateState>);

/// What is known of it at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateState {
    /// The one that is served, if there is one.
    pub served: Option<CertificateFacts>,
    /// Why there is no newer one, if that failed.
    pub fault: Option<String>,
}

impl CertificateStatus {
    /// As it is now.
    pub fn state(&self) -> CertificateState {
        self.0.lock().clone()
    }

    /// This one is served from now on, and nothing is wrong; `true` where that is news.
    pub(super) fn serves(&self, facts: CertificateFacts) -> bool {
        let now = CertificateState {
            served: Some(facts),
            fault: None,
        };
        std::mem::replace(&mut *self.0.lock(), now.clone()) != now
    }

    /// Nothing is wrong any more, and what was served is served on; `true` where that is news.
    pub(super) fn recovers(&self) -> bool {
        self.0.lock().fault.take().is_some()
    }

    /// No newer one could be had; `true` where that is news.
    pub(super) fn fails(&self, fault: String) -> bool {
        self.0.lock().fault.replace(fault.clone()) != Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use gateway_core::clock::Timestamp;

    use super::*;

    #[test]
    fn a_change_is_news_once() {
        let facts = |ends| CertificateFacts {
            names: vec!["mcp.example.com".to_owned()],
            begins: Timestamp::from_secs(1),
            ends: Timestamp::from_secs(ends),
        };
        let status = CertificateStatus::default();
        assert!(!status.recovers());
        assert!(status.serves(facts(2)));
        assert!(!status.serves(facts(2)));
        assert!(status.fails("a".to_owned()));
        assert!(!status.fails("a".to_owned()));
        assert!(status.recovers());
        assert_eq!(status.state().served, Some(facts(2)));
        assert_eq!(status.state().fault, None);
        assert!(status.fails("a".to_owned()));
        assert!(status.serves(facts(2)));
        assert!(status.serves(facts(3)));
    }
}
