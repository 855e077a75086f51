//! Values as rules compare them: those that a policy writes out, and those of a call, borrowed from it.
//! Two are equal where Datalog's terms for them are.

use std::borrow::Cow;
use std::rc::Rc;
use std::slice;

use biscuit_auth::builder::{MapKey, Term};
use mcp_protocol::arguments::Value as Argument;

/// A value that a policy writes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Integer(i64),
    /// Seconds since 1970.
    Date(u64),
    Text(String),
    Bytes(Vec<u8>),
    /// Each member once.
    Set(Vec<Constant>),
    Array(Vec<Constant>),
    /// Each key once: an integer or a text.
    Map(Vec<(Constant, Constant)>),
}

impl Constant {
    /// `None`: there is a variable or a parameter in it.
    pub(super) fn from_term(term: &Term) -> Option<Self> {
        Some(match term {
            Term::Null => Self::Null,
            Term::Bool(value) => Self::Bool(*value),
            Term::Integer(number) => Self::Integer(*number),
            Term::Date(seconds) => Self::Date(*seconds),
            Term::Str(text) => Self::Text(text.clone()),
            Term::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Term::Set(set) => Self::Set(set.iter().map(Self::from_term).collect::<Option<_>>()?),
            Term::Array(array) => {
                Self::Array(array.iter().map(Self::from_term).collect::<Option<_>>()?)
            }
            Term::Map(map) => {
                let entry = |(key, value)| Some((Self::from_key(key)?, Self::from_term(value)?));
                Self::Map(map.iter().map(entry).collect::<Option<_>>()?)
            }
            Term::Variable(_) | Term::Parameter(_) => return None,
        })
    }

    fn from_key(key: &MapKey) -> Option<Self> {
        match key {
            MapKey::Integer(number) => Some(Self::Integer(*number)),
            MapKey::Str(text) => Some(Self::Text(text.clone())),
            MapKey::Parameter(_) => None,
        }
    }
}

/// A value of a call or a policy. It has no `Debug`: arguments are not for logs.
#[derive(Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Date(u64),
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
    /// Only policies have sets.
    Set(Cow<'a, [Constant]>),
    Array(Array<'a>),
    Map(Map<'a>),
}

/// An array, wherever it stands.
#[derive(Clone)]
pub(super) enum Array<'a> {
    Written(&'a [Constant]),
    Argument(Members<'a>),
    /// A map's key and the value there.
    Entry(Rc<[Value<'a>; 2]>),
}

/// A map, wherever it stands.
#[derive(Clone)]
pub(super) enum Map<'a> {
    Written(&'a [(Constant, Constant)]),
    Argument(Members<'a>),
}

impl<'a> Value<'a> {
    /// A text, borrowed.
    pub(super) const fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// A number that is no 64-bit integer: equal to no text and no number, and an error to compare
    /// with one.
    const NUMBER: Self = Self::Bytes(&[]);

    /// The value at `at` of the arguments as a whole.
    pub(super) fn from_argument(arguments: &'a [(String, Argument)], at: usize) -> Self {
        let (path, argument) = &arguments[at];
        match argument {
            Argument::Text(text) => Self::text(text),
            Argument::Integer(number) | Argument::Whole(number) => Self::Integer(*number),
            Argument::Bool(value) => Self::Bool(*value),
            Argument::Null => Self::Null,
            Argument::Number => Self::NUMBER,
            Argument::Array => {
                Self::Array(Array::Argument(Members::new(path, &arguments[at + 1..])))
            }
            Argument::Object => Self::Map(Map::Argument(Members::new(path, &arguments[at + 1..]))),
        }
    }

    /// Whether two values of one kind are equal; `None` for two kinds.
    pub(super) fn equals(&self, other: &Self) -> Option<bool> {
        Some(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Integer(one), Self::Integer(other)) => one == other,
            (Self::Date(one), Self::Date(other)) => one == other,
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::Bytes(one), Self::Bytes(other)) => one == other,
            (Self::Set(one), Self::Set(other)) => one.len() == other.len() && includes(one, other),
            (Self::Array(one), Self::Array(other)) => {
                one.len() == other.len()
                    && one.elements().zip(other.elements()).all(|(a, b)| a.is(&b))
            }
            (Self::Map(one), Self::Map(other)) => {
                let is_there = |(key, value): (Self, Self)| {
                    other.get(&key).is_some_and(|other| other.is(&value))
                };
                one.len() == other.len() && one.entries().all(is_there)
            }
            _ => return None,
        })
    }

    /// Whether it is this very value.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.equals(other) == Some(true)
    }

    /// As a term of Datalog.
    pub(super) fn to_term(&self) -> Term {
        match self {
            Self::Null => Term::Null,
            Self::Bool(value) => Term::Bool(*value),
            Self::Integer(number) => Term::Integer(*number),
            Self::Date(seconds) => Term::Date(*seconds),
            Self::Text(text) => Term::Str(text.clone().into_owned()),
            Self::Bytes(bytes) => Term::Bytes(bytes.to_vec()),
            Self::Set(set) => Term::Set(set.iter().map(|one| Value::from(one).to_term()).collect()),
            Self::Array(array) => Term::Array(array.elements().map(|one| one.to_term()).collect()),
            Self::Map(map) => {
                let entry = |(key, value): (Value<'_>, Value<'_>)| match key {
                    Value::Integer(number) => Some((MapKey::Integer(number), value.to_term())),
                    Value::Text(text) => Some((MapKey::Str(text.into_owned()), value.to_term())),
                    // Nothing else is a key.
                    _ => None,
                };
                Term::Map(map.entries().filter_map(entry).collect())
            }
        }
    }
}

impl<'a> From<&'a Constant> for Value<'a> {
    fn from(constant: &'a Constant) -> Self {
        match constant {
            Constant::Null => Self::Null,
            Constant::Bool(value) => Self::Bool(*value),
            Constant::Integer(number) => Self::Integer(*number),
            Constant::Date(seconds) => Self::Date(*seconds),
            Constant::Text(text) => Self::text(text),
            Constant::Bytes(bytes) => Self::Bytes(bytes),
            Constant::Set(set) => Self::Set(Cow::Borrowed(set)),
            Constant::Array(array) => Self::Array(Array::Written(array)),
            Constant::Map(map) => Self::Map(Map::Written(map)),
        }
    }
}

/// Whether every member of the other set is in this one.
pub(super) fn includes(set: &[Constant], other: &[Constant]) -> bool {
    other.iter().all(|member| set.contains(member))
}

impl<'a> Array<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Written(array) => array.len(),
            Self::Argument(members) => members.clone().count(),
            Self::Entry(_) => 2,
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Written(array) => array.get(index).map(Value::from),
            Self::Argument(members) => members.clone().nth(index).map(|(_, value)| value),
            Self::Entry(entry) => entry.get(index).cloned(),
        }
    }

    pub(super) fn elements(&self) -> Elements<'a> {
        match self {
            Self::Written(array) => Elements::Written(array.iter()),
            Self::Argument(members) => Elements::Argument(members.clone()),
            Self::Entry(entry) => Elements::Entry(Rc::clone(entry), 0),
        }
    }
}

