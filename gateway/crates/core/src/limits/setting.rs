//! What the operator limits, and whose a call is.

use std::collections::BTreeMap;

use super::meter::Meter;
use crate::client::ClientId;
use crate::grants::{GrantId, UserId};
use crate::policy::Pattern;
use crate::policy::rules::GroupMembers;
use mcp_protocol::calls::Call;
use mcp_protocol::lenient;

/// The methods that count: each makes a backend do or hand out something.
const COUNTED: [&str; 4] = [
    "tools/call",
    "resources/read",
    "prompts/get",
    "completion/complete",
];

/// Whether a call counts against limits. Opening a session, lists, notifications and the client's own
/// answers do not.
pub fn is_counted(call: &Call) -> bool {
    COUNTED.contains(&&*lenient::fold(&call.method))
}

/// Whose calls are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// One person's, or one service's.
    Person,
    /// One app's, whoever uses it.
    App,
    /// One app's on behalf of one person.
    Grant,
    /// Those of one tool of one backend.
    Tool,
    /// Those of one backend.
    Backend,
    /// Those of all people of one group.
    Group,
}

impl Per {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Person,
        Self::App,
        Self::Grant,
        Self::Tool,
        Self::Backend,
        Self::Group,
    ];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::App => "app",
            Self::Grant => "grant",
            Self::Tool => "tool",
            Self::Backend => "backend",
            Self::Group => "group",
        }
    }
}

/// One `[[limit]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What it is called in refusals, metrics and on pages.
    pub name: String,
    /// Whose calls are counted together.
    pub per: Per,
    /// Only calls of this backend.
    pub backend: Option<String>,
    /// Only calls of tools with such a name.
    pub tool: Option<Pattern>,
    /// Only calls of people in this group.
    pub group: Option<String>,
    /// Only calls of this app.
    pub app: Option<ClientId>,
    /// What is counted, one at least.
    pub meters: Vec<Meter>,
    /// Who is in which group.
    pub groups: BTreeMap<String, GroupMembers>,
}

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The person or service.
    pub user: &'a UserId,
    /// The login name, or the service's name.
    pub user_name: &'a str,
    /// The groups of identity providers that the token says the person is in.
    pub groups: &'a [String],
    /// The app.
    pub client: &'a ClientId,
    /// The grant.
    pub grant: &'a GrantId,
    /// The backend.
    pub backend: &'a str,
}

/// What a request costs one subject of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Whose count it is.
    pub subject: String,
    /// What people know it by.
    pub label: String,
    /// How many calls it is; none for a stream that is opened.
    pub calls: u64,
}

impl Limit {
    /// What a request with these calls is charged to whom. Where it opens a stream (there are no calls, or one
    /// of them listens), its bytes count where the tool does not matter. `is_listed`: whether the backend lists
    /// a tool, or one that it may take a name for. The others count together, so that nobody makes up names
    /// that are counted for the first time.
    pub fn charges(
        &self,
        asker: &Asker<'_>,
        calls: &[Call],
        is_listed: impl Fn(&str) -> bool,
    ) -> Vec<Charge> {
        if !self.concerns(asker) {
            return Vec::new();
        }
        let mut charges: Vec<Charge> = Vec::new();
        let mut charge = |subject: String, label: String, calls: u64| match charges
            .iter_mut()
            .find(|other| other.subject == subject)
        {
            Some(other) => other.calls += calls,
            None => charges.push(Charge {
                subject,
                label,
                calls,
            }),
        };
        let opens = calls.is_empty() || calls.iter().any(Call::listens);
        if opens && self.tool.is_none() && self.per != Per::Tool {
            self.each_subject(asker, None, |subject, label| charge(subject, label, 0));
        }
        for call in calls.iter().filter(|call| is_counted(call)) {
            let tool = call.tool();
            let is_meant = match (&self.tool, tool) {
                (None, None) => self.per != Per::Tool,
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (Some(pattern), Some(tool)) => is_meant(pattern, tool),
            };
            if is_meant {
                let counted = match (self.per, tool) {
                    (Per::Tool, Some(tool)) if is_listed(tool) => Some(lenient::folded(tool)),
                    _ => None,
                };
                self.each_subject(asker, counted.as_deref(), |subject, label| {
                    charge(subject, label, 1);
                });
            }
        }
        charges
    }

