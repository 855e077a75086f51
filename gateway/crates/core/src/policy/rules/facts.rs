//! What a policy is told about one call: plain values in, facts of Datalog out. Every value enters
//! as a value, never as text that is pasted into Datalog.

use std::net::IpAddr;
use std::ops::ControlFlow;

use biscuit_auth::builder::Fact;

use super::stated;
use super::value::Value;
use super::vocabulary::{FactSet, StatedFact};
use crate::access_token::Approval;
use crate::clock::Timestamp;
use crate::policy::harmless::is_harmless;
use mcp_protocol::arguments::Arguments;
use mcp_protocol::calls::Call;
use mcp_protocol::tool_definition::Labels;

/// Who asks, where and when: the same for every call of a request, but for the number of calls before it.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The login name of the person, or the name of the service.
    pub user: &'a str,
    /// Whether it is a service, as the token's user id says, whatever is configured by now.
    pub is_service: bool,
    /// The groups of identity providers that the token says the person is in: `corp:engineering`.
    pub groups: &'a [String],
    /// The client id.
    pub client: &'a str,
    /// The grant's name.
    pub grant: &'a str,
    /// The tokens of the scope.
    pub scopes: &'a [&'a str],
    /// The backend's name.
    pub backend: &'a str,
    /// The resource that the token is for.
    pub resource: &'a str,
    /// The approvals in the token, also those that have ended.
    pub approvals: &'a [Approval],
    /// Where the request comes from.
    pub address: Option<IpAddr>,
    /// The revision of MCP that the request names.
    pub protocol_version: Option<&'a str>,
    /// How many calls the person has made today, where that is known: a policy that asks for it and is not
    /// told allows nothing by it.
    pub calls_today: Option<u64>,
    /// The time.
    pub now: Timestamp,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// A request that waits for an answer.
    Request,
    /// A notification.
    Notification,
    /// The client's answer to a request of the server's.
    Response,
    /// Nothing: a stream of events is opened.
    Stream,
    /// Nothing: a session is ended.
    End,
}

impl Message {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Notification => "notification",
            Self::Response => "response",
            Self::Stream => "stream",
            Self::End => "end",
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct RequestedAction<'a> {
    /// What is sent.
    pub message: Message,
    /// The method of a request or notification.
    pub method: &'a str,
    /// The tool, prompt or resource that it names.
    pub name: Option<&'a str>,
    /// What the tool says about its effects; for one that is not known, nothing.
    pub labels: Labels,
    /// Whether it only opens, keeps up or ends a session, or lists tools.
    pub harmless: bool,
    /// Whether MCP says that the method changes nothing. Not looked at for a tool.
    pub changes_nothing: bool,
    /// The arguments; `None` where nobody kept them.
    pub arguments: Option<&'a Arguments>,
}

impl<'a> RequestedAction<'a> {
    /// A call as it was read. `labels` are those of the tool that it calls.
    pub fn from_call(call: &'a Call, labels: Labels) -> Self {
        let message = match (call.method.is_empty(), &call.id) {
            (true, _) => Message::Response,
            (false, Some(_)) => Message::Request,
            (false, None) => Message::Notification,
        };
        Self {
            message,
            method: &call.method,
            name: call.name.as_deref(),
            labels,
            harmless: is_harmless(call),
            changes_nothing: call.is_read_only(),
            arguments: call.arguments.as_ref(),
        }
    }

    /// A call of a tool. `arguments`: `None` asks about calls of it in general, as
    /// [`super::Rules::may_call`] does.
    pub const fn tool(name: &'a str, labels: Labels, arguments: Option<&'a Arguments>) -> Self {
        Self {
            message: Message::Request,
            method: "tools/call",
            name: Some(name),
            labels,
            harmless: false,
            changes_nothing: false,
            arguments,
        }
    }

    /// A stream of events that is opened.
    pub fn stream() -> Self {
        Self::without_message(Message::Stream)
    }

    /// A session that is ended.
    pub fn end() -> Self {
        Self::without_message(Message::End)
    }

    fn without_message(message: Message) -> Self {
        Self {
            message,
            method: "",
            name: None,
            labels: Labels::default(),
            harmless: true,
            changes_nothing: false,
            arguments: None,
        }
    }

    /// By its method, whatever the form: one without an id may be run, too.
    pub(super) fn is_tool(&self) -> bool {
        self.method == "tools/call"
    }

    pub(super) fn names_a_resource(&self) -> bool {
        matches!(
            self.method,
            "resources/read"
                | "resources/subscribe"
                | "resources/unsubscribe"
                | "subscriptions/listen"
        )
    }
}

/// The facts of a call that are asked for.
pub(super) fn facts(uses: FactSet, call: &stated::Call<'_>) -> Vec<Fact> {
    let mut facts = Vec::with_capacity(16);
    let mut state = |fact: StatedFact, terms: &[Value<'_>]| {
        let terms: Vec<_> = terms.iter().map(Value::to_term).collect();
        facts.push(Fact::new(fact.name().to_owned(), terms));
    };
    for fact in uses.told() {
        match fact {
            // Told with the argument whose type it is.
            StatedFact::ArgumentType if uses.has(StatedFact::Argument) => {}
            StatedFact::Argument | StatedFact::ArgumentType => {
                call.each_of_arguments(|fact, row| {
                    if uses.has(fact) {
                        state(fact, &row);
                    }
                });
            }
            fact => {
                let _ = call.each(fact, None, &mut |row| {
                    state(fact, row);
                    ControlFlow::<()>::Continue(())
                });
            }
        }
    }
    facts
}