impl<'a> Map<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Written(map) => map.len(),
            Self::Argument(members) => members.clone().count(),
        }
    }

    /// The value under a key; a value that can be no key is under none.
    pub(super) fn get(&self, key: &Value<'_>) -> Option<Value<'a>> {
        match self {
            Self::Written(map) => {
                let found = map.iter().find(|(other, _)| Value::from(other).is(key));
                found.map(|(_, value)| Value::from(value))
            }
            Self::Argument(members) => {
                let Value::Text(key) = key else { return None };
                let mut members = members.clone();
                let found = members.find(|(other, _)| unescaped(other) == *key);
                found.map(|(_, value)| value)
            }
        }
    }

    /// Each key with its value.
    pub(super) fn entries(&self) -> Entries<'a> {
        match self {
            Self::Written(map) => Entries::Written(map.iter()),
            Self::Argument(members) => Entries::Argument(members.clone()),
        }
    }
}

/// The elements of an array, in order.
pub(super) enum Elements<'a> {
    Written(slice::Iter<'a, Constant>),
    Argument(Members<'a>),
    Entry(Rc<[Value<'a>; 2]>, usize),
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        match self {
            Self::Written(elements) => elements.next().map(Value::from),
            Self::Argument(members) => members.next().map(|(_, value)| value),
            Self::Entry(entry, at) => {
                *at += 1;
                entry.get(*at - 1).cloned()
            }
        }
    }
}

/// The entries of a map.
pub(super) enum Entries<'a> {
    Written(slice::Iter<'a, (Constant, Constant)>),
    Argument(Members<'a>),
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Value<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Written(entries) => entries
                .next()
                .map(|(key, value)| (Value::from(key), Value::from(value))),
            Self::Argument(members) => members
                .next()
                .map(|(key, value)| (Value::Text(unescaped(key)), value)),
        }
    }
}

/// What stands in an array or object of the arguments: each with its key, as the path has it.
/// Values stand in the order of the message, so what is in an array or object follows it.
#[derive(Clone)]
pub(super) struct Members<'a> {
    path: &'a str,
    rest: &'a [(String, Argument)],
}

impl<'a> Members<'a> {
    const fn new(path: &'a str, rest: &'a [(String, Argument)]) -> Self {
        Self { path, rest }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest;
        let (path, _) = rest.first()?;
        if !is_below(self.path, path) {
            return None;
        }
        let value = Value::from_argument(rest, 0);
        let within = rest[1..]
            .iter()
            .take_while(|(below, _)| is_below(path, below))
            .count();
        self.rest = &rest[1 + within..];
        Some((&path[self.path.len() + 1..], value))
    }
}

/// Whether a path lies within another one.
fn is_below(path: &str, below: &str) -> bool {
    let rest = below.strip_prefix(path);
    rest.is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// A key as the message has it.
fn unescaped(key: &str) -> Cow<'_, str> {
    if !key.contains('\\') {
        return Cow::Borrowed(key);
    }
    let mut plain = String::with_capacity(key.len());
    let mut escaped = false;
    for character in key.chars() {
        escaped = character == '\\' && !escaped;
        if !escaped {
            plain.push(character);
        }
    }
    Cow::Owned(plain)
}
