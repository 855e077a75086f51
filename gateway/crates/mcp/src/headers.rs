//! The headers of 2026-07-28 that mirror a message (Streamable HTTP, Request Metadata).

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::message::Message;
use crate::object::Object;
use crate::revision::STATELESS;

const OPENS: &str = "=?base64?";
const CLOSES: &str = "?=";

/// How deep a schema is looked into for mirrored parameters.
const DEPTH: usize = 16;

/// A value as it goes into a header (Value Encoding): as it is, or in Base64 between markers where
/// it is no plain ASCII, has spaces at an end, or looks like the markers.
pub fn encode_value(value: &str) -> Cow<'_, str> {
    let is_plain = value.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t'))
        && value.trim_matches([' ', '\t']) == value
        && !value.is_empty()
        && !(value.starts_with(OPENS) && value.ends_with(CLOSES));
    if is_plain {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(format!("{OPENS}{}{CLOSES}", STANDARD.encode(value)))
    }
}

/// The value that a header stands for. `None` if what is between the markers is no Base64 of UTF-8.
pub fn decode_value(header: &str) -> Option<Cow<'_, str>> {
    let inner = header.strip_prefix(OPENS);
    match inner.and_then(|rest| rest.strip_suffix(CLOSES)) {
        Some(encoded) => {
            let bytes = STANDARD.decode(encoded).ok()?;
            Some(Cow::Owned(String::from_utf8(bytes).ok()?))
        }
        None => Some(Cow::Borrowed(header)),
    }
}

/// The headers that every server of 2026-07-28 demands of a message, in lower case.
pub fn standard_headers(message: &Message) -> Vec<(&'static str, String)> {
    let method = message.method();
    let name = match method {
        "tools/call" | "prompts/get" => message.params().text("name"),
        "resources/read" => message.params().text("uri"),
        _ => None,
    };
    let mut headers = vec![
        ("mcp-protocol-version", STATELESS.to_owned()),
        ("mcp-method", encode_value(method).into_owned()),
    ];
    if let Some(name) = name {
        headers.push(("mcp-name", encode_value(&name).into_owned()));
    }
    headers
}

/// The parameters of one tool that its schema wants mirrored in `Mcp-Param-…` headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrored(Vec<(Vec<String>, String)>);

impl Mirrored {
    /// Reads a tool's `inputSchema` (Custom Headers from Tool Parameters). `None` if an annotation
    /// breaks the rules: such a tool is not to be offered to clients.
    pub fn read(schema: &Value) -> Option<Self> {
        let mut found = Vec::new();
        collect(schema, &mut Vec::new(), &mut found)?;
        // One that stands where no chain of `properties` leads to it.
        if count(schema, 0) != found.len() {
            return None;
        }
        let names = found.iter().map(|(_, name)| name.to_ascii_lowercase());
        let names: HashSet<String> = names.collect();
        (names.len() == found.len()).then_some(Self(found))
    }

    /// Whether nothing is mirrored.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The headers for these arguments, in lower case. Absent and null values have none.
    pub fn headers(&self, arguments: &Object) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        for (path, name) in &self.0 {
            let Some(value) = at(arguments, path) else {
                continue;
            };
            let text = match value {
                Value::String(text) => text,
                Value::Bool(truth) => truth.to_string(),
                Value::Number(number) => number.to_string(),
                _ => continue,
            };
            let header = format!("mcp-param-{}", name.to_ascii_lowercase());
            headers.push((header, encode_value(&text).into_owned()));
        }
        headers
    }
}

fn at(arguments: &Object, path: &[String]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    let mut value: Value = arguments.read(first)?;
    for step in rest {
        value = value.get_mut(step)?.take();
    }
    Some(value)
}

