//! The arguments of a call, by path: what a narrowed token or a policy is asked about. Filled by
//! the one reading of `jsonrpc`, so that nobody judges another reading than the one that was
//! judged.
//!
//! A path names one value: `path`, `filter.owner`, `tags[0]`. In a key that holds `.`, `[`, `]` or
//! `\` each of these has a `\` before it, so that no two values share a path.
//!
//! Owns: paths and their bounds. Not: who asks (`access_token`, `policy`), whether a text stays below
//! a prefix (`path_prefix`).

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use super::lenient::{self, fold};

/// So many values, and this many bytes of paths and texts, are kept. A call with more is not known
/// in full, and has no argument that anybody could vouch for.
const VALUES: usize = 512;
const BYTES: usize = 64 * 1024;

/// A value at a path.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// An integer of 64 bits.
    Integer(i64),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// Such an integer, written with a fraction or an exponent: `1.0`, `1e3`.
    Whole(i64),
    /// A number that is no such integer: parsers round it differently.
    Number,
    /// An object; its members have paths of their own.
    Object,
    /// An array; its elements have paths of their own.
    Array,
}

/// Never the value itself: arguments are not for logs.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text(…)",
            Self::Integer(_) => "Integer(…)",
            Self::Bool(_) => "Bool(…)",
            Self::Null => "Null",
            Self::Whole(_) => "Whole(…)",
            Self::Number => "Number",
            Self::Object => "Object",
            Self::Array => "Array",
        })
    }
}

/// All arguments of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    values: Vec<(String, Value)>,
    bytes: usize,
    /// There is more than is kept, or it is no object, or a key is one that parsers trip over.
    unknowable: bool,
}

impl Arguments {
    /// The value at a path. `None` if there is none, and also if another path differs from it in
    /// case or folding only: some backend would take the other one for it.
    pub fn get(&self, path: &str) -> Option<&Value> {
        if self.unknowable {
            return None;
        }
        let wanted = fold(path);
        let mut found = None;
        for (other, value) in &self.values {
            if other == path {
                found = Some(value);
            } else if fold(other) == wanted {
                return None;
            }
        }
        found
    }

    /// Whether some value stands at a path that differs from one of these in case or folding only:
    /// some backend would take it for the one there. Within what stands at one of them, whether two
    /// values stand at paths that differ so.
    pub fn resemble(&self, paths: &Paths) -> bool {
        // Most calls have one value of those that are asked for.
        let (mut first, mut others) = (None, HashSet::new());
        self.values.iter().any(|(path, _)| {
            let folded = fold(path);
            if paths.folded.contains(&*folded) && !paths.contains(path) {
                return true;
            }
            if !paths.concern(path) {
                return false;
            }
            match &first {
                None => {
                    first = Some(folded);
                    false
                }
                Some(first) => *first == folded || !others.insert(folded),
            }
        })
    }

    /// Whether two values stand at paths that differ so.
    pub fn have_twins(&self) -> bool {
        let mut seen = HashSet::with_capacity(self.values.len());
        !self.values.iter().all(|(path, _)| seen.insert(fold(path)))
    }

    /// Every value with its path, in the order of the message. `None` if not everything is known.
    pub fn iter(&self) -> Option<impl Iterator<Item = (&str, &Value)>> {
        let values = self.entries()?.iter();
        Some(values.map(|(path, value)| (path.as_str(), value)))
    }

    /// The same, as they are kept: what is in an array or object follows it.
    pub fn entries(&self) -> Option<&[(String, Value)]> {
        (!self.unknowable).then_some(self.values.as_slice())
    }

    /// Whether not everything is known, so that nothing is vouched for.
    pub const fn are_unknowable(&self) -> bool {
        self.unknowable
    }

    /// Gives up on knowing them.
    pub(super) fn give_up(&mut self) {
        self.unknowable = true;
        self.values = Vec::new();
    }

    /// Adds a value, or gives up if that is too much.
    pub(super) fn push(&mut self, path: &str, value: Value) {
        if self.unknowable {
            return;
        }
        let text = match &value {
            Value::Text(text) => text.len(),
            _ => 0,
        };
        self.bytes += path.len() + text;
        if self.values.len() == VALUES || self.bytes > BYTES {
            self.give_up();
            return;
        }
        self.values.push((path.to_owned(), value));
    }
}

/// The paths that somebody asks about. Kept are the values there, what lies within them, and those
/// that some backend would take for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    exact: BTreeSet<String>,
    folded: BTreeSet<String>,
}

impl Paths {
    /// Whether one of them is this one, letter by letter.
    pub fn contains(&self, path: &str) -> bool {
        self.exact.contains(path)
    }

