//! A list that was read, known again in another message: a backend says the same to many, and only
//! the id differs. Nothing is parsed then, and nothing is guessed: all bytes but those of the id are
//! compared.

use std::hash::{Hash, Hasher};
use std::ops::Range;

use crate::scan::Scan;

use super::ToolLists;

/// The longest id, in bytes of JSON, with which a list is known again.
const LONGEST_ID: usize = 130;

/// The one message of a text that answers a request, but for its id.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    before: &'a str,
    id: &'a str,
    after: &'a str,
}

/// Two messages that differ in their ids alone have one hash.
impl Hash for Frame<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.before.hash(state);
        self.after.hash(state);
    }
}

impl<'a> Frame<'a> {
    /// The frame of one answer with a plain id. `None` for anything else, such as a batch, a message with
    /// members that an answer does not have, or one that says what a server can do: of that it is not
    /// the list alone that goes on by what a token allows.
    pub fn of(text: &'a str) -> Option<Self> {
        let mut scan = Scan::new(text, 0);
        scan.peek().filter(|byte| *byte == b'{')?;
        let members = scan.members().ok()?;
        scan.end().ok()?;
        let place = |name: &str| -> Option<Range<usize>> {
            let mut named = members.iter().filter(|(key, _)| key == name);
            let (_, place) = named.next()?;
            named.next().is_none().then(|| place.clone())
        };
        let (id, result) = (place("id")?, place("result")?);
        let others = members.len() - 2;
        let is_answer = others == 0 || others == 1 && place("jsonrpc").is_some();
        let is_plain = is_plain_id(text[id.clone()].as_bytes());
        let of_result = Scan::new(text, result.start).members().ok()?;
        let is_hello = of_result.iter().any(|(key, _)| key == "capabilities");
        (is_answer && is_plain && !is_hello).then(|| Self {
            before: &text[..id.start],
            after: &text[id.end..],
            id: &text[id],
        })
    }

    /// Whether `text` is this message under some id.
    fn is_of(&self, text: &[u8]) -> bool {
        let (before, after) = (self.before.as_bytes(), self.after.as_bytes());
        let id = text.len().checked_sub(before.len() + after.len());
        // What is dearest to compare comes last.
        id.is_some_and(|id| {
            id <= LONGEST_ID
                && text.starts_with(before)
                && is_plain_id(&text[before.len()..before.len() + id])
                && text[before.len() + id..] == *after
        })
    }
}

/// The message that a list was read from.
#[derive(Debug)]
pub struct KnownMessage {
    text: Box<str>,
    id: Range<usize>,
}

impl From<Frame<'_>> for KnownMessage {
    fn from(frame: Frame<'_>) -> Self {
        let at = frame.before.len();
        Self {
            text: [frame.before, frame.id, frame.after].concat().into(),
            id: at..at + frame.id.len(),
        }
    }
}

impl KnownMessage {
    fn frame(&self) -> Frame<'_> {
        Frame {
            before: &self.text[..self.id.start],
            id: &self.text[self.id.clone()],
            after: &self.text[self.id.end..],
        }
    }

    /// Whether `text` says the same, be it under another id. It is UTF-8 and JSON then, as this is:
    /// where this has its id, that has one number or text, too, and both end where this one's ends.
    pub fn is_said_by(&self, text: &[u8]) -> bool {
        self.frame().is_of(text)
    }

    /// As [`ToolLists::cut`], of a text that says what was read of this message.
    pub fn cut(
        &self,
        listed: &ToolLists,
        text: &[u8],
        keep: impl Fn(usize) -> bool,
    ) -> Option<Vec<u8>> {
        let (was, is) = (self.text.len(), text.len());
        let shift = |at: usize| if at < self.id.end { at } else { at + is - was };
        listed.cut_shifted(text, keep, shift)
    }

    /// Its length in bytes.
    pub fn size(&self) -> usize {
        self.text.len()
    }
}

