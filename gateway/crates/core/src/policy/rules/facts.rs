//! What a policy is told about one call: plain values in, facts of Datalog out. Every value enters
//! as a value, never as text that is pasted into Datalog.

use std::collections::BTreeMap;
use std::net::IpAddr;

use biscuit_auth::builder::{Fact, MapKey, Term, boolean, bytes, int, string};

use super::vocabulary::WEEKDAYS;
use super::{PolicyEnvironment, Rules};
use crate::access_token::Approval;
use crate::clock::Timestamp;
use crate::policy::harmless::is_harmless;
use mcp_protocol::arguments::{Arguments, Value};
use mcp_protocol::calls::Call;
use mcp_protocol::tool_definition::Labels;

/// Who asks, where and when: the same for every call of a request.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The login name of the person.
    pub user: &'a str,
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
    const fn name(self) -> &'static str {
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
pub struct Asked<'a> {
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

impl<'a> Asked<'a> {
    /// A call as it was read. `labels` are those of the tool that it calls.
    pub fn of(call: &'a Call, labels: Labels) -> Self {
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
    /// [`Rules::may_call`] does.
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
    fn is_tool(&self) -> bool {
        self.method == "tools/call"
    }
}

/// Collects facts of the names that somebody asks for.
struct Statements<'r> {
    rules: &'r Rules,
    /// Whether facts are left out that differ between two calls of one tool.
    general: bool,
    facts: Vec<Fact>,
}

impl Statements<'_> {
    fn wants(&self, name: &str) -> bool {
        match self.general {
            false => self.rules.uses.contains(name),
            true => self.rules.uses_in_general.contains(name),
        }
    }

    fn state(&mut self, name: &str, terms: impl FnOnce() -> Vec<Term>) {
        if self.wants(name) {
            self.facts.push(Fact::new(name.to_owned(), terms()));
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        self.state(name, || vec![string(value)]);
    }

    fn truth(&mut self, name: &str, value: bool) {
        self.state(name, || vec![boolean(value)]);
    }
}

/// The facts that `rules` ask for. `general`: without those that differ between two calls of one
/// tool.
pub(super) fn facts(
    rules: &Rules,
    around: &Surroundings<'_>,
    asked: &Asked<'_>,
    general: bool,
) -> Vec<Fact> {
    let mut to = Statements {
        rules,
        general,
        facts: Vec::with_capacity(16),
    };
    who(&mut to, around, &rules.environment);
    what(&mut to, asked);
    when(&mut to, around.now, rules.environment.utc_offset);
    to.facts
}

fn who(to: &mut Statements<'_>, around: &Surroundings<'_>, environment: &PolicyEnvironment) {
    if to.wants("user") || to.wants("group") {
        // As login names are compared everywhere.
        let user = around.user.to_lowercase();
        to.text("user", &user);
        for (group, users) in &environment.groups {
            if users.contains(&user) {
                to.text("group", group);
            }
        }
    }
    to.text("client", around.client);
    let (kind, host) = environment.kind_of(around.client);
    to.text("client_kind", kind);
    if let Some(host) = host {
        to.text("client_host", &host);
    }
    to.text("grant", around.grant);
    for scope in around.scopes {
        to.text("scope", scope);
    }
    to.text("backend", around.backend);
    to.text("resource", around.resource);
    if let Some(address) = around.address {
        to.state("address", || vec![string(&address.to_string())]);
        if to.wants("network") {
            for (network, addresses) in &environment.networks {
                if addresses.iter().any(|net| net.contains(&address)) {
                    to.text("network", network);
                }
            }
        }
    }
    if let Some(version) = around.protocol_version {
        to.text("protocol_version", version);
    }
    for approval in around.approvals {
        if around.now < approval.until {
            to.state("approved", || {
                vec![string(&approval.tool), string(&approval.approver)]
            });
        }
    }
}

