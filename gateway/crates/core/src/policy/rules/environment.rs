//! What a policy stands on besides its file: the names that the configuration gives.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use url::Url;

/// What a policy stands on besides its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyEnvironment {
    /// The login names in each group, in lower case.
    pub groups: BTreeMap<String, BTreeSet<String>>,
    /// The addresses of each named network.
    pub networks: BTreeMap<String, Vec<IpNet>>,
    /// The names of the backends.
    pub backends: BTreeSet<String>,
    /// The names of the approvers.
    pub approvers: BTreeSet<String>,
    /// The ids of the clients that the operator registered.
    pub clients: BTreeSet<String>,
    /// Seconds by which local time is ahead of UTC, for hours and weekdays.
    pub utc_offset: i64,
}

impl PolicyEnvironment {
    /// How a client is known, and the host that vouches for it, if one does.
    pub(super) fn kind_of(&self, client: &str) -> (&'static str, Option<String>) {
        if self.clients.contains(client) {
            return ("pre_registered", None);
        }
        let document = client.strip_prefix("https://").and(Url::parse(client).ok());
        match document {
            Some(url) => ("document", url.host_str().map(str::to_owned)),
            None => ("self_registered", None),
        }
    }
}
