//! How the certificate stands, for whoever asks: `/readyz` and `/metrics`.

use parking_lot::Mutex;

use super::certificate::CertificateFacts;

/// How the certificate stands.
#[derive(Debug, Default)]
pub struct CertificateStatus(Mutex<Standing>);

/// What is known of it at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The one that is served, if there is one.
    pub served: Option<CertificateFacts>,
    /// Why there is no newer one, if that failed.
    pub fault: Option<String>,
}

impl CertificateStatus {
    /// As it is now.
    pub fn standing(&self) -> Standing {
        self.0.lock().clone()
    }

    /// This one is served from now on, and nothing is wrong.
    pub(super) fn serves(&self, facts: CertificateFacts) {
        *self.0.lock() = Standing {
            served: Some(facts),
            fault: None,
        };
    }

    /// No newer one could be had; `true` where that is news.
    pub(super) fn fails(&self, fault: String) -> bool {
        let mut standing = self.0.lock();
        let is_news = standing.fault.as_ref() != Some(&fault);
        standing.fault = Some(fault);
        is_news
    }
}
