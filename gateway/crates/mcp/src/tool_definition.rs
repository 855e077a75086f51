//! The definition of one tool as a backend states it in `tools/list`, read strictly, and its digest.
//!
//! The digest covers the whole object: name, title, description, schemas, annotations, `_meta`,
//! icons and whatever else stands there, because a model or its host may act on any of it. Two
//! texts have one digest when they say the same: the order of members, white space and the spelling
//! of characters and numbers do not count; anything else does. A tool that can't be read in one way
//! only (a member twice, a resembling key, no end of nesting) has no definition, is offered to nobody
//! by name and is never passed on to a restricted token; [`Unfit`] says why. What is only odd (a
//! member that is `null` or of another kind than MCP says) is part of the definition and means
//! nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256};

use super::canonical::{self, Fault, pointer_token};
use super::jsonrpc::walk::Keys;
use super::scan::{Scan, bytes_of};

/// Members of a tool that somebody decides by.
const TOOL_KEYS: &[&str] = &[
    "name",
    "title",
    "description",
    "inputSchema",
    "outputSchema",
    "annotations",
    "_meta",
];

/// SHA-256 over the canonical form of a definition or of one of its members.
pub type Digest = [u8; 32];

/// What a tool says about its effects (MCP schema, `ToolAnnotations`): hints, not promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels {
    /// `readOnlyHint`: it changes nothing.
    pub read_only: Option<bool>,
    /// `destructiveHint`: it may destroy something.
    pub destructive: Option<bool>,
}

impl Labels {
    /// What annotations say: only `true` and `false` count, another value says nothing.
    fn read(annotations: &str) -> Self {
        let members = Scan::new(annotations, 0).members().unwrap_or_default();
        let hint = |name: &str| {
            let (_, place) = members.iter().find(|(key, _)| key == name)?;
            match &annotations[place.clone()] {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            }
        };
        Self {
            read_only: hint("readOnlyHint"),
            destructive: hint("destructiveHint"),
        }
    }

    /// Whether it says that it changes nothing.
    pub fn reads_only(self) -> bool {
        self.read_only == Some(true)
    }

    /// Whether it may destroy something: it neither changes nothing nor says that it doesn't.
    pub fn may_destroy(self) -> bool {
        !self.reads_only() && self.destructive != Some(false)
    }

    /// Whether it says nothing about its effects.
    pub const fn are_absent(self) -> bool {
        self.read_only.is_none() && self.destructive.is_none()
    }

    /// What is known of a name that two tools have: nothing that only one of them says.
    #[must_use]
    pub fn of_both(self, other: Self) -> Self {
        let both = |a: Option<bool>, b: Option<bool>| a.filter(|_| a == b);
        Self {
            read_only: both(self.read_only, other.read_only),
            destructive: both(self.destructive, other.destructive),
        }
    }
}

/// A tool's definition: its name, and digests that stand for all that it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    name: String,
    labels: Labels,
    members: BTreeMap<String, Digest>,
}

/// Why a tool in a list can't be offered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unfit {
    name: Option<String>,
    pointer: String,
    why: &'static str,
}

impl Unfit {
    fn new(name: Option<&str>, pointer: impl Into<String>, why: &'static str) -> Self {
        Self {
            name: name.map(str::to_owned),
            pointer: pointer.into(),
            why,
        }
    }

    /// Its name, if that can be read.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The member and what is wrong with it, fit to be shown.
    pub fn why(&self) -> String {
        match plain(&self.pointer, 200) {
            pointer if pointer.is_empty() => self.why.to_owned(),
            pointer => format!("{pointer}: {}", self.why),
        }
    }
}

/// The tool and what is wrong with it, in a line.
impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}: {}", plain(name, 64), self.why()),
            None => write!(f, "a tool without a name: {}", self.why()),
        }
    }
}

/// A text of the backend's as it may stand in a line of a log.
fn plain(text: &str, longest: usize) -> String {
    let visible = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    visible.take(longest).collect()
}