    /// Whether it counts any calls of this person here with this app.
    pub fn concerns(&self, asker: &Asker<'_>) -> bool {
        self.includes(asker.user_name, asker.groups)
            && self.is_for(Some(asker.backend), asker.client)
    }

    /// Whether it counts any calls of this app here; `None`: at a backend that is there no more.
    pub fn is_for(&self, backend: Option<&str>, client: &ClientId) -> bool {
        let here = self.backend.as_deref();
        here.is_none_or(|name| backend == Some(name))
            && self.app.as_ref().is_none_or(|app| app == client)
    }

    /// Whether it counts calls of a person at all, whom identity providers say to be in these groups.
    pub fn includes(&self, user_name: &str, groups: &[String]) -> bool {
        self.group.is_none() || self.groups_of(user_name, groups).next().is_some()
    }

    /// Which groups of a person it counts: all of theirs, or the one that it is for.
    pub fn groups_of<'s>(
        &'s self,
        user_name: &'s str,
        groups: &'s [String],
    ) -> impl Iterator<Item = &'s String> + use<'s> {
        let meant = self.groups.iter().filter(move |(group, members)| {
            self.group.as_ref().is_none_or(|only| only == *group)
                && members.include(user_name, groups)
        });
        meant.map(|(group, _)| group)
    }

    /// Whose counts a call goes to: each with what people know it by.
    fn each_subject(
        &self,
        asker: &Asker<'_>,
        tool: Option<&str>,
        mut each: impl FnMut(String, String),
    ) {
        let mut same = |subject: String| each(subject.clone(), subject);
        match self.per {
            Per::Person => each(asker.user.as_str().to_owned(), asker.user_name.to_owned()),
            Per::App => same(asker.client.as_str().to_owned()),
            Per::Grant => same(asker.grant.as_str().to_owned()),
            Per::Backend => same(asker.backend.to_owned()),
            Per::Tool => same(format!("{}/{}", asker.backend, tool.unwrap_or_default())),
            Per::Group => self
                .groups_of(asker.user_name, asker.groups)
                .for_each(|group| same(group.clone())),
        }
    }
}

