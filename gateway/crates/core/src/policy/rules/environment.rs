//! What a policy stands on besides its file: the names that the configuration gives.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use url::Url;

use crate::client::ClientId;

/// What a policy stands on besides its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyEnvironment {
    /// Who is in each group.
    pub groups: BTreeMap<String, GroupMembers>,
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

/// Who is in a group of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMembers {
    /// Login names, in lower case.
    pub users: BTreeSet<String>,
    /// Groups of identity providers: `corp:engineering`.
    pub from: BTreeSet<String>,
}

impl GroupMembers {
    /// Whether a person is among them, who is in these groups of identity providers.
    pub fn include(&self, user: &str, groups: &[String]) -> bool {
        self.users.contains(user) || groups.iter().any(|group| self.from.contains(group))
    }
}

impl<const N: usize> From<[&str; N]> for GroupMembers {
    fn from(users: [&str; N]) -> Self {
        Self {
            users: users.into_iter().map(str::to_owned).collect(),
            from: BTreeSet::new(),
        }
    }
}

impl PolicyEnvironment {
    /// How a client is known, and the host that vouches for it, if one does.
    pub(super) fn kind_of(&self, client: &str) -> (&'static str, Option<String>) {
        if client == ClientId::PERSONAL_TOKEN {
            return ("personal_token", None);
        }
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