impl Definition {
    /// Reads one element of `tools`. [`Unfit`] for what is no tool, or can be read in two ways.
    pub fn read(json: &str) -> Result<Self, Unfit> {
        let mut scan = Scan::new(json, 0);
        if scan.peek() != Some(b'{') {
            return Err(Unfit::new(None, "", "it is not an object"));
        }
        let members = scan
            .members()
            .and_then(|members| scan.end().map(|()| members))
            .map_err(|_| Unfit::new(None, "", "it is not JSON, or a key of it is no text"))?;
        // The name first, so that everything else can be said of it.
        let mut names = members.iter().filter(|(key, _)| key == "name");
        let text = names
            .next()
            .map(|(_, place)| bytes_of(&json[place.clone()]));
        let name = match text {
            None => return Err(Unfit::new(None, "/name", "it is missing")),
            Some(Err(_)) => return Err(Unfit::new(None, "/name", "it is not a text")),
            Some(Ok(bytes)) => String::from_utf8(bytes)
                .map_err(|_| Unfit::new(None, "/name", "it holds half of a surrogate pair"))?,
        };
        let unfit = |fault: Fault| Unfit::new(Some(&name), fault.pointer, fault.why);
        let mut keys = Keys::named(TOOL_KEYS);
        let mut labels = Labels::default();
        let mut digests = BTreeMap::new();
        for (key, place) in members {
            let form = canonical::form(json, place.clone()).map_err(|fault| {
                unfit(Fault {
                    pointer: pointer_token(&key) + &fault.pointer,
                    ..fault
                })
            })?;
            if key == "annotations" {
                labels = Labels::read(&json[place]);
            }
            let pointer = pointer_token(&key);
            digests.insert(key.clone(), Sha256::digest(&form).into());
            keys.note::<serde_json::Error>(Cow::Owned(key))
                .map_err(|_| {
                    unfit(Fault {
                        pointer,
                        why: "it stands twice, or resembles a member of a tool",
                    })
                })?;
        }
        Ok(Self {
            name,
            labels,
            members: digests,
        })
    }

    /// What calls name it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it says that it changes nothing (`annotations.readOnlyHint`).
    pub fn reads_only(&self) -> bool {
        self.labels.reads_only()
    }

    /// What it says about its effects.
    pub const fn labels(&self) -> Labels {
        self.labels
    }

