//! JSON values in canonical form, read without recursion and to any size of number: every part begins
//! with its kind and ends where it says, so that no two values have one form. Two texts have one form
//! when they say the same.

use std::collections::BTreeMap;
use std::ops::Range;

use super::scan::{Scan, bytes_of};

/// Containers may be nested this deep in one value: about 128 levels of a JSON schema.
pub(super) const DEPTH: usize = 256;

/// Why a value has no form, and where, as a JSON pointer within it (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) pointer: String,
    pub(super) why: &'static str,
}

/// The form of the value that stands at `place`.
pub(super) fn form(text: &str, place: Range<usize>) -> Result<Vec<u8>, Fault> {
    Reader::new(text, place, true).read()
}

/// Whether a value has a form. Cheaper than to make it.
pub(super) fn check(text: &str, place: Range<usize>) -> Result<(), Fault> {
    Reader::new(text, place, false).read().map(drop)
}

/// Appends a part with its kind and its length.
pub(super) fn part(form: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    form.push(kind);
    form.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    form.extend_from_slice(bytes);
}

/// A key as one token of a JSON pointer.
pub(super) fn pointer_token(key: &str) -> String {
    let key = key.replace('~', "~0").replace('/', "~1");
    format!("/{key}")
}

/// A container that is being read.
enum Open {
    Array {
        form: Vec<u8>,
        count: usize,
    },
    Object {
        members: BTreeMap<Vec<u8>, Vec<u8>>,
        key: Vec<u8>,
    },
}

struct Reader<'a> {
    scan: Scan<'a>,
    text: &'a str,
    open: Vec<Open>,
    /// Whether a form is made, or only looked for what has none.
    keeps: bool,
}

const MALFORMED: &str = "it is not JSON";

impl<'a> Reader<'a> {
    fn new(text: &'a str, place: Range<usize>, keeps: bool) -> Self {
        let text = &text[..place.end];
        Self {
            scan: Scan::new(text, place.start),
            text,
            open: Vec::new(),
            keeps,
        }
    }

    fn fault(&self, why: &'static str) -> Fault {
        let pointer = self.open.iter().map(|open| match open {
            Open::Array { count, .. } => format!("/{count}"),
            Open::Object { key, .. } => pointer_token(&String::from_utf8_lossy(key)),
        });
        Fault {
            pointer: pointer.collect(),
            why,
        }
    }

    fn read(&mut self) -> Result<Vec<u8>, Fault> {
        loop {
            let Some(value) = self.begin()? else { continue };
            if let Some(whole) = self.put(value)? {
                return Ok(whole);
            }
        }
    }

    /// Reads the beginning of a value: all of it, unless it is a container with something in it.
    fn begin(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        match self.scan.peek() {
            Some(b'[') => {
                self.deeper()?;
                let _ = self.scan.take(b'[');
                if self.scan.take_if(b']') {
                    return Ok(Some(b"[]".to_vec()));
                }
                self.open.push(Open::Array {
                    form: vec![b'['],
                    count: 0,
                });
                Ok(None)
            }
            Some(b'{') => {
                self.deeper()?;
                let _ = self.scan.take(b'{');
                if self.scan.take_if(b'}') {
                    return Ok(Some(b"{}".to_vec()));
                }
                self.open.push(Open::Object {
                    members: BTreeMap::new(),
                    key: Vec::new(),
                });
                self.key().map(|()| None)
            }
            _ => self.scalar().map(Some),
        }
    }

    fn deeper(&self) -> Result<(), Fault> {
        if self.open.len() < DEPTH {
            Ok(())
        } else {
            Err(self.fault("it is nested deeper than 256 levels"))
        }
    }

    fn key(&mut self) -> Result<(), Fault> {
        let place = self.scan.value().map_err(|_| self.fault(MALFORMED))?;
        let text = &self.text[place];
        let next = bytes_of(text).map_err(|_| self.fault(MALFORMED))?;
        self.scan.take(b':').map_err(|_| self.fault(MALFORMED))?;
        let mut is_twice = false;
        if let Some(Open::Object { members, key }) = self.open.last_mut() {
            is_twice = members.contains_key(&next);
            *key = next;
        }
        if is_twice {
            Err(self.fault("a key stands twice in one object"))
        } else {
            Ok(())
        }
    }

    fn scalar(&mut self) -> Result<Vec<u8>, Fault> {
        let place = self.scan.value().map_err(|_| self.fault(MALFORMED))?;
        let json = &self.text[place];
        if !self.keeps {
            return Ok(Vec::new());
        }
        match json.as_bytes() {
            [b'"', ..] => {
                let bytes = bytes_of(json).map_err(|_| self.fault(MALFORMED))?;
                let mut form = Vec::with_capacity(bytes.len() + 9);
                part(&mut form, b's', &bytes);
                Ok(form)
            }
            b"null" => Ok(b"n".to_vec()),
            b"true" => Ok(b"t".to_vec()),
            b"false" => Ok(b"f".to_vec()),
            _ => Ok(number(json).into_bytes()),
        }
    }