    /// Whether the value at a path is kept.
    pub(super) fn concern(&self, path: &str) -> bool {
        let is_within = |at: Option<&[u8]>, rest: Option<&[u8]>, wanted: &str| {
            at.is_some_and(|at| at.eq_ignore_ascii_case(wanted.as_bytes()))
                && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'.' | b'[')))
        };
        let concerns = |path: &[u8]| {
            self.folded.iter().any(|wanted| {
                let length = wanted.len();
                is_within(path.get(..length), path.get(length..), wanted)
            })
        };
        if path.is_ascii() {
            concerns(path.as_bytes())
        } else {
            concerns(fold(path).as_bytes())
        }
    }

    /// These and those.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        let all = self.exact.iter().chain(&others.exact);
        all.cloned().collect()
    }
}

impl FromIterator<String> for Paths {
    fn from_iter<I: IntoIterator<Item = String>>(paths: I) -> Self {
        let exact: BTreeSet<String> = paths.into_iter().collect();
        Self {
            folded: exact.iter().map(|path| lenient::folded(path)).collect(),
            exact,
        }
    }
}

/// Adds a key to a path. `false` for a key that no path can stand for: parsers cut it off at NUL,
/// or set a prototype.
pub(super) fn add_key(path: &mut String, key: &str) -> bool {
    if !path.is_empty() {
        path.push('.');
    }
    for character in key.chars() {
        if matches!(character, '.' | '[' | ']' | '\\') {
            path.push('\\');
        }
        path.push(character);
    }
    !key.contains('\0') && key != "__proto__"
}

/// Adds an index to a path.
pub(super) fn add_index(path: &mut String, index: usize) {
    path.push('[');
    path.push_str(&index.to_string());
    path.push(']');
}

/// A path as a JSON pointer (RFC 6901).
pub(super) fn pointer(path: &str) -> String {
    let mut pointer = String::with_capacity(path.len() + 1);
    if !path.is_empty() && !path.starts_with('[') {
        pointer.push('/');
    }
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        match character {
            '.' | '[' => pointer.push('/'),
            ']' => {}
            '\\' => pointer.extend(characters.next()),
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(values: &[(&str, &str)]) -> Arguments {
        let mut arguments = Arguments::default();
        for (path, text) in values {
            arguments.push(path, Value::Text((*text).to_owned()));
        }
        arguments
    }

    #[test]
    fn a_value_that_a_backend_could_take_another_one_for_is_no_value() {
        let one = arguments(&[("path", "/public/a"), ("other", "x")]);
        assert_eq!(one.get("path"), Some(&Value::Text("/public/a".to_owned())));
        assert_eq!(one.get("Path"), None);
        for twin in [
            "Path",
            "PATH",
            "\u{17f}",
            "ｐａｔｈ",
            "pa\u{200b}th",
            "path ",
        ] {
            let path = if twin == "\u{17f}" { "s" } else { "path" };
            let two = arguments(&[(path, "/public/a"), (twin, "/secret")]);
            assert_eq!(two.get(path), None, "{twin}");
        }
    }

    #[test]
    fn what_lies_within_a_value_that_is_asked_for_has_no_twin_either() {
        let asked = |paths: &[&str]| -> Paths { paths.iter().map(|&path| path.into()).collect() };
        let whole = asked(&["to"]);
        let twins = arguments(&[
            ("to[0].address", "a@example.com"),
            ("to[0].Address", "eve@evil.example"),
        ]);
        assert!(twins.resemble(&whole));
        assert!(twins.resemble(&asked(&["to[0].address"])));
        assert!(!twins.resemble(&asked(&["subject"])));
        for single in [
            arguments(&[("to[0].address", "a"), ("to[1].Address", "b")]),
            arguments(&[("to[0].Address", "a"), ("cc.x", "b"), ("cc.X", "c")]),
        ] {
            assert!(!single.resemble(&whole), "{single:?}");
        }
        let exact = arguments(&[("To", "a")]);
        assert!(exact.resemble(&whole));
    }

    #[test]
    fn more_than_is_kept_is_not_known() {
        let mut many = Arguments::default();
        for index in 0..=VALUES {
            many.push(&format!("a{index}"), Value::Null);
        }
        assert!(many.are_unknowable() && many.get("a0").is_none() && many.iter().is_none());
        let mut long = Arguments::default();
        long.push("a", Value::Text("x".repeat(BYTES)));
        assert!(long.are_unknowable());
    }

    #[test]
    fn no_two_values_share_a_path() {
        let (mut one, mut two) = ("a".to_owned(), String::new());
        assert!(add_key(&mut one, "b"));
        assert!(add_key(&mut two, "a.b"));
        assert_eq!((one.as_str(), two.as_str()), ("a.b", "a\\.b"));
        add_index(&mut one, 0);
        assert_eq!(one, "a.b[0]");
        assert!(!add_key(&mut one, "x\0y") && !add_key(&mut two, "__proto__"));
    }

    #[test]
    fn a_path_is_told_as_a_pointer() {
        for (path, expected) in [
            ("", ""),
            ("a", "/a"),
            ("a.b[0][1].c", "/a/b/0/1/c"),
            (r"a\.b\[x\].c/d~", "/a.b[x]/c~1d~0"),
        ] {
            assert_eq!(pointer(path), expected);
        }
    }
}
