//! One call as the audit log recorded it, judged by another policy. What the log does not hold is
//! unknown to the policy, and what the policy can't decide without it is said to be undecided.

use std::collections::BTreeSet;

use serde::Deserialize as _;
use serde_json::Value;

use crate::config::Config;
use gateway_core::access_token::Approval;
use gateway_core::audit::{Line, Sent, is_cut};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::policy::SUBSCRIBE;
use gateway_core::policy::rules::{Decision, RequestedAction, Rules, Surroundings};
use gateway_core::protocol::scope::Scope;
use gateway_core::reason::Reason;
use mcp_protocol::arguments::Arguments;
use mcp_protocol::calls::Call;
use mcp_protocol::tool_definition::Labels;
use mcp_protocol::{Id, jsonrpc};

/// What becomes of a call under the new policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// It went through, and would be refused.
    Loses,
    /// The policy of that time refused it, and this one would not.
    Gains,
    /// The log does not hold what the decision needs.
    Undecided,
}

impl Change {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Loses => "LOSES",
            Self::Gains => "GAINS",
            Self::Undecided => "UNDECIDED",
        }
    }
}

/// A call by whose it is and of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CallSubject {
    pub(super) user: String,
    pub(super) client: String,
    pub(super) backend: String,
    /// Method, and tool, prompt or resource.
    pub(super) what: String,
}

pub(super) enum DryRunOutcome {
    Unchanged,
    /// With what it rests on, or what is missing.
    Changed(Change, CallSubject, String),
}

/// `None` for a line that is about no call, and for a refusal that is no policy's matter.
pub(super) fn judge(line: &Line, rules: &Rules, config: &Config) -> Option<DryRunOutcome> {
    let recorded = Recorded::from_line(line)?;
    let changed = |change: Change, why: String| {
        let who = recorded.who();
        Some(DryRunOutcome::Changed(change, who, why))
    };
    let undecided = |why: &str| changed(Change::Undecided, why.to_owned());
    let sent = match recorded.sent() {
        Ok(Sent::Batch) => return undecided("a batch that was refused is recorded as one"),
        Ok(sent) => sent,
        Err(why) => return undecided(why),
    };
    if recorded.is_cut("method") {
        return undecided("not in the log: the whole method");
    }
    let unknown = recorded.unknown(sent);
    let ask = |method: &str| recorded.ask(rules, config, sent, &unknown, method);
    let decision = ask(line.text("method").unwrap_or_default()).filter(|decision| {
        // Each resource that it names is judged as both, and whether it names any is not in the log.
        !recorded.is_subscription()
            || !decision.is_allowed()
            || ask(SUBSCRIBE).is_some_and(|decision| decision.is_allowed())
    });
    let Some(decision) = decision else {
        let mut missing = rules.asks_for(&unknown).join(", ");
        if missing.is_empty() && recorded.is_subscription() {
            missing.push_str("uri");
        }
        return undecided(&format!("not in the log: {missing}"));
    };
    let why = match (decision.place(), decision.is_allowed()) {
        (Some(place), _) => place.to_string(),
        (None, true) => String::new(),
        (None, false) => "whatever is missing in the log".to_owned(),
    };
    match (recorded.went_through, decision.is_allowed()) {
        (true, false) => changed(Change::Loses, why),
        (false, true) => changed(Change::Gains, why),
        _ => Some(DryRunOutcome::Unchanged),
    }
}

struct Recorded<'l> {
    line: &'l Line,
    went_through: bool,
    at: Timestamp,
    facts: Option<&'l Value>,
    /// The arguments, where the log holds them in full and they are some.
    arguments: Option<Arguments>,
}