    /// Puts a value that ended where it belongs, and ends what ends with it. The form of all, when
    /// it is whole.
    fn put(&mut self, mut value: Vec<u8>) -> Result<Option<Vec<u8>>, Fault> {
        loop {
            let end = match self.open.last_mut() {
                None => return Ok(Some(value)),
                Some(Open::Array { form, count }) => {
                    form.extend_from_slice(&value);
                    *count += 1;
                    b']'
                }
                Some(Open::Object { members, key }) => {
                    members.insert(std::mem::take(key), value);
                    b'}'
                }
            };
            if self.scan.take_if(b',') {
                if end == b'}' {
                    self.key()?;
                }
                return Ok(None);
            }
            self.scan.take(end).map_err(|_| self.fault(MALFORMED))?;
            value = self.open.pop().map(Open::ended).unwrap_or_default();
        }
    }
}

impl Open {
    fn ended(self) -> Vec<u8> {
        match self {
            Self::Array { mut form, .. } => {
                form.push(b']');
                form
            }
            Self::Object { members, .. } => {
                let mut form = vec![b'{'];
                for (key, value) in members {
                    part(&mut form, b's', &key);
                    form.extend_from_slice(&value);
                }
                form.push(b'}');
                form
            }
        }
    }
}

/// `1.0` and `1` are one number to everybody who reads JSON. One that no float holds is known by its
/// digits.
fn number(json: &str) -> String {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Ok(whole) = json.parse::<i64>() {
        return format!("i{whole};");
    }
    if let Ok(whole) = json.parse::<u64>() {
        return format!("i{whole};");
    }
    match serde_json::from_str::<f64>(json) {
        Ok(number) if number.fract() == 0.0 && number.abs() < EXACT => {
            #[allow(clippy::cast_possible_truncation)] // whole, and within 53 bits
            let whole = number as i64;
            format!("i{whole};")
        }
        Ok(number) => format!("d{:016x};", number.to_bits()),
        Err(_) => format!("r{};", json.to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(json: &str) -> Result<Vec<u8>, Fault> {
        form(json, 0..json.len())
    }

    fn fault(json: &str) -> (String, &'static str) {
        let fault = canonical(json).unwrap_err();
        assert_eq!(check(json, 0..json.len()), Err(fault.clone()));
        (fault.pointer, fault.why)
    }

    #[test]
    fn numbers_of_any_size_and_halves_of_pairs_have_a_form() {
        let distinct = [
            "1",
            "2",
            "1.5",
            "1e400",
            "-1e400",
            "1e401",
            "1e308",
            "\"\\ud800\"",
            "\"\\ud801\"",
            "\"\\udc00\\ud800\"",
            "\"\u{fffd}\"",
            "[]",
            "{}",
            "null",
            "[[]]",
            "[{}]",
            "[[],[]]",
        ];
        for (at, one) in distinct.iter().enumerate() {
            for other in &distinct[at + 1..] {
                assert_ne!(
                    canonical(one).unwrap(),
                    canonical(other).unwrap(),
                    "{one} {other}"
                );
            }
        }
        for (one, other) in [
            ("1", "1.0"),
            ("1E400", "1e400"),
            ("100", "1e2"),
            ("18446744073709551615", " 18446744073709551615 "),
            ("{\"a\":1,\"b\":[ ]}", "{\"b\":[],\"\\u0061\":1.0}"),
            ("\"\\ud83d\\ude00\"", "\"😀\""),
        ] {
            assert_eq!(
                canonical(one).unwrap(),
                canonical(other).unwrap(),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn a_fault_says_where_it_is() {
        assert_eq!(
            fault(r#"{"a":[1,{"b/c":{"x":1,"x":2}}]}"#),
            ("/a/1/b~1c/x".to_owned(), "a key stands twice in one object")
        );
        for deep in ["[", "{\"a\":"] {
            let end = if deep == "[" { "]" } else { "}" };
            let nested = |levels: usize| format!("{}1{}", deep.repeat(levels), end.repeat(levels));
            assert!(canonical(&nested(DEPTH)).is_ok());
            assert_eq!(
                fault(&nested(DEPTH + 1)).1,
                "it is nested deeper than 256 levels"
            );
            assert!(canonical(&nested(200_000)).is_err());
        }
        for malformed in [
            "",
            "[1",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{1:2}",
            "nul",
            "\"a",
            "\"\u{1}\"",
        ] {
            assert_eq!(fault(malformed).1, MALFORMED, "{malformed}");
        }
    }
}