fn collect(
    schema: &Value,
    path: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, String)>,
) -> Option<()> {
    if path.len() > DEPTH {
        return None;
    }
    if let Some(name) = schema.get("x-mcp-header") {
        let name = name.as_str()?;
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let kind = schema.get("type").and_then(Value::as_str);
        let is_primitive = matches!(kind, Some("string" | "integer" | "boolean"));
        if name.is_empty() || !name.bytes().all(is_token) || !is_primitive || path.is_empty() {
            return None;
        }
        found.push((path.clone(), name.to_owned()));
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (name, schema) in properties {
            path.push(name.clone());
            collect(schema, path, found)?;
            path.pop();
        }
    }
    Some(())
}

/// How often the annotation occurs as a keyword anywhere, but for properties that are called so.
fn count(value: &Value, depth: usize) -> usize {
    if depth > 4 * DEPTH {
        return usize::MAX / 2;
    }
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                ("x-mcp-header", _) => 1,
                ("properties", Value::Object(properties)) => properties
                    .values()
                    .map(|schema| count(schema, depth + 1))
                    .sum(),
                ("default" | "const" | "enum" | "examples", _) => 0,
                _ => count(value, depth + 1),
            })
            .sum(),
        Value::Array(items) => items.iter().map(|item| count(item, depth + 1)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The examples of Value Encoding.
    #[test]
    fn values_are_encoded_as_the_specification_shows() {
        for (value, header) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encode_value(value), header);
            assert_eq!(decode_value(header).as_deref(), Some(value));
        }
        assert_eq!(decode_value("=?base64?!?="), None);
        assert_eq!(
            decode_value("=?BASE64?YQ==?=").as_deref(),
            Some("=?BASE64?YQ==?=")
        );
    }

    /// The examples of Standard Request Headers.
    #[test]
    fn a_message_is_mirrored_in_headers() {
        let headers = |text: &str| standard_headers(&Message::parse(text).unwrap());
        assert_eq!(
            headers(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather","arguments":{"location":"Seattle, WA"}}}"#
            ),
            [
                ("mcp-protocol-version", "2026-07-28".to_owned()),
                ("mcp-method", "tools/call".to_owned()),
                ("mcp-name", "get_weather".to_owned()),
            ]
        );
        assert_eq!(
            headers(
                r#"{"jsonrpc":"2.0","id":2,"method":"resources/read","params":{"uri":"file:///projects/myapp/config.json"}}"#
            )[2],
            ("mcp-name", "file:///projects/myapp/config.json".to_owned())
        );
        assert_eq!(
            headers(r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"name":"x"}}"#)
                .len(),
            2
        );
    }

    /// The tool of Schema Extension, and values of each kind.
    #[test]
    fn parameters_are_mirrored_where_the_schema_says_so() {
        let mirrored = Mirrored::read(&json!({
            "type": "object",
            "properties": {
                "region": {"type": "string", "x-mcp-header": "Region"},
                "query": {"type": "string"},
                "x-mcp-header": {"type": "string"},
                "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}, "b": {"type": "boolean", "x-mcp-header": "B"}}},
            },
        }))
        .unwrap();
        let arguments =
            Object::parse(r#"{"region":"us-west1","query":"SELECT","deep":{"n":-7,"b":true}}"#)
                .unwrap();
        let mut headers = mirrored.headers(&arguments);
        headers.sort();
        assert_eq!(
            headers,
            [
                ("mcp-param-b", "true"),
                ("mcp-param-n", "-7"),
                ("mcp-param-region", "us-west1")
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        let nothing = Object::parse(r#"{"region":null,"deep":{}}"#).unwrap();
        assert_eq!(mirrored.headers(&nothing), []);
    }

    #[test]
    fn annotations_against_the_rules_make_a_tool_invalid() {
        for schema in [
            json!({"properties": {"a": {"type": "string", "x-mcp-header": ""}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": "a b"}}}),
            json!({"properties": {"a": {"type": "number", "x-mcp-header": "A"}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": 1}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}}}),
            json!({"properties": {"a": {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}}}),
            json!({"oneOf": [{"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}]}),
            json!({"type": "string", "x-mcp-header": "A"}),
        ] {
            assert_eq!(Mirrored::read(&schema), None, "{schema}");
        }
        assert!(
            Mirrored::read(&json!({"type": "object"}))
                .unwrap()
                .is_empty()
        );
    }
}
