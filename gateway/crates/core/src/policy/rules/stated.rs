//! What is stated about one call: the facts of `vocabulary`, typed, and made of the call only when a
//! rule gets to them. Both roads take them from here.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::ControlFlow;

use ipnet::IpNet;
use mcp_protocol::arguments::Value as Argument;

use super::asked_arguments::AskedArguments;
use super::environment::PolicyEnvironment;
use super::facts::{Message, RequestedAction, Surroundings};
use super::value::Value;
use super::vocabulary::{STATED, StatedFact, WEEKDAYS};

/// A call, with what was made of it so far.
pub(super) struct Call<'c> {
    environment: &'c PolicyEnvironment,
    paths: &'c AskedArguments,
    around: &'c Surroundings<'c>,
    asked: &'c RequestedAction<'c>,
    arguments: &'c [(String, Argument)],
    user: OnceCell<String>,
    address: OnceCell<String>,
    client: OnceCell<(&'static str, Option<String>)>,
}

/// Whether there is to be another fact.
pub(super) type Flow<B, C = ()> = ControlFlow<B, C>;

impl<'c> Call<'c> {
    pub(super) fn new(
        environment: &'c PolicyEnvironment,
        paths: &'c AskedArguments,
        around: &'c Surroundings<'c>,
        asked: &'c RequestedAction<'c>,
    ) -> Self {
        let arguments = asked.arguments.and_then(|arguments| arguments.entries());
        Self {
            environment,
            paths,
            around,
            asked,
            arguments: arguments.unwrap_or_default(),
            user: OnceCell::new(),
            address: OnceCell::new(),
            client: OnceCell::new(),
        }
    }

    /// No more facts than this are stated.
    pub(super) fn most_facts(&self) -> usize {
        STATED.len()
            + 2 * self.arguments.len()
            + self.around.scopes.len()
            + self.around.approvals.len()
            + self.environment.groups.len()
            + self.environment.networks.len()
    }

    /// Every fact of this name, until `each` has enough. `first`: the text that its first term has to
    /// be, where that is known; others may be left out.
    pub(super) fn each<'f, B>(
        &'f self,
        fact: StatedFact,
        first: Option<&str>,
        each: &mut dyn FnMut(&[Value<'f>]) -> Flow<B>,
    ) -> Flow<B> {
        let around = self.around;
        let is_wanted = |name: &str| first.is_none_or(|first| first == name);
        let mut named = |name: &'f str, holds: bool| {
            if holds {
                each(&[text(name)])
            } else {
                Flow::Continue(())
            }
        };
        match fact {
            StatedFact::Group => {
                let user = self.user();
                let mut groups = self.environment.groups.iter();
                groups.try_for_each(|(name, members)| {
                    named(
                        name,
                        is_wanted(name) && members.include(user, around.groups),
                    )
                })
            }
            StatedFact::Network => {
                let Some(address) = around.address else {
                    return Flow::Continue(());
                };
                let mut networks = self.environment.networks.iter();
                networks.try_for_each(|(name, nets)| {
                    let has = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
                    named(name, is_wanted(name) && has(nets))
                })
            }
            StatedFact::Scope => around
                .scopes
                .iter()
                .try_for_each(|scope| named(scope, true)),
            StatedFact::Argument | StatedFact::ArgumentType => {
                let mut arguments = self.arguments.iter().enumerate();
                arguments.try_for_each(|(at, (path, _))| {
                    if is_wanted(path) && self.paths.asks_for(path) {
                        each(&[text(path), self.about_argument(fact, at)])
                    } else {
                        Flow::Continue(())
                    }
                })
            }
            StatedFact::Approved => {
                let approvals = around.approvals.iter();
                let mut valid = approvals.filter(|approval| around.now < approval.until);
                valid.try_for_each(|one| each(&[text(&one.tool), text(&one.approver)]))
            }
            single => match self.single(single) {
                Some(value) => each(&[value]),
                None => Flow::Continue(()),
            },
        }
    }

