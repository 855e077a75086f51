//! The facts that a policy can speak of: their names, what they hold, and what they mean. A rule
//! over anything else would never be asked, so the reader refuses it; the manual's table is made
//! from here.

use std::collections::BTreeSet;

/// What one place of a fact holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// A text.
    Text(&'static str),
    /// A login name, in lower case.
    User,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// The name of a configured group.
    Group,
    /// The name of a configured network.
    Network,
    /// The name of a configured backend.
    Backend,
    /// The name of a configured approver.
    Approver,
    /// An integer.
    Integer(&'static str),
    /// `true` or `false`.
    Bool,
    /// Always `true`: where it is not so, the fact is not there.
    True,
    /// A date.
    Date,
    /// A value of any kind.
    Any,
}

/// A fact that the gateway states; the order is that in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StatedFact {
    User,
    Machine,
    Group,
    Client,
    ClientKind,
    ClientHost,
    Grant,
    Scope,
    Backend,
    Resource,
    Address,
    Network,
    ProtocolVersion,
    Approved,
    Message,
    Method,
    Harmless,
    Tool,
    ReadOnly,
    Destructive,
    Unlabelled,
    Prompt,
    Uri,
    Argument,
    ArgumentType,
    Time,
    Hour,
    Weekday,
    CallsToday,
}

/// A fact that the gateway states about every call, or about those that it is true of.
#[derive(Clone, Copy, Debug)]
pub(super) struct FactDefinition {
    pub(super) fact: StatedFact,
    pub(super) name: &'static str,
    pub(super) terms: &'static [Holds],
    /// Whether it can differ between two calls of one tool with one token.
    pub(super) varies: bool,
    /// What it means, in words.
    pub(super) about: &'static str,
}

const fn steady(
    fact: StatedFact,
    name: &'static str,
    terms: &'static [Holds],
    about: &'static str,
) -> FactDefinition {
    FactDefinition {
        fact,
        name,
        terms,
        varies: false,
        about,
    }
}

const fn varying(
    fact: StatedFact,
    name: &'static str,
    terms: &'static [Holds],
    about: &'static str,
) -> FactDefinition {
    FactDefinition {
        varies: true,
        ..steady(fact, name, terms, about)
    }
}

pub(super) const CLIENT_KINDS: &[&str] = &[
    "self_registered",
    "document",
    "pre_registered",
    "personal_token",
];
pub(super) const MESSAGES: &[&str] = &["request", "notification", "response", "stream", "end"];
pub(super) const WEEKDAYS: &[&str] = &[
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
pub(super) const ARGUMENT_TYPES: &[&str] =
    &["text", "number", "boolean", "null", "array", "object"];

/// Every fact, in the order of the documentation.
#[rustfmt::skip]
pub(super) const STATED: &[FactDefinition] = {
    use StatedFact::*;
    &[
        steady(User, "user", &[Holds::User], "The login name of the person on whose behalf it is, in lower case."),
        steady(Machine, "machine", &[Holds::True], "It is on behalf of a `[[service]]`, and no person allowed it."),
        steady(Group, "group", &[Holds::Group], "Each `[[group]]` that the person is in: by name, or by a group of the identity provider that `from` takes. What the provider says is as old as the token."),
        steady(Client, "client", &[Holds::Text("ID")], "The client id of the app."),
        steady(ClientKind, "client_kind", &[Holds::OneOf(CLIENT_KINDS)], "How the app is known: it registered itself, by its metadata document, or by your configuration; or it is whoever holds a personal token."),
        steady(ClientHost, "client_host", &[Holds::Text("HOST")], "The host that vouches for the app; only of a metadata document."),
        steady(Grant, "grant", &[Holds::Text("ID")], "The grant behind the token."),
        steady(Scope, "scope", &[Holds::Text("SCOPE")], "Each scope of the token, and each that these include."),
        steady(Backend, "backend", &[Holds::Backend], "The backend that is called."),
        steady(Resource, "resource", &[Holds::Text("URL")], "The resource that the token is for."),
        steady(Message, "message", &[Holds::OneOf(MESSAGES)], "What is sent: a request, a notification, the client's own response, or nothing: a stream is opened (GET), a session ended (DELETE)."),
        steady(Method, "method", &[Holds::Text("METHOD")], "The method of a request or notification, such as `tools/call`."),
        steady(Harmless, "harmless", &[Holds::True], "It only opens, keeps up or ends a session, or lists tools (which shows those that the policy allows)."),
        steady(Tool, "tool", &[Holds::Text("NAME")], "The tool that is called (`tools/call`)."),
        steady(Prompt, "prompt", &[Holds::Text("NAME")], "The prompt that is asked for (`prompts/get`)."),
        steady(Uri, "uri", &[Holds::Text("URI")], "The resource that is read, subscribed to or unsubscribed from (`resources/*`, and `subscriptions/listen`, which is asked about for each resource that it names)."),
        steady(ReadOnly, "read_only", &[Holds::Bool], "Whether the tool says that it changes nothing; of a method, whether MCP says so."),
        steady(Destructive, "destructive", &[Holds::Bool], "Whether the tool may destroy something: it does not say otherwise."),
        steady(Unlabelled, "unlabelled", &[Holds::True], "The tool says neither whether it reads nor whether it destroys."),
        varying(Argument, "argument", &[Holds::Text("PATH"), Holds::Any], "Each argument of a tool or prompt by path (`path`, `filter.owner`, `tags[0]`): a text, a whole number, a boolean or null; an array or object as a whole, and its parts under paths of their own. A number that is no 64-bit integer is a value that can't be compared."),
        varying(ArgumentType, "argument_type", &[Holds::Text("PATH"), Holds::OneOf(ARGUMENT_TYPES)], "What kind of value stands there."),
        varying(Approved, "approved", &[Holds::Text("TOOL"), Holds::Approver], "Each approval in the token that has not ended."),
        varying(Time, "time", &[Holds::Date], "The time."),
        varying(Hour, "hour", &[Holds::Integer("0..23")], "The hour of the day, at `policy.utc_offset`."),
        varying(Weekday, "weekday", &[Holds::OneOf(WEEKDAYS)], "The day of the week, at `policy.utc_offset`."),
        varying(CallsToday, "calls_today", &[Holds::Integer("N")], "How many calls that count (`tools/call`, `resources/read`, `prompts/get`, `completion/complete`) the person has made in this day of UTC before this call, refused ones and those before it in a batch included, at all backends. Other replicas' calls are known two seconds later."),
        steady(Address, "address", &[Holds::Text("IP")], "Where the request comes from, through `trusted_proxies`."),
        steady(Network, "network", &[Holds::Network], "Each `[[network]]` that the address is in."),
        steady(ProtocolVersion, "protocol_version", &[Holds::Text("DATE")], "The revision of MCP that the request names, where it names one."),
    ]
};

/// The fact of this name.
pub(super) fn stated(name: &str) -> Option<&'static FactDefinition> {
    STATED.iter().find(|stated| stated.name == name)
}