/// Whether a tool's name is one of those that are meant, or one that a backend may take for one of them.
fn is_meant(pattern: &Pattern, tool: &str) -> bool {
    let folded = || Pattern::parse(&lenient::folded(pattern.as_str()));
    pattern.matches(tool) || folded().is_some_and(|pattern| pattern.matches(&lenient::folded(tool)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per: Per) -> Limit {
        let staff = GroupMembers {
            from: ["corp:staff".to_owned()].into(),
            ..GroupMembers::from(["alice"])
        };
        Limit {
            name: "calls".to_owned(),
            per,
            backend: None,
            tool: None,
            group: None,
            app: None,
            meters: Vec::new(),
            groups: [
                ("staff".to_owned(), staff),
                ("all".to_owned(), GroupMembers::from(["alice", "bob"])),
            ]
            .into(),
        }
    }

    fn call(method: &str, name: &str) -> Call {
        Call {
            name: Some(name.to_owned()),
            ..Call::named(method)
        }
    }

    fn charged(limit: &Limit, user: &str, groups: &[String], calls: &[Call]) -> Vec<(String, u64)> {
        let (id, client, grant) = (
            UserId::new(format!("u_{user}")),
            ClientId::new("c_1"),
            GrantId::new("g_1"),
        );
        let asker = Asker {
            user: &id,
            user_name: user,
            groups,
            client: &client,
            grant: &grant,
            backend: "notes",
        };
        let charges = limit.charges(&asker, calls, |tool| tool != "made_up");
        charges
            .into_iter()
            .map(|charge| (charge.subject, charge.calls))
            .collect()
    }

    fn one(subject: &str, calls: u64) -> Vec<(String, u64)> {
        vec![(subject.to_owned(), calls)]
    }

    #[test]
    fn a_call_is_charged_to_whom_a_limit_counts() {
        let calls = [
            call("tools/call", "search"),
            Call::named("tools/list"),
            call("resources/read", "file:///a"),
            call("tools/call", "search"),
            call("tools/call", "Search"),
            Call::named("notifications/initialized"),
        ];
        for (per, expected) in [
            (Per::Person, one("u_alice", 4)),
            (Per::App, one("c_1", 4)),
            (Per::Grant, one("g_1", 4)),
            (Per::Backend, one("notes", 4)),
            (Per::Tool, one("notes/search", 3)),
            (Per::Group, [one("all", 4), one("staff", 4)].concat()),
        ] {
            assert_eq!(charged(&limit(per), "alice", &[], &calls), expected);
        }
        let none: Vec<(String, u64)> = Vec::new();
        assert_eq!(charged(&limit(Per::Group), "carol", &[], &calls), none);
        let carol = ["corp:staff".to_owned()];
        assert_eq!(
            charged(&limit(Per::Group), "carol", &carol, &calls),
            one("staff", 4)
        );
        assert_eq!(
            charged(&limit(Per::Person), "alice", &[], &calls[1..2]),
            none
        );
    }

    #[test]
    fn filters_leave_out_what_they_do_not_name() {
        let calls = [
            call("tools/call", "delete_note"),
            call("prompts/get", "delete_note"),
        ];
        let tool = |pattern: &str| Limit {
            tool: Pattern::parse(pattern),
            ..limit(Per::Person)
        };
        let count = |limit: &Limit, user: &str, calls: &[Call]| {
            charged(limit, user, &[], calls)
                .first()
                .map_or(0, |(_, calls)| *calls)
        };
        assert_eq!(count(&tool("delete_*"), "alice", &calls), 1);
        assert_eq!(count(&tool("search"), "alice", &calls), 0);
        let lenient = [call("tools/call", "Delete_Note")];
        assert_eq!(
            count(&tool("delete_*"), "alice", &lenient),
            1,
            "a backend may take it for the same"
        );
        let elsewhere = Limit {
            backend: Some("mail".to_owned()),
            ..limit(Per::Person)
        };
        assert_eq!(count(&elsewhere, "alice", &calls), 0);
        let of_app = Limit {
            app: Some(ClientId::new("c_2")),
            ..limit(Per::Person)
        };
        assert_eq!(count(&of_app, "alice", &calls), 0);
        let of_staff = Limit {
            group: Some("staff".to_owned()),
            ..limit(Per::Person)
        };
        assert_eq!(count(&of_staff, "alice", &calls), 2);
        assert_eq!(count(&of_staff, "bob", &calls), 0);
        let staff_together = Limit {
            group: Some("staff".to_owned()),
            ..limit(Per::Group)
        };
        assert_eq!(
            charged(&staff_together, "alice", &[], &calls),
            one("staff", 2)
        );
    }

    #[test]
    fn tools_that_are_not_listed_count_together() {
        let calls = [call("tools/call", "made_up"), call("tools/call", "search")];
        assert_eq!(
            charged(&limit(Per::Tool), "alice", &[], &calls),
            [one("notes/", 1), one("notes/search", 1)].concat()
        );
    }

    #[test]
    fn a_stream_counts_where_the_tool_does_not_matter() {
        assert_eq!(
            charged(&limit(Per::Person), "alice", &[], &[]),
            one("u_alice", 0)
        );
        assert!(charged(&limit(Per::Tool), "alice", &[], &[]).is_empty());
        let listen = Call::named("subscriptions/listen");
        let calls = [listen.clone(), call("tools/call", "search")];
        assert_eq!(
            charged(&limit(Per::Person), "alice", &[], &calls[..1]),
            one("u_alice", 0)
        );
        assert_eq!(
            charged(&limit(Per::Person), "alice", &[], &calls),
            one("u_alice", 1)
        );
        assert!(charged(&limit(Per::Tool), "alice", &[], &[listen]).is_empty());
    }
}
