//! HTML taken apart into tags and text, in one pass (HTML, 13.2.5 Tokenization, as far as it bears on
//! which words are there).

use std::borrow::Cow;
use std::collections::HashMap;

use scraper::Html;

/// A part of a page, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Text with its character references resolved.
    Text(Cow<'a, str>),
    /// A start tag, its name in lower case.
    Start {
        name: String,
        /// Whether it is written as one that ends itself.
        is_whole: bool,
    },
    /// An end tag.
    End { name: String },
}

/// So many different names of characters are looked up in a page; HTML has 2231.
const MOST_NAMES: usize = 3000;
/// Names of characters are not longer than this.
const LONGEST_NAME: usize = 33;

/// Takes a page apart.
pub(super) struct Tags<'a> {
    markup: &'a str,
    at: usize,
    /// The element whose content is text up to its end tag, and whether that is for reading.
    raw: Option<(String, bool)>,
    names: HashMap<String, Option<String>>,
}

impl<'a> Tags<'a> {
    pub(super) fn new(markup: &'a str) -> Self {
        Self {
            markup,
            at: 0,
            raw: None,
            names: HashMap::new(),
        }
    }

    fn rest(&self) -> &'a str {
        &self.markup[self.at..]
    }

    /// Goes on behind the next `end`, or to the end of the page.
    fn skip_past(&mut self, end: &str) {
        let rest = self.rest();
        self.at += rest.find(end).map_or(rest.len(), |found| found + end.len());
    }

    /// The content of an element that holds no tags.
    fn raw(&mut self, name: &str, is_read: bool) -> Option<Part<'a>> {
        let rest = self.rest();
        let mut from = 0;
        let end = loop {
            let Some(found) = rest[from..].find("</") else {
                break rest.len();
            };
            let at = from + found;
            let after = &rest.as_bytes()[at + 2..];
            let is_name = after
                .get(..name.len())
                .is_some_and(|text| text.eq_ignore_ascii_case(name.as_bytes()));
            let ends = after.get(name.len()).is_none_or(|byte| ends_name(*byte));
            if is_name && ends {
                break at;
            }
            from = at + 2;
        };
        self.at += end;
        let text = &rest[..end];
        let text = match name {
            "title" | "textarea" => self.resolved(text),
            _ => Cow::Borrowed(text),
        };
        (is_read && !text.is_empty()).then_some(Part::Text(text))
    }

    /// What begins with `<`; `None` for what is not shown.
    fn markup(&mut self) -> Option<Part<'a>> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        match (bytes.get(1), bytes.get(2)) {
            (Some(b'!'), _) if rest.starts_with("<!--") => {
                self.at += 4;
                let inside = self.rest();
                if inside.strip_prefix('-').unwrap_or(inside).starts_with('>') {
                    self.skip_past(">")
                } else {
                    self.skip_past("-->")
                }
                None
            }
            (Some(b'/'), Some(letter)) if letter.is_ascii_alphabetic() => {
                self.at += 2;
                let name = self.name();
                self.attributes();
                Some(Part::End { name })
            }
            (Some(b'!' | b'?' | b'/'), _) => {
                self.skip_past(">");
                None
            }
            (Some(letter), _) if letter.is_ascii_alphabetic() => {
                self.at += 1;
                let name = self.name();
                let is_whole = self.attributes();
                self.raw = match name.as_str() {
                    "title" | "textarea" | "xmp" | "plaintext" => Some((name.clone(), true)),
                    "script" | "style" | "iframe" | "noembed" | "noframes" => {
                        Some((name.clone(), false))
                    }
                    _ => None,
                };
                Some(Part::Start { name, is_whole })
            }
            _ => {
                self.at += 1;
                Some(Part::Text(Cow::Borrowed("<")))
            }
        }
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let length = rest.bytes().position(ends_name).unwrap_or(rest.len());
        self.at += length;
        // No name that means anything is longer.
        rest[..length]
            .chars()
            .take(32)
            .collect::<String>()
            .to_ascii_lowercase()
    }

    /// Goes on behind the tag; whether it says that it ends itself.
    fn attributes(&mut self) -> bool {
        let bytes = self.markup.as_bytes();
        let mut before = b' ';
        while let Some(&byte) = bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'>' => return before == b'/',
                // A quote counts where a value begins.
                b'"' | b'\'' if before == b'=' => {
                    let rest = &bytes[self.at..];
                    let length = rest.iter().position(|other| *other == byte);
                    self.at += length.map_or(rest.len(), |length| length + 1);
                    before = b'"';
                }
                // Between `=` and its value there may be white space.
                byte if byte.is_ascii_whitespace() && before == b'=' => {}
                byte => before = byte,
            }
        }
        false
    }

    /// Text with its character references resolved.
    fn resolved(&mut self, text: &'a str) -> Cow<'a, str> {
        if !text.contains('&') {
            return Cow::Borrowed(text);
        }
        let mut resolved = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('&') {
            resolved.push_str(&rest[..at]);
            rest = &rest[at..];
            let body = &rest.as_bytes()[1..];
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'#';
            let length = body
                .iter()
                .take(LONGEST_NAME)
                .take_while(|byte| is_part(byte))
                .count();
            let end = 1 + length + usize::from(body.get(length) == Some(&b';'));
            match self.reference(&rest[..end]) {
                Some(meant) => resolved.push_str(&meant),
                None => resolved.push_str(&rest[..end]),
            }
            rest = &rest[end..];
        }
        resolved.push_str(rest);
        Cow::Owned(resolved)
    }

    /// What one reference stands for, with what follows it in `text`; `None` for itself.
    fn reference(&mut self, text: &str) -> Option<String> {
        let common = match text {
            "&" => return None,
            "&amp;" => "&",
            "&lt;" => "<",
            "&gt;" => ">",
            "&quot;" => "\"",
            "&apos;" | "&#39;" => "'",
            "&nbsp;" => "\u{a0}",
            _ => "",
        };
        if !common.is_empty() {
            return Some(common.to_owned());
        }
        if let Some(known) = self.names.get(text) {
            return known.clone();
        }
        if self.names.len() >= MOST_NAMES {
            return None;
        }
        // The table of names is the parser's; what it is given holds no tag.
        let page = Html::parse_fragment(text);
        let meant: String = page.root_element().text().collect();
        let meant = (meant != text).then_some(meant);
        self.names.insert(text.to_owned(), meant.clone());
        meant
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        while self.at < self.markup.len() {
            if let Some((name, is_read)) = self.raw.take() {
                match self.raw(&name, is_read) {
                    Some(part) => return Some(part),
                    None => continue,
                }
            }
            let rest = self.rest();
            let length = rest.find('<').unwrap_or(rest.len());
            if length > 0 {
                self.at += length;
                return Some(Part::Text(self.resolved(&rest[..length])));
            }
            if let Some(part) = self.markup() {
                return Some(part);
            }
        }
        None
    }
}

const fn ends_name(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>')
}