/// A number that JSON writes in one way, or a text without escapes in it.
fn is_plain_id(id: &[u8]) -> bool {
    let is_natural = |digits: &[u8]| match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.len() < 19 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    match id {
        [b'"', text @ .., b'"'] => {
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
            id.len() <= LONGEST_ID && text.iter().all(is_plain)
        }
        [b'-', digits @ ..] => is_natural(digits),
        digits => is_natural(digits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(text: &str) -> KnownMessage {
        Frame::of(text).unwrap().into()
    }

    #[test]
    fn a_list_is_known_again_under_any_plain_id_and_cut_alike() {
        let forms = [
            r#"{"jsonrpc":"2.0","id":ID,"result":{"tools":[{"name":"a"},{"name":"b"}],"ttlMs":5}}"#,
            r#"{ "result":{"tools":[{"name":"a"},{"name":"b"}],"ttlMs":5}, "id" : ID ,"jsonrpc":"2.0"}"#,
            r#"{"result":{"tools":[{"name":"é"},{"name":"a"}],"cacheScope":"public"},"id":ID}"#,
        ];
        let ids = [
            "0",
            "7",
            "-1",
            "1234567890123456789",
            "\"\"",
            "\"a-B_9.:\"",
            "\"method\"",
        ];
        for form in forms {
            for first in ids {
                let text = form.replace("ID", first);
                let (known, read) = (known(&text), ToolLists::read(&text).unwrap());
                for other in ids {
                    let text = form.replace("ID", other);
                    assert!(known.is_said_by(text.as_bytes()), "{text}");
                    let listed = ToolLists::read(&text).unwrap();
                    for kept in ["", "a", "b", "ab"] {
                        let keep = |at: usize| kept.contains(listed.definitions()[at].name());
                        let cut = known.cut(&read, text.as_bytes(), keep);
                        assert_eq!(cut, listed.cut(text.as_bytes(), keep), "{text} {kept}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_differs_in_anything_but_a_plain_id_is_not_known() {
        let text = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}]}}"#;
        let known = known(text);
        for id in [
            "",
            " 1",
            "01",
            "1.0",
            "1e3",
            "-",
            "--1",
            "null",
            "[1]",
            "12345678901234567890123",
            "\"a",
            "\"\\u0061\"",
            "\"a\",\"id\":1,\"x\":\"\"",
            "\"\u{2028}\"",
            "1,\"id\":2",
            "2}{",
        ] {
            let other = text.replace("\"id\":1", &format!("\"id\":{id}"));
            assert!(!known.is_said_by(other.as_bytes()), "{other}");
        }
        let long = text.replace("\"id\":1", &format!("\"id\":\"{}\"", "a".repeat(200)));
        assert!(!known.is_said_by(long.as_bytes()));
        for at in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= 1;
            let is_id = at == text.find(":1,").unwrap() + 1;
            assert_eq!(known.is_said_by(&bytes), is_id, "{at}");
            assert!(!known.is_said_by(&bytes[..at]));
        }
        assert!(!known.is_said_by(format!("{text} ").as_bytes()));
        assert!(!known.is_said_by(format!("\u{feff}{text}").as_bytes()));
    }

    #[test]
    fn only_one_plain_answer_has_a_frame() {
        for none in [
            r#"[{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}]"#,
            r#"{"jsonrpc":"2.0","result":{"tools":[]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x","result":{"tools":[]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]},"x":1}"#,
            r#"{"id":1,"id":2,"result":{"tools":[]}}"#,
            r#"{"id":1,"result":{},"result":{"tools":[]}}"#,
            r#"{"id":null,"result":{"tools":[]}}"#,
            r#"{"id":1.5,"result":{"tools":[]}}"#,
            r#"{"id":1,"result":{"tools":[],"c\u0061pabilities":{}}}"#,
            r#"{"id":1,"result":[]}"#,
            r#"{"id":1,"result":{"tools":[]}} {}"#,
            r#"{"id":1,"result":{"tools":[]}"#,
            r#""id""#,
            "",
        ] {
            assert!(Frame::of(none).is_none(), "{none}");
        }
        let hash = |text: &str| {
            use std::hash::BuildHasher as _;
            let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
            hasher.hash_one(Frame::of(text).unwrap())
        };
        assert_eq!(
            hash(r#"{"id":1,"result":{"tools":[]}}"#),
            hash(r#"{"id":"x","result":{"tools":[]}}"#)
        );
        assert_ne!(
            hash(r#"{"id":1,"result":{"tools":[]}}"#),
            hash(r#"{"id":1,"result":{"tools":[ ]}}"#)
        );
    }
}