impl StatedFact {
    pub(super) fn name(self) -> &'static str {
        let row = STATED.iter().find(|row| row.fact == self);
        row.map(|row| row.name).expect("every fact has its row")
    }
}

/// Some of these facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FactSet(u32);

impl FactSet {
    pub(super) const fn has(self, fact: StatedFact) -> bool {
        self.0 & (1 << fact as u32) != 0
    }

    pub(super) const fn insert(&mut self, fact: StatedFact) {
        self.0 |= 1 << fact as u32;
    }

    /// Those that are the same for every call of a tool with a token.
    pub(super) fn steady(self) -> Self {
        let mut steady = Self::default();
        let rows = STATED.iter().filter(|row| !row.varies);
        rows.for_each(|row| steady.insert(row.fact));
        Self(self.0 & steady.0)
    }

    /// In the order in which they are told.
    pub(super) fn told(self) -> BTreeSet<StatedFact> {
        let all = STATED.iter().map(|row| row.fact);
        all.filter(|fact| self.has(*fact)).collect()
    }
}

/// The known name that another one was probably meant to be.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (known, strsim::jaro_winkler(known, name)))
        .filter(|(_, likeness)| *likeness > 0.75)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(known, _)| known)
}

impl FactDefinition {
    /// How it is written: `argument(PATH, VALUE)`.
    pub(super) fn form(&self) -> String {
        let terms: Vec<String> = self.terms.iter().map(|term| term.shown()).collect();
        format!("{}({})", self.name, terms.join(", "))
    }
}

impl Holds {
    fn shown(self) -> String {
        match self {
            Self::Text(what) | Self::Integer(what) => what.to_owned(),
            Self::OneOf(values) => match values {
                [first, .., last] if values.len() > 5 => format!("\"{first}\"…\"{last}\""),
                _ => {
                    let values: Vec<String> =
                        values.iter().map(|value| format!("\"{value}\"")).collect();
                    values.join(" or ")
                }
            },
            Self::User | Self::Group | Self::Network | Self::Backend | Self::Approver => {
                "NAME".to_owned()
            }
            Self::Bool => "true or false".to_owned(),
            Self::True => "true".to_owned(),
            Self::Date => "DATE".to_owned(),
            Self::Any => "VALUE".to_owned(),
        }
    }
}

/// Every fact in Markdown, as it stands in the manual.
pub fn reference() -> String {
    let mut table = String::from("| fact | meaning |\n|---|---|\n");
    for stated in STATED {
        table.push_str(&format!("| `{}` | {} |\n", stated.form(), stated.about));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_has_one_row_under_its_own_name() {
        let mut all = FactSet::default();
        for row in STATED {
            assert!(!all.has(row.fact), "{row:?}");
            all.insert(row.fact);
            let words = row.name.split('_').map(|word| {
                let (first, rest) = word.split_at(1);
                first.to_uppercase() + rest
            });
            assert_eq!(words.collect::<String>(), format!("{:?}", row.fact));
        }
        assert_eq!(STATED.len(), StatedFact::CallsToday as usize + 1);
    }
}
