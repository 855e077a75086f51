//! A record as it is written: the members of its line as JSON, none longer than it may be. It is encoded
//! once, straight from what it is about.

use serde::Serialize;

use super::bounded::{APPROVALS, ARGUMENTS, DETAIL, FIELD, bounded};
use super::record::{Arguments, Facts, Record};
use crate::reason::Reason;

/// The members of a line that its record says, without braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedRecord(Vec<u8>);

impl EncodedRecord {
    /// As JSON.
    pub fn members(&self) -> &[u8] {
        &self.0
    }

    /// One that another process encoded; `None` if these are not the members of an object on one line.
    pub fn received(members: String) -> Option<Self> {
        let is_line = !members.bytes().any(|byte| byte.is_ascii_control());
        let object = format!("{{{members}}}");
        let read: Result<std::collections::BTreeMap<String, serde::de::IgnoredAny>, _> =
            serde_json::from_str(&object);
        let is_object = read.is_ok_and(|read| !read.is_empty());
        (is_line && is_object).then(|| Self(members.into_bytes()))
    }

    pub(super) fn of(value: &impl Serialize) -> Self {
        let mut json = Json(Vec::new());
        json.value(value);
        // An object, without its braces.
        json.0.pop();
        json.0.remove(0);
        Self(json.0)
    }
}

impl<T: AsRef<str>> Record<T> {
    /// What is written of it.
    pub fn encode(&self) -> EncodedRecord {
        let mut json = Json(Vec::with_capacity(512));
        json.member("event", &self.event);
        json.member("outcome", &self.outcome);
        json.some("reason", self.reason.map(Reason::code));
        json.text("user", self.user.as_ref());
        json.text("client", self.client.as_ref());
        json.text("grant", self.grant.as_ref());
        json.text("token", self.token.as_ref());
        json.text("backend", self.backend.as_ref());
        json.text("method", self.method.as_ref());
        json.text("name", self.name.as_ref());
        if let Some(arguments) = &self.arguments {
            json.name("arguments");
            json.object(|json| match arguments {
                Arguments::Hash(hash) => json.text("hash", Some(hash)),
                Arguments::Full(text) => json.bounded("full", text, ARGUMENTS),
            });
        }
        if let Some(detail) = &self.detail {
            json.bounded("detail", detail, DETAIL);
        }
        if let Some(facts) = &self.facts {
            json.name("facts");
            json.object(|json| facts.encode(json));
        }
        json.some("peer", self.peer);
        json.text("request_id", self.request_id.as_ref());
        EncodedRecord(json.0)
    }
}

impl<T: AsRef<str>> Facts<T> {
    fn encode(&self, json: &mut Json) {
        json.text("user_name", Some(&self.user_name));
        if !self.groups.is_empty() {
            json.name("groups");
            json.list(&self.groups, |json, group| json.short(group));
        }
        json.text("scope", Some(&self.scope));
        json.some("message", self.message);
        json.some("result", self.result);
        json.text("protocol_version", self.protocol_version.as_ref());
        json.some("labels", self.labels);
        // Some of them would be taken for all.
        if let Some(approved) = self.approved.as_ref().filter(|all| all.len() <= APPROVALS) {
            json.name("approved");
            json.list(approved, |json, (tool, by)| {
                json.list([tool, by], |json, text| json.short(text));
            });
        }
    }
}

/// JSON that is being written.
struct Json(Vec<u8>);

