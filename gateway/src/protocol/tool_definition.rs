//! The definition of one tool as a backend states it in `tools/list`, read strictly, and its digest.
//!
//! The digest covers the whole object: name, title, description, schemas, annotations, `_meta`,
//! icons and whatever else stands there, because a model or its host may act on any of it. Two
//! texts have one digest when they say the same: the order of members, white space and the spelling
//! of characters and numbers do not count; anything else does. A tool that can't be read in one way
//! only (a member twice, a resembling key, depth over 64) has no definition and is never passed on
//! to a restricted token.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use sha2::{Digest as _, Sha256};

use super::jsonrpc::walk::{Key, Keys, deeper};

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

impl Definition {
    /// Reads one element of `tools`. `None` for what is no tool, or can be read in two ways.
    pub fn read(json: &str) -> Option<Self> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let definition = ToolSeed.deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        Some(definition)
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

struct ToolSeed;

impl<'de> DeserializeSeed<'de> for ToolSeed {
    type Value = Definition;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Definition, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ToolSeed {
    type Value = Definition;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tool")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Definition, A::Error> {
        let mut keys = Keys::named(TOOL_KEYS);
        let (mut name, mut labels) = (None, Labels::default());
        let mut members = BTreeMap::new();
        while let Some(Key(key)) = map.next_key()? {
            let value = map.next_value_seed(Canonical { depth: 4 })?;
            if key == "name" {
                name = value.text.clone();
            }
            if key == "annotations" {
                labels = value.labels;
            }
            members.insert(key.clone().into_owned(), Sha256::digest(&value.form).into());
            keys.note(key)?;
        }
        let name = name.ok_or_else(|| A::Error::custom("a tool without a name"))?;
        Ok(Definition {
            name,
            labels,
            members,
        })
    }
}

/// A value in canonical form: every part begins with its kind and ends where it says, so that no
/// two values have one form.
struct Canonical {
    /// How deep the value stands in its message.
    depth: usize,
}

struct Value {
    form: Vec<u8>,
    /// The value itself, where it is a text.
    text: Option<String>,
    /// What it says, where it is an object of annotations.
    labels: Labels,
}

impl Value {
    fn plain(form: impl Into<Vec<u8>>) -> Self {
        Self {
            form: form.into(),
            text: None,
            labels: Labels::default(),
        }
    }
}

fn text(form: &mut Vec<u8>, kind: u8, text: &str) {
    form.push(kind);
    form.extend_from_slice(&(text.len() as u64).to_be_bytes());
    form.extend_from_slice(text.as_bytes());
}

impl<'de> DeserializeSeed<'de> for Canonical {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Canonical {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::plain(*b"n"))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::plain(if value { *b"t" } else { *b"f" }))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::plain(format!("i{number};")))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::plain(format!("i{number};")))
    }

    /// `1.0` and `1` are one number to everybody who reads JSON.
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        Ok(Value::plain(
            if number.fract() == 0.0 && number.abs() < EXACT {
                #[allow(clippy::cast_possible_truncation)] // whole, and within 53 bits
                let whole = number as i64;
                format!("i{whole};")
            } else {
                format!("d{:016x};", number.to_bits())
            },
        ))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        let mut form = Vec::with_capacity(value.len() + 9);
        text(&mut form, b's', value);
        Ok(Value {
            text: Some(value.to_owned()),
            ..Value::plain(form)
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let depth = deeper(self.depth)?;
        let mut form = vec![b'['];
        while let Some(element) = seq.next_element_seed(Canonical { depth })? {
            form.extend_from_slice(&element.form);
        }
        form.push(b']');
        Ok(Value::plain(form))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let depth = deeper(self.depth)?;
        let mut keys = Keys::named(&[]);
        let mut members: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        while let Some(Key(key)) = map.next_key()? {
            let value = map.next_value_seed(Canonical { depth })?;
            members.insert(key.clone().into_owned(), value.form);
            keys.insert(key)?;
        }
        let hint = |name: &str| match members.get(name)?.as_slice() {
            b"t" => Some(true),
            b"f" => Some(false),
            _ => None,
        };
        let labels = Labels {
            read_only: hint("readOnlyHint"),
            destructive: hint("destructiveHint"),
        };
        let mut form = vec![b'{'];
        for (key, value) in members {
            text(&mut form, b's', &key);
            form.extend_from_slice(&value);
        }
        form.push(b'}');
        Ok(Value {
            labels,
            ..Value::plain(form)
        })
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
    fn a_tool_with_two_readings_has_no_definition() {
        let deep = format!(
            r#"{{"name":"a","inputSchema":{}{}}}"#,
            "[".repeat(70),
            "]".repeat(70)
        );
        for json in [
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":"a","Name":"b"}"#,
            r#"{"name":"a","name\u0000":"b"}"#,
            r#"{"name":"a","inputSchema":{"x":1,"x":2}}"#,
            r#"{"name":"a","__proto__":{}}"#,
            r#"{"name":"a","x":"\ud800"}"#,
            r#"{"name":"a","x":1e999}"#,
            r#"{"name":"a","x":NaN}"#,
            r#"{"name":1}"#,
            r#"{"name":null}"#,
            r#"{"title":"a"}"#,
            r#"["a"]"#,
            r#""a""#,
            r#"{"name":"a"} {}"#,
            "",
            deep.as_str(),
        ] {
            assert_eq!(Definition::read(json), None, "{json}");
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