    /// The value of a fact of which there is one at most.
    fn single(&self, fact: StatedFact) -> Option<Value<'_>> {
        let (around, asked) = (self.around, self.asked);
        match fact {
            StatedFact::User => Some(text(self.user())),
            StatedFact::Machine => around.is_service.then_some(Value::Bool(true)),
            StatedFact::Client => Some(text(around.client)),
            StatedFact::ClientKind => Some(text(self.client().0)),
            StatedFact::ClientHost => self.client().1.as_deref().map(text),
            StatedFact::Grant => Some(text(around.grant)),
            StatedFact::Backend => Some(text(around.backend)),
            StatedFact::Resource => Some(text(around.resource)),
            StatedFact::Address => self.address().map(text),
            StatedFact::ProtocolVersion => around.protocol_version.map(text),
            StatedFact::Message => Some(text(asked.message.name())),
            StatedFact::Method => matches!(asked.message, Message::Request | Message::Notification)
                .then(|| text(asked.method)),
            StatedFact::Harmless => asked.harmless.then_some(Value::Bool(true)),
            StatedFact::Tool => asked.name.filter(|_| asked.is_tool()).map(text),
            StatedFact::ReadOnly => Some(Value::Bool(if asked.is_tool() {
                asked.labels.reads_only()
            } else {
                asked.changes_nothing
            })),
            StatedFact::Destructive => {
                (asked.is_tool()).then(|| Value::Bool(asked.labels.may_destroy()))
            }
            StatedFact::Unlabelled => {
                let is_so = asked.is_tool() && asked.labels.are_absent();
                is_so.then_some(Value::Bool(true))
            }
            StatedFact::Prompt => asked
                .name
                .filter(|_| asked.method == "prompts/get")
                .map(text),
            StatedFact::Uri => asked.name.filter(|_| asked.names_a_resource()).map(text),
            StatedFact::Time => Some(Value::Date(around.now.secs())),
            StatedFact::CallsToday => {
                let calls = around.calls_today?;
                Some(Value::Integer(i64::try_from(calls).unwrap_or(i64::MAX)))
            }
            StatedFact::Hour => Some(Value::Integer(self.local_time().rem_euclid(86_400) / 3600)),
            StatedFact::Weekday => {
                // 1970-01-01 was a Thursday.
                let day = (self.local_time().div_euclid(86_400) + 3).rem_euclid(7);
                let day = usize::try_from(day).unwrap_or_default();
                Some(text(WEEKDAYS[day % 7]))
            }
            StatedFact::Group
            | StatedFact::Network
            | StatedFact::Scope
            | StatedFact::Argument
            | StatedFact::ArgumentType
            | StatedFact::Approved => None,
        }
    }

    fn about_argument(&self, fact: StatedFact, at: usize) -> Value<'_> {
        match fact {
            StatedFact::ArgumentType => text(type_of(&self.arguments[at].1)),
            _ => Value::from_argument(self.arguments, at),
        }
    }

    /// Both facts about one argument after the other, as they are told.
    pub(super) fn each_of_arguments<'f>(
        &'f self,
        mut each: impl FnMut(StatedFact, [Value<'f>; 2]),
    ) {
        for (at, (path, _)) in self.arguments.iter().enumerate() {
            if self.paths.asks_for(path) {
                for fact in [StatedFact::Argument, StatedFact::ArgumentType] {
                    each(fact, [text(path), self.about_argument(fact, at)]);
                }
            }
        }
    }

    /// As login names are compared everywhere.
    fn user(&self) -> &str {
        let user = self.around.user;
        let is_lower = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
        if user.bytes().all(is_lower) {
            user
        } else {
            self.user.get_or_init(|| user.to_lowercase())
        }
    }

    fn client(&self) -> &(&'static str, Option<String>) {
        let kind = || self.environment.kind_of(self.around.client);
        self.client.get_or_init(kind)
    }

    fn address(&self) -> Option<&str> {
        let address = self.around.address?;
        Some(self.address.get_or_init(|| address.to_string()))
    }

    fn local_time(&self) -> i64 {
        i64::try_from(self.around.now.secs())
            .unwrap_or(i64::MAX)
            .saturating_add(self.environment.utc_offset)
    }
}

const fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

const fn type_of(value: &Argument) -> &'static str {
    match value {
        Argument::Text(_) => "text",
        Argument::Integer(_) | Argument::Whole(_) | Argument::Number => "number",
        Argument::Bool(_) => "boolean",
        Argument::Null => "null",
        Argument::Array => "array",
        Argument::Object => "object",
    }
}
