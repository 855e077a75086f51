//! What all steps of an examination work with.

use crate::finding::Finding;
use crate::http_client::HttpClient;
use crate::options::Options;
use crate::target::Target;

/// An examination under way.
pub(super) struct Examination<'a> {
    pub(super) options: &'a Options,
    pub(super) target: &'a Target,
    pub(super) http: HttpClient,
    /// Tells the operator what to do.
    pub(super) say: &'a (dyn Fn(&str) + Sync),
    pub(super) findings: Vec<Finding>,
    pub(super) notes: Vec<String>,
}

impl Examination<'_> {
    /// Notes a finding.
    pub(super) fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}

/// A registered client.
pub(super) struct Client {
    pub(super) id: String,
    pub(super) redirect_uri: url::Url,
    /// Waits for the operator's browser; `None` in an unattended flow.
    pub(super) callback: Option<crate::callback::Callback>,
    /// The answer to the registration.
    pub(super) registration: serde_json::Value,
}

/// What an authorized client holds.
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) token: String,
    pub(super) refresh_token: Option<String>,
    /// The fields of the token request that gave it.
    pub(super) redeemed: Vec<(String, String)>,
}
