//! Tools cut out of the answer to `tools/list`, in its text: what stays is byte for byte what the
//! backend wrote, in its order. An answer is known by its shape (a `result` with an array `tools`),
//! because on an event stream of an older revision nothing else says which request it answers.
//!
//! A list that can be read in two ways is not passed on: a hidden tool must not be visible to some
//! other parser. Caches may not share what is left (2026-07-28, Caching): `cacheScope` becomes
//! `private`.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use serde::de::Error as _;
use serde_json::Error;

use super::canonical;
use super::jsonrpc::MESSAGE_KEYS;
use super::jsonrpc::walk::Keys;
use super::scan::Scan;
use super::tool_definition::{Definition, Unfit};

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
    edits(text, keep).map(|edits| edits.and_then(Edits::apply))
}

/// What a message or a batch lists, in order.
#[derive(Debug, Default)]
pub struct Listed {
    /// The tools that can be offered.
    pub definitions: Vec<Definition>,
    /// Why the others have none.
    pub unfit: Vec<Unfit>,
}

/// The tools that a message or a batch lists.
pub fn listed(text: &str) -> Result<Listed, Unreadable> {
    let mut definitions = Vec::new();
    let mut keep = |definition: &Definition| {
        definitions.push(definition.clone());
        true
    };
    let unfit = edits(text, &mut keep)?.map(|edits| edits.unfit);
    let unfit = unfit.unwrap_or_default();
    Ok(Listed { definitions, unfit })
}

/// One page of a list, for whoever reads it tool by tool.
#[derive(Debug)]
pub struct ListPage<'a> {
    /// The text of each element of `tools`.
    pub tools: Vec<&'a str>,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
}

/// Reads the result of `tools/list`. What is wrong with it, where it is none.
pub fn page(result: &str) -> Result<ListPage<'_>, &'static str> {
    let members = match Scan::new(result, 0).peek() {
        Some(b'{') => Scan::new(result, 0).members(),
        _ => return Err("the result of tools/list is not an object"),
    };
    let members = members.map_err(|_| "the result of tools/list is not JSON")?;
    let member = |name: &str| {
        let mut of_name = members.iter().filter(|(key, _)| key == name);
        let text = of_name.next().map(|(_, place)| &result[place.clone()]);
        // null of an optional member says what absence says.
        text.filter(|text| *text != "null")
    };
    let tools = match member("tools") {
        None => Vec::new(),
        Some(tools) if tools.starts_with('[') => {
            let places = Scan::new(tools, 0).elements().unwrap_or_default();
            places.into_iter().map(|place| &tools[place]).collect()
        }
        Some(_) => return Err("the member tools of the result of tools/list is not an array"),
    };
    Ok(ListPage {
        tools,
        next_cursor: member("nextCursor").and_then(|text| serde_json::from_str(text).ok()),
    })
}

fn edits<'a, 'k>(
    text: &'a str,
    keep: &'k mut dyn FnMut(&Definition) -> bool,
) -> Result<Option<Edits<'a, 'k>>, Unreadable> {
    if !may_list(text) {
        return Ok(None);
    }
    let mut edits = Edits {
        text,
        keep,
        done: Vec::new(),
        unfit: Vec::new(),
    };
    edits.body().map_err(|_| Unreadable)?;
    Ok(Some(edits))
}

/// What a list of tools has in it, for whatever reader. Escapes may hide the word.
static LIST: LazyLock<AhoCorasick> = LazyLock::new(|| words(&["tool", "\\u"]));

/// One pass over a text that finds any of these words, however its letters are written.
///
/// # Panics
///
/// Where the words are more than an automaton holds; a few never are.
pub fn words(words: &[&str]) -> AhoCorasick {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(words)
        .expect("a few short words")
}

/// Whether some reader could find a list of tools in `text`.
fn may_list(text: &str) -> bool {
    LIST.is_match(text)
}

struct Edits<'a, 'k> {
    text: &'a str,
    keep: &'k mut dyn FnMut(&Definition) -> bool,
    /// Where what is put instead, in order of place.
    done: Vec<(Range<usize>, &'static str)>,
    /// Those that have no definition.
    unfit: Vec<Unfit>,
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
        let mut scan = Scan::new(self.text, 0);
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
        let [result] = self.members(message, MESSAGE_KEYS, ["result"])?;
        match result {
            Some(result) if self.text[result.clone()].starts_with('{') => self.result(result),
            Some(result) => self.walk(result),
            None => Ok(()),
        }
    }

    fn result(&mut self, result: Range<usize>) -> Result<(), Error> {
        let start = result.start + 1;
        let wanted = ["tools", "cacheScope", "ttlMs"];
        let [tools, scope, ttl] = self.members(result, RESULT_KEYS, wanted)?;
        for other in [&scope, &ttl].into_iter().flatten() {
            self.walk(other.clone())?;
        }
        let Some(tools) = tools else { return Ok(()) };
        if !self.text[tools.clone()].starts_with('[') {
            return self.walk(tools);
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
        let places = Scan::new(self.text, tools.start).elements()?;
        let mut kept = Vec::with_capacity(places.len());
        for place in &places {
            match Definition::read(&self.text[place.clone()]) {
                Ok(definition) => kept.push((self.keep)(&definition)),
                Err(unfit) => {
                    kept.push(false);
                    self.unfit.push(unfit);
                }
            }
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
    ) -> Result<[Option<Range<usize>>; N], Error> {
        let mut keys = Keys::named(known);
        let mut found = [const { None }; N];
        for (key, place) in Scan::new(self.text, object.start).members()? {
            match wanted.iter().position(|wanted| *wanted == key) {
                Some(at) => found[at] = Some(place),
                None => self.walk(place)?,
            }
            keys.note::<Error>(Cow::Owned(key))?;
        }
        Ok(found)
    }

    /// Walks a value to its end: no key stands twice in it.
    fn walk(&self, value: Range<usize>) -> Result<(), Error> {
        canonical::check(self.text, value).map_err(|fault| Error::custom(fault.why))
    }
}

#[cfg(test)]
mod tests;