impl<'l> Recorded<'l> {
    fn from_line(line: &'l Line) -> Option<Self> {
        if !matches!(line.text("event"), Some("call" | "stream")) {
            return None;
        }
        let by_policy = [
            Reason::PolicyDenied,
            Reason::PolicyFailed,
            Reason::PolicyArgumentsUnclear,
        ];
        let went_through = match (line.text("outcome")?, line.text("reason")) {
            ("allowed", _) => true,
            (_, Some(code)) if by_policy.iter().any(|reason| reason.code() == code) => false,
            _ => return None,
        };
        let time = humantime::parse_rfc3339_weak(line.text("time")?).ok()?;
        let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
        let full = line.members.get("arguments").and_then(|it| it.get("full"));
        let full = full.and_then(Value::as_str);
        Some(Self {
            line,
            went_through,
            at: Timestamp::from_secs(since.as_secs()),
            facts: line.members.get("facts"),
            arguments: full.and_then(|text| jsonrpc::judge_arguments(text).ok()),
        })
    }

    fn fact(&self, name: &str) -> Option<&'l str> {
        self.facts?.get(name)?.as_str()
    }

    /// The entries of a fact that is a list.
    fn listed(&self, name: &str) -> impl Iterator<Item = &'l Value> {
        let list = self.facts.and_then(|facts| facts.get(name)?.as_array());
        list.into_iter().flatten()
    }

    fn who(&self) -> CallSubject {
        let text = |name: &str| self.line.text(name).unwrap_or_default().to_owned();
        let user = self.fact("user_name").map(str::to_owned);
        let what = match (text("method"), text("name")) {
            (method, _) if method.is_empty() => match self.sent() {
                Ok(Sent::Stream) => "a stream".to_owned(),
                Ok(Sent::End) => "the end of a session".to_owned(),
                Ok(Sent::Response) => "a response".to_owned(),
                _ => "a message".to_owned(),
            },
            (method, name) if name.is_empty() => method,
            (method, name) => format!("{method} {name}"),
        };
        CallSubject {
            user: user.unwrap_or_else(|| text("user")),
            client: text("client"),
            backend: text("backend"),
            what,
        }
    }

    /// What was sent. Older records don't say it: what their method leaves open stays so.
    fn sent(&self) -> Result<Sent, &'static str> {
        if let Some(sent) = self.facts.and_then(|facts| facts.get("message")) {
            return Sent::deserialize(sent)
                .map_err(|_| "the log names a kind of message that is unknown");
        }
        match self.line.text("method").unwrap_or_default() {
            "" => Err("not in the log: what was sent"),
            // Several calls in one refusal have their methods in one text, with their tools.
            method if method.contains([' ', ':']) => Ok(Sent::Batch),
            method if method.starts_with("notifications/") => Ok(Sent::Notification),
            _ => Ok(Sent::Request),
        }
    }

    /// Whether the log has only the beginning of a text.
    fn is_cut(&self, member: &str) -> bool {
        self.line.text(member).is_some_and(is_cut)
    }

    fn is_tool(&self) -> bool {
        self.line.text("method") == Some("tools/call")
    }

    fn is_subscription(&self) -> bool {
        self.line.text("method") == Some("subscriptions/listen")
    }

    /// The names of the facts that the log does not hold.
    fn unknown(&self, sent: Sent) -> BTreeSet<&'static str> {
        let mut unknown = BTreeSet::new();
        if sent == Sent::Response && self.result().is_none() {
            unknown.insert("harmless");
        }
        let cut: [(&str, &[&'static str]); 3] = [
            ("name", &["tool", "prompt", "uri"]),
            ("client", &["client", "client_kind", "client_host"]),
            ("grant", &["grant"]),
        ];
        for (_, facts) in cut.iter().filter(|(member, _)| self.is_cut(member)) {
            unknown.extend(*facts);
        }
        // No record says how many there were.
        unknown.insert("calls_today");
        if self.is_subscription() {
            unknown.insert("uri");
        }
        for (fact, is_of) in [("user_name", "user"), ("scope", "scope")] {
            if self.fact(fact).is_some_and(is_cut) {
                unknown.insert(is_of);
            }
        }
        if unknown.contains("user") {
            unknown.insert("group");
        }
        let takes_arguments =
            matches!(self.line.text("method"), Some("tools/call" | "prompts/get"));
        if takes_arguments && self.arguments.is_none() {
            unknown.extend(["argument", "argument_type"]);
        }
        if self.is_tool() && self.facts.is_none_or(|facts| facts.get("labels").is_none()) {
            unknown.extend(["read_only", "destructive", "unlabelled"]);
        }
        let Some(facts) = self.facts else {
            let all = ["user", "group", "scope", "protocol_version", "approved"];
            unknown.extend(all);
            return unknown;
        };
        let approvals = self.approvals();
        let is_whole = |approval: &Approval| !is_cut(&approval.tool) && !is_cut(&approval.approver);
        if facts.get("approved").is_none() || !approvals.iter().all(is_whole) {
            unknown.insert("approved");
        }
        if self.line.text("peer").is_none() {
            unknown.extend(["address", "network"]);
        }
        unknown
    }

    fn ask(
        &self,
        rules: &Rules,
        config: &Config,
        sent: Sent,
        unknown: &BTreeSet<&str>,
        method: &str,
    ) -> Option<Decision> {
        let text = |name: &str| self.line.text(name).unwrap_or_default();
        let backend = text("backend");
        let scope = Scope::parse(self.fact("scope").unwrap_or_default());
        let scopes = config.scopes.at(backend).all(&scope);
        let mut mounts = config
            .backends
            .iter()
            .map(|configured| &configured.backend.mount);
        let mount = mounts.find(|mount| mount.name == backend);
        let resource = mount.map(|mount| mount.resource(&config.issuer));
        let approvals = self.approvals();
        let groups = self.groups();
        let around = Surroundings {
            user: self.fact("user_name").unwrap_or_default(),
            is_service: UserId::new(text("user")).is_service(),
            groups: &groups,
            client: text("client"),
            grant: text("grant"),
            scopes: &scopes,
            backend,
            resource: resource.as_ref().map_or("", |resource| resource.as_str()),
            approvals: &approvals,
            address: text("peer").parse().ok(),
            protocol_version: self.fact("protocol_version"),
            calls_today: None,
            now: self.at,
        };
        let call = Call {
            method: match sent {
                Sent::Response => String::new(),
                _ => method.to_owned(),
            },
            name: self.line.text("name").map(str::to_owned),
            id: (sent != Sent::Notification).then_some(Id::Number(1)),
            arguments: self.arguments.clone(),
            carries_result: self.result().unwrap_or_default(),
            belongs_to: None,
            resources: Vec::new(),
        };
        let asked = match sent {
            Sent::Stream => RequestedAction::stream(),
            Sent::End => RequestedAction::end(),
            _ => RequestedAction::from_call(&call, self.labels()),
        };
        rules.judge_without(unknown, &around, &asked)
    }

    /// Of a response: whether it carried a result.
    fn result(&self) -> Option<bool> {
        self.facts?.get("result")?.as_bool()
    }

    fn labels(&self) -> Labels {
        let labels = self.facts.and_then(|facts| facts.get("labels"));
        let label = |name: &str| labels?.get(name)?.as_bool();
        Labels {
            read_only: label("read_only"),
            destructive: label("destructive"),
        }
    }

    /// Those that counted then: the log holds no others.
    fn groups(&self) -> Vec<String> {
        let all = self.listed("groups").filter_map(Value::as_str);
        all.map(str::to_owned).collect()
    }

    fn approvals(&self) -> Vec<Approval> {
        let one = |pair: &Value| {
            Some(Approval {
                tool: pair.get(0)?.as_str()?.to_owned(),
                approver: pair.get(1)?.as_str()?.to_owned(),
                until: Timestamp::from_secs(self.at.secs() + 1),
            })
        };
        self.listed("approved").filter_map(one).collect()
    }
}
