//! Tools cut out of the answer to `tools/list`, in its text: what stays is byte for byte what the
//! backend wrote, in its order. An answer is known by its shape (a `result` with an array `tools`),
//! because on an event stream of an older revision nothing else says which request it answers.
//!
//! A list that can be read in two ways is not passed on: a hidden tool must not be visible to some
//! other parser. Caches may not share what is left (2026-07-28, Caching): `cacheScope` becomes
//! `private`.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::{DeserializeOwned, DeserializeSeed as _, Error as _, IgnoredAny};
use serde_json::{Deserializer, Error};

use super::jsonrpc::MESSAGE_KEYS;
use super::jsonrpc::walk::{Any, Keys};
use super::tool_definition::Definition;

/// Members of the result of `tools/list`.
const RESULT_KEYS: &[&str] = &["tools", "nextCursor", "ttlMs", "cacheScope", "_meta"];

/// A list may be there, and can't be read in one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a list of tools that can be read in more than one way")]
pub struct Unreadable;

/// Cuts out of a message, or of a batch of messages, every listed tool that `keep` refuses, and
/// those without a definition. `None` if nothing has to change, as in a message that lists no tools.
pub fn cut(
    text: &str,
    keep: &mut dyn FnMut(&Definition) -> bool,
) -> Result<Option<String>, Unreadable> {
    if !may_list(text) {
        return Ok(None);
    }
    let mut edits = Edits {
        text,
        keep,
        done: Vec::new(),
    };
    edits.body().map_err(|_| Unreadable)?;
    Ok(edits.apply())
}

/// The definitions that a message or a batch lists, in order. Tools that have none are left out.
pub fn listed(text: &str) -> Result<Vec<Definition>, Unreadable> {
    let mut found = Vec::new();
    cut(text, &mut |definition| {
        found.push(definition.clone());
        true
    })?;
    Ok(found)
}

/// Whether some reader could find a list of tools in `text`. Escapes may hide the word.
fn may_list(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes
        .windows(4)
        .any(|word| word.eq_ignore_ascii_case(b"tool"))
        || bytes.windows(2).any(|pair| pair == b"\\u")
}

struct Edits<'a, 'k> {
    text: &'a str,
    keep: &'k mut dyn FnMut(&Definition) -> bool,
    /// Where what is put instead, in order of place.
    done: Vec<(Range<usize>, &'static str)>,
}

impl Edits<'_, '_> {
    fn apply(self) -> Option<String> {
        if self.done.is_empty() {
            return None;
        }
        let mut edited = String::with_capacity(self.text.len() + 32);
        let mut at = 0;
        for (range, instead) in self.done {
            edited.push_str(&self.text[at..range.start]);
            edited.push_str(instead);
            at = range.end;
        }
        edited.push_str(&self.text[at..]);
        Some(edited)
    }

    fn body(&mut self) -> Result<(), Error> {
        let mut scan = Scan::of(self.text, 0);
        let messages = match scan.peek() {
            Some(b'[') => scan.elements()?,
            _ => vec![scan.value()?],
        };
        scan.end()?;
        messages
            .into_iter()
            .try_for_each(|message| self.message(message))
    }

    fn message(&mut self, message: Range<usize>) -> Result<(), Error> {
        let [result] = self.members(message, MESSAGE_KEYS, ["result"], 2)?;
        match result {
            Some(result) if self.text[result.clone()].starts_with('{') => self.result(result),
            Some(result) => self.walk(result, 2),
            None => Ok(()),
        }
    }

