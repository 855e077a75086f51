//! The call as the JSON-RPC message that a client would send, so that it is judged by the one reader
//! of such messages.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use mcp_protocol::calls::{self, Call};
use mcp_protocol::jsonrpc::{self, Keep};

/// A call of `method` with the name that it takes and the text of its arguments.
pub(super) fn call(
    method: &str,
    name: Option<&str>,
    arguments: Option<&RawValue>,
) -> Result<Call, String> {
    let mut message = format!("{{\"jsonrpc\":\"2.0\",\"method\":{}", json!(method));
    if !method.starts_with("notifications/") {
        message += ",\"id\":1";
    }
    let of_name = if method.starts_with("resources/") {
        "uri"
    } else {
        "name"
    };
    let name = name.map(|name| format!("\"{of_name}\":{}", json!(name)));
    let arguments = arguments.map(|arguments| format!("\"arguments\":{arguments}"));
    let params: Vec<String> = name.into_iter().chain(arguments).collect();
    message += &format!(",\"params\":{{{}}}}}", params.join(","));
    let mut judged = jsonrpc::judge_and_keep(&message.to_owned().into(), false, Keep::Arguments)
        .map_err(|refused| format!("no client could send this: {}", refused.0))?;
    let [message] = judged.messages_mut() else {
        return Err("this is no single message".to_owned());
    };
    calls::check_shape(message, false)
        .map_err(|what| format!("no client could send this: {what}"))?;
    let mut call = Call::from_message(message);
    if call.listens() {
        call.resources = call.name.take().into_iter().collect();
    }
    Ok(call)
}

/// The arguments at these paths (`PATH=VALUE`), as one object.
pub(super) fn arguments(pairs: &[String]) -> Result<Box<RawValue>, String> {
    let mut all = Value::Object(Map::new());
    for pair in pairs {
        let (path, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("`{pair}` is no PATH=VALUE"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        let mut here = &mut all;
        for step in steps(path).ok_or_else(|| format!("`{path}` is no path of an argument"))? {
            here = enter(here, step).ok_or_else(|| format!("`{path}` lies in another value"))?;
        }
        if !here.is_null() {
            return Err(format!("`{path}` is given twice"));
        }
        *here = value;
    }
    serde_json::value::to_raw_value(&all).map_err(|error| error.to_string())
}

enum Step {
    Key(String),
    Index(usize),
}

/// A path as policies write it: `a.b[0]`, with a `\` before a `.`, `[`, `]` or `\` of a key.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path;
    loop {
        let mut key = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next() {
                None => break rest.len(),
                Some((_, '\\')) => key.push(characters.next()?.1),
                Some((at, '.' | '[')) => break at,
                Some((_, character)) => key.push(character),
            }
        };
        steps.push(Step::Key(key));
        rest = &rest[end..];
        while let Some(inner) = rest.strip_prefix('[') {
            let (index, after) = inner.split_once(']')?;
            steps.push(Step::Index(
                index.parse().ok().filter(|index| *index < 512)?,
            ));
            rest = after;
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None => return rest.is_empty().then_some(steps),
        }
    }
}

/// The value at a step, made if it is not there. Elements are given in their order.
fn enter(value: &mut Value, step: Step) -> Option<&mut Value> {
    match step {
        Step::Key(key) => {
            if value.is_null() {
                *value = Value::Object(Map::new());
            }
            Some(value.as_object_mut()?.entry(key).or_insert(Value::Null))
        }
        Step::Index(index) => {
            if value.is_null() {
                *value = Value::Array(Vec::new());
            }
            let elements = value.as_array_mut()?;
            if index == elements.len() {
                elements.push(Value::Null);
            }
            elements.get_mut(index)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(pairs: &[&str]) -> Result<String, String> {
        let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        arguments(&pairs).map(|raw| raw.get().to_owned())
    }

    #[test]
    fn arguments_are_made_by_their_paths() {
        assert_eq!(made(&[]).unwrap(), "{}");
        assert_eq!(
            made(&[
                "path=/a=b",
                "n=5",
                "t=\"5\"",
                "b=true",
                "a.b[0]=x",
                "a.b[1].c=null1",
                "k\\.x=1"
            ])
            .unwrap(),
            r#"{"a":{"b":["x",{"c":"null1"}]},"b":true,"k.x":1,"n":5,"path":"/a=b","t":"5"}"#
        );
        for wrong in [
            &["path"][..],
            &["a=1", "a=2"],
            &["a=1", "a.b=2"],
            &["a[1]=2"],
            &["a[x]=2"],
            &["a[0=2"],
        ] {
            assert!(made(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_no_client_could_send_is_no_question() {
        let twice = RawValue::from_string(r#"{"a":1,"a":2}"#.to_owned()).unwrap();
        assert!(call("tools/call", Some("x"), Some(&twice)).is_err());
        assert!(call("tools/call", None, None).is_err());
        let read = call("resources/read", Some("file:///a"), None).unwrap();
        assert_eq!(read.name.as_deref(), Some("file:///a"));
        let plain = arguments(&["a=1".to_owned()]).unwrap();
        let tool = call("tools/call", Some("x\"y"), Some(&plain)).unwrap();
        assert_eq!(tool.tool(), Some("x\"y"));
        assert!(
            tool.arguments
                .is_some_and(|arguments| arguments.get("a").is_some())
        );
    }
}