    /// Stands for everything that the definition says.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        for (key, digest) in &self.members {
            hash.update((key.len() as u64).to_be_bytes());
            hash.update(key);
            hash.update(digest);
        }
        hash.finalize().into()
    }

    /// Whether it says nothing but what `whole` says. A backend may leave members out for clients
    /// of older revisions, which do not know them; it may not say something else.
    pub fn is_part_of(&self, whole: &Self) -> bool {
        self.members
            .iter()
            .all(|(key, digest)| whole.members.get(key) == Some(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: &str = r#"{"name":"search","description":"Finds é","inputSchema":{"type":"object","properties":{"q":{"type":"string","maxLength":10}},"required":["q"]},"annotations":{"readOnlyHint":true}}"#;

    fn digest(json: &str) -> Digest {
        Definition::read(json).unwrap().digest()
    }

    #[test]
    fn what_says_the_same_has_one_digest() {
        let again = "{ \"annotations\" : {\"readOnlyHint\":true}, \"inputSchema\":{\"required\":[\"q\"],\"type\":\"object\",\
            \"properties\":{\"q\":{\"maxLength\":10.0,\"type\":\"str\\u0069ng\"}}},\n\"description\":\"Finds \\u00e9\",\"name\":\"search\"}";
        assert_eq!(digest(TOOL), digest(again));
        let tool = Definition::read(TOOL).unwrap();
        assert_eq!((tool.name(), tool.reads_only()), ("search", true));
        let nested =
            r#"{"name":"a","annotations":{"x":{"readOnlyHint":true}},"readOnlyHint":true}"#;
        assert!(!Definition::read(nested).unwrap().reads_only());
        assert!(Definition::read(nested).unwrap().labels().are_absent());
        let says = |hints: &str| {
            let json = format!(r#"{{"name":"a","annotations":{{{hints}}}}}"#);
            let labels = Definition::read(&json).unwrap().labels();
            (labels.reads_only(), labels.may_destroy())
        };
        assert_eq!(says(""), (false, true));
        assert_eq!(says(r#""readOnlyHint":"true""#), (false, true));
        assert_eq!(says(r#""destructiveHint":false"#), (false, false));
        assert_eq!(
            says(r#""readOnlyHint":true,"destructiveHint":true"#),
            (true, false)
        );
    }

    #[test]
    fn whatever_is_changed_changes_the_digest() {
        let mut seen = vec![digest(TOOL)];
        for (from, to) in [
            ("Finds", "finds"),
            ("Finds é", "Finds é "),
            ("\"search\"", "\"search2\""),
            ("true", "false"),
            ("true", "null"),
            ("true", "\"true\""),
            ("10", "11"),
            ("10", "\"10\""),
            ("[\"q\"]", "[\"q\",\"q\"]"),
            ("[\"q\"]", "[]"),
            ("[\"q\"]", "{}"),
            ("\"annotations\":{", "\"_meta\":{\"a\":1},\"annotations\":{"),
            ("\"annotations\":{", "\"x\":null,\"annotations\":{"),
            ("\"annotations\":{", "\"title\":\"\",\"annotations\":{"),
            (
                "\"annotations\":{\"readOnlyHint\":true}",
                "\"annotations\":{}",
            ),
            (",\"annotations\":{\"readOnlyHint\":true}", ""),
        ] {
            let changed = TOOL.replacen(from, to, 1);
            assert_ne!(changed, TOOL);
            let digest = digest(&changed);
            assert!(!seen.contains(&digest), "{changed}");
            seen.push(digest);
        }
    }

    #[test]
    fn a_tool_with_two_readings_has_no_definition_and_it_is_said_why() {
        let nested = |levels: usize| {
            let (open, close) = (r#"{"properties":{"a":"#.repeat(levels), "}}".repeat(levels));
            format!(r#"{{"name":"a","inputSchema":{open}{{}}{close}}}"#)
        };
        assert!(Definition::read(&nested(32)).is_ok());
        assert!(Definition::read(&nested(127)).is_ok());
        let deep = nested(128);
        for (json, said) in [
            (
                r#"{"name":"a","name":"b"}"#,
                "a: /name: it stands twice, or",
            ),
            (
                r#"{"name":"a","Name":"b"}"#,
                "a: /Name: it stands twice, or",
            ),
            (
                r#"{"name":"a","name\u0000":"b"}"#,
                "a: /name\u{fffd}: it stands",
            ),
            (
                r#"{"inputSchema":{"x":1,"x":2},"name":"a\n"}"#,
                "a\u{fffd}: /inputSchema/x: a key stands twice",
            ),
            (r#"{"name":"a","__proto__":{}}"#, "a: /__proto__: it stands"),
            (
                r#"{"name":"a","x":NaN}"#,
                "a tool without a name: it is not JSON",
            ),
            (
                r#"{"name":1}"#,
                "a tool without a name: /name: it is not a text",
            ),
            (
                r#"{"name":null}"#,
                "a tool without a name: /name: it is not a text",
            ),
            (
                r#"{"name":"\ud800"}"#,
                "a tool without a name: /name: it holds half",
            ),
            (
                r#"{"title":"a"}"#,
                "a tool without a name: /name: it is missing",
            ),
            (r#"["a"]"#, "a tool without a name: it is not an object"),
            (r#""a""#, "a tool without a name: it is not an object"),
            ("null", "a tool without a name: it is not an object"),
            (
                r#"{"name":"a"} {}"#,
                "a tool without a name: it is not JSON",
            ),
            ("", "a tool without a name: it is not an object"),
            (deep.as_str(), "a: /inputSchema/properties/a/"),
        ] {
            let unfit = Definition::read(json).unwrap_err().to_string();
            assert!(unfit.starts_with(said), "{json}: {unfit}");
            assert!(unfit.len() < 400);
        }
    }

    #[test]
    fn what_is_only_odd_costs_a_tool_nothing() {
        for odd in [
            r#""annotations":null"#,
            r#""annotations":[true]"#,
            r#""annotations":{"readOnlyHint":null,"title":7}"#,
            r#""annotations":{"readOnlyHint":"true"}"#,
            r#""annotations":{"readOnlyHint":1}"#,
            r#""description":7,"title":{},"inputSchema":null,"outputSchema":null"#,
            r#""description":"\ud800""#,
            r#""inputSchema":{"maximum":1e400,"minimum":-123456789012345678901234567890}"#,
            r#""icons":null,"execution":null,"_meta":null,"x-unknown":[[]]"#,
        ] {
            let tool = Definition::read(&format!(r#"{{"name":"a",{odd}}}"#)).unwrap();
            assert!(!tool.reads_only() && tool.labels().are_absent(), "{odd}");
            let without = Definition::read(r#"{"name":"a"}"#).unwrap();
            assert_ne!(tool.digest(), without.digest(), "{odd}");
        }
    }

    #[test]
    fn a_shorter_form_for_older_clients_is_part_of_the_whole() {
        let whole = Definition::read(TOOL).unwrap();
        let part = |json: &str| Definition::read(json).unwrap().is_part_of(&whole);
        assert!(part(TOOL));
        assert!(part(r#"{"name":"search","description":"Finds é"}"#));
        assert!(!part(r#"{"name":"search","description":"Finds e"}"#));
        assert!(!part(r#"{"name":"search","title":"Search"}"#));
    }
}