impl Json {
    /// The name of a member, which needs no escapes.
    fn name(&mut self, name: &str) {
        if !matches!(self.0.last(), None | Some(b'{')) {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn value(&mut self, value: &impl Serialize) {
        serde_json::to_writer(&mut self.0, value)
            .expect("memory takes all, and what is written are texts, numbers and objects of them");
    }

    fn member(&mut self, name: &str, value: &impl Serialize) {
        self.name(name);
        self.value(value);
    }

    fn some(&mut self, name: &str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.member(name, &value);
        }
    }

    fn short<T: AsRef<str>>(&mut self, text: &T) {
        self.value(&bounded(text.as_ref(), FIELD));
    }

    fn text<T: AsRef<str>>(&mut self, name: &str, text: Option<&T>) {
        if let Some(text) = text {
            self.bounded(name, text, FIELD);
        }
    }

    fn bounded<T: AsRef<str>>(&mut self, name: &str, text: &T, most: usize) {
        self.member(name, &bounded(text.as_ref(), most));
    }

    fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.0.push(b'{');
        members(self);
        self.0.push(b'}');
    }

    fn list<V>(&mut self, values: impl IntoIterator<Item = V>, each: impl Fn(&mut Self, V)) {
        self.0.push(b'[');
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                self.0.push(b',');
            }
            each(self, value);
        }
        self.0.push(b']');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::record::Labelled;
    use crate::audit::{Event, Sent};

    fn encoded<T: AsRef<str>>(record: &Record<T>) -> String {
        String::from_utf8(record.encode().members().to_vec()).unwrap()
    }

    #[test]
    fn a_record_is_spelled_member_by_member_whoever_owns_its_texts() {
        let record = Record {
            user: Some("u_1"),
            token: Some("\"\u{2028}\\"),
            arguments: Some(Arguments::Full("{\"a\":1}")),
            detail: Some("policy p:1"),
            facts: Some(Facts {
                user_name: "alice",
                groups: vec!["corp:a", "corp:b"],
                scope: "mcp",
                message: Some(Sent::Request),
                result: Some(false),
                protocol_version: None,
                labels: Some(Labelled {
                    read_only: Some(true),
                    destructive: None,
                }),
                approved: Some(vec![("pay", "ops"), ("erase", "ops")]),
            }),
            peer: Some([192, 0, 2, 1].into()),
            request_id: Some("r"),
            ..Record::refused(Event::Call, Reason::PolicyDenied, true)
        };
        let text = encoded(&record);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&format!("{{{text}}}")).unwrap(),
            json!({
                "event": "call", "outcome": "failed", "reason": "policy_denied", "user": "u_1",
                "token": "\"\u{2028}\\", "arguments": {"full": "{\"a\":1}"}, "detail": "policy p:1",
                "facts": {
                    "user_name": "alice", "groups": ["corp:a", "corp:b"], "scope": "mcp", "message": "request",
                    "result": false, "labels": {"read_only": true},
                    "approved": [["pay", "ops"], ["erase", "ops"]],
                },
                "peer": "192.0.2.1", "request_id": "r",
            })
        );
        let names = [
            "event",
            "outcome",
            "reason",
            "user",
            "token",
            "arguments",
            "detail",
            "facts",
            "peer",
            "request_id",
        ];
        let places = names.map(|name| text.find(&format!("\"{name}\":")).unwrap());
        assert!(places.is_sorted(), "{text}");
        let owned = Record {
            user: Some("u_1".to_owned()),
            ..Record::new(Event::Login)
        };
        let plain = r#""event":"login","outcome":"allowed","user":"u_1""#;
        assert_eq!(encoded(&owned), plain);
        assert_eq!(EncodedRecord::of(&json!({"a": 1})).members(), br#""a":1"#);
    }

    #[test]
    fn a_record_of_another_process_is_one_object_on_one_line() {
        let record: Record = Record::new(Event::Login);
        let members = String::from_utf8(record.encode().members().to_vec()).unwrap();
        assert_eq!(EncodedRecord::received(members), Some(record.encode()));
        for wrong in [
            "",
            "\"a\":1,",
            "\"a\":1}\n{\"b\":2",
            "\"a\":1},{\"b\":2",
            "1",
            "\"a\":\n1",
        ] {
            assert_eq!(EncodedRecord::received(wrong.to_owned()), None, "{wrong}");
        }
    }
}