    fn result(&mut self, result: Range<usize>) -> Result<(), Error> {
        let start = result.start + 1;
        let wanted = ["tools", "cacheScope", "ttlMs"];
        let [tools, scope, ttl] = self.members(result, RESULT_KEYS, wanted, 3)?;
        for other in [&scope, &ttl].into_iter().flatten() {
            self.walk(other.clone(), 3)?;
        }
        let Some(tools) = tools else { return Ok(()) };
        if !self.text[tools.clone()].starts_with('[') {
            return self.walk(tools, 3);
        }
        let before = self.done.len();
        self.tools(tools)?;
        match scope {
            Some(scope) if self.text[scope.clone()] != *"\"private\"" => {
                self.done.push((scope, "\"private\""));
            }
            None if ttl.is_some() => {
                self.done
                    .push((start..start, "\"cacheScope\":\"private\","));
            }
            _ => {}
        }
        self.done[before..].sort_by_key(|(range, _)| range.start);
        Ok(())
    }

    /// The comma and the white space before a tool go with it; for the first that stays, what
    /// stood before the first of all.
    fn tools(&mut self, tools: Range<usize>) -> Result<(), Error> {
        let places = Scan::of(self.text, tools.start).elements()?;
        let mut kept = Vec::with_capacity(places.len());
        for place in &places {
            let definition = Definition::read(&self.text[place.clone()]);
            kept.push(definition.is_some_and(|definition| (self.keep)(&definition)));
        }
        let (Some(first), Some(last)) = (places.first(), places.last()) else {
            return Ok(());
        };
        let Some(stays) = kept.iter().position(|kept| *kept) else {
            self.done.push((first.start..last.end, ""));
            return Ok(());
        };
        if stays > 0 {
            self.done.push((first.start..places[stays].start, ""));
        }
        for at in stays + 1..kept.len() {
            if !kept[at] {
                self.done.push((places[at - 1].end..places[at].end, ""));
            }
        }
        Ok(())
    }

    /// Where the wanted members of an object stand; all others are walked to their end.
    fn members<const N: usize>(
        &self,
        object: Range<usize>,
        known: &'static [&'static str],
        wanted: [&str; N],
        depth: usize,
    ) -> Result<[Option<Range<usize>>; N], Error> {
        let mut keys = Keys::named(known);
        let mut found = [const { None }; N];
        for (key, place) in Scan::of(self.text, object.start).members()? {
            match wanted.iter().position(|wanted| *wanted == key) {
                Some(at) => found[at] = Some(place),
                None => self.walk(place, depth)?,
            }
            keys.note::<Error>(Cow::Owned(key))?;
        }
        Ok(found)
    }

    /// Walks a value to its end, as strictly as what clients send.
    fn walk(&self, value: Range<usize>, depth: usize) -> Result<(), Error> {
        let mut json = Deserializer::from_str(&self.text[value]);
        Any { depth }.deserialize(&mut json)
    }
}

/// Finds where the parts of a JSON text begin and end. The parsing is `serde_json`'s.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    const fn of(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at += rest.iter().take_while(|byte| space(byte)).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Result<(), Error> {
        if self.peek() != Some(byte) {
            return Err(Error::custom("another character was expected"));
        }
        self.at += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Error::custom("more than one value")),
        }
    }

    fn read<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let mut values = Deserializer::from_str(&self.text[self.at..]).into_iter::<T>();
        let value = values
            .next()
            .unwrap_or_else(|| Err(Error::custom("no value")))?;
        self.at += values.byte_offset();
        Ok(value)
    }

    fn value(&mut self) -> Result<Range<usize>, Error> {
        self.peek();
        let start = self.at;
        self.read::<IgnoredAny>()?;
        Ok(start..self.at)
    }

    fn elements(&mut self) -> Result<Vec<Range<usize>>, Error> {
        let mut elements = Vec::new();
        self.take(b'[')?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(elements);
        }
        loop {
            elements.push(self.value()?);
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => return self.take(b']').map(|()| elements),
            }
        }
    }

    fn members(&mut self) -> Result<Vec<(String, Range<usize>)>, Error> {
        let mut members = Vec::new();
        self.take(b'{')?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(members);
        }
        loop {
            self.peek();
            let key = self.read::<String>()?;
            self.take(b':')?;
            members.push((key, self.value()?));
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => return self.take(b'}').map(|()| members),
            }
        }
    }
}

#[cfg(test)]
mod tests;