fn what(to: &mut Statements<'_>, asked: &Asked<'_>) {
    to.text("message", asked.message.name());
    if matches!(asked.message, Message::Request | Message::Notification) {
        to.text("method", asked.method);
    }
    if asked.harmless {
        to.truth("harmless", true);
    }
    if asked.is_tool() {
        if let Some(tool) = asked.name {
            to.text("tool", tool);
        }
        to.truth("read_only", asked.labels.reads_only());
        to.truth("destructive", asked.labels.may_destroy());
        if asked.labels.are_absent() {
            to.truth("unlabelled", true);
        }
    } else {
        to.truth("read_only", asked.changes_nothing);
        if let Some(name) = asked.name {
            match asked.method {
                "prompts/get" => to.text("prompt", name),
                "resources/read"
                | "resources/subscribe"
                | "resources/unsubscribe"
                | "subscriptions/listen" => {
                    to.text("uri", name);
                }
                _ => {}
            }
        }
    }
    if let Some(arguments) = asked.arguments {
        state_arguments(to, arguments);
    }
}

fn when(to: &mut Statements<'_>, now: Timestamp, utc_offset: i64) {
    to.state("time", || vec![Term::Date(now.secs())]);
    let local = i64::try_from(now.secs())
        .unwrap_or(i64::MAX)
        .saturating_add(utc_offset);
    to.state("hour", || vec![int(local.rem_euclid(86_400) / 3600)]);
    to.state("weekday", || {
        // 1970-01-01 was a Thursday.
        let day = (local.div_euclid(86_400) + 3).rem_euclid(7);
        let day = usize::try_from(day).unwrap_or_default();
        vec![string(WEEKDAYS[day % 7])]
    });
}

fn state_arguments(to: &mut Statements<'_>, arguments: &Arguments) {
    if !to.wants("argument") && !to.wants("argument_type") {
        return;
    }
    let Some(values) = arguments.iter() else {
        return;
    };
    let values: Vec<(&str, &Value)> = values.collect();
    for (at, (path, value)) in values.iter().enumerate() {
        if !to.rules.arguments.asks_for(path) {
            continue;
        }
        to.state("argument", || {
            vec![string(path), term(&values, &mut { at })]
        });
        to.state("argument_type", || {
            vec![string(path), string(type_of(value))]
        });
    }
}

const fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "text",
        Value::Integer(_) | Value::Whole(_) | Value::Number => "number",
        Value::Bool(_) => "boolean",
        Value::Null => "null",
        Value::Array => "array",
        Value::Object => "object",
    }
}

/// The value at `at` as a whole; `at` is then the last place of it. Values stand in the order of
/// the message, so what is in an array or object follows it.
fn term(values: &[(&str, &Value)], at: &mut usize) -> Term {
    let (path, value) = values[*at];
    match value {
        Value::Text(text) => string(text),
        Value::Integer(number) | Value::Whole(number) => int(*number),
        Value::Bool(value) => boolean(*value),
        Value::Null => Term::Null,
        // Equal to no text and no number, and an error to compare with one.
        Value::Number => bytes(&[]),
        Value::Array => {
            let mut members = Vec::new();
            while values
                .get(*at + 1)
                .is_some_and(|(below, _)| is_below(path, below))
            {
                *at += 1;
                members.push(term(values, at));
            }
            Term::Array(members)
        }
        Value::Object => {
            let mut members = BTreeMap::new();
            while let Some((below, _)) = values.get(*at + 1)
                && is_below(path, below)
            {
                let key = unescaped(&below[path.len() + 1..]);
                *at += 1;
                members.insert(MapKey::Str(key), term(values, at));
            }
            Term::Map(members)
        }
    }
}

/// Whether a path lies within another one.
fn is_below(path: &str, below: &str) -> bool {
    let rest = below.strip_prefix(path);
    rest.is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// A key as the message has it.
fn unescaped(key: &str) -> String {
    let mut plain = String::with_capacity(key.len());
    let mut escaped = false;
    for character in key.chars() {
        escaped = character == '\\' && !escaped;
        if !escaped {
            plain.push(character);
        }
    }
    plain
}
