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

pub use self::known::{Frame, KnownMessage};

mod known;

/// Members of the result of `tools/list`.
const RESULT_KEYS: &[&str] = &["tools", "nextCursor", "ttlMs", "cacheScope", "_meta"];

/// A list may be there, and can't be read in one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a list of tools that can be read in more than one way")]
pub struct Unreadable;

/// What a message or a batch lists, read once and in order: good for every token that it is cut for.
#[derive(Clone, Debug, Default)]
pub struct ToolLists {
    definitions: Vec<Definition>,
    unfit: Vec<Unfit>,
    lists: Vec<List>,
}

/// One list, by its places in the text.
#[derive(Clone, Debug)]
struct List {
    /// The tools, in order.
    tools: Vec<Range<usize>>,
    /// Which of the definitions each is; `None` for one that has none.
    defined: Vec<Option<usize>>,
    /// What is to say that no cache may share the list, if it does not say so itself.
    private: Option<(Range<usize>, &'static str)>,
}

impl ToolLists {
    /// The tools that a message or a batch lists: none where there is no list.
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        if !LIST.is_match(text) {
            return Ok(Self::default());
        }
        let mut reader = Reader {
            text,
            listed: Self::default(),
        };
        reader.body().map_err(|_| Unreadable)?;
        Ok(reader.listed)
    }

    /// The definitions.
    pub fn definitions(&self) -> &[Definition] {
        &self.definitions
    }

    /// Why the others have none.
    pub fn unfit(&self) -> &[Unfit] {
        &self.unfit
    }

    /// Cuts out of the text that was read every tool that `keep` refuses, by its place among the
    /// definitions, and those without a definition. `None` if nothing has to change, as in a message
    /// that lists no tools.
    pub fn cut(&self, text: &[u8], keep: impl Fn(usize) -> bool) -> Option<Vec<u8>> {
        self.cut_shifted(text, keep, |at| at)
    }

    /// The same of a text in which places stand elsewhere.
    fn cut_shifted(
        &self,
        text: &[u8],
        keep: impl Fn(usize) -> bool,
        shift: impl Fn(usize) -> usize,
    ) -> Option<Vec<u8>> {
        let mut edits = Vec::new();
        for list in &self.lists {
            list.edit(&keep, &mut edits);
        }
        if edits.is_empty() {
            return None;
        }
        let mut cut = Vec::with_capacity(text.len() + 32);
        let mut at = 0;
        for (range, instead) in edits {
            cut.extend_from_slice(&text[at..shift(range.start)]);
            cut.extend_from_slice(instead.as_bytes());
            at = shift(range.end);
        }
        cut.extend_from_slice(&text[at..]);
        Some(cut)
    }
}

impl List {
    /// What is put instead of which places, in order of place.
    ///
    /// The comma and the white space before a tool go with it; for the first that stays, what
    /// stood before the first of all.
    fn edit(&self, keep: impl Fn(usize) -> bool, edits: &mut Vec<(Range<usize>, &'static str)>) {
        let before = edits.len();
        let mut kept = self.defined.iter().map(|at| at.is_some_and(&keep));
        if let (Some(first), Some(last)) = (self.tools.first(), self.tools.last()) {
            match kept.position(|kept| kept) {
                None => edits.push((first.start..last.end, "")),
                Some(stays) => {
                    if stays > 0 {
                        edits.push((first.start..self.tools[stays].start, ""));
                    }
                    for (pair, kept) in self.tools[stays..].windows(2).zip(kept) {
                        if !kept {
                            edits.push((pair[0].end..pair[1].end, ""));
                        }
                    }
                }
            }
        }
        edits.extend(self.private.clone());
        edits[before..].sort_by_key(|(range, _)| range.start);
    }
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

struct Reader<'a> {
    text: &'a str,
    listed: ToolLists,
}

impl Reader<'_> {
    fn body(&mut self) -> Result<(), Error> {
        let mut scan = Scan::new(self.text, 0);
        let messages = match scan.peek() {
            Some(b'[') => scan.elements()?,
            _ => vec![scan.value()?],
        };
        scan.end()?;
        let mut messages = messages.into_iter();
        messages.try_for_each(|message| self.message(message))
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
        let private = match scope {
            Some(scope) if self.text[scope.clone()] != *"\"private\"" => {
                Some((scope, "\"private\""))
            }
            None if ttl.is_some() => Some((start..start, "\"cacheScope\":\"private\",")),
            _ => None,
        };
        let tools = Scan::new(self.text, tools.start).elements()?;
        let defined = tools.iter().map(|place| self.tool(place)).collect();
        self.listed.lists.push(List {
            tools,
            defined,
            private,
        });
        Ok(())
    }

    fn tool(&mut self, place: &Range<usize>) -> Option<usize> {
        let listed = &mut self.listed;
        match Definition::read(&self.text[place.clone()]) {
            Ok(definition) => {
                listed.definitions.push(definition);
                Some(listed.definitions.len() - 1)
            }
            Err(unfit) => {
                listed.unfit.push(unfit);
                None
            }
        }
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
